package wal

import (
	"cmp"
	"fmt"
	"slices"
)

// release is called with the next thing that stands on its own: what is held before it is promised. It links next with what was before.
func (in *inspector) release(next *item) error {
	linked := next.is(DataGroup) || next.is(HeaderGroup) || next.is(FooterGroup)
	first := LSN(0)
	if next.hasHead {
		first = next.head.FirstLSN
	}
	for i, it := range in.held {
		in.held[i] = nil
		if err := in.settle(it, next, first); err != nil {
			return err
		}
	}
	in.held = in.held[:0]
	gap := in.sumKnown && linked && next.head.Chain != in.sum
	// A header names the last LSN before it, and what is unknown of the chain cannot excuse a gap. LSNs that were refused for want of space leave
	// a gap too: there the chain goes on, and the last LSN that the header names is ours.
	follows := in.sumKnown && !gap && next.is(HeaderGroup) && LSN(next.head.Note[noteLastLSN]) == in.last
	behind := next.is(HeaderGroup) && in.inv.First != 0 && len(in.inv.Segments) > 1 && !follows
	if linked && first > in.last+1 && (gap || behind || !in.sumKnown && in.inFile()) {
		in.missing(next, first)
	} else if gap {
		in.find(Finding{File: next.info.File, Segment: next.info.ID, Offset: int64(next.start) * BlockSize, Length: int64(next.blocks) * BlockSize,
			Record: next.record(), Verdict: Corrupt, Reason: ReasonChain, Incomplete: true,
			Evidence: "the group does not continue the one before it, and no LSN is missing between them"})
	}
	if linked && first > in.last+1 {
		if in.refused = 0; in.sumKnown && !gap {
			in.refused = in.last
		}
		in.last = first - 1
	}
	return nil
}

// inFile says whether something of this segment was read, so that a jump of LSNs is not a cut between two segments.
func (in *inspector) inFile() bool { return in.info != nil && in.info.Groups > 0 }

// settle judges a held item that next promises.
func (in *inspector) settle(it, next *item, first LSN) error {
	if it.data() {
		if it.intact {
			return in.take(it, nil, false)
		}
		f := in.finding(it, in.damaged(it, Corrupt), fmt.Sprintf("%s proves that the sync of this group had returned", next.record()))
		if it.incomplete && next.rangesOK {
			in.nameRest(&f, it, next.ranges)
		}
		return in.take(it, &f, false)
	}
	to := maxLSN
	if next.hasHead {
		to = first - 1
	}
	it.plausible(in.last+1, to)
	f := in.finding(it, in.damaged(it, Corrupt), "")
	linked := next.is(DataGroup) || next.is(HeaderGroup) || next.is(FooterGroup)
	switch {
	case linked && in.sumKnown && next.head.Chain == in.sum || next.hasHead && first <= in.last+1 && len(it.frames) == 0:
		// The chain goes on behind it: no group was here, only a marker or nothing.
		f.Verdict, f.Reason = in.damaged(it, Notice), ReasonUnused
		if it.blocks == 1 {
			f.Reason = ReasonMarker
		}
		f.Incomplete = false
		f.Evidence = fmt.Sprintf("%s continues the group before it: only a marker can have been here", next.record())
		in.find(f)
		in.sc.recycle(it)
		return nil
	case next.hasHead:
		in.lost(&f, it, in.last+1, first-1, next)
		f.Evidence = fmt.Sprintf("%s proves that LSN %d to %d were durable here", next.record(), in.last+1, first-1)
		in.last = max(in.last, first-1)
	default:
		f.Incomplete = true
		f.FirstLSN = in.last + 1
		f.Evidence = "blocks of the same use behind it prove that the sync of what was here had returned"
	}
	in.sumKnown = false
	return in.take(it, &f, false)
}

// plausible keeps of what was found in damage without a head the LSNs in [from, to], each once and in order: a sector that was written to a
// wrong place can hold a frame of another group.
func (it *item) plausible(from, to LSN) {
	it.frames = slices.DeleteFunc(it.frames, func(f Frame) bool { return f.LSN < from || f.LSN > to })
	slices.SortStableFunc(it.frames, func(a, b Frame) int { return cmp.Compare(a.LSN, b.LSN) })
	it.frames = slices.CompactFunc(it.frames, func(a, b Frame) bool { return a.LSN == b.LSN })
	intact := make(map[LSN]bool, len(it.frames))
	for i := range it.frames {
		intact[it.frames[i].LSN] = true
	}
	it.damaged = slices.DeleteFunc(it.damaged, func(id Identity) bool { return id.LSN < from || id.LSN > to || intact[id.LSN] })
	slices.SortStableFunc(it.damaged, func(a, b Identity) int { return cmp.Compare(a.LSN, b.LSN) })
	it.damaged = slices.CompactFunc(it.damaged, func(a, b Identity) bool { return a.LSN == b.LSN })
}

