package segment

import (
	"errors"
	"fmt"
	"io"
	"sort"
	"sync"

	"chronik.dev/chronik/broker/batch"
)

// headerChunk is how many bytes a walk over headers reads at once.
const headerChunk = 16 << 10

// headers calls fn for every batch header from pos up to the segment's size, without checking CRCs. The caller holds mu, or is sure
// that the size does not shrink.
func (s *Segment) headers(pos int64, fn func(pos int64, h *batch.Header) error) error {
	return walkHeaders(s.log, s.path(Log), pos, s.size, fn)
}

var headerBuffers = sync.Pool{New: func() any { return new([headerChunk]byte) }}

var errStop = errors.New("stop")

// walkHeaders calls fn for the headers of the batches in [pos, end) of a file; fn may return errStop.
func walkHeaders(f io.ReaderAt, name string, pos, end int64, fn func(pos int64, h *batch.Header) error) error {
	pooled := headerBuffers.Get().(*[headerChunk]byte)
	defer headerBuffers.Put(pooled)
	buf := pooled[:]
	from, have := pos, 0 // buf holds have bytes of the file at from
	want := len(buf)     // what to read at once: little where batches are large
	for pos < end {
		if pos+batch.HeaderSize > from+int64(have) {
			n, err := f.ReadAt(buf[:min(int64(want), end-pos)], pos)
			if err != nil && err != io.EOF {
				return err
			}
			from, have = pos, n
		}
		h, err := batch.Parse(buf[pos-from : have])
		if err != nil {
			return &Error{File: name, Offset: pos, Reason: BadBatch, Err: err}
		}
		if int64(h.Size()) > end-pos {
			return &Error{File: name, Offset: pos, Reason: Truncated, Detail: fmt.Sprintf("a batch of %d bytes, %d are left", h.Size(), end-pos)}
		}
		if err := fn(pos, &h); err == errStop {
			return nil
		} else if err != nil {
			return err
		}
		pos += int64(h.Size())
		want = len(buf)
		if h.Size() > headerChunk {
			want = batch.HeaderSize
		}
	}
	return nil
}

// view is what a reader may see: batches up to size, entries up to the counts, no time above newest.
type view struct {
	size, next, entries, timeEntries, newest int64
}

