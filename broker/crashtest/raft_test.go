package crashtest

import (
	"fmt"
	"math"
	"slices"
	"sync"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"chronik.dev/chronik/broker/raftlog"
)

// raftState is what a member of the metadata group must not forget.
type raftState struct {
	term, vote uint64
	commit     uint64
	durable    uint64 // commit at the last Save that wrote: a Ready that only moves commit writes nothing
	snap       uint64 // index of the newest snapshot
	conf       string // its ConfState
	first      uint64 // index of entries[0]
	entries    []raftEntry
}

type raftEntry struct {
	term uint64
	data string
}

func (s raftState) last() uint64 { return s.first + uint64(len(s.entries)) - 1 }

// raftModel is the Raft log's side of a world: the state saved and, while a Save runs, the one that it makes.
type raftModel struct {
	mu      sync.Mutex
	settled raftState
	next    *raftState
	saves   int
}

type raftMoment struct {
	settled raftState
	next    *raftState
}

func (m *raftModel) now() raftMoment {
	m.mu.Lock()
	defer m.mu.Unlock()
	return raftMoment{m.settled, m.next}
}

// save runs op, which makes next durable.
func (m *raftModel) save(next raftState, op func() error) error {
	m.mu.Lock()
	m.next = &next
	m.mu.Unlock()
	err := op()
	m.mu.Lock()
	defer m.mu.Unlock()
	if err == nil {
		m.settled, m.next = next, nil
		m.saves++
	}
	return err
}

func founded() raftState {
	return raftState{
		term: raftlog.FoundingTerm, commit: raftlog.FoundingIndex, durable: raftlog.FoundingIndex, snap: raftlog.FoundingIndex,
		conf: fmt.Sprint([]uint64{1}), first: raftlog.FoundingIndex + 1,
	}
}

// raftStep does what a Ready may ask of a member, leader or follower.
func (w *worker) raftStep() error {
	s := w.raft.settled // only this goroutine changes it
	next := s
	next.entries = slices.Clip(s.entries)
	rd := raft.Ready{}
	switch n := w.rng.IntN(20); {
	case n < 9: // append
		w.raftEntries(&rd, &next, s.last()+1)
		next.commit += w.rng.Uint64N(next.last() - next.commit + 1)
	case n < 11: // a new term, and perhaps a vote
		next.term, next.vote = s.term+1, w.rng.Uint64N(3)
	case n < 13: // another leader's entries in place of ours
		if s.last() == s.commit {
			return nil
		}
		next.term, next.vote = s.term+1, 2
		at := s.commit + 1 + w.rng.Uint64N(s.last()-s.commit)
		next.entries = slices.Clip(next.entries[:at-s.first])
		w.raftEntries(&rd, &next, at)
	case n < 15: // commit only
		next.commit += w.rng.Uint64N(s.last() - s.commit + 1)
	case n < 18: // a snapshot of our own
		return w.raftSnapshot(s, next)
	default: // a snapshot from the leader
		index := s.last() + 1 + w.rng.Uint64N(5)
		next.snap, next.commit, next.first, next.entries = index, index, index+1, nil
		conf := []uint64{1, 2, index}
		next.conf = fmt.Sprint(conf)
		rd.Snapshot = &raftpb.Snapshot{Data: fmt.Append(nil, "state at ", index), Metadata: &raftpb.SnapshotMetadata{
			ConfState: &raftpb.ConfState{Voters: conf}, Index: &index, Term: &next.term,
		}}
		if w.rng.IntN(2) == 0 {
			w.raftEntries(&rd, &next, index+1)
		}
	}
	if len(rd.Entries) > 0 || rd.Snapshot != nil || next.term != s.term || next.vote != s.vote {
		next.durable = next.commit
	}
	rd.HardState = &raftpb.HardState{Term: &next.term, Vote: &next.vote, Commit: &next.commit}
	return w.raft.save(next, func() error { return w.node.raft.Save(rd) })
}

