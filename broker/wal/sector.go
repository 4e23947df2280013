package wal

import (
	"encoding/binary"
	"hash/crc32"
	"slices"
)

const (
	sectorPayload   = SectorSize - 4 // content of a sector; its check follows
	sectorsPerBlock = BlockSize / SectorSize
	blockPayload    = sectorsPerBlock * sectorPayload
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// mix32 is what a sector's check is mixed with: a hash of the generation of the file's use and of the sector's number in the file.
func mix32(generation, sector uint64) uint32 {
	x := generation + sector*0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return uint32((x ^ x>>31) >> 32)
}

// seed starts every CRC of a generation, so that what an earlier use of the file left never validates.
func seed(generation uint64) uint32 { return mix32(generation, 1<<63) }

// crc is CRC-32C of b in a generation.
func crc(generation uint64, b []byte) uint32 { return crc32.Update(seed(generation), castagnoli, b) }

func sectorCheck(generation, sector uint64, payload []byte) uint32 {
	return crc32.Checksum(payload, castagnoli) ^ mix32(generation, sector)
}

// sectorState says whose a sector is.
type sectorState uint8

const (
	sectorCurrent sectorState = iota // written by this use of the file, intact
	sectorStale                      // exactly as the previous use or the fill left it; zeros in a growing file; past the end of a growing file
	sectorBad                        // anything else
)

// use says how the sectors of one file are told apart.
type use struct {
	generation uint64
	previous   uint64 // of the use or fill before; 0 in a growing file or where it is not known
	growing    bool
}

// state judges one sector of SectorSize bytes; number is its place in the file.
func (u use) state(sector []byte, number uint64) sectorState {
	sum := crc32.Checksum(sector[:sectorPayload], castagnoli)
	check := binary.LittleEndian.Uint32(sector[sectorPayload:])
	switch {
	case check == sum^mix32(u.generation, number):
		return sectorCurrent
	case u.previous != 0 && check == sum^mix32(u.previous, number):
		return sectorStale
	case u.growing && allZero(sector):
		return sectorStale
	}
	return sectorBad
}

func allZero(b []byte) bool {
	for len(b) >= 8 {
		if binary.LittleEndian.Uint64(b) != 0 {
			return false
		}
		b = b[8:]
	}
	for _, x := range b {
		if x != 0 {
			return false
		}
	}
	return true
}

// packer writes payload into a buffer of sectors and checks each as it fills. The buffer starts at sector number first of the file.
type packer struct {
	buf        []byte
	generation uint64
	first      uint64
	sector     int // in buf
	at         int // in the sector
}

func (p *packer) write(b []byte) {
	for len(b) > 0 {
		s := p.sector * SectorSize
		n := copy(p.buf[s+p.at:s+sectorPayload], b)
		b = b[n:]
		if p.at += n; p.at == sectorPayload {
			p.finish()
		}
	}
}

// finish checks the sector and goes to the next.
func (p *packer) finish() {
	s := p.buf[p.sector*SectorSize:][:SectorSize]
	binary.LittleEndian.PutUint32(s[sectorPayload:], sectorCheck(p.generation, p.first+uint64(p.sector), s[:sectorPayload]))
	p.sector++
	p.at = 0
}

// zero writes zeros up to a position in payload space.
func (p *packer) zero(to int) {
	for pos := p.pos(); pos < to; pos = p.pos() {
		n := min(to-pos, sectorPayload-p.at)
		s := p.sector*SectorSize + p.at
		clear(p.buf[s : s+n])
		if p.at += n; p.at == sectorPayload {
			p.finish()
		}
	}
}

// pos is the position in payload space.
func (p *packer) pos() int { return p.sector*sectorPayload + p.at }

// unpack copies the payload of whole sectors to dst and returns it.
func unpack(dst, sectors []byte) []byte {
	dst = slices.Grow(dst, len(sectors)/SectorSize*sectorPayload)
	for len(sectors) >= SectorSize {
		dst = append(dst, sectors[:sectorPayload]...)
		sectors = sectors[SectorSize:]
	}
	return dst
}

// fill makes blocks of zeros in a generation, from block start of the file on. The zeros' CRC is always the same.
func fill(buf []byte, generation, start uint64) {
	clear(buf)
	sum := zeroSum
	for s := 0; s < len(buf)/SectorSize; s++ {
		check := sum ^ mix32(generation, start*sectorsPerBlock+uint64(s))
		binary.LittleEndian.PutUint32(buf[s*SectorSize+sectorPayload:], check)
	}
}

var zeroSum = crc32.Checksum(make([]byte, sectorPayload), castagnoli)

// bodyBlocks is how many blocks a group with body payload bytes takes.
func bodyBlocks(body int) int { return (body + trailerSize + blockPayload - 1) / blockPayload }

func align8(n int) int { return (n + 7) &^ 7 }
