package partition

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"chronik.dev/chronik/broker/batch"
	"chronik.dev/chronik/broker/segment"
	"chronik.dev/chronik/broker/vfs"
	"chronik.dev/chronik/broker/wal"
)

// errNoBatch says that bytes are no batch: not an I/O error.
var errNoBatch = errors.New("no batch")

// scanHeaders calls fn with the header of every batch in [from, to) of a .log file until fn returns false. It checks lengths, not content.
func scanHeaders(fsys vfs.FS, path string, from, to int64, fn func(pos int64, h batch.Header) bool) (err error) {
	f, err := fsys.OpenFile(path, os.O_RDONLY)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	head := make([]byte, batch.HeaderSize)
	for pos := from; pos < to; {
		if to-pos < batch.HeaderSize {
			return fmt.Errorf("%s: byte %d: %w: %d bytes are no header", path, pos, errNoBatch, to-pos)
		}
		if _, err := f.ReadAt(head, pos); err != nil {
			return err
		}
		h, err := batch.Parse(head)
		if err != nil {
			return fmt.Errorf("%s: byte %d: %w: %w", path, pos, errNoBatch, err)
		}
		if h.Size() < batch.HeaderSize || int64(h.Size()) > to-pos {
			return fmt.Errorf("%s: byte %d: %w: it says %d bytes in %d", path, pos, errNoBatch, h.Size(), to-pos)
		}
		if !fn(pos, h) {
			return nil
		}
		pos += int64(h.Size())
	}
	return nil
}

// cutSegments finds where a log that ends at end stops: the segments that stay, the last with its new size. end is a batch boundary;
// inside a batch the whole batch goes, and cut is its base offset. Of a cleaned segment the batch before end may be gone, so only what does not
// follow the batches before tells where it stops; it may be cut already.
func cutSegments(fsys vfs.FS, dir string, segs []SegmentState, end int64, cleaned func(base int64) bool) (kept []SegmentState, cut int64, err error) {
	n := len(segs)
	for n > 1 && segs[n-1].Base >= end {
		n--
	}
	kept, cut = slices.Clone(segs[:n]), end
	last := &kept[n-1]
	if end <= last.Base {
		last.Size = 0 // nothing of it stays, and a truncation that went on to the file has left nothing to read
		return kept, end, nil
	}
	size, next, loose := int64(0), last.Base, cleaned != nil && cleaned(last.Base)
	err = scanHeaders(fsys, filepath.Join(dir, logName(last.Base)), 0, last.Size, func(pos int64, h batch.Header) bool {
		if loose && h.BaseOffset < next {
			return false
		}
		next = h.LastOffset() + 1
		if h.LastOffset() >= end {
			size, cut = pos, min(end, h.BaseOffset)
			return false
		}
		size = pos + int64(h.Size())
		return h.LastOffset()+1 < end // what comes behind may be cut, or of any time, when a boot finds it
	})
	if loose && errors.Is(err, errNoBatch) {
		err = nil
	}
	last.Size = size
	return kept, cut, err
}

// rebuildProducers scans the log for what a log of these segments remembers of its producers. It begins at the newest producer snapshot,
// or at the first segment.
func rebuildProducers(fsys vfs.FS, dir string, segs []SegmentState) (producers, error) {
	p := newProducers(nil)
	from := 0
	for i := len(segs) - 1; i > 0; i-- {
		if states, err := readSnapshot(fsys, dir, segs[i].Base); err == nil {
			p, from = newProducers(states), i
			break
		}
	}
	for _, s := range segs[from:] {
		if s.Size == 0 {
			continue
		}
		err := scanHeaders(fsys, filepath.Join(dir, logName(s.Base)), 0, s.Size, func(_ int64, h batch.Header) bool {
			p.add(&h, h.BaseOffset, h.MaxTimestamp, h.LastOffset()+1)
			return true
		})
		if err != nil {
			return p, err
		}
	}
	return p, nil
}

// cutPlace is cutSegments for the Truncated frame at an LSN: the place is in the frame.
func (r *Replay) cutPlace(to int64, lsn wal.LSN) (kept []SegmentState, cut int64, err error) {
	if n := slices.IndexFunc(r.opt.Truncations, func(t Truncation) bool { return t.LSN == lsn && t.At != nil }); n >= 0 {
		at := r.opt.Truncations[n].At
		last := slices.IndexFunc(r.st.Segments, func(s SegmentState) bool { return s.Base == at.Base })
		if last >= 0 && (at.Size <= r.st.Segments[last].Size || r.isReplaced(at.Base)) {
			kept = slices.Clone(r.st.Segments[:last+1])
			kept[last].Size = at.Size
			return kept, to, nil
		}
	}
	return cutSegments(r.env.FS, r.dir, r.st.Segments, to, r.isReplaced)
}

