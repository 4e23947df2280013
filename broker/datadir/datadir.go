// Package datadir is a node's data directory as a whole: what everything in it is called, whose it is, who may write to it, and the
// places where a node puts what it must not lose sight of: the incident ledger, evidence and quarantine.
//
// The guarantee: one process writes (the lock), a directory never serves another node or an unknown format (the identity), nothing in
// it is deleted that a person may still need (quarantine), and no byte is cut from it before a copy is safe (evidence).
//
// Open takes the lock and is for the node and for repair. Inspect, Running, ReadIncidents change nothing, create nothing and hold nothing.
package datadir

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"chronik.dev/chronik/broker/statefile"
	"chronik.dev/chronik/broker/vfs"
)

// Names in a data directory. Those that end in Base are state files: two files each (package statefile).
const (
	IdentityBase   = "identity"
	IncidentsFile  = "incidents.jsonl"
	WalDir         = "wal"
	RaftDir        = "raft"
	TopicsDir      = "topics"
	QuarantineDir  = "quarantine"
	EvidenceDir    = "evidence"
	ManifestBase   = "manifest"   // in wal/ and raft/
	CheckpointBase = "checkpoint" // in wal/
	HardStateBase  = "hardstate"  // in raft/
	SnapshotsDir   = "snapshots"  // in raft/
)

// Errors of Open and Inspect. Each is wrapped with the directory and what to do next.
var (
	// ErrLocked says that another process uses the directory.
	ErrLocked = vfs.ErrLocked
	// ErrOtherNode says that the directory belongs to a node with another id.
	ErrOtherNode = errors.New("belongs to another node")
	// ErrOtherCluster says that the directory belongs to another cluster.
	ErrOtherCluster = errors.New("belongs to another cluster")
	// ErrForeign says that the directory is not empty and holds nothing of chronik's.
	ErrForeign = errors.New("is not empty and is not a chronik data directory")
	// ErrNoIdentity says that there is chronik data but no identity that can be read.
	ErrNoIdentity = errors.New("has data but no readable identity")
	// ErrMissing says that there is no data directory here.
	ErrMissing = errors.New("is not a chronik data directory")
)

// Options say who opens a directory.
type Options struct {
	NodeID    int32            // of the node; -1 takes the one in the directory, and 1 for a new one
	ClusterID string           // for a new directory; empty draws one. Not empty, it must be the one in the directory.
	Now       func() time.Time // for the ledger; nil is time.Now
	Rand      io.Reader        // for new ids; nil is crypto/rand
}

// Dir is a data directory that this process has locked.
type Dir struct {
	fsys  vfs.FS
	path  string
	state *statefile.File
	id    Identity
	lock  io.Closer
	ledge *ledger
}

// lockTries and lockPause bridge the moment in which a read-only command tests the lock.
const (
	lockTries = 5
	lockPause = 20 * time.Millisecond
)

// Open locks a directory, and makes it if it is missing or empty: founding, until Founded. It checks node, cluster and format version.
// Errors are ErrLocked, ErrHalfRepaired, ErrOtherNode, ErrOtherCluster, ErrForeign, ErrNoIdentity, *statefile.VersionError and those of the disk.
func Open(fsys vfs.FS, path string, o Options) (*Dir, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if err := vfs.MkdirAll(fsys, path); err != nil {
		return nil, fmt.Errorf("open data directory: %w", err)
	}
	lock, err := takeLock(fsys, path)
	if err != nil {
		return nil, err
	}
	d := &Dir{fsys: fsys, path: path, lock: lock}
	if err := d.open(o); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return d, nil
}

func takeLock(fsys vfs.FS, path string) (io.Closer, error) {
	for try := 1; ; try++ {
		lock, err := fsys.Lock(path)
		switch {
		case err == nil:
			return lock, nil
		case !errors.Is(err, vfs.ErrLocked):
			return nil, fmt.Errorf("open data directory: %w", err)
		case try == lockTries:
			return nil, fmt.Errorf("open data directory %s: %w; stop that process, or give this node a directory of its own (--data-dir)", path, ErrLocked)
		}
		time.Sleep(lockPause)
	}
}

