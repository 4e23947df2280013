package partition

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"chronik.dev/chronik/broker/batch"
	"chronik.dev/chronik/broker/segment"
	"chronik.dev/chronik/broker/vfs"
	"chronik.dev/chronik/broker/wal"
)

// Finding is one thing that a replay found in a partition's files.
type Finding struct {
	Kind        FindingKind `json:"kind"`
	File        string      `json:"file"`        // path
	Offset      int64       `json:"offset"`      // byte in File
	Length      int64       `json:"length"`      // bytes
	FirstOffset int64       `json:"firstOffset"` // records touched, -1 if unknown
	LastOffset  int64       `json:"lastOffset"`
	Message     string      `json:"message"`
	Evidence    string      `json:"evidence,omitempty"` // where the bytes were saved
}

// FindingKind is the closed list of what a replay can find.
type FindingKind string

// What a replay can find.
const (
	Rewritten  FindingKind = "rewritten"  // bytes past the checkpoint differed from the journal: saved, cut, written again
	Cut        FindingKind = "cut"        // bytes that neither checkpoint nor journal know: saved, cut
	Repaired   FindingKind = "repaired"   // records lost in the journal were taken from the partition log
	BlockFixed FindingKind = "block"      // the last block below the checkpoint was restored from the journal
	Missing    FindingKind = "missing"    // a file is missing or shorter than the checkpoint says
	Gap        FindingKind = "gap"        // records lost in the journal are not in the partition log either
	Mismatch   FindingKind = "mismatch"   // a replaced file is neither the old nor the new one
	Unreadable FindingKind = "unreadable" // I/O error
)

// DamageError stops a partition: replay cannot go on without losing something.
type DamageError struct{ Finding }

func (e *DamageError) Error() string {
	return fmt.Sprintf("%s: byte %d: %s: %s", e.File, e.Offset, e.Kind, e.Message)
}

// ReplayOptions say how a partition is rebuilt.
type ReplayOptions struct {
	ReadOnly bool // compare only: nothing is written, what would be is found all the same
	// CutTo is the lowest offset to which a Truncated frame behind the checkpoint cut the log below the checkpoint's end, CutLSN that
	// frame; CutLSN 0 if there is none. The files may be cut already.
	CutTo  int64
	CutLSN wal.LSN
	// Truncations are all Truncated frames behind the checkpoint. What a later one cut off is passed over, so that the files are compared
	// with what they may hold and nothing is written only to be cut again.
	Truncations []Truncation
	// Replaced are the Replaced frames behind the checkpoint: a file may be as any of them says.
	Replaced []Replaced
	// Took is told of every batch that the log gained behind the checkpoint, in order; raw is valid during the call. An error ends the
	// replay. May be nil.
	Took func(h *batch.Header, raw []byte) error
	// Save copies a range of a file durably to evidence/ and returns where.
	Save func(name, file string, offset, length int64) (string, error)
}

// Truncation is a Truncated frame: the log's new end.
type Truncation struct {
	LSN wal.LSN
	To  int64
	At  *CutAt // nil: damage took it, and the files are scanned for the place
}

// Replay rebuilds one partition at boot from its checkpointed State, its files and the journal's frames, fed in LSN order.
//
// Bytes past the checkpointed size are compared with the journal; equal ones stay, at the first difference the rest of the file is saved
// and cut, and what follows is written from the journal.
type Replay struct {
	env      *Env
	cfg      Config
	opt      ReplayOptions
	st       State // the model: what was applied so far
	dir      string
	synced   State // as the checkpoint has it
	prods    producers
	cur      cursor
	sums     sums
	findings []Finding
	grown    bool         // something was applied to the files
	writes   int64        // base offset of the first segment that this replay may write: the checkpoint's active one, or one that it cut back to
	floor    SegmentState // that segment: its bytes below this size are in the files alone
	start    int64        // log start that the frames so far say
	created  wal.LSN      // LSN of Opened, 0 if the checkpoint lists the partition
	proven   wal.LSN
	now      int64 // time of the group at hand, ms
}

