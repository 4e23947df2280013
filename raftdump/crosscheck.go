package raftdump

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"go.etcd.io/raft/v3/confchange"
	"go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"

	"chronik.dev/chronik/broker/metadata"
	"chronik.dev/chronik/broker/raftlog"
	"chronik.dev/chronik/broker/wal"
)

// at is a finding about an entry: what encloses it is its group.
func (v *verifier) at(e *stored, verdict wal.Verdict, rule Rule, format string, args ...any) Finding {
	return Finding{Verdict: verdict, File: e.file, Offset: e.offset, Length: e.length, Record: fmt.Sprintf("entry %d of term %d", e.Index, e.Term),
		Reason: string(rule), Evidence: fmt.Sprintf(format, args...), Verb: verbEntries(e.Index)}
}

// atHead is a finding about a group's head.
func (v *verifier) atHead(h *head, verdict wal.Verdict, rule Rule, format string, args ...any) Finding {
	return Finding{Verdict: verdict, File: h.file, Offset: h.offset, Length: h.length, Record: fmt.Sprintf("head of the group of LSN %d", h.lsn),
		Reason: string(rule), Evidence: fmt.Sprintf(format, args...), Verb: verbHardState}
}

// atHard is a finding about HardState as a whole.
func (v *verifier) atHard(verdict wal.Verdict, rule Rule, format string, args ...any) Finding {
	c := &v.s.Contents.HardState[v.s.Winner]
	return Finding{Verdict: verdict, File: c.Name, Length: v.d.size(c.Name), Record: "HardState, both copies", Reason: string(rule),
		Evidence: fmt.Sprintf(format, args...), Verb: verbHardState}
}

// atSnapshot is a finding about a snapshot file as a whole.
func (v *verifier) atSnapshot(s *raftlog.StoredSnapshot, verdict wal.Verdict, rule Rule, format string, args ...any) Finding {
	return Finding{Verdict: verdict, File: filepath.Join(v.d.snapshotsDir(), s.Name), Length: s.Size, Record: fmt.Sprintf("snapshot at index %d", s.Index),
		Reason: string(rule), Evidence: fmt.Sprintf(format, args...), Verb: verbSnapshots}
}

// order checks indexes and terms of the log, and what must not be above its end.
func (v *verifier) order() {
	log := v.s.log()
	v.gaps(log)
	var term uint64
	for _, e := range log {
		if e.Term < term {
			f := v.at(e, wal.Corrupt, RuleTerm, "term %d after term %d: terms never fall", e.Term, term)
			f.Lost = "the order of the log"
			v.report(f)
		}
		term = max(term, e.Term)
		for i := range v.s.Snapshots {
			if s := &v.s.Snapshots[i]; s.Problem == "" && s.Index == e.Index && s.Term != e.Term && !v.losing {
				v.report(v.atSnapshot(s, wal.Corrupt, RuleSnapshotTerm, "the snapshot has term %d, the log has term %d at index %d", s.Term, e.Term, e.Index))
			}
		}
	}
	for i := range v.s.entries {
		e := &v.s.entries[i]
		if e.Reset && e.status == Committed && (v.s.newest == nil || e.Index > v.s.newest.Index) {
			f := v.at(e, wal.Corrupt, RuleSnapshotLost, "the log begins behind a snapshot of index %d and term %d from the leader, and it is missing or damaged", e.Index, e.Term)
			f.Lost, f.Verb = fmt.Sprintf("the metadata up to index %d", e.Index), verbSnapshots
			v.report(f)
		}
	}
	v.committed()
}