func (d *Dir) open(o Options) error {
	if err := HalfRepaired(d.fsys, d.path); err != nil {
		return err
	}
	state, err := loadIdentity(d.fsys, d.path)
	switch {
	case errors.Is(err, statefile.ErrMissing):
		err = d.create(o)
	case err == nil:
		d.state = state
		err = d.check(o)
	default:
		var bad *statefile.BadError
		if errors.As(err, &bad) && bad.Unwrap() == nil && d.neverFounded() {
			err = d.restart(o)
		}
	}
	if err != nil {
		return err
	}
	d.ledge, err = openLedger(d.fsys, d.path, o.Now)
	return err
}

// create makes a new identity if there is nothing that needs an old one.
func (d *Dir) create(o Options) error {
	entries, err := d.fsys.ReadDir(d.path)
	if err != nil {
		return fmt.Errorf("open data directory: %w", err)
	}
	for _, e := range entries {
		switch {
		case ours(e.Name()):
			return fmt.Errorf("open data directory %s: it %w (there is %s); restore identity.0 or identity.1 from a backup",
				d.path, ErrNoIdentity, e.Name())
		case !harmless(e.Name()):
			return fmt.Errorf("open data directory %s: it %w (there is %s); choose an empty one", d.path, ErrForeign, e.Name())
		}
	}
	id, err := newIdentity(o)
	if err != nil {
		return fmt.Errorf("open data directory %s: %w", d.path, err)
	}
	state, err := statefile.Create(d.fsys, filepath.Join(d.path, IdentityBase), identityKind, FormatVersion, [16]byte{}, id.encode())
	if err != nil {
		return fmt.Errorf("open data directory: %w", err)
	}
	d.state, d.id = state, id
	return nil
}

// neverFounded says that nothing but the pieces of an identity is there: a crash interrupted the very first start.
func (d *Dir) neverFounded() bool {
	entries, err := d.fsys.ReadDir(d.path)
	return err == nil && !slices.ContainsFunc(entries, func(e fs.FileInfo) bool { return ours(e.Name()) })
}

func (d *Dir) restart(o Options) error {
	for _, name := range statefile.Names(filepath.Join(d.path, IdentityBase)) {
		if err := vfs.RemoveAll(d.fsys, name); err != nil {
			return fmt.Errorf("open data directory: %w", err)
		}
	}
	return d.create(o)
}

// check compares the identity with what the caller expects, and mends it.
func (d *Dir) check(o Options) error {
	id, err := decodeIdentity(d.state.Body())
	if err != nil {
		return fmt.Errorf("open data directory %s: identity: %w; restore identity.0 and identity.1 from a backup", d.path, err)
	}
	d.id = id
	switch {
	case o.NodeID >= 0 && o.NodeID != id.NodeID:
		return fmt.Errorf("open data directory %s: it %w: node.id %d, not %d; start with node.id=%d or choose another directory",
			d.path, ErrOtherNode, id.NodeID, o.NodeID, id.NodeID)
	case o.ClusterID != "" && o.ClusterID != id.ClusterID:
		return fmt.Errorf("open data directory %s: it %w: %s, not %s; choose another directory", d.path, ErrOtherCluster, id.ClusterID, o.ClusterID)
	}
	if err := d.state.Mend(); err != nil {
		return fmt.Errorf("open data directory: %w", err)
	}
	return d.fsys.SyncDir(d.path)
}

// loadIdentity reads the identity's state file.
func loadIdentity(fsys vfs.FS, path string) (*statefile.File, error) {
	f, err := statefile.Load(fsys, filepath.Join(path, IdentityBase), identityKind, FormatVersion, [16]byte{})
	var bad *statefile.BadError
	if errors.As(err, &bad) && bad.Unwrap() == nil {
		return nil, fmt.Errorf("open data directory %s: it %w; restore identity.0 or identity.1 from a backup: %w", path, ErrNoIdentity, err)
	}
	if err != nil {
		return nil, fmt.Errorf("open data directory %s: %w", path, err)
	}
	return f, nil
}

// Path returns a name inside the directory, or the directory itself.
func (d *Dir) Path(elements ...string) string {
	return filepath.Join(append([]string{d.path}, elements...)...)
}

// Identity says whose directory this is.
func (d *Dir) Identity() Identity { return d.id }

