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