// gaps checks that nothing is missing between two entries, or between the snapshots and the first.
func (v *verifier) gaps(log []*stored) {
	if v.losing {
		return // said already, with what was there
	}
	next := uint64(0)
	switch {
	case v.s.newest == nil:
	case v.s.older != nil:
		next = v.s.newest.BaseIndex + 1
	default:
		next = v.s.newest.Index + 1
	}
	for _, e := range log {
		if e.Index < next {
			continue
		}
		if next > 0 && e.Index > next {
			f := v.at(e, wal.Corrupt, RuleGap, "entry %d follows entry %d", e.Index, next-1)
			f.Lost = fmt.Sprintf("entries %d to %d", next, e.Index-1)
			v.report(f)
		}
		next = e.Index + 1
	}
}

// committed checks that whatever is known to be committed is there.
func (v *verifier) committed() {
	missing := func(f Finding, commit uint64) {
		f.Lost = fmt.Sprintf("entries %d to %d", v.s.last+1, commit)
		f.Verb = verbDamaged
		v.report(f)
	}
	if v.s.Winner >= 0 {
		if c := v.s.Contents.HardState[v.s.Winner].Commit; c > v.s.last {
			missing(v.atHard(wal.Corrupt, RuleCommit, "HardState has index %d as committed, and the log ends at %d", c, v.s.last), c)
		}
	}
	for i := len(v.s.heads) - 1; i >= 0; i-- {
		if h := &v.s.heads[i]; h.Commit > v.s.last {
			missing(v.atHead(h, wal.Corrupt, RuleCommit, "the head has index %d as committed, and the log ends at %d", h.Commit, v.s.last), h.Commit)
			break
		}
	}
}

// votes checks heads and HardState against each other.
func (v *verifier) votes() {
	for i := 1; i < len(v.s.heads); i++ {
		a, b := &v.s.heads[i-1], &v.s.heads[i]
		if b.Term < a.Term || b.Commit < a.Commit || b.Sequence < a.Sequence {
			v.report(v.atHead(b, wal.Corrupt, RuleHeadOrder, "term %d, commit %d, sequence %d after term %d, commit %d, sequence %d: none of them falls",
				b.Term, b.Commit, b.Sequence, a.Term, a.Commit, a.Sequence))
		}
		if a.Term == b.Term && a.Vote != b.Vote && a.Vote != 0 {
			v.report(v.atHead(b, wal.Corrupt, RuleVote, "a vote for %x in term %d, and before it one for %x", b.Vote, b.Term, a.Vote))
		}
	}
	if v.s.Winner < 0 {
		return
	}
	hard := &v.s.Contents.HardState[v.s.Winner]
	adopted := false
	if n := len(v.s.heads); n > 0 {
		adopted = v.behind(hard, &v.s.heads[n-1])
	}
	reached := uint64(0)
	for _, e := range v.s.log() {
		reached = max(reached, e.Term)
	}
	for i := range v.s.heads {
		reached = max(reached, v.s.heads[i].Term)
	}
	if hard.Term < reached && !adopted {
		f := v.atHard(wal.Corrupt, RuleHardTerm, "term %d, and the log has reached term %d", hard.Term, reached)
		f.Lost = "the newest term and vote of this member"
		v.report(f)
	}
	if v.s.newest != nil && hard.Vote != 0 && !slices.Contains(members(v.s.newest.ConfState), hard.Vote) {
		f := v.atHard(wal.Notice, RuleVote, "a vote for %x, which is not of the group as of index %d", hard.Vote, v.s.newest.Index)
		if all := members(v.s.newest.ConfState); len(all) == 1 {
			f.Verdict = wal.Corrupt // nobody else can have asked for it
		}
		v.report(f)
	}
}

