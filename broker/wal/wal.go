// Package wal is the journal: an append-only log of frames in segment files, with one sync for everything that waits.
//
// The idea: everything in a segment is a group of 4 KiB blocks (header, data, marker or footer) of one structure, and every 512-byte sector
// carries a check of its content mixed with a random number drawn for this use of the file and with its place. So a reader can say of each
// sector whether it belongs to this use, to the previous one, or has been damaged, and can tell an interrupted write from lost data.
//
// The guarantee: when Append's done is called without an error, the frames are durable and stay readable until FreeBelow passes them; damage
// to them is reported by Inspect as corrupt, with what was lost. Frames whose done was not called may be there or not after a crash, each
// group wholly or not at all. No LSN is used twice. The device is assumed to honour flush. The format is docs/format/wal.md.
//
// The API: Create makes a journal; Inspect reads one, changes nothing and goes on past damage; Resume opens one for appending on what Inspect
// found. Append, AppendSync and FreeBelow are the writer; Close seals. Raft's log uses the same framing under Kind Raft.
package wal

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"chronik.dev/chronik/broker/vfs"
)

// LSN is the log sequence number of a frame. The first is 1; 0 is none. No LSN is used twice in one directory.
type LSN uint64

// Kind says what a log holds. It is in every group's head.
type Kind uint8

// The kinds of log.
const (
	Journal Kind = 1 // groups are acknowledged when synced
	Raft    Kind = 2 // groups are proven by a synced marker before anything depends on them: damage is torn or corrupt, never undecided
)

func (k Kind) String() string {
	switch k {
	case Journal:
		return "journal"
	case Raft:
		return "raft"
	}
	return fmt.Sprintf("kind%d", uint8(k))
}

// Limits of the format and of its settings, in bytes.
const (
	BlockSize      = 4096     // groups start and end at multiples of it
	SectorSize     = 512      // what a disk writes whole
	MinSegmentSize = 64 << 10 // of Options.SegmentSize
	MaxSegmentSize = 1 << 30
	MaxPayload     = 256 << 20 // of one frame
	MaxSpares      = 4
)

// Errors that callers tell apart.
var (
	ErrClosed   = errors.New("the journal is closed")
	ErrNoSpace  = errors.New("no space for the journal") // the frames were not written; the journal goes on
	ErrManifest = errors.New("the journal's manifest cannot be used")
)

// Options say where a log is and how it is written. Zero values mean the defaults.
type Options struct {
	FS               vfs.FS
	Dir              string
	DirID            [16]byte // of the data directory; segments of another are refused
	Kind             Kind
	SegmentSize      int64         // bytes, a multiple of BlockSize; default 64 MiB
	FirstSegmentSize int64         // bytes of the small growing segment that Create and Resume start with; default 256 KiB
	Spares           int           // segments prewritten ahead, at most MaxSpares; freed ones are kept up to MaxSpares or what a checkpoint frees; default 2, < 0 none at all
	GroupBytes       int           // payload bytes written with one sync; a larger Append is a group of its own; default 4 MiB
	MaxBytes         int64         // of live segments; at the cap Full and WaitRoom hold producers back; default 0, no cap
	Buffered         bool          // no direct I/O
	Still            bool          // no keeper: no file is prepared, recycled or reserved; for repairs, which leave that to the node
	Idle             time.Duration // until a marker follows the last group; default 5 ms, < 0 never
	Now              func() time.Time
	Rand             func() uint64 // draws generations; must not repeat; default crypto/rand
	Logger           *slog.Logger
}

// Note is free for the log's owner: it rides in a group's head. Raft keeps commit, term, vote and HardState sequence there.
type Note [4]uint64

func (o *Options) defaults() error {
	setDefault(&o.SegmentSize, 64<<20)
	setDefault(&o.FirstSegmentSize, min(256<<10, o.SegmentSize))
	setDefault(&o.GroupBytes, 4<<20)
	setDefault(&o.Idle, 5*time.Millisecond)
	setDefault(&o.Spares, 2)
	o.Spares = max(o.Spares, 0)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Rand == nil {
		o.Rand = randomUint64
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	switch {
	case o.FS == nil || o.Dir == "":
		return errors.New("open journal: no directory given")
	case o.Kind != Journal && o.Kind != Raft:
		return fmt.Errorf("open journal: unknown kind %d", o.Kind)
	case o.SegmentSize < MinSegmentSize || o.SegmentSize > MaxSegmentSize || o.SegmentSize%BlockSize != 0:
		return fmt.Errorf("open journal: segment size %d; use a multiple of %d from %d to %d",
			o.SegmentSize, BlockSize, MinSegmentSize, MaxSegmentSize)
	case o.FirstSegmentSize < 4*BlockSize || o.FirstSegmentSize > o.SegmentSize || o.FirstSegmentSize%BlockSize != 0:
		return fmt.Errorf("open journal: first segment size %d; use a multiple of %d up to the segment size", o.FirstSegmentSize, BlockSize)
	case o.Spares > MaxSpares:
		return fmt.Errorf("open journal: %d spare segments; at most %d", o.Spares, MaxSpares)
	}
	return nil
}

func setDefault[T ~int | ~int64](p *T, v T) {
	if *p == 0 {
		*p = v
	}
}

func randomUint64() uint64 {
	var b [8]byte
	if _, err := rand.Read(b[:]); err != nil {
		panic(err) // crypto/rand never fails since Go 1.24
	}
	return binary.LittleEndian.Uint64(b[:])
}
