package raftlog

import (
	"errors"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
)

type disk struct{}

// Create founds the state of a group in an empty or missing directory.
func Create(o Options, f Founding) (*Storage, error) { return nil, errors.New("not yet") }

// Open reads the state and repairs what is safely repaired. ErrMissing or *DamageError: nothing was changed.
func Open(o Options) (*Storage, *Report, error) { return nil, nil, errors.New("not yet") }

// Inspect reads the state and changes nothing.
func Inspect(o Options) (*Report, error) { return nil, errors.New("not yet") }

// Save makes durable what a Ready asks for.
func (s *Storage) Save(rd raft.Ready) error { return errors.New("not yet") }

// CreateSnapshot makes a snapshot durable and compacts the log up to the snapshot before it.
func (s *Storage) CreateSnapshot(index uint64, cs *raftpb.ConfState, data []byte) error {
	return errors.New("not yet")
}

// Close ends the log cleanly.
func (s *Storage) Close() error { return nil }
