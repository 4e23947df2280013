// Package raftdump reads a member's Raft state, raft/ of a data directory, and explains it: Dump shows every entry with what became of it,
// HardState shows both copies and which counts, Snapshots lists and Snapshot shows what was taken, Verify reports every damage and every
// contradiction between them.
//
// The idea: package raftlog decodes and judges each part by itself; here the parts are held against each other. What log, HardState, snapshots,
// identity and journal say of the same group must agree, and each rule for that has a code (Rules) which docs/recovery/raft.md explains. The
// strongest one applies the entries between two snapshots to broker/metadata and compares the state that comes out, byte for byte.
//
// The guarantee: nothing is ever written. Work goes on past damage. A directory on which Verify reports nothing graver than a notice is one
// on which the node's metadata group starts, and the other way round. Package walinspect reports what Verify finds as part of `wal verify`.
//
// API: Open finds out what a path is and tests the lock; Dir has the verbs.
package raftdump

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"chronik.dev/chronik/broker/datadir"
	"chronik.dev/chronik/broker/raftlog"
	"chronik.dev/chronik/broker/statefile"
	"chronik.dev/chronik/broker/vfs"
)

// Errors that callers tell apart.
var (
	// ErrUnknown says that a path holds no Raft state.
	ErrUnknown = errors.New("neither a chronik data directory nor its raft/")
	// ErrStarted says that a node started on the directory while it was read: what was read may be half of one state and half of another.
	ErrStarted = errors.New("a node started on the directory while it was read")
)

// Options of Open.
type Options struct {
	FS   vfs.FS
	Path string // a data directory, its raft/, or a raft/ that stands alone
	Live bool   // the node may be running
}

// Dir is a directory with Raft state. Its zero identity is read from Root when it is needed.
type Dir struct {
	FS   vfs.FS
	Path string // raft/
	Root string // the data directory; empty if raft/ stands alone, which leaves rules about identity and journal out
	Live bool   // the node may be running: what changes between two looks is no finding
}

// Open recognises a path. Errors: vfs.ErrLocked if a node runs on the directory and Live is not set, ErrUnknown, and those of the disk.
func Open(o Options) (*Dir, error) {
	d := &Dir{FS: vfs.ReadOnly(o.FS, nil), Live: o.Live}
	info, err := d.FS.Stat(o.Path)
	if err != nil {
		return nil, err
	}
	path := filepath.Clean(o.Path)
	switch {
	case info.IsDir() && d.hasBase(path, datadir.IdentityBase), info.IsDir() && d.exists(path, datadir.RaftDir):
		d.Root, d.Path = path, filepath.Join(path, datadir.RaftDir)
	case info.IsDir() && (d.hasBase(path, datadir.HardStateBase) || d.exists(path, datadir.SnapshotsDir) || filepath.Base(path) == datadir.RaftDir):
		d.Path = path
		if parent := filepath.Dir(path); filepath.Base(path) == datadir.RaftDir && (d.hasBase(parent, datadir.IdentityBase) || d.exists(parent, datadir.WalDir)) {
			d.Root = parent
		}
	default:
		return nil, fmt.Errorf("%s: %w", o.Path, ErrUnknown)
	}
	if _, err := d.FS.Stat(d.Path); err != nil {
		return nil, err
	}
	if d.Root == "" || d.Live {
		return d, nil
	}
	running, err := datadir.Running(d.FS, d.Root)
	if err == nil && running {
		err = fmt.Errorf("data directory %s: %w; stop the node, or look at it while it runs with --live", d.Root, vfs.ErrLocked)
	}
	return d, err
}

func (d *Dir) exists(dir, name string) bool {
	there, err := vfs.Exists(d.FS, filepath.Join(dir, name))
	return err == nil && there
}

func (d *Dir) hasBase(dir, base string) bool {
	names := statefile.Names(base)
	return d.exists(dir, names[0]) || d.exists(dir, names[1])
}

// started says whether a node started on the directory since Open.
func (d *Dir) started() error {
	if d.Root == "" || d.Live {
		return nil
	}
	if running, err := datadir.Running(d.FS, d.Root); err != nil || !running {
		return err
	}
	return ErrStarted
}

// identity is the data directory's, and false if there is none that can be read; damage to it is walinspect's to report.
func (d *Dir) identity() (datadir.Identity, bool) {
	if d.Root == "" {
		return datadir.Identity{}, false
	}
	info, err := datadir.Inspect(d.FS, d.Root)
	if err != nil {
		return datadir.Identity{}, false
	}
	return info.Identity, true
}

func (d *Dir) options() raftlog.Options {
	id, _ := d.identity()
	return raftlog.Options{FS: d.FS, Dir: d.Path, DirID: id.DirectoryID}
}

// rel is a path as output names it: below the data directory if there is one.
func (d *Dir) rel(path string) string {
	if d.Root == "" {
		return path
	}
	if r, err := filepath.Rel(d.Root, path); err == nil {
		return r
	}
	return path
}

func (d *Dir) size(path string) int64 {
	info, err := d.FS.Stat(path)
	if errors.Is(err, fs.ErrNotExist) || err != nil {
		return 0
	}
	return info.Size()
}
