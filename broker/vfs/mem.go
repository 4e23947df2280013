package vfs

import (
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// ErrPowerOff is what every call on a disk without power answers.
var ErrPowerOff = errors.New("the disk has lost power")

// Mem is a file system in memory that remembers what is not yet durable and can make the disks that a power loss would leave.
//
// Durable is only: file content and size after File.Sync or SyncFS of it, or after WriteAt returned on a DSync file; directory entries
// after SyncDir or SyncFS. Everything else is a list of units in the order of the calls: a Fragment of a file, a size of a file, a change of
// directory entries (a rename is one unit). A crash keeps some of the units and loses the others; see CrashClone.
type Mem struct {
	mu       sync.Mutex
	rng      *rand.Rand
	root     *node
	dirty    map[*node]struct{} // files with pending units
	dirops   []dirop            // pending changes of entries, in order
	locked   map[*node]bool
	hook     func(Op)
	seq      uint64 // of the last unit
	nodes    uint64 // of the last node
	limit    int64  // bytes that files may hold; 0 is no limit
	used     int64  // bytes that files hold, removed ones too while a handle is open
	off      bool
	noDirect bool
}

// node is a file or a directory. Its name is in its parent.
type node struct {
	id      uint64
	dir     bool
	entries map[string]*node // a directory's
	stable  map[string]*node // its durable entries
	cur     content          // a file's
	disk    content          // its durable content
	pending []unit           // in order; applied to disk they give cur
	touched uint64           // seq of the last change, the file's modification time
	origin  *node            // of a crash image's node: that of the disk it is of
}

// unit is one Fragment of a file (data set) or one size of it.
type unit struct {
	seq  uint64
	at   int64  // of the fragment; or the size before
	data []byte // Fragment bytes; nil for a size
	size int64
}

// dirop changes entries of one directory, of two for a rename between two.
type dirop struct {
	seq  uint64
	sets []entrySet
}

// entrySet makes name in dir mean to; nil removes it.
type entrySet struct {
	dir  *node
	name string
	to   *node
}

// NewMem returns an empty disk. The seed is for CrashClone without a generator of its own.
func NewMem(seed uint64) *Mem {
	m := newMem(rand.New(rand.NewPCG(seed, 0x6368726f6e696b)))
	m.root = m.newNode(true)
	return m
}

func newMem(rng *rand.Rand) *Mem {
	return &Mem{rng: rng, dirty: map[*node]struct{}{}, locked: map[*node]bool{}}
}

func (m *Mem) newNode(dir bool) *node {
	m.nodes++
	n := &node{id: m.nodes, dir: dir, touched: m.seq}
	if dir {
		n.entries, n.stable = map[string]*node{}, map[string]*node{}
	} else {
		n.cur.owner, n.disk.owner = owners.Add(1), owners.Add(1)
	}
	return n
}

// SetHook makes fn see every changing call at the moment when a crash is most interesting: a write, truncation, creation, removal or rename
// after it happened and before the call returns (a DSync write: before it is durable), a sync before it takes effect. fn may call CrashClone.
func (m *Mem) SetHook(fn func(Op)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hook = fn
}

// SetLimit gives the disk a capacity in bytes; writes past it answer ENOSPC. 0 is no limit.
func (m *Mem) SetLimit(bytes int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.limit = bytes
}

// SetDirect false makes OpenFile answer ErrDirect as file systems without direct I/O do.
func (m *Mem) SetDirect(ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.noDirect = !ok
}

// PowerOff makes every later call fail with ErrPowerOff. Crash clones can still be taken.
func (m *Mem) PowerOff() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.off = true
}

// enter locks the disk for a call.
func (m *Mem) enter(op, name string) error {
	m.mu.Lock()
	if m.off {
		m.mu.Unlock()
		return &fs.PathError{Op: op, Path: name, Err: ErrPowerOff}
	}
	return nil
}

// leave unlocks the disk and shows the call to the hook.
func (m *Mem) leave(op Op) {
	hook := m.hook
	m.mu.Unlock()
	if hook != nil {
		hook(op)
	}
}

// elements splits a name; relative names start at the root.
func elements(name string) []string {
	name = strings.TrimPrefix(filepath.ToSlash(filepath.Clean(name)), "/")
	if name == "." || name == "" {
		return nil
	}
	return strings.Split(name, "/")
}

func (m *Mem) lookup(name string) (*node, error) {
	n := m.root
	for _, e := range elements(name) {
		if !n.dir {
			return nil, syscall.ENOTDIR
		}
		next := n.entries[e]
		if next == nil {
			return nil, fs.ErrNotExist
		}
		n = next
	}
	return n, nil
}

// parent returns the directory that holds name, and the last element of name.
func (m *Mem) parent(name string) (*node, string, error) {
	el := elements(name)
	if len(el) == 0 {
		return nil, "", syscall.EINVAL
	}
	dir, err := m.lookup(filepath.Dir(filepath.Clean(name)))
	if err == nil && !dir.dir {
		err = syscall.ENOTDIR
	}
	return dir, el[len(el)-1], err
}

// change makes a change of entries: at once for the process, pending for the disk.
func (m *Mem) change(sets ...entrySet) {
	m.seq++
	for _, s := range sets {
		setEntry(s.dir.entries, s)
		s.dir.touched = m.seq
	}
	m.dirops = append(m.dirops, dirop{seq: m.seq, sets: sets})
}

func setEntry(entries map[string]*node, s entrySet) {
	if s.to == nil {
		delete(entries, s.name)
	} else {
		entries[s.name] = s.to
	}
}

