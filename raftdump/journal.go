package raftdump

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"chronik.dev/chronik/broker/datadir"
	"chronik.dev/chronik/broker/metadata"
	"chronik.dev/chronik/broker/partition"
	"chronik.dev/chronik/broker/statefile"
	"chronik.dev/chronik/broker/wal"
)

// place is where something names a partition and the Raft index that created it.
type place struct {
	at Finding
	id partition.Identity
}

// journal checks that checkpoint and, if deep, journal name nothing that the log does not explain: an index above its end, or a topic that was
// neither created nor deleted, means that raft/ is older than they are.
func (v *verifier) journal(deep bool) error {
	image := v.image
	opened := v.checkpointed()
	for i := range opened {
		v.explains(opened[i].at, opened[i].id, image)
	}
	if !deep {
		return nil
	}
	dropped := map[[16]byte]bool{}
	o := wal.InspectOptions{FS: v.d.FS, Dir: filepath.Join(v.d.Root, datadir.WalDir), DirID: v.d.options().DirID, Kind: wal.Journal}
	_, err := wal.Inspect(o, func(g *wal.Group) error {
		for i := range g.Frames {
			x := &g.Frames[i]
			if x.Type != wal.Opened && x.Type != wal.Dropped {
				continue
			}
			at := Finding{File: g.File, Offset: g.Offset, Length: g.Size, Record: fmt.Sprintf("%s frame at LSN %d", x.Type, x.LSN)}
			id := partition.Identity{Topic: string(x.Payload), ID: x.ID, Partition: x.Partition, RaftIndex: uint64(x.First)}
			if x.Type == wal.Dropped {
				dropped[x.ID] = true
				v.explains(at, id, nil)
				continue
			}
			v.explains(at, id, image)
			opened = append(opened, place{at, id})
		}
		return nil
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // that, and the journal's own findings, are walinspect's to report
		return fmt.Errorf("read the journal for the Raft indexes in it: %w", err)
	}
	for i := range opened {
		if p := &opened[i]; image != nil && !dropped[p.id.ID] && image.TopicsByID[p.id.ID] == nil && image.Deleted[p.id.ID] == nil && p.id.RaftIndex <= v.s.last {
			v.orphan(p, image)
		}
	}
	return nil
}

// checkpointed lists the partitions of the checkpoint but those that are stopped; damage to it is walinspect's to report.
func (v *verifier) checkpointed() []place {
	base := filepath.Join(v.d.Root, datadir.WalDir, datadir.CheckpointBase)
	f, err := statefile.Load(v.d.FS, base, partition.CheckpointKind, partition.CheckpointVersion, v.d.options().DirID)
	if err != nil {
		return nil
	}
	c, err := partition.UnmarshalCheckpoint(f.Body())
	if err != nil {
		return nil
	}
	var out []place
	name := f.Copies()[0].Name
	for i := range c.Partitions {
		if p := &c.Partitions[i]; p.Held == 0 {
			out = append(out, place{Finding{File: name, Length: v.d.size(name), Record: "checkpoint of " + p.Dir}, p.Identity})
		}
	}
	return out
}

// explains checks one place that names a Raft index.
func (v *verifier) explains(f Finding, p partition.Identity, known *metadata.Image) {
	f.Verdict, f.Verb = wal.Corrupt, verbHardState
	if p.RaftIndex > v.s.last {
		f.Reason, f.Lost = string(RuleJournalAhead), fmt.Sprintf("entries %d to %d at least", v.s.last+1, p.RaftIndex)
		f.Evidence = fmt.Sprintf("it depends on Raft index %d, and the log ends at %d: %s/ is older than what was built on it", p.RaftIndex, v.s.last, datadir.RaftDir)
		v.report(f)
		return
	}
	if known == nil || known.TopicsByID[p.ID] == nil || p.RaftIndex == 0 {
		return // deleted, or the index is not known
	}
	t := known.TopicsByID[p.ID]
	switch {
	case t.Name != p.Topic:
		f.Evidence = fmt.Sprintf("it says that topic id %x is %q, the metadata say %q", p.ID, p.Topic, t.Name)
	case int(p.Partition) >= len(t.Partitions):
		f.Evidence = fmt.Sprintf("it has partition %d of %s, the metadata have %d", p.Partition, p.Topic, len(t.Partitions))
	case t.Partitions[p.Partition].Index != p.RaftIndex:
		f.Evidence = fmt.Sprintf("it says that Raft index %d created %s-%d, the metadata say %d", p.RaftIndex, p.Topic, p.Partition, t.Partitions[p.Partition].Index)
	default:
		return
	}
	f.Reason = string(RulePartitionIndex)
	v.report(f)
}

// orphan reports a partition whose topic the metadata neither have nor deleted, and whose drop the journal does not hold. A deletion stays in the
// metadata until every replica's journal holds the drop.
func (v *verifier) orphan(p *place, image *metadata.Image) {
	f := p.at
	f.Verdict, f.Verb, f.Reason = wal.Corrupt, verbHardState, string(RulePartitionIndex)
	f.Lost = fmt.Sprintf("the metadata of topic %s", p.id.Topic)
	f.Evidence = fmt.Sprintf("Raft index %d created %s-%d, and the metadata up to index %d have neither its topic nor a deletion of it: %s/ is not what this was built on",
		p.id.RaftIndex, p.id.Topic, p.id.Partition, image.Index, datadir.RaftDir)
	v.report(f)
}
