package wal

import (
	"bytes"
	"hash/crc32"
	"slices"
	"testing"
)

// TestSalvage destroys bytes in and around the headers of frames that no table names any more: what is found is what was written, and nothing
// that a damaged header says, its length least of all, is believed.
func TestSalvage(t *testing.T) {
	const generation = 77
	var payload []byte
	var want []Identity
	for i, size := range []int{0, 5, 700, 64, 1} {
		f := testFrame(int32(i), int64(i), size)
		var entry [entrySize]byte
		encodeEntry(entry[:], &f, crc32.Checksum(f.Payload, castagnoli))
		head := make([]byte, frameHead)
		encodeFrameHead(head, generation, LSN(10+i), entry[:])
		payload = append(payload, make([]byte, align8(len(payload))-len(payload))...)
		payload = append(append(payload, head...), f.Payload...)
		want = append(want, decodeEntry(entry[:], LSN(10+i)))
	}
	same := func(id Identity) bool { return slices.Contains(want, id) }
	frames, damaged := salvage(payload, generation, 0, len(payload))
	if len(frames) != len(want) || len(damaged) != 0 {
		t.Fatalf("%d frames and %d damaged of %d", len(frames), len(damaged), len(want))
	}
	for at := range payload {
		for _, flip := range []byte{1, 1 << (at % 8), 0xff} {
			bad := bytes.Clone(payload)
			bad[at] ^= flip
			frames, damaged := salvage(bad, generation, 0, len(bad))
			if len(frames) < len(want)-1 {
				t.Fatalf("byte %d xor %x: %d frames of %d", at, flip, len(frames), len(want))
			}
			for _, id := range damaged {
				if !same(id) {
					t.Fatalf("byte %d xor %x: a damaged frame that never was: %+v", at, flip, id)
				}
			}
			for _, f := range frames {
				if i := int(f.LSN) - 10; i < 0 || i >= len(want) || crc32.Checksum(f.Payload, castagnoli) != want[i].CRC || f.First != want[i].First || len(f.Payload) != int(want[i].Length) {
					t.Fatalf("byte %d xor %x: a frame that never was: LSN %d, %d bytes", at, flip, f.LSN, len(f.Payload))
				}
			}
		}
	}
}
