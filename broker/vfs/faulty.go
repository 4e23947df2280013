package vfs

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
)

// SyncFailure says what a failed Sync does to what was pending (Rebello et al., "Can Applications Recover from fsync Failures?", ATC '20).
// The last two need Mem below Faulty; on another disk nothing but the error happens.
type SyncFailure uint8

// The semantics of a failed Sync, SyncFS or DSync write.
const (
	StillDirty     SyncFailure = iota // pending writes stay pending; a later Sync writes them
	CleanButLost                      // the page cache shows them and calls them clean; a later Sync succeeds and does not write them (ext4, XFS)
	RevertedToDisk                    // the page cache shows what the disk has (Btrfs)
)

// Fault is one planned failure. The zero Err is EIO.
type Fault struct {
	Op    OpKind // 0 matches every call
	Match string // part of the name; empty matches every name
	Skip  int    // matching calls that still succeed
	Times int    // calls that fail after those; 0 is one, -1 is all
	Err   error

	Short  int         // a write puts this many bytes down before it fails
	Sync   SyncFailure // of a failed sync
	Shift  int64       // a write lands this many bytes off and succeeds: misdirected
	Drop   bool        // a write or sync succeeds and does nothing: lost
	Invert int64       // a read succeeds with the lowest bit of the byte at this offset of the file inverted; 0 is none, -1 the first byte
}

// Faulty is a file system on another one that fails as planned and counts calls. Its methods may be called from several goroutines.
type Faulty struct {
	fsys FS

	mu     sync.Mutex
	faults []*Fault
	counts map[OpKind]int
	total  int
	left   int // changing calls until the power is gone; negative is never
	off    bool
}

// NewFaulty returns a disk on fsys without faults yet.
func NewFaulty(fsys FS) *Faulty {
	return &Faulty{fsys: fsys, counts: map[OpKind]int{}, left: -1}
}

// Inject plans a fault; several may wait at once, the oldest matching one strikes.
func (f *Faulty) Inject(fault Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if fault.Times == 0 {
		fault.Times = 1
	}
	if fault.Err == nil {
		fault.Err = syscall.EIO
	}
	f.faults = append(f.faults, &fault)
}

// Clear forgets the planned faults and turns the power on again.
func (f *Faulty) Clear() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults, f.off, f.left = nil, false, -1
}

// Count returns how many calls of a kind were made, 0 for all kinds.
func (f *Faulty) Count(kind OpKind) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	if kind == 0 {
		return f.total
	}
	return f.counts[kind]
}

// PowerOffAfter lets n more changing calls (writes, truncations, syncs, changes of entries) happen; then every call fails with ErrPowerOff.
func (f *Faulty) PowerOffAfter(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.left, f.off = n, n == 0
}

// strike counts a call and returns the fault that hits it, if any, or ErrPowerOff.
func (f *Faulty) strike(op Op) (*Fault, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.counts[op.Kind]++
	f.total++
	if f.off {
		return nil, &fs.PathError{Op: op.Kind.String(), Path: op.Name, Err: ErrPowerOff}
	}
	switch op.Kind {
	case OpOpen, OpRead, OpReadDir, OpStat, OpLock, OpFree:
	default:
		if f.left--; f.left == 0 {
			f.off = true
		}
	}
	for i, fault := range f.faults {
		if fault.Op != 0 && fault.Op != op.Kind || !strings.Contains(op.Name, fault.Match) {
			continue
		}
		if fault.Skip > 0 {
			fault.Skip--
			continue
		}
		hit := *fault
		if fault.Times > 0 {
			if fault.Times--; fault.Times == 0 {
				f.faults = append(f.faults[:i:i], f.faults[i+1:]...)
			}
		}
		return &hit, nil
	}
	return nil, nil
}

// fail is strike for calls of which a fault can only be an error.
func (f *Faulty) fail(kind OpKind, name string) error {
	fault, err := f.strike(Op{Kind: kind, Name: name})
	if err == nil && fault != nil {
		err = fault.error(kind, name)
	}
	return err
}

func (t *Fault) error(kind OpKind, name string) error {
	return &fs.PathError{Op: kind.String(), Path: name, Err: t.Err}
}

// OpenFile implements FS. An opening with os.O_CREATE counts as OpCreate.
func (f *Faulty) OpenFile(name string, flag int) (File, error) {
	kind := OpOpen
	if flag&os.O_CREATE != 0 {
		kind = OpCreate
	}
	if err := f.fail(kind, name); err != nil {
		return nil, err
	}
	file, err := f.fsys.OpenFile(name, flag)
	if err != nil {
		return nil, err
	}
	return &faultyFile{f: f, file: file, name: name, dsync: flag&DSync != 0}, nil
}

// Mkdir implements FS.
func (f *Faulty) Mkdir(name string) error {
	if err := f.fail(OpMkdir, name); err != nil {
		return err
	}
	return f.fsys.Mkdir(name)
}

// Remove implements FS.
func (f *Faulty) Remove(name string) error {
	if err := f.fail(OpRemove, name); err != nil {
		return err
	}
	return f.fsys.Remove(name)
}

