package batch

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// bodies are inputs that exercise the growth of buffers.
func bodies() map[string][]byte {
	r := rand.New(rand.NewPCG(1, 2))
	noise := make([]byte, 300<<10)
	for i := range noise {
		noise[i] = byte(r.Uint32())
	}
	text := bytes.Repeat([]byte("the quick brown fox jumps over the lazy dog. "), 20_000)
	return map[string][]byte{
		"empty": {}, "one": {7}, "noise": noise, "zeros": make([]byte, 5<<20), "text": text, "mixed": append(append(noise[:100<<10:100<<10], text...), noise...),
	}
}

func TestCodecs(t *testing.T) {
	for name, body := range bodies() {
		for _, c := range allCodecs {
			packed, err := compress(c, nil, body)
			if err != nil {
				t.Fatal(name, c, err)
			}
			if c != None && len(body) == 0 && len(packed) == 0 {
				continue
			}
			got, err := decompress(c, packed, len(body))
			if err != nil || !bytes.Equal(got, body) {
				t.Errorf("%s %s: %d bytes, %v", name, c, len(got), err)
			}
			if len(body) > 0 {
				if _, err := decompress(c, packed, len(body)-1); reason(err) != TooLarge {
					t.Errorf("%s %s with a limit one too low: %v", name, c, err)
				}
			}
			for _, cut := range []int{0, 1, len(packed) / 2, len(packed) - 1} {
				if c == None || cut >= len(packed) || cut < 0 {
					continue
				}
				if got, err := decompress(c, packed[:cut], len(body)); err == nil && bytes.Equal(got, body) && len(body) > 0 {
					t.Errorf("%s %s cut at %d decompresses whole", name, c, cut)
				}
			}
		}
	}
}

// TestForeignFrames reads what other encoders write.
func TestForeignFrames(t *testing.T) {
	body := bodies()["mixed"]
	for _, o := range [][]lz4.Option{
		{lz4.BlockSizeOption(lz4.Block4Mb)}, {lz4.BlockSizeOption(lz4.Block64Kb), lz4.BlockChecksumOption(true)},
		{lz4.SizeOption(uint64(len(body)))}, {lz4.ChecksumOption(false)}, {lz4.CompressionLevelOption(lz4.Level9)},
	} {
		var buf bytes.Buffer
		w := lz4.NewWriter(&buf)
		if err := w.Apply(o...); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(body); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if got, err := decompress(LZ4, buf.Bytes(), len(body)); err != nil || !bytes.Equal(got, body) {
			t.Errorf("lz4 %v: %v", o, err)
		}
	}
	if got, err := decompress(Snappy, snappy.Encode(nil, body), len(body)); err != nil || !bytes.Equal(got, body) {
		t.Errorf("raw snappy: %v", err)
	}
	var buf bytes.Buffer
	z, err := zstd.NewWriter(&buf, zstd.WithWindowSize(8<<20)) // a stream: no content size in the frame
	if err != nil {
		t.Fatal(err)
	}
	if _, err := z.Write(body); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := decompress(Zstd, buf.Bytes(), len(body)); err != nil || !bytes.Equal(got, body) {
		t.Errorf("streamed zstd: %v", err)
	}
	buf.Reset()
	g := gzip.NewWriter(&buf)
	for _, part := range [][]byte{body[:100], body[100:]} { // two members
		g.Reset(&buf)
		if _, err := g.Write(part); err != nil {
			t.Fatal(err)
		}
		if err := g.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := decompress(Gzip, buf.Bytes(), len(body)); err != nil || !bytes.Equal(got, body) {
		t.Errorf("gzip of two members: %v", err)
	}
}

// TestLZ4LinkedBlocks decodes blocks that refer to the ones before them, as librdkafka may write.
func TestLZ4LinkedBlocks(t *testing.T) {
	first := bytes.Repeat([]byte("0123456789abcdefghi"), 2105) // 39,995 bytes
	literal := []byte{0x0f, 0x3b, 0x9c}                        // no literals, match of 19+ bytes from 39,995 back
	literal = append(literal, 255, 255, 255, 200)
	literal = append(literal, 0x50, 'h', 'e', 'l', 'l', 'o') // last five are literals
	frame := []byte{0x04, 0x22, 0x4d, 0x18, 0x40, 0x40, 0}
	frame = binary.LittleEndian.AppendUint32(frame, uint32(len(first))|1<<31)
	frame = append(frame, first...)
	frame = binary.LittleEndian.AppendUint32(frame, uint32(len(literal)))
	frame = append(frame, literal...)
	frame = append(frame, 0, 0, 0, 0)
	n := 19 + 255*3 + 200
	want := append(append(bytes.Clone(first), first[:n]...), "hello"...)
	got, err := decompress(LZ4, frame, 1<<20)
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("%d bytes, want %d, %v", len(got), len(want), err)
	}
	frame[4] |= lz4Independent
	if got, err := decompress(LZ4, frame, 1<<20); err == nil {
		t.Errorf("an independent block that looks back gives %d bytes", len(got))
	}
}

// TestClaims: frames that promise much and hold little are refused without taking what they promise.
func TestClaims(t *testing.T) {
	bigSnappy := binary.AppendUvarint(nil, 1<<30)
	zstdFrame := []byte{0x28, 0xb5, 0x2f, 0xfd, 0xe0, 0, 0, 0, 0x40, 0, 0, 0, 0, 1, 0, 0} // content size 2^30, one empty block
	for name, c := range map[string]struct {
		codec Codec
		data  []byte
	}{
		"snappy": {Snappy, bigSnappy}, "xerial": {Snappy, append(append(bytes.Clone(xerial), 0, 0, 0, 1, 0, 0, 0, 1), 0x7f, 0xff, 0xff, 0xff)},
		"zstd": {Zstd, zstdFrame}, "lz4": {LZ4, []byte{4, 0x22, 0x4d, 0x18, 0x60, 0x70, 0, 0xff, 0xff, 0x3f, 0}},
	} {
		took := allocated(func() {
			if _, err := decompress(c.codec, c.data, 1<<31-1); err == nil {
				t.Errorf("%s: accepted", name)
			}
		})
		if took > poolSlack {
			t.Errorf("%s: %d bytes allocated for %d bytes of input", name, took, len(c.data))
		}
	}
}

func TestErrorsAreTyped(t *testing.T) {
	for _, c := range allCodecs[1:] {
		_, err := decompress(c, []byte("not compressed at all"), 1<<20)
		var e *Error
		if !errors.As(err, &e) || e.Reason != BadCompress {
			t.Errorf("%s: %v", c, err)
		}
	}
}

// TestCompressible decompresses what compresses well: the first buffer is too small, at every length of it and in every path of the decoders.
func TestCompressible(t *testing.T) {
	for size := 1; size < 300_000; size += 1 + size/8 {
		for _, period := range []int{1, 7, 100, 1000} {
			body := make([]byte, size)
			for i := range body {
				body[i] = byte(i % period * 31)
			}
			for _, codec := range allCodecs {
				raw, err := compress(codec, nil, body)
				if err != nil {
					t.Fatal(err)
				}
				if got, err := decompress(codec, raw, size); err != nil || !bytes.Equal(got, body) {
					t.Errorf("%s, %d bytes of period %d in %d: %d bytes, %v", codec, size, period, len(raw), len(got), err)
				}
			}
		}
	}
}
