package wal

import (
	"cmp"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"

	"chronik.dev/chronik/broker/planted"
)

// endSegment takes account of a segment that was read to its end. What is held stays so: the next segment's header may promise it.
func (in *inspector) endSegment(list []*candidate, i int, findings int) error {
	c, info, sc := list[i], in.info, in.sc
	blocks := sc.r.blocks()
	info.End = int64(in.realEnd) * BlockSize
	if sc.footer == nil || in.tornFooter {
		if !in.tornFooter && !info.Sealed {
			in.noFooter(c)
		}
		if whole := int64(c.head.Note[noteBlocks]) * BlockSize; c.start > 0 && !c.use.growing && c.size < whole && info.Cut == nil {
			in.held = append(in.held, &item{info: info, start: blocks, blocks: uint32((whole - c.size + BlockSize - 1) / BlockSize), whole: true,
				badAt: c.size, reason: ReasonShort, detail: fmt.Sprintf("the file was prewritten to %d bytes", whole)})
		}
		return nil
	}
	foot := &sc.footer.head
	if in.realEnd < blocks || c.size%BlockSize != 0 {
		info.rest = c.size - info.End
		in.find(Finding{File: c.name, Segment: c.id, Offset: info.End, Length: info.rest, Record: "rest of the file", Verdict: Notice,
			Reason: ReasonUnused, Evidence: "bytes behind the footer, as a stop that was interrupted before it cut them off leaves them"})
	}
	size := int64(c.head.Note[noteBlocks]) * BlockSize
	info.Full = in.realEnd == blocks && !sc.holes && len(in.inv.Findings) == findings && (c.use.growing || size == c.size)
	if next := foot.Note[noteSuccessor]; next != 0 {
		in.checkSuccessor(list, i, next, foot.Note[noteSuccessorGeneration])
	}
	return nil
}

// checkSuccessor reports a segment that the footer before names and that is not there.
func (in *inspector) checkSuccessor(list []*candidate, i int, id, generation uint64) {
	if i+1 < len(list) && list[i+1].id == id && (list[i+1].missing || list[i+1].use.generation == generation) {
		return
	}
	f := Finding{File: filepath.Join(in.o.Dir, segmentName(id)), Segment: id, Record: "segment", Verdict: Corrupt, Reason: ReasonFile, Incomplete: true,
		FirstLSN: in.last + 1, Evidence: fmt.Sprintf("the footer of segment %d names it, generation %016x", list[i].id, generation)}
	if i+1 < len(list) && list[i+1].id == id {
		f.Reason = ReasonRolledBack
	}
	in.inv.maxID = max(in.inv.maxID, id)
	in.seenLSN(in.last + unseen)
	in.find(f)
}

// noFooter reports a footer that must be there: the manifest says so, or the next segment has groups, which were written after it.
func (in *inspector) noFooter(c *candidate) {
	info, at := in.info, in.inv.manifest.footer(c.id)
	if !in.sealPromised() || info.Cut != nil && at == 0 {
		return
	}
	if at == 0 {
		at = in.next.body.endBlock
	}
	info.Sealed, info.foot = true, at
	in.find(Finding{File: c.name, Segment: c.id, Offset: int64(at) * BlockSize, Record: fmt.Sprintf("segment footer at %d", int64(at)*BlockSize),
		Verdict: Corrupt, Reason: ReasonMissing, Evidence: "it was synced before anything depended on it, and is not there; it holds no frames"})
}

// emptySegment says whether a segment has no group but moved ones yet: then the footer before it may not have been written.
func (in *inspector) emptySegment(c *candidate) bool {
	f, err := in.o.FS.OpenFile(c.name, os.O_RDONLY)
	if err != nil {
		return true
	}
	defer f.Close()
	r := &blockReader{f: f, size: c.size}
	sc := &scanner{r: r, u: c.use, log: in.o.Kind, info: &SegmentInfo{ID: c.id, File: c.name}, limit: r.blocks()}
	for b := c.start; b < sc.limit; {
		it, next := sc.next(b)
		if it == nil {
			b = next
			continue
		}
		if it.data() && it.head.Flags&GroupMoved == 0 {
			return false
		}
		b = it.end()
	}
	return true
}

// missingFile reports a live segment whose file is not there. What it held is known when the next header is read.
func (in *inspector) missingFile(c *candidate) error {
	s := in.inv.manifest.segment(c.id)
	info := in.info
	info.FirstLSN, info.LastLSN, info.missing = s.first, s.first-1, true
	if in.inv.First == 0 {
		in.inv.First = s.first
	}
	if err := in.release(&item{info: info, head: Head{Kind: HeaderGroup, FirstLSN: s.first, Chain: in.sum}, hasHead: true, current: true}); err != nil {
		return err
	}
	f := Finding{File: c.name, Segment: c.id, Record: "segment", Verdict: Corrupt, Reason: ReasonFile,
		Evidence: fmt.Sprintf("the manifest lists it, generation %016x, durable to LSN %d", s.generation, s.synced)}
	if s.end == 0 || s.synced >= s.first {
		f.Incomplete, f.FirstLSN, f.LastLSN = true, s.first, max(s.first, s.synced)
	}
	if s.end == 0 {
		in.seenLSN(max(s.first, s.synced) + unseen)
	}
	in.last = max(in.last, s.first-1, s.synced)
	in.sumKnown = false
	in.realEnd = 0
	in.seen.beginSegment()
	in.find(f)
	return nil
}

