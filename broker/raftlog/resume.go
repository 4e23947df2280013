package raftlog

import (
	"errors"
	"fmt"
	"path/filepath"

	"go.etcd.io/raft/v3/raftpb"

	"chronik.dev/chronik/broker/wal"
)

// reconcile compares what HardState, the groups' notes, the snapshots and the entries say, and settles term, vote and commit. The notes carry
// term, vote and HardState sequence of their Ready, so a HardState older than its log shows.
func (r *reader) reconcile() error {
	base := filepath.Join(r.o.Dir, hardBase)
	term, vote, seq := r.note[0], r.note[1], r.note[3]
	switch {
	case seq == r.state.Seq()+1: // the crash was between the entries and the HardState of one Ready: the group has it all
		r.notice("term %d and vote %x are taken from %s at byte %d; HardState had not followed yet", term, vote, r.where, r.offset)
		r.hard.Term, r.hard.Vote = &term, &vote
		r.adopted = true
	case seq > r.state.Seq()+1:
		return r.damage(base, -1, fmt.Sprintf("both copies have sequence %d, but %s at byte %d was written under sequence %d: they were rolled back",
			r.state.Seq(), r.where, r.offset, seq), "the newest term and vote of this member")
	}
	if t, _ := r.log.term(r.log.last()); term > r.hard.GetTerm() || t > r.hard.GetTerm() {
		return r.damage(base, -1, fmt.Sprintf("term %d, but the log has reached term %d", r.hard.GetTerm(), max(t, term)),
			"the newest term and vote of this member")
	}
	if err := r.checkTerms(); err != nil {
		return err
	}
	newest := r.kept[len(r.kept)-1].snapshot.GetMetadata()
	commit := max(r.hard.GetCommit(), r.commit, newest.GetIndex())
	if last := r.log.last(); commit > last {
		return r.damage(r.o.Dir, -1, fmt.Sprintf("index %d is committed, but the log ends at %d", commit, last),
			fmt.Sprintf("entries %d to %d", last+1, commit))
	}
	r.hard.Commit = &commit
	r.report.Term, r.report.Vote, r.report.Commit = r.hard.GetTerm(), r.hard.GetVote(), commit
	r.report.First, r.report.Last = r.log.first(), r.log.last()
	return nil
}

// checkTerms makes sure of what raft takes for granted: terms never fall, and the snapshot agrees with the log.
func (r *reader) checkTerms() error {
	before := r.log.baseTerm
	for _, e := range r.log.entries {
		if e.GetTerm() < before {
			return r.damage(r.o.Dir, -1, fmt.Sprintf("entry %d has term %d after term %d", e.GetIndex(), e.GetTerm(), before), "the order of the log")
		}
		before = e.GetTerm()
	}
	m := r.kept[len(r.kept)-1].snapshot.GetMetadata()
	if t, err := r.log.term(m.GetIndex()); err == nil && t != m.GetTerm() {
		return r.damage(filepath.Join(r.o.Dir, snapDir, snapName(m.GetIndex(), m.GetTerm())), -1,
			fmt.Sprintf("the log has term %d at index %d", t, m.GetIndex()), "the proof that snapshot and log belong together")
	}
	return nil
}

// resume opens everything for writing. What a killed process left unsynced is made durable before the log repeats it in its heads; the log comes
// before what it proves.
func (r *reader) resume() (*Storage, error) {
	newest := r.kept[len(r.kept)-1]
	for _, f := range r.report.Cut {
		r.o.logger().Warn("raft log: cutting an interrupted write that never left the node", "file", f.File, "offset", f.Offset, "length", f.Length)
		if r.o.Evidence != nil {
			if err := r.o.Evidence(f); err != nil {
				return nil, fmt.Errorf("save evidence before a cut: %w", err)
			}
		}
	}
	if err := r.state.Mend(); err != nil {
		return nil, err
	}
	if err := r.o.FS.SyncDir(filepath.Join(r.o.Dir, snapDir)); err != nil {
		return nil, fmt.Errorf("sync the names of snapshots: %w", err)
	}
	log, err := wal.Resume(r.o.wal(), r.inv, wal.CutNote{})
	if err != nil {
		return nil, err
	}
	s := &Storage{
		log: r.log, hard: r.hard, snapshot: newest.snapshot,
		disk: disk{o: r.o, wal: log, state: r.state, kept: r.kept, reset: r.reset, synced: log.Synced()},
	}
	newestMeta := newest.snapshot.GetMetadata()
	s.kept[len(s.kept)-1].snapshot = &raftpb.Snapshot{Metadata: newestMeta}
	if err := r.finish(s, newestMeta); err != nil {
		return nil, errors.Join(err, log.Close())
	}
	return s, nil
}

// finish writes what the crash left undone.
func (r *reader) finish(s *Storage, newest *raftpb.SnapshotMetadata) error {
	for _, name := range r.temps {
		if err := r.o.FS.Remove(name); err != nil {
			return err
		}
	}
	if r.newReset {
		note := wal.Note{r.hard.GetTerm(), r.hard.GetVote(), r.hard.GetCommit(), s.state.Seq()}
		lsn, err := s.appendAll([]wal.Frame{resetFrame(newest)}, note)
		if err != nil {
			return err
		}
		s.reset = lsn
	}
	if r.adopted {
		if err := s.state.Store(encodeHard(r.hard, uint64(s.synced))); err != nil {
			return err
		}
	}
	stored, _, err := decodeHard(s.state.Body())
	s.stored = stored.GetCommit()
	return err
}
