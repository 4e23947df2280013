package segment

import (
	"errors"
	"fmt"
	"io"
	"math"
	"sort"

	"chronik.dev/chronik/broker/batch"
)

// proof is how far the time index may be believed. An entry says something of every batch before it, which no look at the batch that it names
// can confirm, and nothing on the disk has a checksum of it: so what an earlier life wrote is compared with all batch headers once, when it
// is first asked for a time.
type proof struct {
	done    bool
	entries int64     // the first so many entries of .timeindex are true; math.MaxInt64: all, and those that will be written
	newest  TimeEntry // newest time of the batches that were looked at
}

// prove returns the proof, and makes it first if need be: v.size bytes of the log are read, once in the life of the segment.
func (s *Segment) prove(v view) (proof, error) {
	s.proving.Lock()
	defer s.proving.Unlock()
	s.mu.RLock()
	have := s.proof
	s.mu.RUnlock()
	if have.done {
		return have, nil
	}
	made, err := s.compareTimes(v)
	if err != nil {
		return proof{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.size >= v.size { // else it was truncated meanwhile
		s.proof = made
	}
	return made, nil
}

// compareTimes goes over the time index and the batches together, up to the first entry that is older than a record it speaks of. A batch
// that cannot be read ends it too: nothing behind it is proven then.
func (s *Segment) compareTimes(v view) (proof, error) {
	p := proof{done: true, newest: TimeEntry{batch.NoTimestamp, s.base}}
	r := entryReader{f: s.times, size: TimeEntrySize}
	e, more, err := s.nextTime(&r, v)
	// before takes the entries that speak of batches below offset only.
	before := func(offset int64) error {
		for more && err == nil && e.Offset < offset && e.Timestamp >= p.newest.Timestamp {
			p.entries++
			e, more, err = s.nextTime(&r, v)
		}
		return err
	}
	walked := walkHeaders(s.log, s.path(Log), 0, v.size, func(_ int64, h *batch.Header) error {
		if err := before(h.LastOffset()); err != nil {
			return err
		}
		if h.MaxTimestamp > p.newest.Timestamp {
			p.newest = TimeEntry{h.MaxTimestamp, h.LastOffset()}
		}
		return nil
	})
	var bad *Error
	switch {
	case errors.As(walked, &bad):
		return p, nil
	case walked == nil:
		walked = before(math.MaxInt64)
	}
	if walked != nil {
		return proof{}, fmt.Errorf("compare %s with the log: %w", s.path(TimeIndex), walked)
	}
	if !more {
		p.entries = math.MaxInt64
	}
	return p, nil
}

// nextTime returns the next of the entries that the segment counts as its own.
func (s *Segment) nextTime(r *entryReader, v view) (e TimeEntry, ok bool, err error) {
	if r.took == v.timeEntries {
		return e, false, nil
	}
	b, err := r.next()
	if err != nil || b == nil {
		return e, false, err
	}
	return decodeTime(b, s.base), true, nil
}

// MaxTimestamp is the newest time in ms of any batch, and the last offset of the batch that has it; (-1, base offset) if no batch has one.
// The first call, or OffsetForTime, of a segment that an earlier life wrote reads all batch headers.
func (s *Segment) MaxTimestamp() (ms, offset int64, err error) {
	v, err := s.view()
	if err != nil {
		return 0, 0, err
	}
	p, err := s.prove(v)
	if err != nil {
		return 0, 0, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if p.newest.Timestamp >= s.ix.maxTime {
		return p.newest.Timestamp, p.newest.Offset, nil
	}
	return s.ix.maxTime, s.ix.maxOffset, nil
}

// Found is a record that OffsetForTime found.
type Found struct {
	Offset, Timestamp int64
	LeaderEpoch       int32
}

// OffsetForTime returns the first record at or after from whose time is at least ms; ok is false if there is none.
func (s *Segment) OffsetForTime(ms, from int64) (r Found, ok bool, err error) {
	v, err := s.view()
	if err != nil {
		return r, false, err
	}
	p, err := s.prove(v)
	if err != nil || max(v.newest, p.newest.Timestamp) < ms {
		return r, false, err
	}
	v.timeEntries = min(v.timeEntries, p.entries)
	start, err := s.startForTime(ms, from, v)
	if err != nil {
		return r, false, err
	}
	err = walkHeaders(s.log, s.path(Log), start, v.size, func(pos int64, h *batch.Header) error {
		if h.MaxTimestamp < ms || h.LastOffset() < from {
			return nil
		}
		raw := make([]byte, h.Size())
		if n, err := s.log.ReadAt(raw, pos); err != nil && (err != io.EOF || n < len(raw)) {
			return err
		}
		rec, found, err := batch.FirstSince(raw, s.o.DecompressLimit, from, ms)
		if found {
			r, ok = Found{rec.Offset, rec.Timestamp, h.LeaderEpoch}, true
			return errStop
		}
		var bad *batch.Error
		if errors.As(err, &bad) {
			return &Error{File: s.path(Log), Offset: pos, Reason: BadBatch, Err: err}
		}
		return err
	})
	return r, ok, err
}

// startForTime returns a position before which no batch matters to OffsetForTime.
func (s *Segment) startForTime(ms, from int64, v view) (int64, error) {
	e, err := s.lookupTime(ms, v)
	if err != nil {
		return 0, err
	}
	return s.find(max(from, e.Offset), v)
}

// lookupTime returns the last time entry below ms; one with the base offset if there is none.
func (s *Segment) lookupTime(ms int64, v view) (TimeEntry, error) {
	var failed error
	var b [TimeEntrySize]byte
	entry := func(i int) TimeEntry {
		if _, err := s.times.ReadAt(b[:], int64(i)*TimeEntrySize); err != nil && failed == nil && err != io.EOF {
			failed = err
		}
		return decodeTime(b[:], s.base)
	}
	i := sort.Search(int(v.timeEntries), func(i int) bool { return entry(i).Timestamp >= ms })
	if i == 0 || failed != nil {
		return TimeEntry{batch.NoTimestamp, s.base}, failed
	}
	return entry(i - 1), failed
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
