package wal

import "chronik.dev/chronik/broker/planted"

import "errors"

// item is one stretch of a segment file as the scanner found it, in the order of the file.
type item struct {
	info    *SegmentInfo
	start   uint32 // block
	blocks  uint32
	head    Head // if hasHead
	hasHead bool // the head or its copy is valid
	intact  bool
	current bool // something of this use of the file is in it: the groups before are promised
	whole   bool // no sector of its first block is stale: a group can have been there

	badAt    int64 // offset of the first sector that is not current
	badBytes int64 // from there to the end of the last such sector
	allStale bool  // every such sector is stale, as an interrupted write leaves it
	ioErr    error

	frames     []Frame
	damaged    []Identity
	incomplete bool
	ranges     []Range // what the group before held, if rangesOK
	rangesOK   bool
	sum        uint32
	sumOK      bool
	reason     Reason
	detail     string
	version    error // a format version or frame type that this reader does not know
	payload    []byte
}

func (it *item) end() uint32         { return it.start + it.blocks }
func (it *item) data() bool          { return it.hasHead && it.head.Kind == DataGroup }
func (it *item) is(k GroupKind) bool { return it.hasHead && it.head.Kind == k }

// scanner reads one segment file and emits its items.
type scanner struct {
	r      *blockReader
	u      use
	log    Kind
	info   *SegmentInfo
	limit  uint32 // blocks that count
	from   uint32 // end of the last item with something of this use
	emit   func(*item) error
	states []sectorState
	free   [][]byte // payload buffers to use again
	spare  [][]Frame
	holes  bool // stale blocks between items
	footer *item
}

// run reads from block b to the end, or to the footer.
func (s *scanner) run(b uint32) error {
	s.from = b
	for b < s.limit {
		it, next := s.next(b)
		if it == nil {
			b = next
			continue
		}
		if planted.Is(planted.StopAtBadCRC) && !it.intact {
			return nil
		}
		if it.current || it.hasHead {
			s.holes = s.holes || it.start > s.from
			s.from = max(s.from, it.end())
		}
		if err := s.emit(it); err != nil {
			return err
		}
		if it.version != nil && !it.hasHead {
			return nil
		}
		if it.is(FooterGroup) {
			s.footer = it
			return nil
		}
		b = it.end()
	}
	return nil
}

// next finds what is at block b: an item, or nothing and the block to go on with.
func (s *scanner) next(b uint32) (*item, uint32) {
	raw := s.r.view(b, 1)
	h, err := s.headAt(raw, b)
	if err == nil {
		if h.Kind == MarkerGroup {
			return s.marker(h, b, raw), 0
		}
		return s.group(h, b), 0
	}
	if mh, ok := s.markerHead(raw, b); ok {
		return s.marker(mh, b, raw), 0
	}
	if s.blockStale(raw, b) {
		return nil, b + 1
	}
	var version *errVersion
	if errors.As(err, &version) && s.u.state(raw[:SectorSize], uint64(b)*sectorsPerBlock) != sectorStale {
		return &item{info: s.info, start: b, blocks: s.limit - b, current: true, version: err, badAt: int64(b) * BlockSize}, 0
	}
	return s.damage(b), 0
}

// headAt reads the head of a group that starts at block b. Only what is consistent with this file counts.
func (s *scanner) headAt(raw []byte, b uint32) (Head, error) {
	h, err := decodeHead(raw)
	if err != nil {
		return h, err
	}
	if !s.ours(&h) || h.Start != b {
		return h, errHead
	}
	return h, nil
}

func (s *scanner) ours(h *Head) bool {
	return h.Generation == s.u.generation && h.Segment == s.info.ID && h.Log == s.log && h.sane() &&
		h.Kind != FillGroup && uint64(h.Start)+uint64(h.Blocks) <= MaxSegmentSize/BlockSize*2+MaxPayload/2048
}

// markerHead looks for a marker in the sectors of a block whose first sector is gone.
func (s *scanner) markerHead(raw []byte, b uint32) (Head, bool) {
	for at := SectorSize; at+SectorSize <= len(raw); at += SectorSize {
		if h, err := s.headAt(raw[at:], b); err == nil && h.Kind == MarkerGroup {
			return h, true
		}
	}
	return Head{}, false
}

