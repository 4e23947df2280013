package wal

import "fmt"

// Type says what a frame means. Types without FlagSkippable that a reader does not know are an unknown format version to it.
type Type uint8

// The vocabulary. ID is the topic id and Partition the partition in all but RaftEntry.
const (
	Batch      Type = 1  // Payload is one record batch, First and Last its offsets, Epoch the leader epoch
	Opened     Type = 2  // the partition exists: Payload is the topic's name, First the Raft index of its creation
	Truncated  Type = 3  // First is the new log end offset, Epoch the leader epoch
	LogStart   Type = 4  // First is the new log start offset
	EpochBegun Type = 5  // leader epoch Epoch starts at offset First
	Rolled     Type = 6  // a partition segment with base offset First begins; Payload is broker/partition's
	Replaced   Type = 7  // bytes below a checkpointed size change; Payload is broker/partition's
	TailBlock  Type = 8  // the last block of a partition log, before it is rewritten; Payload is broker/partition's
	Dropped    Type = 9  // the partition is deleted; First is the Raft index
	RaftEntry  Type = 32 // First is the index, Last the term, Payload the entry's data
)

// FlagSkippable marks a frame that a reader which does not know its type may pass over.
const FlagSkippable = 0x80

func (t Type) String() string {
	switch t {
	case Batch:
		return "batch"
	case Opened:
		return "opened"
	case Truncated:
		return "truncated"
	case LogStart:
		return "log-start"
	case EpochBegun:
		return "epoch-begun"
	case Rolled:
		return "rolled"
	case Replaced:
		return "replaced"
	case TailBlock:
		return "tail-block"
	case Dropped:
		return "dropped"
	case RaftEntry:
		return "raft-entry"
	}
	return fmt.Sprintf("type%d", uint8(t))
}

// Known says whether this reader knows the type.
func (t Type) Known() bool { return t >= Batch && t <= Dropped || t == RaftEntry }

// Frame is one entry of the log. What the fields mean depends on Type.
type Frame struct {
	LSN         LSN // set by Append
	Type        Type
	Flags       uint8
	ID          [16]byte
	Partition   int32
	Epoch       int32
	First, Last int64
	Payload     []byte
}

// Identity says what a frame is, or was, when its payload is damaged.
type Identity struct {
	LSN         LSN `json:"lsn"` // 0 where only a summary of several frames is left
	Type        Type
	Flags       uint8
	ID          [16]byte
	Partition   int32
	Epoch       int32
	First, Last int64
	Length      int32  // of the payload, bytes; -1 unknown
	CRC         uint32 // CRC-32C of the payload
	Count       int32  // frames that this identity stands for: 1, or more in a summary of one partition
}

// Range is what a stretch of the log holds of one partition: the lowest and highest offset of its batches (of a Raft log: indexes), and -1
// for both if there are only other frames.
type Range struct {
	ID          [16]byte
	Partition   int32
	Frames      int32
	First, Last int64
}
