package repair

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"chronik.dev/chronik/broker"
	"chronik.dev/chronik/broker/batch"
	"chronik.dev/chronik/broker/datadir"
	"chronik.dev/chronik/broker/group"
	"chronik.dev/chronik/broker/partition"
	"chronik.dev/chronik/broker/recovery"
	"chronik.dev/chronik/broker/segment"
	"chronik.dev/chronik/broker/wal"
)

// recoveryOptions are those with which a repair runs the broker's recovery on the draft.
func (d *Draft) recoveryOptions() (recovery.Options, func(), error) {
	in := wal.InspectOptions{FS: d.FS, Dir: d.Path(datadir.WalDir), DirID: d.DirID, Kind: wal.Journal}
	inv, err := wal.Inspect(in, nil)
	if err != nil {
		return recovery.Options{}, nil, err
	}
	pool := partition.NewPool(0)
	now := d.Now.UnixMilli()
	return recovery.Options{
		FS: d.FS, Dir: d.Dir, DirID: d.DirID, Wal: logOptions(in, inv, d.Now),
		Env: &partition.Env{Pool: pool, Now: func() int64 { return now }},
	}, pool.Close, nil
}

// TruncatePartition is `wal truncate --partition T-P --offset N`: the partition ends before the batch that holds the offset. Its files are cut, the
// journal says so, and the checkpoint counts what is left; no other partition is touched.
func TruncatePartition(d *Draft, topic string, number int32, offset int64) error {
	o, closePool, err := d.recoveryOptions()
	if err != nil {
		return err
	}
	defer closePool()
	x, err := recovery.OpenSingle(o, topic, number)
	if err != nil {
		return err
	}
	name := x.Log.Name()
	start, end := x.Log.LogStart(), x.Log.LogEnd()
	switch {
	case offset >= end:
		err = fmt.Errorf("%w: %s ends at offset %d", ErrNothing, name, end)
	case offset < start:
		err = fmt.Errorf("truncate %s at offset %d: the log is [%d, %d); give an offset in it", name, offset, start, end)
	}
	if err != nil {
		return errors.Join(err, x.Journal.Close())
	}
	if err := d.losePartition(x, topic, offset); err != nil {
		return errors.Join(err, x.Journal.Close())
	}
	if err := x.Log.Truncate(offset); err != nil {
		return errors.Join(err, x.Journal.Close())
	}
	cut := x.Log.LogEnd()
	d.Say("%s ends at offset %d; it was [%d, %d)", name, cut, start, end)
	if cut < offset {
		d.Say("offset %d is inside a batch: the whole batch goes", offset)
	}
	if err := x.Close(); err != nil {
		return err
	}
	if err := d.dropLater(d.Path(datadir.TopicsDir, name), cut); err != nil {
		return err
	}
	_, err = d.report(datadir.Incident{Class: datadir.Truncated, Topic: topic, Partition: number, FirstOffset: cut, LastOffset: end - 1,
		Message: fmt.Sprintf("%s was cut at offset %d by a plan", name, cut)})
	return err
}

// losePartition says what a cut at an offset costs: the records from the batch that holds it on, and what they were to consumer groups.
func (d *Draft) losePartition(x *recovery.Single, topic string, offset int64) error {
	id := x.Log.Identity()
	unproven, err := d.unproven(id, x.Floor())
	if err != nil {
		return err
	}
	sure := Loss{What: "records", Topic: topic, TopicID: hexID(id.ID), Partition: id.Partition, First: -1, Acknowledged: AckYes}
	maybe := sure
	maybe.Acknowledged = AckUnknown
	offsets := groupOffsets{}
	err = eachBatch(x.Log, func(h *batch.Header, raw []byte) error {
		lost := h.LastOffset() >= offset
		if topic == broker.OffsetsTopic {
			if err := offsets.read(raw, lost); err != nil {
				d.Say("offsets %d to %d cannot be decoded: %v", h.BaseOffset, h.LastOffset(), err)
			}
		}
		if !lost {
			return nil
		}
		l := &sure
		if unproven >= 0 && h.BaseOffset >= unproven {
			l = &maybe
		}
		if l.First < 0 {
			l.First = h.BaseOffset
		}
		l.Last, l.Count = h.LastOffset(), l.Count+int64(h.Count)
		return nil
	})
	if err != nil {
		return err
	}
	for _, l := range []Loss{sure, maybe} {
		if l.First >= 0 {
			d.Lose(l)
		}
	}
	d.LoseGroupOffsets(offsets.lost()...)
	if sure.First >= 0 {
		d.Needs("offsets %d to %d of %s were acknowledged", sure.First, sure.Last, x.Log.Name())
	}
	return nil
}