// StartOver removes what an interrupted founding left in wal/, raft/ and topics/. It refuses on a founded directory.
func (d *Dir) StartOver() error {
	if d.id.Founded {
		return fmt.Errorf("start over in %s: the directory is founded; nothing was removed", d.path)
	}
	if name, err := firstPartition(d.fsys, d.path); err != nil {
		return fmt.Errorf("start over in %s: %w", d.path, err)
	} else if name != "" {
		return fmt.Errorf("start over in %s: the identity says that the directory was never founded, but there is %s: somebody put back an old identity; "+
			"nothing was removed; restore identity.0 and identity.1 from a backup: %w", d.path, filepath.Join(TopicsDir, name), ErrNoIdentity)
	}
	for _, name := range []string{WalDir, RaftDir, TopicsDir} {
		if err := vfs.RemoveAll(d.fsys, d.Path(name)); err != nil {
			return fmt.Errorf("start over in %s: %w", d.path, err)
		}
	}
	return d.fsys.SyncDir(d.path)
}

// firstPartition names what is in topics/, "" if there is nothing. A directory that is still being founded has no partition.
func firstPartition(fsys vfs.FS, path string) (string, error) {
	entries, err := fsys.ReadDir(filepath.Join(path, TopicsDir))
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) == 0 {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return entries[0].Name(), nil
}

// Founded records, durably, that wal/ and raft/ are complete: from now on a missing one is damage, never a reason to start a new one.
func (d *Dir) Founded() error {
	if d.id.Founded {
		return nil
	}
	id := d.id
	id.Founded = true
	if err := d.state.Store(id.encode()); err != nil {
		return err
	}
	d.id = id
	return nil
}

// Close gives the lock back.
func (d *Dir) Close() error { return d.lock.Close() }

// Info is what can be said of a directory without writing to it.
type Info struct {
	Path     string            `json:"path"`
	Identity Identity          `json:"identity"`
	Copies   [2]statefile.Copy `json:"copies"`             // of the identity
	Running  bool              `json:"running"`            // a process holds the lock
	Unknown  []string          `json:"unknown"`            // names that are not chronik's
	Founding bool              `json:"founding,omitempty"` // a crash interrupted the first start: nothing was ever acknowledged, the next start begins anew
}

// Inspect reads a directory's identity. It changes nothing and holds no lock. Errors are ErrMissing, ErrNoIdentity and *statefile.VersionError.
func Inspect(fsys vfs.FS, path string) (*Info, error) {
	info := &Info{Path: path, Unknown: []string{}}
	entries, err := fsys.ReadDir(path)
	if err != nil {
		return nil, fmt.Errorf("inspect data directory: %w", err)
	}
	data := false
	for _, e := range entries {
		data = data || ours(e.Name())
		if base, _ := statefile.Base(e.Name()); base != IdentityBase && !ours(e.Name()) && !harmless(e.Name()) {
			info.Unknown = append(info.Unknown, e.Name())
		}
	}
	state, err := loadIdentity(fsys, path)
	if errors.Is(err, statefile.ErrMissing) {
		if data {
			return nil, fmt.Errorf("inspect %s: it %w; restore identity.0 or identity.1 from a backup", path, ErrNoIdentity)
		}
		return nil, fmt.Errorf("inspect %s: it %w: there is no %s.0; check --data-dir", path, ErrMissing, IdentityBase)
	}
	if err != nil {
		return nil, err
	}
	info.Copies = state.Copies()
	if info.Identity, err = decodeIdentity(state.Body()); err != nil {
		return nil, fmt.Errorf("inspect %s: identity: %w", path, err)
	}
	if info.Running, err = Running(fsys, path); err != nil {
		return nil, err
	}
	name, err := firstPartition(fsys, path)
	info.Founding = err == nil && name == "" && !info.Identity.Founded
	return info, nil
}

// Running says whether a process holds the directory's lock. It takes the lock for a moment and gives it back; a node that starts in
// that moment tries again.
func Running(fsys vfs.FS, path string) (bool, error) {
	lock, err := fsys.Lock(path)
	if errors.Is(err, vfs.ErrLocked) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("test the lock of %s: %w", path, err)
	}
	return false, lock.Close()
}

// ours says whether a name at the top of a data directory is data: something that an identity must exist for.
func ours(name string) bool {
	switch name {
	case WalDir, RaftDir, TopicsDir, QuarantineDir, EvidenceDir, RepairsDir, IncidentsFile:
		return true
	}
	return false
}

// harmless says whether an unknown name is no finding: what file systems and interrupted replacements leave.
func harmless(name string) bool {
	base, _ := statefile.Base(name)
	return name == "lost+found" || base == IdentityBase || strings.HasSuffix(name, vfs.TempSuffix)
}
