package partition

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// The payloads of the frames Rolled, Truncated, Replaced and TailBlock (docs/format/journal-frames.md). Integers are big-endian.
const (
	payloadVersion  = 1
	blockSize       = 4096
	rolledSize      = 1 + 4 + 4
	cutAtSize       = 1 + 8 + 8
	replacedSize    = 1 + 8 + 8 + 4 + 8 + 4
	tailBlockHeader = 1 + 8 + 8
)

// ErrPayload says that a frame's payload is not what its type demands; the frame's own CRC was right.
var ErrPayload = errors.New("frame payload is malformed")

// Rolled is the payload of a Rolled frame: every choice that shapes the files of the segment that begins at the frame's First.
type Rolled struct {
	IndexInterval int32 // index.interval.bytes
	IndexBytes    int32 // segment.index.bytes
}

// Marshal encodes the payload.
func (r Rolled) Marshal() []byte {
	b := make([]byte, 0, rolledSize)
	b = append(b, payloadVersion)
	b = binary.BigEndian.AppendUint32(b, uint32(r.IndexInterval))
	return binary.BigEndian.AppendUint32(b, uint32(r.IndexBytes))
}

// ParseRolled decodes a Rolled payload.
func ParseRolled(b []byte) (Rolled, error) {
	if err := checkPayload("rolled", b, rolledSize, true); err != nil {
		return Rolled{}, err
	}
	r := Rolled{IndexInterval: int32(binary.BigEndian.Uint32(b[1:])), IndexBytes: int32(binary.BigEndian.Uint32(b[5:]))}
	if r.IndexInterval < 0 || r.IndexBytes < 0 {
		return Rolled{}, fmt.Errorf("rolled: negative size: %w", ErrPayload)
	}
	return r, nil
}

// CutAt is the payload of a Truncated frame: where the files stop. No scan finds that again: of a cleaned segment the batch before the new end may be
// gone, and what is behind the cut may be there, cut, or the beginning of what came next.
type CutAt struct {
	Base int64 // base offset of the segment that becomes the last one
	Size int64 // of its .log after the cut, in bytes
}

// Marshal encodes the payload.
func (c CutAt) Marshal() []byte {
	b := make([]byte, 0, cutAtSize)
	b = append(b, payloadVersion)
	b = binary.BigEndian.AppendUint64(b, uint64(c.Base))
	return binary.BigEndian.AppendUint64(b, uint64(c.Size))
}

// ParseCutAt decodes a Truncated payload.
func ParseCutAt(b []byte) (CutAt, error) {
	if err := checkPayload("truncated", b, cutAtSize, true); err != nil {
		return CutAt{}, err
	}
	c := CutAt{Base: int64(binary.BigEndian.Uint64(b[1:])), Size: int64(binary.BigEndian.Uint64(b[9:]))}
	if c.Base < 0 || c.Size < 0 {
		return CutAt{}, fmt.Errorf("truncated: negative offset or size: %w", ErrPayload)
	}
	return c, nil
}

// Replaced is the payload of a Replaced frame: until the next checkpoint the .log file of the segment may be either the old or the new.
type Replaced struct {
	Base    int64 // base offset of the segment
	OldSize int64
	OldCRC  uint32 // CRC-32C of the whole old file
	NewSize int64
	NewCRC  uint32
}

// Marshal encodes the payload.
func (r Replaced) Marshal() []byte {
	b := make([]byte, 0, replacedSize)
	b = append(b, payloadVersion)
	b = binary.BigEndian.AppendUint64(b, uint64(r.Base))
	b = binary.BigEndian.AppendUint64(b, uint64(r.OldSize))
	b = binary.BigEndian.AppendUint32(b, r.OldCRC)
	b = binary.BigEndian.AppendUint64(b, uint64(r.NewSize))
	return binary.BigEndian.AppendUint32(b, r.NewCRC)
}

// ParseReplaced decodes a Replaced payload.
func ParseReplaced(b []byte) (Replaced, error) {
	if err := checkPayload("replaced", b, replacedSize, true); err != nil {
		return Replaced{}, err
	}
	be := binary.BigEndian
	r := Replaced{
		Base: int64(be.Uint64(b[1:])), OldSize: int64(be.Uint64(b[9:])), OldCRC: be.Uint32(b[17:]),
		NewSize: int64(be.Uint64(b[21:])), NewCRC: be.Uint32(b[29:]),
	}
	if r.Base < 0 || r.OldSize < 0 || r.NewSize < 0 {
		return Replaced{}, fmt.Errorf("replaced: negative offset or size: %w", ErrPayload)
	}
	return r, nil
}

// TailBlock is the payload of a TailBlock frame: the bytes of a file's partial last 4 KiB block as a checkpoint found them.
type TailBlock struct {
	Base  int64  // base offset of the segment
	Pos   int64  // file position of Bytes, a multiple of 4096
	Bytes []byte // 1 to 4095 bytes; they end at the checkpointed size
}

// Marshal encodes the payload.
func (t TailBlock) Marshal() []byte {
	b := make([]byte, 0, tailBlockHeader+len(t.Bytes))
	b = append(b, payloadVersion)
	b = binary.BigEndian.AppendUint64(b, uint64(t.Base))
	b = binary.BigEndian.AppendUint64(b, uint64(t.Pos))
	return append(b, t.Bytes...)
}

// ParseTailBlock decodes a TailBlock payload; Bytes aliases b.
func ParseTailBlock(b []byte) (TailBlock, error) {
	if err := checkPayload("tail block", b, tailBlockHeader+1, false); err != nil {
		return TailBlock{}, err
	}
	t := TailBlock{Base: int64(binary.BigEndian.Uint64(b[1:])), Pos: int64(binary.BigEndian.Uint64(b[9:])), Bytes: b[tailBlockHeader:]}
	if t.Base < 0 || t.Pos < 0 || t.Pos%blockSize != 0 || len(t.Bytes) >= blockSize {
		return TailBlock{}, fmt.Errorf("tail block: base %d, position %d, %d bytes: %w", t.Base, t.Pos, len(t.Bytes), ErrPayload)
	}
	return t, nil
}

func checkPayload(what string, b []byte, size int, exact bool) error {
	switch {
	case len(b) == 0:
		return fmt.Errorf("%s: empty: %w", what, ErrPayload)
	case b[0] != payloadVersion:
		return fmt.Errorf("%s: unknown format version %d: %w", what, b[0], ErrPayload)
	case len(b) < size, exact && len(b) != size:
		return fmt.Errorf("%s: %d bytes: %w", what, len(b), ErrPayload)
	}
	return nil
}
