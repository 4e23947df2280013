package repair

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"chronik.dev/chronik/broker/datadir"
	"chronik.dev/chronik/broker/statefile"
	"chronik.dev/chronik/broker/vfs"
)

// planFile is the plan as it was applied, in repairs/<id>/.
const planFile = "plan.json"

// ApplyOptions say where a plan is applied.
type ApplyOptions struct {
	FS         vfs.FS
	Dir        string
	AcceptLoss *int64 // the N of --accept-loss, LossUnknown of "unknown"; nil: not given
	Now        func() time.Time
}

// Outcome is what Apply or Undo did.
type Outcome struct {
	ID      string              `json:"id"`
	Verb    string              `json:"verb"`
	State   datadir.RepairState `json:"state"`
	Already bool                `json:"already,omitempty"` // it was so before
	Steps   int                 `json:"steps"`
	Kept    string              `json:"kept"` // where plan, evidence and inverse are
}

// session is the work on one repair of a locked directory.
type session struct {
	o    Options
	plan *Plan
	x    executor
	file *statefile.File
	rep  datadir.Repair
	lock interface{ Close() error }
}

func open(fsys vfs.FS, dir, id string, now func() time.Time) (*session, error) {
	lock, err := takeLock(fsys, dir)
	if err != nil {
		return nil, err
	}
	s := &session{o: Options{FS: fsys, Dir: dir, Now: now}, lock: lock}
	s.x = executor{fs: fsys, dir: dir, keep: filepath.Join(dir, datadir.RepairsDir, id)}
	if s.rep, err = datadir.ReadRepair(fsys, dir, id); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return s, nil
}

// Apply does what a plan says, or goes on with it. Errors: vfs.ErrLocked, ErrStale, ErrRefused, ErrNoSpace and those of the disk. After an
// error the directory is as before, or Apply, with room on the disk, finishes and Undo takes back.
func Apply(o ApplyOptions, p *Plan) (*Outcome, error) {
	s, err := open(o.FS, o.Dir, p.ID, o.Now)
	if err != nil {
		return nil, err
	}
	s.plan = p
	out, err := s.apply(o)
	if err = errors.Join(err, s.lock.Close()); err != nil {
		return nil, fmt.Errorf("apply %s to %s: %w", p.ID, o.Dir, err)
	}
	return out, nil
}

func (s *session) apply(o ApplyOptions) (*Outcome, error) {
	out := &Outcome{ID: s.plan.ID, Verb: s.plan.Verb, State: datadir.RepairApplied, Steps: len(s.plan.Steps), Kept: s.x.keep}
	if err := s.same(); err != nil {
		return nil, err
	}
	switch s.rep.State {
	case datadir.RepairApplied:
		out.Already = true
		return out, nil
	case datadir.RepairUndoing:
		return nil, fmt.Errorf("%w: it is being taken back; finish that first: %s", ErrRefused, s.rep.Next(o.Dir))
	case datadir.RepairPreparing, datadir.RepairUndone:
		if err := s.admit(o); err != nil {
			return nil, err
		}
		if err := s.room(); err != nil {
			return nil, err
		}
		if err := s.prepare(); err != nil {
			_ = s.clear() // give the room back; a rest is no harm, the repair has not begun
			return nil, err
		}
	case datadir.RepairUnreadable:
		if err := s.adopt(s.plan.Steps); err != nil {
			return nil, err
		}
	case datadir.RepairApplying:
		if err := s.loadStatus(); err != nil {
			return nil, err
		}
	}
	if err := s.store(datadir.RepairApplying); err != nil {
		return nil, err
	}
	if err := s.x.run(s.plan.Steps); err != nil {
		return nil, fmt.Errorf("%w; the repair is half done: run chronik repair apply --dir %s %s to finish it, or chronik repair undo --dir %s %s to take it back",
			err, o.Dir, s.plan.ID, o.Dir, s.plan.ID)
	}
	return out, s.store(datadir.RepairApplied)
}

// same refuses to go on with another plan than the one that was begun.
func (s *session) same() error {
	if s.rep.State == datadir.RepairPreparing || s.rep.State == datadir.RepairUndone {
		return nil
	}
	begun, err := Load(s.o.FS, s.x.kept(planFile))
	if errors.Is(err, ErrPlan) {
		return nil // its copy rotted; ids carry a hash of the steps
	}
	if err != nil {
		return err
	}
	a, err := begun.Encode()
	if err != nil {
		return err
	}
	b, err := s.plan.Encode()
	if err == nil && !bytes.Equal(a, b) {
		err = fmt.Errorf("%w: another plan with this id was applied here: %s", ErrRefused, s.x.kept(planFile))
	}
	return err
}

