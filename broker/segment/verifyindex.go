package segment

import (
	"bytes"
	"fmt"

	"chronik.dev/chronik/broker/batch"
	"chronik.dev/chronik/broker/vfs"
)

// indexCheck compares .index with the batches as they go by.
type indexCheck struct {
	v      *verifier
	r      entryReader
	size   int64 // of the file
	name   string
	cur    []byte // the next entry, nil at the end
	at     int64  // its position in the file
	last   IndexEntry
	count  int64
	skipTo int64 // positions below it that no good batch has are damage of the log, not of the index
	failed bool  // reported once where the rest of the file says nothing more
}

func newIndexCheck(v *verifier, f vfs.File) *indexCheck {
	c := &indexCheck{v: v, r: entryReader{f: f, size: IndexEntrySize}, name: Index.Name(v.base), last: IndexEntry{v.base - 1, 0}}
	c.size, _ = f.Size()
	c.advance()
	return c
}

func (c *indexCheck) bad(format string, args ...any) {
	c.v.report(Finding{File: c.name, Offset: c.at, Length: IndexEntrySize, Record: "index entry", Reason: BadIndex, Detail: fmt.Sprintf(format, args...), First: 0, Last: -1})
}

// advance moves to the next entry.
func (c *indexCheck) advance() {
	if c.cur != nil {
		c.at += IndexEntrySize
		c.count++
	}
	b, err := c.r.next()
	if err != nil {
		c.v.report(Finding{File: c.name, Offset: c.at, Length: c.size - c.at, Record: "index entry", Reason: IOError, Detail: err.Error(), First: 0, Last: -1})
		c.failed = true
	}
	c.cur = b
}

// batch takes the next good batch and the entry that the batches imply there, if they do.
func (c *indexCheck) batch(pos int64, h *batch.Header, implied []byte) {
	if c.failed {
		return
	}
	if c.v.o.Exact && !c.v.damaged {
		if len(implied) == 0 {
			return
		}
		if !bytes.Equal(c.cur, implied) {
			c.bad("the batches imply offset %d at position %d here", h.LastOffset(), pos)
		}
		if c.cur != nil {
			c.last = decodeEntry(c.cur, c.v.base)
			c.advance()
		}
		return
	}
	for c.cur != nil && !c.failed {
		e := decodeEntry(c.cur, c.v.base)
		if e.Position > pos || (e.Position == 0 && e.Offset == c.v.base) { // later, or the zeros of a preallocated file
			return
		}
		switch {
		case e.Offset <= c.last.Offset || e.Position <= c.last.Position:
			c.bad("offset %d at position %d after offset %d at %d", e.Offset, e.Position, c.last.Offset, c.last.Position)
		case e.Position < pos && e.Position >= c.skipTo:
			c.bad("position %d is inside a batch", e.Position)
		case e.Position == pos && e.Offset != h.LastOffset():
			c.bad("offset %d, the batch at position %d ends with %d", e.Offset, pos, h.LastOffset())
		default:
			c.last = e
		}
		c.advance()
	}
}

// end takes the end of the log at size.
func (c *indexCheck) end(size int64) {
	if c.v.o.Grown && c.v.o.Exact && !c.v.damaged {
		return // every entry of these batches was there; behind them is whatever an interrupted write left
	}
	zeros := false
	for ; c.cur != nil && !c.failed; c.advance() {
		e := decodeEntry(c.cur, c.v.base)
		if !c.v.o.Exact && e.Position == 0 && e.Offset == c.v.base {
			zeros = true
			c.count-- // room, not an entry
			continue
		}
		if e.Position < c.skipTo && c.v.damaged && !zeros {
			continue
		}
		if c.v.o.Grown && (int64(e.Position) >= size || e.Position == 0 && e.Offset == c.v.base) {
			return // newer, or zeros where a newer one was not written
		}
		c.bad("position %d, but no batch is left before the end at %d", e.Position, size)
		c.failed = true
	}
	if tail := c.size % IndexEntrySize; tail != 0 && !c.failed && !c.v.o.Grown {
		c.bad("%d bytes after the last entry", tail)
	}
}

// timeCheck compares .timeindex with the batches as they go by.
type timeCheck struct {
	v      *verifier
	r      entryReader
	size   int64
	name   string
	cur    []byte
	at     int64
	last   TimeEntry
	newest int64 // of the batches so far
	count  int64
	failed bool
}