// truncate cuts the model back, as the Truncated frame at an LSN says.
func (r *Replay) truncate(to int64, lsn wal.LSN) error {
	if to >= r.st.End {
		return nil
	}
	if err := r.cur.finishTruncated(); err != nil {
		return err
	}
	kept, cut, err := r.cutPlace(to, lsn)
	if err != nil {
		return r.damage(Missing, r.dir, 0, "truncate to %d: %v", to, err)
	}
	if r.prods, err = rebuildProducers(r.env.FS, r.dir, kept); err != nil {
		return r.damage(Missing, r.dir, 0, "truncate to %d: %v", to, err)
	}
	if last := kept[len(kept)-1]; !r.opt.ReadOnly {
		if err := r.sums.cut(segment.Log, last.Base, last.Size); err != nil {
			return r.damage(Unreadable, filepath.Join(r.dir, logName(last.Base)), 0, "truncate to %d: %v", to, err)
		}
	}
	cut = max(cut, r.st.LogStart)
	r.st.Segments, r.st.End = kept, cut
	r.writes = min(r.writes, kept[len(kept)-1].Base)
	if r.floor.Base > r.writes || r.floor.Base == r.writes && r.floor.Size > kept[len(kept)-1].Size {
		r.floor = kept[len(kept)-1]
	}
	r.st.HighWatermark = min(r.st.HighWatermark, cut)
	r.st.Epochs = cutEpochs(r.st.Epochs, r.st.LogStart, cut)
	r.cur = cursor{r: r}
	r.grown = true
	return nil
}

// finishTruncated hands over what is pending, so that the file holds the model before it is cut.
func (c *cursor) finishTruncated() error {
	if !c.opened {
		return nil
	}
	err := c.hand()
	if c.seg != nil {
		err = errors.Join(err, c.seg.Close())
	}
	if c.file != nil {
		err = errors.Join(err, c.file.Close())
	}
	return err
}

// cutAt finds where a cut at an offset stops. io is held, the tail is empty.
func (l *Log) cutAt(offset int64) (segs []*segment.Segment, kept []SegmentState, cut int64, err error) {
	l.mu.Lock()
	segs = slices.Clone(l.segs)
	l.mu.Unlock()
	states := make([]SegmentState, len(segs))
	for i, s := range segs {
		states[i] = stateOf(s)
	}
	kept, cut, err = cutSegments(l.env.FS, l.dir, states, offset, nil)
	return segs, kept, cut, err
}

// cutFiles cuts everything back to an offset after the Truncated frame is synced. io is held, the tail is empty.
func (l *Log) cutFiles(offset int64) error {
	segs, kept, cut, err := l.cutAt(offset)
	if err != nil {
		return err
	}
	cut = max(cut, l.LogStart()) // of a batch that holds the log start nothing stays: the log is empty there
	p, err := rebuildProducers(l.env.FS, l.dir, kept)
	if err != nil {
		return err
	}
	l.files.Lock()
	for _, s := range segs[len(kept):] {
		err = errors.Join(err, s.Close(), removeSegment(l.env.FS, l.dir, s.BaseOffset()))
	}
	last := segs[len(kept)-1]
	err = errors.Join(err, last.Truncate(cut))
	err = errors.Join(err, l.sums.cut(segment.Log, last.BaseOffset(), last.Size()))
	l.mu.Lock()
	l.segs = segs[:len(kept)]
	l.end, l.synced, l.flushed, l.tailBlock = cut, cut, cut, nil
	l.highWatermark = min(l.highWatermark, cut)
	l.producers = p
	l.epochs = cutEpochs(l.epochs, l.logStart, cut)
	l.truncating, l.dirty = false, true
	l.lastSynced = 0
	var ready completions
	for _, t := range l.pending {
		ready = append(ready, completion{t.done, Appended{Base: -1, Last: -1, AppendTime: -1}, fmt.Errorf("%s was truncated: %w", l.name, ErrFencedLeaderEpoch)})
	}
	l.pending = nil
	l.wake()
	l.mu.Unlock()
	l.files.Unlock()
	ready.run()
	return errors.Join(err, l.resumeActive(true))
}
