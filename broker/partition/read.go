package partition

import (
	"fmt"

	"chronik.dev/chronik/broker/planted"
	"chronik.dev/chronik/broker/segment"
)

// ReadRequest asks for whole batches from an offset on.
type ReadRequest struct {
	Offset     int64 // the first batch returned contains it
	UpTo       int64 // exclusive: no batch that reaches it or beyond; capped at what is synced
	MaxBytes   int   // of all batches together
	AtLeastOne bool  // return the first batch even if it is larger than MaxBytes

	Alloc func(n int) []byte // makes the memory for what is returned, perhaps more than once; nil is make
}

// Read returns batches as they are stored, from memory from the tail's first offset on, from the files below it; nil at the end. A read
// ends where files and memory meet. ErrOffsetOutOfRange if Offset is below the log start or above the log end.
func (l *Log) Read(r ReadRequest) ([]byte, error) {
	for {
		l.mu.Lock()
		upTo, err := l.readable(r)
		if err != nil || r.Offset >= upTo {
			l.mu.Unlock()
			return nil, err
		}
		if r.Offset >= l.flushed {
			return l.readTail(r, upTo), nil // unlocks
		}
		l.mu.Unlock()
		out, next, err := l.readFiles(r)
		if len(out) > 0 || err != nil || next == r.Offset {
			return out, err
		}
		r.Offset = next // compaction left nothing up to the end of the files
	}
}

// readable checks a request and returns the offset that it may read up to. mu is held.
func (l *Log) readable(r ReadRequest) (upTo int64, err error) {
	switch {
	case l.failed != nil:
		return 0, l.failed
	case r.Offset < l.logStart || r.Offset > l.end:
		return 0, fmt.Errorf("read %s at %d, the log is [%d, %d): %w", l.name, r.Offset, l.logStart, l.end, ErrOffsetOutOfRange)
	}
	if planted.Is(planted.ReadUnsynced) {
		return min(r.UpTo, l.end), nil
	}
	return min(r.UpTo, l.synced), nil
}

// piece is a run of bytes of one chunk.
type piece struct {
	chunk *chunk
	data  []byte
}

// readTail copies batches out of memory. mu is held on entry and released before the copying.
func (l *Log) readTail(r ReadRequest, upTo int64) []byte {
	var room [4]piece
	pieces, total := room[:0], 0
	for _, c := range l.tail {
		if c.end() <= r.Offset {
			continue
		}
		first := c.find(r.Offset)
		n, size := first, 0
		for n < len(c.batches) && c.batches[n].last < upTo {
			step := c.batches[n].to - c.batches[n].from
			if total+size+step > r.MaxBytes && (total+size > 0 || !r.AtLeastOne) {
				break
			}
			size += step
			n++
		}
		if n > first {
			c.hold()
			pieces = append(pieces, piece{c, c.buf[c.batches[first].from:c.batches[n-1].to]})
			total += size
		}
		if n < len(c.batches) {
			break
		}
	}
	l.mu.Unlock()
	if total == 0 {
		return nil
	}
	var out []byte
	if r.Alloc != nil {
		out = r.Alloc(total)[:0]
	} else {
		out = make([]byte, 0, total)
	}
	for _, p := range pieces {
		out = append(out, p.data...)
		p.chunk.release()
	}
	return out
}

// find returns the index of the first batch that ends at or after offset.
func (c *chunk) find(offset int64) int {
	lo, hi := 0, len(c.batches)
	for lo < hi {
		if mid := (lo + hi) / 2; c.batches[mid].last < offset {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}

// readFiles reads from the segment that holds the offset, or from the next one where compaction left a gap. next is the offset to go on at
// if the files hold nothing from r.Offset on, else r.Offset.
func (l *Log) readFiles(r ReadRequest) (out []byte, next int64, err error) {
	l.files.RLock() // before the list is taken: no segment goes while it is held
	defer l.files.RUnlock()
	l.mu.Lock()
	upTo, err := l.readable(r)
	segs, flushed := l.segs, l.flushed
	l.mu.Unlock()
	if err != nil || r.Offset >= upTo {
		return nil, r.Offset, err
	}
	dense := !l.Config().Compact
	for i := segmentOf(segs, r.Offset); i < len(segs); i++ {
		out, err := segs[i].Read(r.Offset, r.MaxBytes, r.AtLeastOne, upTo, dense, r.Alloc)
		if err != nil {
			return nil, r.Offset, fmt.Errorf("read %s at %d: %w", l.name, r.Offset, err)
		}
		end, err := segs[i].NextOffset()
		if err != nil {
			return nil, r.Offset, fmt.Errorf("read %s at %d: %w", l.name, r.Offset, err)
		}
		if len(out) > 0 || end > r.Offset && segs[i].Size() > 0 {
			return out, r.Offset, nil // or the batch there is too large, or reaches upTo
		}
	}
	if dense {
		return nil, r.Offset, fmt.Errorf("read %s at %d: %w", l.name, r.Offset, &segment.Error{File: l.path(logName(segs[len(segs)-1].BaseOffset())),
			Reason: segment.BadOffset, Detail: fmt.Sprintf("it must hold offset %d and ends before it", r.Offset)})
	}
	return nil, flushed, nil
}

// segmentOf is the index of the last segment that begins at or below offset.
func segmentOf(segs []*segment.Segment, offset int64) int {
	n := len(segs) - 1
	for n > 0 && segs[n].BaseOffset() > offset {
		n--
	}
	return n
}