func newTimeCheck(v *verifier, f vfs.File) *timeCheck {
	c := &timeCheck{v: v, r: entryReader{f: f, size: TimeEntrySize}, name: TimeIndex.Name(v.base), newest: batch.NoTimestamp}
	c.last = TimeEntry{batch.NoTimestamp, v.base - 1}
	c.size, _ = f.Size()
	c.advance()
	return c
}

func (c *timeCheck) bad(format string, args ...any) {
	c.v.report(Finding{File: c.name, Offset: c.at, Length: TimeEntrySize, Record: "time entry", Reason: BadIndex, Detail: fmt.Sprintf(format, args...), First: 0, Last: -1})
}

func (c *timeCheck) advance() {
	if c.cur != nil {
		c.at += TimeEntrySize
		c.count++
	}
	b, err := c.r.next()
	if err != nil {
		c.v.report(Finding{File: c.name, Offset: c.at, Length: c.size - c.at, Record: "time entry", Reason: IOError, Detail: err.Error(), First: 0, Last: -1})
		c.failed = true
	}
	c.cur = b
}

// batch takes the next good batch and the entry that the batches imply there, if they do.
func (c *timeCheck) batch(h *batch.Header, implied []byte) {
	before := c.newest
	c.newest = max(c.newest, h.MaxTimestamp)
	if c.failed {
		return
	}
	if c.v.o.Exact && !c.v.damaged {
		if len(implied) == 0 {
			return
		}
		if !bytes.Equal(c.cur, implied) {
			e := decodeTime(implied, c.v.base)
			c.bad("the batches imply time %d at offset %d here", e.Timestamp, e.Offset)
		}
		if c.cur != nil {
			c.last = decodeTime(c.cur, c.v.base)
			c.advance()
		}
		return
	}
	for c.cur != nil && !c.failed {
		e := decodeTime(c.cur, c.v.base)
		if e.Offset > h.LastOffset() || c.room(e) {
			return
		}
		switch {
		case e.Timestamp <= c.last.Timestamp || e.Offset <= c.last.Offset:
			c.bad("time %d at offset %d after time %d at %d", e.Timestamp, e.Offset, c.last.Timestamp, c.last.Offset)
		case c.v.damaged: // the batch may be one of those that are lost
			c.last = e
		case e.Offset < h.LastOffset():
			c.bad("no batch ends with offset %d", e.Offset)
		case e.Timestamp != h.MaxTimestamp || e.Timestamp < before:
			c.bad("time %d at offset %d, the batch's is %d and the newest %d", e.Timestamp, e.Offset, h.MaxTimestamp, c.newest)
		default:
			c.last = e
		}
		c.advance()
	}
}

// room says that an entry is one of the zeros of a preallocated file, or of one that grew and was not written: only a file's single entry can be
// zero and mean it.
func (c *timeCheck) room(e TimeEntry) bool {
	return e.Timestamp == 0 && e.Offset == c.v.base && !c.v.o.Exact && (c.at > 0 || (c.size > TimeEntrySize || c.v.o.Grown) && c.newest != 0)
}

// end takes the entry that Seal adds, if the batches imply one.
func (c *timeCheck) end(implied []byte) {
	if c.v.o.Exact && !c.v.damaged && len(implied) > 0 {
		switch {
		case c.cur != nil && bytes.Equal(c.cur, implied):
			c.advance()
		case c.cur == nil && c.v.o.Sealed && !c.failed:
			e := decodeTime(implied, c.v.base)
			c.bad("the entry that closes the segment is missing: time %d at offset %d", e.Timestamp, e.Offset)
		}
	}
	if c.v.o.Grown && c.v.o.Exact && !c.v.damaged {
		return // as above
	}
	for ; c.cur != nil && !c.failed; c.advance() {
		e := decodeTime(c.cur, c.v.base)
		if c.room(e) {
			c.count--
			continue
		}
		if c.v.damaged {
			continue
		}
		if c.v.o.Grown && (e.Offset >= c.v.sum.NextOffset || e.Timestamp == 0 && e.Offset == c.v.base) {
			return // newer, or zeros where a newer one was not written
		}
		c.bad("time %d at offset %d, behind the last batch", e.Timestamp, e.Offset)
		c.failed = true
	}
	if tail := c.size % TimeEntrySize; tail != 0 && !c.failed && !c.v.o.Grown {
		c.bad("%d bytes after the last entry", tail)
	}
}
