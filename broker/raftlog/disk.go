package raftlog

import (
	"errors"
	"fmt"
	"path/filepath"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"chronik.dev/chronik/broker/planted"
	"chronik.dev/chronik/broker/statefile"
	"chronik.dev/chronik/broker/vfs"
	"chronik.dev/chronik/broker/wal"
)

// Names inside Dir.
const (
	snapDir  = "snapshots"
	hardBase = "hardstate"
)

// saveChunk is the number of payload bytes after which Save begins another group.
const saveChunk = 512 << 10

// resetEntry is the entry type, in the frame's epoch field, of the frame that says: a snapshot from the leader replaced the log before it.
const resetEntry = -1

// disk is the durable side of a Storage. Only the Ready loop touches it.
type disk struct {
	o      Options
	wal    *wal.Log
	state  *statefile.File
	kept   []snapFile // the two newest snapshots, newest last, without their data
	reset  wal.LSN    // of the reset frame that belongs to a kept snapshot, 0 if none
	synced wal.LSN    // newest LSN known durable
	stored uint64     // commit in the state file
	failed error
}

// Save makes durable what a Ready asks for, in the order: snapshot file; entries; a marker; both HardState copies if term or vote changed. A
// Ready that only moves the commit index writes nothing. Entries that the log has compacted are left out. raft.ErrSnapOutOfDate for a snapshot
// that is not newer than the one that is there, raft.ErrUnavailable for entries that would leave a gap: nothing was written. After an error the
// Storage accepts nothing more and the node must stop.
func (s *Storage) Save(rd raft.Ready) error {
	if s.failed != nil {
		return s.failed
	}
	if err := s.save(rd); err != nil {
		s.failed = fmt.Errorf("raft log %s: %w", s.o.Dir, err)
		return s.failed
	}
	return nil
}

func (s *Storage) save(rd raft.Ready) error {
	if err := s.fit(&rd); err != nil {
		return err
	}
	hard := s.hard
	if !raft.IsEmptyHardState(rd.HardState) {
		hard = &raftpb.HardState{Term: new(rd.GetTerm()), Vote: new(rd.GetVote()), Commit: new(rd.GetCommit())}
	}
	voted := hard.GetTerm() != s.hard.GetTerm() || hard.GetVote() != s.hard.GetVote()
	if planted.Is(planted.ForgetVote) {
		voted = hard.GetTerm() != s.hard.GetTerm()
	}
	note := wal.Note{hard.GetTerm(), hard.GetVote(), hard.GetCommit(), s.state.Seq()}
	if voted {
		note[3]++
	}
	var frames []wal.Frame
	if !raft.IsEmptySnap(rd.Snapshot) {
		m := rd.Snapshot.GetMetadata()
		f := snapFile{install: true, baseIndex: m.GetIndex(), baseTerm: m.GetTerm(), snapshot: rd.Snapshot}
		if err := s.writeSnapshot(f); err != nil {
			return err
		}
		frames = append(frames, resetFrame(m))
	}
	for _, e := range rd.Entries {
		frames = append(frames, wal.Frame{Type: wal.RaftEntry, Epoch: int32(e.GetType()), First: int64(e.GetIndex()), Last: int64(e.GetTerm()), Payload: e.GetData()})
	}
	last, err := s.appendAll(frames, note)
	if err != nil {
		return err
	}
	if voted {
		if err := s.state.Store(encodeHard(hard, uint64(s.synced))); err != nil {
			return err
		}
		s.stored = hard.GetCommit()
	}
	s.accept(rd, hard, last-wal.LSN(len(frames))+1)
	if raft.IsEmptySnap(rd.Snapshot) {
		return nil
	}
	return s.free()
}

// fit refuses a Ready that does not continue what is stored, and takes out of it the entries that are compacted.
func (s *Storage) fit(rd *raft.Ready) error {
	base, last := s.log.baseIndex, s.log.last()
	if !raft.IsEmptySnap(rd.Snapshot) {
		index, have := rd.Snapshot.GetMetadata().GetIndex(), s.snapshot.GetMetadata().GetIndex()
		if index <= have {
			return fmt.Errorf("install snapshot at index %d: there is one at %d: %w", index, have, raft.ErrSnapOutOfDate)
		}
		base, last = index, index
	}
	for len(rd.Entries) > 0 && rd.Entries[0].GetIndex() <= base {
		rd.Entries = rd.Entries[1:]
	}
	for i, e := range rd.Entries {
		if index := e.GetIndex(); index > last+1 || i > 0 && index != last+1 {
			return fmt.Errorf("append entry %d to a log that ends at %d: %w", index, last, raft.ErrUnavailable)
		}
		last = e.GetIndex()
	}
	return nil
}

// resetFrame is the frame that belongs to a snapshot from the leader.
func resetFrame(m *raftpb.SnapshotMetadata) wal.Frame {
	return wal.Frame{Type: wal.RaftEntry, Epoch: resetEntry, First: int64(m.GetIndex()), Last: int64(m.GetTerm())}
}

// appendAll writes frames as groups of bounded size, each synced, and a marker behind the last. It returns the last LSN.
func (s *Storage) appendAll(frames []wal.Frame, note wal.Note) (last wal.LSN, err error) {
	for len(frames) > 0 {
		n, size := 0, 0
		for n < len(frames) && (n == 0 || size+len(frames[n].Payload) <= saveChunk) {
			size += len(frames[n].Payload)
			n++
		}
		if last, err = s.wal.AppendSync(frames[:n], note, n == len(frames)); err != nil {
			return 0, err
		}
		s.synced, frames = last, frames[n:]
	}
	return last, nil
}

