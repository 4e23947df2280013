// Package consensus runs the metadata group of a node on go.etcd.io/raft: one goroutine, one Ready loop.
//
// The guarantee: for every Ready, what it asks to keep is durable (package raftlog) before a message leaves, before an entry is applied and
// before raft is told to advance. A proposal is answered with the result of applying it. A failed write stops the node: nothing is
// retried on a disk that lied once. The loop is driven by events; an idle group of one does nothing.
//
// API: Start restores the state machine and, in a group of one, returns as leader with everything durable applied; Propose, Step (messages
// of peers), Status, StateHash; Stop and Failed.
package consensus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"chronik.dev/chronik/broker/metadata"
	"chronik.dev/chronik/broker/raftlog"
	"chronik.dev/chronik/broker/vfs"
)

// StateMachine is what the group agrees on; *metadata.State is one. All calls come from the node's goroutine, Restore also from Start.
type StateMachine interface {
	// Apply applies the entry at an index; data is empty for Raft's own entries. An Err that is metadata.ErrUnsupported stops the node.
	Apply(index uint64, data []byte) metadata.Result
	Snapshot() ([]byte, error)
	Restore(data []byte) error
	Hash() uint64
}

// Transport sends Raft messages to other members, in order per member, without blocking. Loss is allowed.
type Transport interface {
	Send(messages []*raftpb.Message)
}

// Options says what to run. FS, Dir, DirID, MemberID and StateMachine are required.
type Options struct {
	FS           vfs.FS
	Dir          string   // raft/ of the data directory
	DirID        [16]byte // the data directory's id
	MemberID     uint64   // this directory's Raft member id, not 0
	Found        bool     // found a new group in Dir; remains of a founding that did not finish are removed
	Voters       []uint64 // founding members; empty: a group of one
	StateMachine StateMachine
	Transport    Transport // nil in a group of one
	Logger       *slog.Logger

	SnapshotEntries uint64          // entries between snapshots; 0: 10,000
	SnapshotBytes   uint64          // bytes of entries between snapshots; 0: 4 MiB
	Tick            time.Duration   // 0: 100 ms; an election takes 5 to 10 ticks without a leader
	Log             raftlog.Options // further settings of the log; FS, Dir, DirID and Logger are taken from above
}

// ErrStopped says that the node was stopped. Whether a pending proposal takes effect is open.
var ErrStopped = errors.New("the metadata group is stopped on this node")

// NotLeaderError says that a proposal was not made here. If Pending, it had been made before leadership was lost and may still take effect:
// propose the same bytes to the leader, the state machine answers a repetition with the first result.
type NotLeaderError struct {
	Leader  uint64 // member id, 0 if unknown
	Pending bool
}

// Error names the leader.
func (e *NotLeaderError) Error() string {
	if e.Leader == 0 {
		return "not the leader of the metadata group, and no leader is known; retry"
	}
	return fmt.Sprintf("not the leader of the metadata group; propose to member %x", e.Leader)
}

// Status is the group as this node sees it, after its last Ready.
type Status struct {
	MemberID, Term, Vote, Commit, Applied uint64
	Leader                                uint64 // member id, 0 if unknown
	FirstIndex, LastIndex                 uint64 // of the log
	SnapshotIndex                         uint64
	ConfState                             *raftpb.ConfState
	Snapshots                             uint64 // taken since Start
}

// Propose gives a command to the group and returns the result of applying it here. It waits while there is no leader, until ctx ends; then
// whether the command takes effect is open, and the same bytes may be proposed again. Errors: *NotLeaderError, ErrStopped, the reason of
// Failed, or that of ctx.
func (n *Node) Propose(ctx context.Context, data []byte) (metadata.Result, error) {
	return n.propose(ctx, data)
}