// finish judges what is still held: the tail of the log.
func (in *inspector) finish() error {
	inv := in.inv
	floor := in.floor()
	in.end()
	first := true
	for i, it := range in.held {
		var err error
		switch {
		case it.intact && it.head.LastLSN() <= floor:
			if err = in.take(it, nil, false); err == nil {
				in.held[i] = nil
				in.end()
			}
		case it.intact:
			inv.Tail = tailOf(it, it.frames)
			inv.end.block = in.heldFrom
			err = in.take(it, nil, true)
		case it.current || it.hasHead:
			err = in.tail(it, floor)
			first = false
		default:
			in.nothing(it, floor, first)
			first = false
		}
		if err != nil {
			return err
		}
	}
	in.held = nil
	if floor > in.last && len(inv.Segments) > 0 {
		info := in.info
		f := Finding{File: info.File, Segment: info.ID, Offset: int64(in.realEnd) * BlockSize, Verdict: Corrupt, Reason: ReasonMissing,
			Record: fmt.Sprintf("groups of LSN %d to %d", in.last+1, floor), FirstLSN: in.last + 1, LastLSN: floor, Incomplete: true,
			Evidence: "the manifest, the checkpoint or a later head says that they were durable, and nothing of them is there"}
		in.find(f)
		in.last = floor
		in.end()
	}
	inv.Last = in.last
	inv.Highest = max(inv.Highest, in.last, inv.Floor)
	if inv.end.first == 0 {
		inv.end.first = in.last + 1
	}
	return nil
}

// end makes Resume continue behind all that was read.
func (in *inspector) end() {
	in.inv.end = logEnd{block: in.realEnd, chain: in.sum, last: in.last}
	if in.refused > 0 {
		in.inv.end.last = in.refused // the next header names the last LSN that there is
	}
	if len(in.held) > 0 && in.held[0] != nil && (in.held[0].current || in.held[0].hasHead) {
		in.inv.end.block = in.heldFrom
	}
	if in.info != nil && !in.info.Sealed {
		in.info.ranges = slices.Clone(in.seen.segment)
	}
}

// floor is the highest LSN that was promised; promises inside a cut do not count.
func (in *inspector) floor() LSN {
	floor := in.inv.Floor
	for _, c := range in.inv.Cuts {
		if floor >= c.First && floor < c.Resume {
			floor = min(floor, max(in.last, c.First-1))
		}
	}
	in.inv.Floor = floor
	if planted.Is(planted.IgnorePromise) {
		return 0
	}
	return floor
}

// unseen is how many LSNs are passed over where a group may have been whose LSNs nothing tells: more than a group holds.
const unseen = 1 << 24

// tail judges a damaged group, or what is left of one, that nothing behind it promises.
func (in *inspector) tail(it *item, floor LSN) error {
	inv := in.inv
	first, last := in.last+1, in.last
	if it.data() {
		first, last = it.head.FirstLSN, it.head.LastLSN()
	} else {
		it.plausible(first, maxLSN)
	}
	for i := range it.frames {
		in.seenLSN(it.frames[i].LSN)
	}
	for i := range it.damaged {
		in.seenLSN(it.damaged[i].LSN)
	}
	if !it.data() {
		in.seenLSN(max(first, last) + unseen)
	}
	f := in.finding(it, in.damaged(it, Corrupt), fmt.Sprintf("LSN %d and below were promised to be durable", floor))
	switch {
	case first <= floor:
		if !it.data() {
			in.lost(&f, it, first, max(floor, last), &item{})
			in.last = max(in.last, floor)
		}
		if err := in.take(it, &f, false); err != nil {
			return err
		}
		in.held[0] = nil
		in.end()
		return nil
	case it.ioErr != nil:
		inv.end.unreadable = true
		f.Evidence = "the disk does not read the end of the log: whether it was interrupted cannot be said"
		in.find(f)
		return nil
	case in.o.Kind == Raft || it.allStale:
		f.Verdict, f.Lost = Torn, all(it)
		f.Evidence = "past the floor, and each sector that is not of this group is as the file's previous use left it: its sync never returned"
		if !it.allStale {
			f.Evidence = "past the floor and without a marker behind it: nothing can depend on it"
		}
		f.FirstLSN, f.LastLSN, f.Incomplete = first, max(last, first), false
		inv.end.first, inv.end.lost = first, f.Lost
		in.find(f)
		return nil
	}
	kept, lost := keep(it, first)
	f.Incomplete = it.incomplete
	f.Verdict, f.Lost = Undecided, lost
	f.FirstLSN, f.LastLSN = 0, 0
	for i := range lost {
		f.lose(lost[i].LSN)
	}
	f.Evidence = "past the floor, and not as an interrupted write leaves it: it may have been acknowledged, or interrupted inside a sector"
	inv.end.first, inv.end.lost = first, lost
	for i := 0; i < len(kept) && kept[i].LSN == inv.end.first; i++ {
		inv.end.first++ // of what is not kept nothing may be known, so the lost ones that are do not tell where the cut begins
	}
	it.frames, it.damaged = kept, lost
	inv.Tail = tailOf(it, kept)
	inv.Tail.Finding = &f
	return in.take(it, &f, true)
}

