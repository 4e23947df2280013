package partition

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"chronik.dev/chronik/broker/batch"
	"chronik.dev/chronik/broker/segment"
	"chronik.dev/chronik/broker/vfs"
)

var errExist = fs.ErrExist

// windowSize is how many bytes of batches are compared or written at a time.
const windowSize = 64 << 10

// cursor is the end of the active segment during replay: it compares what the file holds with what the journal says, and writes from the
// first difference on.
type cursor struct {
	r       *Replay
	opened  bool
	file    vfs.File // for reading; nil if missing
	pos     int64    // model size of the file, with what is pending
	disk    int64    // size on disk
	writing bool     // past the first difference
	cutOff  bool     // the file held more than the model
	seg     *segment.Segment
	pending []byte // batches not yet compared or written
}

func (c *cursor) base() int64 { return c.r.st.Segments[len(c.r.st.Segments)-1].Base }

func (c *cursor) path() string { return filepath.Join(c.r.dir, logName(c.base())) }

// done is the file position up to which everything is compared or written.
func (c *cursor) done() int64 { return c.pos - int64(len(c.pending)) }

// open opens the active segment at the model's size. A file that is shorter is damage, except a segment that the model just began.
func (c *cursor) open() error {
	if c.opened {
		return nil
	}
	c.opened = true
	c.pos = c.r.st.Segments[len(c.r.st.Segments)-1].Size
	f, err := c.r.env.FS.OpenFile(c.path(), os.O_RDONLY)
	switch {
	case errors.Is(err, fs.ErrNotExist) && c.pos == 0:
	case errors.Is(err, fs.ErrNotExist):
		return c.r.damage(Missing, c.path(), 0, "the file is missing, the checkpoint says %d bytes", c.pos)
	case err != nil:
		return c.r.damage(Unreadable, c.path(), 0, "%v", err)
	default:
		if c.disk, err = f.Size(); err != nil {
			return c.r.damage(Unreadable, c.path(), 0, "%v", errors.Join(err, f.Close()))
		}
		c.file = f
	}
	if c.disk < c.pos {
		return c.r.damage(Missing, c.path(), c.disk, "the file has %d bytes, the checkpoint says %d", c.disk, c.pos)
	}
	return nil
}

// begin opens the segment for writing, before the first batch.
func (c *cursor) begin() error {
	if c.seg != nil || c.r.opt.ReadOnly {
		return nil
	}
	var err error
	if c.file == nil {
		c.seg, err = segment.Create(c.r.env.FS, c.r.dir, c.base(), c.r.st.active().Shape.options())
	} else {
		c.seg, err = segment.Open(c.r.env.FS, c.r.dir, c.base(), c.done(), c.r.st.active().Shape.options())
	}
	if err != nil {
		return fmt.Errorf("replay %s: %w", c.r.st.Dir, err)
	}
	return nil
}

// put adds a batch at the end.
func (c *cursor) put(raw []byte) error {
	if err := c.begin(); err != nil {
		return err
	}
	c.pending = append(c.pending, raw...)
	c.pos += int64(len(raw))
	if len(c.pending) >= windowSize {
		return c.hand()
	}
	return nil
}

// hand compares the pending batches with the file, or writes them once something differed.
func (c *cursor) hand() error {
	if len(c.pending) == 0 {
		return nil
	}
	if !c.writing {
		differs, err := c.compare(c.pending)
		if err != nil {
			return err
		}
		if differs == int64(len(c.pending)) {
			c.r.sums.add(segment.Log, c.base(), c.done(), c.pending)
			c.pending = c.pending[:0]
			return nil
		}
		if err := c.diverge(differs); err != nil {
			return err
		}
	}
	var err error
	if c.seg != nil {
		err = c.seg.Append(c.pending)
	}
	c.r.sums.add(segment.Log, c.base(), c.done(), c.pending)
	c.pending = c.pending[:0]
	if err != nil {
		return fmt.Errorf("replay %s: %w", c.r.st.Dir, err)
	}
	return nil
}

// compare tells how many of the bytes the file holds at done; all of them are then part of the segment.
func (c *cursor) compare(want []byte) (differs int64, err error) {
	if c.seg != nil {
		_, differs, err = c.seg.Adopt(want)
	} else if c.file != nil {
		differs, err = equalBytes(c.file, c.done(), c.disk, want)
	}
	if err != nil {
		return 0, c.r.damage(Unreadable, c.path(), c.done(), "%v", err)
	}
	return differs, nil
}

// diverge keeps the pending batches that the file holds, saves what it holds past them, cuts it, and turns to writing. differs is the
// first byte of pending that the file does not hold.
func (c *cursor) diverge(differs int64) error {
	whole := 0
	for whole < len(c.pending) {
		h, err := batch.Parse(c.pending[whole:])
		if err != nil || int64(whole+h.Size()) > differs {
			break
		}
		whole += h.Size()
	}
	if whole > 0 {
		if _, err := c.compare(c.pending[:whole]); err != nil {
			return err
		}
		c.r.sums.add(segment.Log, c.base(), c.done(), c.pending[:whole])
		c.pending = append(c.pending[:0], c.pending[whole:]...)
	}
	c.writing = true
	if c.disk <= c.done() {
		return nil
	}
	// A file that ends inside what the journal has next is an interrupted write: nothing in it is worth saving.
	return c.cut(Rewritten, c.disk-c.done() == differs-int64(whole), "the bytes differ from the journal, which has them all")
}

