package vfs

import (
	"io"
	"io/fs"
	"os"
	"slices"
	"sync/atomic"
	"syscall"
)

// memFile is an open file of Mem.
type memFile struct {
	m      *Mem
	n      *node
	name   string
	flag   int
	closed atomic.Bool
}

// open opens or creates; the op is 0 if nothing changed. The caller holds the lock.
func (m *Mem) open(name string, flag int) (*memFile, OpKind, error) {
	if flag&Direct != 0 && m.noDirect {
		return nil, 0, ErrDirect
	}
	dir, last, err := m.parent(name)
	if err != nil {
		return nil, 0, err
	}
	f := &memFile{m: m, n: dir.entries[last], name: name, flag: flag}
	switch {
	case f.n == nil && flag&os.O_CREATE == 0:
		return nil, 0, fs.ErrNotExist
	case f.n == nil:
		f.n = m.newNode(false)
		m.change(entrySet{dir, last, f.n})
		return f, OpCreate, nil
	case flag&(os.O_CREATE|os.O_EXCL) == os.O_CREATE|os.O_EXCL:
		return nil, 0, fs.ErrExist
	case f.n.dir:
		return nil, 0, syscall.EISDIR
	case flag&os.O_TRUNC != 0 && f.n.cur.size > 0:
		m.resize(f.n, 0)
		return f, OpTruncate, nil
	}
	return f, 0, nil
}

// enter checks the handle and locks the disk.
func (f *memFile) enter(op string, write bool) error {
	access := f.flag & (os.O_RDONLY | os.O_WRONLY | os.O_RDWR)
	switch {
	case f.closed.Load():
		return &fs.PathError{Op: op, Path: f.name, Err: fs.ErrClosed}
	case write && access == os.O_RDONLY, op == "read" && access == os.O_WRONLY:
		return &fs.PathError{Op: op, Path: f.name, Err: syscall.EBADF}
	}
	return f.m.enter(op, f.name)
}