// unproven is the first offset of a partition that no promise in the journal covers; -1: all are covered.
func (d *Draft) unproven(id partition.Identity, floor wal.LSN) (int64, error) {
	first := int64(-1)
	_, err := wal.Inspect(wal.InspectOptions{FS: d.FS, Dir: d.Path(datadir.WalDir), DirID: d.DirID, Kind: wal.Journal}, func(g *wal.Group) error {
		for i := range g.Frames {
			f := &g.Frames[i]
			if f.Type == wal.Batch && f.ID == id.ID && f.Partition == id.Partition && f.LSN > floor && (first < 0 || f.First < first) {
				first = f.First
			}
		}
		return nil
	})
	return first, err
}

// eachBatch calls fn for every batch of an open partition.
func eachBatch(l *partition.Log, fn func(h *batch.Header, raw []byte) error) error {
	for at := l.LogStart(); at < l.LogEnd(); {
		data, err := l.Read(partition.ReadRequest{Offset: at, UpTo: l.LogEnd(), MaxBytes: 1 << 20, AtLeastOne: true})
		if err != nil {
			return err
		}
		before := at
		err = batch.Each(data, func(h batch.Header, raw []byte) error {
			at = max(at, h.LastOffset()+1)
			return fn(&h, raw)
		})
		if err != nil {
			return err
		}
		if at == before {
			return fmt.Errorf("read %s: nothing at offset %d below the log end %d", l.Name(), at, l.LogEnd())
		}
	}
	return nil
}

// dropLater removes files of segments that would begin behind the end of a cut log: producer snapshots of an earlier clean stop.
func (d *Draft) dropLater(dir string, end int64) error {
	infos, err := d.FS.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, info := range infos {
		if kind, base, ok := segment.ParseName(info.Name()); ok && kind.PerSegment() && base > end {
			if err := d.FS.Remove(dir + "/" + info.Name()); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

// groupOffsets follows committed offsets through __consumer_offsets.
type groupOffsets map[group.Key]*committed

type committed struct {
	left *int64 // before the cut
	gone *int64 // the last one behind it
}

// read takes one batch.
func (g groupOffsets) read(raw []byte, lost bool) error {
	return batch.Records(raw, maxOffsetsBatch, func(r batch.Record) error {
		k, err := group.ParseKey(r.Key)
		if errors.Is(err, group.ErrUnknownKey) || err == nil && k.Kind != group.OffsetKey {
			return nil
		}
		if err != nil {
			return err
		}
		c := g[k]
		if c == nil {
			c = &committed{}
			g[k] = c
		}
		var value *int64
		if r.Value != nil {
			o, err := group.ParseOffset(r.Value)
			if err != nil {
				return err
			}
			value = &o.Offset
		}
		if lost {
			c.gone = value
		} else {
			c.left = value
		}
		return nil
	})
}

// maxOffsetsBatch bounds a decompressed batch, in bytes.
const maxOffsetsBatch = 64 << 20

func (g groupOffsets) lost() []GroupOffset {
	var out []GroupOffset
	for k, c := range g {
		if c.gone != nil {
			out = append(out, GroupOffset{Group: k.Group, Topic: k.Partition.Topic, Partition: k.Partition.Index, Offset: *c.gone, Left: c.left})
		}
	}
	slices.SortFunc(out, func(a, b GroupOffset) int {
		return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	return out
}
