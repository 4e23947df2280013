package datadir

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"chronik.dev/chronik/broker/statefile"
	"chronik.dev/chronik/broker/vfs"
)

// RepairsDir holds one directory per repair that was applied or begun (docs/format/repair.md).
const RepairsDir = "repairs"

// Names in the directory of a repair.
const (
	RepairStatusBase = "status"    // state file
	RepairUndoFile   = "undo.json" // the inverse; there before the first change
)

// RepairStatusVersion is the version of the body of a repair's status.
const RepairStatusVersion = 1

// RepairStatusKind is the kind of state file that a repair's status is.
var RepairStatusKind = [4]byte{'R', 'P', 'R', 'S'}

// ErrHalfRepaired says that a repair was interrupted: the directory is neither as before nor as planned, and only that repair may go on.
var ErrHalfRepaired = errors.New("a repair is half done")

// RepairState is how far a repair is.
type RepairState string

// The states of a repair. In Applying and Undoing the directory is between old and new.
const (
	RepairPreparing  RepairState = "preparing"  // evidence is being copied; nothing is changed
	RepairApplying   RepairState = "applying"   // steps may have been done
	RepairApplied    RepairState = "applied"    // all of them
	RepairUndoing    RepairState = "undoing"    // some may have been taken back
	RepairUndone     RepairState = "undone"     // all of them
	RepairUnreadable RepairState = "unreadable" // no copy of the status can be read
)

// Half says whether the directory is between old and new, or may be.
func (s RepairState) Half() bool {
	return s == RepairApplying || s == RepairUndoing || s == RepairUnreadable
}

// Repair is the status of one repair.
type Repair struct {
	ID      string      `json:"id"`
	State   RepairState `json:"state"`
	Verb    string      `json:"verb,omitempty"`
	Begun   time.Time   `json:"begun"`
	Changed time.Time   `json:"changed"` // of State
	Problem string      `json:"problem,omitempty"`
}

// Next is the command that brings a half done repair to its end; empty if nothing has to be done. dir is the data directory.
func (r *Repair) Next(dir string) string {
	switch {
	case r.State == RepairUndoing:
		return "chronik repair undo --dir " + dir + " " + r.ID
	case r.State.Half():
		return "chronik repair apply --dir " + dir + " " + r.ID
	}
	return ""
}

// Repairs lists the repairs of a data directory in the order of their ids, which begin with their time. It changes nothing.
func Repairs(fsys vfs.FS, dir string) ([]Repair, error) {
	infos, err := fsys.ReadDir(filepath.Join(dir, RepairsDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list repairs of %s: %w", dir, err)
	}
	var out []Repair
	for _, info := range infos {
		if !info.IsDir() {
			continue
		}
		r, err := ReadRepair(fsys, dir, info.Name())
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, nil
}

// ReadRepair reads the status of one repair; a directory that is not there is Preparing: nothing of it was done. An error is one of the disk,
// or a *statefile.VersionError.
func ReadRepair(fsys vfs.FS, dir, id string) (Repair, error) {
	r := Repair{ID: id, State: RepairPreparing}
	base := filepath.Join(dir, RepairsDir, id)
	f, err := statefile.Load(fsys, filepath.Join(base, RepairStatusBase), RepairStatusKind, RepairStatusVersion, [16]byte{})
	var bad *statefile.BadError
	if errors.Is(err, statefile.ErrMissing) || errors.As(err, &bad) && bad.Unwrap() == nil {
		// The status is made before anything else and the inverse is made before any change: without it the repair never began.
		begun, statErr := vfs.Exists(fsys, filepath.Join(base, RepairUndoFile))
		if begun {
			r.State, r.Problem = RepairUnreadable, err.Error()
		}
		err = statErr
	} else if err == nil {
		if err = json.Unmarshal(f.Body(), &r); err != nil {
			r.State, r.Problem, err = RepairUnreadable, err.Error(), nil
		}
		r.ID = id
	}
	if err != nil {
		return r, fmt.Errorf("read the status of repair %s: %w", id, err)
	}
	return r, nil
}

// HalfRepaired returns ErrHalfRepaired, with what to do, if a repair of the directory was interrupted.
func HalfRepaired(fsys vfs.FS, dir string) error {
	repairs, err := Repairs(fsys, dir)
	if err != nil {
		return err
	}
	for i := range repairs {
		if r := &repairs[i]; r.State.Half() {
			return fmt.Errorf("data directory %s: %w: %s (%s) is %s; finish it with %s, or take it back with chronik repair undo --dir %s %s",
				dir, ErrHalfRepaired, r.ID, r.Verb, r.State, r.Next(dir), dir, r.ID)
		}
	}
	return nil
}
