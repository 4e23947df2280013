package partition

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"slices"

	"chronik.dev/chronik/broker/batch"
	"chronik.dev/chronik/broker/segment"
	"chronik.dev/chronik/broker/vfs"
	"chronik.dev/chronik/broker/wal"
)

// cleanableRatio is min.cleanable.dirty.ratio: the part of the closed segments that must be uncleaned before the cleaner runs.
const cleanableRatio = 0.5

// maxCleanKeys bounds the cleaner's memory: 24 bytes and map overhead each. Keys beyond it wait for the next run.
const maxCleanKeys = 4 << 20

// keyHash stands for a record's key.
type keyHash [16]byte

// Compact removes from closed segments the records that a newer one with the same key, in a closed segment, replaces, and tombstones older
// than delete.retention.ms. Offsets stay. It reads and changes only what the last checkpoint made durable; each new file is synced, then
// announced by a synced Replaced frame, then renamed over the old one.
func (l *Log) Compact(now int64) error {
	if !l.cfg.Load().Compact {
		return nil
	}
	l.io.Lock()
	defer l.io.Unlock()
	segs := l.cleanable()
	if len(segs) == 0 {
		return nil
	}
	newest, through, err := l.newestOffsets(segs)
	if err != nil {
		return fmt.Errorf("compact %s: %w", l.name, err)
	}
	for _, s := range segs {
		if s.BaseOffset() >= through {
			break
		}
		if err := l.cleanSegment(s, newest, now); err != nil {
			return fmt.Errorf("compact %s: %w", l.name, err)
		}
		l.cleanedTo = s.BaseOffset() + 1
	}
	return nil
}

// cleanable returns the closed segments below the last checkpoint if enough of them is uncleaned. io is held.
func (l *Log) cleanable() []*segment.Segment {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.admits() != nil || !l.confirmed {
		return nil
	}
	var out []*segment.Segment
	var total, dirty int64
	closed := l.last.Segments[:len(l.last.Segments)-1] // when the checkpoint was made
	for _, s := range l.segs[:len(l.segs)-1] {
		if !slices.Contains(closed, stateOf(s)) {
			break
		}
		total += s.Size()
		if s.BaseOffset() >= l.cleanedTo {
			dirty += s.Size()
		}
		out = append(out, s)
	}
	if total == 0 || float64(dirty) < cleanableRatio*float64(total) {
		return nil
	}
	return out
}

// newestOffsets finds the newest record of every key in the segments, as far as memory allows: through is the base offset of the first
// segment that was not read.
func (l *Log) newestOffsets(segs []*segment.Segment) (newest map[keyHash]int64, through int64, err error) {
	newest = map[keyHash]int64{}
	limit := l.cfg.Load().decompressLimit()
	for _, s := range segs {
		if len(newest) >= maxCleanKeys {
			return newest, s.BaseOffset(), nil
		}
		err := s.Scan(0, func(_ int64, h batch.Header, raw []byte) error {
			if h.IsControl() {
				return nil
			}
			return batch.Records(raw, limit, func(r batch.Record) error {
				if r.Key != nil {
					newest[hashKey(r.Key)] = r.Offset
				}
				return nil
			})
		})
		if err != nil {
			return nil, 0, err
		}
	}
	return newest, segs[len(segs)-1].BaseOffset() + 1, nil
}

func hashKey(key []byte) keyHash {
	sum := sha256.Sum256(key)
	return keyHash(sum[:16])
}

// cleanSegment rewrites one closed segment without the records that are not kept. io is held.
func (l *Log) cleanSegment(s *segment.Segment, newest map[keyHash]int64, now int64) error {
	cfg := l.cfg.Load()
	keep := func(r batch.Record) bool {
		if r.Key == nil {
			return false
		}
		if at, ok := newest[hashKey(r.Key)]; ok && at > r.Offset {
			return false
		}
		return r.Value != nil || now-r.Timestamp <= cfg.DeleteRetentionMs
	}
	temp := l.path(logName(s.BaseOffset())) + cleanedSuffix
	v, err := l.writeCleaned(s, temp, keep, cfg.decompressLimit())
	if err != nil || v.NewSize == v.OldSize {
		return errors.Join(err, removeIfThere(l.env.FS, temp))
	}
	if err := l.announce(v); err != nil {
		return errors.Join(err, removeIfThere(l.env.FS, temp))
	}
	if err := l.swap(s, temp, v); err != nil {
		l.Stop(fmt.Errorf("a cleaned segment could not take its place: %w", err))
		return err
	}
	return nil
}

// writeCleaned writes the kept records of a segment to a synced temporary file.
func (l *Log) writeCleaned(s *segment.Segment, temp string, keep func(batch.Record) bool, limit int) (v Replaced, err error) {
	f, err := l.env.FS.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return v, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	v.Base = s.BaseOffset()
	var buf []byte
	write := func() error {
		_, err := f.WriteAt(buf, v.NewSize)
		v.NewSize += int64(len(buf))
		v.NewCRC = crc32.Update(v.NewCRC, castagnoli, buf)
		buf = buf[:0]
		return err
	}
	err = s.Scan(0, func(_ int64, h batch.Header, raw []byte) error {
		v.OldSize += int64(len(raw))
		v.OldCRC = crc32.Update(v.OldCRC, castagnoli, raw)
		out := raw
		if !h.IsControl() {
			kept := 0
			var err error
			if out, kept, err = batch.Filter(raw, limit, keep); err != nil {
				return err
			}
			if kept == 0 {
				return nil
			}
		}
		if buf = append(buf, out...); len(buf) >= windowSize {
			return write()
		}
		return nil
	})
	if err == nil && len(buf) > 0 {
		err = write()
	}
	if err != nil {
		return v, err
	}
	return v, f.Sync()
}

// announce journals a Replaced frame and waits until it is synced.
func (l *Log) announce(v Replaced) error {
	synced := make(chan error, 1)
	l.mu.Lock()
	if err := l.admits(); err != nil {
		l.mu.Unlock()
		return err
	}
	f := l.frame(wal.Replaced, v.Base, 0, v.Marshal())
	l.enqueue([]wal.Frame{f}, &ticket{settle: func(err error) { synced <- err }})
	l.mu.Unlock()
	return <-synced
}

// swap puts the cleaned file in the place of the segment's. Readers wait meanwhile. io is held.
func (l *Log) swap(s *segment.Segment, temp string, v Replaced) error {
	fsys, base := l.env.FS, s.BaseOffset()
	l.files.Lock()
	defer l.files.Unlock()
	err := errors.Join(s.Close(), fsys.Rename(temp, l.path(logName(base))))
	if err == nil {
		err = errors.Join(removeIfThere(fsys, l.path(segment.Index.Name(base))), removeIfThere(fsys, l.path(segment.TimeIndex.Name(base))))
	}
	var fresh *segment.Segment
	if err == nil {
		fresh, err = segment.Open(fsys, l.dir, base, v.NewSize, s.Options())
	}
	if err == nil {
		err = fresh.Seal()
	}
	if err != nil {
		return err
	}
	if err := l.sums.addFile(segment.Log, base, 0, v.NewSize); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.segs = slices.Clone(l.segs)
	l.segs[slices.Index(l.segs, s)] = fresh
	l.dirty = true
	return nil
}

func removeIfThere(fsys vfs.FS, name string) error {
	if err := fsys.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
