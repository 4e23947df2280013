package raftlog

import (
	"sync"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"chronik.dev/chronik/broker/planted"
)

// entryLog is the part of the log that is held in memory: every entry above the base. Entries are never changed, and the slice is copied when
// a suffix is replaced, since raft may still hold the old one.
type entryLog struct {
	baseIndex, baseTerm uint64
	entries             []*raftpb.Entry
	lsns                []uint64 // of each entry, in the same order
}

func (l *entryLog) first() uint64 { return l.baseIndex + 1 }
func (l *entryLog) last() uint64  { return l.baseIndex + uint64(len(l.entries)) }

// term returns the term of an index in [base, last].
func (l *entryLog) term(index uint64) (uint64, error) {
	switch {
	case index < l.baseIndex:
		return 0, raft.ErrCompacted
	case index == l.baseIndex:
		return l.baseTerm, nil
	case index > l.last():
		return 0, raft.ErrUnavailable
	}
	return l.entries[index-l.first()].GetTerm(), nil
}

// put makes e the last entry: it supersedes every entry from its index on. It reports false, and changes nothing, if e would leave a gap.
// An entry at or below the base leaves an empty log, since what followed it has been superseded too.
func (l *entryLog) put(e *raftpb.Entry, lsn uint64) bool {
	index := e.GetIndex()
	if index > l.last()+1 {
		return false
	}
	if index <= l.baseIndex {
		l.entries, l.lsns = nil, nil
		return true
	}
	keep := index - l.first()
	if keep < uint64(len(l.entries)) && planted.Is(planted.KeepSuffix) {
		l.entries[keep], l.lsns[keep] = e, lsn
		return true
	}
	if keep < uint64(len(l.entries)) {
		l.entries, l.lsns = l.entries[:keep:keep], l.lsns[:keep:keep]
	}
	l.entries, l.lsns = append(l.entries, e), append(l.lsns, lsn)
	return true
}

// compact raises the base to an index in [base, last].
func (l *entryLog) compact(index uint64) {
	if index <= l.baseIndex {
		return
	}
	n := index - l.baseIndex
	l.baseTerm = l.entries[n-1].GetTerm()
	l.baseIndex = index
	l.entries, l.lsns = append([]*raftpb.Entry(nil), l.entries[n:]...), append([]uint64(nil), l.lsns[n:]...)
}

// Storage is the durable state of one member. The methods of raft.Storage may be called from any goroutine; Save, CreateSnapshot and Close
// belong to the Ready loop.
type Storage struct {
	mu       sync.Mutex // guards what raft reads
	log      entryLog
	hard     *raftpb.HardState
	snapshot *raftpb.Snapshot // newest

	disk
}

var _ raft.Storage = (*Storage)(nil)

// InitialState returns HardState and the ConfState of the newest snapshot, whose index is the applied index at start.
func (s *Storage) InitialState() (*raftpb.HardState, *raftpb.ConfState, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return proto.CloneOf(s.hard), proto.CloneOf(raftpb.EnsureConfState(s.snapshot.GetMetadata().GetConfState())), nil
}

// Entries returns the entries [lo, hi) up to maxSize bytes, at least one. It answers raft.ErrUnavailable also where raft.MemoryStorage panics.
func (s *Storage) Entries(lo, hi, maxSize uint64) ([]*raftpb.Entry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if lo <= s.log.baseIndex {
		return nil, raft.ErrCompacted
	}
	if hi > s.log.last()+1 || lo > hi || len(s.log.entries) == 0 {
		return nil, raft.ErrUnavailable
	}
	part := s.log.entries[lo-s.log.first() : hi-s.log.first()]
	var size uint64
	for i, e := range part {
		size += uint64(proto.Size(e))
		if size > maxSize && i > 0 {
			part = part[:i]
			break
		}
	}
	return part[:len(part):len(part)], nil
}

// Term returns the term of an index in [FirstIndex()-1, LastIndex()].
func (s *Storage) Term(index uint64) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.term(index)
}

// LastIndex returns the index of the last entry, or of the snapshot.
func (s *Storage) LastIndex() (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.last(), nil
}

// FirstIndex returns the index of the first entry that is kept.
func (s *Storage) FirstIndex() (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.first(), nil
}

// Snapshot returns the newest snapshot; its data must not be changed.
func (s *Storage) Snapshot() (*raftpb.Snapshot, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.snapshot, nil
}
