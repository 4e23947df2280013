package wal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"chronik.dev/chronik/broker/statefile"
)

// candidate is a segment file before it is read.
type candidate struct {
	id      uint64 // in its name
	name    string
	size    int64
	spare   bool // by its name
	head    Head // of the group at block 0, if start > 0
	body    headerBody
	bodyOK  bool
	start   uint32 // blocks of the header; 0: it is destroyed
	intact  bool   // all of the header
	use     use
	missing bool // listed, not there
	version error
	err     error
	blank   bool // all zeros or empty: never written
}

// survey lists the directory and finds the live segments, in order.
func (in *inspector) survey() ([]*candidate, error) {
	infos, err := in.o.FS.ReadDir(in.o.Dir)
	if err != nil {
		return nil, err
	}
	in.loadManifest()
	var files []*candidate
	for _, info := range infos {
		name := filepath.Join(in.o.Dir, info.Name())
		switch class := classify(info.Name()); class {
		case fileSegment, fileSpare:
			c := &candidate{name: name, size: info.Size(), spare: class == fileSpare}
			c.id, _ = parseSegmentName(info.Name())
			in.inv.maxID = max(in.inv.maxID, c.id)
			in.readHeader(c)
			if errors.Is(c.err, fs.ErrNotExist) {
				in.inv.Changed = true
				continue
			}
			files = append(files, c)
		case fileReserve:
			in.inv.reserve = true
			if in.o.Deep {
				in.readReserve(name)
			}
		case fileTemp:
			in.inv.Spares = append(in.inv.Spares, SpareInfo{File: name, Size: info.Size(), Why: "a file that a crash kept from being made"})
		case fileUnknown:
			in.inv.Unknown = append(in.inv.Unknown, name)
			in.find(Finding{File: name, Length: info.Size(), Record: "file", Verdict: Notice, Reason: ReasonUnknownFile,
				Evidence: "chronik makes no file of this name here"})
		}
	}
	if again, err := in.o.FS.ReadDir(in.o.Dir); err == nil {
		same := func(a, b fs.FileInfo) bool { return a.Name() == b.Name() }
		in.inv.Changed = in.inv.Changed || !slices.EqualFunc(infos, again, same)
	}
	return in.live(files), nil
}

// winner names the copy that a state file was read from.
func winner(f *statefile.File) string {
	copies := f.Copies()
	if copies[0].State != statefile.OK || copies[0].Seq != f.Seq() {
		return copies[1].Name
	}
	return copies[0].Name
}

// loadManifest reads the manifest and reports what is wrong with it.
func (in *inspector) loadManifest() {
	m, f, err := loadManifest(&in.o)
	in.inv.manifest = m
	if m != nil {
		in.inv.Cuts = m.cuts
		for _, s := range m.segments {
			in.promise(s.synced)
			in.seenLSN(max(s.synced, s.first-1))
			in.inv.maxID = max(in.inv.maxID, s.id)
		}
		for _, c := range m.cuts {
			in.seenLSN(c.Resume - 1)
		}
	}
	base := filepath.Join(in.o.Dir, manifestName)
	var bad *statefile.BadError
	var version *statefile.VersionError
	switch {
	case f != nil:
		in.inv.Manifest = f.Copies()
		if err != nil {
			in.find(Finding{File: winner(f), Record: "manifest", Verdict: Corrupt, Reason: ReasonManifest, Evidence: err.Error()})
		}
	case errors.As(err, &bad):
		in.inv.Manifest = bad.Copies
		in.find(Finding{File: base + ".0", Record: "manifest", Verdict: Corrupt, Reason: ReasonManifest, Err: err,
			Evidence: "no copy of the manifest can be used: " + err.Error()})
	case errors.As(err, &version):
		in.find(Finding{File: version.Name, Record: "manifest", Verdict: UnknownVersion, Reason: ReasonVersion, Evidence: err.Error()})
		return
	default:
		in.find(Finding{File: base + ".0", Record: "manifest", Verdict: Corrupt, Reason: ReasonManifest, Err: err,
			Evidence: "there is no manifest"})
		return
	}
	for _, c := range in.inv.Manifest {
		v := Notice
		switch c.State {
		case statefile.OK:
			continue
		case statefile.IOError:
			v = IOError
		case statefile.UnknownVersion:
			v = UnknownVersion
		}
		in.find(Finding{File: c.Name, Offset: c.Offset, Record: "manifest copy", Verdict: v, Reason: ReasonManifest, Err: c.Err,
			Evidence: fmt.Sprintf("%s; the other copy counts, Resume rewrites this one", c)})
	}
}

