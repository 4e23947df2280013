package walinspect

import (
	"path/filepath"

	"chronik.dev/chronik/broker/batch"
	"chronik.dev/chronik/broker/datadir"
	"chronik.dev/chronik/broker/wal"
)

// maxRecords bounds what one batch may decompress to in a dump, in bytes.
const maxRecords = 128 << 20

// DumpSummary ends a dump.
type DumpSummary struct {
	Target  string `json:"target"`
	Kind    Kind   `json:"kind"`
	Frames  int64  `json:"frames"`
	Batches int64  `json:"batches"`
	Records int64  `json:"records"`
	Damaged int64  `json:"damaged"` // items that are damaged
	Bytes   int64  `json:"bytes_read"`
}

// dumper walks a target and hands on what the filter lets through.
type dumper struct {
	t      *Target
	filter *Filter
	emit   func(*Item) error
	sum    DumpSummary
}

// Dump shows what is in the target's files, in the order of the files: of a data directory the journal, then the partition logs. It goes on
// past damage, which is shown too. An error of emit ends it.
func (t *Target) Dump(filter *Filter, emit func(*Item) error) (*DumpSummary, error) {
	d := &dumper{t: t, filter: filter, emit: emit, sum: DumpSummary{Target: t.Path, Kind: t.Kind}}
	err := d.run()
	d.sum.Bytes = t.fs.done.Load()
	return &d.sum, err
}

func (d *dumper) run() error {
	t := d.t
	switch t.Kind {
	case DataDir:
		if err := d.journal(filepath.Join(t.Root, datadir.WalDir), wal.Journal, ""); err != nil {
			return err
		}
		return d.topics(filepath.Join(t.Root, datadir.TopicsDir))
	case JournalDir:
		return d.journal(t.Path, wal.Journal, "")
	case RaftDir:
		return d.journal(t.Path, wal.Raft, "")
	case JournalFile:
		return d.journal(filepath.Dir(t.Path), t.logKind(), filepath.Clean(t.Path))
	case TopicsDir:
		return d.topics(t.Path)
	case KafkaDir:
		return d.topics(t.Path)
	case PartitionDir:
		return d.partition(filepath.Clean(t.Path))
	default: // LogFile
		return d.logFile(filepath.Clean(t.Path))
	}
}

// logKind says whether a lone segment belongs to the journal or to Raft's log.
func (t *Target) logKind() wal.Kind {
	dir := filepath.Dir(filepath.Clean(t.Path))
	if filepath.Base(dir) == datadir.RaftDir || t.exists(dir, datadir.HardStateBase+".0") {
		return wal.Raft
	}
	return wal.Journal
}

// inspect is wal.Inspect over a directory, which may be missing: then there is nothing to see.
func (t *Target) inspect(dir string, kind wal.Kind, deep bool, visit func(*wal.Group) error) (*wal.Inventory, error) {
	return wal.Inspect(wal.InspectOptions{FS: t.fs, Dir: dir, DirID: t.dirID, Kind: kind, Deep: deep}, visit)
}

// journal dumps a journal or Raft log; only limits it to one file of the directory.
func (d *dumper) journal(dir string, kind wal.Kind, only string) error {
	_, err := d.t.inspect(dir, kind, false, func(g *wal.Group) error {
		for i := range g.Frames {
			if g.Frames[i].Type == wal.Opened {
				d.t.names[g.Frames[i].ID] = string(g.Frames[i].Payload)
			}
		}
		if only != "" && filepath.Clean(g.File) != only {
			return nil
		}
		return d.group(g)
	})
	return err
}

// group dumps intact and damaged frames of a group in the order of their LSNs.
func (d *dumper) group(g *wal.Group) error {
	damaged := g.Damaged
	for i := range g.Frames {
		f := &g.Frames[i]
		for len(damaged) > 0 && damaged[0].LSN < f.LSN {
			if err := d.damaged(g, &damaged[0]); err != nil {
				return err
			}
			damaged = damaged[1:]
		}
		if err := d.frame(g, f); err != nil {
			return err
		}
	}
	for i := range damaged {
		if err := d.damaged(g, &damaged[i]); err != nil {
			return err
		}
	}
	return nil
}

func (d *dumper) damaged(g *wal.Group, id *wal.Identity) error {
	if !d.filter.frame(d.t.names[id.ID], id.Type, id.Partition, id.LSN, id.First, id.Last, g.Head.Time) {
		return nil
	}
	return d.show(d.t.damagedItem(g, id))
}

func (d *dumper) frame(g *wal.Group, f *wal.Frame) error {
	if !d.filter.frame(d.t.names[f.ID], f.Type, f.Partition, f.LSN, f.First, f.Last, g.Head.Time) {
		return nil
	}
	item := d.t.frameItem(g, f)
	if d.filter.Damaged && item.Damage == "" {
		return nil
	}
	if err := d.show(item); err != nil || item.Batch == nil {
		return err
	}
	return d.records(item, f.Payload)
}

// records dumps the records of an intact batch, if they are wanted.
func (d *dumper) records(parent *Item, raw []byte) error {
	if !d.filter.Records {
		return nil
	}
	var stopped error // by emit
	err := batch.Records(raw, maxRecords, func(r batch.Record) error {
		if !d.filter.record(&r) {
			return nil
		}
		stopped = d.show(recordItem(parent, &r))
		return stopped
	})
	if err == nil || stopped != nil {
		return stopped
	}
	broken := *parent
	broken.Item, broken.Damage, broken.Batch = "record", err.Error(), nil
	return d.show(&broken)
}

// show hands an item on and counts it.
func (d *dumper) show(item *Item) error {
	if err := d.emit(item); err != nil {
		return err
	}
	switch item.Item {
	case "frame":
		d.sum.Frames++
	case "batch":
		d.sum.Batches++
	case "record":
		d.sum.Records++
	}
	if item.Damage != "" {
		d.sum.Damaged++
	}
	return nil
}