// accept shows raft what is now durable. The first frame of the Ready has the LSN first.
func (s *Storage) accept(rd raft.Ready, hard *raftpb.HardState, first wal.LSN) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hard = hard
	if !raft.IsEmptySnap(rd.Snapshot) {
		m := rd.Snapshot.GetMetadata()
		s.snapshot = rd.Snapshot
		s.log = entryLog{baseIndex: m.GetIndex(), baseTerm: m.GetTerm()}
		s.reset = first
		first++
	}
	for i, e := range rd.Entries {
		s.log.put(e, uint64(first)+uint64(i))
	}
}

// writeSnapshot makes a snapshot file durable and forgets all but the newest two.
func (s *Storage) writeSnapshot(f snapFile) error {
	f.synced = uint64(s.synced)
	data, err := encodeSnap(s.o.DirID, f)
	if err != nil {
		return err
	}
	m := f.snapshot.GetMetadata()
	name := filepath.Join(s.o.Dir, snapDir, snapName(m.GetIndex(), m.GetTerm()))
	if err := vfs.WriteFile(s.o.FS, name, data); err != nil {
		return err
	}
	f.snapshot = &raftpb.Snapshot{Metadata: m}
	s.kept = append(s.kept, f)
	if len(s.kept) > 2 {
		s.kept = s.kept[len(s.kept)-2:]
	}
	return nil
}

// CreateSnapshot makes a snapshot of the state at an applied index durable; without a ConfState, with that of the one before. Then the log is compacted up to the snapshot before it, so that either
// of the two newest snapshots starts a node, and journal segments that nothing needs are freed. raft.ErrSnapOutOfDate if there is a newer one,
// raft.ErrUnavailable for an index that the log does not have, and an error for want of space or descriptors (vfs.NoRoom) change nothing; any
// other is final.
func (s *Storage) CreateSnapshot(index uint64, cs *raftpb.ConfState, data []byte) error {
	if s.failed != nil {
		return s.failed
	}
	old := s.kept[len(s.kept)-1].snapshot.GetMetadata()
	if index <= old.GetIndex() {
		return fmt.Errorf("snapshot at index %d: there is one at %d: %w", index, old.GetIndex(), raft.ErrSnapOutOfDate)
	}
	term, err := s.Term(index)
	if err != nil {
		return fmt.Errorf("snapshot at index %d: %w", index, err)
	}
	if cs == nil {
		cs = s.snapshot.GetMetadata().GetConfState()
	}
	snap := &raftpb.Snapshot{Data: data, Metadata: &raftpb.SnapshotMetadata{ConfState: cs, Index: &index, Term: &term}}
	if err := s.createSnapshot(old, snap); vfs.NoRoom(err) {
		return err
	} else if err != nil {
		s.failed = fmt.Errorf("raft log %s: %w", s.o.Dir, err)
		return s.failed
	}
	return nil
}

// createSnapshot stores a snapshot behind the one that is the newest now.
func (s *Storage) createSnapshot(old *raftpb.SnapshotMetadata, snap *raftpb.Snapshot) error {
	if err := s.writeSnapshot(snapFile{baseIndex: old.GetIndex(), baseTerm: old.GetTerm(), snapshot: snap}); err != nil {
		return err
	}
	s.mu.Lock()
	s.snapshot = snap
	if planted.Is(planted.CompactTooFar) {
		old = snap.GetMetadata()
	}
	s.log.compact(old.GetIndex())
	s.mu.Unlock()
	if err := s.free(); !vfs.NoRoom(err) {
		return err
	}
	return nil // the next snapshot frees it
}

// free removes old snapshots and gives back the segments that hold neither a kept entry nor the reset frame of a kept snapshot.
func (s *Storage) free() error {
	if err := s.removeOldSnapshots(); err != nil {
		return err
	}
	below := s.wal.Next()
	if len(s.log.lsns) > 0 {
		below = wal.LSN(s.log.lsns[0])
	}
	needed := false
	for _, f := range s.kept {
		needed = needed || f.install
	}
	if needed && s.reset != 0 {
		below = min(below, s.reset)
	}
	return s.wal.FreeBelow(below)
}

// removeOldSnapshots removes every snapshot older than the two newest.
func (s *Storage) removeOldSnapshots() error {
	oldest := s.kept[0].snapshot.GetMetadata()
	dir := filepath.Join(s.o.Dir, snapDir)
	infos, err := s.o.FS.ReadDir(dir)
	if err != nil {
		return err
	}
	removed := false
	for _, info := range infos {
		if index, _, ok := parseSnapName(info.Name()); ok && index < oldest.GetIndex() {
			if err := s.o.FS.Remove(filepath.Join(dir, info.Name())); err != nil {
				return err
			}
			removed = true
		}
	}
	if removed {
		return s.o.FS.SyncDir(dir)
	}
	return nil
}

// Close stores the commit index and seals the log.
func (s *Storage) Close() error {
	var err error
	if s.failed == nil && s.hard.GetCommit() != s.stored {
		err = s.state.Store(encodeHard(s.hard, uint64(s.synced)))
	}
	return errors.Join(err, s.wal.Close())
}