// readHeader reads the group at block 0: by its head, or by the copy in its trailer.
func (in *inspector) readHeader(c *candidate) {
	f, err := in.o.FS.OpenFile(c.name, os.O_RDONLY)
	if err != nil {
		c.err = err
		return
	}
	defer f.Close()
	r := &blockReader{f: f, size: c.size, window: headerWindow}
	h, err := decodeHead(r.view(0, 1))
	var version *errVersion
	if errors.As(err, &version) {
		c.version = err
	}
	if err == nil && !headerFits(&h, c.size) {
		err = errHead
	}
	if err != nil {
		h, err = findHeader(r)
	}
	for _, failed := range r.failed {
		if err != nil && !c.spare { // a disk that does not read the header says nothing of what the file is
			c.err = failed
			return
		}
	}
	if err != nil {
		raw := r.view(0, 1)
		c.blank = allZero(raw)
		return
	}
	c.version = nil
	c.head, c.start = h, h.Blocks
	c.use = use{generation: h.Generation, previous: h.Note[notePrevious], growing: h.Kind == HeaderGroup && h.Note[noteBlocks] == 0}
	info := &SegmentInfo{ID: h.Segment, File: c.name}
	sc := &scanner{r: r, u: c.use, log: h.Log, info: info}
	it := sc.group(h, 0)
	c.intact = it.intact
	if it.rangesOK && h.Kind == HeaderGroup {
		c.body, c.bodyOK = decodeHeaderBody(it.body())
	}
}

func headerFits(h *Head, size int64) bool {
	return (h.Kind == HeaderGroup || h.Kind == FillGroup) && h.Start == 0 && h.sane() && int64(h.Blocks)*BlockSize <= size
}

// findHeader looks for the trailer of a header whose first sector is damaged.
func findHeader(r *blockReader) (Head, error) {
	const most = 4096 // blocks: a list of 400,000 partitions
	for b := range min(r.blocks(), most) {
		raw := r.view(b, 1)
		if len(raw) < BlockSize {
			break
		}
		h, _, err := decodeTrailer(raw[BlockSize-SectorSize:])
		if err == nil && headerFits(&h, r.size) && h.Blocks == b+1 {
			return h, nil
		}
		if h, err := decodeHead(raw); err == nil && h.Start == b && b > 0 {
			break // the first group: no header before it
		}
	}
	return Head{}, errHead
}

// live sorts the files into live segments, which it returns, spares and findings.
func (in *inspector) live(files []*candidate) []*candidate {
	m := in.inv.manifest
	var list []*candidate
	used := map[uint64]bool{} // generations of spares that were found or used
	slices.SortFunc(files, func(a, b *candidate) int {
		if a.id != b.id {
			return int(int64(a.id) - int64(b.id))
		}
		return slices.Compare([]byte(a.name), []byte(b.name))
	})
	for _, c := range files {
		if in.isLive(c, list) {
			list = append(list, c)
			used[c.use.previous] = true
		} else {
			in.notLive(c, used)
		}
	}
	if m == nil {
		return list
	}
	for _, s := range m.segments {
		if !slices.ContainsFunc(list, func(c *candidate) bool { return c.id == s.id }) {
			list = append(list, &candidate{id: s.id, name: filepath.Join(in.o.Dir, segmentName(s.id)), missing: true,
				use: use{generation: s.generation, previous: s.previous}})
		}
	}
	slices.SortFunc(list, func(a, b *candidate) int { return int(int64(a.id) - int64(b.id)) })
	for _, g := range m.spares {
		if !used[g] && !in.inv.Changed {
			in.find(Finding{File: filepath.Join(in.o.Dir, spareName(g)), Record: "spare", Verdict: Notice, Reason: ReasonFile,
				Evidence: "the manifest lists this spare; it holds nothing"})
		}
	}
	return list
}

// isLive decides whether a file is a live segment; list holds the live ones before it.
func (in *inspector) isLive(c *candidate, list []*candidate) bool {
	if c.spare {
		return false
	}
	m := in.inv.manifest
	ours := c.start > 0 && c.head.Kind == HeaderGroup && c.head.Segment == c.id && c.head.Log == in.o.Kind &&
		(!c.bodyOK || in.o.DirID == [16]byte{} || c.body.dirID == in.o.DirID)
	if m != nil {
		if s := m.segment(c.id); s != nil {
			if !ours {
				c.adopt(s.generation, s.previous, s.previous == 0)
			} else if c.head.Generation != s.generation {
				in.foreign(c, s.generation)
				c.adopt(s.generation, s.previous, s.previous == 0)
			}
			return true
		}
		if len(m.segments) > 0 && c.id < m.segments[0].id {
			return false
		}
	}
	if len(list) == 0 {
		return ours && m == nil
	}
	before := list[len(list)-1]
	if !ours {
		next, generation := in.successor(before)
		if next != c.id {
			return false
		}
		c.adopt(generation, 0, false)
		return true
	}
	if next, generation := in.successor(before); next == c.id && generation == c.head.Generation {
		return true
	}
	reached := c.head.Note[notePredecessor] == before.id && (!c.bodyOK || c.body.predecessor == before.use.generation)
	return (reached || m == nil) && !in.unfinished(c) && (c.intact || !in.emptySegment(c))
}

// foreign reports a file that holds another use of the segment than the manifest names.
func (in *inspector) foreign(c *candidate, generation uint64) {
	in.find(Finding{File: c.name, Segment: c.id, Length: c.size, Record: "segment", Verdict: Corrupt, Reason: ReasonRolledBack, Incomplete: true,
		Evidence: fmt.Sprintf("the file holds generation %016x of the segment; the manifest names %016x", c.head.Generation, generation)})
}

// adopt makes a file with a destroyed or foreign header readable with what is known from elsewhere.
func (c *candidate) adopt(generation, previous uint64, growing bool) {
	c.start, c.bodyOK = 0, false
	c.use = use{generation: generation, previous: previous, growing: growing}
}
