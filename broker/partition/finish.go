package partition

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"chronik.dev/chronik/broker/batch"
	"chronik.dev/chronik/broker/segment"
	"chronik.dev/chronik/broker/vfs"
	"chronik.dev/chronik/broker/wal"
)

// Finish ends the replay after the last frame: the active segment's file is cut to the model, the other segments are checked against it,
// and files of segments that the model does not know are saved and removed. A *DamageError stops the partition.
func (r *Replay) Finish() error {
	r.dropBelow()
	if err := r.cur.finish(false); err != nil {
		return err
	}
	for i, s := range r.st.Segments[:len(r.st.Segments)-1] {
		size, err := r.closedSize(s)
		if err != nil {
			return err
		}
		r.st.Segments[i].Size = size
	}
	if err := r.removeUnlisted(); err != nil || !r.grown || r.opt.ReadOnly {
		return err
	}
	// The epoch file may be of any time since the checkpoint.
	data := encodeEpochs(r.st.Epochs)
	if err := writeSmall(r.env.FS, filepath.Join(r.dir, segment.EpochFileName), data); err != nil {
		return fmt.Errorf("replay %s: %w", r.st.Dir, err)
	}
	r.sums.add(segment.EpochFile, 0, 0, data)
	return nil
}

// dropBelow forgets segments below the log start.
func (r *Replay) dropBelow() {
	for len(r.st.Segments) > 1 && r.st.Segments[1].Base <= r.st.LogStart {
		r.st.Segments = r.st.Segments[1:]
	}
}

// closedSize checks the file of a closed segment against the model, or against what Replaced frames say it may be.
func (r *Replay) closedSize(s SegmentState) (int64, error) {
	path := filepath.Join(r.dir, logName(s.Base))
	info, err := r.env.FS.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && r.opt.ReadOnly && (s.Base > r.writes || r.created > 0):
		return s.Size, nil // a real boot would have written it
	case errors.Is(err, fs.ErrNotExist):
		return 0, r.damage(Missing, path, 0, "the file is missing, the checkpoint says %d bytes", s.Size)
	case err != nil:
		return 0, r.damage(Unreadable, path, 0, "%v", err)
	}
	var versions []Replaced
	for _, v := range r.opt.Replaced {
		if v.Base == s.Base && s.Base < r.writes { // else it was cut since, and its size is known
			versions = append(versions, Replaced{NewSize: v.OldSize, NewCRC: v.OldCRC}, v)
		}
	}
	if len(versions) > 0 {
		sum, err := fileCRC(r.env.FS, path)
		if err != nil {
			return 0, r.damage(Unreadable, path, 0, "%v", err)
		}
		if !slices.ContainsFunc(versions, func(v Replaced) bool { return v.NewSize == info.Size() && v.NewCRC == sum }) {
			return 0, r.damage(Mismatch, path, 0, "%d bytes with CRC %08x are neither the file before nor after it was cleaned; known are %+v", info.Size(), sum, versions)
		}
		if !r.opt.ReadOnly { // the crash may have come before the indexes followed
			if _, err := segment.RebuildIndexes(r.env.FS, r.dir, s.Base, info.Size(), s.Shape.IndexInterval, true); err != nil {
				return 0, fmt.Errorf("replay %s: %w", r.st.Dir, err)
			}
			if err := r.sums.addFile(segment.Log, s.Base, 0, info.Size()); err != nil {
				return 0, r.damage(Unreadable, path, 0, "%v", err)
			}
		}
		return info.Size(), nil
	}
	written := s.Base >= r.writes // by this replay: read-only ones did not
	if info.Size() < s.Size && !(r.opt.ReadOnly && written) {
		return 0, r.damage(Missing, path, info.Size(), "the file has %d bytes, the checkpoint says %d", info.Size(), s.Size)
	}
	if info.Size() > s.Size && !(r.opt.ReadOnly && written) {
		return s.Size, r.cutFile(path, s.Size, info.Size())
	}
	return s.Size, nil
}

// cutFile saves what a file holds past size and cuts it there.
func (r *Replay) cutFile(path string, size, disk int64) (err error) {
	f := Finding{
		Kind: Cut, File: path, Offset: size, Length: disk - size, FirstOffset: -1, LastOffset: -1,
		Message: "neither the checkpoint nor the journal knows these bytes",
	}
	if !r.opt.ReadOnly {
		if f.Evidence, err = r.save(path, size, disk-size); err != nil {
			return err
		}
		if err := truncateFile(r.env.FS, path, size); err != nil {
			return fmt.Errorf("replay %s: %w", r.st.Dir, err)
		}
	}
	r.findings = append(r.findings, f)
	return nil
}

