package raftlog

import (
	"fmt"
	"sync/atomic"
	"testing"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"chronik.dev/chronik/broker/vfs"
)

const testDir = "data/raft"

var testConf = &raftpb.ConfState{Voters: []uint64{1}, AutoLeave: new(false)}

// generations makes the log's random numbers the same in every run.
var generations atomic.Uint64

func testOptions(fs vfs.FS) Options {
	return Options{FS: fs, Dir: testDir, DirID: testID, SegmentSize: 64 << 10, Buffered: true, Rand: func() uint64 {
		return generations.Add(0x9e3779b97f4a7c15)
	}}
}

func founding() Founding {
	return Founding{ConfState: proto.CloneOf(testConf), Data: []byte("founded")}
}

// tester is what rapid.T and testing.T share.
type tester interface {
	Helper()
	Fatalf(format string, args ...any)
}

// model is the same history on raft's own storage in memory.
type model struct {
	mem  *raft.MemoryStorage
	hard *raftpb.HardState
	snap *raftpb.Snapshot
	prev uint64 // index of the snapshot before
	size int    // payload bytes of the next entries
}

func newModel() *model {
	m := &model{mem: raft.NewMemoryStorage(), hard: &raftpb.HardState{Term: new(uint64(1)), Vote: new(uint64(0)), Commit: new(uint64(1))}}
	m.install(&raftpb.Snapshot{Data: []byte("founded"), Metadata: &raftpb.SnapshotMetadata{ConfState: proto.CloneOf(testConf), Index: new(uint64(1)), Term: new(uint64(1))}})
	return m
}

func (m *model) install(s *raftpb.Snapshot) {
	if err := m.mem.ApplySnapshot(s); err != nil {
		panic(err)
	}
	m.snap, m.prev = s, s.GetMetadata().GetIndex()
}

func (m *model) last() uint64 {
	last, _ := m.mem.LastIndex()
	return last
}

// clone copies the model; entries are shared, they never change.
func (m *model) clone() *model {
	c := newModel()
	c.hard, c.snap, c.prev, c.size = m.hard, m.snap, m.prev, m.size
	first, _ := m.mem.FirstIndex()
	term, _ := m.mem.Term(first - 1)
	c.mem = raft.NewMemoryStorage()
	base := &raftpb.Snapshot{Metadata: &raftpb.SnapshotMetadata{Index: new(first - 1), Term: new(term), ConfState: testConf}}
	if err := c.mem.ApplySnapshot(base); err != nil {
		panic(err)
	}
	if m.last() >= first {
		entries, err := m.mem.Entries(first, m.last()+1, 1<<62)
		if err != nil {
			panic(err)
		}
		if err := c.mem.Append(entries); err != nil {
			panic(err)
		}
	}
	return c
}

// step is one thing that the Ready loop does.
type step struct {
	name     string
	rd       raft.Ready
	snapshot uint64 // take one at this index
}

// next invents a step as raft could ask for it. pick returns a number below n.
func (m *model) next(pick func(n int) int) step {
	term, vote, commit := m.hard.GetTerm(), m.hard.GetVote(), m.hard.GetCommit()
	switch k := pick(10); {
	case k < 5: // entries, often in conflict with the uncommitted end
		from := commit + 1 + uint64(pick(int(m.last()-commit)+1))
		if before, err := m.mem.Term(from - 1); err == nil && before > term {
			panic("the model's log is ahead of its term")
		}
		if from <= m.last() || pick(4) == 0 {
			term, vote = term+1, uint64(pick(3))
		}
		var entries []*raftpb.Entry
		for i := range 1 + pick(4) {
			data := make([]byte, pick(m.size+1))
			for j := range data {
				data[j] = byte(pick(256))
			}
			e := &raftpb.Entry{Index: new(from + uint64(i)), Term: new(term)}
			if len(data) > 0 {
				e.Data = data
			}
			entries = append(entries, e)
		}
		last := from + uint64(len(entries)) - 1
		commit += uint64(pick(int(last-commit) + 1))
		return step{name: fmt.Sprintf("entries %d to %d of term %d, commit %d", from, last, term, commit), rd: raft.Ready{HardState: hard(term, vote, commit), Entries: entries}}
	case k == 5:
		return step{name: "vote", rd: raft.Ready{HardState: hard(term+1, uint64(pick(3)), commit)}}
	case k == 6:
		commit += uint64(pick(int(m.last()-commit) + 1))
		return step{name: fmt.Sprintf("commit %d", commit), rd: raft.Ready{HardState: hard(term, vote, commit)}}
	case k == 7:
		index := commit + 1 + uint64(pick(10))
		s := &raftpb.Snapshot{Data: []byte(fmt.Sprintf("state at %d", index)), Metadata: &raftpb.SnapshotMetadata{ConfState: proto.CloneOf(testConf), Index: &index, Term: &term}}
		return step{name: fmt.Sprintf("install %d", index), rd: raft.Ready{HardState: hard(term, vote, index), Snapshot: s}}
	}
	if have := m.snap.GetMetadata().GetIndex(); have < commit {
		index := have + 1 + uint64(pick(int(commit-have)))
		return step{name: fmt.Sprintf("snapshot %d", index), snapshot: index}
	}
	return m.next(pick)
}

