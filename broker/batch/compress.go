package batch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// xerial is the head of snappy-java's framing: magic, version and compatible version; blocks with a 4-byte length follow.
var xerial = []byte{0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0}

const (
	xerialHead  = 16
	xerialBlock = 32 << 10 // as snappy-java writes
)

// decompress returns the records' bytes; without compression those of data themselves. More than limit bytes are refused.
func decompress(c Codec, data []byte, limit int) ([]byte, error) {
	var out []byte
	var err error
	switch c {
	case None:
		out = data
		if len(data) > limit {
			err = errTooLarge
		}
	case Gzip:
		out, err = gunzip(data, limit)
	case Snappy:
		out, err = unsnappy(data, limit)
	case LZ4:
		out, err = unlz4(data, limit)
	case Zstd:
		out, err = unzstd(data, limit)
	default:
		return nil, fail(BadCodec, posAttributes, "unknown codec %d", c)
	}
	if errors.Is(err, errTooLarge) {
		return nil, fail(TooLarge, HeaderSize, "%s records are larger than the limit of %d bytes", c, limit)
	}
	if err != nil {
		return nil, fail(BadCompress, HeaderSize, "%s: %v", c, err)
	}
	return out, nil
}

var (
	errTooLarge = errors.New("too large")
	errCorrupt  = errors.New("corrupt input")
)

// firstGuess is how much memory is taken before anything is decompressed.
func firstGuess(in, limit int) int { return min(4*in+64, limit) }

var gzipReaders = sync.Pool{New: func() any { return new(gzip.Reader) }}

