package wal

import (
	"fmt"
	"os"
	"slices"
	"time"
)

// inspector reads the live segments in order and judges what it finds. A group is held back until something behind it proves that its sync had
// returned; what is still held at the end is the tail.
type inspector struct {
	o     InspectOptions
	inv   *Inventory
	visit func(*Group) error

	sc         *scanner
	info       *SegmentInfo // being read
	held       []*item      // the first may hold something of this use, the others hold nothing that is known
	sum        uint32       // of the last group in the chain
	sumKnown   bool
	last       LSN    // of the last frame that is accounted for, intact or reported, or refused for want of space
	refused    LSN    // LSNs above it up to last were refused: the chain goes on behind them; 0 if there are none
	realEnd    uint32 // block after the last item with something of this use, held or not
	heldFrom   uint32 // realEnd before what is held
	seen       *tracker
	next       *candidate // the segment after the one being read
	tornFooter bool       // of the segment being read
	ending     LSN        // of EndBefore: where the log is to end; 0: it is read to its end
	group      Group
}

// Inspect reads a whole log directory and changes nothing. It calls visit (may be nil) for every data group with a frame, intact or damaged, in
// the order of LSNs, goes on past damage, and lists all of it. Memory is bounded by a few groups. An error is returned only if the directory
// cannot be listed, or by visit; everything else is a finding.
func Inspect(o InspectOptions, visit func(*Group) error) (*Inventory, error) {
	start := time.Now()
	in := &inspector{o: o, inv: &Inventory{Kind: o.Kind, Floor: o.MinSynced}, visit: visit, seen: newTracker()}
	segments, err := in.survey()
	if err != nil {
		return nil, fmt.Errorf("inspect journal %s: %w", o.Dir, err)
	}
	if o.Expect != nil {
		var size int64
		for _, c := range segments {
			size += c.size
		}
		o.Expect(size)
	}
	in.inv.Segments = make([]SegmentInfo, 0, len(segments)) // items point into it
	for i := range segments {
		if err := in.segment(segments, i); err != nil {
			return nil, err
		}
	}
	if err := in.finish(); err != nil {
		return nil, err
	}
	inv := in.inv
	inv.Clean = true
	for i := range inv.Findings {
		inv.Clean = inv.Clean && inv.Findings[i].Verdict == Notice
	}
	inv.Read = time.Since(start)
	return inv, nil
}

func (in *inspector) progress(n int64) {
	in.inv.Bytes += n
	if in.o.Progress != nil {
		in.o.Progress(n)
	}
}

func (in *inspector) find(f Finding) { in.inv.Findings = append(in.inv.Findings, f) }

// promise raises the floor.
func (in *inspector) promise(lsn LSN) { in.inv.Floor = max(in.inv.Floor, lsn) }

func (in *inspector) seenLSN(lsn LSN) { in.inv.Highest = max(in.inv.Highest, lsn) }

// segment reads one live segment.
func (in *inspector) segment(list []*candidate, i int) error {
	c := list[i]
	in.inv.Segments = append(in.inv.Segments, SegmentInfo{ID: c.id, File: c.name, Size: c.size, Generation: c.use.generation,
		Previous: c.use.previous, Growing: c.use.growing})
	info := &in.inv.Segments[len(in.inv.Segments)-1]
	findings := len(in.inv.Findings)
	in.info, in.next, in.tornFooter = info, nil, false
	if i+1 < len(list) {
		in.next = list[i+1]
	}
	if c.missing {
		return in.missingFile(c)
	}
	f, err := in.o.FS.OpenFile(c.name, os.O_RDONLY)
	if err != nil {
		in.find(Finding{File: c.name, Segment: c.id, Record: "segment", Verdict: IOError, Reason: ReasonRead, Incomplete: true, Err: err,
			Evidence: "the file cannot be opened"})
		in.sumKnown = false
		return nil
	}
	defer f.Close()
	var free [][]byte
	var spare [][]Frame
	var buf []byte
	if in.sc != nil {
		free, spare, buf = in.sc.free, in.sc.spare, in.sc.r.buf[:0]
	}
	in.sc = &scanner{r: &blockReader{f: f, size: c.size, progress: in.progress, buf: buf}, u: c.use, log: in.o.Kind, info: info,
		emit: in.item, free: free, spare: spare}
	in.sc.limit = in.sc.r.blocks()
	info.Cut = in.inv.manifest.cut(c.id)
	var start uint32
	if c.start > 0 {
		if start, err = in.header(c); err != nil {
			return err
		}
	} else {
		start = in.noHeader(c)
	}
	if info.Cut != nil {
		in.stopAtCut(info)
	}
	if err := in.sc.run(start); err != nil {
		return err
	}
	return in.endSegment(list, i, findings)
}

