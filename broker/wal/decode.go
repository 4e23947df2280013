package wal

import "hash/crc32"

// decode reads the frames of an intact group. The payloads are parts of it.payload. It answers false if a frame contradicts the table.
func (s *scanner) decode(it *item) bool {
	h := &it.head
	if h.Kind != DataGroup {
		return h.Frames == 0
	}
	at := h.framesAt()
	body := int(h.Body)
	for i := range int(h.Frames) {
		entry := it.payload[headSize+i*entrySize:][:entrySize]
		id := decodeEntry(entry, h.FirstLSN+LSN(i))
		at = align8(at)
		if id.Length < 0 || id.Length > MaxPayload || at+frameHead+int(id.Length) > body {
			return false
		}
		header := it.payload[at : at+frameHead]
		payload := it.payload[at+frameHead:][:id.Length:id.Length]
		if LSN(le.Uint64(header)) != id.LSN || string(header[8:60]) != string(entry) || le.Uint32(header[60:]) != crc(h.Generation, header[:60]) {
			return false
		}
		if crc32.Checksum(payload, castagnoli) != id.CRC {
			return false
		}
		s.addFrame(it, &id, payload)
		at += frameHead + int(id.Length)
	}
	return at == body
}

// addFrame takes an intact frame; one of an unknown type counts as written by another release.
func (s *scanner) addFrame(it *item, id *Identity, payload []byte) {
	if !id.Type.Known() && id.Flags&FlagSkippable == 0 {
		it.version = &errFrameType{id.Type, id.LSN}
		it.damaged = append(it.damaged, *id)
		return
	}
	it.frames = append(it.frames, id.frame(payload))
}

// rescue reads what is left of a damaged group: the identities from the entries of the table that lie in good sectors, the frames whose header and payload are good.
func (s *scanner) rescue(it *item) {
	h := &it.head
	if h.Kind != DataGroup {
		if int(h.Body) <= len(it.payload) {
			s.tables(it)
		}
		return
	}
	ranges := headSize + int(h.Frames)*entrySize
	end := ranges + int(h.Ranges)*rangeSize
	whole := end <= len(it.payload) && crc(h.Generation, it.payload[headSize:end]) == h.Table
	if whole || end <= len(it.payload) && s.good(ranges, end) {
		s.takeRanges(it)
	}
	known := s.entries(it, whole)
	found := s.placed(it, known)
	if found == nil {
		frames, damaged := salvage(it.payload, h.Generation, 0, min(int(h.Body), len(it.payload)))
		found = make(map[LSN]Frame, len(frames))
		for _, f := range frames {
			found[f.LSN] = f
		}
		for _, id := range damaged {
			if i := int(id.LSN - h.FirstLSN); id.LSN >= h.FirstLSN && i < len(known) && known[i].LSN == 0 {
				known[i] = id
			}
		}
	}
	for i := range known {
		lsn := h.FirstLSN + LSN(i)
		switch f, ok := found[lsn]; {
		case ok && (f.Type.Known() || f.Flags&FlagSkippable != 0):
			it.frames = append(it.frames, f)
		case known[i].LSN != 0:
			it.damaged = append(it.damaged, known[i])
		default:
			it.incomplete = true
		}
	}
	if len(known) < int(h.Frames) {
		it.incomplete = true
	}
}

// entries returns the identities in the table, LSN 0 where an entry is damaged. The CRC of a whole table outweighs damage to its sectors.
func (s *scanner) entries(it *item, whole bool) []Identity {
	n := min(int(it.head.Frames), len(it.payload)/entrySize)
	known := make([]Identity, n)
	for i := range known {
		at := headSize + i*entrySize
		if at+entrySize <= len(it.payload) && (whole || s.good(at, at+entrySize)) {
			known[i] = decodeEntry(it.payload[at:], it.head.FirstLSN+LSN(i))
		}
	}
	return known
}

// placed returns the good frames by their places, which follow from the table; nil if the table has a gap.
func (s *scanner) placed(it *item, known []Identity) map[LSN]Frame {
	if len(known) < int(it.head.Frames) {
		return nil
	}
	found := make(map[LSN]Frame, len(known))
	at := it.head.framesAt()
	for i := range known {
		id := &known[i]
		if id.LSN == 0 || id.Length < 0 || id.Length > MaxPayload {
			return nil
		}
		at = align8(at) + frameHead
		end := at + int(id.Length)
		if end <= len(it.payload) && crc32.Checksum(it.payload[at:end], castagnoli) == id.CRC {
			found[id.LSN] = id.frame(it.payload[at:end:end])
		}
		at = end
	}
	return found
}

// good says whether the payload bytes [from, to) of the group that was judged last lie in current sectors.
func (s *scanner) good(from, to int) bool {
	for i := from / sectorPayload; i*sectorPayload < to; i++ {
		if i >= len(s.states) || s.states[i] != sectorCurrent {
			return false
		}
	}
	return true
}

// salvage finds frames in payload space by the headers in front of them, at each multiple of 8: the intact ones, and the identities of those whose
// payload is damaged.
func salvage(payload []byte, generation uint64, from, to int) (frames []Frame, damaged []Identity) {
	for at := align8(from); at+frameHead <= to; {
		id, ok := decodeFrameHead(payload[at:to], generation)
		if !ok {
			at += 8
			continue
		}
		start := at + frameHead
		end := start + int(id.Length)
		if end <= to && crc32.Checksum(payload[start:end], castagnoli) == id.CRC {
			frames = append(frames, id.frame(payload[start:end:end]))
			at = align8(end)
			continue
		}
		damaged = append(damaged, id)
		at += frameHead
	}
	return frames, damaged
}
