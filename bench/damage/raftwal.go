package main

import (
	"errors"
	"fmt"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	raftwal "github.com/hashicorp/raft-wal"
)

// hashicorpWAL is hashicorp/raft-wal as hashicorp/raft uses it: StoreLogs, which syncs; at the start Open, FirstIndex, LastIndex, GetLog.
type hashicorpWAL struct{}

func openRaftWAL(dir string, lg hclog.Logger) (*raftwal.WAL, error) {
	return raftwal.Open(dir, raftwal.WithSegmentSize(16<<10), raftwal.WithLogger(lg)) // 64 MB by default; so that the data set fills several
}

func (hashicorpWAL) write(dir string, half func() error) (func() error, error) {
	w, err := openRaftWAL(dir, hclog.NewNullLogger())
	if err != nil {
		return nil, err
	}
	for i := 0; i < entries; i += group {
		if i == entries/2 {
			if err := half(); err != nil {
				return nil, err
			}
		}
		var logs []*raft.Log
		for j := i; j < i+group; j++ {
			logs = append(logs, &raft.Log{Index: uint64(j + 1), Term: 1, Data: value(j)})
		}
		if err := w.StoreLogs(logs); err != nil {
			return nil, err
		}
	}
	return w.Close, nil
}

func (hashicorpWAL) start(dir string) (*seen, error) {
	s := newSeen()
	sink := &lines{}
	w, err := openRaftWAL(dir, hclog.New(&hclog.LoggerOptions{Output: sink, Level: hclog.Warn}))
	if err != nil {
		return nil, err
	}
	defer w.Close()
	first, err := w.FirstIndex()
	if err != nil {
		return nil, err
	}
	last, err := w.LastIndex()
	if err != nil {
		return nil, err
	}
	if last > 10*entries {
		return nil, errors.Join(fmt.Errorf("last index %d", last), w.Close())
	}
	for i := first; i <= last && i > 0; i++ {
		var l raft.Log
		if err := w.GetLog(i, &l); err != nil {
			s.unreadable[int(i)-1] = err.Error()
			continue
		}
		s.values[int(i)-1] = l.Data
		if l.Index != i || l.Term != 1 {
			s.values[int(i)-1] = fmt.Appendf(nil, "index %d, term %d", l.Index, l.Term)
		}
	}
	s.reports = sink.all()
	return s, nil
}