func (w *worker) raftEntries(rd *raft.Ready, next *raftState, at uint64) {
	for range 1 + w.rng.IntN(3) {
		data := fmt.Sprintf("entry %d of term %d: %d", at, next.term, w.rng.Uint64())
		if w.rng.IntN(8) == 0 {
			data += string(make([]byte, w.rng.IntN(9000)))
		}
		index, term := at, next.term
		rd.Entries = append(rd.Entries, &raftpb.Entry{Term: &term, Index: &index, Data: []byte(data)})
		next.entries = append(next.entries, raftEntry{next.term, data})
		at++
	}
}

func (w *worker) raftSnapshot(s, next raftState) error {
	if s.commit <= s.snap {
		return nil
	}
	index := s.snap + 1 + w.rng.Uint64N(s.commit-s.snap)
	conf := []uint64{1, index}
	next.snap, next.conf, next.durable = index, fmt.Sprint(conf), max(s.durable, index)
	return w.raft.save(next, func() error {
		return w.node.raft.CreateSnapshot(index, &raftpb.ConfState{Voters: conf}, fmt.Append(nil, "state at ", index))
	})
}

// readRaft reads back what raft would start from.
func readRaft(st *raftlog.Storage) (raftState, error) {
	hard, conf, err := st.InitialState()
	if err != nil {
		return raftState{}, err
	}
	snap, err := st.Snapshot()
	if err != nil {
		return raftState{}, err
	}
	first, err := st.FirstIndex()
	if err != nil {
		return raftState{}, err
	}
	last, err := st.LastIndex()
	if err != nil {
		return raftState{}, err
	}
	s := raftState{
		term: hard.GetTerm(), vote: hard.GetVote(), commit: hard.GetCommit(), durable: hard.GetCommit(), snap: snap.GetMetadata().GetIndex(),
		conf: fmt.Sprint(conf.GetVoters()), first: first,
	}
	if last < first {
		return s, nil
	}
	entries, err := st.Entries(first, last+1, math.MaxUint64)
	if err != nil {
		return s, err
	}
	for i, e := range entries {
		if e.GetIndex() != first+uint64(i) {
			return s, fmt.Errorf("entry %d has index %d", first+uint64(i), e.GetIndex())
		}
		s.entries = append(s.entries, raftEntry{e.GetTerm(), string(e.GetData())})
	}
	return s, nil
}

// differs says how what was read differs from a state; empty if it does not. Compaction may have gone further or less far.
func (s raftState) differs(got raftState) string {
	switch {
	case got.term != s.term || got.vote != s.vote:
		return fmt.Sprintf("term %d vote %d, want %d and %d", got.term, got.vote, s.term, s.vote)
	case got.commit < s.durable || got.commit > s.commit:
		return fmt.Sprintf("commit %d, want %d to %d", got.commit, s.durable, s.commit)
	case got.last() != s.last():
		return fmt.Sprintf("last index %d, want %d", got.last(), s.last())
	case got.snap != s.snap || got.conf != s.conf:
		return fmt.Sprintf("snapshot %d with members %s, want %d with %s", got.snap, got.conf, s.snap, s.conf)
	case got.first > s.snap+1:
		return fmt.Sprintf("first index %d behind the snapshot at %d", got.first, s.snap)
	}
	for i := max(s.first, got.first); i <= s.last(); i++ {
		if got.entries[i-got.first] != s.entries[i-s.first] {
			return fmt.Sprintf("entry %d is %.60q, want %.60q", i, got.entries[i-got.first].data, s.entries[i-s.first].data)
		}
	}
	return ""
}

// explain accepts the state saved, or the one that was being saved, whole: a Save of this programme is one group.
func (m raftMoment) explain(got raftState) error {
	why := m.settled.differs(got)
	if why == "" {
		return nil
	}
	if m.next != nil {
		also := m.next.differs(got)
		if also == "" {
			return nil
		}
		why += "; or, with the Save that ran: " + also
		if m.between(got) {
			return nil
		}
	}
	return fmt.Errorf("raft: %s", why)
}

// between accepts the one state in the middle of a Save: the leader's snapshot is there, and what came with it is not yet.
func (m raftMoment) between(got raftState) bool {
	if m.next.snap == m.settled.snap || m.next.first != m.next.snap+1 {
		return false
	}
	mid := *m.next
	mid.term, mid.vote, mid.entries, mid.durable = m.settled.term, m.settled.vote, nil, mid.snap
	return mid.differs(got) == ""
}
