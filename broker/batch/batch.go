// Package batch is Apache Kafka's record batch of magic 2 (KIP-98): the unit that producers send, logs store and consumers fetch.
//
// The idea. A broker touches a batch twice: it checks the 61-byte header and one CRC, and it patches base offset and leader epoch, which
// the CRC does not cover. Both work in place on the client's bytes, without allocation. Records are decoded only where a rule needs them:
// key checks, log compaction, coordinators, tools.
//
// The guarantee. No input makes this package panic; a length is believed only when the bytes are there; decompression never yields more
// than the caller's limit, and memory follows what was really decompressed, not what a header claims. Errors are *Error: a reason from a
// closed list and the byte offset in the buffer.
//
// The API. Parse reads a header, Check a batch as a producer may send it, CheckStored one as a log may hold it, Each walks batches laid
// end to end. SetBaseOffset, SetLeaderEpoch, SetAppendTime and SetProducer patch. Records decodes, Builder encodes, Filter keeps some records of a
// batch (compaction). The format is described in docs/format/batch.md.
package batch

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// HeaderSize is the size in bytes of a batch's header; records follow it.
const HeaderSize = 61

// Positions in a batch. The CRC covers everything from posAttributes on.
const (
	posLength        = 8
	posLeaderEpoch   = 12
	posMagic         = 16
	posCRC           = 17
	posAttributes    = 21
	posLastDelta     = 23
	posBaseTimestamp = 27
	posMaxTimestamp  = 35
	posProducerID    = 43
	posProducerEpoch = 51
	posBaseSequence  = 53
	posCount         = 57

	lengthOverhead = 12 // bytes of a batch that Length does not count
)

// Attribute bits of Header.Attributes; the low three are the codec.
const (
	codecMask         = 0x07
	FlagLogAppendTime = 0x08
	FlagTransactional = 0x10
	FlagControl       = 0x20
	FlagDeleteHorizon = 0x40 // base timestamp is the time after which tombstones may go (KIP-534)
)

