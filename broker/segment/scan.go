package segment

import (
	"fmt"
	"io"
	"math"

	"chronik.dev/chronik/broker/batch"
)

// MaxBatch is the size in bytes above which a batch is not believed: Kafka's socket.request.max.bytes.
const MaxBatch = 100 << 20

const scanChunk = 256 << 10

// window reads a file ahead and shows parts of it.
type window struct {
	f    io.ReaderAt
	end  int64 // nothing behind it is read
	buf  []byte
	from int64 // of buf in the file
	have int
}

// at shows n bytes at pos, or fewer at the end. They are valid until the next call.
func (w *window) at(pos int64, n int) ([]byte, error) {
	n = int(min(int64(n), max(w.end-pos, 0)))
	if skip := pos - w.from; skip < 0 || skip+int64(n) > int64(w.have) {
		if size := max(n, int(min(scanChunk, w.end-pos))); len(w.buf) < size {
			old := w.buf
			w.buf = make([]byte, size)
			copy(w.buf, old[:w.have])
		}
		kept := 0
		if skip >= 0 && skip < int64(w.have) {
			kept = copy(w.buf, w.buf[skip:w.have])
		}
		w.from, w.have = pos, kept
		m, err := w.f.ReadAt(w.buf[kept:min(int64(len(w.buf)), w.end-pos)], pos+int64(kept))
		w.have += m
		if err != nil && err != io.EOF && w.have < n {
			return nil, err
		}
	}
	b := w.buf[pos-w.from : w.have]
	return b[:min(n, len(b))], nil
}

// batchAt shows the batch at pos after checking it; next is the lowest base offset it may have. Errors are *Error, or of I/O.
func (w *window) batchAt(pos, base, next int64) (h batch.Header, raw []byte, err error) {
	head, err := w.at(pos, batch.HeaderSize)
	if err != nil {
		return h, nil, err
	}
	if h, err = batch.Parse(head); err != nil {
		if len(head) < batch.HeaderSize {
			return h, nil, &Error{Offset: pos, Reason: Truncated, Detail: fmt.Sprintf("%d bytes are left, a batch header has %d", len(head), batch.HeaderSize)}
		}
		return h, nil, &Error{Offset: pos, Reason: BadBatch, Err: err}
	}
	if int64(h.Size()) > w.end-pos {
		return h, nil, &Error{Offset: pos, Reason: Truncated, Detail: fmt.Sprintf("a batch of %d bytes, %d are left", h.Size(), w.end-pos)}
	}
	if h.Size() > MaxBatch {
		return h, nil, &Error{Offset: pos, Reason: BadBatch, Detail: fmt.Sprintf("a batch of %d bytes", h.Size())}
	}
	if raw, err = w.at(pos, h.Size()); err != nil {
		return h, nil, err
	}
	if _, err = batch.CheckStored(raw); err != nil {
		return h, nil, &Error{Offset: pos, Reason: BadBatch, Err: err}
	}
	if h.BaseOffset < next || h.LastOffset()-base > math.MaxInt32 {
		return h, nil, &Error{Offset: pos, Reason: BadOffset, Detail: fmt.Sprintf("batch of offsets %d to %d where %d is next", h.BaseOffset, h.LastOffset(), next)}
	}
	return h, raw, nil
}

// Scan reads the batches in [from, to) of a segment's .log file strictly: every batch whole and checked, offsets rising from base. raw is
// valid during fn only. An error of fn ends the scan; faults are *Error with name as the file.
func Scan(f io.ReaderAt, name string, base, from, to int64, fn func(pos int64, h batch.Header, raw []byte) error) error {
	w := window{f: f, end: to}
	next := base
	for pos := from; pos < to; {
		h, raw, err := w.batchAt(pos, base, next)
		if e, ok := err.(*Error); ok {
			e.File = name
		}
		if err != nil {
			return err
		}
		if err := fn(pos, h, raw); err != nil {
			return err
		}
		next = h.LastOffset() + 1
		pos += int64(len(raw))
	}
	return nil
}

// Scan reads the segment's batches from pos on, as the function Scan does.
func (s *Segment) Scan(pos int64, fn func(pos int64, h batch.Header, raw []byte) error) error {
	f, err := s.logFile()
	if err != nil {
		return err
	}
	return Scan(f, s.path(Log), s.base, pos, s.Size(), fn)
}

// resync finds the first place after pos where a batch lies that may follow: checked, with a base offset of at least next, and followed
// by the end or by another header that may follow it. A checked batch with damage behind it counts if the next such place has higher
// offsets: a batch that is only the payload of a damaged one would not fit in. Without a place it returns the end.
func (w *window) resync(pos, base, next int64) (int64, error) {
	var alone batch.Header // the first checked batch with damage behind it
	at := w.end
	for p := pos + 1; p+batch.HeaderSize <= w.end; p++ {
		b, err := w.at(p, batch.HeaderSize)
		if err != nil {
			return min(at, p), err
		}
		if len(b) < batch.HeaderSize {
			break
		}
		if b[16] != 2 || b[8] > 0x06 || b[0]|b[23]|b[57] > 0x7f {
			continue // magic, length below 2^27, nothing negative
		}
		h, ok, err := w.follows(p, base, next)
		if err != nil {
			return min(at, p), err
		}
		if ok && at < p && p >= at+int64(alone.Size()) && h.BaseOffset > alone.LastOffset() {
			return at, nil
		}
		if ok {
			return p, nil
		}
		if h.Magic == 2 && at == w.end {
			alone, at = h, p
		}
	}
	return at, nil
}

// follows looks for a checked batch at p; its header has magic 0 if there is none. ok says that behind it lies the end or a plausible
// header.
func (w *window) follows(p, base, next int64) (h batch.Header, ok bool, err error) {
	h, raw, err := w.batchAt(p, base, next)
	if _, bad := err.(*Error); bad {
		return batch.Header{}, false, nil
	}
	if err != nil {
		return h, false, err
	}
	after := p + int64(len(raw))
	if after == w.end {
		return h, true, nil
	}
	b, err := w.at(after, batch.HeaderSize)
	if err != nil {
		return h, false, err
	}
	n, err := batch.Parse(b)
	return h, err == nil && n.BaseOffset > h.LastOffset(), nil
}