func (s *scanner) blockStale(raw []byte, b uint32) bool {
	for i := range sectorsPerBlock {
		if s.stateAt(raw, i*SectorSize, uint64(b)*sectorsPerBlock+uint64(i)) != sectorStale {
			return false
		}
	}
	return s.r.unreadable(b) == nil
}

// stateAt judges the sector at a place in raw; what is past the end of the file is stale only in a growing file.
func (s *scanner) stateAt(raw []byte, at int, number uint64) sectorState {
	switch {
	case at+SectorSize <= len(raw):
		if s.r.failed != nil && s.r.failed[uint32(number/sectorsPerBlock)] != nil {
			return sectorBad
		}
		return s.u.state(raw[at:at+SectorSize], number)
	case s.u.growing && (at >= len(raw) || allZero(raw[at:])):
		return sectorStale
	}
	return sectorBad
}

// judge sets the states of n blocks from start on and returns whether all are current.
func (s *scanner) judge(it *item, raw []byte) bool {
	all := int(it.blocks) * sectorsPerBlock
	n := min(all, (len(raw)+SectorSize-1)/SectorSize)
	if cap(s.states) < n {
		s.states = make([]sectorState, n)
	}
	s.states = s.states[:n]
	it.allStale, it.whole = true, true
	for i := range n {
		number := uint64(it.start)*sectorsPerBlock + uint64(i)
		st := s.stateAt(raw, i*SectorSize, number)
		s.states[i] = st
		if st == sectorCurrent {
			it.current = true
			continue
		}
		if it.badBytes == 0 {
			it.badAt = int64(number) * SectorSize
		}
		it.badBytes = int64(number+1)*SectorSize - it.badAt
		it.allStale = it.allStale && st == sectorStale
		it.whole = it.whole && (i >= sectorsPerBlock || st != sectorStale)
	}
	if n < all { // past the end of the file
		if it.badBytes == 0 {
			it.badAt = int64(it.start)*BlockSize + int64(n)*SectorSize
		}
		it.badBytes = int64(it.end())*BlockSize - it.badAt
		it.allStale = it.allStale && s.u.growing
		it.whole = it.whole && (n >= sectorsPerBlock || !s.u.growing)
	}
	for b := it.start; s.r.failed != nil && b < it.end(); b++ {
		if err := s.r.unreadable(b); err != nil {
			it.ioErr = err
		}
	}
	return it.badBytes == 0
}

// marker reads a marker block: one good sector of it is enough.
func (s *scanner) marker(h Head, b uint32, raw []byte) *item {
	it := &item{info: s.info, start: b, blocks: 1, head: h, hasHead: true}
	it.intact = s.judge(it, raw)
	it.current = true
	if !it.intact {
		it.reason = ReasonMarker
	}
	return it
}

// group reads the group whose head, or the copy in its trailer, is h.
func (s *scanner) group(h Head, start uint32) *item {
	it := &item{info: s.info, start: start, blocks: h.Blocks, head: h, hasHead: true}
	raw := s.r.view(start, h.Blocks)
	good := s.judge(it, raw)
	it.current = true
	it.payload = unpack(s.buffer(), raw)
	if n := len(s.spare); n > 0 {
		it.frames, s.spare = s.spare[n-1][:0], s.spare[:n-1]
	}
	last := (int(h.Blocks)*sectorsPerBlock - 1) * SectorSize
	if last+SectorSize <= len(raw) && s.states[len(s.states)-1] == sectorCurrent {
		th, sum, err := decodeTrailer(raw[last : last+SectorSize])
		if it.sumOK = err == nil && th == h; it.sumOK {
			it.sum = sum
		}
	}
	if good && it.sumOK && it.sum == sumOf(h.Generation, raw) && s.tables(it) && s.decode(it) {
		it.intact = true
		return it
	}
	it.frames, it.damaged = it.frames[:0], nil
	it.reason = ReasonSector
	if good {
		it.reason, it.detail = ReasonFields, "every sector is as it was written and the group contradicts itself"
		it.badAt, it.badBytes, it.allStale = int64(start)*BlockSize, int64(h.Blocks)*BlockSize, false
	}
	s.rescue(it)
	return it
}

