package raftlog

import (
	"errors"
	"fmt"

	"chronik.dev/chronik/broker/wal"
)

// ErrEnds says that a log is to end where it ends already, or where its snapshot has taken its place.
var ErrEnds = errors.New("the log cannot end there")

// EndBefore ends the log before the entry at an index, for a repair: nothing may run on it. What is cut off stays out of the log for good (wal.Cut).
// If the entry was committed, the commit index is lowered and the term raised above all that were seen, so that no entry at an index gets the term of
// one that was cut off; that is only right for a group of one, which has no peer that remembers.
func EndBefore(o Options, index uint64) (err error) {
	r, err := read(o)
	if err != nil {
		return err
	}
	if snap := r.kept[len(r.kept)-1].snapshot.GetMetadata().GetIndex(); index <= snap {
		return fmt.Errorf("end raft log %s before index %d: %w: the snapshot holds everything up to index %d", o.Dir, index, ErrEnds, snap)
	}
	if index > r.log.last() {
		return fmt.Errorf("end raft log %s before index %d: %w: its last index is %d", o.Dir, index, ErrEnds, r.log.last())
	}
	// All frames behind the last one with a lower index are of entries that go: one with a lower index would have superseded that one.
	in := wal.InspectOptions{FS: o.FS, Dir: o.Dir, DirID: o.DirID, Kind: wal.Raft, MinSynced: wal.LSN(r.synced)}
	var keep wal.LSN
	inv, err := wal.Inspect(in, func(g *wal.Group) error {
		for i := range g.Frames {
			if f := &g.Frames[i]; f.Type == wal.RaftEntry && uint64(f.First) < index {
				keep = max(keep, f.LSN)
			}
		}
		return nil
	})
	if err == nil {
		err = inv.Unreadable()
	}
	if err != nil {
		return err
	}
	cut, gone, err := wal.EndBefore(in, r.inv, keep+1)
	if err != nil {
		return err
	}
	for _, name := range gone {
		if err := o.FS.Remove(name); err != nil {
			return err
		}
	}
	options := o.wal()
	options.Still = true
	log, err := wal.Resume(options, cut, wal.CutNote{Incident: "raft log ended by a repair"})
	if err != nil {
		return err
	}
	synced := log.Synced()
	if err := log.Close(); err != nil {
		return err
	}
	if err := r.state.Mend(); err != nil {
		return err
	}
	if index > r.hard.GetCommit() {
		return nil
	}
	last, err := r.log.term(r.log.last())
	if err != nil {
		return err
	}
	term, commit := max(r.hard.GetTerm(), last)+1, index-1
	r.hard.Term, r.hard.Vote, r.hard.Commit = &term, new(uint64), &commit
	return r.state.Store(encodeHard(r.hard, uint64(synced)))
}
