package batch

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// Builder encodes one batch. The zero value is not ready; use NewBuilder.
type Builder struct {
	codec Codec
	flags int16
	body  []byte // encoded records
	base  int64  // timestamp of the first record
	max   int64
	count int32
}

// NewBuilder returns an empty builder whose batch will be compressed with codec.
func NewBuilder(codec Codec) *Builder { return &Builder{codec: codec, max: NoTimestamp} }

// SetFlags sets attribute bits besides the codec: FlagTransactional, FlagControl.
func (b *Builder) SetFlags(flags int16) { b.flags = flags &^ codecMask }

// Len is the number of records.
func (b *Builder) Len() int { return int(b.count) }

// Size is the size in bytes of the batch before compression.
func (b *Builder) Size() int { return HeaderSize + len(b.body) }

// Append adds a record with time ts in ms; a nil key or value is null. The bytes are copied.
func (b *Builder) Append(ts int64, key, value []byte, headers []RecordHeader) {
	if b.count == 0 {
		b.base = ts
	}
	b.max = max(b.max, ts)
	b.body = appendRecord(b.body, ts-b.base, int64(b.count), key, value, headers)
	b.count++
}

// Bytes returns the finished batch: base offset, leader epoch (-1 unknown), producer id, producer epoch and first sequence number (-1
// each without an idempotent producer). The builder may go on to append.
func (b *Builder) Bytes(baseOffset int64, epoch int32, producerID int64, producerEpoch int16, sequence int32) ([]byte, error) {
	if b.count == 0 {
		return nil, fail(BadCount, posCount, "a batch needs a record")
	}
	h := Header{
		BaseOffset: baseOffset, LeaderEpoch: epoch, Attributes: int16(b.codec) | b.flags, LastOffsetDelta: b.count - 1,
		BaseTimestamp: b.base, MaxTimestamp: b.max,
		ProducerID: producerID, ProducerEpoch: producerEpoch, BaseSequence: sequence, Count: b.count,
	}
	return encode(h, b.body)
}

// encode lays out a batch from a header, whose length and CRC are computed, and the records before compression.
func encode(h Header, body []byte) ([]byte, error) {
	out, err := compress(h.Codec(), make([]byte, HeaderSize, HeaderSize+len(body)), body)
	if err != nil {
		return nil, fmt.Errorf("batch: compress with %s: %w", h.Codec(), err)
	}
	be := binary.BigEndian
	be.PutUint64(out, uint64(h.BaseOffset))
	be.PutUint32(out[posLength:], uint32(len(out)-lengthOverhead))
	be.PutUint32(out[posLeaderEpoch:], uint32(h.LeaderEpoch))
	out[posMagic] = 2
	be.PutUint16(out[posAttributes:], uint16(h.Attributes))
	be.PutUint32(out[posLastDelta:], uint32(h.LastOffsetDelta))
	be.PutUint64(out[posBaseTimestamp:], uint64(h.BaseTimestamp))
	be.PutUint64(out[posMaxTimestamp:], uint64(h.MaxTimestamp))
	be.PutUint64(out[posProducerID:], uint64(h.ProducerID))
	be.PutUint16(out[posProducerEpoch:], uint16(h.ProducerEpoch))
	be.PutUint32(out[posBaseSequence:], uint32(h.BaseSequence))
	be.PutUint32(out[posCount:], uint32(h.Count))
	setCRC(out)
	return out, nil
}

// appendRecord encodes one record.
func appendRecord(b []byte, timeDelta, offsetDelta int64, key, value []byte, headers []RecordHeader) []byte {
	size := 1 + varintLen(timeDelta) + varintLen(offsetDelta) + fieldLen(key) + fieldLen(value) + varintLen(int64(len(headers)))
	for _, h := range headers {
		size += varintLen(int64(len(h.Key))) + len(h.Key) + fieldLen(h.Value)
	}
	b = binary.AppendVarint(b, int64(size))
	b = append(b, 0) // attributes
	b = binary.AppendVarint(b, timeDelta)
	b = binary.AppendVarint(b, offsetDelta)
	b = appendField(b, key)
	b = appendField(b, value)
	b = binary.AppendVarint(b, int64(len(headers)))
	for _, h := range headers {
		b = binary.AppendVarint(b, int64(len(h.Key)))
		b = append(b, h.Key...)
		b = appendField(b, h.Value)
	}
	return b
}

func appendField(b, f []byte) []byte {
	if f == nil {
		return binary.AppendVarint(b, -1)
	}
	return append(binary.AppendVarint(b, int64(len(f))), f...)
}

func fieldLen(f []byte) int {
	if f == nil {
		return 1
	}
	return varintLen(int64(len(f))) + len(f)
}

// varintLen is the size of a zigzag varint.
func varintLen(v int64) int {
	u := uint64(v<<1) ^ uint64(v>>63)
	n := 1
	for ; u >= 0x80; u >>= 7 {
		n++
	}
	return n
}

var (
	gzipWriters = sync.Pool{New: func() any { return gzip.NewWriter(nil) }}
	lz4Writers  = sync.Pool{New: func() any {
		w := lz4.NewWriter(nil)
		if err := w.Apply(lz4.BlockSizeOption(lz4.Block64Kb), lz4.ChecksumOption(false)); err != nil {
			panic(err) // the options are constant
		}
		return w
	}}
	zstdWriters = sync.Pool{New: func() any {
		w, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true))
		if err != nil {
			panic(err) // the options are constant
		}
		return w
	}}
)

// compress appends body, compressed, to out.
func compress(c Codec, out, body []byte) ([]byte, error) {
	switch c {
	case None:
		return append(out, body...), nil
	case Gzip:
		w := gzipWriters.Get().(*gzip.Writer)
		defer gzipWriters.Put(w)
		buf := bytes.NewBuffer(out)
		w.Reset(buf)
		if _, err := w.Write(body); err != nil {
			return nil, err
		}
		err := w.Close()
		return buf.Bytes(), err
	case Snappy:
		return appendXerial(out, body), nil
	case LZ4:
		w := lz4Writers.Get().(*lz4.Writer)
		defer lz4Writers.Put(w)
		buf := bytes.NewBuffer(out)
		w.Reset(buf)
		if _, err := w.Write(body); err != nil {
			return nil, err
		}
		err := w.Close()
		return buf.Bytes(), err
	case Zstd:
		w := zstdWriters.Get().(*zstd.Encoder)
		defer zstdWriters.Put(w)
		return w.EncodeAll(body, out), nil
	}
	return nil, fail(BadCodec, posAttributes, "unknown codec %d", c)
}

// appendXerial compresses with snappy in snappy-java's framing, as Java clients do.
func appendXerial(out, body []byte) []byte {
	out = append(out, xerial...)
	out = append(out, 0, 0, 0, 1, 0, 0, 0, 1)
	for len(body) > 0 {
		n := min(len(body), xerialBlock)
		block := snappy.Encode(nil, body[:n])
		out = binary.BigEndian.AppendUint32(out, uint32(len(block)))
		out = append(out, block...)
		body = body[n:]
	}
	return out
}