// removeUnlisted saves and removes the files of segments that the model does not have; those below the log start go without saving, after
// the next checkpoint.
func (r *Replay) removeUnlisted() error {
	infos, err := r.env.FS.ReadDir(r.dir)
	if err != nil {
		if r.opt.ReadOnly && errors.Is(err, fs.ErrNotExist) && r.created > 0 {
			return nil
		}
		return r.damage(Unreadable, r.dir, 0, "%v", err)
	}
	for _, info := range infos {
		kind, base, ok := segment.ParseName(info.Name())
		if !ok || !kind.PerSegment() || base < r.st.Segments[0].Base ||
			slices.ContainsFunc(r.st.Segments, func(s SegmentState) bool { return s.Base == base }) {
			continue
		}
		name := filepath.Join(r.dir, info.Name())
		if kind == segment.Log && info.Size() > 0 {
			if err := r.cutFile(name, 0, info.Size()); err != nil {
				return err
			}
		}
		if r.opt.ReadOnly || base == r.st.End && kind == segment.Snapshot && r.whole(name) { // a clean stop leaves it at the end
			continue
		}
		if err := r.env.FS.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("replay %s: %w", r.st.Dir, err)
		}
	}
	return nil
}

// whole says whether a producer snapshot that a stop may have left at the log's end is good: one that was interrupted before a power loss may be
// empty, and nothing would write it again once the log goes on.
func (r *Replay) whole(name string) bool {
	b, err := vfs.ReadFile(r.env.FS, name, maxSmallFile)
	if err == nil {
		_, err = segment.DecodeSnapshot(b)
	}
	return err == nil
}

// Open makes the Log of a finished replay; env.Journal is the resumed journal and synced its synced LSN: everything before is applied.
func (r *Replay) Open(synced wal.LSN) (*Log, error) {
	st := r.State()
	l := newLog(r.env, st, r.cfg)
	l.syncedLSN = max(synced, st.LSN)
	l.durableLSN, l.enqueued = l.syncedLSN, l.syncedLSN
	l.isOpened, l.createdLSN = true, r.created
	if r.created == 0 {
		l.last, l.confirmed = r.synced, true
	}
	l.dirty, l.sums = r.grown, r.sums
	for i, s := range st.Segments {
		seg := r.cur.seg
		if i < len(st.Segments)-1 || seg == nil {
			var err error
			if seg, err = segment.Open(r.env.FS, r.dir, s.Base, s.Size, s.Shape.options()); err != nil {
				return nil, fmt.Errorf("open %s: %w", st.Dir, err)
			}
		}
		l.segs = append(l.segs, seg)
	}
	l.removed = r.unlisted()
	if err := l.resumeActive(r.synced.LSN > 0 && !r.grown); err != nil {
		return nil, fmt.Errorf("open %s: %w", st.Dir, err)
	}
	r.env.Pool.add(l)
	return l, nil
}

// unlisted are the segments on disk below the log start.
func (r *Replay) unlisted() []removal {
	var out []removal
	infos, err := r.env.FS.ReadDir(r.dir)
	if err != nil {
		return nil
	}
	for _, info := range infos {
		kind, base, ok := segment.ParseName(info.Name())
		if ok && kind.PerSegment() && base < r.st.Segments[0].Base && !slices.Contains(out, removal{base: base}) {
			out = append(out, removal{base: base})
		}
	}
	return out
}

// resumeActive finds out what appends and flushes must know of the active file; idle says that nothing was written since the checkpoint.
func (l *Log) resumeActive(idle bool) error {
	s := l.segs[len(l.segs)-1]
	l.active = shape{base: s.BaseOffset(), size: s.Size(), firstTime: -1, choices: shapeOf(s)}
	if s.Size() == 0 {
		return nil
	}
	l.active.entries = s.Size()/int64(l.active.choices.IndexInterval) + 1
	f, err := l.env.FS.OpenFile(l.path(logName(s.BaseOffset())), os.O_RDONLY)
	if err != nil {
		return err
	}
	head := make([]byte, batch.HeaderSize)
	_, err = f.ReadAt(head, 0)
	l.lastBlock = make([]byte, s.Size()%blockSize)
	if err == nil && len(l.lastBlock) > 0 {
		_, err = f.ReadAt(l.lastBlock, s.Size()-int64(len(l.lastBlock)))
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	h, err := batch.Parse(head)
	if err != nil {
		return err
	}
	l.active.firstTime = h.MaxTimestamp
	if idle {
		l.mu.Lock()
		l.saveTailBlock()
		l.mu.Unlock()
	}
	return nil
}
