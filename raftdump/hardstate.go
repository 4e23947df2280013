package raftdump

import (
	"fmt"
	"slices"

	"go.etcd.io/raft/v3/raftpb"

	"chronik.dev/chronik/broker/datadir"
	"chronik.dev/chronik/broker/raftlog"
	"chronik.dev/chronik/broker/statefile"
	"chronik.dev/chronik/broker/wal"
)

// HardState is everything that the disk says of term, vote and commit.
type HardState struct {
	Target   string          `json:"target"`
	Member   uint64          `json:"member,omitempty"` // this directory's Raft member id; 0 if the identity is not known
	Voters   []uint64        `json:"voters"`           // of the newest snapshot
	Learners []uint64        `json:"learners,omitempty"`
	Copies   [2]HardCopy     `json:"copies"`
	Heads    []HeadRun       `json:"heads"` // in the order in which they were written
	Snapshot uint64          `json:"snapshot_index"`
	Last     uint64          `json:"last_index"`
	LastTerm uint64          `json:"last_term"` // the highest of any entry
	Counts   *EffectiveState `json:"counts"`    // nil if the node would not start
	Why      []string        `json:"why"`       // one sentence each
	Next     string          `json:"next,omitempty"`
}

// HardCopy is one of the two files.
type HardCopy struct {
	File     string          `json:"file"`
	State    statefile.State `json:"state"`
	Reason   string          `json:"reason,omitempty"`
	Sequence uint64          `json:"sequence,omitempty"`
	Term     uint64          `json:"term,omitempty"`
	Vote     uint64          `json:"vote,omitempty"`
	Commit   uint64          `json:"commit,omitempty"`
	Synced   wal.LSN         `json:"synced_lsn,omitempty"`
	Counts   bool            `json:"counts"` // this one is used; of two equal ones the first
}

// HeadRun is a run of group heads that repeat one term, vote and HardState sequence.
type HeadRun struct {
	File        string  `json:"file"`     // of the first head
	Position    int64   `json:"position"` // byte in File
	FirstLSN    wal.LSN `json:"first_lsn"`
	LastLSN     wal.LSN `json:"last_lsn"` // of the last head's first frame
	Groups      int     `json:"groups"`
	Term        uint64  `json:"term"`
	Vote        uint64  `json:"vote"`
	Sequence    uint64  `json:"sequence"`
	FirstCommit uint64  `json:"first_commit"`
	LastCommit  uint64  `json:"last_commit"`
}

// EffectiveState is what a start would go on with.
type EffectiveState struct {
	Term   uint64 `json:"term"`
	Vote   uint64 `json:"vote"`
	Commit uint64 `json:"commit"`
}

// HardState reads both copies and what repeats them, and says which counts and why. ErrStarted if a node started meanwhile.
func (d *Dir) HardState() (*HardState, error) {
	s, err := d.read(false, false)
	if err != nil {
		return nil, err
	}
	h := &HardState{Target: d.Path, Copies: d.copies(s), Heads: d.runs(s), Last: s.last, LastTerm: s.highestTerm()}
	if id, ok := d.identity(); ok {
		h.Member = id.MemberID
	}
	if s.newest != nil {
		h.Snapshot, h.Voters, h.Learners = s.newest.Index, s.newest.ConfState.GetVoters(), s.newest.ConfState.GetLearners()
	}
	h.Why = s.whyCopy(h.Copies)
	report, err := raftlog.Inspect(d.options())
	if err != nil {
		h.Why = append(h.Why, "a node would not start on it: "+err.Error())
		h.Next = "chronik version"
		return h, d.started()
	}
	if report.Damage != nil {
		h.Why = append(h.Why, fmt.Sprintf("a node would not start on it: %s; lost: %s", report.Damage.Reason, report.Damage.Lost))
		switch {
		case s.several():
			h.Why = append(h.Why, "in a group of several this member could vote twice; it rejoins as a learner, with an empty raft/ and under a new member id")
			h.Next = "chronik raft verify " + datadir.Quote(d.Path)
		case d.Root != "":
			h.Next = "chronik " + verbRepair + " " + datadir.Quote(d.Root)
		}
		return h, d.started()
	}
	h.Counts = &EffectiveState{Term: report.Term, Vote: report.Vote, Commit: report.Commit}
	h.Why = append(h.Why, s.whyState(h.Counts)...)
	return h, d.started()
}

