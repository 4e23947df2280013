package raftlog

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"chronik.dev/chronik/broker/statefile"
	"chronik.dev/chronik/broker/vfs"
	"chronik.dev/chronik/broker/wal"
)

// nextCommand is what an operator runs on damaged Raft state.
const nextCommand = "run `chronik wal verify` on the data directory and do not delete anything; a node in this condition never votes"

// Create founds the state of a group. What an unfinished founding left in Dir is removed first.
func Create(o Options, f Founding) (*Storage, error) {
	snap := &raftpb.Snapshot{Data: f.Data, Metadata: &raftpb.SnapshotMetadata{
		ConfState: proto.CloneOf(f.ConfState), Index: proto.Uint64(FoundingIndex), Term: proto.Uint64(FoundingTerm),
	}}
	s, err := create(o, snap)
	if err != nil {
		return nil, fmt.Errorf("found raft log %s: %w", o.Dir, err)
	}
	return s, nil
}

// create starts a log behind a snapshot, in the snapshot's term.
func create(o Options, snap *raftpb.Snapshot) (*Storage, error) {
	if err := vfs.RemoveAll(o.FS, o.Dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err := vfs.MkdirAll(o.FS, filepath.Join(o.Dir, snapDir)); err != nil {
		return nil, err
	}
	index, term := snap.GetMetadata().GetIndex(), snap.GetMetadata().GetTerm()
	s := &Storage{
		log:      entryLog{baseIndex: index, baseTerm: term},
		hard:     &raftpb.HardState{Term: &term, Vote: new(uint64(0)), Commit: &index},
		snapshot: snap,
		disk:     disk{o: o, stored: index},
	}
	err := s.writeSnapshot(snapFile{baseIndex: index, baseTerm: term, snapshot: snap})
	if err != nil {
		return nil, err
	}
	s.state, err = statefile.Create(o.FS, filepath.Join(o.Dir, hardBase), hardKind, hardVersion, o.DirID, encodeHard(s.hard, 0))
	if err != nil {
		return nil, err
	}
	s.wal, err = wal.Create(o.wal())
	return s, err
}

// wal returns the options of the log's segments.
func (o Options) wal() wal.Options {
	if o.SegmentSize == 0 {
		o.SegmentSize = 1 << 20
	}
	if o.firstSegment == 0 {
		o.firstSegment = min(o.SegmentSize/4, 64<<10)
	}
	return wal.Options{
		FS: o.FS, Dir: o.Dir, DirID: o.DirID, Kind: wal.Raft, SegmentSize: o.SegmentSize, FirstSegmentSize: o.firstSegment, Spares: -1, // metadata is rare: no file is prewritten
		Buffered: o.Buffered, Idle: -1, Now: o.Now, Rand: o.Rand, Logger: o.Logger,
	}
}

// reader is one reading of the whole state.
type reader struct {
	o        Options
	report   *Report
	state    *statefile.File
	hard     *raftpb.HardState
	kept     []snapFile
	temps    []string
	log      entryLog
	synced   uint64 // LSN that HardState and snapshot know to be durable
	inv      *wal.Inventory
	note     wal.Note // of the newest group
	reset    wal.LSN  // of the newest reset frame
	resetAt  uint64   // its index
	adopted  bool     // term and vote come from the log
	newReset bool     // the reset frame of an installed snapshot was never written
	commit   uint64   // highest that any group promised
	where    string   // file and offset of the newest group, for messages
	offset   int64
	gap      *DamageError // entries that nothing has superseded yet follow a hole
	orphan   *DamageError // the log begins behind a snapshot that is lost
}

// Inspect reads the state and changes nothing. Damage that would make Open fail is in the report. ErrMissing if there is nothing.
func Inspect(o Options) (*Report, error) {
	r, err := read(o)
	var damage *DamageError
	if errors.As(err, &damage) {
		r.report.Damage = damage
		return r.report, nil
	}
	if err != nil {
		return nil, fmt.Errorf("inspect raft log %s: %w", o.Dir, err)
	}
	return r.report, nil
}

// Open reads the state, cuts an end that never left the node, and mends what can be mended without loss. With ErrMissing, *DamageError or an
// error about a version nothing was changed.
func Open(o Options) (*Storage, *Report, error) {
	r, err := read(o)
	if err != nil {
		var damage *DamageError
		if !errors.As(err, &damage) {
			err = fmt.Errorf("open raft log %s: %w", o.Dir, err)
		}
		return nil, nil, err
	}
	s, err := r.resume()
	if err != nil {
		return nil, nil, fmt.Errorf("open raft log %s: %w", o.Dir, err)
	}
	return s, r.report, nil
}

// View reads the state as Open does, and changes nothing: of the Storage only the methods that raft.Storage has are of use. It fails as Open does.
func View(o Options) (*Storage, *Report, error) {
	r, err := read(o)
	if err != nil {
		return nil, r.report, err
	}
	return &Storage{log: r.log, hard: r.hard, snapshot: r.kept[len(r.kept)-1].snapshot}, r.report, nil
}

// read reads everything and judges it.
func read(o Options) (*reader, error) {
	r := &reader{o: o, report: &Report{}}
	if err := r.readState(); err != nil {
		return r, err
	}
	if err := r.readLog(); err != nil {
		return r, err
	}
	return r, r.reconcile()
}

// readState reads HardState and snapshots.
func (r *reader) readState() error {
	base := filepath.Join(r.o.Dir, hardBase)
	state, stateErr := statefile.Load(r.o.FS, base, hardKind, hardVersion, r.o.DirID)
	var newer *statefile.VersionError
	if errors.As(stateErr, &newer) {
		return stateErr
	}
	var err error
	if r.kept, r.report.Snapshots, r.temps, err = loadSnapshots(r.o); err != nil {
		return err
	}
	missing := errors.Is(stateErr, statefile.ErrMissing)
	if missing && len(r.report.Snapshots) == 0 {
		return fmt.Errorf("%w in %s", ErrMissing, r.o.Dir)
	}
	if stateErr != nil {
		var bad *statefile.BadError
		if errors.As(stateErr, &bad) {
			r.report.HardStateCopies = bad.Copies
			for _, c := range bad.Copies {
				if c.State == statefile.IOError {
					return unreadable(c.Err)
				}
			}
		}
		return r.damage(base, -1, stateErr.Error(), "the term and vote of this member")
	}
	r.report.HardStateCopies = state.Copies()
	if len(r.kept) == 0 {
		return r.damage(filepath.Join(r.o.Dir, snapDir), -1, "no intact snapshot", "the metadata below the log's first entry")
	}
	for _, f := range r.report.Snapshots {
		if f.Problem != "" {
			r.notice("snapshot %s: %s; an older one is used", f.Name, f.Problem)
		}
	}
	r.state = state
	var synced uint64
	if r.hard, synced, err = decodeHard(state.Body()); err != nil {
		return r.damage(base, -1, err.Error(), "the term and vote of this member")
	}
	for _, c := range state.Copies() {
		if c.State != statefile.OK {
			r.notice("%s; the other copy is used", c)
		}
	}
	newest := r.kept[len(r.kept)-1]
	r.log = entryLog{baseIndex: newest.baseIndex, baseTerm: newest.baseTerm}
	r.synced = max(synced, newest.synced)
	return nil
}

// unreadable is no damage: the disk may read it the next time.
func unreadable(err error) error {
	return fmt.Errorf("the disk does not read Raft's state: %w; try again, or copy the directory to another disk", err)
}

// readLog reads every group.
func (r *reader) readLog() error {
	o := wal.InspectOptions{FS: r.o.FS, Dir: r.o.Dir, DirID: r.o.DirID, Kind: wal.Raft, MinSynced: wal.LSN(r.synced)}
	inv, err := wal.Inspect(o, r.group)
	if err != nil {
		return err
	}
	r.inv, r.report.Findings, r.report.Segments = inv, inv.Findings, len(inv.Segments)
	if err := inv.Unreadable(); err != nil {
		return unreadable(err)
	}
	for _, f := range inv.Findings {
		switch {
		case f.Verdict == wal.Corrupt && f.Reason == wal.ReasonManifest:
			return r.damage(f.File, -1, f.Evidence, "which segments the log must have")
		case f.Verdict == wal.Torn || f.Verdict == wal.Undecided: // no marker proves it, so it never left the node
			r.report.Cut = append(r.report.Cut, f)
		case f.Verdict == wal.Notice || f.Verdict == wal.Corrupt && !f.Loses(): // nothing of the state was there
			r.notice("%s at byte %d: %s", f.File, f.Offset, f.Reason)
		case f.Verdict == wal.UnknownVersion:
			return fmt.Errorf("%s at byte %d: %w; use the release that wrote it, or a newer one", f.File, f.Offset, ErrVersion)
		default:
			return r.damage(f.File, f.Offset, fmt.Sprintf("%s, %s (%s): %s", f.Verdict, f.Record, f.Reason, f.Evidence), lost(f))
		}
	}
	if r.orphan != nil {
		return r.orphan
	}
	if newest := r.kept[len(r.kept)-1]; newest.install && r.resetAt != newest.snapshot.GetMetadata().GetIndex() {
		r.newReset = true // the crash was between snapshot file and frame
		r.log, r.gap = entryLog{baseIndex: newest.baseIndex, baseTerm: newest.baseTerm}, nil
	}
	if r.gap != nil {
		return r.gap
	}
	return nil
}

// lost says in words what a finding lost.
func lost(f wal.Finding) string {
	if len(f.Lost) == 0 {
		return "unknown entries"
	}
	first, last := f.Lost[0].First, f.Lost[0].First
	for _, id := range f.Lost {
		first, last = min(first, id.First), max(last, id.First)
	}
	return fmt.Sprintf("entries %d to %d", first, last)
}

// group takes the entries of one group, in the order in which they were written: the last of an index wins. What is visited is part of the log, also
// where a finding is attached that loses nothing; if one loses something, this reading ends as damaged.
func (r *reader) group(g *wal.Group) error {
	if g.Head.Note[0] != 0 { // zero: the head is lost, its frames are not
		r.note, r.where, r.offset = g.Head.Note, g.File, g.Offset
		r.commit = max(r.commit, g.Head.Note[2])
	}
	for _, f := range g.Frames {
		if f.Type != wal.RaftEntry {
			continue
		}
		index, term := uint64(f.First), uint64(f.Last)
		if f.Epoch == resetEntry {
			r.resetLog(g, index, term, f.LSN)
			continue
		}
		e := &raftpb.Entry{Index: &index, Term: &term}
		if f.Epoch != int32(raftpb.EntryNormal) {
			e.Type = raftpb.EntryType(f.Epoch).Enum()
		}
		if len(f.Payload) > 0 {
			e.Data = bytes.Clone(f.Payload)
		}
		if r.log.put(e, uint64(f.LSN)) || r.rebase(index) && r.log.put(e, uint64(f.LSN)) {
			r.gap = nil // it superseded whatever was above
		} else if r.gap == nil { // unless superseded, as when the segment of the entry before was freed
			r.gap = r.damage(g.File, g.Offset, fmt.Sprintf("entry %d follows entry %d", index, r.log.last()),
				fmt.Sprintf("entries %d to %d", r.log.last()+1, index-1))
		}
	}
	return nil
}

// rebase raises the base to the snapshot, for a log that begins at index: the newer snapshot of the two is lost, and while it was there the
// entries below the older one were freed.
func (r *reader) rebase(index uint64) bool {
	m := r.kept[len(r.kept)-1].snapshot.GetMetadata()
	if len(r.kept) > 1 || len(r.log.entries) > 0 || r.gap != nil || r.log.baseIndex >= m.GetIndex() || index > m.GetIndex()+1 {
		return false
	}
	r.log = entryLog{baseIndex: m.GetIndex(), baseTerm: m.GetTerm()}
	return true
}

// resetLog forgets everything before a reset frame. One above the base belongs to a snapshot that is lost.
func (r *reader) resetLog(g *wal.Group, index, term uint64, lsn wal.LSN) {
	if index > r.log.baseIndex {
		if r.orphan == nil {
			r.orphan = r.damage(filepath.Join(r.o.Dir, snapDir, snapName(index, term)), -1,
				fmt.Sprintf("%s at byte %d says that the log begins behind this snapshot, and it is missing or damaged", g.File, g.Offset),
				fmt.Sprintf("the metadata up to index %d", index))
		}
		return
	}
	r.log.entries, r.log.lsns, r.gap = nil, nil, nil
	r.reset, r.resetAt = lsn, index
}

func (r *reader) damage(file string, offset int64, reason, lost string) *DamageError {
	return &DamageError{File: file, Offset: offset, Reason: reason, Lost: lost, Next: nextCommand}
}

func (r *reader) notice(format string, args ...any) {
	r.report.Notices = append(r.report.Notices, fmt.Sprintf(format, args...))
}
