package walinspect

// timeline says when records were made, in memory of a fixed size: buckets that are one second wide, and twice as wide each time that the
// records do not fit in.
type timeline struct {
	used    bool
	first   int64 // number of the first bucket: times in ms from first*width on
	width   int64 // ms
	buckets [buckets]traffic
}

const buckets = 64

type traffic struct{ records, bytes int64 }

// add takes a record made at a time in ms; times below 0 are none.
func (t *timeline) add(ms, bytes int64) {
	if ms < 0 {
		return
	}
	if !t.used {
		t.used, t.width, t.first = true, 1000, ms/1000
	}
	if at := ms / t.width; at < t.first || at >= t.first+buckets {
		t.reach(ms)
	}
	b := &t.buckets[ms/t.width-t.first]
	b.records++
	b.bytes += bytes
}

// reach moves the buckets so that ms lies in one of them, and makes them twice as wide until that is possible.
func (t *timeline) reach(ms int64) {
	was, first, shift := t.buckets, t.first, 0
	low, high := int64(-1), int64(-1) // of those in use
	for i := range was {
		if was[i].records > 0 {
			if low < 0 {
				low = first + int64(i)
			}
			high = first + int64(i)
		}
	}
	at := ms / t.width
	low, high = min(low, at), max(high, at)
	for high>>shift-low>>shift >= buckets {
		shift++
	}
	t.first, t.width = low>>shift, t.width<<shift
	clear(t.buckets[:])
	for i := range was {
		if was[i].records > 0 {
			to := &t.buckets[(first+int64(i))>>shift-t.first]
			to.records += was[i].records
			to.bytes += was[i].bytes
		}
	}
}

// Peak is the busiest stretch of time.
type Peak struct {
	Time             int64   `json:"time"`     // its begin, ms
	Duration         int64   `json:"duration"` // ms: 1 s, or the longer the longer all of it is
	RecordsPerSecond float64 `json:"records_per_second"`
	BytesPerSecond   float64 `json:"bytes_per_second"` // of records, not compressed
}

// peak returns the bucket with the most records; nil if there is none.
func (t *timeline) peak() *Peak {
	best := -1
	for i := range t.buckets {
		if t.buckets[i].records > 0 && (best < 0 || t.buckets[i].records > t.buckets[best].records) {
			best = i
		}
	}
	if best < 0 {
		return nil
	}
	b, seconds := &t.buckets[best], float64(t.width)/1000
	return &Peak{Time: max(0, (t.first+int64(best))*t.width), Duration: t.width,
		RecordsPerSecond: float64(b.records) / seconds, BytesPerSecond: float64(b.bytes) / seconds}
}
