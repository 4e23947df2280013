package partition

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"chronik.dev/chronik/broker/wal"
)

// Limits of a checkpoint. A body that claims more is malformed.
const (
	maxTopicName    = 249
	maxDirName      = 1024
	maxHeldFile     = 4096
	checkpointV2    = 2
	stateHeadBytes  = 16 + 4 + 8 + 8 + 8 + 8 + 8 + 8 + 4 + 4 + 4
	segmentBytes    = 8 + 8 + 4 + 4
	epochBytes      = 4 + 8
	producerBytes   = 8 + 4
	entryBytes      = 2 + 4 + 4 + 8 + 8 + 8
	checkpointBytes = 2 + 8 + 8 + 4
)

// CheckpointKind and CheckpointVersion are what the checkpoint's state file is opened with.
var (
	CheckpointKind    = [4]byte{'C', 'K', 'P', 'T'}
	CheckpointVersion = uint16(checkpointV2)
)

// ErrCheckpoint says that a checkpoint's body is malformed although its CRC was right.
var ErrCheckpoint = errors.New("checkpoint is malformed")

// SegmentState is one segment file set as a checkpoint knows it.
type SegmentState struct {
	Base  int64  // base offset
	Size  int64  // bytes of the .log file that the checkpoint made durable
	Shape Rolled // what its files follow, chosen when it was begun
}

// EpochEntry says at which offset a leader epoch begins.
type EpochEntry struct {
	Epoch int32
	Start int64
}

// BatchEntry is one remembered batch of an idempotent producer.
type BatchEntry struct {
	Epoch                   int16
	FirstSequence           int32
	LastSequence            int32
	FirstOffset, LastOffset int64
	Time                    int64 // wall clock of the append, ms
}

// ProducerState is what is remembered of one producer, oldest batch first.
type ProducerState struct {
	ID      int64
	Batches []BatchEntry
}

// State is a partition at one LSN: everything recovery needs besides the files and the journal behind that LSN.
type State struct {
	Identity
	Dir           string  // directory name under topics/
	LSN           wal.LSN // the last frame that the files include; replay skips frames at or below it
	Held          wal.LSN // not 0: the partition is stopped; its frames in (LSN, Held] are in the file HeldFile
	HeldFile      string  // path under the data directory
	HeldReason    string
	LogStart      int64
	End           int64 // log end offset
	HighWatermark int64
	Epoch         int32          // leader epoch
	Segments      []SegmentState // ascending; the last is the active one
	Epochs        []EpochEntry
	Producers     []ProducerState
}

// EmptyState is a partition that holds nothing yet: its first segment is as cfg shapes it, until a Rolled frame says.
func EmptyState(id Identity, cfg Config) State {
	return State{Identity: id, Dir: DirName(id.Topic, id.Partition), Epoch: -1, Segments: []SegmentState{{Shape: cfg.choices()}}}
}

// active is the segment that the log writes.
func (s *State) active() *SegmentState { return &s.Segments[len(s.Segments)-1] }

// beginEpoch takes a leader epoch of which a record or a frame speaks.
func (s *State) beginEpoch(epoch int32, start int64) {
	s.Epoch = max(s.Epoch, epoch)
	if n := len(s.Epochs); n == 0 || s.Epochs[n-1].Epoch < epoch {
		s.Epochs = addEpoch(s.Epochs, epoch, start)
	}
}

// Checkpoint is the body of wal/checkpoint.
type Checkpoint struct {
	LSN        wal.LSN // the journal below it is no longer needed by any partition
	Time       int64   // wall clock, ms
	Partitions []State
}

// Synced is the LSN that the checkpoint proves durable.
func (c *Checkpoint) Synced() wal.LSN {
	lsn := c.LSN
	for i := range c.Partitions {
		lsn = max(lsn, c.Partitions[i].LSN)
	}
	return lsn
}

