package partition

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"chronik.dev/chronik/broker/batch"
	"chronik.dev/chronik/broker/segment"
	"chronik.dev/chronik/broker/vfs"
)

// Found is a partition as its directory alone shows it. See Find.
type Found struct {
	State State  // LSN is the caller's to set
	Gaps  []Lost // offsets below the end that are not there
	Proof Proof  // whether the files are as long as they were promised to be
	Short int64  // bytes that chronik.sums promises behind the end; Proof is Shorter
}

// Lost is a range of offsets that is not there.
type Lost struct{ First, Last int64 }

// Proof says what chronik.sums says of the end of the files.
type Proof string

// The proofs.
const (
	Whole    Proof = "whole"    // every byte of the last checkpoint's sums is there
	Shorter  Proof = "shorter"  // bytes are missing or damaged at the end
	Unproven Proof = "unproven" // there are no sums that can be used
)

// Find makes the State of a partition whose checkpoint is lost from its directory: batches, leader-epoch-checkpoint, the oldest producer snapshot and
// chronik.sums. The log ends at the first damage behind what the sums promise; damage below stays where it is, and what it took is in Gaps. It is for
// a repair, never for a node: that log start and end are the last ones cannot be proven here. epoch is the leader epoch that the metadata know. It
// changes nothing. Errors are those of the disk, and fs.ErrNotExist if the directory has no segment.
func Find(fsys vfs.FS, topics string, id Identity, epoch int32, cfg Config) (*Found, error) {
	name := DirName(id.Topic, id.Partition)
	f := &finder{fs: fsys, dir: filepath.Join(topics, name), found: &Found{Proof: Unproven}, prods: newProducers(nil), gaps: !cfg.Compact}
	st := &f.found.State
	*st = State{Identity: id, Dir: name, Epoch: epoch}
	bases, err := f.bases()
	if err != nil {
		return nil, err
	}
	if err := f.readSums(); err != nil {
		return nil, err
	}
	if states, err := readSnapshot(fsys, f.dir, bases[0]); err == nil {
		f.prods = newProducers(states)
	}
	f.next, st.LogStart = bases[0], bases[0]
	f.readEpochs()
	for i, base := range bases {
		size, err := f.segment(base, i == len(bases)-1)
		if err != nil {
			return nil, err
		}
		st.Segments = append(st.Segments, SegmentState{Base: base, Size: size, Shape: cfg.choices()})
	}
	for base, bytes := range f.promised {
		if base > bases[len(bases)-1] {
			f.found.Proof, f.found.Short = Shorter, f.found.Short+bytes
		}
	}
	st.End, st.HighWatermark = f.next, f.next
	if n := len(st.Epochs); n > 0 && st.Epochs[0].Start <= st.End {
		st.LogStart = max(st.LogStart, st.Epochs[0].Start)
	}
	st.Epochs = cutEpochs(st.Epochs, st.LogStart, st.End+1)
	st.Producers = f.prods.state(st.End)
	return f.found, nil
}

// finder reads one partition directory.
type finder struct {
	fs       vfs.FS
	dir      string
	found    *Found
	prods    producers
	promised map[int64]int64 // bytes of each segment's .log that chronik.sums covers
	next     int64
	gaps     bool // offsets that are not there are lost: no cleaner takes records out of this topic
}

// bases lists the segments.
func (f *finder) bases() ([]int64, error) {
	infos, err := f.fs.ReadDir(f.dir)
	if err != nil {
		return nil, err
	}
	var out []int64
	for _, info := range infos {
		if kind, base, ok := segment.ParseName(info.Name()); ok && kind == segment.Log {
			out = append(out, base)
		}
	}
	slices.Sort(out)
	if len(out) == 0 {
		return nil, fmt.Errorf("%s has no segment: %w", f.dir, fs.ErrNotExist)
	}
	return out, nil
}

// readSums learns how long the files were at the last checkpoint. The sums of a log are in the order of its bytes, and one that begins lower than the
// last ended is of after a cut.
func (f *finder) readSums() error {
	sums, err := segment.OpenSums(f.fs, f.dir)
	if err != nil {
		return err
	}
	f.promised = map[int64]int64{}
	for _, s := range sums.Entries() {
		if s.Kind == segment.Log {
			f.promised[s.Base] = s.To
		}
	}
	if len(sums.Entries()) > 0 && len(sums.Faults()) == 0 {
		f.found.Proof = Whole
	}
	return nil
}

func (f *finder) readEpochs() {
	text, err := vfs.ReadFile(f.fs, filepath.Join(f.dir, segment.EpochFileName), maxSmallFile)
	if err != nil {
		return
	}
	entries, err := segment.DecodeEpochs(text)
	if err != nil {
		return // the batches carry their epochs too
	}
	for _, e := range entries {
		f.found.State.Epochs = append(f.found.State.Epochs, EpochEntry{Epoch: e.Epoch, Start: e.Start})
	}
}

// errEnd ends the reading of a segment.
var errEnd = errors.New("the log ends here")

// segment reads one segment, past damage, and returns how much of its file belongs to the log.
func (f *finder) segment(base int64, last bool) (int64, error) {
	at, promised := int64(0), f.promised[base]
	take := func(pos int64, h batch.Header, _ []byte) error {
		if pos > at && last && at >= promised {
			return errEnd // damage where nothing was promised: an interrupted write
		}
		f.batch(&h)
		at = pos + int64(h.Size())
		return nil
	}
	path := filepath.Join(f.dir, logName(base))
	var unread error
	_, err := segment.Verify(f.fs, f.dir, base, segment.VerifyOptions{Size: -1, Batch: take}, func(bad segment.Finding) {
		if bad.Reason == segment.IOError {
			unread = fmt.Errorf("%s byte %d: %s: no repair is planned while the disk does not read", bad.File, bad.Offset, bad.Detail)
		}
	})
	if unread != nil {
		return 0, unread
	}
	if err != nil && !errors.Is(err, errEnd) {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	if !last {
		info, err := f.fs.Stat(path)
		if err != nil {
			return 0, err
		}
		at = info.Size()
	}
	if at < promised {
		f.found.Proof, f.found.Short = Shorter, f.found.Short+promised-at
	}
	return at, nil
}

func (f *finder) batch(h *batch.Header) {
	st := &f.found.State
	if h.BaseOffset > f.next && f.gaps {
		f.found.Gaps = append(f.found.Gaps, Lost{f.next, h.BaseOffset - 1})
	}
	f.next = h.LastOffset() + 1
	st.beginEpoch(h.LeaderEpoch, h.BaseOffset)
	f.prods.add(h, h.BaseOffset, h.MaxTimestamp, h.LastOffset()+1)
}
