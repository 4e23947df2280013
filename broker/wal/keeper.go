package wal

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"chronik.dev/chronik/broker/vfs"
)

// kick tells the keeper that there is something to do.
func (l *Log) kick() {
	select {
	case l.kicked <- struct{}{}:
	default:
	}
}

// keep is the keeper: in the background it stores the manifest after a roll and keeps spares and the reserve ready. What fails here for lack
// of space is tried again later: the log can go on without.
func (l *Log) keep() {
	defer l.keeper.Done()
	for {
		select {
		case <-l.quit:
			return
		case <-l.failed:
			return
		case <-l.kicked:
		}
		if err := l.maintain(); err != nil && !errors.Is(err, ErrClosed) {
			if vfs.NoRoom(err) {
				l.o.Logger.Warn("no space to prepare journal segments", "dir", l.o.Dir, "error", err)
				continue
			}
			l.o.Logger.Error("journal maintenance failed", "dir", l.o.Dir, "error", err)
		}
	}
}

func (l *Log) stopping() bool {
	select {
	case <-l.quit:
		return true
	case <-l.failed:
		return true
	default:
		return false
	}
}

func (l *Log) maintain() error {
	l.maint.Lock()
	err := l.prepare()
	if err == nil {
		err = l.storeManifest()
	}
	l.maint.Unlock()
	if err != nil {
		return err
	}
	if err := l.keepReserve(); err != nil {
		return err
	}
	for l.spareCount() < l.o.Spares && !l.stopping() {
		if err := l.fillSpare(); err != nil {
			return err
		}
	}
	return nil
}

func (l *Log) spareCount() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := len(l.spares)
	if l.ready != nil {
		n++
	}
	return n
}

// fillSpare prewrites one spare and makes it known.
func (l *Log) fillSpare() error {
	free, err := l.o.FS.Free(l.o.Dir)
	if err != nil {
		return fmt.Errorf("prepare spare: %w", err)
	}
	if free < 2*l.o.SegmentSize+4*l.o.FirstSegmentSize {
		return nil // leave the space to the data; the next roll asks again
	}
	blocks := uint32(l.o.SegmentSize / BlockSize)
	generation := l.generation()
	name, err := writeFill(l.o.FS, l.o.Dir, l.o.Kind, generation, blocks, !l.o.Buffered, l.stopping)
	if err != nil {
		return fmt.Errorf("prepare spare: %w", err)
	}
	l.stats.prewritten.Add(1)
	l.maint.Lock()
	defer l.maint.Unlock()
	l.mu.Lock()
	l.spares = append(l.spares, spare{file: name, generation: generation, blocks: blocks})
	l.mu.Unlock()
	if err := l.prepare(); err != nil {
		return err
	}
	return l.storeManifest()
}

// prepare gives the first spare its segment name and opens it, if no file is ready. maint is held.
func (l *Log) prepare() error {
	for !l.stopping() {
		l.mu.Lock()
		if old := l.ready; old != nil && old.id < l.live[len(l.live)-1].id {
			// A growing segment was begun after it was named: its name would be out of order.
			l.ready = nil
			l.spares = slices.Insert(l.spares, 0, spare{file: old.file.name, generation: old.previous, blocks: old.blocks})
			l.mu.Unlock()
			if err := old.file.close(); err != nil {
				return err
			}
			continue
		}
		if l.ready != nil || len(l.spares) == 0 {
			l.mu.Unlock()
			return nil
		}
		sp := l.spares[0]
		l.spares = l.spares[1:]
		l.lastID++
		id := l.lastID
		l.mu.Unlock()
		s, err := l.nameSpare(sp, id)
		if err != nil {
			return fmt.Errorf("prepare segment %d from %s: %w", id, sp.file, err)
		}
		l.mu.Lock()
		l.ready = s
		l.mu.Unlock()
	}
	return nil
}

func (l *Log) nameSpare(sp spare, id uint64) (*segment, error) {
	name := filepath.Join(l.o.Dir, segmentName(id))
	if err := l.o.FS.Rename(sp.file, name); err != nil {
		return nil, err
	}
	if err := l.o.FS.SyncDir(l.o.Dir); err != nil {
		return nil, err
	}
	f, err := openFile(l.o.FS, name, 0, !l.o.Buffered)
	if err != nil {
		return nil, err
	}
	return &segment{id: id, previous: sp.generation, file: f, blocks: sp.blocks}, nil
}

// spareReady says whether the next segment's file is ready.
func (l *Log) spareReady() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ready != nil && l.ready.id > l.active.id
}

// takeSpare returns the ready file if it has room blocks, or nil.
func (l *Log) takeSpare(room uint32) *segment {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.ready
	if s == nil || s.id < l.active.id || s.blocks < room {
		return nil
	}
	l.ready = nil
	return s
}

