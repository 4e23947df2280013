package segment

import (
	"errors"
	"fmt"

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

// confirmTime says whether the batch that a time entry names is there and has that time.
func (s *Segment) confirmTime(e TimeEntry, v view) (ok bool, err error) {
	start, err := s.lookup(e.Offset, v)
	if err != nil {
		return false, err
	}
	err = walkHeaders(s.log, s.path(Log), start, v.size, func(_ int64, h *batch.Header) error {
		if h.LastOffset() < e.Offset {
			return nil
		}
		ok = h.LastOffset() == e.Offset && h.MaxTimestamp == e.Timestamp
		return errStop
	})
	var bad *Error
	if errors.As(err, &bad) {
		return false, nil // the index led astray, or the batch is damaged
	}
	return ok, err
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