// clear removes repairs/<id>/ of a repair that has not changed anything, or was undone. The inverse goes first: without it, whatever else a crash
// leaves says that the repair has not begun.
func (s *session) clear() error {
	there, err := vfs.Exists(s.o.FS, s.x.kept(datadir.RepairUndoFile))
	if err != nil {
		return err
	}
	if there {
		if err := s.o.FS.Remove(s.x.kept(datadir.RepairUndoFile)); err != nil {
			return err
		}
		if err := s.o.FS.SyncDir(s.x.keep); err != nil {
			return err
		}
	}
	return vfs.RemoveAll(s.o.FS, s.x.keep)
}

// admit decides whether the plan may be applied to the directory as it is.
func (s *session) admit(o ApplyOptions) error {
	if err := datadir.HalfRepaired(o.FS, o.Dir); err != nil {
		return err
	}
	id, err := directoryID(o.FS, o.Dir)
	if err != nil {
		return err
	}
	if s.plan.DirectoryID != "" && id != nil && hexID(*id) != s.plan.DirectoryID {
		return fmt.Errorf("%w: it was made for directory %s (%s), this is %s", ErrStale, s.plan.DirectoryID, s.plan.Directory, hexID(*id))
	}
	if err := s.accept(o.AcceptLoss); err != nil {
		return err
	}
	return s.fresh(s.plan.Inputs)
}

// accept checks the loss that the operator agreed to.
func (s *session) accept(n *int64) error {
	switch {
	case n != nil && *n != s.plan.LossTotal:
		return fmt.Errorf("%w: --accept-loss %s, but the plan loses %s", ErrRefused, LossText(*n), LossText(s.plan.LossTotal))
	case n == nil && len(s.plan.NeedsAccept) > 0:
		return fmt.Errorf("%w: %s; if that is what you want, give --accept-loss %s", ErrRefused, strings.Join(s.plan.NeedsAccept, "; "), LossText(s.plan.LossTotal))
	}
	return nil
}

// LossText is a number of records as --accept-loss takes it.
func LossText(n int64) string {
	if n == LossUnknown {
		return "unknown"
	}
	return strconv.FormatInt(n, 10)
}

// fresh compares inputs with the directory.
func (s *session) fresh(inputs []Input) error {
	for _, want := range inputs {
		is, err := readInput(s.o.FS, s.o.Dir, want)
		if err != nil {
			return err
		}
		if is == want {
			continue
		}
		what := "its content changed"
		switch {
		case is.Absent:
			what = "it is gone"
		case want.Absent:
			what = "it was not there"
		case want.Dir:
			what = "names in it were added or removed"
		case is.Size != want.Size:
			what = fmt.Sprintf("%d bytes instead of %d", is.Size, want.Size)
		}
		return fmt.Errorf("%w: %s: %s; make it again", ErrStale, want.Name, what)
	}
	return nil
}

// prepare makes repairs/<id>/ with plan, evidence and inverse, all synced. Nothing else is changed.
func (s *session) prepare() error {
	fsys := s.o.FS
	if err := s.clear(); err != nil { // of an attempt that did not come to the first change, or was undone
		return err
	}
	s.rep = datadir.Repair{ID: s.plan.ID, Verb: s.plan.Verb, Begun: s.o.now().UTC(), State: datadir.RepairPreparing}
	for _, dir := range []string{s.x.keep, s.x.kept("before"), s.x.kept("undone")} {
		if err := vfs.MkdirAll(fsys, dir); err != nil {
			return err
		}
	}
	body, err := s.body(datadir.RepairPreparing)
	if err != nil {
		return err
	}
	base := filepath.Join(s.x.keep, datadir.RepairStatusBase)
	if s.file, err = statefile.Create(fsys, base, datadir.RepairStatusKind, datadir.RepairStatusVersion, [16]byte{}, body); err != nil {
		return err
	}
	encoded, err := s.plan.Encode()
	if err != nil {
		return err
	}
	if err := vfs.WriteFile(fsys, s.x.kept(planFile), encoded); err != nil {
		return err
	}
	for i := range s.plan.Steps {
		if err := s.evidence(i); err != nil {
			return fmt.Errorf("save what %s overwrites: %w", s.plan.Steps[i].File, err)
		}
	}
	if err := fsys.SyncDir(s.x.kept("before")); err != nil {
		return err
	}
	undo := *s.plan
	undo.Steps, undo.Verb = inverse(s.plan.Steps), "undo "+s.plan.Verb
	if encoded, err = undo.Encode(); err != nil {
		return err
	}
	return vfs.WriteFile(fsys, s.x.kept(datadir.RepairUndoFile), encoded)
}

