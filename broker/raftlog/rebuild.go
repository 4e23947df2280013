package raftlog

import (
	"errors"
	"fmt"
	"path/filepath"

	"go.etcd.io/raft/v3/raftpb"

	"chronik.dev/chronik/broker/statefile"
	"chronik.dev/chronik/broker/wal"
)

// RewriteHardState makes both HardState copies say hard, whatever they held, under a sequence that should be above every one seen; synced is the
// LSN up to which the log is known to be durable. It is for package repair, which knows why that is safe: a term that falls or a vote that
// is forgotten lets a member of a group of several vote twice.
func RewriteHardState(o Options, hard *raftpb.HardState, synced wal.LSN, sequence uint64) error {
	_, err := statefile.Replace(o.FS, filepath.Join(o.Dir, hardBase), hardKind, hardVersion, o.DirID, sequence, encodeHard(hard, uint64(synced)))
	if err != nil {
		return fmt.Errorf("rewrite HardState in %s: %w", o.Dir, err)
	}
	return nil
}

// Rebuild removes all Raft state in o.Dir and begins it anew: snap, an empty log behind it, and hard as HardState under a sequence. It is for
// package repair, and for a group of one.
func Rebuild(o Options, snap *raftpb.Snapshot, hard *raftpb.HardState, sequence uint64) error {
	s, err := create(o, snap)
	if err != nil {
		return fmt.Errorf("rebuild raft log %s: %w", o.Dir, err)
	}
	s.failed = errors.New("rebuilt") // Close stores no HardState
	if err := s.Close(); err != nil {
		return fmt.Errorf("rebuild raft log %s: %w", o.Dir, err)
	}
	return RewriteHardState(o, hard, 0, sequence)
}
