package walinspect

import (
	"math"
	"time"

	"chronik.dev/chronik/broker/batch"
	"chronik.dev/chronik/broker/wal"
)

// Filter says what Dump shows. The zero value shows everything but records.
type Filter struct {
	Topic     string
	Partition *int32
	// FirstOffset and LastOffset bound offsets (Raft: indexes), both included; nil = open. A batch is shown if any of its offsets is in range.
	FirstOffset, LastOffset *int64
	// FirstLSN and LastLSN bound LSNs, both included; 0 = open. Partition logs have none, so a bound hides them.
	FirstLSN, LastLSN wal.LSN
	Since, Until      time.Time // of the group's or batch's newest time; zero = open
	Types             []string  // of frames, as wal.Type spells them; a partition log's batches are "batch"; empty = all
	Damaged           bool      // only what is damaged
	Records           bool      // also every record of a batch
}

// frame says whether a frame, or the identity of a damaged one, is shown.
func (f *Filter) frame(topic string, kind wal.Type, partition int32, lsn wal.LSN, first, last, ms int64) bool {
	switch {
	case f.Topic != "" && topic != f.Topic,
		f.Partition != nil && (kind == wal.RaftEntry || partition != *f.Partition),
		lsn != 0 && f.FirstLSN != 0 && lsn < f.FirstLSN,
		lsn != 0 && f.LastLSN != 0 && lsn > f.LastLSN:
		return false
	}
	if !f.inTypes(kind.String()) || !f.inTime(ms) {
		return false
	}
	return f.inOffsets(kind, first, last)
}

// inOffsets compares offsets where the frame has them.
func (f *Filter) inOffsets(kind wal.Type, first, last int64) bool {
	if f.FirstOffset == nil && f.LastOffset == nil {
		return true
	}
	switch kind {
	case wal.Batch:
	case wal.RaftEntry, wal.Truncated, wal.LogStart, wal.EpochBegun, wal.Rolled:
		last = first
	default:
		return false
	}
	return (f.FirstOffset == nil || last >= *f.FirstOffset) && (f.LastOffset == nil || first <= *f.LastOffset)
}

func (f *Filter) inTypes(kind string) bool {
	if len(f.Types) == 0 {
		return true
	}
	for _, t := range f.Types {
		if t == kind {
			return true
		}
	}
	return false
}

func (f *Filter) inTime(ms int64) bool {
	t := time.UnixMilli(ms)
	return (f.Since.IsZero() || !t.Before(f.Since)) && (f.Until.IsZero() || t.Before(f.Until))
}

// batch says whether a batch of a partition log is shown.
func (f *Filter) batch(topic string, partition int32, h *batch.Header) bool {
	if f.FirstLSN != 0 || f.LastLSN != 0 {
		return false
	}
	return f.frame(topic, wal.Batch, partition, 0, h.BaseOffset, h.LastOffset(), h.MaxTimestamp)
}

// record says whether a record of a batch that is shown is shown too.
func (f *Filter) record(r *batch.Record) bool {
	first, last := int64(math.MinInt64), int64(math.MaxInt64)
	if f.FirstOffset != nil {
		first = *f.FirstOffset
	}
	if f.LastOffset != nil {
		last = *f.LastOffset
	}
	return r.Offset >= first && r.Offset <= last && f.inTime(r.Timestamp)
}
