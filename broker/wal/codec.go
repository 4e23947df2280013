package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"chronik.dev/chronik/broker/planted"
)

const (
	formatVersion = 1
	headSize      = 128
	trailerSize   = headSize + 4 // copy of the head and the group's sum, at the very end of its payload
	entrySize     = 52
	frameHead     = 64
	rangeSize     = 40

	maxLSN    = LSN(1) << 62
	maxRanges = 1024 // in a data group's head; what is past it goes into the group's last range as "other"
)

var magic = [4]byte{'C', 'W', 'A', 'L'}

var le = binary.LittleEndian

// errVersion says that a head is of another format version.
type errVersion struct{ version uint16 }

func (e *errVersion) Error() string { return fmt.Sprintf("unknown format version %d", e.version) }

var errHead = errors.New("not a group's head")

// encodeHead writes h to b[:headSize].
func encodeHead(b []byte, h *Head) {
	clear(b[:headSize])
	copy(b, magic[:])
	le.PutUint16(b[4:], formatVersion)
	le.PutUint16(b[6:], ^uint16(formatVersion))
	b[8], b[9] = byte(h.Kind), byte(h.Log)
	le.PutUint16(b[10:], h.Flags)
	le.PutUint32(b[12:], h.Blocks)
	le.PutUint64(b[16:], h.Generation)
	le.PutUint64(b[24:], h.Segment)
	le.PutUint32(b[32:], h.Start)
	le.PutUint32(b[36:], h.Frames)
	le.PutUint64(b[40:], uint64(h.FirstLSN))
	le.PutUint64(b[48:], uint64(h.Synced))
	le.PutUint32(b[56:], h.Chain)
	le.PutUint32(b[60:], h.Table)
	le.PutUint64(b[64:], h.Body)
	le.PutUint64(b[72:], uint64(h.Time))
	for i, n := range h.Note {
		le.PutUint64(b[80+8*i:], n)
	}
	le.PutUint32(b[112:], h.Ranges)
	le.PutUint32(b[124:], crc(h.Generation, b[:124]))
}

// decodeHead reads a head. The version is judged first: errVersion if the field and its complement agree on another one, errHead if this is no
// head. It promises the CRC and nothing about what the fields say.
func decodeHead(b []byte) (Head, error) {
	if len(b) < headSize || [4]byte(b) != magic {
		return Head{}, errHead
	}
	if v, not := le.Uint16(b[4:]), le.Uint16(b[6:]); v != ^not {
		return Head{}, errHead
	} else if v != formatVersion {
		return Head{}, &errVersion{v}
	}
	h := Head{
		Kind: GroupKind(b[8]), Log: Kind(b[9]), Flags: le.Uint16(b[10:]), Blocks: le.Uint32(b[12:]),
		Generation: le.Uint64(b[16:]), Segment: le.Uint64(b[24:]), Start: le.Uint32(b[32:]), Frames: le.Uint32(b[36:]),
		FirstLSN: LSN(le.Uint64(b[40:])), Synced: LSN(le.Uint64(b[48:])), Chain: le.Uint32(b[56:]), Table: le.Uint32(b[60:]),
		Body: le.Uint64(b[64:]), Time: int64(le.Uint64(b[72:])), Ranges: le.Uint32(b[112:]),
	}
	for i := range h.Note {
		h.Note[i] = le.Uint64(b[80+8*i:])
	}
	if crc(h.Generation, b[:124]) != le.Uint32(b[124:]) {
		return Head{}, errHead
	}
	return h, nil
}

// sane says whether a head's fields can be what a writer wrote; blocks is how many blocks the file has from h.Start on, at least.
func (h *Head) sane() bool {
	if h.Kind < HeaderGroup || h.Kind > FillGroup || h.Blocks == 0 || h.FirstLSN == 0 || h.FirstLSN > maxLSN {
		return false
	}
	capacity := uint64(h.Blocks) * blockPayload
	if h.Body < headSize || h.Body > capacity-trailerSize && h.Kind != MarkerGroup {
		return false
	}
	tables := headSize + uint64(h.Frames)*entrySize + uint64(h.Ranges)*rangeSize
	return tables+uint64(h.Frames)*frameHead <= h.Body
}

