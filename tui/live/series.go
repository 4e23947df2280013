package live

import (
	"math"

	"chronik.dev/chronik/broker/admin"
)

// Series is a figure over the last ten minutes, one value per sample interval, the newest last. NaN is a gap: the node was down, or
// nothing was measured.
type Series []float64

// Rate makes a series of how fast a counter rose, per second.
func (h *History) Rate(counter func(*admin.Sample) uint64) Series {
	return h.series(func(before, p *admin.Sample) float64 {
		if before == nil || counter(p) < counter(before) {
			return math.NaN()
		}
		return float64(counter(p)-counter(before)) / (float64(p.Time-before.Time) / 1000)
	})
}

// Gauge makes a series of a value; negative ones are gaps.
func (h *History) Gauge(value func(*admin.Sample) float64) Series {
	return h.series(func(_, p *admin.Sample) float64 {
		if v := value(p); v >= 0 {
			return v
		}
		return math.NaN()
	})
}

// series lays samples out on the grid of the last ten minutes, which ends now.
func (h *History) series(value func(before, p *admin.Sample) float64) Series {
	out := make(Series, admin.SampleCount-1)
	for i := range out {
		out[i] = math.NaN()
	}
	if len(h.samples) == 0 {
		return out
	}
	// The grid hangs on the newest sample; how long ago that was is known from the node's own clock, and from ours since its last answer.
	end := h.samples[len(h.samples)-1].Time
	if h.Last != nil && h.Last.Overview != nil {
		age, _ := h.Age()
		end = max(end, h.Last.Overview.Time+age.Milliseconds()-admin.SampleEvery.Milliseconds())
	}
	for i := range h.samples {
		p := &h.samples[i]
		at := len(out) - 1 - int((end-p.Time+admin.SampleEvery.Milliseconds()/2)/admin.SampleEvery.Milliseconds())
		if at < 0 || at >= len(out) {
			continue
		}
		var before *admin.Sample
		if i > 0 && continuous(&h.samples[i-1], p) {
			before = &h.samples[i-1]
		}
		out[at] = value(before, p)
	}
	return out.bridged()
}

// bridged fills single holes that come from two samples falling into one place of the grid.
func (s Series) bridged() Series {
	for i := 1; i+1 < len(s); i++ {
		if math.IsNaN(s[i]) && !math.IsNaN(s[i-1]) && !math.IsNaN(s[i+1]) {
			s[i] = s[i-1]
		}
	}
	return s
}

// Max returns the largest value, 0 without one.
func (s Series) Max() float64 {
	m := 0.0
	for _, v := range s {
		if v > m {
			m = v
		}
	}
	return m
}

// Last returns the newest value, NaN if it is a gap.
func (s Series) Last() float64 {
	if len(s) == 0 {
		return math.NaN()
	}
	return s[len(s)-1]
}

// Fit squeezes the series into n values: the largest of each part, so that no peak hides. A part without values is a gap.
func (s Series) Fit(n int) Series {
	if n <= 0 || len(s) == 0 {
		return nil
	}
	if n >= len(s) {
		return s
	}
	out := make(Series, n)
	for i := range out {
		out[i] = math.NaN()
		for _, v := range s[i*len(s)/n : (i+1)*len(s)/n] {
			if !math.IsNaN(v) && (math.IsNaN(out[i]) || v > out[i]) {
				out[i] = v
			}
		}
	}
	return out
}

// API is what one Kafka API did between the last two answers.
type API struct {
	admin.Request
	Rate     float64 // per second; NaN if there was no answer before
	P50, P99 float64 // seconds; NaN if nothing was answered
}

// APIs returns every API that was ever asked, by name.
func (h *History) APIs() []API {
	if h.Last == nil || h.Last.Overview == nil || h.Last.Overview.Node == nil {
		return nil
	}
	before := map[string]admin.Request{}
	seconds := 0.0
	if h.Before != nil && h.Before.Overview != nil && h.Before.Overview.Node != nil {
		seconds = float64(h.Last.Overview.Time-h.Before.Overview.Time) / 1000
		for _, r := range h.Before.Overview.Node.Requests {
			before[r.API] = r
		}
	}
	var out []API
	for _, r := range h.Last.Overview.Node.Requests {
		a := API{Request: r, Rate: math.NaN(), P50: r.Latency.Quantile(0.5), P99: r.Latency.Quantile(0.99)}
		if seconds > 0 {
			b := before[r.API]
			a.Rate = float64(r.Count-min(b.Count, r.Count)) / seconds
			recent := r.Latency.Since(b.Latency)
			a.P50, a.P99 = recent.Quantile(0.5), recent.Quantile(0.99)
		}
		out = append(out, a)
	}
	return out
}
