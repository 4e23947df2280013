package walinspect

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"math/bits"
	"os"
	"path/filepath"
	"strings"

	"chronik.dev/chronik/broker/batch"
	"chronik.dev/chronik/broker/raftlog"
	"chronik.dev/chronik/broker/segment"
	"chronik.dev/chronik/broker/statefile"
	"chronik.dev/chronik/broker/vfs"
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

// bitflip looks for the single bit that explains a finding: in a sector of a journal or Raft log, in a batch of a partition log, in a small file with
// checksums of its own, or in what chronik.sums covers. Nil: none does, or several bytes are damaged, or no CRC covers them.
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
	if bit := t.smallFileBit(path, f.Offset); bit != nil {
		return bit
	}
	return t.summedBit(path, f.Offset, f.Length)
}

// smallFileBit searches a small file that has checksums of its own: a state file, a Raft snapshot, a producer snapshot, an entry of chronik.sums.
func (t *Target) smallFileBit(path string, offset int64) *Bit {
	data, err := vfs.ReadFile(t.fs, path, maxBitflip)
	if err != nil {
		return nil
	}
	var guards [][3]int
	var order binary.ByteOrder = binary.LittleEndian
	kind, _, ours := segment.ParseName(filepath.Base(path))
	switch ext := filepath.Ext(path); {
	case ours && kind == segment.Snapshot:
		guards, order = segment.SnapshotGuards(data), binary.BigEndian
	case filepath.Base(path) == segment.SumsFileName:
		guards, order = segment.SumGuards(data, offset), binary.BigEndian
	case ext == ".snap":
		guards = raftlog.SnapGuards(data)
	case ext == ".0" || ext == ".1":
		guards = statefile.Guards(data)
	}
	return guardedBit(data, guards, order)
}

// guardedBit finds the bit without which every guard (from, to, place of the CRC-32C in this byte order) holds. It changes data.
func guardedBit(data []byte, guards [][3]int, order binary.ByteOrder) *Bit {
	var found *Bit
	for _, g := range guards {
		syndrome := crc32.Checksum(data[g[0]:g[1]], castagnoli) ^ order.Uint32(data[g[2]:])
		if syndrome == 0 {
			continue
		}
		n := g[1] - g[0]
		at, bit, ok := flipped(n, syndrome)
		if !ok || found != nil {
			return nil
		}
		switch {
		case at < n:
			at += g[0]
		case order == binary.BigEndian:
			at = g[2] + 3 - (at - n)
		default:
			at = g[2] + at - n
		}
		found = &Bit{Byte: int64(at), Bit: bit, Read: data[at], Was: data[at] ^ 1<<bit}
		data[at] = found.Was // a checksum that lies in another one's range was damaged with it
	}
	for _, g := range guards {
		if crc32.Checksum(data[g[0]:g[1]], castagnoli) != order.Uint32(data[g[2]:]) {
			return nil
		}
	}
	return found
}

// summedBit searches what chronik.sums covers of a file, where only one sum does not hold.
func (t *Target) summedBit(path string, offset, length int64) (found *Bit) {
	kind, base, ours := segment.ParseName(filepath.Base(path))
	sums, err := segment.OpenSums(t.fs, filepath.Dir(path))
	if !ours || err != nil {
		return nil
	}
	file, err := t.fs.OpenFile(path, os.O_RDONLY)
	if err != nil {
		return nil
	}
	defer file.Close()
	for _, s := range segment.Live(sums.Entries(), func(segment.Kind, int64) int64 { return math.MaxInt64 }) {
		if s.Kind != kind || s.Base != base || s.To <= offset || s.From >= offset+length {
			continue
		}
		data := make([]byte, s.To-s.From)
		if _, err := file.ReadAt(data, s.From); err != nil {
			return nil
		}
		syndrome := crc32.Checksum(data, castagnoli) ^ s.CRC
		if syndrome == 0 {
			continue
		}
		at, bit, ok := flipped(len(data), syndrome)
		if !ok || at >= len(data) || found != nil { // the sum itself has a checksum of its own
			return nil
		}
		found = &Bit{Byte: s.From + int64(at), Bit: bit, Read: data[at], Was: data[at] ^ 1<<bit}
	}
	return found
}

// sectorBit searches the sectors of a range; more than one damaged one is more than one bit.
func (t *Target) sectorBit(path string, offset, length int64) (found *Bit) {
	if at, bit, ok := wal.GenerationBit(t.fs, path); ok && at >= offset && at < offset+length {
		return t.bitAt(path, at, bit)
	}
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
	found := guardedBit(raw, [][3]int{{batch.CRCFrom, len(raw), batch.CRCAt}}, binary.BigEndian)
	if found != nil {
		found.Byte += offset
	}
	return found
}

// bitAt is a bit of a file as it is now.
func (t *Target) bitAt(path string, at int64, bit int) *Bit {
	file, err := t.fs.OpenFile(path, os.O_RDONLY)
	if err != nil {
		return nil
	}
	defer file.Close()
	var b [1]byte
	if _, err := file.ReadAt(b[:], at); err != nil {
		return nil
	}
	return &Bit{Byte: at, Bit: bit, Read: b[0], Was: b[0] ^ 1<<bit}
}