// cut saves the file's bytes past the model's end in evidence/, unless they are worthless, and cuts the file there.
func (c *cursor) cut(kind FindingKind, worthless bool, why string) error {
	f := Finding{Kind: kind, File: c.path(), Offset: c.done(), Length: c.disk - c.done(), FirstOffset: c.r.st.End, LastOffset: -1, Message: why}
	if !worthless && !c.r.opt.ReadOnly {
		var err error
		if f.Evidence, err = c.r.save(c.path(), c.done(), c.disk-c.done()); err != nil {
			return err
		}
	}
	if !worthless {
		c.r.findings = append(c.r.findings, f)
	}
	if c.r.opt.ReadOnly {
		return nil
	}
	if err := truncateFile(c.r.env.FS, c.path(), c.done()); err != nil {
		return fmt.Errorf("replay %s: %w", c.r.st.Dir, err)
	}
	c.disk, c.cutOff = c.done(), true
	return nil
}

// next returns the batch that the file holds at the model's end, nil if there is no valid one.
func (c *cursor) next() ([]byte, batch.Header, error) {
	if err := c.hand(); err != nil {
		return nil, batch.Header{}, err
	}
	if c.writing || c.file == nil || c.disk-c.pos < batch.HeaderSize {
		return nil, batch.Header{}, nil
	}
	head := make([]byte, batch.HeaderSize)
	if _, err := c.file.ReadAt(head, c.pos); err != nil {
		return nil, batch.Header{}, c.r.damage(Unreadable, c.path(), c.pos, "%v", err)
	}
	h, err := batch.Parse(head)
	if err != nil || int64(h.Size()) > c.disk-c.pos || h.Size() < batch.HeaderSize {
		return nil, batch.Header{}, nil
	}
	raw := make([]byte, h.Size())
	if _, err := c.file.ReadAt(raw, c.pos); err != nil {
		return nil, batch.Header{}, c.r.damage(Unreadable, c.path(), c.pos, "%v", err)
	}
	if h, err = batch.CheckStored(raw); err != nil {
		return nil, batch.Header{}, nil
	}
	return raw, h, nil
}

func (c *cursor) atEnd() bool { return !c.writing && c.pos >= c.disk }

// finish hands everything over and cuts what the file holds past the model's end; sealed segments get their final indexes.
func (c *cursor) finish(seal bool) error {
	if err := c.open(); err != nil {
		return err
	}
	if err := c.hand(); err != nil {
		return err
	}
	if !c.writing && c.disk > c.pos {
		if err := c.cut(Cut, false, "neither the checkpoint nor the journal knows these bytes"); err != nil {
			return err
		}
	}
	if err := c.begin(); err != nil {
		return err
	}
	var err error
	switch {
	case c.seg == nil:
	case seal:
		err = errors.Join(c.seg.Seal(), c.seg.Close())
		c.seg = nil
	case c.cutOff || c.r.grown:
		// The indexes may hold more than the file, after this cut or one before that lost its power; on a full disk the next append sees to it.
		if err = c.seg.TruncateSize(c.pos); vfs.NoRoom(err) {
			err = nil
		}
	}
	if c.file != nil {
		err = errors.Join(err, c.file.Close())
		c.file = nil
	}
	if err != nil {
		return fmt.Errorf("replay %s: %w", c.r.st.Dir, err)
	}
	return nil
}

// equalBytes tells how many of want's bytes a file of size bytes holds at pos.
func equalBytes(f vfs.File, pos, size int64, want []byte) (int64, error) {
	got := make([]byte, min(int64(len(want)), max(size-pos, 0)))
	if _, err := f.ReadAt(got, pos); err != nil && len(got) > 0 && !errors.Is(err, io.EOF) {
		return 0, err
	}
	if bytes.Equal(got, want[:len(got)]) {
		return int64(len(got)), nil
	}
	n := 0
	for got[n] == want[n] {
		n++
	}
	return int64(n), nil
}

// fileHas says whether a file holds these bytes at pos.
func fileHas(fsys vfs.FS, path string, pos int64, want []byte) (bool, error) {
	f, err := fsys.OpenFile(path, os.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	size, err := f.Size()
	if err != nil || size < pos+int64(len(want)) {
		return false, errors.Join(err, f.Close())
	}
	got := make([]byte, len(want))
	_, err = f.ReadAt(got, pos)
	return bytes.Equal(got, want), errors.Join(err, f.Close())
}

func writeAt(fsys vfs.FS, path string, pos int64, data []byte) error {
	f, err := fsys.OpenFile(path, os.O_RDWR)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(data, pos)
	return errors.Join(err, f.Sync(), f.Close())
}

func truncateFile(fsys vfs.FS, path string, size int64) error {
	f, err := fsys.OpenFile(path, os.O_RDWR)
	if err != nil {
		return err
	}
	return errors.Join(f.Truncate(size), f.Close())
}