// OpenFile implements FS.
func (m *Mem) OpenFile(name string, flag int) (File, error) {
	if err := m.enter("open", name); err != nil {
		return nil, err
	}
	f, op, err := m.open(name, flag)
	if err != nil {
		m.mu.Unlock()
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	if op != 0 {
		m.leave(Op{Kind: op, Name: name})
	} else {
		m.mu.Unlock()
	}
	return f, nil
}

// Mkdir implements FS.
func (m *Mem) Mkdir(name string) error {
	if err := m.enter("mkdir", name); err != nil {
		return err
	}
	dir, last, err := m.parent(name)
	if err == nil && dir.entries[last] != nil {
		err = fs.ErrExist
	}
	if err != nil {
		m.mu.Unlock()
		return &fs.PathError{Op: "mkdir", Path: name, Err: err}
	}
	m.change(entrySet{dir, last, m.newNode(true)})
	m.leave(Op{Kind: OpMkdir, Name: name})
	return nil
}

// Remove implements FS.
func (m *Mem) Remove(name string) error {
	if err := m.enter("remove", name); err != nil {
		return err
	}
	dir, last, err := m.parent(name)
	if err == nil {
		n := dir.entries[last]
		switch {
		case n == nil:
			err = fs.ErrNotExist
		case n.dir && len(n.entries) > 0:
			err = syscall.ENOTEMPTY
		default:
			m.used -= n.cur.size
			m.change(entrySet{dir, last, nil})
		}
	}
	if err != nil {
		m.mu.Unlock()
		return &fs.PathError{Op: "remove", Path: name, Err: err}
	}
	m.leave(Op{Kind: OpRemove, Name: name})
	return nil
}

// Rename implements FS.
func (m *Mem) Rename(oldname, newname string) error {
	if err := m.enter("rename", oldname); err != nil {
		return err
	}
	if err := m.rename(oldname, newname); err != nil {
		m.mu.Unlock()
		return &fs.PathError{Op: "rename", Path: oldname + " to " + newname, Err: err}
	}
	m.leave(Op{Kind: OpRename, Name: newname})
	return nil
}

func (m *Mem) rename(oldname, newname string) error {
	from, a, err := m.parent(oldname)
	if err != nil {
		return err
	}
	to, b, err := m.parent(newname)
	if err != nil {
		return err
	}
	n, target := from.entries[a], to.entries[b]
	switch {
	case n == nil:
		return fs.ErrNotExist
	case n == target:
		return nil
	case target != nil && target.dir && !n.dir:
		return syscall.EISDIR
	case target != nil && !target.dir && n.dir:
		return syscall.ENOTDIR
	case target != nil && len(target.entries) > 0:
		return syscall.ENOTEMPTY
	}
	if target != nil {
		m.used -= target.cur.size
	}
	m.change(entrySet{from, a, nil}, entrySet{to, b, n})
	return nil
}

// ReadDir implements FS.
func (m *Mem) ReadDir(name string) ([]fs.FileInfo, error) {
	if err := m.enter("readdir", name); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	n, err := m.lookup(name)
	if err == nil && !n.dir {
		err = syscall.ENOTDIR
	}
	if err != nil {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: err}
	}
	infos := make([]fs.FileInfo, 0, len(n.entries))
	for e, child := range n.entries {
		infos = append(infos, child.info(e))
	}
	slices.SortFunc(infos, func(a, b fs.FileInfo) int { return strings.Compare(a.Name(), b.Name()) })
	return infos, nil
}

// Stat implements FS.
func (m *Mem) Stat(name string) (fs.FileInfo, error) {
	if err := m.enter("stat", name); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	n, err := m.lookup(name)
	if err != nil {
		return nil, &fs.PathError{Op: "stat", Path: name, Err: err}
	}
	return n.info(filepath.Base(name)), nil
}

// Lock implements FS.
func (m *Mem) Lock(dir string) (io.Closer, error) {
	if err := m.enter("lock", dir); err != nil {
		return nil, err
	}
	defer m.mu.Unlock()
	n, err := m.lookup(dir)
	if err == nil && m.locked[n] {
		err = ErrLocked
	}
	if err != nil {
		return nil, &fs.PathError{Op: "lock", Path: dir, Err: err}
	}
	m.locked[n] = true
	return &memLock{m, n}, nil
}

type memLock struct {
	m *Mem
	n *node
}

func (l *memLock) Close() error {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	delete(l.m.locked, l.n)
	return nil
}

// Free implements FS.
func (m *Mem) Free(dir string) (int64, error) {
	if err := m.enter("statfs", dir); err != nil {
		return 0, err
	}
	defer m.mu.Unlock()
	if m.limit == 0 {
		return 1 << 40, nil
	}
	return max(0, m.limit-m.used), nil
}

type memInfo struct {
	name string
	n    *node
	size int64
	at   uint64
}

// info describes a node. Its time counts calls from a fixed date, so that runs with one seed are equal.
func (n *node) info(name string) fs.FileInfo {
	return memInfo{name: name, n: n, size: n.cur.size, at: n.touched}
}

func (i memInfo) Name() string { return i.name }
func (i memInfo) Size() int64  { return i.size }
func (i memInfo) IsDir() bool  { return i.n.dir }
func (i memInfo) Sys() any     { return nil }
func (i memInfo) ModTime() time.Time {
	return time.UnixMilli(1_700_000_000_000 + int64(i.at))
}

func (i memInfo) Mode() fs.FileMode {
	if i.n.dir {
		return fs.ModeDir | 0o755
	}
	return 0o644
}