// lost fills in what a finding of LSNs [from, to] costs: what the frames left in it do not hold, named by their headers and by what the next group
// says of the group before it.
func (in *inspector) lost(f *Finding, it *item, from, to LSN, next *item) {
	f.FirstLSN, f.LastLSN = from, to
	known := map[LSN]bool{}
	for i := range it.frames {
		known[it.frames[i].LSN] = true
	}
	for i := range it.damaged {
		known[it.damaged[i].LSN] = true
	}
	f.Lost = it.damaged
	f.Incomplete = uint64(len(known)) < uint64(to-from+1)
	if f.Incomplete && next.rangesOK {
		in.nameRest(f, it, next.ranges)
	}
}

// nameRest names lost frames by a list of ranges, less what is known of them one by one.
func (in *inspector) nameRest(f *Finding, it *item, ranges []Range) {
	seen := newTracker()
	seen.beginGroup()
	for i := range it.frames {
		seen.add(&it.frames[i])
	}
	for i := range it.damaged {
		fr := it.damaged[i].frame(nil)
		seen.add(&fr)
	}
	named := uint64(len(it.frames) + len(it.damaged))
	for _, r := range subtract(ranges, seen.segment) {
		if r.Partition == other {
			continue
		}
		f.Lost = append(f.Lost, in.summary(&r))
		named += uint64(r.Frames)
	}
	from, to := f.FirstLSN, f.LastLSN
	if it.data() {
		from, to = it.head.FirstLSN, it.head.LastLSN()
	}
	f.Incomplete = named < uint64(to-from+1)
}

// summary is the identity that a range stands for.
func (in *inspector) summary(r *Range) Identity {
	id := Identity{ID: r.ID, Partition: r.Partition, First: r.First, Last: r.Last, Length: -1, Count: r.Frames}
	switch {
	case r.First < 0:
	case in.o.Kind == Raft:
		id.Type = RaftEntry
	default:
		id.Type = Batch
	}
	return id
}

// missing reports groups that are not there at all before next.
func (in *inspector) missing(next *item, first LSN) {
	info := in.info
	at := int64(in.realEnd) * BlockSize
	if next.is(HeaderGroup) && len(in.inv.Segments) > 1 {
		info = &in.inv.Segments[len(in.inv.Segments)-2]
	}
	f := Finding{File: info.File, Segment: info.ID, Offset: at, Record: fmt.Sprintf("groups of LSN %d to %d", in.last+1, first-1), Verdict: Corrupt,
		Reason: ReasonMissing, Evidence: fmt.Sprintf("%s promises them", next.record())}
	if next.info == info && next.start > in.realEnd {
		f.Length = int64(next.start-in.realEnd) * BlockSize
	}
	in.lost(&f, &item{}, in.last+1, first-1, next)
	in.find(f)
}

// take hands a group to the visitor and takes account of it.
func (in *inspector) take(it *item, f *Finding, tail bool) error {
	info := it.info
	if it.data() || len(it.frames) > 0 {
		info.Groups++
	}
	info.Frames += int64(len(it.frames))
	g := &in.group
	*g = Group{Segment: info.ID, File: info.File, Offset: int64(it.start) * BlockSize, Size: int64(it.blocks) * BlockSize, Head: it.head,
		Frames: it.frames, Damaged: it.damaged, Tail: tail}
	if f != nil {
		in.find(*f)
		g.Finding = f
	}
	if it.data() {
		in.last, in.refused = max(in.last, it.head.LastLSN()), 0
		in.sum, in.sumKnown = it.sum, it.sumOK
		in.inv.note = it.head.Note
		if info.FirstTime == 0 {
			info.FirstTime = it.head.Time
		}
		info.LastTime = it.head.Time
	} else if len(it.frames) > 0 {
		g.Head = Head{Kind: DataGroup, Log: in.o.Kind, Segment: info.ID, FirstLSN: it.frames[0].LSN, Start: it.start, Blocks: it.blocks}
		last := it.frames[len(it.frames)-1].LSN
		in.last = max(in.last, last)
		in.seenLSN(last)
	}
	if !tail {
		info.LastLSN = max(info.LastLSN, in.last)
	}
	for i := range it.frames {
		if tail {
			break // it moves to the next segment
		}
		in.seen.add(&it.frames[i])
	}
	for i := range it.damaged {
		if tail {
			break
		}
		fr := it.damaged[i].frame(nil)
		in.seen.add(&fr)
	}
	if !tail {
		info.chain = in.sum
	}
	var err error
	if in.visit != nil && (len(it.frames) > 0 || len(it.damaged) > 0) {
		err = in.visit(g)
	}
	in.sc.recycle(it)
	return err
}
