package wal

import (
	"hash/crc32"

	"chronik.dev/chronik/broker/vfs"
)

// encoder makes groups in memory that it uses again.
type encoder struct {
	buf    []byte // aligned
	tables []byte
	keep   int // bytes of buf kept between groups
}

// blocks returns n blocks to fill.
func (e *encoder) blocks(n int) []byte {
	if size := n * BlockSize; size > len(e.buf) {
		e.buf = vfs.Aligned(max(size, min(2*len(e.buf), e.keep)))
	}
	return e.buf[:n*BlockSize]
}

// release gives back memory that only a very large group needed.
func (e *encoder) release() {
	if len(e.buf) > e.keep {
		e.buf = nil
	}
}

// framesBody measures a data group: Body of its head. Each frame starts at a multiple of 8.
func framesBody(frames []Frame, ranges int) int {
	n := align8(headSize + len(frames)*entrySize + ranges*rangeSize)
	for i := range frames {
		n = align8(n) + frameHead + len(frames[i].Payload)
	}
	return n
}

// data makes a data group of frames, whose LSNs ascend by one from h.FirstLSN, and fills in the rest of h. ranges is what the group before held.
func (e *encoder) data(h *Head, frames []Frame, ranges []Range) []byte {
	h.Kind, h.Frames, h.Ranges = DataGroup, uint32(len(frames)), uint32(len(ranges))
	h.Body = uint64(framesBody(frames, len(ranges)))
	h.Blocks = uint32(bodyBlocks(int(h.Body)))
	t := e.tables[:0]
	var entry [entrySize]byte
	for i := range frames {
		encodeEntry(entry[:], &frames[i], crc32.Checksum(frames[i].Payload, castagnoli))
		t = append(t, entry[:]...)
	}
	t = appendRanges(t, ranges)
	e.tables = t
	h.Table = crc(h.Generation, t)
	p := e.begin(h)
	p.write(t)
	var head [frameHead]byte
	for i := range frames {
		encodeFrameHead(head[:], h.Generation, h.FirstLSN+LSN(i), t[i*entrySize:])
		p.zero(align8(p.pos()))
		p.write(head[:])
		p.write(frames[i].Payload)
	}
	return e.end(&p, h)
}

// plain makes a header, footer or fill group: a head, the ranges of the group before and a body of its own. blocks is how many it fills, at
// least what it needs.
func (e *encoder) plain(h *Head, ranges []Range, body []byte, blocks int) []byte {
	h.Ranges = uint32(len(ranges))
	e.tables = append(appendRanges(e.tables[:0], ranges), body...)
	h.Body = uint64(headSize + len(e.tables))
	h.Blocks = uint32(max(blocks, bodyBlocks(int(h.Body))))
	h.Table = crc(h.Generation, e.tables)
	p := e.begin(h)
	p.write(e.tables)
	return e.end(&p, h)
}

// marker makes a marker block, which says the same in each of its sectors.
func (e *encoder) marker(h *Head) []byte {
	h.Kind, h.Frames, h.Ranges, h.Table, h.Body, h.Blocks = MarkerGroup, 0, 0, 0, headSize, 1
	p := e.begin(h)
	for range sectorsPerBlock - 1 {
		p.zero((p.sector + 1) * sectorPayload)
		var head [headSize]byte
		encodeHead(head[:], h)
		p.write(head[:])
	}
	p.zero(blockPayload)
	return p.buf
}

func (e *encoder) begin(h *Head) packer {
	p := packer{buf: e.blocks(int(h.Blocks)), generation: h.Generation, first: uint64(h.Start) * sectorsPerBlock}
	var head [headSize]byte
	encodeHead(head[:], h)
	p.write(head[:])
	return p
}

// end pads the group and writes its trailer.
func (e *encoder) end(p *packer, h *Head) []byte {
	p.zero(int(h.Blocks)*blockPayload - trailerSize)
	var t [trailerSize]byte
	encodeHead(t[:], h)
	p.write(t[:headSize])
	// The last sector lacks only the sum, which covers all that is there now.
	sum := sumOf(h.Generation, p.buf)
	le.PutUint32(t[headSize:], sum)
	p.write(t[headSize:])
	return p.buf
}

// groupSum reads the sum of a group that was just made.
func groupSum(group []byte) uint32 { return le.Uint32(group[len(group)-8:]) }

func appendRanges(b []byte, ranges []Range) []byte {
	var r [rangeSize]byte
	for i := range ranges {
		encodeRange(r[:], &ranges[i])
		b = append(b, r[:]...)
	}
	return b
}

// tracker collects what a segment and its last group hold of each partition.
type tracker struct {
	index   map[rangeKey]int
	segment []Range
	inGroup []int // per entry of segment: 1 + place in group, if round is current
	round   []uint32
	current uint32
	group   []Range // of the last group, at most maxRanges; the last may stand for all others
	lastKey rangeKey
	lastAt  int
}

type rangeKey struct {
	id        [16]byte
	partition int32
}

// other marks the range that stands for partitions that had no place in the list.
const other = -1

func newTracker() *tracker { return &tracker{index: map[rangeKey]int{}, lastAt: -1} }

// beginSegment forgets the segment, not the last group.
func (t *tracker) beginSegment() {
	clear(t.index)
	t.segment, t.inGroup, t.round, t.lastAt = t.segment[:0], t.inGroup[:0], t.round[:0], -1
}

func (t *tracker) beginGroup() {
	t.group = t.group[:0]
	t.current++
}

func (t *tracker) add(f *Frame) {
	key := rangeKey{f.ID, f.Partition}
	at := t.lastAt
	if at < 0 || key != t.lastKey {
		var ok bool
		if at, ok = t.index[key]; !ok {
			at = len(t.segment)
			t.index[key] = at
			t.segment = append(t.segment, Range{ID: f.ID, Partition: f.Partition, First: -1, Last: -1})
			t.inGroup, t.round = append(t.inGroup, 0), append(t.round, t.current-1)
		}
		t.lastKey, t.lastAt = key, at
	}
	t.segment[at].include(f)
	if t.round[at] != t.current {
		t.round[at] = t.current
		switch {
		case len(t.group) < maxRanges-1:
			t.group = append(t.group, Range{ID: f.ID, Partition: f.Partition, First: -1, Last: -1})
		case len(t.group) == maxRanges-1:
			t.group = append(t.group, Range{Partition: other, First: -1, Last: -1})
		}
		t.inGroup[at] = len(t.group)
	}
	if r := &t.group[t.inGroup[at]-1]; r.Partition == other && f.Partition != other {
		r.Frames++
	} else {
		r.include(f)
	}
}

// include extends the range by a frame. Only batches and Raft entries have offsets of their own.
func (r *Range) include(f *Frame) {
	r.Frames++
	first, last := f.First, f.Last
	switch f.Type {
	case RaftEntry:
		last = first
	case Batch:
	default:
		return
	}
	if r.First < 0 || first < r.First {
		r.First = first
	}
	r.Last = max(r.Last, last)
}