func (s *Segment) view() (view, error) {
	if err := s.load(); err != nil {
		return view{}, err
	}
	if err := s.openAll(); err != nil {
		return view{}, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return view{
		s.size, s.next, s.ix.entries - int64(len(s.ix.index))/IndexEntrySize, s.ix.timeEntries - int64(len(s.ix.times))/TimeEntrySize, s.ix.maxTime,
	}, nil
}

// FindOffset returns the position of the first batch whose last offset is offset or later; Size if there is none.
func (s *Segment) FindOffset(offset int64) (int64, error) {
	v, err := s.view()
	if err != nil {
		return 0, err
	}
	return s.find(offset, v)
}

func (s *Segment) find(offset int64, v view) (int64, error) {
	if offset >= v.next {
		return v.size, nil
	}
	if offset <= s.base {
		return 0, nil
	}
	if pos, ok := s.hint(offset, v.size); ok {
		return pos, nil
	}
	start, err := s.lookup(offset, v)
	if err != nil {
		return 0, err
	}
	found, err := s.seek(start, offset, v)
	if err != nil && start > 0 {
		return s.seek(0, offset, v) // an index entry that points nowhere costs time, not a record
	}
	return found, err
}

// seek walks the headers from start to the batch that FindOffset looks for.
func (s *Segment) seek(start, offset int64, v view) (int64, error) {
	found := v.size
	first := true
	err := walkHeaders(s.log, s.path(Log), start, v.size, func(pos int64, h *batch.Header) error {
		if first && start > 0 && h.BaseOffset > offset {
			return &Error{File: s.path(Index), Reason: BadIndex, Detail: fmt.Sprintf("an entry leads past offset %d", offset)}
		}
		first = false
		if h.LastOffset() >= offset {
			found = pos
			return errStop
		}
		return nil
	})
	return found, err
}

// lookup returns where to begin the walk to offset: the position of the last index entry whose offset is at most that.
func (s *Segment) lookup(offset int64, v view) (int64, error) {
	var failed error
	var b [IndexEntrySize]byte
	entry := func(i int) IndexEntry {
		if _, err := s.index.ReadAt(b[:], int64(i)*IndexEntrySize); err != nil && failed == nil && err != io.EOF {
			failed = err
		}
		return decodeEntry(b[:], s.base)
	}
	i := sort.Search(int(v.entries), func(i int) bool { return entry(i).Offset > offset })
	if i == 0 || failed != nil {
		return 0, failed
	}
	e := entry(i - 1)
	if e.Position < 0 || e.Position >= v.size {
		return 0, failed
	}
	return e.Position, failed
}

// hint returns where a recent read ended, if that is where offset begins.
func (s *Segment) hint(offset, size int64) (int64, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, h := range s.hints {
		if h.offset == offset && h.pos > 0 && h.pos < size {
			return h.pos, true
		}
	}
	return 0, false
}

// remember keeps where a read ended.
func (s *Segment) remember(offset, pos int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range s.hints {
		if h.offset == offset {
			return
		}
	}
	s.hints[s.turn] = hint{offset, pos}
	s.turn = (s.turn + 1) % len(s.hints)
}

// Read returns whole batches from the one that holds offset on, up to maxBytes and only batches that end below upTo. With atLeastOne
// the first of them is returned even if it alone is larger. Nothing to return is (nil, nil). What is returned lies in memory of alloc, which may be
// called for it more than once; nil is make. dense says that every offset has its record, as where nothing was compacted: what is returned then
// begins with the batch that holds offset and has no gap. Kafka's CRC does not cover a batch's offset; damage to it is a BadOffset here.
func (s *Segment) Read(offset int64, maxBytes int, atLeastOne bool, upTo int64, dense bool, alloc func(n int) []byte) ([]byte, error) {
	if alloc == nil {
		alloc = func(n int) []byte { return make([]byte, n) }
	}
	v, err := s.view()
	if err != nil {
		return nil, err
	}
	pos, err := s.find(offset, v)
	if err != nil || pos >= v.size {
		return nil, err
	}
	if v.size-pos < batch.HeaderSize {
		return nil, &Error{File: s.path(Log), Offset: pos, Reason: Truncated, Detail: fmt.Sprintf("%d bytes are left", v.size-pos)}
	}
	buf := alloc(int(max(min(int64(maxBytes), v.size-pos), batch.HeaderSize)))
	n, err := s.log.ReadAt(buf, pos)
	if err != nil && err != io.EOF {
		return nil, err
	}
	buf = buf[:n]
	if h, err := batch.Parse(buf); err == nil && (h.BaseOffset > offset && dense || h.LastOffset() < offset) {
		return nil, &Error{File: s.path(Log), Offset: pos, Reason: BadOffset,
			Detail: fmt.Sprintf("a batch of offsets %d to %d where offset %d must be", h.BaseOffset, h.LastOffset(), offset)}
	}
	end, next := wholeBatches(buf, maxBytes, upTo, dense)
	if end == 0 && atLeastOne {
		if buf, end, next, err = s.readOne(buf, pos, v.size, upTo, alloc); err != nil {
			return nil, err
		}
	}
	if end == 0 {
		return nil, nil
	}
	s.remember(next, pos+int64(end))
	return buf[:end:end], nil
}

// readOne reads the batch at pos whole; buf holds its beginning.
func (s *Segment) readOne(buf []byte, pos, size, upTo int64, alloc func(n int) []byte) (_ []byte, end int, next int64, err error) {
	h, err := batch.Parse(buf)
	if err != nil {
		return nil, 0, 0, &Error{File: s.path(Log), Offset: pos, Reason: BadBatch, Err: err}
	}
	if h.LastOffset() >= upTo {
		return nil, 0, 0, nil
	}
	if int64(h.Size()) > size-pos {
		return nil, 0, 0, &Error{File: s.path(Log), Offset: pos, Reason: Truncated, Detail: fmt.Sprintf("a batch of %d bytes, %d are left", h.Size(), size-pos)}
	}
	buf = alloc(h.Size())
	if n, err := s.log.ReadAt(buf, pos); err != nil && (err != io.EOF || n < len(buf)) {
		return nil, 0, 0, err
	}
	return buf, len(buf), h.LastOffset() + 1, nil
}

// wholeBatches returns how many of the first maxBytes bytes of buf are whole batches that end below upTo and follow one another, and the offset after
// them. Where one does not follow, the next read begins with it and says so.
func wholeBatches(buf []byte, maxBytes int, upTo int64, dense bool) (end int, next int64) {
	buf = buf[:max(min(len(buf), maxBytes), 0)]
	for {
		h, err := batch.Parse(buf[end:])
		if err != nil || h.Size() > len(buf)-end || h.LastOffset() >= upTo || end > 0 && (h.BaseOffset < next || dense && h.BaseOffset > next) {
			return end, next
		}
		end += h.Size()
		next = h.LastOffset() + 1
	}
}