func hard(term, vote, commit uint64) *raftpb.HardState {
	return &raftpb.HardState{Term: &term, Vote: &vote, Commit: &commit}
}

// do applies a step to the model.
func (m *model) do(s step) {
	if s.snapshot != 0 {
		old := m.snap.GetMetadata().GetIndex()
		snap, err := m.mem.CreateSnapshot(s.snapshot, testConf, []byte(fmt.Sprintf("state at %d", s.snapshot)))
		if err != nil {
			panic(err)
		}
		if first, _ := m.mem.FirstIndex(); old >= first {
			if err := m.mem.Compact(old); err != nil {
				panic(err)
			}
		}
		m.prev, m.snap = old, snap
		return
	}
	if !raft.IsEmptySnap(s.rd.Snapshot) {
		m.install(s.rd.Snapshot)
	}
	if err := m.mem.Append(s.rd.Entries); err != nil {
		panic(err)
	}
	m.hard = s.rd.HardState
}

// do carries out a step on the real storage.
func do(s *Storage, x step) error {
	if x.snapshot != 0 {
		return s.CreateSnapshot(x.snapshot, proto.CloneOf(testConf), []byte(fmt.Sprintf("state at %d", x.snapshot)))
	}
	return s.Save(x.rd)
}

// differs says how a storage differs from the model, in everything that raft can see; commit only if exact.
func (m *model) differs(s *Storage, exact bool) string {
	h, conf, err := s.InitialState()
	if err != nil || h.GetTerm() != m.hard.GetTerm() || h.GetVote() != m.hard.GetVote() || conf.Equivalent(testConf) != nil {
		return fmt.Sprintf("HardState %v, ConfState %v, %v; want %v", h, conf, err, m.hard)
	}
	if exact && h.GetCommit() != m.hard.GetCommit() || h.GetCommit() > m.hard.GetCommit() {
		return fmt.Sprintf("commit %d, want %d", h.GetCommit(), m.hard.GetCommit())
	}
	first, _ := s.FirstIndex()
	last, _ := s.LastIndex()
	if f, _ := m.mem.FirstIndex(); f != first || last != m.last() {
		return fmt.Sprintf("log %d to %d, want %d to %d", first, last, f, m.last())
	}
	for i := first - 1; i <= last; i++ {
		a, err1 := s.Term(i)
		b, err2 := m.mem.Term(i)
		if a != b || err1 != nil || err2 != nil {
			return fmt.Sprintf("term of %d: %d, %v; want %d, %v", i, a, err1, b, err2)
		}
	}
	if first <= last {
		a, err1 := s.Entries(first, last+1, 1<<62)
		b, err2 := m.mem.Entries(first, last+1, 1<<62)
		if err1 != nil || err2 != nil || len(a) != len(b) {
			return fmt.Sprintf("entries: %d, %v; want %d, %v", len(a), err1, len(b), err2)
		}
		for i := range a {
			if !proto.Equal(a[i], b[i]) {
				return fmt.Sprintf("entry %v, want %v", a[i], b[i])
			}
		}
	}
	snap, err := s.Snapshot()
	if err != nil || !proto.Equal(snap, m.snap) {
		return fmt.Sprintf("snapshot %v, %v; want %v", snap, err, m.snap)
	}
	return ""
}

func (m *model) check(t tester, s *Storage, exact bool) {
	t.Helper()
	if d := m.differs(s, exact); d != "" {
		t.Fatalf("%s", d)
	}
}

// mustFound founds a storage on a new disk.
func mustFound(t tester, fs vfs.FS) *Storage {
	t.Helper()
	s, err := Create(testOptions(fs), founding())
	if err != nil {
		t.Fatalf("%v", err)
	}
	return s
}

func mustOpen(t tester, fs vfs.FS) (*Storage, *Report) {
	t.Helper()
	s, report, err := Open(testOptions(fs))
	if err != nil {
		t.Fatalf("%v", err)
	}
	return s, report
}

func mustClose(t testing.TB, s *Storage) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