// tables checks the CRC of the tables and takes the list of what the group before held.
func (s *scanner) tables(it *item) bool {
	h := &it.head
	end := headSize + int(h.Frames)*entrySize + int(h.Ranges)*rangeSize
	if h.Kind != DataGroup {
		end = int(h.Body)
	}
	if crc(h.Generation, it.payload[headSize:end]) != h.Table {
		return false
	}
	s.takeRanges(it)
	return true
}

func (s *scanner) takeRanges(it *item) {
	at := headSize + int(it.head.Frames)*entrySize
	it.ranges = it.ranges[:0]
	for i := range int(it.head.Ranges) {
		it.ranges = append(it.ranges, decodeRange(it.payload[at+i*rangeSize:]))
	}
	it.rangesOK = true
}

// body returns what a header or footer holds besides its head.
func (it *item) body() []byte {
	at := headSize + int(it.head.Ranges)*rangeSize
	return it.payload[at:it.head.Body]
}

// buffer returns an empty payload buffer.
func (s *scanner) buffer() []byte {
	if n := len(s.free); n > 0 {
		b := s.free[n-1]
		s.free = s.free[:n-1]
		return b[:0]
	}
	return nil
}

// recycle takes back what an item used.
func (s *scanner) recycle(it *item) {
	if it.payload != nil && len(s.free) < 3 {
		s.free = append(s.free, it.payload)
	}
	if it.frames != nil && len(s.spare) < 3 {
		s.spare = append(s.spare, it.frames)
	}
	it.payload, it.frames = nil, nil
}

// damage finds how far the damage at block b goes: to the next thing that stands on its own.
func (s *scanner) damage(b uint32) *item {
	last := b // last block that is not stale
	for k := b; k < s.limit; k++ {
		raw := s.r.view(k, 1)
		if k > b {
			if h, err := s.headAt(raw, k); err == nil && h.Start == k {
				return s.region(b, k)
			}
			if _, ok := s.markerHead(raw, k); ok {
				return s.region(b, k)
			}
		}
		if len(raw) == BlockSize {
			h, _, err := decodeTrailer(raw[BlockSize-SectorSize:])
			if err == nil && s.ours(&h) && h.Start >= s.from && h.Start+h.Blocks-1 == k {
				if h.Start <= b {
					return s.group(h, h.Start)
				}
				return s.region(b, h.Start)
			}
		}
		if !s.blockStale(raw, k) {
			last = k
		}
	}
	return s.region(b, last+1)
}

// region is damage without a head: what is in it is found by the headers in front of frames.
func (s *scanner) region(b, end uint32) *item {
	it := &item{info: s.info, start: b, blocks: end - b, reason: ReasonHead, incomplete: true}
	const most = 16 << 20 / BlockSize
	raw := s.r.view(b, min(it.blocks, most))
	if it.blocks > most {
		s.longRegion(it)
	} else {
		s.judge(it, raw)
	}
	if it.current {
		it.payload = unpack(s.buffer(), raw)
		it.frames, it.damaged = salvage(it.payload, s.u.generation, 0, len(it.payload))
	}
	return it
}

// longRegion judges a region part by part; frames are looked for only in its first part.
func (s *scanner) longRegion(it *item) {
	part := *it
	whole := false
	all := true
	for b := it.start; b < it.end(); b += part.blocks {
		part = item{info: it.info, start: b, blocks: min(256, it.end()-b)}
		s.judge(&part, s.r.view(b, part.blocks))
		if b == it.start {
			whole, it.badAt = part.whole, part.badAt
		}
		it.current = it.current || part.current
		if part.badBytes > 0 {
			it.badBytes = part.badAt + part.badBytes - it.badAt
		}
		all = all && part.allStale
		if part.ioErr != nil {
			it.ioErr = part.ioErr
		}
	}
	it.whole, it.allStale = whole, all
	s.r.view(it.start, 1)
}