// behind compares HardState with the newest head, and says whether the head's term and vote count.
func (v *verifier) behind(hard *raftlog.HardStateCopy, last *head) bool {
	switch {
	case last.Sequence == hard.Seq+1:
		f := v.atHard(wal.Notice, RuleBehind, "sequence %d, and %s at byte %d was written under %d: a crash between the two leaves this, or a rollback by one; "+
			"term and vote are in the head, nothing is lost", hard.Seq, v.d.rel(last.file), last.offset, last.Sequence)
		f.Verb = ""
		v.report(f)
		return true
	case last.Sequence > hard.Seq+1:
		f := v.atHard(wal.Corrupt, RuleBehind, "sequence %d, and %s at byte %d was written under %d: both copies were rolled back", hard.Seq, v.d.rel(last.file),
			last.offset, last.Sequence)
		f.Lost = "the newest term and vote of this member"
		v.report(f)
	case last.Sequence == hard.Seq && (last.Term != hard.Term || last.Vote != hard.Vote):
		v.report(v.atHard(wal.Corrupt, RuleVote, "term %d and vote %x, and %s at byte %d repeats the same sequence %d with term %d and vote %x", hard.Term, hard.Vote,
			v.d.rel(last.file), last.offset, hard.Seq, last.Term, last.Vote))
	case last.Term == hard.Term && last.Vote != 0 && last.Vote != hard.Vote:
		v.report(v.atHard(wal.Corrupt, RuleVote, "a vote for %x in term %d, and %s at byte %d has one for %x", hard.Vote, hard.Term, v.d.rel(last.file),
			last.offset, last.Vote))
	}
	return false
}

// change decodes an entry that is a membership change; nil if it is none.
func (v *verifier) change(e *stored) (raftpb.ConfChangeI, error) {
	if !e.intact() || e.Type != raftpb.EntryConfChange && e.Type != raftpb.EntryConfChangeV2 {
		return nil, nil
	}
	return decodeChange(e.Type, e.Data)
}

func changeNames(c raftpb.ConfChangeI, member uint64) bool {
	return slices.ContainsFunc(c.AsV2().GetChanges(), func(s *raftpb.ConfChangeSingle) bool { return s.GetNodeId() == member })
}

// replay applies the entries behind the older snapshot to the metadata, compares the result with the newer snapshot, and goes on from that.
func (v *verifier) replay() {
	v.meanings()
	newest := v.s.newest
	if newest == nil {
		return
	}
	m := v.restorable(newest)
	if v.s.older != nil {
		before := v.restorable(v.s.older)
		between, whole := v.s.between(v.s.older.Index, newest.Index)
		if whole && !newest.Installed && newest.BaseIndex == v.s.older.Index {
			v.compareStates(before, m, between)
			v.compareMembers(between)
		}
	}
	behind, whole := v.s.between(newest.Index, v.s.commit)
	if m == nil || !whole {
		return
	}
	if err := apply(m, behind); err != nil {
		return // meanings said so
	}
	v.sum.Applied, v.sum.Hash = v.s.commit, hashText(m.Hash())
	if ahead, whole := v.s.between(v.s.commit, v.s.last); whole && apply(m, ahead) == nil {
		v.image = m.Image()
	}
	if _, err := follow(newest.ConfState, behind); err != nil {
		v.report(v.atSnapshot(newest, wal.Corrupt, RuleConfState, "the membership changes behind it cannot be applied to it: %v", err))
	}
}

// meanings checks that every entry means something to this program.
func (v *verifier) meanings() {
	for _, e := range v.s.log() {
		if !e.intact() {
			continue
		}
		x := v.d.entry(e, e.Data)
		if x.Problem == "" {
			continue
		}
		f := v.at(e, wal.Corrupt, RuleEntry, "its checks are right and its data mean nothing: %s; a node stops when it applies it", x.Problem)
		if e.Type == raftpb.EntryNormal {
			f.Verdict, f.Evidence = wal.Notice, fmt.Sprintf("it was written so, and is answered as an invalid command: %s", x.Problem)
			if errors.Is(metadata.New().Apply(1, e.Data).Err, metadata.ErrUnsupported) {
				f.Verdict, f.Evidence, f.Verb = wal.UnknownVersion, "a newer release wrote the command: "+x.Problem, ""
			}
		}
		v.report(f)
	}
}