// NewReplay starts from the checkpoint's State, or from State{Identity, Dir} of a partition that was opened behind it; opened is
// then the LSN of its Opened frame, else 0. A *DamageError says that the files are less than the checkpoint promises.
func NewReplay(env *Env, st State, opened wal.LSN, cfg Config, opt ReplayOptions) (*Replay, error) {
	r := &Replay{env: env, cfg: cfg, opt: opt, st: st, synced: st, dir: filepath.Join(env.Dir, st.Dir), created: opened}
	r.st.Segments = slices.Clone(st.Segments)
	r.st.Epochs = slices.Clone(st.Epochs)
	r.prods = newProducers(st.Producers)
	r.cur.r = r
	r.sums = newSums(env.FS, r.dir)
	if opened > 0 {
		r.st.LSN, r.st.Epoch = opened, -1
		r.st.Segments = []SegmentState{{Shape: cfg.choices()}} // until its Rolled frame says
		if err := r.makeDir(); err != nil {
			return nil, err
		}
	}
	if len(r.st.Segments) == 0 {
		return nil, r.damage(Missing, r.dir, 0, "the checkpoint lists no segment")
	}
	r.floor = *r.st.active()
	r.writes = r.floor.Base
	if opt.CutLSN > 0 {
		r.measureReplaced()
		if err := r.truncate(opt.CutTo, opt.CutLSN); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func (r *Replay) makeDir() error {
	if r.opt.ReadOnly {
		return nil
	}
	if err := r.env.FS.Mkdir(r.dir); err != nil && !errors.Is(err, errExist) {
		return fmt.Errorf("replay %s: %w", r.st.Dir, err)
	}
	r.sums.add(segment.MetaFile, 0, 0, segment.EncodeMetadata(r.st.ID))
	return writeMetadata(r.env.FS, r.dir, r.st.ID)
}

// State returns the model after what was applied.
func (r *Replay) State() State {
	st := r.st
	st.Producers, st.HighWatermark = r.prods.state(st.End), st.End
	return st
}

// End returns the log end offset of the model.
func (r *Replay) End() int64 { return r.st.End }

// Proven is the LSN of the last frame that continued the log where the frames before had left it: nothing below it is lost unnoticed.
func (r *Replay) Proven() wal.LSN { return max(r.proven, r.synced.LSN) }

// Findings returns what was found so far.
func (r *Replay) Findings() []Finding { return r.findings }

// save copies a range of a file to evidence/.
func (r *Replay) save(path string, offset, length int64) (string, error) {
	where, err := r.opt.Save(fmt.Sprintf("%s.%s.at-%d", r.st.Dir, filepath.Base(path), offset), path, offset, length)
	if err != nil {
		return "", fmt.Errorf("replay %s: %w", r.st.Dir, err)
	}
	return where, nil
}

func (r *Replay) damage(kind FindingKind, file string, at int64, format string, a ...any) error {
	f := Finding{Kind: kind, File: file, Offset: at, FirstOffset: r.st.End, LastOffset: -1, Message: fmt.Sprintf(format, a...)}
	return &DamageError{f}
}

// Apply applies one frame of the partition; now is the time of its group, ms. Frames at or below the State's LSN are skipped. damaged says
// that frames of the partition may have been lost between the last one applied and this one: then records in between are looked for in
// the partition log. Without damage, what follows a gap was never acknowledged (the journal had refused what came before it for want of
// space) and is passed over. A *DamageError stops the partition.
func (r *Replay) Apply(f *wal.Frame, now int64, damaged bool) error {
	if f.LSN <= r.st.LSN {
		return nil
	}
	r.now = now
	var err error
	switch f.Type {
	case wal.Batch, wal.Rolled, wal.EpochBegun:
		err = r.grow(f, damaged)
	case wal.Truncated:
		if f.LSN != r.opt.CutLSN && f.First < r.st.End {
			err = r.truncate(f.First, f.LSN)
		}
		if r.start > r.st.End { // the truncation took the whole batch that holds the log start
			r.st.LogStart, r.st.End = r.start, r.start
			r.st.Epochs = cutEpochs(r.st.Epochs, r.start, r.start)
		}
	case wal.LogStart:
		r.start = max(r.start, f.First)
		r.st.LogStart = max(r.st.LogStart, min(f.First, r.st.End))
		r.st.Epochs = cutEpochs(r.st.Epochs, r.st.LogStart, r.st.End+1)
	case wal.TailBlock:
		err = r.restoreBlock(f)
	case wal.Opened, wal.Replaced, wal.Dropped:
	default:
		err = fmt.Errorf("replay %s: LSN %d: frame of type %v: unknown format version", r.st.Dir, f.LSN, f.Type)
	}
	if err == nil {
		r.st.LSN = f.LSN
	}
	return err
}

// Superseded says whether a later truncation cut off what a frame put at an offset.
func (r *Replay) Superseded(lsn wal.LSN, offset int64) bool {
	return lsn < r.opt.CutLSN || slices.ContainsFunc(r.opt.Truncations, func(t Truncation) bool { return lsn < t.LSN && offset >= t.To })
}

// grow applies a frame that continues the log at f.First.
func (r *Replay) grow(f *wal.Frame, damaged bool) error {
	if r.Superseded(f.LSN, max(f.First, f.Last)) {
		r.st.Epoch = max(r.st.Epoch, f.Epoch)
		if f.Type == wal.Rolled && f.First == r.st.active().Base {
			return r.rolled(f) // a truncation to the first segment's base leaves that segment and its shape
		}
		return nil
	}
	if f.First > r.st.End {
		if !damaged {
			return nil
		}
		if _, err := r.Recover(f.First, nil); err != nil {
			return err
		}
	}
	if f.First > r.st.End {
		return r.damage(Gap, r.cur.path(), r.cur.pos, "offsets %d to %d are lost: LSN %d goes on at %d", r.st.End, f.First-1, f.LSN, f.First)
	}
	switch f.Type {
	case wal.Batch:
		return r.batch(f)
	case wal.Rolled:
		return r.rolled(f)
	}
	r.st.beginEpoch(f.Epoch, f.First)
	return nil
}

func (r *Replay) batch(f *wal.Frame) error {
	if f.Last < r.st.End {
		return nil // taken from the partition log before
	}
	h, err := batch.Parse(f.Payload)
	if err != nil || h.BaseOffset != f.First || h.LastOffset() != f.Last || h.Size() != len(f.Payload) || f.First != r.st.End {
		return r.damage(Gap, r.cur.path(), r.cur.pos, "LSN %d: offsets %d to %d at log end %d: the frame and its batch disagree", f.LSN, f.First, f.Last, r.st.End)
	}
	r.proven = f.LSN
	return r.take(f.Payload, &h)
}

// take puts a batch at the end of the log.
func (r *Replay) take(raw []byte, h *batch.Header) error {
	if err := r.cur.open(); err != nil {
		return err
	}
	if err := r.cur.put(raw); err != nil {
		return err
	}
	if r.opt.Took != nil {
		if err := r.opt.Took(h, raw); err != nil {
			return err
		}
	}
	r.st.beginEpoch(h.LeaderEpoch, r.st.End)
	r.prods.add(h, r.st.End, r.now, h.LastOffset()+1)
	r.st.End = h.LastOffset() + 1
	r.st.Segments[len(r.st.Segments)-1].Size = r.cur.pos
	r.grown = true
	return nil
}

func (r *Replay) rolled(f *wal.Frame) error {
	shape, err := ParseRolled(f.Payload)
	if err != nil {
		if len(f.Payload) != 0 {
			return fmt.Errorf("replay %s: LSN %d: %w", r.st.Dir, f.LSN, err)
		}
		shape = r.cfg.choices() // known from the identities of a damaged group only
	}
	switch active := r.st.active(); {
	case f.First == active.Base:
		active.Shape = shape
		return nil
	case f.First < r.st.End:
		return nil // done when records were taken from the partition log
	}
	r.proven = f.LSN
	return r.roll(shape)
}

// roll seals the active segment and goes on with the next one.
func (r *Replay) roll(shape Rolled) error {
	if err := r.cur.open(); err != nil {
		return err
	}
	if err := r.cur.finish(true); err != nil {
		return err
	}
	if !r.opt.ReadOnly {
		if err := writeSnapshot(r.env.FS, r.dir, r.st.End, r.prods.state(r.st.End)); err != nil {
			return fmt.Errorf("replay %s: %w", r.st.Dir, err)
		}
	}
	r.st.Segments = append(r.st.Segments, SegmentState{Base: r.st.End, Shape: shape})
	r.cur = cursor{r: r}
	r.grown = true
	return nil
}

// Recover takes records that the journal lost from the partition log: valid batches that follow each other without a gap from the log's
// end up to upTo (or, if that is negative, as far as they go). accept, if given, may refuse a batch. It returns how many batches it took.
func (r *Replay) Recover(upTo int64, accept func(h *batch.Header, raw []byte) bool) (int, error) {
	first, at, n := r.st.End, r.cur.pos, 0
	for upTo < 0 || r.st.End < upTo {
		if err := r.cur.open(); err != nil {
			return n, err
		}
		if n == 0 {
			at = r.cur.pos
		}
		raw, h, err := r.cur.next()
		if err != nil {
			return n, err
		}
		if raw == nil && r.cur.atEnd() && r.segmentExists(r.st.End) && r.st.End > r.st.Segments[len(r.st.Segments)-1].Base {
			if err := r.roll(r.st.active().Shape); err != nil {
				return n, err
			}
			continue
		}
		if raw == nil || h.BaseOffset != r.st.End || upTo >= 0 && h.LastOffset() >= upTo || accept != nil && !accept(&h, raw) {
			break
		}
		if err := r.take(raw, &h); err != nil {
			return n, err
		}
		n++
	}
	if n > 0 {
		r.findings = append(r.findings, Finding{
			Kind: Repaired, File: r.cur.path(), Offset: at, Length: r.cur.pos - at, FirstOffset: first, LastOffset: r.st.End - 1,
			Message: fmt.Sprintf("offsets %d to %d are damaged in the journal and were taken from the partition log", first, r.st.End-1),
		})
	}
	return n, nil
}

// isReplaced says whether the cleaner announced another file for a segment behind the checkpoint.
func (r *Replay) isReplaced(base int64) bool {
	return slices.ContainsFunc(r.opt.Replaced, func(v Replaced) bool { return v.Base == base })
}

// measureReplaced takes the sizes of cleaned segments from the files, which may be the old or the new ones, for a truncation that reads them.
func (r *Replay) measureReplaced() {
	for i, s := range r.st.Segments {
		if r.isReplaced(s.Base) {
			if info, err := r.env.FS.Stat(filepath.Join(r.dir, logName(s.Base))); err == nil {
				r.st.Segments[i].Size = info.Size()
			}
		}
	}
}

func (r *Replay) segmentExists(base int64) bool {
	there, err := vfs.Exists(r.env.FS, filepath.Join(r.dir, logName(base)))
	return err == nil && there
}

// restoreBlock compares the last block below the checkpoint with the copy that was journalled before it was written again.
func (r *Replay) restoreBlock(f *wal.Frame) error {
	t, err := ParseTailBlock(f.Payload)
	if err != nil {
		if len(f.Payload) == 0 {
			return nil // known from the identities of a damaged group only
		}
		return fmt.Errorf("replay %s: LSN %d: %w", r.st.Dir, f.LSN, err)
	}
	if t.Base != r.floor.Base || r.floor.Size <= t.Pos || r.isReplaced(t.Base) {
		return nil // nothing wrote to it since the checkpoint; or newer: the journal has it all; or of a cleaned file, where the one before may be back
	}
	t.Bytes = t.Bytes[:min(int64(len(t.Bytes)), r.floor.Size-t.Pos)] // what is behind is in the journal
	path := filepath.Join(r.dir, logName(t.Base))
	same, err := fileHas(r.env.FS, path, t.Pos, t.Bytes)
	if err != nil {
		return r.damage(Unreadable, path, t.Pos, "%v", err)
	}
	if same {
		return nil
	}
	r.findings = append(r.findings, Finding{
		Kind: BlockFixed, File: path, Offset: t.Pos, Length: int64(len(t.Bytes)), FirstOffset: -1, LastOffset: -1,
		Message: "the last block below the checkpoint was torn; its bytes are in the journal",
	})
	if r.opt.ReadOnly {
		return nil
	}
	if err := writeAt(r.env.FS, path, t.Pos, t.Bytes); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return r.damage(Missing, path, t.Pos, "the file is missing, the checkpoint lists it")
		}
		return fmt.Errorf("replay %s: the last block of %s: %w", r.st.Dir, path, err)
	}
	return nil
}
