package wal

import (
	"os"
	"slices"
)

// successor returns id and generation of the segment that the footer at the end of c's file names; 0 if there is none.
func (in *inspector) successor(c *candidate) (id, generation uint64) {
	f, err := in.o.FS.OpenFile(c.name, os.O_RDONLY)
	if err != nil {
		return 0, 0
	}
	defer f.Close()
	if c.size < BlockSize || c.size%BlockSize != 0 {
		return 0, 0
	}
	var sector [SectorSize]byte
	if _, err := f.ReadAt(sector[:], c.size-SectorSize); err != nil {
		return 0, 0
	}
	h, _, err := decodeTrailer(sector[:])
	if err != nil || h.Kind != FooterGroup || h.Generation != c.use.generation || h.Segment != c.id {
		return 0, 0
	}
	return h.Note[noteSuccessor], h.Note[noteSuccessorGeneration]
}

// unfinished says whether a segment that the manifest does not list was left by a crash inside Resume: it holds nothing but moved groups.
func (in *inspector) unfinished(c *candidate) bool {
	return c.body.resumed && in.onlyMoved(c)
}

func (in *inspector) onlyMoved(c *candidate) bool {
	f, err := in.o.FS.OpenFile(c.name, os.O_RDONLY)
	if err != nil {
		return false
	}
	defer f.Close()
	moved := true
	r := &blockReader{f: f, size: c.size}
	sc := &scanner{r: r, u: c.use, log: in.o.Kind, info: &SegmentInfo{ID: c.head.Segment, File: c.name}, limit: r.blocks()}
	sc.emit = func(it *item) error {
		if it.hasHead {
			in.seenLSN(it.head.LastLSN()) // no LSN is used twice
		}
		if it.data() && it.head.Flags&GroupMoved == 0 {
			moved = false
		}
		sc.recycle(it)
		return nil
	}
	if err := sc.run(c.start); err != nil {
		return false
	}
	return moved
}

// notLive lists a file that is no live segment: a spare, a leftover, or something that should not be here.
func (in *inspector) notLive(c *candidate, used map[uint64]bool) {
	m := in.inv.manifest
	generation := c.head.Generation
	listed := m != nil && slices.Contains(m.spares, generation)
	info := SpareInfo{File: c.name, Size: c.size, Generation: generation}
	finding := Finding{File: c.name, Segment: c.id, Length: min(c.size, BlockSize), Record: "segment header", Verdict: Notice, Reason: ReasonUnfinished}
	switch {
	case c.err != nil:
		finding.Verdict, finding.Reason, finding.Err, finding.Evidence = IOError, ReasonRead, c.err, "the disk does not read the file's header"
	case c.version != nil:
		finding.Verdict, finding.Reason, finding.Incomplete = UnknownVersion, ReasonVersion, true
		finding.Evidence = c.version.Error() + ": use the release that wrote it, or a newer one"
	case c.start == 0:
		finding.Evidence = "the file has no valid header and nothing promises that it is a segment: a spare, or one whose making was interrupted"
		info.Why = "no valid header"
		in.inv.Spares = append(in.inv.Spares, info)
	case c.head.Log != in.o.Kind || in.o.DirID != [16]byte{} && c.bodyOK && c.body.dirID != in.o.DirID:
		finding.Reason, finding.Evidence = ReasonDirectory, "the file belongs to another log or data directory; it is left alone"
	case listed || c.head.Kind == FillGroup:
		used[generation] = true
		in.spare(c, info)
		return
	case m != nil && len(m.segments) > 0 && c.head.Segment < m.segments[0].id && (c.spare || c.id < m.segments[0].id):
		info.Why = "freed"
		in.inv.Spares = append(in.inv.Spares, info)
		return
	case !c.spare && c.head.Segment == c.id && in.onlyMoved(c):
		info.Why = "left by a start that was interrupted"
		in.inv.Spares = append(in.inv.Spares, info)
		if c.intact {
			return
		}
		finding.Evidence = "the header is damaged, no group follows and nothing promises the segment: its making was interrupted"
	case !c.spare && c.head.Segment == c.id:
		finding.Verdict, finding.Reason, finding.Incomplete = Corrupt, ReasonHeader, true
		finding.Length = c.size
		finding.Evidence = "a segment with frames that the manifest does not list and no header chain reaches"
	default:
		finding.Reason, finding.Evidence = ReasonMisplaced, "the file holds a segment of another name; it is left alone"
	}
	in.find(finding)
}

// spare lists a spare. It can be used if it is whole; Deep reads all of it.
func (in *inspector) spare(c *candidate, info SpareInfo) {
	info.Usable, info.Why = true, "spare"
	blocks := int64(c.head.Note[noteBlocks])
	if c.head.Kind == HeaderGroup {
		info.Why = "recycled segment"
	}
	if blocks == 0 {
		blocks = c.size / BlockSize
	}
	if c.size != blocks*BlockSize {
		info.Usable = false
		in.find(Finding{File: c.name, Offset: min(c.size, blocks*BlockSize), Record: "spare", Verdict: Notice, Reason: ReasonShort,
			Evidence: "the spare does not have its size; it holds nothing and is replaced"})
	}
	if in.o.Deep && info.Usable {
		info.Usable = in.readSpare(c)
	}
	in.inv.Spares = append(in.inv.Spares, info)
}

func (in *inspector) readSpare(c *candidate) bool {
	f, err := in.o.FS.OpenFile(c.name, os.O_RDONLY)
	if err != nil {
		return false
	}
	defer f.Close()
	r := &blockReader{f: f, size: c.size, progress: in.progress}
	sc := &scanner{r: r, u: c.use, info: &SegmentInfo{File: c.name}}
	good := true
	for b := uint32(0); b < r.blocks(); b++ {
		it := &item{info: sc.info, start: b, blocks: 1, reason: ReasonUnused}
		if sc.judge(it, r.view(b, 1)) {
			continue
		}
		good = false
		in.find(in.finding(it, in.damaged(it, Notice), "a sector of a spare; it holds nothing and the spare is replaced"))
	}
	return good
}

// readReserve checks the zeros of the reserve file.
func (in *inspector) readReserve(name string) {
	f, err := in.o.FS.OpenFile(name, os.O_RDONLY)
	if err != nil {
		return
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return
	}
	r := &blockReader{f: f, size: size, progress: in.progress}
	for b := range r.blocks() {
		if err := r.unreadable(b); err != nil || !allZero(r.view(b, 1)) {
			in.find(Finding{File: name, Offset: int64(b) * BlockSize, Length: BlockSize, Record: "reserve", Verdict: Notice, Reason: ReasonUnused, Err: err,
				Evidence: "the reserve only keeps space"})
		}
	}
}

// subtract returns what is in list and not in seen.
func subtract(list, seen []Range) []Range {
	have := make(map[rangeKey]*Range, len(seen))
	for i := range seen {
		have[rangeKey{seen[i].ID, seen[i].Partition}] = &seen[i]
	}
	var rest []Range
	for _, r := range list {
		s := have[rangeKey{r.ID, r.Partition}]
		if s == nil {
			rest = append(rest, r)
			continue
		}
		if s.Frames < r.Frames {
			r.Frames -= s.Frames
			if s.First == r.First && s.Last < r.Last {
				r.First = s.Last + 1
			}
			rest = append(rest, r)
		}
	}
	return rest
}