// all names all that is known of a group.
func all(it *item) []Identity {
	ids := slices.Clone(it.damaged)
	for i := range it.frames {
		ids = append(ids, identityOf(&it.frames[i]))
	}
	slices.SortFunc(ids, func(a, b Identity) int { return cmp.Compare(a.LSN, b.LSN) })
	return ids
}

func identityOf(f *Frame) Identity {
	return Identity{LSN: f.LSN, Type: f.Type, Flags: f.Flags, ID: f.ID, Partition: f.Partition, Epoch: f.Epoch, First: f.First, Last: f.Last,
		Length: int32(len(f.Payload)), CRC: crc32.Checksum(f.Payload, castagnoli), Count: 1}
}

// keep divides the group past the floor: its intact frames are kept, unless an earlier frame of the same partition is lost. Behind a frame of
// which nothing is known nothing is kept.
func keep(it *item, first LSN) (kept []Frame, lost []Identity) {
	gone := map[rangeKey]bool{}
	next := first
	unknown := false
	frames, damaged := it.frames, it.damaged
	for len(frames)+len(damaged) > 0 {
		var lsn LSN
		if len(damaged) == 0 || len(frames) > 0 && frames[0].LSN < damaged[0].LSN {
			f := &frames[0]
			lsn, frames = f.LSN, frames[1:]
			if unknown = unknown || lsn > next; unknown || gone[rangeKey{f.ID, f.Partition}] {
				lost = append(lost, identityOf(f))
			} else {
				kept = append(kept, *f)
			}
		} else {
			id := damaged[0]
			lsn, damaged = id.LSN, damaged[1:]
			unknown = unknown || lsn > next
			gone[rangeKey{id.ID, id.Partition}] = true
			lost = append(lost, id)
		}
		next = lsn + 1
	}
	return kept, lost
}

// tailOf copies a group for Inventory.Tail.
func tailOf(it *item, frames []Frame) *Group {
	g := &Group{Segment: it.info.ID, File: it.info.File, Offset: int64(it.start) * BlockSize, Size: int64(it.blocks) * BlockSize, Head: it.head,
		Frames: slices.Clone(frames), Damaged: it.damaged, Tail: true}
	for i := range g.Frames {
		g.Frames[i].Payload = slices.Clone(g.Frames[i].Payload)
	}
	return g
}

// nothing judges damage past the last group that holds nothing of this use. Only at first, right behind that group or behind the place of a lost
// marker, can a group have been there, and only if no sector of its first block is as the previous use left it.
func (in *inspector) nothing(it *item, floor LSN, first bool) {
	f := in.finding(it, Notice, "nothing was stored here: no group had begun before it")
	inv := in.inv
	f.Incomplete = false
	at := it.start == in.realEnd || it.start == in.realEnd+1
	switch {
	case !first || !it.whole || !at:
		if f.Reason == ReasonHead {
			f.Reason = ReasonUnused
		}
		f.Verdict = in.damaged(it, Notice)
	case floor > in.last:
		f.Verdict, f.Evidence = in.damaged(it, Corrupt), fmt.Sprintf("LSN %d and below were promised to be durable", floor)
		in.lost(&f, it, in.last+1, floor, &item{})
		in.last, in.realEnd = floor, max(in.realEnd, it.end())
		in.sumKnown = false
		if inv.Tail == nil {
			in.held[0] = nil
			in.end()
		}
	case it.ioErr != nil:
		f.Verdict, f.Incomplete = IOError, true
		inv.end.unreadable = true
	case in.o.Kind == Raft:
		in.seenLSN(in.last + unseen)
		f.Verdict, f.Evidence = Torn, "past the floor and without a marker: nothing can depend on what was here"
	default:
		in.seenLSN(in.last + unseen)
		f.Verdict, f.Incomplete, f.FirstLSN = Undecided, true, in.last+1
		f.Evidence = "past the floor, where the next group would be, and not as an interrupted write leaves it: a group or a marker may have been here"
	}
	in.find(f)
}