// stopAtCut makes the scanner read up to a recorded cut, and the footer there.
func (in *inspector) stopAtCut(info *SegmentInfo) {
	block := info.Cut.Block
	if in.inv.manifest.footer(info.ID) == block {
		return // the footer was durable: damage to it is damage
	}
	if h, err := in.sc.headAt(in.sc.r.view(block, 1), block); err == nil && h.Kind == FooterGroup {
		return // the footer ends the scan
	}
	in.sc.limit = min(in.sc.limit, block)
}

// header takes the segment's header and links it with the segment before. It returns the block to go on with.
func (in *inspector) header(c *candidate) (uint32, error) {
	h := &c.head
	info := in.info
	info.FirstLSN, info.LastLSN, info.resumed = h.FirstLSN, h.FirstLSN-1, c.body.resumed
	in.promise(LSN(h.Note[noteLastLSN]))
	in.promise(h.Synced)
	in.seenLSN(h.FirstLSN - 1)
	it := in.sc.group(*h, 0)
	if in.inv.First == 0 {
		in.inv.First, in.inv.Freed = h.FirstLSN, LSN(h.Note[noteLastLSN])
		in.last = h.FirstLSN - 1
		in.sumKnown = false
	}
	if err := in.linkHeader(c); err != nil {
		return 0, err
	}
	if n := len(in.inv.Segments); n > 1 && !in.inv.Segments[n-2].Sealed {
		before := &in.inv.Segments[n-2]
		before.ranges = slices.Clone(in.seen.segment)
		if c.bodyOK && in.sumKnown && h.Chain == in.sum && h.Note[notePredecessor] == before.ID {
			before.sealAt = c.body.endBlock
		}
	}
	if !it.intact {
		in.find(Finding{File: c.name, Segment: c.id, Offset: it.badAt, Length: it.badBytes, Record: "segment header", Verdict: in.damaged(it, Corrupt),
			Reason: it.reason, Err: it.ioErr, Evidence: "the header was synced before the first group; it holds no frames"})
	}
	in.sum, in.sumKnown = it.sum, it.sumOK
	in.last = max(in.last, h.FirstLSN-1)
	in.realEnd = h.Blocks
	in.info.chain = it.sum
	in.seen.beginSegment()
	in.sc.recycle(it)
	return h.Blocks, nil
}

// noHeader reports a destroyed header and returns the block to go on with: the first group that stands on its own.
func (in *inspector) noHeader(c *candidate) uint32 {
	info := in.info
	first := in.last + 1
	if m := in.inv.manifest; m != nil {
		if s := m.segment(c.id); s != nil {
			first = s.first
		}
	}
	info.FirstLSN, info.LastLSN = first, first-1
	if in.inv.First == 0 {
		in.inv.First = first
	}
	in.last = max(in.last, first-1)
	in.sumKnown = false
	in.seen.beginSegment()
	b := uint32(1)
	for k := b; k < in.sc.limit; k++ {
		if _, err := in.sc.headAt(in.sc.r.view(k, 1), k); err == nil {
			b = k
			break
		}
	}
	f := Finding{File: c.name, Segment: c.id, Length: min(int64(b)*BlockSize, c.size), Record: "segment header", Verdict: Corrupt, Reason: ReasonHeader,
		Evidence: "the manifest or the footer before names this segment, and its header and the copy of it are destroyed"}
	if c.version != nil {
		f.Verdict, f.Reason, f.Incomplete = UnknownVersion, ReasonVersion, true
		f.Evidence = c.version.Error() + ": use the release that wrote it, or a newer one"
		b = in.sc.limit
	}
	if c.err != nil {
		f.Verdict, f.Reason, f.Err = IOError, ReasonRead, c.err
	}
	in.find(f)
	in.realEnd = b
	return b
}

// damaged is the verdict on a damaged item that is v unless the disk did not read it.
func (in *inspector) damaged(it *item, v Verdict) Verdict {
	if it.ioErr != nil {
		return IOError
	}
	return v
}

// linkHeader releases what is held of the segment before, and says what is missing between.
func (in *inspector) linkHeader(c *candidate) error {
	// What the header's list names and was not seen is what the damage before has cost.
	next := &item{info: in.info, head: c.head, hasHead: true, current: true, ranges: subtract(c.body.list, in.seen.segment), rangesOK: c.bodyOK}
	next.head.FirstLSN = LSN(c.head.Note[noteLastLSN]) + 1
	return in.release(next)
}

// item takes the next item of the segment.
func (in *inspector) item(it *item) error {
	if it.version != nil {
		in.unknownVersion(it)
	}
	if it.hasHead {
		in.promise(it.head.Synced)
		in.seenLSN(it.head.LastLSN())
	}
	if in.ending > 0 && it.hasHead && it.version == nil && it.head.LastLSN() >= in.ending {
		return in.reached(it)
	}
	if it.current || it.hasHead {
		if err := in.release(it); err != nil {
			return err
		}
	}
	switch {
	case it.version != nil && !it.hasHead:
		in.realEnd = it.end()
		return nil
	case it.is(MarkerGroup):
		in.marker(it)
	case it.is(FooterGroup):
		in.footer(it)
		if in.tornFooter {
			return nil // Resume ends the segment here
		}
	case it.is(HeaderGroup):
		in.find(in.finding(it, Corrupt, "a header in the middle of a segment"))
	default:
		if in.damagedFooter(it) {
			break
		}
		in.held = append(in.held, it)
		if it.current || it.hasHead {
			in.heldFrom, in.realEnd = in.realEnd, it.end()
		}
		return nil
	}
	in.realEnd = it.end()
	in.sc.recycle(it)
	return nil
}