// framesAt is the position in payload space of the first frame.
func (h *Head) framesAt() int {
	return align8(headSize + int(h.Frames)*entrySize + int(h.Ranges)*rangeSize)
}

func encodeEntry(b []byte, f *Frame, sum uint32) {
	b[0], b[1] = byte(f.Type), f.Flags
	le.PutUint16(b[2:], 0)
	le.PutUint32(b[4:], uint32(len(f.Payload)))
	copy(b[8:24], f.ID[:])
	le.PutUint32(b[24:], uint32(f.Partition))
	le.PutUint32(b[28:], uint32(f.Epoch))
	le.PutUint64(b[32:], uint64(f.First))
	le.PutUint64(b[40:], uint64(f.Last))
	le.PutUint32(b[48:], sum)
}

func decodeEntry(b []byte, lsn LSN) Identity {
	return Identity{
		LSN: lsn, Type: Type(b[0]), Flags: b[1], Length: int32(le.Uint32(b[4:])), ID: [16]byte(b[8:24]),
		Partition: int32(le.Uint32(b[24:])), Epoch: int32(le.Uint32(b[28:])),
		First: int64(le.Uint64(b[32:])), Last: int64(le.Uint64(b[40:])), CRC: le.Uint32(b[48:]), Count: 1,
	}
}

// encodeFrameHead writes the header in front of a frame's payload: LSN, the table's entry, CRC.
func encodeFrameHead(b []byte, generation uint64, lsn LSN, entry []byte) {
	le.PutUint64(b, uint64(lsn))
	copy(b[8:], entry[:entrySize])
	le.PutUint32(b[60:], crc(generation, b[:60]))
}

// decodeFrameHead reads a frame's header; ok is false if its CRC differs or its fields are impossible.
func decodeFrameHead(b []byte, generation uint64) (id Identity, ok bool) {
	if len(b) < frameHead || le.Uint32(b[60:]) != crc(generation, b[:60]) && !planted.Is(planted.TrustLength) {
		return id, false
	}
	id = decodeEntry(b[8:], LSN(le.Uint64(b)))
	return id, id.LSN != 0 && id.LSN <= maxLSN && id.Length >= 0 && id.Length <= MaxPayload && le.Uint16(b[10:]) == 0
}

// frame makes the frame that an identity and its payload are.
func (id *Identity) frame(payload []byte) Frame {
	return Frame{LSN: id.LSN, Type: id.Type, Flags: id.Flags, ID: id.ID, Partition: id.Partition, Epoch: id.Epoch,
		First: id.First, Last: id.Last, Payload: payload}
}

func encodeRange(b []byte, r *Range) {
	copy(b[:16], r.ID[:])
	le.PutUint32(b[16:], uint32(r.Partition))
	le.PutUint32(b[20:], uint32(r.Frames))
	le.PutUint64(b[24:], uint64(r.First))
	le.PutUint64(b[32:], uint64(r.Last))
}

func decodeRange(b []byte) Range {
	return Range{ID: [16]byte(b[:16]), Partition: int32(le.Uint32(b[16:])), Frames: int32(le.Uint32(b[20:])),
		First: int64(le.Uint64(b[24:])), Last: int64(le.Uint64(b[32:]))}
}

// sumOf is the check of a whole group: CRC-32C over the checks of all its sectors but the last, and over the last one's payload without the
// sum itself. Each check covers its sector, so the sum covers the group.
func sumOf(generation uint64, sectors []byte) uint32 {
	sum := seed(generation)
	last := len(sectors) - SectorSize
	for s := 0; s < last; s += SectorSize {
		sum = crc32.Update(sum, castagnoli, sectors[s+sectorPayload:s+SectorSize])
	}
	return crc32.Update(sum, castagnoli, sectors[last:last+sectorPayload-4])
}

// decodeTrailer reads the copy of the head and the group's sum from a group's last sector.
func decodeTrailer(sector []byte) (h Head, sum uint32, err error) {
	h, err = decodeHead(sector[sectorPayload-trailerSize:])
	return h, le.Uint32(sector[sectorPayload-4:]), err
}

// errFrameType says that a frame is of a type of another release.
type errFrameType struct {
	typ Type
	lsn LSN
}

func (e *errFrameType) Error() string {
	return fmt.Sprintf("unknown frame type %d at LSN %d", e.typ, e.lsn)
}