// ReadAt implements File.
func (f *memFile) ReadAt(p []byte, off int64) (int, error) {
	if err := f.enter("read", false); err != nil {
		return 0, err
	}
	defer f.m.mu.Unlock()
	if off < 0 || f.flag&Direct != 0 && !aligned(p, off) {
		return 0, &fs.PathError{Op: "read", Path: f.name, Err: syscall.EINVAL}
	}
	n := int(max(0, min(int64(len(p)), f.n.cur.size-off)))
	f.n.cur.readAt(p[:n], off)
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt implements File.
func (f *memFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.enter("write", true); err != nil {
		return 0, err
	}
	m, n := f.m, f.n
	var fail error
	if off < 0 || f.flag&Direct != 0 && !aligned(p, off) {
		p, fail = nil, syscall.EINVAL
	}
	if room := m.limit - m.used + max(0, n.cur.size-off); m.limit > 0 && int64(len(p)) > room {
		p, fail = p[:max(0, room)], syscall.ENOSPC
	}
	first := m.seq + 1
	if len(p) > 0 {
		m.write(n, p, off)
	}
	last := m.seq
	m.leave(Op{Kind: OpWrite, Name: f.name, Off: off, Len: len(p)})
	if f.flag&DSync != 0 && len(p) > 0 {
		if err := m.enter("write", f.name); err != nil {
			return 0, err
		}
		m.commitWrite(n, first, last)
		m.mu.Unlock()
	}
	if fail != nil {
		return len(p), &fs.PathError{Op: "write", Path: f.name, Err: fail}
	}
	return len(p), nil
}

// write changes the content and remembers each fragment and the size as pending.
func (m *Mem) write(n *node, p []byte, off int64) {
	n.cur.writeAt(p, off)
	end := off + int64(len(p))
	from := off / Fragment * Fragment
	to := (end + Fragment - 1) / Fragment * Fragment
	data := make([]byte, to-from)
	n.cur.readAt(data, from)
	if was := n.toBe(); end > was { // also where a failed sync lost a size that the process sees: writing the bytes again brings it
		m.seq++
		n.pending = append(n.pending, unit{seq: m.seq, at: was, size: end})
	}
	if end > n.cur.size {
		m.used += end - n.cur.size
		n.cur.size = end
	}
	for at := from; at < to; at += Fragment {
		u := unit{seq: m.seq + 1, at: at, data: data[at-from:][:Fragment:Fragment]}
		if !n.idle(&u) {
			m.seq++
			n.pending = append(n.pending, u)
		}
	}
	n.touched = m.seq
	m.dirty[n] = struct{}{}
}

// toBe is the size that the file will have on the disk.
func (n *node) toBe() int64 {
	size := n.disk.size
	for _, u := range n.pending {
		switch {
		case u.data != nil:
		case u.size >= u.at:
			size = max(size, u.size)
		default:
			size = u.size
		}
	}
	return size
}

// idle says whether a fragment is zeros that are written where there is nothing but zeros, as a file is made longer: kept or lost, it is the same.
func (n *node) idle(u *unit) bool {
	return u.at >= n.disk.size && allZero(u.data) && n.disk.hole(u.at) && !slices.ContainsFunc(n.pending, func(o unit) bool {
		return o.data != nil && o.at == u.at || o.data == nil && o.size < o.at
	})
}

// resize truncates or extends with zeros, pending.
func (m *Mem) resize(n *node, size int64) {
	m.seq++
	n.pending = append(n.pending, unit{seq: m.seq, at: n.cur.size, size: size})
	m.used += size - n.cur.size
	n.cur.truncate(size)
	n.touched = m.seq
	m.dirty[n] = struct{}{}
}

// apply puts one unit onto a content. A fragment past the size is there but unseen, until a size reaches it; a smaller size removes it.
func (c *content) apply(u unit) {
	switch {
	case u.data != nil:
		c.writeAt(u.data, u.at)
	case u.size >= u.at: // growth; what is past it already stays
		c.size = max(c.size, u.size)
	default:
		c.truncate(u.size)
	}
}

// commitWrite makes one synchronous write durable: its fragments, and the sizes so far.
func (m *Mem) commitWrite(n *node, first, last uint64) {
	if len(n.pending) == 0 {
		return // another sync took it along
	}
	if n.pending[0].seq == first && n.pending[len(n.pending)-1].seq == last {
		m.commit(n)
		return
	}
	if slices.ContainsFunc(n.pending, func(u unit) bool { return u.data == nil && u.size < u.at }) {
		first = 0 // a truncation takes what was before it along
	}
	rest := n.pending[:0]
	for i, u := range n.pending {
		switch {
		case u.seq > last, u.seq < first && u.data != nil && !rewritten(n.pending[i+1:], u.at, last):
			rest = append(rest, u)
		default:
			n.disk.apply(u)
		}
	}
	m.settle(n, rest)
}

// rewritten says whether a unit up to last writes the fragment at again.
func rewritten(later []unit, at int64, last uint64) bool {
	return slices.ContainsFunc(later, func(u unit) bool { return u.data != nil && u.at == at && u.seq <= last })
}

// commit makes all of a file durable.
func (m *Mem) commit(n *node) {
	for _, u := range n.pending {
		n.disk.apply(u)
	}
	m.settle(n, n.pending[:0])
}

// settle sets what is still pending.
func (m *Mem) settle(n *node, rest []unit) {
	clear(n.pending[len(rest):])
	n.pending = rest
	if len(rest) == 0 {
		delete(m.dirty, n)
	}
}

// Truncate implements File.
func (f *memFile) Truncate(size int64) error {
	if err := f.enter("truncate", true); err != nil {
		return err
	}
	if size < 0 {
		f.m.mu.Unlock()
		return &fs.PathError{Op: "truncate", Path: f.name, Err: syscall.EINVAL}
	}
	if size != f.n.cur.size {
		f.m.resize(f.n, size)
		if f.flag&DSync != 0 {
			f.m.commit(f.n)
		}
	}
	f.m.leave(Op{Kind: OpTruncate, Name: f.name, Off: size})
	return nil
}

// Sync implements File.
func (f *memFile) Sync() error {
	if err := f.enter("sync", false); err != nil {
		return err
	}
	f.m.leave(Op{Kind: OpSync, Name: f.name})
	if err := f.enter("sync", false); err != nil {
		return err
	}
	defer f.m.mu.Unlock()
	f.m.commit(f.n)
	return nil
}

// Size implements File.
func (f *memFile) Size() (int64, error) {
	if err := f.enter("stat", false); err != nil {
		return 0, err
	}
	defer f.m.mu.Unlock()
	return f.n.cur.size, nil
}

// Close implements File. It makes nothing durable.
func (f *memFile) Close() error {
	if f.closed.Swap(true) {
		return &fs.PathError{Op: "close", Path: f.name, Err: fs.ErrClosed}
	}
	return nil
}

// SyncDir implements FS.
func (m *Mem) SyncDir(name string) error {
	if err := m.enter("syncdir", name); err != nil {
		return err
	}
	m.leave(Op{Kind: OpSyncDir, Name: name})
	if err := m.enter("syncdir", name); err != nil {
		return err
	}
	defer m.mu.Unlock()
	dir, err := m.lookup(name)
	if err == nil && !dir.dir {
		err = syscall.ENOTDIR
	}
	if err != nil {
		return &fs.PathError{Op: "syncdir", Path: name, Err: err}
	}
	m.commitDir(dir)
	return nil
}

// commitDir makes a directory's entries durable. Of a rename out of another directory only the new entry is; the old one may still come back.
func (m *Mem) commitDir(dir *node) {
	rest := m.dirops[:0]
	for _, op := range m.dirops {
		target := op.sets[len(op.sets)-1].dir
		switch {
		case op.sets[0].dir == dir:
			for _, s := range op.sets {
				setEntry(s.dir.stable, s)
			}
		case target == dir:
			setEntry(dir.stable, op.sets[1])
			rest = append(rest, dirop{seq: op.seq, sets: op.sets[:1]})
		default:
			rest = append(rest, op)
		}
	}
	clear(m.dirops[len(rest):])
	m.dirops = rest
}

// SyncFS implements FS.
func (m *Mem) SyncFS(name string) error {
	if err := m.enter("syncfs", name); err != nil {
		return err
	}
	m.leave(Op{Kind: OpSyncFS, Name: name})
	if err := m.enter("syncfs", name); err != nil {
		return err
	}
	defer m.mu.Unlock()
	if _, err := m.lookup(name); err != nil {
		return &fs.PathError{Op: "syncfs", Path: name, Err: err}
	}
	for n := range m.dirty {
		m.commit(n)
	}
	for _, op := range m.dirops {
		for _, s := range op.sets {
			setEntry(s.dir.stable, s)
		}
	}
	clear(m.dirops)
	m.dirops = m.dirops[:0]
	return nil
}
