package partition

import (
	"fmt"

	"chronik.dev/chronik/broker/batch"
)

// OffsetForTime returns the first record below the high watermark whose timestamp is at least ts (ms): its offset, timestamp and leader
// epoch; -1, -1, -1 when there is none (ListOffsets by timestamp).
func (l *Log) OffsetForTime(ts int64) (offset, timestamp int64, epoch int32, err error) {
	l.files.RLock()
	l.mu.Lock()
	if l.failed != nil {
		defer l.files.RUnlock()
		defer l.mu.Unlock()
		return -1, -1, -1, l.failed
	}
	segs, start, hw, flushed := l.segs, l.logStart, l.highWatermark, l.flushed
	l.mu.Unlock()
	for i := segmentOf(segs, start); i < len(segs); i++ {
		r, ok, err := segs[i].OffsetForTime(ts, start)
		if err != nil {
			l.files.RUnlock()
			return -1, -1, -1, fmt.Errorf("search %s for time %d: %w", l.name, ts, err)
		}
		if ok {
			l.files.RUnlock()
			if r.Offset >= hw {
				return -1, -1, -1, nil
			}
			return r.Offset, r.Timestamp, r.LeaderEpoch, nil
		}
	}
	l.files.RUnlock()
	return l.searchTail(ts, max(start, flushed), hw)
}

// searchTail looks in memory from an offset on. A flush meanwhile moved what it does not find there to the files.
func (l *Log) searchTail(ts, from, hw int64) (offset, timestamp int64, epoch int32, err error) {
	for {
		raw := l.tailBatch(ts, from, hw)
		if raw == nil {
			break
		}
		h, err := batch.Parse(raw)
		if err != nil {
			return -1, -1, -1, fmt.Errorf("search %s for time %d: %w", l.name, ts, err)
		}
		r, found, err := batch.FirstSince(raw, l.cfg.Load().decompressLimit(), from, ts)
		if err != nil {
			return -1, -1, -1, fmt.Errorf("search %s for time %d: %w", l.name, ts, err)
		}
		if found {
			return r.Offset, r.Timestamp, h.LeaderEpoch, nil
		}
		from = h.LastOffset() + 1
	}
	l.mu.Lock()
	moved := l.flushed > from && from < hw
	l.mu.Unlock()
	if moved {
		return l.OffsetForTime(ts)
	}
	return -1, -1, -1, nil
}

// tailBatch copies the first batch in memory at or after from, wholly below hw, that has a record of time ts or later.
func (l *Log) tailBatch(ts, from, hw int64) []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.tail {
		for _, b := range c.batches {
			if b.last >= from && b.last < hw && b.maxTime >= ts {
				return append([]byte(nil), c.buf[b.from:b.to]...)
			}
		}
	}
	return nil
}

// MaxTimestamp returns the largest timestamp (ms) below the high watermark, the first record that has it, and its leader epoch;
// -1, -1, -1 in an empty log (ListOffsets -3).
func (l *Log) MaxTimestamp() (timestamp, offset int64, epoch int32, err error) {
	largest, err := l.largestTime()
	if err != nil || largest == batch.NoTimestamp {
		return -1, -1, -1, err
	}
	offset, timestamp, epoch, err = l.OffsetForTime(largest)
	return timestamp, offset, epoch, err
}

func (l *Log) largestTime() (int64, error) {
	largest := int64(batch.NoTimestamp)
	l.files.RLock()
	defer l.files.RUnlock()
	l.mu.Lock()
	if l.failed != nil {
		defer l.mu.Unlock()
		return largest, l.failed
	}
	segs, start, hw := l.segs, l.logStart, l.highWatermark
	for _, c := range l.tail {
		for _, b := range c.batches {
			if b.last < hw {
				largest = max(largest, b.maxTime)
			}
		}
	}
	l.mu.Unlock()
	for i := segmentOf(segs, start); i < len(segs); i++ {
		ts, _, err := segs[i].MaxTimestamp()
		if err != nil {
			return largest, fmt.Errorf("search %s for the largest time: %w", l.name, err)
		}
		largest = max(largest, ts)
	}
	return largest, nil
}
