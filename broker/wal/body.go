package wal

// headerBody is what a segment's header holds besides its head: whose the segment is and what the one before it held.
type headerBody struct {
	dirID       [16]byte
	predecessor uint64 // generation; id and last LSN are in the note
	endBlock    uint32 // block after the predecessor's last group before its footer
	resumed     bool   // made by Resume: live only if the manifest lists it or groups follow that are not moved ones
	list        []Range
}

// Places in the note of a header: generation of the file's use before; blocks of the segment, 0 while it grows; id of the predecessor; last LSN of it.
const (
	notePrevious = iota
	noteBlocks
	notePredecessor
	noteLastLSN
)

func (h *headerBody) encode() []byte {
	b := append([]byte(nil), h.dirID[:]...)
	b = le.AppendUint64(b, h.predecessor)
	b = le.AppendUint32(b, h.endBlock)
	b = le.AppendUint32(b, bit(h.resumed))
	b = le.AppendUint32(b, uint32(len(h.list)))
	return appendRanges(b, h.list)
}

func decodeHeaderBody(b []byte) (h headerBody, ok bool) {
	d := reader{b: b}
	h.dirID = [16]byte(d.take(16))
	h.predecessor, h.endBlock, h.resumed = d.u64(), d.u32(), d.u32() == 1
	h.list = d.ranges()
	return h, !d.bad
}

// footerBody is what a footer holds besides its head. Successor id and generation are in the note, 0 after a clean stop.
type footerBody struct {
	endBlock uint32 // where the footer begins
	groups   uint32
	cut      *Cut
	list     []Range
}

// Places in the note of a footer.
const (
	noteSuccessor = iota
	noteSuccessorGeneration
)

func (f *footerBody) encode() []byte {
	b := le.AppendUint32(nil, f.endBlock)
	b = le.AppendUint32(b, f.groups)
	b = le.AppendUint32(b, bit(f.cut != nil))
	if f.cut != nil {
		b = appendCut(b, f.cut)
	}
	b = le.AppendUint32(b, uint32(len(f.list)))
	return appendRanges(b, f.list)
}

func decodeFooterBody(b []byte) (f footerBody, ok bool) {
	d := reader{b: b}
	f.endBlock, f.groups = d.u32(), d.u32()
	if d.u32() == 1 {
		c := d.cut()
		f.cut = &c
	}
	f.list = d.ranges()
	return f, !d.bad
}

func (d *reader) ranges() []Range {
	n := int(d.u32())
	if d.bad || n > len(d.b)/rangeSize {
		d.bad = true
		return nil
	}
	list := make([]Range, n)
	for i := range list {
		list[i] = decodeRange(d.take(rangeSize))
	}
	return list
}

// headerBlocks and footerBlocks are what a header or footer takes at most with so many entries in its lists.
func headerBlocks(list int) int { return bodyBlocks(headSize + 36 + list*rangeSize) }

func footerBlocks(list, group int) int {
	return bodyBlocks(headSize + min(group, maxRanges)*rangeSize + 16 + 44 + maxIncident + list*rangeSize)
}