// Marshal encodes the checkpoint (docs/format/checkpoint.md).
func (c *Checkpoint) Marshal() []byte {
	b := make([]byte, 0, checkpointBytes+256*len(c.Partitions))
	b = binary.BigEndian.AppendUint16(b, checkpointV2)
	b = binary.BigEndian.AppendUint64(b, uint64(c.LSN))
	b = binary.BigEndian.AppendUint64(b, uint64(c.Time))
	b = binary.BigEndian.AppendUint32(b, uint32(len(c.Partitions)))
	for i := range c.Partitions {
		b = c.Partitions[i].append(b)
	}
	return b
}

func (s *State) append(b []byte) []byte {
	be := binary.BigEndian
	b = append(b, s.ID[:]...)
	b = be.AppendUint32(b, uint32(s.Partition))
	for _, v := range [...]uint64{s.RaftIndex, uint64(s.LSN), uint64(s.Held), uint64(s.LogStart), uint64(s.End), uint64(s.HighWatermark)} {
		b = be.AppendUint64(b, v)
	}
	b = be.AppendUint32(b, uint32(s.Epoch))
	reason := s.HeldReason[:min(len(s.HeldReason), math.MaxUint16)] // the text of an error: it must not make the checkpoint unreadable
	for _, v := range [...]string{s.Topic, s.Dir, s.HeldFile, reason} {
		b = be.AppendUint16(b, uint16(len(v)))
		b = append(b, v...)
	}
	b = be.AppendUint32(b, uint32(len(s.Segments)))
	for _, g := range s.Segments {
		b = be.AppendUint64(b, uint64(g.Base))
		b = be.AppendUint64(b, uint64(g.Size))
		b = be.AppendUint32(b, uint32(g.Shape.IndexInterval))
		b = be.AppendUint32(b, uint32(g.Shape.IndexBytes))
	}
	b = be.AppendUint32(b, uint32(len(s.Epochs)))
	for _, e := range s.Epochs {
		b = be.AppendUint32(b, uint32(e.Epoch))
		b = be.AppendUint64(b, uint64(e.Start))
	}
	b = be.AppendUint32(b, uint32(len(s.Producers)))
	for _, p := range s.Producers {
		b = be.AppendUint64(b, uint64(p.ID))
		b = be.AppendUint32(b, uint32(len(p.Batches)))
		for _, e := range p.Batches {
			b = be.AppendUint16(b, uint16(e.Epoch))
			b = be.AppendUint32(b, uint32(e.FirstSequence))
			b = be.AppendUint32(b, uint32(e.LastSequence))
			b = be.AppendUint64(b, uint64(e.FirstOffset))
			b = be.AppendUint64(b, uint64(e.LastOffset))
			b = be.AppendUint64(b, uint64(e.Time))
		}
	}
	return b
}

// UnmarshalCheckpoint decodes a checkpoint's body; errors wrap ErrCheckpoint. Memory is bounded by a small multiple of len(b).
func UnmarshalCheckpoint(b []byte) (*Checkpoint, error) {
	d := &decoder{b: b}
	if v := d.u16(); d.err == nil && v != checkpointV2 {
		return nil, fmt.Errorf("checkpoint: unknown format version %d: %w", v, ErrCheckpoint)
	}
	c := &Checkpoint{LSN: wal.LSN(d.u64()), Time: d.i64()}
	n := d.count(stateHeadBytes)
	if d.err == nil {
		c.Partitions = make([]State, 0, min(n, len(b)/stateHeadBytes))
	}
	for i := 0; i < n && d.err == nil; i++ {
		c.Partitions = append(c.Partitions, d.state())
	}
	if d.err == nil && len(d.b) != d.pos {
		d.fail("%d bytes too many", len(d.b)-d.pos)
	}
	if d.err != nil {
		return nil, d.err
	}
	return c, nil
}

type decoder struct {
	b   []byte
	pos int
	err error
}

