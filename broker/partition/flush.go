package partition

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"

	"chronik.dev/chronik/broker/segment"
	"chronik.dev/chronik/broker/vfs"
	"chronik.dev/chronik/broker/wal"
)

// limit bounds a flush, so that a checkpoint's files hold exactly what its State says.
type limit struct {
	end int64
	lsn wal.LSN
}

var noLimit = limit{math.MaxInt64, math.MaxUint64}

// Flush writes everything that is synced to the segment files. It never waits for the journal.
func (l *Log) Flush() error {
	l.io.Lock()
	defer l.io.Unlock()
	return l.flush(noLimit)
}

// work is the next step of a flush: a roll, or the synced batches of one chunk.
type work struct {
	roll    *roll
	chunk   *chunk
	data    []byte
	batches int   // of the chunk, flushed after this step
	end     int64 // of the files after this step
	active  *segment.Segment
}

// flush carries out everything synced up to the limit. io is held. A full disk, or a process out of descriptors, is reported as ErrNoSpace:
// the next flush goes on from there. Any other failure stops the partition.
func (l *Log) flush(to limit) error {
	for {
		l.mu.Lock()
		w, ok := l.nextWork(to)
		l.mu.Unlock()
		if !ok {
			return nil
		}
		var err error
		if w.roll != nil {
			err = l.rollFiles(w)
		} else {
			err = l.writeChunk(w)
		}
		if vfs.NoRoom(err) {
			return fmt.Errorf("flush %s: %w: %w", l.name, ErrNoSpace, err)
		}
		if err != nil {
			err = fmt.Errorf("flush %s: %w", l.name, err)
			l.Stop(err)
			return err
		}
	}
}

// nextWork finds the next step that is synced and inside the limit. mu is held.
func (l *Log) nextWork(to limit) (work, bool) {
	if l.failed != nil && !errors.Is(l.failed, ErrClosed) {
		return work{}, false
	}
	w := work{active: l.segs[len(l.segs)-1]}
	if len(l.rolls) > 0 && l.rolls[0].base == l.flushed {
		r := l.rolls[0]
		if r.ticket.lsn > l.syncedLSN || r.ticket.lsn > to.lsn {
			return work{}, false
		}
		w.roll = &r
		return w, true
	}
	if len(l.tail) == 0 || l.tailBlock != nil || l.tailLSN > l.syncedLSN {
		return work{}, false
	}
	c := l.tail[0]
	n := c.flushed
	for n < len(c.batches) && c.batches[n].last < min(l.synced, to.end) {
		n++
	}
	if n == c.flushed {
		return work{}, false
	}
	c.hold()
	w.chunk, w.data, w.batches, w.end = c, c.buf[c.batches[c.flushed].from:c.batches[n-1].to], n, c.batches[n-1].last+1
	return w, true
}

// writeChunk appends synced batches to the active segment; the chunk leaves memory after the write returned.
func (l *Log) writeChunk(w work) error {
	defer w.chunk.release()
	from := w.active.Size()
	if err := w.active.Append(w.data); err != nil {
		return err
	}
	l.sums.add(segment.Log, w.active.BaseOffset(), from, w.data)
	l.keepLastBlock(from, w.data)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dirty = true
	if len(l.tail) == 0 {
		return nil // stopped meanwhile
	}
	l.flushed = w.end
	w.chunk.flushed = w.batches
	if w.batches == len(w.chunk.batches) && len(l.tail) > 0 && l.tail[0] == w.chunk { // else the log was stopped meanwhile
		w.chunk.release()
		l.tail[0] = nil
		l.tail = l.tail[1:]
	}
	return nil
}

// keepLastBlock remembers the partial last block of the active file, which ends at from+len(data).
func (l *Log) keepLastBlock(from int64, data []byte) {
	start := (from + int64(len(data))) &^ (blockSize - 1)
	if start >= from {
		l.lastBlock = append(l.lastBlock[:0], data[start-from:]...)
	} else {
		l.lastBlock = append(l.lastBlock, data...)
	}
}

// rollFiles seals the active segment, with the files that Kafka writes at a roll, and begins the next.
func (l *Log) rollFiles(w work) error {
	if err := w.active.Seal(); err != nil {
		return err
	}
	if err := writeSnapshot(l.env.FS, l.dir, w.roll.base, w.roll.snapshot); err != nil {
		return err
	}
	if err := l.writeEpochs(w.roll.base); err != nil {
		return err
	}
	next, err := segment.Create(l.env.FS, l.dir, w.roll.base, w.roll.choices.options()) // last: it can be done once only
	if err != nil {
		return err
	}
	l.lastBlock = l.lastBlock[:0]
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dirty = true
	l.segs = append(l.segs[:len(l.segs):len(l.segs)], next)
	l.rolls = l.rolls[min(1, len(l.rolls)):] // none if stopped meanwhile
	return nil
}

// options are the segment package's options for these choices.
func (r Rolled) options() segment.Options {
	return segment.Options{IndexIntervalBytes: r.IndexInterval, IndexBytes: r.IndexBytes}
}

// shapeOf is the choices that an open segment follows.
func shapeOf(s *segment.Segment) Rolled {
	o := s.Options()
	return Rolled{IndexInterval: o.IndexIntervalBytes, IndexBytes: o.IndexBytes}
}

// stateOf is an open segment as a checkpoint lists it.
func stateOf(s *segment.Segment) SegmentState {
	return SegmentState{Base: s.BaseOffset(), Size: s.Size(), Shape: shapeOf(s)}
}

// Roll begins a new segment if the active one holds something and is older than segment.ms; it also forgets producers that have been idle
// for producer.id.expiration.ms: their next batch may have any sequence.
func (l *Log) Roll(now int64) {
	cfg := l.cfg.Load()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.producers.expire(now, cfg.ProducerExpiryMs, l.synced)
	if l.admits() == nil && l.active.size > 0 && l.active.firstTime >= 0 && now-l.active.firstTime > cfg.SegmentMs {
		l.rollNow(cfg)
	}
}

// rollNow begins a new segment at the log's end. mu is held. If the journal has no space for the frame the roll stands: replay then puts
// what follows into the segment before, which holds the same records.
func (l *Log) rollNow(cfg *Config) {
	t := &ticket{}
	l.enqueue([]wal.Frame{l.beginRoll(cfg, t)}, t)
}

// path is the path of a file in the partition's directory.
func (l *Log) path(name string) string { return filepath.Join(l.dir, name) }
