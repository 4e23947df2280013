// Package raftlog keeps the durable state of the metadata group: Raft's log entries in journal framing (package wal), HardState in two
// current copies (package statefile) and snapshots of the applied state. It implements raft.Storage.
//
// The guarantee: when Save has returned, everything that the Ready asked to keep is durable, in an order in which every crash leaves a state
// that is either the old or the new one: snapshot file; entries; a marker that proves them; both HardState copies. So `raft/` knows no
// "undecided" damage: what no marker proves never left the node and is cut, what one proves and is damaged is an explained *DamageError, and
// raft never starts on a log that misses what was committed. The term, vote and commit ride in every group of entries too, so a rollback
// of both HardState copies shows.
//
// API: Create founds the directory, Open reads it and repairs what is safely repaired, Inspect and View only look; Storage has
// raft.Storage's methods for raft, and Save, CreateSnapshot and Close for the Ready loop.
//
// The format is docs/format/raftlog.md.
package raftlog

import (
	"errors"
	"log/slog"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"chronik.dev/chronik/broker/vfs"
	"chronik.dev/chronik/broker/wal"
)

// Options says where a group's state is and how it is written.
type Options struct {
	FS          vfs.FS
	Dir         string   // raft/ of the data directory
	DirID       [16]byte // the data directory's id, in every file
	Logger      *slog.Logger
	SegmentSize int64 // bytes of a log segment; 0: 1 MiB
	Buffered    bool  // no direct I/O
	Deep        bool  // of Examine: reads files that hold nothing live, too
	Now         func() time.Time
	Rand        func() uint64
	Evidence    func(wal.Finding) error // saves the bytes of a cut before it is made; may be nil

	firstSegment int64 // bytes of the segment that each start begins; 0: 64 KiB
}

func (o Options) logger() *slog.Logger {
	if o.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return o.Logger
}

// Founding is the first state of a new group.
type Founding struct {
	ConfState *raftpb.ConfState // the voters; a group of one names itself
	Data      []byte            // snapshot of the state machine that every founding member starts from
}

// ErrMissing says that the directory holds no Raft state at all.
var ErrMissing = errors.New("no Raft state")

// DamageError says that Raft state is damaged. A node in that condition never votes or campaigns; nothing was changed on disk.
type DamageError struct {
	File   string // path of the damaged file
	Offset int64  // first damaged byte, -1 if the file as a whole is meant
	Reason string // what is wrong
	Lost   string // what is lost by it
	Next   string // command to run
}

// Error names file, offset, reason, loss and the next command.
func (e *DamageError) Error() string { return e.message() }
