package repair

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"chronik.dev/chronik/broker/datadir"
	"chronik.dev/chronik/broker/vfs"
)

// Applied loads the plan of a repair from the directory that it was applied to, or begun on. ErrUnknown if there is none.
func Applied(fsys vfs.FS, dir, id string) (*Plan, error) {
	name := filepath.Join(dir, datadir.RepairsDir, id, planFile)
	if !ValidID(id) {
		return nil, fmt.Errorf("%q is no repair's id: %w; see chronik repair status --dir %s", id, ErrUnknown, dir)
	}
	if there, err := vfs.Exists(fsys, name); err != nil {
		return nil, err
	} else if !there {
		return nil, fmt.Errorf("%s has no repair %s: %w; see chronik repair status --dir %s", dir, id, ErrUnknown, dir)
	}
	return Load(fsys, name)
}

// Undo takes a repair back: the directory is byte for byte as before it. An applied repair is only taken back if nothing it read or wrote has
// changed since, as by a node that ran: ErrStale. Other errors are those of Apply. After an error, Undo again goes on.
func Undo(fsys vfs.FS, dir, id string, now func() time.Time) (*Outcome, error) {
	if !ValidID(id) {
		return nil, fmt.Errorf("undo: %q is no repair's id: %w; see chronik repair status --dir %s", id, ErrUnknown, dir)
	}
	s, err := open(fsys, dir, id, now)
	if err != nil {
		return nil, err
	}
	out, err := s.undo()
	if err = errors.Join(err, s.lock.Close()); err != nil {
		return nil, fmt.Errorf("undo %s in %s: %w", id, dir, err)
	}
	return out, nil
}

func (s *session) undo() (*Outcome, error) {
	out := &Outcome{ID: s.rep.ID, Verb: s.rep.Verb, State: datadir.RepairUndone, Kept: s.x.keep}
	there, err := vfs.Exists(s.o.FS, s.x.keep)
	switch {
	case err != nil:
		return nil, err
	case !there:
		return nil, fmt.Errorf("%w; see chronik repair status --dir %s", ErrUnknown, s.o.Dir)
	case s.rep.State == datadir.RepairPreparing: // nothing was changed
		out.Already = true
		if err := s.clear(); err != nil {
			return nil, err
		}
		return out, s.o.FS.SyncDir(filepath.Dir(s.x.keep))
	case s.rep.State == datadir.RepairUndone:
		out.Already = true
		return out, nil
	}
	undo, err := Load(s.o.FS, s.x.kept(datadir.RepairUndoFile))
	if err != nil {
		return nil, err
	}
	s.plan, out.Steps, out.Verb = undo, len(undo.Steps), strings.TrimPrefix(undo.Verb, "undo ")
	s.plan.Verb = out.Verb
	switch s.rep.State {
	case datadir.RepairUnreadable:
		err = s.adopt(undo.Steps)
	case datadir.RepairApplied:
		if err := s.unchanged(undo); err != nil {
			return nil, err
		}
		fallthrough
	default:
		err = s.loadStatus()
	}
	if err != nil {
		return nil, err
	}
	if err := s.store(datadir.RepairUndoing); err != nil {
		return nil, err
	}
	if err := s.x.run(undo.Steps); err != nil {
		return nil, fmt.Errorf("%w; run the same command again to finish", err)
	}
	return out, s.store(datadir.RepairUndone)
}

// unchanged refuses if the directory is not as the applied repair left it.
func (s *session) unchanged(undo *Plan) error {
	want := map[string]Input{}
	for _, in := range undo.Inputs {
		if !in.Dir { // the repair itself changes lists of names; files that came since are the node's and its changes show in others
			want[in.Name] = in
		}
	}
	for i := len(undo.Steps) - 1; i >= 0; i-- { // in the order in which they were applied
		s := &undo.Steps[i]
		switch s.Op {
		case OpWrite, OpRemove:
			want[s.File] = Input{Name: s.File, Size: s.Before.Size, SHA256: s.Before.SHA256}
		case OpRestore:
			want[s.File] = Input{Name: s.File, Absent: true}
		case OpRename:
			want[s.To] = Input{Name: s.To, Absent: true}
			want[s.File] = Input{Name: s.File, Size: s.Before.Size, SHA256: s.Before.SHA256}
		default:
			delete(want, s.File)
		}
	}
	for _, in := range want {
		if err := s.fresh([]Input{in}); err != nil {
			return fmt.Errorf("%w, since it was applied: what came after would be lost", err)
		}
	}
	return nil
}

// List returns the repairs of a directory and how far they are. It changes nothing.
func List(fsys vfs.FS, dir string) ([]datadir.Repair, error) { return datadir.Repairs(fsys, dir) }
