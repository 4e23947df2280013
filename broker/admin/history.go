package admin

import (
	"math"
	"sync"
	"time"
)

// The ring of samples: ten minutes, so that charts start full.
const (
	SampleEvery = 2 * time.Second
	SampleCount = 301
)

// Sample is a node at one moment. Counters count from the start of the process, so a rate is a difference over the time between; quantiles
// are of the interval before, in seconds, -1 if nothing was measured in it.
type Sample struct {
	Time        int64   `json:"time"` // ms since 1970
	Traffic     Traffic `json:"traffic"`
	Requests    uint64  `json:"requests"`
	Syncs       uint64  `json:"syncs"`
	Journal     uint64  `json:"journal_bytes"`
	ProduceP50  float64 `json:"produce_p50"`
	ProduceP99  float64 `json:"produce_p99"`
	FetchP99    float64 `json:"fetch_p99"`
	SyncP50     float64 `json:"sync_p50"`
	SyncP99     float64 `json:"sync_p99"`
	QueueP99    float64 `json:"queue_p99"`
	Connections int     `json:"connections"`
	LiveBytes   int64   `json:"live_bytes"`
	TailBytes   int64   `json:"tail_bytes"`
	DiskFree    int64   `json:"disk_free_bytes"`
}

// history keeps samples, and what the next one is compared with.
type history struct {
	mu      sync.Mutex
	samples []Sample
	last    map[string]Histogram
}

// take adds a sample of a snapshot.
func (h *history) take(now time.Time, s *Snapshot) {
	h.mu.Lock()
	defer h.mu.Unlock()
	current := map[string]Histogram{"sync": s.Journal.SyncLatency, "queue": s.Journal.QueueLatency}
	p := Sample{
		Time: now.UnixMilli(), Traffic: s.Traffic, Syncs: s.Journal.Syncs, Journal: s.Journal.Bytes, Connections: s.Connections,
		LiveBytes: s.Journal.LiveBytes, TailBytes: s.TailBytes, DiskFree: s.DiskFree,
	}
	for _, r := range s.Requests {
		p.Requests += r.Count
		current[r.API] = r.Latency
	}
	quantile := func(name string, q float64) float64 {
		v := current[name].Since(h.last[name]).Quantile(q)
		if math.IsNaN(v) {
			return -1
		}
		return v
	}
	p.ProduceP50, p.ProduceP99, p.FetchP99 = quantile("Produce", 0.5), quantile("Produce", 0.99), quantile("Fetch", 0.99)
	p.SyncP50, p.SyncP99, p.QueueP99 = quantile("sync", 0.5), quantile("sync", 0.99), quantile("queue", 0.99)
	h.last = current
	if len(h.samples) == SampleCount {
		h.samples = append(h.samples[:0], h.samples[1:]...)
	}
	h.samples = append(h.samples, p)
}

// since returns the samples after a time in ms, the oldest first.
func (h *history) since(after int64) []Sample {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := []Sample{}
	for _, s := range h.samples {
		if s.Time > after {
			out = append(out, s)
		}
	}
	return out
}

// secondsToFull estimates when the disk is full, from how its free space fell over the ring; -1 if it does not fall or less than five minutes
// are known.
func (h *history) secondsToFull() float64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.samples) == 0 {
		return -1
	}
	first, last := h.samples[0], h.samples[len(h.samples)-1]
	seconds, fell := float64(last.Time-first.Time)/1000, first.DiskFree-last.DiskFree
	if seconds < 300 || fell <= 0 || last.DiskFree < 0 {
		return -1
	}
	return float64(last.DiskFree) / (float64(fell) / seconds)
}

// marks remembers four counters by name, so that a rate can be told to who asks once: a set each markEvery, keep of them.
type marks struct {
	keep int
	mu   sync.Mutex
	sets []markSet // the oldest first
}

// Rates of topics follow the load; those of groups even out the pace of commits, five seconds by Kafka's default.
const (
	topicMarks = 2 // rates over 10 to 20 s
	groupMarks = 7 // over a minute
)

type markSet struct {
	at     time.Time
	counts map[string][4]uint64
}

// markEvery is how often a set is taken.
const markEvery = 10 * time.Second

func (m *marks) take(now time.Time, counts map[string][4]uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.sets) == m.keep {
		m.sets = append(m.sets[:0], m.sets[1:]...)
	}
	m.sets = append(m.sets, markSet{now, counts})
}

// rate returns how fast the counters rose, per second, since the oldest mark, which is at least a second old; ok is false without one.
func (m *marks) rate(now time.Time, name string, counts [4]uint64) (r [4]float64, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, set := range m.sets {
		seconds := now.Sub(set.at).Seconds()
		before, known := set.counts[name]
		if !known || seconds < 1 {
			continue
		}
		for i := range r {
			if counts[i] >= before[i] {
				r[i] = float64(counts[i]-before[i]) / seconds
			}
		}
		return r, true
	}
	return r, false
}
