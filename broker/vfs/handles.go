package vfs

import (
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
)

// Handles is a file system that holds a bounded number of descriptors for the files opened through it: one that was not used lately gives its
// descriptor back and is opened again by name when it is used. So the number of partitions and segments of a node does not depend on the
// process's limit of open files.
//
// A file must keep its name while it is open: close it before it is renamed or removed, as Windows demands. Files opened with Direct or DSync,
// or for reading only, are opened as ever. When a file that was written has given its descriptor back before its Sync, that Sync is a
// SyncFS: the operating system tells a failed write to the descriptors of a file that were open at that time, and to the file system.
type Handles struct {
	FS
	limit int

	mu   sync.Mutex
	ring []*handle // those with a descriptor; a clock hand goes round
	hand int
}

// NewHandles returns a file system on base that holds at most limit descriptors, and more only while more files than that are in use at once.
func NewHandles(base FS, limit int) *Handles { return &Handles{FS: base, limit: max(limit, 1)} }

// Open returns how many descriptors are held.
func (p *Handles) Open() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.ring)
}

// OpenFile implements FS.
func (p *Handles) OpenFile(name string, flag int) (File, error) {
	if flag&(Direct|DSync) != 0 || flag&os.O_RDWR == 0 {
		return p.FS.OpenFile(name, flag)
	}
	h := &handle{pool: p, name: name}
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.open(flag); err != nil {
		return nil, err
	}
	return h, nil
}

// handle is a file of Handles.
type handle struct {
	pool *Handles
	name string
	used atomic.Bool // since the clock hand came by

	at int // place in Handles.ring, guarded by Handles.mu

	mu     sync.RWMutex // held for reading during every call, so that a descriptor in use is not given back
	file   File         // nil: given back
	closed bool
	dirty  atomic.Bool // written since the last Sync
	blind  atomic.Bool // gave a descriptor back while it was dirty
}

// open takes a descriptor. mu is held.
func (h *handle) open(flag int) error {
	p := h.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	err := p.sweep()
	if err != nil {
		return err
	}
	if h.file, err = p.FS.OpenFile(h.name, flag); err != nil {
		return err
	}
	h.used.Store(true)
	h.at = len(p.ring)
	p.ring = append(p.ring, h)
	return nil
}

// sweep gives descriptors back until there is room for another one. Two rounds find one that is not in use, if there is one. mu is held.
func (p *Handles) sweep() error {
	for steps := 2 * len(p.ring); len(p.ring) >= p.limit && steps > 0; steps-- {
		p.hand %= len(p.ring)
		v := p.ring[p.hand]
		if v.used.Swap(false) || !v.mu.TryLock() {
			p.hand++
			continue
		}
		if v.dirty.Load() {
			v.blind.Store(true)
		}
		file := v.file
		v.file = nil
		p.forget(v)
		err := file.Close()
		v.mu.Unlock()
		if err != nil {
			return err
		}
	}
	return nil
}

// forget takes a handle out of the ring. mu is held.
func (p *Handles) forget(h *handle) {
	last := len(p.ring) - 1
	p.ring[h.at] = p.ring[last]
	p.ring[h.at].at = h.at
	p.ring[last] = nil
	p.ring = p.ring[:last]
}

// with calls fn with the open file.
func (h *handle) with(fn func(File) error) error {
	h.mu.RLock()
	for h.file == nil {
		closed := h.closed
		h.mu.RUnlock()
		if closed {
			return &fs.PathError{Op: "use", Path: h.name, Err: fs.ErrClosed}
		}
		h.mu.Lock()
		var err error
		if h.file == nil && !h.closed {
			err = h.open(os.O_RDWR)
		}
		h.mu.Unlock()
		if err != nil {
			return err
		}
		h.mu.RLock()
	}
	defer h.mu.RUnlock()
	if !h.used.Load() {
		h.used.Store(true)
	}
	return fn(h.file)
}

// ReadAt implements File.
func (h *handle) ReadAt(b []byte, off int64) (n int, err error) {
	err = h.with(func(f File) error { n, err = f.ReadAt(b, off); return err })
	return n, err
}

// WriteAt implements File.
func (h *handle) WriteAt(b []byte, off int64) (n int, err error) {
	err = h.with(func(f File) error {
		h.dirty.Store(true)
		n, err = f.WriteAt(b, off)
		return err
	})
	return n, err
}

// Truncate implements File.
func (h *handle) Truncate(size int64) error {
	return h.with(func(f File) error {
		h.dirty.Store(true)
		return f.Truncate(size)
	})
}

// Size implements File.
func (h *handle) Size() (n int64, err error) {
	err = h.with(func(f File) error { n, err = f.Size(); return err })
	return n, err
}

// Sync implements File.
func (h *handle) Sync() error {
	err := h.with(func(f File) error {
		h.dirty.Store(false)
		err := f.Sync()
		if err != nil {
			h.dirty.Store(true)
		}
		return err
	})
	if err == nil && h.blind.Swap(false) {
		if err = h.pool.FS.SyncFS(filepath.Dir(h.name)); err != nil {
			h.blind.Store(true)
		}
	}
	return err
}

// Close implements File.
func (h *handle) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return &fs.PathError{Op: "close", Path: h.name, Err: fs.ErrClosed}
	}
	h.closed = true
	if h.file == nil {
		return nil
	}
	p := h.pool
	p.mu.Lock()
	p.forget(h)
	p.mu.Unlock()
	file := h.file
	h.file = nil
	return file.Close()
}