func (in *inspector) unknownVersion(it *item) {
	reason := ReasonVersion
	if it.hasHead {
		reason = ReasonFrameType
	}
	in.find(Finding{File: in.info.File, Segment: in.info.ID, Offset: int64(it.start) * BlockSize, Length: int64(it.blocks) * BlockSize,
		Record: it.record(), Verdict: UnknownVersion, Reason: reason, Incomplete: true,
		Evidence: it.version.Error() + ": use the release that wrote it, or a newer one"})
}

// marker takes a marker. Damage to it is a notice; sectors that were not written are none.
func (in *inspector) marker(it *item) {
	in.inv.note = it.head.Note
	if !it.intact && !it.allStale {
		f := in.finding(it, Notice, "the block held only a marker, whose other sectors are intact")
		f.Reason, f.Verdict = ReasonMarker, in.damaged(it, Notice)
		in.find(f)
	}
}

// footer takes the segment's footer. One whose writing was interrupted does not seal.
func (in *inspector) footer(it *item) {
	info := in.info
	if !it.intact && !in.sealPromised() {
		f := in.finding(it, Torn, "the footer was being written when the log stopped; it holds no frames")
		in.find(f)
		in.tornFooter = true
		in.inv.end.first = 0
		return
	}
	info.Sealed, info.foot = true, it.start
	if !it.intact {
		in.find(in.finding(it, in.damaged(it, Corrupt), "it was synced before anything depended on it; it holds no frames"))
	}
	if body, ok := in.footerBody(it); ok && body.cut != nil {
		body.cut.Finished = true
		info.Cut = body.cut
	}
}

// sealPromised says whether the footer of the segment being read is known to have been durable.
func (in *inspector) sealPromised() bool {
	if in.inv.manifest.footer(in.info.ID) > 0 {
		return true
	}
	return in.next != nil && !in.next.missing && in.next.start > 0 && in.next.head.Note[notePredecessor] == in.info.ID && !in.emptySegment(in.next)
}

// damagedFooter takes a damaged item for what the manifest says is there: the footer.
func (in *inspector) damagedFooter(it *item) bool {
	at := in.inv.manifest.footer(it.info.ID)
	if at == 0 || it.start < at || it.data() {
		return false
	}
	f := in.finding(it, in.damaged(it, Notice), "the manifest says that the footer is here; it holds no frames, and its neighbours say the same")
	f.Record, f.Incomplete = fmt.Sprintf("segment footer at %d", int64(at)*BlockSize), false
	in.find(f)
	it.info.Sealed, it.info.foot = true, at
	return true
}

func (in *inspector) footerBody(it *item) (footerBody, bool) {
	if !it.rangesOK {
		return footerBody{}, false
	}
	return decodeFooterBody(it.body())
}

func (it *item) record() string {
	switch {
	case !it.hasHead:
		return fmt.Sprintf("blocks %d to %d", it.start, it.end()-1)
	case it.head.Kind == DataGroup:
		return fmt.Sprintf("group of LSN %d to %d at %d", it.head.FirstLSN, it.head.LastLSN(), int64(it.start)*BlockSize)
	}
	names := map[GroupKind]string{HeaderGroup: "segment header", MarkerGroup: "marker", FooterGroup: "segment footer"}
	return fmt.Sprintf("%s at %d", names[it.head.Kind], int64(it.start)*BlockSize)
}

// finding makes a finding about an item; lost frames are its damaged ones.
func (in *inspector) finding(it *item, v Verdict, evidence string) Finding {
	f := Finding{File: it.info.File, Segment: it.info.ID, Offset: it.badAt, Length: it.badBytes, Record: it.record(), Verdict: v,
		Reason: it.reason, Lost: it.damaged, Err: it.ioErr, Evidence: evidence}
	if it.detail != "" {
		f.Evidence = it.detail + "; " + evidence
	}
	if it.ioErr != nil {
		f.Reason = ReasonRead
	}
	if it.data() {
		f.Incomplete = it.incomplete
		for _, id := range it.damaged {
			f.lose(id.LSN)
		}
		if it.incomplete {
			f.FirstLSN, f.LastLSN = it.head.FirstLSN, it.head.LastLSN()
		}
	}
	return f
}

func (f *Finding) lose(lsn LSN) {
	if f.FirstLSN == 0 || lsn < f.FirstLSN {
		f.FirstLSN = lsn
	}
	f.LastLSN = max(f.LastLSN, lsn)
}