// restorable gives the state of a snapshot, or reports that there is none in it.
func (v *verifier) restorable(s *raftlog.StoredSnapshot) *metadata.State {
	m, _, err := v.d.restore(s)
	switch {
	case errors.Is(err, metadata.ErrUnsupported):
		f := v.atSnapshot(s, wal.UnknownVersion, RuleSnapshotState, "%v", err)
		f.Verb = ""
		v.report(f)
		return nil
	case err != nil:
		f := v.atSnapshot(s, wal.Corrupt, RuleSnapshotState, "the file's checks are right, and its data are no metadata state: %v", err)
		f.Lost = fmt.Sprintf("the metadata at index %d", s.Index)
		v.report(f)
		return nil
	case m.Image().Index != s.Index:
		v.report(v.atSnapshot(s, wal.Corrupt, RuleSnapshotState, "the file says index %d, the state in it was taken at index %d", s.Index, m.Image().Index))
		return nil
	}
	return m
}

// apply applies entries as the node does: what is Raft's own only moves the index.
func apply(m *metadata.State, entries []*stored) error {
	for _, e := range entries {
		data := e.Data
		if e.Type != raftpb.EntryNormal {
			data = nil
		}
		if res := m.Apply(e.Index, data); errors.Is(res.Err, metadata.ErrUnsupported) {
			return res.Err
		}
	}
	return nil
}

func (v *verifier) compareStates(before, after *metadata.State, between []*stored) {
	if before == nil || after == nil || apply(before, between) != nil {
		return
	}
	a, errA := before.Snapshot()
	b, errB := after.Snapshot()
	if errA != nil || errB != nil || bytes.Equal(a, b) {
		return
	}
	f := v.atSnapshot(v.s.newest, wal.Corrupt, RuleStateHash, "its state has hash %s; the snapshot at index %d and entries %d to %d give hash %s; which of them "+
		"is wrong is unknown", hashText(after.Hash()), v.s.older.Index, v.s.older.Index+1, v.s.newest.Index, hashText(before.Hash()))
	v.report(f)
}

func (v *verifier) compareMembers(between []*stored) {
	newest, older := v.s.newest, v.s.older
	got, err := follow(older.ConfState, between)
	if err != nil {
		v.report(v.atSnapshot(older, wal.Corrupt, RuleConfState, "the membership changes behind it cannot be applied to it: %v", err))
		return
	}
	if err := got.Equivalent(newest.ConfState); err != nil {
		v.report(v.atSnapshot(newest, wal.Corrupt, RuleConfState, "its members are %s; the snapshot at index %d and the changes behind it give %s",
			memberText(members(newest.ConfState)), older.Index, memberText(members(got))))
	}
}

// follow applies the membership changes among entries, with raft's own code.
func follow(from *raftpb.ConfState, entries []*stored) (*raftpb.ConfState, error) {
	changer := confchange.Changer{Tracker: tracker.MakeProgressTracker(1, 0)}
	if len(entries) > 0 {
		changer.LastIndex = entries[len(entries)-1].Index
	}
	cfg, progress, err := confchange.Restore(changer, from)
	if err != nil {
		return nil, err
	}
	changer.Tracker.Config, changer.Tracker.Progress = cfg, progress
	for _, e := range entries {
		if e.Type != raftpb.EntryConfChange && e.Type != raftpb.EntryConfChangeV2 {
			continue
		}
		change, err := decodeChange(e.Type, e.Data)
		if err != nil {
			return nil, err
		}
		v2 := change.AsV2()
		if v2.LeaveJoint() {
			cfg, progress, err = changer.LeaveJoint()
		} else if auto, joint := v2.EnterJoint(); joint {
			cfg, progress, err = changer.EnterJoint(auto, v2.GetChanges()...)
		} else {
			cfg, progress, err = changer.Simple(v2.GetChanges()...)
		}
		if err != nil {
			return nil, fmt.Errorf("entry %d: %w", e.Index, err)
		}
		changer.Tracker.Config, changer.Tracker.Progress = cfg, progress
	}
	return changer.Tracker.ConfState(), nil
}