func gunzip(data []byte, limit int) ([]byte, error) {
	r := gzipReaders.Get().(*gzip.Reader)
	defer gzipReaders.Put(r)
	if err := r.Reset(bytes.NewReader(data)); err != nil {
		return nil, err
	}
	out := make([]byte, 0, firstGuess(len(data), limit))
	for {
		if len(out) == cap(out) {
			if len(out) > limit {
				return nil, errTooLarge
			}
			out = append(out, 0)[:len(out)]
		}
		n, err := r.Read(out[len(out):cap(out)])
		out = out[:len(out)+n]
		if len(out) > limit {
			return nil, errTooLarge
		}
		if err == io.EOF {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

func unsnappy(data []byte, limit int) ([]byte, error) {
	if !bytes.HasPrefix(data, xerial) {
		return appendSnappy(nil, data, limit)
	}
	if len(data) < xerialHead {
		return nil, errCorrupt
	}
	out := make([]byte, 0, firstGuess(len(data), limit))
	for data = data[xerialHead:]; len(data) > 0; {
		if bytes.HasPrefix(data, xerial) && len(data) >= xerialHead { // streams may be laid end to end
			data = data[xerialHead:]
			continue
		}
		if len(data) < 4 {
			return nil, errCorrupt
		}
		n := int64(binary.BigEndian.Uint32(data))
		if n > int64(len(data)-4) {
			return nil, errCorrupt
		}
		var err error
		if out, err = appendSnappy(out, data[4:4+n], limit); err != nil {
			return nil, err
		}
		data = data[4+n:]
	}
	return out, nil
}

// appendSnappy appends one decompressed block to out.
func appendSnappy(out, block []byte, limit int) ([]byte, error) {
	n, err := snappy.DecodedLen(block)
	if err != nil {
		return nil, err
	}
	if n > 22*len(block) { // three bytes make at most 64
		return nil, errCorrupt
	}
	if n > limit-len(out) {
		return nil, errTooLarge
	}
	out = grow(out, n)
	got, err := snappy.Decode(out[len(out):len(out)+n], block)
	if err != nil {
		return nil, err
	}
	return out[:len(out)+len(got)], nil
}

// grow makes room for n more bytes; the capacity at least doubles.
func grow(b []byte, n int) []byte {
	if cap(b)-len(b) >= n {
		return b
	}
	bigger := make([]byte, len(b), max(2*cap(b), len(b)+n))
	copy(bigger, b)
	return bigger
}

// LZ4 frame format 1.6: https://github.com/lz4/lz4/blob/dev/doc/lz4_Frame_format.md
const (
	lz4Magic       = 0x184d2204
	lz4Independent = 0x20
	lz4BlockSum    = 0x10
	lz4ContentSize = 0x08
	lz4ContentSum  = 0x04
	lz4Dictionary  = 0x01
	lz4Window      = 64 << 10
)

// unlz4 decodes frames laid end to end. Their checksums are not looked at: the batch's CRC covers the same bytes. It is written here
// because a frame names a block size of up to 4 MiB that a library would allocate for a frame of 20 bytes.
func unlz4(data []byte, limit int) (out []byte, err error) {
	if len(data) == 0 {
		return nil, errCorrupt
	}
	out = make([]byte, 0, firstGuess(len(data), limit))
	for len(data) > 0 {
		if len(data) < 7 || binary.LittleEndian.Uint32(data) != lz4Magic || data[4]>>6 != 1 || data[4]&lz4Dictionary != 0 {
			return nil, errCorrupt
		}
		flags, head := data[4], 7
		blockMax := 1 << (8 + 2*(data[5]>>4&7))
		if blockMax < 64<<10 {
			return nil, errCorrupt
		}
		if flags&lz4ContentSize != 0 {
			head += 8
		}
		if len(data) < head {
			return nil, errCorrupt
		}
		if out, data, err = lz4Blocks(out, data[head:], flags, blockMax, limit); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// lz4Blocks decodes the blocks of one frame up to its end mark and returns what is behind it.
func lz4Blocks(out, data []byte, flags byte, blockMax, limit int) (_, rest []byte, err error) {
	start := len(out)
	for {
		if len(data) < 4 {
			return nil, nil, errCorrupt
		}
		word := binary.LittleEndian.Uint32(data)
		data = data[4:]
		if word == 0 {
			break
		}
		n := int(word & 0x7fffffff)
		if n > len(data) || n > blockMax {
			return nil, nil, errCorrupt
		}
		block := data[:n]
		data = data[n:]
		if flags&lz4BlockSum != 0 {
			if len(data) < 4 {
				return nil, nil, errCorrupt
			}
			data = data[4:]
		}
		if word>>31 == 1 {
			if n > limit-len(out) {
				return nil, nil, errTooLarge
			}
			out = append(out, block...)
			continue
		}
		var dict []byte
		if flags&lz4Independent == 0 {
			dict = out[max(start, len(out)-lz4Window):]
		}
		if out, err = lz4Block(out, block, dict, blockMax, limit); err != nil {
			return nil, nil, err
		}
	}
	if flags&lz4ContentSum != 0 {
		if len(data) < 4 {
			return nil, nil, errCorrupt
		}
		data = data[4:]
	}
	return out, data, nil
}

// lz4Block appends one decompressed block, in a buffer that grows as the block turns out to need.
func lz4Block(out, block, dict []byte, blockMax, limit int) ([]byte, error) {
	most := min(blockMax, 255*len(block)+64) // one more byte makes at most 255
	room := min(most, max(4*len(block), 1<<10))
	for {
		out = grow(out, min(room, limit-len(out)+1))
		n, err := lz4.UncompressBlockWithDict(block, out[len(out):min(cap(out), len(out)+most)], dict)
		if err == nil {
			if len(out)+n > limit {
				return nil, errTooLarge
			}
			return out[:len(out)+n], nil
		}
		free := cap(out) - len(out)
		if free >= most {
			return nil, errCorrupt
		}
		if len(out)+free > limit {
			return nil, errTooLarge
		}
		room = min(most, 2*free+1)
	}
}

var zstdReaders = sync.Pool{New: func() any {
	r, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecodeAllCapLimit(true))
	if err != nil {
		panic(err) // the options are constant
	}
	return r
}}

// fullBuffer says whether an error of the decoder means only that the buffer, of which left bytes were free before the block at hand, was too
// small: in the middle of a block the decoder has the same words for that and for a block above the format's limit (RFC 8878, 3.1.1.2.4).
func fullBuffer(err error, left int, h *zstd.Header) bool {
	const maxBlock = 128 << 10
	return strings.Contains(err.Error(), "output bigger than max block size") && uint64(left) < min(max(h.WindowSize, 1<<10), maxBlock)
}

func unzstd(data []byte, limit int) ([]byte, error) {
	if len(data) == 0 {
		return nil, errCorrupt
	}
	r := zstdReaders.Get().(*zstd.Decoder)
	defer zstdReaders.Put(r)
	room := firstGuess(len(data), limit)
	var head zstd.Header
	if err := head.Decode(data); err == nil && head.HasFCS && head.FrameContentSize <= uint64(16*len(data)) {
		room = min(max(room, int(head.FrameContentSize)), limit)
	}
	for {
		out, err := r.DecodeAll(data, make([]byte, 0, room))
		if err == nil {
			return out, nil
		}
		if !errors.Is(err, zstd.ErrDecoderSizeExceeded) && !fullBuffer(err, room-len(out), &head) {
			return nil, err
		}
		if room >= limit {
			return nil, errTooLarge
		}
		room = min(4*room, limit)
	}
}