func (d *decoder) fail(format string, a ...any) {
	if d.err == nil {
		d.err = fmt.Errorf("checkpoint: byte %d: %s: %w", d.pos, fmt.Sprintf(format, a...), ErrCheckpoint)
	}
}

func (d *decoder) take(n int) []byte {
	if d.err != nil {
		return nil
	}
	if len(d.b)-d.pos < n {
		d.fail("%d bytes missing", n-(len(d.b)-d.pos))
		return nil
	}
	d.pos += n
	return d.b[d.pos-n : d.pos]
}

func (d *decoder) u16() uint16 {
	if b := d.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (d *decoder) u32() uint32 {
	if b := d.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (d *decoder) u64() uint64 {
	if b := d.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (d *decoder) i64() int64 { return int64(d.u64()) }

func (d *decoder) offset(what string) int64 {
	v := d.i64()
	if v < 0 {
		d.fail("%s is %d", what, v)
	}
	return v
}

// count reads a number of elements of at least size bytes each and refuses more than the bytes left can hold.
func (d *decoder) count(size int) int {
	n := d.u32()
	if d.err == nil && int64(n)*int64(size) > int64(len(d.b)-d.pos) {
		d.fail("%d elements of %d bytes in %d bytes", n, size, len(d.b)-d.pos)
	}
	if d.err != nil {
		return 0
	}
	return int(n)
}

func (d *decoder) str(limit int) string {
	n := int(d.u16())
	if n > limit {
		d.fail("a name of %d bytes", n)
	}
	return string(d.take(n))
}

func (d *decoder) state() State {
	var s State
	copy(s.ID[:], d.take(16))
	s.Partition = int32(d.u32())
	s.RaftIndex, s.LSN, s.Held = d.u64(), wal.LSN(d.u64()), wal.LSN(d.u64())
	s.LogStart, s.End, s.HighWatermark = d.offset("log start"), d.offset("log end"), d.offset("high watermark")
	s.Epoch = int32(d.u32())
	s.Topic, s.Dir, s.HeldFile, s.HeldReason = d.str(maxTopicName), d.str(maxDirName), d.str(maxHeldFile), d.str(math.MaxUint16)
	if n := d.count(segmentBytes); n > 0 {
		s.Segments = make([]SegmentState, n)
	}
	for i := range s.Segments {
		s.Segments[i] = SegmentState{Base: d.offset("base offset"), Size: d.offset("size"), Shape: Rolled{IndexInterval: int32(d.u32()), IndexBytes: int32(d.u32())}}
		if i > 0 && s.Segments[i].Base <= s.Segments[i-1].Base {
			d.fail("segments out of order")
		}
	}
	if n := d.count(epochBytes); n > 0 {
		s.Epochs = make([]EpochEntry, n)
	}
	for i := range s.Epochs {
		s.Epochs[i] = EpochEntry{Epoch: int32(d.u32()), Start: d.offset("epoch start")}
	}
	if n := d.count(producerBytes); n > 0 {
		s.Producers = make([]ProducerState, n)
	}
	for i := range s.Producers {
		s.Producers[i] = d.producer()
	}
	if d.err == nil && (s.LogStart > s.End || s.HighWatermark > s.End || s.Partition < 0) {
		d.fail("partition %d: log start %d, high watermark %d, log end %d", s.Partition, s.LogStart, s.HighWatermark, s.End)
	}
	return s
}

func (d *decoder) producer() ProducerState {
	p := ProducerState{ID: d.i64()}
	if n := d.count(entryBytes); n > 0 {
		p.Batches = make([]BatchEntry, n)
	}
	for i := range p.Batches {
		p.Batches[i] = BatchEntry{
			Epoch: int16(d.u16()), FirstSequence: int32(d.u32()), LastSequence: int32(d.u32()),
			FirstOffset: d.i64(), LastOffset: d.i64(), Time: d.i64(),
		}
	}
	return p
}