func (d *Dir) copies(s *state) [2]HardCopy {
	var out [2]HardCopy
	for i := range s.Contents.HardState {
		c := &s.Contents.HardState[i]
		out[i] = HardCopy{File: d.rel(c.Name), State: c.State, Reason: string(c.Reason), Sequence: c.Seq, Term: c.Term, Vote: c.Vote, Commit: c.Commit,
			Synced: c.Synced, Counts: i == s.Winner}
	}
	return out
}

// runs shortens the heads to the places where something changes.
func (d *Dir) runs(s *state) []HeadRun {
	var out []HeadRun
	for i := range s.heads {
		h := &s.heads[i]
		if n := len(out); n > 0 && out[n-1].Term == h.Term && out[n-1].Vote == h.Vote && out[n-1].Sequence == h.Sequence {
			out[n-1].Groups++
			out[n-1].LastLSN, out[n-1].LastCommit = h.lsn, h.Commit
			continue
		}
		out = append(out, HeadRun{File: d.rel(h.file), Position: h.offset, FirstLSN: h.lsn, LastLSN: h.lsn, Groups: 1, Term: h.Term, Vote: h.Vote,
			Sequence: h.Sequence, FirstCommit: h.Commit, LastCommit: h.Commit})
	}
	return out
}

// whyCopy says which copy counts and why.
func (s *state) whyCopy(c [2]HardCopy) []string {
	win := s.Winner
	if win < 0 {
		return []string{"no copy counts: " + s.HardError.Error()}
	}
	other := c[1-win]
	switch {
	case other.State == statefile.OK && other.Sequence == c[win].Sequence:
		return []string{fmt.Sprintf("both copies are valid and equal, sequence %d", other.Sequence)}
	case other.State == statefile.OK:
		return []string{fmt.Sprintf("%s counts: its sequence %d is above %d; a crash between the two writes leaves this", c[win].File, c[win].Sequence, other.Sequence)}
	case other.State == statefile.Missing:
		return []string{fmt.Sprintf("%s counts: the other copy is missing", c[win].File)}
	}
	return []string{fmt.Sprintf("%s counts: the other copy is not valid: %s", c[win].File, other.Reason)}
}

// whyState says where term, vote and commit come from.
func (s *state) whyState(e *EffectiveState) []string {
	var out []string
	hard := s.Contents.HardState[s.Winner]
	if n := len(s.heads); n > 0 {
		switch last := s.heads[n-1]; {
		case last.Sequence == hard.Seq+1:
			out = append(out, fmt.Sprintf("the newest group head was written under sequence %d, one ahead of the copies: its term %d and vote %x count, "+
				"and the next start stores them", last.Sequence, last.Term, last.Vote))
		default:
			out = append(out, fmt.Sprintf("the newest group head was written under sequence %d, which the copies have reached", last.Sequence))
		}
	} else {
		out = append(out, "no group of the log is left that would repeat it")
	}
	heads := uint64(0)
	for i := range s.heads {
		heads = max(heads, s.heads[i].Commit)
	}
	return append(out, fmt.Sprintf("commit %d is the highest of HardState (%d), group heads (%d) and newest snapshot (%d); HardState's is a lower bound",
		e.Commit, hard.Commit, heads, s.newest.Index))
}

// highestTerm is the highest term of any entry, head, copy or snapshot, overwritten or not.
func (s *state) highestTerm() uint64 {
	var t uint64
	for i := range s.entries {
		t = max(t, s.entries[i].Term)
	}
	for i := range s.heads {
		t = max(t, s.heads[i].Term)
	}
	for i := range s.Contents.HardState {
		t = max(t, s.Contents.HardState[i].Term)
	}
	for i := range s.Snapshots {
		t = max(t, s.Snapshots[i].Term)
	}
	return t
}

// members lists everyone that a configuration names.
func members(c *raftpb.ConfState) []uint64 {
	all := slices.Concat(c.GetVoters(), c.GetVotersOutgoing(), c.GetLearners(), c.GetLearnersNext())
	slices.Sort(all)
	return slices.Compact(all)
}
