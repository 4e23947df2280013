package wal

import (
	"encoding/binary"
	"hash/crc32"
	"os"

	"chronik.dev/chronik/broker/vfs"
)

// SectorCovered is how many bytes of a sector its check covers; the check, a uint32 in little-endian order, follows them.
const SectorCovered = SectorSize - 4

// SectorSyndrome reads sector number of a segment file and returns the difference, xor, of the check that it has and the one that its content
// has in the use that the file's header names: 0 for an intact sector. A single flipped bit leaves a difference that only one place explains.
func SectorSyndrome(fsys vfs.FS, name string, number int64) (syndrome uint32, sector []byte, err error) {
	f, err := fsys.OpenFile(name, os.O_RDONLY)
	if err != nil {
		return 0, nil, err
	}
	defer f.Close()
	head := make([]byte, SectorSize)
	if _, err := f.ReadAt(head, 0); err != nil {
		return 0, nil, err
	}
	sector = make([]byte, SectorSize)
	if _, err := f.ReadAt(sector, number*SectorSize); err != nil {
		return 0, nil, err
	}
	generation := binary.LittleEndian.Uint64(head[16:])
	return crc32.Checksum(sector[:SectorCovered], castagnoli) ^ mix32(generation, uint64(number)) ^ binary.LittleEndian.Uint32(sector[SectorCovered:]), sector, nil
}

// GenerationBit finds the one bit of the generation in a segment's first sector, in bytes 16 to 23, whose flip makes that sector right. The generation
// is in the stamp of every sector, so SectorSyndrome has no answer while it is damaged.
func GenerationBit(fsys vfs.FS, name string) (at int64, bit int, ok bool) {
	_, sector, err := SectorSyndrome(fsys, name, 0)
	if err != nil {
		return 0, 0, false
	}
	want := binary.LittleEndian.Uint32(sector[SectorCovered:])
	for i := range 64 {
		sector[16+i/8] ^= 1 << (i % 8)
		if crc32.Checksum(sector[:SectorCovered], castagnoli)^mix32(binary.LittleEndian.Uint64(sector[16:]), 0) == want {
			return int64(16 + i/8), i % 8, true
		}
		sector[16+i/8] ^= 1 << (i % 8)
	}
	return 0, 0, false
}
