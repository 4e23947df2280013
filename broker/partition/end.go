package partition

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"chronik.dev/chronik/broker/wal"
)

// Close ends the log cleanly: no more appends, what is in flight is waited for, everything is written, and Kafka's files of a clean stop
// (producer snapshot, epoch checkpoint, trimmed indexes) are made. A checkpoint after it makes them durable. A stopped or deleted log only
// closes its files.
func (l *Log) Close() error {
	l.io.Lock()
	defer l.io.Unlock()
	l.mu.Lock()
	if errors.Is(l.failed, ErrClosed) {
		l.mu.Unlock()
		return nil
	}
	l.closing = true
	for l.failed == nil && l.syncedLSN < l.enqueued {
		l.cond.Wait()
	}
	open := l.failed == nil
	l.mu.Unlock()
	if !open {
		return l.closeFiles()
	}
	err := l.flush(noLimit)
	l.finish(fmt.Errorf("%s: %w", l.name, ErrClosed))
	if err == nil {
		l.mu.Lock()
		active, at, producers := l.segs[len(l.segs)-1], l.end, l.producers.state(l.end)
		l.dirty = true
		l.mu.Unlock()
		err = errors.Join(active.Seal(), writeSnapshot(l.env.FS, l.dir, at, producers), l.writeEpochs(at))
	}
	return errors.Join(err, l.closeFiles())
}

// closeFiles closes the descriptors; sizes stay known for the last checkpoint.
func (l *Log) closeFiles() error {
	l.files.Lock()
	defer l.files.Unlock()
	l.mu.Lock()
	segs := slices.Clone(l.segs)
	for _, r := range l.removed {
		if r.seg != nil {
			segs = append(segs, r.seg)
		}
	}
	l.mu.Unlock()
	var errs []error
	for _, s := range segs {
		errs = append(errs, s.Close())
	}
	return errors.Join(errs...)
}

// Drop deletes the partition for the command at raftIndex: it journals Dropped, waits until that is synced, and renames the directory. The
// path it returns is to be given to Checkpointer.Removed, which deletes it after a checkpoint that does not list the partition. Not to
// be called from the journal's callbacks. A stopped partition can be dropped too. After an error the call may be repeated.
func (l *Log) Drop(raftIndex uint64) (dir string, err error) {
	l.finish(fmt.Errorf("%s: %w", l.name, ErrDeleted))
	l.io.Lock()
	defer l.io.Unlock()
	l.mu.Lock()
	l.failed = fmt.Errorf("%s: %w", l.name, ErrDeleted)
	synced := make(chan error, 1)
	l.enqueue([]wal.Frame{l.frame(wal.Dropped, int64(raftIndex), 0, nil)}, &ticket{settle: func(err error) { synced <- err }})
	l.mu.Unlock()
	if err := <-synced; err != nil {
		return "", fmt.Errorf("drop %s: %w", l.name, err)
	}
	l.mu.Lock()
	l.dropped = true
	l.mu.Unlock()
	err = l.closeFiles()
	to := filepath.Join(l.env.Dir, DeletedDirName(l.id.Topic, l.id.Partition, l.id.ID))
	l.files.Lock()
	defer l.files.Unlock()
	if rename := l.env.FS.Rename(l.dir, to); rename != nil {
		return "", errors.Join(fmt.Errorf("drop %s: %w; the next boot moves the directory away", l.name, rename), err)
	}
	l.mu.Lock()
	l.dir = to
	l.mu.Unlock()
	l.env.Pool.remove(l)
	return to, err
}

// Truncate cuts the log back to an offset at a batch boundary, inside a batch to its beginning, but never below the log start: the frame
// Truncated is synced first, then the files are cut. Appends that
// wait for the high watermark beyond it fail. A leader never truncates; a follower does, and so does repair.
func (l *Log) Truncate(offset int64) error {
	l.io.Lock()
	defer l.io.Unlock()
	l.mu.Lock()
	for l.failed == nil && l.syncedLSN < l.enqueued {
		l.cond.Wait()
	}
	err := l.failed
	if err == nil && (offset < l.logStart || offset > l.end) {
		err = fmt.Errorf("truncate %s to %d, the log is [%d, %d): %w", l.name, offset, l.logStart, l.end, ErrOffsetOutOfRange)
	}
	if err != nil || offset == l.end {
		l.mu.Unlock()
		return err
	}
	l.truncating = true
	l.mu.Unlock()
	// Everything is synced, and nothing is in flight while truncating is set: the files can hold all of it, and are cut as one.
	err = l.flush(noLimit)
	l.mu.Lock()
	if err == nil && l.flushed < l.end {
		l.tailBlockReady() // sends it, for the next try
		err = fmt.Errorf("truncate %s: the journal had refused the frame that must come before a write to the last block: %w", l.name, ErrNoSpace)
	}
	l.mu.Unlock()
	var kept []SegmentState
	if err == nil { // the frame says where the files stop: a replay finds them before, after or in the middle of it
		_, kept, offset, err = l.cutAt(offset)
	}
	if err != nil {
		l.mu.Lock()
		l.truncating = false
		l.mu.Unlock()
		return err
	}
	// What it says of a segment that the cleaner wrote is of the new file: from here on the old one must not come back.
	if err := l.env.FS.SyncDir(l.dir); err != nil {
		err = fmt.Errorf("truncate %s: %w", l.name, err)
		l.Stop(err)
		return err
	}
	last := kept[len(kept)-1]
	at := CutAt{Base: last.Base, Size: last.Size}
	synced := make(chan error, 1)
	l.mu.Lock()
	l.enqueue([]wal.Frame{l.frame(wal.Truncated, offset, 0, at.Marshal())}, &ticket{settle: func(err error) { synced <- err }})
	l.mu.Unlock()
	if err := <-synced; err != nil {
		l.mu.Lock()
		l.truncating = false
		l.mu.Unlock()
		return fmt.Errorf("truncate %s: %w", l.name, err)
	}
	if err := l.cutFiles(offset); err != nil {
		err = fmt.Errorf("truncate %s: %w", l.name, err)
		l.Stop(err)
		return err
	}
	return nil
}
