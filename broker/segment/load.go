package segment

import (
	"errors"
	"fmt"
	"math"

	"chronik.dev/chronik/broker/batch"
)

// load works out what Open left open: the end of the indexes, the last offset, the newest time. It reads the index files and the batch
// headers behind the last entry; where the indexes do not fit the batches it reads all headers. It writes nothing.
func (s *Segment) load() error {
	s.mu.RLock()
	done := s.loaded
	s.mu.RUnlock()
	if done {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.loaded {
		return nil
	}
	if err := s.openAllLocked(); err != nil {
		return err
	}
	err := s.loadFrom(s.lastEntry)
	var bad *Error
	if errors.As(err, &bad) {
		err = s.loadFrom(func(ix *indexer) (int64, error) { return 0, nil }) // the index lied
	}
	if err != nil {
		return err
	}
	s.loaded = true
	return nil
}

// loadFrom sets the state from the index entries that start accepts, and the headers from the position it returns on.
func (s *Segment) loadFrom(start func(ix *indexer) (int64, error)) error {
	ix := newIndexer(s.base, s.o.IndexIntervalBytes)
	pos, err := start(&ix)
	if err != nil {
		return err
	}
	next, first := s.base, pos > 0
	err = s.headers(pos, func(at int64, h *batch.Header) error {
		if h.BaseOffset < next || h.LastOffsetDelta < 0 {
			return &Error{File: s.path(Log), Offset: at, Reason: BadOffset, Detail: fmt.Sprintf("base offset %d before %d", h.BaseOffset, next)}
		}
		next = h.LastOffset() + 1
		if first { // the batch of the last entry, which is already counted
			first = false
			if h.LastOffset() != ix.maxOffset {
				return &Error{File: s.path(Index), Reason: BadIndex, Detail: "last entry"}
			}
			ix.maxTime, ix.maxOffset = ix.last.Timestamp, ix.last.Offset
			ix.since = int64(h.Size())
			return nil
		}
		ix.add(h, at)
		return nil
	})
	if err != nil {
		return err
	}
	s.ix, s.next = ix, next
	if pos == 0 { // all entries are still to be written, and will be true
		s.proof = proof{done: true, entries: math.MaxInt64, newest: TimeEntry{ix.maxTime, ix.maxOffset}}
	}
	return nil
}

// lastEntry takes the index files' word up to the last entry; ix.maxOffset holds that entry's offset until it is checked.
func (s *Segment) lastEntry(ix *indexer) (int64, error) {
	n, last, err := validIndex(s.index, s.base, s.size)
	if err != nil || n == 0 {
		return 0, err
	}
	tn, time, err := validTimes(s.times, s.base, last.Offset)
	if err != nil || tn == 0 {
		return 0, err // no time so far although there are entries: read all headers
	}
	if ok, err := s.confirmTime(time, view{size: s.size, entries: n}); err != nil || !ok {
		return 0, err
	}
	ix.entries, ix.timeEntries, ix.last, ix.maxOffset = n, tn, time, last.Offset
	return last.Position, nil
}

// prepare makes the segment ready for a write: state loaded, and the index files holding exactly the entries that the batches imply.
func (s *Segment) prepare() error {
	s.mu.Lock()
	if s.sealed {
		s.loaded, s.sealed = false, false
	}
	s.mu.Unlock()
	if err := s.load(); err != nil {
		return err
	}
	if err := s.openAll(); err != nil {
		return err
	}
	ix := s.ix
	if err := s.writeEntries(&ix); err != nil {
		return err
	}
	s.mu.Lock()
	s.ix = ix
	s.mu.Unlock()
	return nil
}

// openAll opens the files that are not open.
func (s *Segment) openAll() error {
	s.mu.RLock()
	open := s.log != nil && s.index != nil && s.times != nil
	s.mu.RUnlock()
	if open {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.openAllLocked()
}

func (s *Segment) openAllLocked() error {
	if _, err := s.openLocked(&s.log, Log); err != nil {
		return err
	}
	if _, err := s.openLocked(&s.index, Index); err != nil {
		return err
	}
	_, err := s.openLocked(&s.times, TimeIndex)
	return err
}
