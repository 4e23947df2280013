package walinspect

import (
	"path/filepath"

	"chronik.dev/chronik/broker/batch"
	"chronik.dev/chronik/broker/segment"
	"chronik.dev/chronik/broker/wal"
)

// topics dumps every partition directory below dir.
func (d *dumper) topics(dir string) error {
	dirs, err := d.t.sortedPartitions(dir)
	if err != nil {
		return err
	}
	for _, p := range dirs {
		topic, number, _ := partitionName(filepath.Base(p))
		if d.filter.Topic != "" && topic != d.filter.Topic || d.filter.Partition != nil && number != *d.filter.Partition {
			continue
		}
		if err := d.partition(p); err != nil {
			return err
		}
	}
	return nil
}

// partition dumps every .log file of a partition directory.
func (d *dumper) partition(dir string) error {
	bases, err := d.t.segments(dir)
	if err != nil {
		return err
	}
	for i, base := range bases {
		if d.filter.FirstOffset != nil && i+1 < len(bases) && bases[i+1] <= *d.filter.FirstOffset {
			continue // wholly below the range
		}
		if d.filter.LastOffset != nil && base > *d.filter.LastOffset {
			break
		}
		if err := d.logFile(filepath.Join(dir, segment.Log.Name(base))); err != nil {
			return err
		}
	}
	return nil
}

// logFile dumps the batches of one .log file and, in their places, its damaged ranges.
func (d *dumper) logFile(path string) error {
	_, base, _ := segment.ParseName(filepath.Base(path))
	dir := filepath.Dir(path)
	topic, number, _ := partitionName(filepath.Base(dir))
	var failed error // of emit, inside the report of a damage
	report := func(f segment.Finding) {
		if failed == nil && f.File == segment.Log.Name(base) {
			failed = d.damagedBatch(path, topic, number, &f)
		}
	}
	_, err := segment.Verify(d.t.fs, dir, base, segment.VerifyOptions{
		Size: -1,
		Batch: func(pos int64, h batch.Header, raw []byte) error {
			if failed != nil {
				return failed
			}
			return d.batch(path, topic, number, pos, &h, raw)
		},
	}, report)
	if failed != nil {
		return failed
	}
	return err
}

func (d *dumper) batch(path, topic string, number int32, pos int64, h *batch.Header, raw []byte) error {
	if d.filter.Damaged || !d.filter.batch(topic, number, h) {
		return nil
	}
	item := &Item{
		Item: "batch", File: d.t.rel(path), Position: pos, Topic: topic, Partition: &number, Epoch: &h.LeaderEpoch,
		First: h.BaseOffset, Last: h.LastOffset(), Length: int64(len(raw)), Time: h.MaxTimestamp, Batch: batchInfo(h),
	}
	if err := d.show(item); err != nil {
		return err
	}
	return d.records(item, raw)
}

// damagedBatch shows a damaged range of a .log file.
func (d *dumper) damagedBatch(path, topic string, number int32, f *segment.Finding) error {
	last := max(f.First, f.Last)
	if d.filter.FirstLSN != 0 || d.filter.LastLSN != 0 || d.filter.Topic != "" && topic != d.filter.Topic ||
		!d.filter.inTypes(wal.Batch.String()) || !d.filter.inOffsets(wal.Batch, f.First, last) {
		return nil
	}
	return d.show(&Item{
		Item: "batch", File: d.t.rel(path), Position: f.Offset, Topic: topic, Partition: &number, First: f.First, Last: f.Last,
		Length: f.Length, Damage: string(f.Reason) + ": " + f.Detail,
	})
}
