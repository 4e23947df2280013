package vfs

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Overlay is a file system on another one that keeps every change in memory: what would happen, without anything happening. It remembers
// which files and directories below were read, so that one can say later whether the answer would still be the same.
//
// Syncs do nothing, the lock is not taken, Direct is answered with ErrDirect. Memory grows with the pages of Block bytes that are written.
type Overlay struct {
	base FS

	mu    sync.Mutex
	nodes map[string]map[string]*overNode // by clean directory and name; nil hides what base has there
	reads map[string]bool                 // files of base whose content was read
	lists map[string]bool                 // directories of base that were listed
	seq   int64
}

// overNode is a file or directory that was opened or changed. A directory's children are those of base under the same name, if it is in base,
// and those in Overlay.nodes.
type overNode struct {
	dir   bool
	from  string // the name in base whose content shows through; empty: none
	shows int64  // bytes of it that show
	size  int64
	pages map[int64]*[Block]byte
	at    int64 // counts changes, as modification time
}

// NewOverlay returns an overlay on base without changes. base must not change meanwhile.
func NewOverlay(base FS) *Overlay {
	return &Overlay{base: base, nodes: map[string]map[string]*overNode{}, reads: map[string]bool{}, lists: map[string]bool{}}
}

// Change is one name whose meaning is another than in the file system below.
type Change struct {
	Name string
	Gone bool   // there is nothing of this name any more
	Dir  bool   // a new directory, or one that is gone
	From string // the name below whose file this is, with or without other content; empty: a new file
}

