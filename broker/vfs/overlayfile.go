package vfs

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"sync/atomic"
	"syscall"
)

// overFile is an open file of an Overlay.
type overFile struct {
	o      *Overlay
	n      *overNode
	name   string
	flag   int
	below  File // n.from in base, opened when it is first needed
	closed atomic.Bool
}

func (f *overFile) check(op string, write bool) error {
	access := f.flag & (os.O_RDONLY | os.O_WRONLY | os.O_RDWR)
	switch {
	case f.closed.Load():
		return pathError(op, f.name, fs.ErrClosed)
	case write && access == os.O_RDONLY, op == "read" && access == os.O_WRONLY:
		return pathError(op, f.name, syscall.EBADF)
	}
	return nil
}

// ReadAt implements File.
func (f *overFile) ReadAt(p []byte, off int64) (int, error) {
	if err := f.check("read", false); err != nil {
		return 0, err
	}
	f.o.mu.Lock()
	defer f.o.mu.Unlock()
	if off >= f.n.size {
		return 0, io.EOF
	}
	n := int(min(int64(len(p)), f.n.size-off))
	if err := f.read(p[:n], off); err != nil {
		return 0, pathError("read", f.name, err)
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// read fills p, which lies within the size. mu is held. Runs of pages that were not written are read at once.
func (f *overFile) read(p []byte, off int64) error {
	for len(p) > 0 {
		if page := f.n.pages[off/Block]; page != nil {
			n := copy(p, page[off%Block:])
			p, off = p[n:], off+int64(n)
			continue
		}
		n := min(len(p), int(Block-off%Block))
		for n < len(p) && f.n.pages[(off+int64(n))/Block] == nil {
			n = min(len(p), n+Block)
		}
		if err := f.readBelow(p[:n], off); err != nil {
			return err
		}
		p, off = p[n:], off+int64(n)
	}
	return nil
}

// readBelow fills p with what shows through of the file below, zeros past that. mu is held.
func (f *overFile) readBelow(p []byte, off int64) error {
	n := max(0, min(int64(len(p)), f.n.shows-off))
	clear(p[n:])
	if n == 0 {
		return nil
	}
	if f.below == nil {
		below, err := f.o.base.OpenFile(f.n.from, os.O_RDONLY)
		if err != nil {
			return err
		}
		f.below = below
	}
	f.o.reads[f.n.from] = true
	got, err := f.below.ReadAt(p[:n], off)
	if int64(got) == n {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// WriteAt implements File.
func (f *overFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.check("write", true); err != nil {
		return 0, err
	}
	f.o.mu.Lock()
	defer f.o.mu.Unlock()
	done := 0
	for done < len(p) {
		at := off + int64(done)
		page, err := f.writable(at/Block, at%Block == 0 && len(p)-done >= Block)
		if err != nil {
			return done, pathError("write", f.name, err)
		}
		done += copy(page[at%Block:], p[done:])
	}
	f.n.size = max(f.n.size, off+int64(len(p)))
	f.n.at = f.o.tick()
	return len(p), nil
}

// writable returns a page for writing; whole says that all of it will be written. mu is held.
func (f *overFile) writable(i int64, whole bool) (*[Block]byte, error) {
	if page := f.n.pages[i]; page != nil {
		return page, nil
	}
	page := new([Block]byte)
	if !whole {
		if err := f.readBelow(page[:], i*Block); err != nil {
			return nil, err
		}
	}
	if f.n.pages == nil {
		f.n.pages = map[int64]*[Block]byte{}
	}
	f.n.pages[i] = page
	return page, nil
}

// Truncate implements File.
func (f *overFile) Truncate(size int64) error {
	if err := f.check("truncate", true); err != nil {
		return err
	}
	f.o.mu.Lock()
	defer f.o.mu.Unlock()
	f.n.resize(size)
	f.n.at = f.o.tick()
	return nil
}

// resize sets the size; what is past it reads as zeros if it grows again.
func (n *overNode) resize(size int64) {
	n.shows = min(n.shows, size)
	for i, page := range n.pages {
		switch {
		case i*Block >= size:
			delete(n.pages, i)
		case (i+1)*Block > size:
			clear(page[size%Block:])
		}
	}
	n.size = size
}

// Sync implements File; there is nothing to do.
func (f *overFile) Sync() error { return f.check("sync", false) }

// Size implements File.
func (f *overFile) Size() (int64, error) {
	if err := f.check("size", false); err != nil {
		return 0, err
	}
	f.o.mu.Lock()
	defer f.o.mu.Unlock()
	return f.n.size, nil
}

// Close implements File.
func (f *overFile) Close() error {
	if f.closed.Swap(true) {
		return pathError("close", f.name, fs.ErrClosed)
	}
	f.o.mu.Lock()
	defer f.o.mu.Unlock()
	if f.below != nil {
		return f.below.Close()
	}
	return nil
}
