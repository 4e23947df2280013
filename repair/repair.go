// Package repair is the one route by which anything but the running node changes a data directory.
//
// The idea: a verb is a function that changes a file system. It runs on a copy-on-write overlay of the directory, where the broker's own code
// may do the work; the difference that it leaves is a plan: inputs with their SHA-256, a few kinds of steps on whole files and byte ranges,
// and what is lost. Nothing else is needed to apply a plan, and its inverse is as mechanical: one executor does both.
//
// The guarantee: a plan changes nothing. Apply holds the directory's lock, refuses if an input has changed by one byte, copies what it is going
// to overwrite (reflink where there is one), writes the inverse, and only then the first change. Killed at any call, or with a full disk, it
// leaves a directory that Apply finishes or Undo restores byte for byte; meanwhile a node refuses to start on it (datadir.ErrHalfRepaired).
// Nothing is destroyed: what a plan removes is moved into repairs/<id>/.
//
// The API: New makes a plan of a verb; Plan.Encode and Decode are its file; Apply, Undo and List work on a directory. docs/format/repair.md.
package repair

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"chronik.dev/chronik/broker/datadir"
	"chronik.dev/chronik/broker/vfs"
)

// Errors that callers tell apart. They are wrapped with what failed, where, and what to do next.
var (
	// ErrStale says that the directory is no more what the plan, or the undo, was made for. Nothing was changed.
	ErrStale = errors.New("the plan is stale")
	// ErrRefused says that a safety rule forbids it. Nothing was changed.
	ErrRefused = errors.New("refused by a safety rule")
	// ErrNothing says that there is nothing to change: no plan was made.
	ErrNothing = errors.New("nothing to do")
	// ErrPlan says that a plan file is damaged, was edited, or is none.
	ErrPlan = errors.New("not a valid plan")
	// ErrVersion says that a plan was written by another release.
	ErrVersion = errors.New("unknown format version")
	// ErrNoSpace says that the disk has not the room that a repair needs. Nothing was changed.
	ErrNoSpace = errors.New("no space left")
	// ErrUnknown says that the directory knows no such repair.
	ErrUnknown = errors.New("no such repair")
)

// Options say what a plan is for.
type Options struct {
	FS   vfs.FS
	Dir  string           // the data directory
	Verb string           // "wal truncate"
	Args []string         // as the operator gave them
	Tool string           // version of the binary
	Now  func() time.Time // nil is time.Now
}

func (o *Options) now() time.Time {
	if o.Now == nil {
		return time.Now()
	}
	return o.Now()
}

// Draft is a plan in the making, as a verb sees it.
type Draft struct {
	// FS is the overlay: what the verb does to it is what the plan will do.
	FS *vfs.Overlay
	// Dir is the data directory, a path in FS.
	Dir string
	// DirID is its directory id, zero if no copy of the identity can be read.
	DirID [16]byte
	// Now is the time that the plan carries.
	Now time.Time

	plan *Plan
}

// Path returns a name inside the directory.
func (d *Draft) Path(elements ...string) string {
	return filepath.Join(append([]string{d.Dir}, elements...)...)
}

// Lose adds to what the plan loses.
func (d *Draft) Lose(l ...Loss) { d.plan.Loss = append(d.plan.Loss, l...) }

// LoseGroupOffsets adds committed offsets that the plan loses.
func (d *Draft) LoseGroupOffsets(g ...GroupOffset) {
	d.plan.GroupOffsets = append(d.plan.GroupOffsets, g...)
}

// Say adds a line to the summary that people read before they decide.
func (d *Draft) Say(format string, args ...any) {
	d.plan.Summary = append(d.plan.Summary, fmt.Sprintf(format, args...))
}

// Needs says that the plan may only be applied with --accept-loss N, N being what it loses, and why.
func (d *Draft) Needs(format string, args ...any) {
	d.plan.NeedsAccept = append(d.plan.NeedsAccept, fmt.Sprintf(format, args...))
}

// New makes the plan of a verb. It holds the directory's lock meanwhile, so that the inputs are those that the verb read, and changes nothing.
// Errors: vfs.ErrLocked, datadir.ErrHalfRepaired, ErrNothing if the verb changed nothing, ErrRefused if a start of the node would then find wrong what
// is in order now, and those of the verb.
func New(o Options, verb func(*Draft) error) (*Plan, error) {
	lock, err := takeLock(o.FS, o.Dir)
	if err != nil {
		return nil, err
	}
	plan, err := draft(o, verb)
	return plan, errors.Join(err, lock.Close())
}

func draft(o Options, verb func(*Draft) error) (*Plan, error) {
	if err := datadir.HalfRepaired(o.FS, o.Dir); err != nil {
		return nil, err
	}
	now := o.now().UTC().Truncate(time.Millisecond)
	d := &Draft{FS: vfs.NewOverlay(o.FS), Dir: filepath.Clean(o.Dir), Now: now}
	d.plan = &Plan{Created: now, Tool: o.Tool, Verb: o.Verb, Args: append([]string{}, o.Args...), Directory: absolute(o.Dir)}
	if id, err := directoryID(o.FS, o.Dir); err != nil {
		return nil, err
	} else if id != nil {
		d.DirID, d.plan.DirectoryID = *id, hexID(*id)
	}
	if err := verb(d); err != nil {
		return nil, fmt.Errorf("plan %s of %s: %w", o.Verb, o.Dir, err)
	}
	c := &comparer{over: d.FS, base: o.FS, dir: d.Dir, plan: d.plan}
	if err := c.run(); err != nil {
		return nil, fmt.Errorf("plan %s of %s: %w", o.Verb, o.Dir, err)
	}
	if len(d.plan.Steps) == 0 {
		return nil, fmt.Errorf("plan %s of %s: %w: the directory is already as it would leave it", o.Verb, o.Dir, ErrNothing)
	}
	if err := d.prove(o.FS); err != nil {
		return nil, fmt.Errorf("plan %s of %s: %w", o.Verb, o.Dir, err)
	}
	d.plan.finish()
	return d.plan, nil
}

func absolute(dir string) string {
	if abs, err := filepath.Abs(dir); err == nil {
		return abs
	}
	return dir
}

// directoryID reads the directory's id, nil if no copy of the identity can be read: a verb may be there to mend that.
func directoryID(fsys vfs.FS, dir string) (*[16]byte, error) {
	info, err := datadir.Inspect(vfs.NewOverlay(fsys), dir) // the overlay: this process may hold the lock
	switch {
	case err == nil:
		return &info.Identity.DirectoryID, nil
	case errors.Is(err, datadir.ErrNoIdentity):
		return nil, nil
	}
	return nil, err
}

const (
	lockTries = 5
	lockPause = 20 * time.Millisecond
)

// takeLock takes the lock of an existing directory, patient with those who test it.
func takeLock(fsys vfs.FS, dir string) (lock interface{ Close() error }, err error) {
	for range lockTries {
		if lock, err = fsys.Lock(dir); !errors.Is(err, vfs.ErrLocked) {
			break
		}
		time.Sleep(lockPause)
	}
	if errors.Is(err, vfs.ErrLocked) {
		return nil, fmt.Errorf("data directory %s: %w: a node is running on it; stop it first", dir, vfs.ErrLocked)
	}
	if err != nil {
		return nil, fmt.Errorf("data directory %s: %w", dir, err)
	}
	return lock, nil
}