// keepReserve makes the reserve file: blocks that are given up when the disk is full, so that what was promised can be finished.
func (l *Log) keepReserve() error {
	l.mu.Lock()
	have := l.reserve
	l.mu.Unlock()
	if have {
		return nil
	}
	free, err := l.o.FS.Free(l.o.Dir)
	if err != nil || free < 4*l.o.FirstSegmentSize {
		return err
	}
	if err := vfs.WriteFile(l.o.FS, filepath.Join(l.o.Dir, reserveName), make([]byte, l.o.FirstSegmentSize)); err != nil {
		return fmt.Errorf("keep reserve: %w", err)
	}
	l.mu.Lock()
	l.reserve = true
	l.mu.Unlock()
	return nil
}

// useReserve gives the reserve's space back to the disk, if it is there.
func (l *Log) useReserve() bool {
	l.mu.Lock()
	have := l.reserve
	l.reserve = false
	l.mu.Unlock()
	if !have {
		return false
	}
	l.o.Logger.Warn("the disk is full: the journal uses its reserve", "dir", l.o.Dir)
	return l.o.FS.Remove(filepath.Join(l.o.Dir, reserveName)) == nil
}

// manifestBody is the manifest as things are.
func (l *Log) manifestBody() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.manifestOf(l.live, l.cuts, l.spares)
}

// manifestOf is the manifest with these. mu is held.
func (l *Log) manifestOf(live []liveSegment, cuts []Cut, spares []spare) []byte {
	m := manifest{kind: l.o.Kind, cuts: cuts}
	for _, s := range live {
		m.segments = append(m.segments, manifestSegment{id: s.id, generation: s.generation, previous: s.previous, first: s.first,
			synced: s.last, resumed: s.resumed, end: s.end})
	}
	if l.ready != nil {
		m.spares = append(m.spares, l.ready.previous)
	}
	for _, s := range spares {
		m.spares = append(m.spares, s.generation)
	}
	return m.encode()
}

// storeManifest makes the manifest durable in both copies. maint is held. A failure other than for lack of space poisons the log.
func (l *Log) storeManifest() error { return l.storeBody(l.manifestBody()) }

func (l *Log) storeBody(body []byte) error {
	err := l.manifest.Store(body)
	if err == nil {
		return nil
	}
	err = fmt.Errorf("store manifest: %w", err)
	if !vfs.NoRoom(err) {
		l.poison(err)
	}
	return err
}

// FreeBelow gives up the segments that hold only frames below lsn. Their files are recycled or removed after the manifest without them is durable.
// As many spares are kept as it gave up, and Options.Spares more: a log that fills five segments from one checkpoint to the next uses the same files
// again and prewrites none.
// An error for lack of space or descriptors (vfs.NoRoom) changes nothing that matters: the next call does it.
func (l *Log) FreeBelow(lsn LSN) error {
	l.maint.Lock()
	defer l.maint.Unlock()
	l.mu.Lock()
	if l.closing || l.err != nil {
		defer l.mu.Unlock()
		return errors.Join(l.err, bool2err(l.closing))
	}
	n := 0
	for n < len(l.live)-1 && l.live[n].last < lsn {
		n++
	}
	if n == 0 {
		l.mu.Unlock()
		return nil
	}
	live := l.live[n:]
	cuts := slices.DeleteFunc(slices.Clone(l.cuts), func(c Cut) bool { return !c.counts(&live[0]) })
	keep := max(MaxSpares, n+l.o.Spares)
	if l.ready != nil {
		keep--
	}
	var remove []string
	spares, recycled := slices.Clone(l.spares), 0
	for _, s := range l.live[:n] {
		if s.full && s.bytes == l.o.SegmentSize && l.o.Spares > 0 && len(spares) < keep {
			recycled++
			spares = append(spares, spare{file: s.file, generation: s.generation, blocks: uint32(s.bytes / BlockSize)})
		} else {
			remove = append(remove, s.file)
		}
	}
	for len(spares) > keep {
		remove = append(remove, spares[len(spares)-1].file)
		spares = spares[:len(spares)-1]
	}
	body := l.manifestOf(live, cuts, spares)
	l.mu.Unlock()
	if err := l.storeBody(body); err != nil {
		return err // nothing has changed
	}
	l.mu.Lock()
	l.live, l.cuts, l.spares = slices.Clone(l.live[n:]), cuts, spares // live may have grown at its end meanwhile
	l.account()
	l.madeRoom()
	l.mu.Unlock()
	l.stats.recycled.Add(uint64(recycled))
	err := l.removeFiles(remove)
	if recycled > 0 {
		l.kick()
	}
	return err
}

func bool2err(closed bool) error {
	if closed {
		return ErrClosed
	}
	return nil
}

func (l *Log) removeFiles(names []string) error {
	for _, name := range names {
		if err := l.o.FS.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("free journal segment: %w", err)
		}
	}
	if len(names) == 0 {
		return nil
	}
	return l.o.FS.SyncDir(l.o.Dir)
}