// Rename implements FS. Faults match the new name.
func (f *Faulty) Rename(oldname, newname string) error {
	if err := f.fail(OpRename, newname); err != nil {
		return err
	}
	return f.fsys.Rename(oldname, newname)
}

// ReadDir implements FS.
func (f *Faulty) ReadDir(name string) ([]fs.FileInfo, error) {
	if err := f.fail(OpReadDir, name); err != nil {
		return nil, err
	}
	return f.fsys.ReadDir(name)
}

// Stat implements FS.
func (f *Faulty) Stat(name string) (fs.FileInfo, error) {
	if err := f.fail(OpStat, name); err != nil {
		return nil, err
	}
	return f.fsys.Stat(name)
}

// SyncDir implements FS.
func (f *Faulty) SyncDir(name string) error {
	fault, err := f.strike(Op{Kind: OpSyncDir, Name: name})
	switch {
	case err != nil:
		return err
	case fault == nil:
		return f.fsys.SyncDir(name)
	case fault.Drop:
		return nil
	}
	return fault.error(OpSyncDir, name)
}

// SyncFS implements FS.
func (f *Faulty) SyncFS(name string) error {
	fault, err := f.strike(Op{Kind: OpSyncFS, Name: name})
	switch {
	case err != nil:
		return err
	case fault == nil:
		return f.fsys.SyncFS(name)
	case fault.Drop:
		return nil
	}
	if m, ok := f.fsys.(*Mem); ok {
		m.failSyncFS(fault.Sync)
	}
	return fault.error(OpSyncFS, name)
}

// Lock implements FS.
func (f *Faulty) Lock(dir string) (io.Closer, error) {
	if err := f.fail(OpLock, dir); err != nil {
		return nil, err
	}
	return f.fsys.Lock(dir)
}

// Free implements FS.
func (f *Faulty) Free(dir string) (int64, error) {
	if err := f.fail(OpFree, dir); err != nil {
		return 0, err
	}
	return f.fsys.Free(dir)
}

type faultyFile struct {
	f     *Faulty
	file  File
	name  string
	dsync bool
}

func (x *faultyFile) ReadAt(p []byte, off int64) (int, error) {
	fault, err := x.f.strike(Op{Kind: OpRead, Name: x.name, Off: off, Len: len(p)})
	if err != nil {
		return 0, err
	}
	if fault != nil && fault.Invert == 0 {
		return 0, fault.error(OpRead, x.name)
	}
	n, err := x.file.ReadAt(p, off)
	if fault != nil {
		if i := max(0, fault.Invert) - off; i >= 0 && i < int64(n) {
			p[i] ^= 1
		}
	}
	return n, err
}

func (x *faultyFile) WriteAt(p []byte, off int64) (int, error) {
	fault, err := x.f.strike(Op{Kind: OpWrite, Name: x.name, Off: off, Len: len(p)})
	switch {
	case err != nil:
		return 0, err
	case fault == nil:
		return x.file.WriteAt(p, off)
	case fault.Drop:
		return len(p), nil
	case fault.Shift != 0:
		return x.file.WriteAt(p, off+fault.Shift)
	}
	n := 0
	if fault.Short > 0 {
		n, err = x.file.WriteAt(p[:min(fault.Short, len(p))], off)
		if err != nil {
			return n, fmt.Errorf("the disk below failed too: %w", err)
		}
	}
	if x.dsync {
		x.failSync(fault.Sync)
	}
	return n, fault.error(OpWrite, x.name)
}

func (x *faultyFile) Truncate(size int64) error {
	fault, err := x.f.strike(Op{Kind: OpTruncate, Name: x.name, Off: size})
	if err == nil && fault != nil {
		err = fault.error(OpTruncate, x.name)
	}
	if err != nil {
		return err
	}
	return x.file.Truncate(size)
}

func (x *faultyFile) Sync() error {
	fault, err := x.f.strike(Op{Kind: OpSync, Name: x.name})
	switch {
	case err != nil:
		return err
	case fault == nil:
		return x.file.Sync()
	case fault.Drop:
		return nil
	}
	x.failSync(fault.Sync)
	return fault.error(OpSync, x.name)
}

func (x *faultyFile) failSync(how SyncFailure) {
	if f, ok := x.file.(*memFile); ok {
		f.m.mu.Lock()
		defer f.m.mu.Unlock()
		f.m.failSync(f.n, how)
	}
}

func (x *faultyFile) Close() error         { return x.file.Close() }
func (x *faultyFile) Size() (int64, error) { return x.file.Size() }

// failSync does to a file's pending units what a failed sync does. The caller holds the lock.
func (m *Mem) failSync(n *node, how SyncFailure) {
	switch how {
	case CleanButLost: // pages and the growth that they bring; a file that was made shorter is metadata
		m.settle(n, slices.DeleteFunc(n.pending, func(u unit) bool { return u.data != nil || u.size >= u.at }))
	case RevertedToDisk:
		m.settle(n, n.pending[:0])
		n.disk.truncate(n.disk.size)
		m.used += n.disk.size - n.cur.size
		n.cur = n.disk.share()
	}
}

func (m *Mem) failSyncFS(how SyncFailure) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for n := range m.dirty {
		m.failSync(n, how)
	}
}
