package kafka

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// Latencies are counted where an answer was written: one reading of the clock and two additions per request, on counters that few other
// connections share, because each stripe has counters of its own.

const (
	stripeCount    = 8
	latencyBuckets = 36
	firstBound     = 6 // log2 of the first bound in µs; two buckets per octave from there on
	maxAPIs        = 32
)

// Latency counts durations. Bucket i holds those below LatencyBounds()[i], the last all others.
type Latency struct {
	Buckets [latencyBuckets]uint64
	Nanos   uint64 // their sum
}

// LatencyBounds returns the bounds of a Latency's buckets in seconds, rising: 64 µs, 96 µs, 128 µs, ... 8.4 s.
func LatencyBounds() []float64 {
	bounds := make([]float64, latencyBuckets-1)
	for i := range bounds {
		us := 1 << (firstBound + i/2)
		bounds[i] = float64(us+us/2*(i%2)) / 1e6
	}
	return bounds
}

// latencyBucket returns the bucket of a duration.
func latencyBucket(d time.Duration) int {
	us := uint64(max(d, 0) / time.Microsecond)
	octave := bits.Len64(us) - 1
	if octave < firstBound {
		return 0
	}
	return min(1+2*(octave-firstBound)+int(us>>(octave-1)&1), latencyBuckets-1)
}

// stripe is the counters of some of the connections.
type stripe struct {
	apis [maxAPIs]struct {
		requests atomic.Int64
		nanos    atomic.Uint64
		buckets  [latencyBuckets]atomic.Uint64
	}
	_ [64]byte // no cache line in common with the next
}

// clock is the time since the server was made; it never goes back.
func (s *Server) clock() time.Duration { return time.Since(s.began) }

// answered notes that the answers of calls are written. What a fetch waited for records to come is not in its time.
func (c *conn) answered(batch []*call, next *call) {
	if len(batch) == 0 && next == nil {
		return
	}
	now := c.s.clock()
	for _, ca := range batch {
		c.stripe.observe(ca, now)
	}
	if next != nil {
		c.stripe.observe(next, now)
	}
}

func (t *stripe) observe(ca *call, now time.Duration) {
	if !ca.timed {
		return
	}
	d := max(now-ca.began, 0)
	a := &t.apis[ca.api.slot]
	a.nanos.Add(uint64(d))
	a.buckets[latencyBucket(d)].Add(1)
}

// counts adds up the stripes: counts and latencies by name of the API, of those that were ever asked.
func (s *Server) counts() (requests map[string]int64, latencies map[string]Latency) {
	requests, latencies = map[string]int64{}, map[string]Latency{}
	for _, a := range s.apis {
		var n int64
		var l Latency
		for i := range s.stripes {
			c := &s.stripes[i].apis[a.slot]
			n += c.requests.Load()
			l.Nanos += c.nanos.Load()
			for j := range c.buckets {
				l.Buckets[j] += c.buckets[j].Load()
			}
		}
		if n > 0 {
			requests[a.name], latencies[a.name] = n, l
		}
	}
	return requests, latencies
}
