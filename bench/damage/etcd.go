package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.etcd.io/etcd/server/v3/storage/wal/walpb"
	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// etcdWAL is etcd's write-ahead log as etcdserver uses it: entries with a HardState whose commit is the group before, each Save synced; at the
// start Open and ReadAll, after io.ErrUnexpectedEOF once wal.Repair and again, and raft's refusal of a commit beyond the log.
type etcdWAL struct{}

func init() {
	wal.SegmentSizeBytes = 16 << 10 // 64 MB by default; so that the data set fills several
}

func (etcdWAL) write(dir string, half func() error) (func() error, error) {
	w, err := wal.Create(zap.NewNop(), filepath.Join(dir, "wal"), []byte("metadata"))
	if err != nil {
		return nil, err
	}
	for i := 0; i < entries; i += group {
		if i == entries/2 {
			if err := half(); err != nil {
				return nil, err
			}
		}
		var ents []*raftpb.Entry
		for j := i; j < i+group; j++ {
			index, term := uint64(j+1), uint64(1)
			ents = append(ents, &raftpb.Entry{Index: &index, Term: &term, Data: value(j)})
		}
		term, vote, commit := uint64(1), uint64(1), uint64(i)
		if err := w.Save(&raftpb.HardState{Term: &term, Vote: &vote, Commit: &commit}, ents); err != nil {
			return nil, err
		}
	}
	return w.Close, nil
}

func (etcdWAL) start(dir string) (*seen, error) {
	core, log := observer.New(zapcore.InfoLevel)
	lg := zap.New(core)
	dir = filepath.Join(dir, "wal")
	s := newSeen()
	for repaired := false; ; repaired = true {
		w, err := wal.Open(lg, dir, &walpb.Snapshot{Index: new(uint64), Term: new(uint64)})
		if err != nil {
			return nil, err
		}
		_, state, ents, err := w.ReadAll()
		if err != nil {
			err = errors.Join(err, w.Close())
			if repaired || !errors.Is(err, io.ErrUnexpectedEOF) {
				return nil, err
			}
			if !wal.Repair(lg, dir) {
				return nil, fmt.Errorf("cannot be repaired: %w", err)
			}
			continue
		}
		defer w.Close()
		for _, e := range ents {
			s.values[int(e.GetIndex())-1] = e.GetData()
		}
		if state.GetCommit() > uint64(len(ents)) {
			return nil, fmt.Errorf("raft: tocommit %d is out of range [lastIndex %d]", state.GetCommit(), len(ents))
		}
		break
	}
	for _, l := range log.All() {
		if l.Level >= zapcore.WarnLevel || l.Message == "repaired" {
			s.reports = append(s.reports, fmt.Sprint(l.Level, " ", l.Message, " ", l.ContextMap()))
		}
	}
	if _, err := os.Stat(dir); err != nil {
		return nil, err
	}
	return s, nil
}