// NoProducerID, NoProducerEpoch and NoSequence stand in batches of producers that are not idempotent; NoTimestamp is an absent time.
const (
	NoProducerID    = -1
	NoProducerEpoch = -1
	NoSequence      = -1
	NoTimestamp     = -1
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Codec is a compression codec by its number in the attributes.
type Codec int8

// The codecs of magic 2.
const (
	None   Codec = 0
	Gzip   Codec = 1
	Snappy Codec = 2
	LZ4    Codec = 3
	Zstd   Codec = 4
)

// String is the codec's name as compression.type spells it.
func (c Codec) String() string {
	if c >= None && c <= Zstd {
		return [...]string{"none", "gzip", "snappy", "lz4", "zstd"}[c]
	}
	return fmt.Sprintf("codec(%d)", int8(c))
}

// Header is the fixed head of a batch. Field names are Kafka's.
type Header struct {
	BaseOffset      int64
	Length          int32 // bytes after this field: Size()-12
	LeaderEpoch     int32 // epoch of the leader that appended it, -1 unknown
	Magic           int8  // 2
	CRC             uint32
	Attributes      int16
	LastOffsetDelta int32
	BaseTimestamp   int64 // ms
	MaxTimestamp    int64 // ms
	ProducerID      int64
	ProducerEpoch   int16
	BaseSequence    int32
	Count           int32 // records in the batch; after compaction less than LastOffsetDelta+1
}

// Size is the length of the whole batch in bytes.
func (h *Header) Size() int { return lengthOverhead + int(h.Length) }

// LastOffset is the offset of the last record, also where compaction removed it.
func (h *Header) LastOffset() int64 { return h.BaseOffset + int64(h.LastOffsetDelta) }

// Codec is the compression codec; it may be one that does not exist.
func (h *Header) Codec() Codec { return Codec(h.Attributes & codecMask) }

// IsControl says that the batch holds a transaction marker or another control record.
func (h *Header) IsControl() bool { return h.Attributes&FlagControl != 0 }

// IsTransactional says that the batch belongs to a transaction.
func (h *Header) IsTransactional() bool { return h.Attributes&FlagTransactional != 0 }

// LogAppendTime says that every record's time is MaxTimestamp, set by the broker.
func (h *Header) LogAppendTime() bool { return h.Attributes&FlagLogAppendTime != 0 }

// DeleteHorizon returns the time in ms after which compaction may remove the batch's tombstones, if it was set.
func (h *Header) DeleteHorizon() (int64, bool) {
	return h.BaseTimestamp, h.Attributes&FlagDeleteHorizon != 0
}

// HasProducer says that an idempotent producer sent the batch.
func (h *Header) HasProducer() bool { return h.ProducerID > NoProducerID }

// LastSequence is the sequence number of the last record; after math.MaxInt32 comes 0. NoSequence without one.
func (h *Header) LastSequence() int32 {
	if h.BaseSequence == NoSequence {
		return NoSequence
	}
	return int32((int64(h.BaseSequence) + int64(h.LastOffsetDelta)) & 0x7fffffff)
}

// Reason says which rule a batch breaks.
type Reason string

// The closed list of reasons.
const (
	Short        Reason = "short"          // fewer bytes than the header or the length says
	BadLength    Reason = "length"         // length field below the header's size
	BadMagic     Reason = "magic"          // not magic 2
	BadCRC       Reason = "crc"            // CRC-32C differs
	BadCount     Reason = "count"          // record count does not fit the offsets, or the records in it
	BadDelta     Reason = "offset-delta"   // an offset outside the batch or out of order
	BadCodec     Reason = "codec"          // unknown compression codec
	BadCompress  Reason = "compressed"     // compressed data that does not decompress
	TooLarge     Reason = "too-large"      // decompresses to more than the limit
	BadRecord    Reason = "record"         // malformed record
	BadTrailing  Reason = "trailing"       // bytes after the last record
	BadTimestamp Reason = "max-timestamp"  // max timestamp is not that of the records
	BadControl   Reason = "control-record" // control batch without exactly one well-formed control record
)

// Error says what is wrong with a batch. Offset is in bytes from the start of the buffer that was given; inside compressed records it is
// that of the records' start.
type Error struct {
	Reason Reason
	Offset int64
	Detail string
}

func (e *Error) Error() string {
	return fmt.Sprintf("batch: %s at byte %d: %s", e.Reason, e.Offset, e.Detail)
}

func fail(r Reason, offset int, format string, args ...any) error {
	return &Error{Reason: r, Offset: int64(offset), Detail: fmt.Sprintf(format, args...)}
}

// Parse reads the header of the batch at the start of b. It needs the 61 bytes of the header, not the records, and checks magic and
// length only. It does not allocate.
func Parse(b []byte) (Header, error) {
	if len(b) < HeaderSize {
		return Header{}, fail(Short, len(b), "%d bytes, a header has %d", len(b), HeaderSize)
	}
	be := binary.BigEndian
	h := Header{
		BaseOffset:      int64(be.Uint64(b)),
		Length:          int32(be.Uint32(b[posLength:])),
		LeaderEpoch:     int32(be.Uint32(b[posLeaderEpoch:])),
		Magic:           int8(b[posMagic]),
		CRC:             be.Uint32(b[posCRC:]),
		Attributes:      int16(be.Uint16(b[posAttributes:])),
		LastOffsetDelta: int32(be.Uint32(b[posLastDelta:])),
		BaseTimestamp:   int64(be.Uint64(b[posBaseTimestamp:])),
		MaxTimestamp:    int64(be.Uint64(b[posMaxTimestamp:])),
		ProducerID:      int64(be.Uint64(b[posProducerID:])),
		ProducerEpoch:   int16(be.Uint16(b[posProducerEpoch:])),
		BaseSequence:    int32(be.Uint32(b[posBaseSequence:])),
		Count:           int32(be.Uint32(b[posCount:])),
	}
	if h.Magic != 2 {
		return h, fail(BadMagic, posMagic, "magic is %d, want 2", h.Magic)
	}
	if h.Length < HeaderSize-lengthOverhead {
		return h, fail(BadLength, posLength, "length is %d, below the header's %d", h.Length, HeaderSize-lengthOverhead)
	}
	return h, nil
}

// parseWhole is Parse for a buffer that must hold exactly one batch.
func parseWhole(b []byte) (Header, error) {
	h, err := Parse(b)
	if err != nil {
		return h, err
	}
	if h.Size() != len(b) {
		return h, fail(BadLength, posLength, "length field says %d bytes in all, the batch has %d", h.Size(), len(b))
	}
	return h, nil
}

// Check examines one whole batch as a producer may send it: length, magic 2, CRC-32C, at least one record, offsets without a gap, a
// known codec. The records are not decoded. It does not allocate.
func Check(b []byte) (Header, error) {
	h, err := CheckStored(b)
	if err != nil {
		return h, err
	}
	if h.Count < 1 {
		return h, fail(BadCount, posCount, "count is %d, want at least 1", h.Count)
	}
	if h.LastOffsetDelta != h.Count-1 {
		return h, fail(BadCount, posCount, "count is %d but the last offset delta is %d", h.Count, h.LastOffsetDelta)
	}
	return h, nil
}

// CheckStored examines one whole batch as a log may hold it: like Check, but compaction may have removed some or all records.
func CheckStored(b []byte) (Header, error) {
	h, err := parseWhole(b)
	if err != nil {
		return h, err
	}
	if crc := crc32.Checksum(b[posAttributes:], castagnoli); crc != h.CRC {
		return h, fail(BadCRC, posCRC, "CRC-32C is %08x, the header says %08x", crc, h.CRC)
	}
	if h.LastOffsetDelta < 0 || h.LastOffset() < h.BaseOffset {
		return h, fail(BadDelta, posLastDelta, "last offset delta is %d at base offset %d", h.LastOffsetDelta, h.BaseOffset)
	}
	if h.Count < 0 || int64(h.Count) > int64(h.LastOffsetDelta)+1 {
		return h, fail(BadCount, posCount, "count is %d but the last offset delta is %d", h.Count, h.LastOffsetDelta)
	}
	if c := h.Codec(); c > Zstd {
		return h, fail(BadCodec, posAttributes, "unknown codec %d", c)
	}
	return h, nil
}

// Each calls fn for every batch of a payload of batches laid end to end. Headers are parsed, CRCs are not checked. An error of fn ends
// the walk and is returned; an *Error of the walk has its offset in b.
func Each(b []byte, fn func(h Header, raw []byte) error) error {
	for pos := 0; pos < len(b); {
		h, err := Parse(b[pos:])
		if e, ok := err.(*Error); ok {
			e.Offset += int64(pos)
			return e
		}
		if h.Size() > len(b)-pos {
			return fail(Short, pos+posLength, "the batch has %d bytes, %d are left", h.Size(), len(b)-pos)
		}
		if err := fn(h, b[pos:pos+h.Size()]); err != nil {
			return err
		}
		pos += h.Size()
	}
	return nil
}

// SetBaseOffset patches the base offset of a batch with a whole header; the CRC does not cover it.
func SetBaseOffset(b []byte, offset int64) { binary.BigEndian.PutUint64(b, uint64(offset)) }

// SetLeaderEpoch patches the leader epoch of a batch with a whole header; the CRC does not cover it.
func SetLeaderEpoch(b []byte, epoch int32) {
	binary.BigEndian.PutUint32(b[posLeaderEpoch:], uint32(epoch))
}

// SetAppendTime gives every record of a whole batch the time ms (message.timestamp.type=LogAppendTime): flag, max timestamp and CRC.
func SetAppendTime(b []byte, ms int64) {
	be := binary.BigEndian
	be.PutUint16(b[posAttributes:], be.Uint16(b[posAttributes:])|FlagLogAppendTime)
	be.PutUint64(b[posMaxTimestamp:], uint64(ms))
	setCRC(b)
}

// SetProducer makes a whole batch that of another idempotent producer, outside of any transaction: producer id, epoch, first sequence number,
// flag and CRC. The records are not touched, compressed or not.
func SetProducer(b []byte, id int64, epoch int16, sequence int32) {
	be := binary.BigEndian
	be.PutUint16(b[posAttributes:], be.Uint16(b[posAttributes:])&^FlagTransactional)
	be.PutUint64(b[posProducerID:], uint64(id))
	be.PutUint16(b[posProducerEpoch:], uint16(epoch))
	be.PutUint32(b[posBaseSequence:], uint32(sequence))
	setCRC(b)
}

func setCRC(b []byte) {
	binary.BigEndian.PutUint32(b[posCRC:], crc32.Checksum(b[posAttributes:], castagnoli))
}

// Places in a batch, in bytes: the stored CRC, a big-endian uint32, and the first byte that it covers, to the end.
const (
	CRCAt   = posCRC
	CRCFrom = posAttributes
)