// Changes lists the names that differ from base, sorted. A file that was written with its old content is listed too.
func (o *Overlay) Changes() ([]Change, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	var out []Change
	for dir, nodes := range o.nodes {
		for base, n := range nodes {
			c, err := o.compare(filepath.Join(dir, base), n)
			if err != nil {
				return nil, err
			}
			if c.Name != "" {
				out = append(out, c)
			}
		}
	}
	slices.SortFunc(out, func(a, b Change) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// compare returns how a node differs from what base has under its name, the zero Change if it does not. mu is held.
func (o *Overlay) compare(name string, n *overNode) (Change, error) {
	info, err := o.base.Stat(name)
	there := err == nil
	switch {
	case err != nil && !absent(err):
		return Change{}, err
	case n == nil && there:
		return Change{Name: name, Gone: true, Dir: info.IsDir()}, nil
	case n == nil, n.dir && there && info.IsDir():
		return Change{}, nil
	case there && n.dir != info.IsDir():
		return Change{}, &fs.PathError{Op: "compare", Path: name, Err: errors.New("a file and a directory changed places")}
	case n.dir:
		return Change{Name: name, Dir: true}, nil
	case there && n.from == name && len(n.pages) == 0 && n.size == info.Size() && n.shows == n.size:
		return Change{}, nil
	}
	return Change{Name: name, From: n.from}, nil
}

// get returns what is known of a clean name; known is false if base has to be asked. mu is held.
func (o *Overlay) get(name string) (n *overNode, known bool) {
	n, known = o.nodes[filepath.Dir(name)][filepath.Base(name)]
	return n, known
}

// set makes a clean name mean a node; nil: nothing. mu is held.
func (o *Overlay) set(name string, n *overNode) {
	dir := filepath.Dir(name)
	if o.nodes[dir] == nil {
		o.nodes[dir] = map[string]*overNode{}
	}
	o.nodes[dir][filepath.Base(name)] = n
}

// Reads lists the files of base whose content was read, and the directories that were listed, both sorted.
func (o *Overlay) Reads() (files, dirs []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return sortedKeys(o.reads), sortedKeys(o.lists)
}

func sortedKeys(m map[string]bool) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

func absent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}

// find returns the node of a name, fs.ErrNotExist if there is none. mu is held.
func (o *Overlay) find(name string) (*overNode, error) {
	if n, ok := o.get(name); ok {
		if n == nil {
			return nil, fs.ErrNotExist
		}
		return n, nil
	}
	if parent := filepath.Dir(name); parent != name && o.hides(parent) {
		return nil, fs.ErrNotExist
	}
	info, err := o.base.Stat(name)
	if err != nil {
		return nil, err
	}
	n := &overNode{dir: info.IsDir(), from: name, shows: info.Size(), size: info.Size(), at: info.ModTime().UnixMilli()}
	o.set(name, n)
	return n, nil
}

// hides says whether nothing of base shows below a directory. mu is held.
func (o *Overlay) hides(dir string) bool {
	for ; ; dir = filepath.Dir(dir) {
		if n, ok := o.get(dir); ok {
			return n == nil || n.from == ""
		}
		if dir == filepath.Dir(dir) {
			return false
		}
	}
}

// findParent makes sure that the directory of a name is there. mu is held.
func (o *Overlay) findParent(name string) error {
	parent := filepath.Dir(name)
	if parent == name {
		return syscall.EINVAL
	}
	n, err := o.find(parent)
	if err == nil && !n.dir {
		err = syscall.ENOTDIR
	}
	return err
}

func (o *Overlay) tick() int64 { o.seq++; return o.seq }

func pathError(op, name string, err error) error {
	var known *fs.PathError
	if err == nil || errors.As(err, &known) {
		return err
	}
	return &fs.PathError{Op: op, Path: name, Err: err}
}

// OpenFile implements FS.
func (o *Overlay) OpenFile(name string, flag int) (File, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	key := filepath.Clean(name)
	if flag&Direct != 0 {
		return nil, pathError("open", name, ErrDirect)
	}
	n, err := o.find(key)
	switch {
	case absent(err) && flag&os.O_CREATE != 0:
		if err := o.findParent(key); err != nil {
			return nil, pathError("open", name, err)
		}
		n = &overNode{at: o.tick()}
		o.set(key, n)
	case err != nil:
		return nil, pathError("open", name, err)
	case flag&(os.O_CREATE|os.O_EXCL) == os.O_CREATE|os.O_EXCL:
		return nil, pathError("open", name, fs.ErrExist)
	case n.dir:
		return nil, pathError("open", name, syscall.EISDIR)
	case flag&os.O_TRUNC != 0:
		n.resize(0)
		n.at = o.tick()
	}
	return &overFile{o: o, n: n, name: name, flag: flag}, nil
}

// Mkdir implements FS.
func (o *Overlay) Mkdir(name string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	key := filepath.Clean(name)
	_, err := o.find(key)
	if err == nil {
		return pathError("mkdir", name, fs.ErrExist)
	}
	if !absent(err) {
		return pathError("mkdir", name, err)
	}
	if err := o.findParent(key); err != nil {
		return pathError("mkdir", name, err)
	}
	n := &overNode{dir: true, at: o.tick()}
	if info, err := o.base.Stat(key); err == nil && info.IsDir() && !o.hides(filepath.Dir(key)) {
		if err := o.hideChildren(key); err != nil { // it was removed and comes back empty
			return pathError("mkdir", name, err)
		}
		n.from = key
	}
	o.set(key, n)
	return nil
}

// hideChildren hides what base has in a directory. mu is held.
func (o *Overlay) hideChildren(dir string) error {
	infos, err := o.base.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, info := range infos {
		o.set(filepath.Join(dir, info.Name()), nil)
	}
	return nil
}

// Remove implements FS.
func (o *Overlay) Remove(name string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	key := filepath.Clean(name)
	n, err := o.find(key)
	if err != nil {
		return pathError("remove", name, err)
	}
	if n.dir {
		children, err := o.children(key)
		if err == nil && len(children) > 0 {
			err = syscall.ENOTEMPTY
		}
		if err != nil {
			return pathError("remove", name, err)
		}
	}
	o.set(key, nil)
	return nil
}

// Rename implements FS.
func (o *Overlay) Rename(oldname, newname string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	from, to := filepath.Clean(oldname), filepath.Clean(newname)
	if err := o.rename(from, to); err != nil {
		return pathError("rename", oldname+" to "+newname, err)
	}
	return nil
}

func (o *Overlay) rename(from, to string) error {
	n, err := o.find(from)
	if err != nil || from == to {
		return err
	}
	if err := o.findParent(to); err != nil {
		return err
	}
	switch target, err := o.find(to); {
	case absent(err):
	case err != nil:
		return err
	case target.dir && !n.dir:
		return syscall.EISDIR
	case !target.dir && n.dir:
		return syscall.ENOTDIR
	case target.dir:
		if children, err := o.children(to); err != nil || len(children) > 0 {
			return errors.Join(err, syscall.ENOTEMPTY)
		}
	}
	return o.move(from, to, n)
}

// move gives a node and all below it other names. mu is held.
func (o *Overlay) move(from, to string, n *overNode) error {
	if n.dir {
		children, err := o.children(from)
		if err != nil {
			return err
		}
		dir := &overNode{dir: true, at: o.tick()}
		if info, err := o.base.Stat(to); err == nil && info.IsDir() {
			dir.from = to // empty there, or its children are hidden
		}
		o.set(to, dir)
		for _, name := range children {
			c, err := o.find(filepath.Join(from, name))
			if err == nil {
				err = o.move(filepath.Join(from, name), filepath.Join(to, name), c)
			}
			if err != nil {
				return err
			}
		}
	} else {
		o.set(to, n)
	}
	o.set(from, nil)
	return nil
}

// children lists the names in a directory, sorted. mu is held.
func (o *Overlay) children(dir string) ([]string, error) {
	names := map[string]bool{}
	if !o.hides(dir) {
		o.lists[dir] = true
		infos, err := o.base.ReadDir(dir)
		if err != nil {
			return nil, err
		}
		for _, info := range infos {
			names[info.Name()] = true
		}
	}
	for name, n := range o.nodes[dir] {
		switch {
		case n == nil:
			delete(names, name)
		case filepath.Join(dir, name) != dir: // the root is its own directory
			names[name] = true
		}
	}
	return sortedKeys(names), nil
}

// ReadDir implements FS.
func (o *Overlay) ReadDir(name string) ([]fs.FileInfo, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	key := filepath.Clean(name)
	n, err := o.find(key)
	if err == nil && !n.dir {
		err = syscall.ENOTDIR
	}
	if err != nil {
		return nil, pathError("readdir", name, err)
	}
	names, err := o.children(key)
	if err != nil {
		return nil, pathError("readdir", name, err)
	}
	infos := make([]fs.FileInfo, 0, len(names))
	for _, child := range names {
		c, err := o.find(filepath.Join(key, child))
		if err != nil {
			return nil, pathError("readdir", name, err)
		}
		infos = append(infos, overInfo{child, c.dir, c.size, c.at})
	}
	return infos, nil
}

// Stat implements FS.
func (o *Overlay) Stat(name string) (fs.FileInfo, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	key := filepath.Clean(name)
	n, err := o.find(key)
	if err != nil {
		return nil, pathError("stat", name, err)
	}
	return overInfo{filepath.Base(key), n.dir, n.size, n.at}, nil
}

// SyncDir implements FS; there is nothing to do.
func (o *Overlay) SyncDir(string) error { return nil }

// SyncFS implements FS; there is nothing to do.
func (o *Overlay) SyncFS(string) error { return nil }

// Lock implements FS. The lock is the caller's business: what happens here is seen by nobody.
func (o *Overlay) Lock(string) (io.Closer, error) { return noLock{}, nil }

// Free implements FS.
func (o *Overlay) Free(dir string) (int64, error) { return o.base.Free(dir) }

type noLock struct{}

func (noLock) Close() error { return nil }

type overInfo struct {
	name string
	dir  bool
	size int64
	at   int64
}

func (i overInfo) Name() string       { return i.name }
func (i overInfo) Size() int64        { return i.size }
func (i overInfo) IsDir() bool        { return i.dir }
func (i overInfo) Sys() any           { return nil }
func (i overInfo) ModTime() time.Time { return time.UnixMilli(i.at) }
func (i overInfo) Mode() fs.FileMode {
	if i.dir {
		return fs.ModeDir | 0o755
	}
	return 0o644
}
