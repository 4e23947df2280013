package statefile

import (
	"encoding/binary"
	"hash/crc32"
	"slices"
)

// MaxBody is the limit in bytes of one state.
const MaxBody = 256 << 20

// Offsets of the header's fields; docs/format/statefile.md.
const (
	offMagic     = 0
	offVersion   = 4
	offKind      = 8
	offLength    = 12
	offSeq       = 16
	offID        = 24
	offBodyCRC   = 40
	offHeaderCRC = 44
	headerSize   = 48
)

// layout is the version of the header itself.
const layout = 1

var magic = [4]byte{'C', 'H', 'S', 'F'}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// header is what a copy says of itself.
type header struct {
	kind    [4]byte
	version uint16
	seq     uint64
	id      [16]byte
}

// damage says what is wrong with a copy.
type damage struct {
	reason Reason
	offset int64
	sure   bool // an unknown version under a valid header CRC
}

func encode(h header, body []byte) []byte {
	b := make([]byte, headerSize, headerSize+len(body))
	copy(b[offMagic:], magic[:])
	binary.LittleEndian.PutUint16(b[offVersion:], layout)
	binary.LittleEndian.PutUint16(b[offVersion+2:], h.version)
	copy(b[offKind:], h.kind[:])
	binary.LittleEndian.PutUint32(b[offLength:], uint32(len(body)))
	binary.LittleEndian.PutUint64(b[offSeq:], h.seq)
	copy(b[offID:], h.id[:])
	binary.LittleEndian.PutUint32(b[offBodyCRC:], crc32.Checksum(body, castagnoli))
	binary.LittleEndian.PutUint32(b[offHeaderCRC:], crc32.Checksum(b[:offHeaderCRC], castagnoli))
	return append(b, body...)
}

// Guards are the ranges of a copy that a CRC-32C covers, and where it lies, in little-endian order: from, to, CRC.
func Guards(data []byte) [][3]int {
	if len(data) < headerSize {
		return nil
	}
	return [][3]int{{0, offHeaderCRC, offHeaderCRC}, {headerSize, len(data), offBodyCRC}}
}

// decode checks data against the expected kind, version and (unless zero) directory id. The body is part of data.
func decode(data []byte, want header) (header, []byte, *damage) {
	var h header
	if len(data) < headerSize {
		return h, nil, &damage{reason: ReasonShort, offset: int64(len(data))}
	}
	if [4]byte(data[offMagic:]) != magic {
		return h, nil, &damage{reason: ReasonMagic, offset: offMagic}
	}
	valid := binary.LittleEndian.Uint32(data[offHeaderCRC:]) == crc32.Checksum(data[:offHeaderCRC], castagnoli)
	h.version = binary.LittleEndian.Uint16(data[offVersion+2:])
	if l := binary.LittleEndian.Uint16(data[offVersion:]); l != layout {
		h.version = l
		return h, nil, &damage{reason: ReasonVersion, offset: offVersion, sure: valid}
	}
	copy(h.kind[:], data[offKind:])
	switch {
	case valid && h.kind != want.kind: // the version is one of that kind
		return h, nil, &damage{reason: ReasonKind, offset: offKind}
	case h.version != want.version:
		return h, nil, &damage{reason: ReasonVersion, offset: offVersion + 2, sure: valid}
	case !valid:
		return h, nil, &damage{reason: ReasonHeaderCRC, offset: offHeaderCRC}
	}
	h.seq = binary.LittleEndian.Uint64(data[offSeq:])
	copy(h.id[:], data[offID:])
	if want.id != [16]byte{} && h.id != want.id {
		return h, nil, &damage{reason: ReasonDirectory, offset: offID}
	}
	body := data[headerSize:]
	if uint64(binary.LittleEndian.Uint32(data[offLength:])) != uint64(len(body)) {
		return h, nil, &damage{reason: ReasonLength, offset: offLength}
	}
	if binary.LittleEndian.Uint32(data[offBodyCRC:]) != crc32.Checksum(body, castagnoli) {
		return h, nil, &damage{reason: ReasonBodyCRC, offset: headerSize}
	}
	return h, slices.Clip(body), nil
}

// headerID returns the directory id of a copy whose header is whole, whatever its kind and body.
func headerID(data []byte) (id [16]byte, ok bool) {
	if len(data) < headerSize || [4]byte(data[offMagic:]) != magic ||
		binary.LittleEndian.Uint32(data[offHeaderCRC:]) != crc32.Checksum(data[:offHeaderCRC], castagnoli) {
		return id, false
	}
	return [16]byte(data[offID:]), true
}
