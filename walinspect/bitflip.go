package walinspect

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/bits"
	"os"
	"path/filepath"
	"strings"

	"chronik.dev/chronik/broker/batch"
	"chronik.dev/chronik/broker/segment"
	"chronik.dev/chronik/broker/wal"
)

// Bit is a single bit whose change explains a damage.
type Bit struct {
	Byte int64 `json:"byte"` // in the file
	Bit  int   `json:"bit"`  // 0 is the lowest
	Read byte  `json:"read"`
	Was  byte  `json:"was"`
}

func (b Bit) String() string {
	return fmt.Sprintf("bit %d of byte %d: %#02x was %#02x", b.Bit, b.Byte, b.Read, b.Was)
}

// maxBitflip bounds the batches that are searched, in bytes: 8 steps a byte.
const maxBitflip = 64 << 20

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// flipped finds the one bit whose flip gives a CRC-32C the difference syndrome. n bytes are covered. With ok, at below n is the byte in them, and at
// n or above it is byte at-n of the stored CRC in little-endian order. A CRC of n bytes has one answer at most, as long as 8n < 2³¹.
func flipped(n int, syndrome uint32) (at, bit int, ok bool) {
	if bits.OnesCount32(syndrome) == 1 {
		p := bits.TrailingZeros32(syndrome)
		return n + p/8, p % 8, true
	}
	var c [8]uint32 // what each bit of the byte at hand adds to the CRC
	for k := range c {
		c[k] = castagnoli[1<<k]
	}
	for at = n - 1; at >= 0; at-- {
		for k := range c {
			if c[k] == syndrome {
				return at, k, true
			}
			c[k] = castagnoli[byte(c[k])] ^ c[k]>>8
		}
	}
	return 0, 0, false
}

// bitflip looks for the single bit that explains a finding: in a sector of a journal or Raft log, or in a batch of a partition log. Nil: none does, or
// several bytes are damaged, or no CRC covers them.
func (t *Target) bitflip(f *Finding) *Bit {
	path := f.File
	if t.Root != "" {
		path = filepath.Join(t.Root, f.File)
	}
	switch {
	case f.Length <= 0:
		return nil
	case strings.HasSuffix(path, journalSuffix):
		return t.sectorBit(path, f.Offset, f.Length)
	case strings.HasSuffix(path, segment.Log.Name(0)[20:]) && f.Reason == string(segment.BadBatch) && f.Length <= maxBitflip:
		return t.batchBit(path, f.Offset, f.Length)
	}
	return nil
}

// sectorBit searches the sectors of a range; more than one damaged one is more than one bit.
func (t *Target) sectorBit(path string, offset, length int64) (found *Bit) {
	for s := offset / wal.SectorSize; s*wal.SectorSize < offset+length; s++ {
		syndrome, sector, err := wal.SectorSyndrome(t.fs, path, s)
		if err != nil {
			return nil
		}
		if syndrome == 0 {
			continue
		}
		at, bit, ok := flipped(wal.SectorCovered, syndrome)
		if !ok || found != nil {
			return nil
		}
		found = &Bit{Byte: s*wal.SectorSize + int64(at), Bit: bit, Read: sector[at], Was: sector[at] ^ 1<<bit}
	}
	return found
}

// batchBit searches one batch.
func (t *Target) batchBit(path string, offset, length int64) *Bit {
	raw := make([]byte, length)
	file, err := t.fs.OpenFile(path, os.O_RDONLY)
	if err != nil {
		return nil
	}
	defer file.Close()
	if _, err := file.ReadAt(raw, offset); err != nil || len(raw) <= batch.CRCFrom {
		return nil
	}
	covered := raw[batch.CRCFrom:]
	syndrome := crc32.Checksum(covered, castagnoli) ^ binary.BigEndian.Uint32(raw[batch.CRCAt:])
	at, bit, ok := flipped(len(covered), syndrome)
	if syndrome == 0 || !ok {
		return nil
	}
	if at += batch.CRCFrom; at >= len(raw) {
		at = batch.CRCAt + 3 - (at - len(raw)) // stored in big-endian order
	}
	return &Bit{Byte: offset + int64(at), Bit: bit, Read: raw[at], Was: raw[at] ^ 1<<bit}
}
