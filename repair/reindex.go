package repair

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"

	"chronik.dev/chronik/broker/datadir"
	"chronik.dev/chronik/broker/partition"
	"chronik.dev/chronik/broker/segment"
	"chronik.dev/chronik/broker/statefile"
	"chronik.dev/chronik/broker/vfs"
)

// maxSmallFile bounds the small files of a partition directory, in bytes.
const maxSmallFile = 64 << 20

// Reindex makes everything anew in the partition directories that is derived from batches and checkpoint: indexes, byte for byte as the broker
// writes them, chronik.sums, and partition.metadata and leader-epoch-checkpoint where they cannot be read. Nothing is lost by it. A segment
// whose batches are damaged is left alone and named. topic and number, if topic is not empty, restrict it to one partition.
func Reindex(d *Draft, topic string, number int32) error {
	f, err := statefile.Load(d.FS, d.Path(datadir.WalDir, datadir.CheckpointBase), partition.CheckpointKind, partition.CheckpointVersion, d.DirID)
	if err != nil {
		return err
	}
	ck, err := partition.UnmarshalCheckpoint(f.Body())
	if err != nil {
		return err
	}
	found := false
	for i := range ck.Partitions {
		st := &ck.Partitions[i]
		if topic != "" && (st.Topic != topic || st.Partition != number) {
			continue
		}
		found = true
		r := &reindexer{d: d, st: st, dir: d.Path(datadir.TopicsDir, st.Dir)}
		if err := r.run(); err != nil {
			return fmt.Errorf("reindex %s: %w", st.Dir, err)
		}
	}
	if topic != "" && !found {
		return fmt.Errorf("%w: the checkpoint lists no partition %s-%d", fs.ErrNotExist, topic, number)
	}
	return nil
}

// reindexer works on one partition directory.
type reindexer struct {
	d       *Draft
	st      *partition.State
	dir     string
	damaged bool
}

func (r *reindexer) run() error {
	for _, s := range r.st.Segments {
		if err := r.segment(s); err != nil {
			return err
		}
	}
	epochs := make([]segment.EpochStart, len(r.st.Epochs))
	for i, e := range r.st.Epochs {
		epochs[i] = segment.EpochStart{Epoch: e.Epoch, Start: e.Start}
	}
	if err := r.small(segment.MetaFile, segment.EncodeMetadata(r.st.ID), func(b []byte) bool {
		id, err := segment.DecodeMetadata(b)
		return err == nil && id == r.st.ID
	}); err != nil {
		return err
	}
	if len(epochs) > 0 {
		if err := r.small(segment.EpochFile, segment.EncodeEpochs(epochs), func(b []byte) bool {
			_, err := segment.DecodeEpochs(b)
			return err == nil
		}); err != nil {
			return err
		}
	}
	return r.sums()
}

// segment makes the indexes of a segment anew.
func (r *reindexer) segment(s partition.SegmentState) error {
	if s.Size == 0 {
		return nil
	}
	name := segment.Log.Name(s.Base)
	info, err := r.d.FS.Stat(filepath.Join(r.dir, name))
	if err != nil {
		r.leave("%s/%s is left alone: %v", r.st.Dir, name, err)
		return nil
	}
	built, err := segment.RebuildIndexes(r.d.FS, r.dir, s.Base, min(s.Size, info.Size()), s.Shape.IndexInterval, true)
	var bad *segment.Error
	switch {
	case errors.As(err, &bad):
		r.leave("%s/%s is left alone, its batches are damaged: %v", r.st.Dir, name, bad)
	case err != nil:
		return err
	case info.Size() < s.Size:
		r.leave("%s/%s has %d bytes, the checkpoint says %d: its indexes are those of what is there", r.st.Dir, name, info.Size(), s.Size)
	case !built.SameIndex || !built.SameTimeIdx:
		r.d.Say("%s: indexes of segment %d made anew from its batches", r.st.Dir, s.Base)
	}
	return nil
}

// leave says what is not mended; the sums of a damaged log are not made anew, they may be what shows the damage.
func (r *reindexer) leave(format string, args ...any) {
	r.damaged = true
	r.d.Say(format, args...)
}

// small writes a small file anew that is not there or not good.
func (r *reindexer) small(k segment.Kind, want []byte, good func([]byte) bool) error {
	name := filepath.Join(r.dir, k.Name(0))
	have, err := vfs.ReadFile(r.d.FS, name, maxSmallFile)
	if err == nil && good(have) {
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	r.d.Say("%s: %s made anew from the checkpoint", r.st.Dir, k.Name(0))
	return vfs.WriteFile(r.d.FS, name, want)
}

// sums makes chronik.sums anew if it does not cover the partition, is damaged, or differs from files whose own checks are good.
func (r *reindexer) sums() error {
	if r.damaged {
		return nil
	}
	have, err := segment.OpenSums(r.d.FS, r.dir)
	if err != nil {
		return err
	}
	reason, err := r.wrongSums(have)
	if err != nil || reason == "" {
		return err
	}
	if err := r.d.FS.Remove(filepath.Join(r.dir, segment.SumsFileName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	fresh, err := segment.OpenSums(r.d.FS, r.dir)
	if err != nil {
		return err
	}
	for _, k := range []segment.Kind{segment.MetaFile, segment.EpochFile} {
		text, err := vfs.ReadFile(r.d.FS, filepath.Join(r.dir, k.Name(0)), maxSmallFile)
		if err == nil {
			fresh.Add(k, 0, 0, text)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	for _, s := range r.st.Segments {
		if err := r.sum(fresh, s); err != nil {
			return err
		}
	}
	r.d.Say("%s: chronik.sums made anew (%s): bytes that no other checksum covers are believed as they are", r.st.Dir, reason)
	return fresh.Write()
}

// wrongSums says why the sums are to be made anew; empty: they are good.
func (r *reindexer) wrongSums(have *segment.Sums) (reason string, err error) {
	if n := len(have.Faults()); n > 0 {
		return fmt.Sprintf("%d damaged entries", n), nil
	}
	size := func(k segment.Kind, base int64) int64 {
		if k != segment.Log {
			return math.MaxInt64
		}
		for _, s := range r.st.Segments {
			if s.Base == base {
				return s.Size
			}
		}
		return -1
	}
	live := segment.Live(have.Entries(), size)
	for _, s := range r.st.Segments {
		if len(segment.Uncovered(live, segment.Log, s.Base, s.Size)) > 0 {
			return fmt.Sprintf("segment %d was not covered", s.Base), nil
		}
	}
	err = segment.CheckSums(r.d.FS, r.dir, have.Entries(), size, func(f segment.Finding) {
		reason = fmt.Sprintf("%s differed at byte %d", f.File, f.Offset)
	})
	return reason, err
}

// sum adds the bytes of a segment below its checkpointed size.
func (r *reindexer) sum(to *segment.Sums, s partition.SegmentState) (err error) {
	if s.Size == 0 {
		return nil
	}
	f, err := r.d.FS.OpenFile(filepath.Join(r.dir, segment.Log.Name(s.Base)), os.O_RDONLY)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	buf := make([]byte, segment.SumSpan)
	for at := int64(0); at < s.Size; {
		b := buf[:min(int64(len(buf)), s.Size-at)]
		if _, err := f.ReadAt(b, at); err != nil {
			return err
		}
		to.Add(segment.Log, s.Base, at, b)
		at += int64(len(b))
	}
	return nil
}