// evidence keeps what a write step is going to overwrite or cut off: the whole file if it can share blocks, else those ranges, at their places.
func (s *session) evidence(i int) error {
	step := &s.plan.Steps[i]
	if step.Op != OpWrite || step.Before == nil {
		return nil
	}
	ranges := overwritten(step)
	name, keep := s.x.path(step.File), s.x.kept(evidenceName(i))
	err := vfs.Clone(s.o.FS, name, keep)
	if err != nil && !errors.Is(err, vfs.ErrNoClone) {
		return err
	}
	to, openErr := s.o.FS.OpenFile(keep, os.O_CREATE|os.O_RDWR)
	if openErr != nil {
		return openErr
	}
	if err != nil {
		err = s.copyRanges(name, to, ranges)
	}
	if err == nil {
		err = to.Sync()
	}
	return errors.Join(err, to.Close())
}

func (s *session) copyRanges(name string, to vfs.File, ranges []Piece) (err error) {
	from, err := s.o.FS.OpenFile(name, os.O_RDONLY)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	for _, r := range ranges {
		if err := copyRange(from, to, r.Offset, r.Length); err != nil {
			return err
		}
	}
	return nil
}

// slackSpace is what a repair leaves free besides what it needs, in bytes.
const slackSpace = 1 << 20

// room refuses before the first byte is written if the disk has not the space for evidence, plan, inverse and growth.
func (s *session) room() error {
	need := int64(slackSpace)
	for i := range s.plan.Steps {
		step := &s.plan.Steps[i]
		if step.Op != OpWrite {
			continue
		}
		size := int64(0)
		if step.Before != nil {
			size = step.Before.Size
			for _, r := range overwritten(step) {
				need += r.Length
			}
		}
		need += max(0, step.After.Size-size)
		for j := range step.Pieces {
			need += int64(len(step.Pieces[j].Data)) * 3 / 2 // in plan.json, as base64
		}
	}
	free, err := s.o.FS.Free(s.o.Dir)
	if err != nil {
		return err
	}
	if free < need {
		return fmt.Errorf("%w: the repair needs %d bytes on the file system of %s for evidence and growth, %d are free; make room and apply again",
			ErrNoSpace, need, s.o.Dir, free)
	}
	return nil
}

func (s *session) body(state datadir.RepairState) ([]byte, error) {
	s.rep.State, s.rep.Changed, s.rep.Problem = state, s.o.now().UTC(), ""
	return json.Marshal(s.rep)
}

// store makes a state durable.
func (s *session) store(state datadir.RepairState) error {
	body, err := s.body(state)
	if err != nil {
		return err
	}
	return s.file.Store(body)
}

func (s *session) loadStatus() error {
	base := filepath.Join(s.x.keep, datadir.RepairStatusBase)
	var err error
	if s.file, err = statefile.Load(s.o.FS, base, datadir.RepairStatusKind, datadir.RepairStatusVersion, [16]byte{}); err != nil {
		return err
	}
	return s.file.Mend()
}

// adopt makes a new status where both copies are damaged. The inverse is there, so the repair may have begun, be done, or be taken back, and a node
// may have run since: it goes on only if every file of a step is as before or as after it.
func (s *session) adopt(steps []Step) error {
	for i := range steps {
		if err := s.known(&steps[i]); err != nil {
			return err
		}
	}
	base := filepath.Join(s.x.keep, datadir.RepairStatusBase)
	for _, name := range statefile.Names(base) {
		if err := s.o.FS.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	s.rep.Verb, s.rep.Begun = s.plan.Verb, s.o.now().UTC()
	body, err := s.body(datadir.RepairApplying)
	if err != nil {
		return err
	}
	s.file, err = statefile.Create(s.o.FS, base, datadir.RepairStatusKind, datadir.RepairStatusVersion, [16]byte{}, body)
	return err
}

// known refuses a file that is neither as before nor as after a step.
func (s *session) known(step *Step) error {
	if step.Op == OpMkdir || step.Op == OpRmdir {
		return nil
	}
	is, err := hashFile(s.o.FS, s.x.path(step.File))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // moved away, or not made yet: the step itself says if not
	}
	if err != nil {
		return err
	}
	for _, state := range []*FileState{step.Before, step.After} {
		if state != nil && *state == *is {
			return nil
		}
	}
	return fmt.Errorf("%w: the status of the repair is damaged, and %s is neither as before nor as after it; compare it with %s by hand",
		ErrStale, step.File, s.x.keep)
}
