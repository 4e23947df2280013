package repair

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"go.etcd.io/raft/v3/raftpb"

	"chronik.dev/chronik/broker/config"
	"chronik.dev/chronik/broker/datadir"
	"chronik.dev/chronik/broker/metadata"
	"chronik.dev/chronik/broker/raftlog"
	"chronik.dev/chronik/broker/statefile"
	"chronik.dev/chronik/broker/vfs"
	"chronik.dev/chronik/broker/wal"
	"chronik.dev/chronik/raftdump"
)

// offsetsTopic is Kafka's name of the topic that holds committed offsets.
const offsetsTopic = "__consumer_offsets"

// producerBlock is the highest number of producer ids that one Raft entry hands out (docs/format/metadata.md).
const producerBlock = 1 << 20

// idsPerMilli is more producer ids per millisecond than a node hands out, which syncs an entry for each block. Ids that begin at a time in milliseconds times this
// are above all that were handed out before, lost metadata or not, and stay below 2^53 for a long time.
const idsPerMilli = 1 << 10

// HardState plans a start for the metadata group of one whose Raft state is damaged: a term above every term seen, no vote, and as commit
// index what log, snapshots and journal prove. The log is kept if only HardState is bad; else a snapshot of everything that the entries left
// give replaces it; raft/ may be gone, or another directory's. What is lost is named, and topics that the journal knows are kept. In a group of several it is
// refused with ErrRefused: such a member could vote twice in one term. Sound state is ErrNothing.
func HardState(d *Draft) error {
	if err := d.foreignRaft(); err != nil {
		return err
	}
	if err := d.manifest(datadir.RaftDir, wal.Raft); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	dir := &raftdump.Dir{FS: d.FS, Path: d.Path(datadir.RaftDir), Root: d.Dir}
	wrong, err := gravest(dir)
	if err != nil || wrong == nil {
		return err
	}
	r, err := dir.Remains()
	if err != nil {
		return err
	}
	if len(r.Members) != 1 || r.Members[0] != r.Member {
		return fmt.Errorf("%w: the group is %s and this is member %x: in a group of several, a member whose Raft state is damaged could vote twice in one "+
			"term and elect two leaders; let it rejoin as a learner, with an empty raft/ and under a new member id", ErrRefused, hexes(r.Members), r.Member)
	}
	r.Term = max(r.Term, raftlog.FoundingTerm)
	hard := &raftpb.HardState{Term: new(r.Term + 1), Vote: new(uint64(0)), Commit: new(min(r.Commit, r.Last))}
	d.Say("%s: %s: %s", raftName(d, wrong.File), wrong.Reason, wrong.Evidence)
	if len(r.Missing)+r.Unknown == 0 && !r.Lost {
		if err := raftlog.RewriteHardState(r.Options, hard, r.Synced, r.Sequence+1); err != nil {
			return err
		}
		if wrong, err = gravest(dir); err != nil {
			return err
		}
		if wrong == nil {
			d.Say("HardState gets term %d, above the highest seen (%d), no vote, commit %d, sequence %d; log and snapshots stay", hard.GetTerm(), r.Term,
				hard.GetCommit(), r.Sequence+1)
			return nil
		}
	}
	if err := rebuildRaft(d, r, hard); err != nil {
		return err
	}
	if wrong, err = gravest(dir); err == nil && wrong != nil {
		err = fmt.Errorf("%w: the rebuilt state would not be sound: %s: %s: %s", ErrRefused, wrong.File, wrong.Reason, wrong.Evidence)
	}
	return err
}

// gravest finds what keeps a node from starting, or loses something; nil if nothing does.
func gravest(dir *raftdump.Dir) (*raftdump.Finding, error) {
	_, found, err := dir.Verify(true)
	if err != nil {
		return nil, err
	}
	for i := range found {
		switch f := &found[i]; f.Verdict {
		case wal.IOError:
			return nil, fmt.Errorf("%s: %s: no repair is planned while the disk does not read", f.File, f.Evidence)
		case wal.UnknownVersion:
			return nil, fmt.Errorf("%s: %w: %s", f.File, ErrVersion, f.Evidence)
		case wal.Corrupt:
			if f.Grave() {
				return f, nil
			}
		}
	}
	return nil, nil
}

// foreignRaft removes a raft/ that is all of another directory: nothing in it is of this one.
func (d *Draft) foreignRaft() error {
	of := ""
	if d.DirID == [16]byte{} {
		return nil
	}
	for _, base := range []string{datadir.ManifestBase, datadir.HardStateBase} {
		switch owner, named := statefile.Owner(d.FS, d.Path(datadir.RaftDir, base)); {
		case named && owner == d.DirID:
			return nil
		case named:
			of = hexID(owner)
		}
	}
	if of == "" {
		return nil
	}
	inv, err := wal.Inspect(wal.InspectOptions{FS: d.FS, Dir: d.Path(datadir.RaftDir), DirID: d.DirID, Kind: wal.Raft}, nil)
	if err != nil || len(inv.Segments) > 0 {
		return err
	}
	d.Say("raft/ is of directory %s, and this one's is gone", of)
	return vfs.RemoveAll(d.FS, d.Path(datadir.RaftDir))
}

// loseRaft adds the entries that are lost to the plan, and returns how many producer ids they may have handed out.
func loseRaft(d *Draft, r *raftdump.Remains) (ids int64) {
	if r.Lost {
		d.Lose(Loss{What: "Raft entries", First: raftlog.FoundingIndex + 1, Last: LossUnknown, Count: LossUnknown, Acknowledged: AckUnknown,
			Note: "configuration of topics, brokers and cluster; deletions that were not carried out yet"})
		d.Say("nothing is left of the metadata: which members and brokers there were is not known, and this plan is only right for a node that was alone")
		d.Needs("the metadata are lost, but for the topics that are on this disk")
		return d.Now.UnixMilli() * idsPerMilli
	}
	var lost int64
	for _, m := range r.Missing {
		acked := AckUnknown
		if m.Last <= r.Commit {
			acked = AckYes
		}
		lost += int64(m.Count())
		d.Lose(Loss{What: "Raft entries", First: int64(m.First), Last: int64(m.Last), Count: int64(m.Count()), Acknowledged: acked,
			Note: "changes of topics, configuration or registrations"})
	}
	if lost > 0 {
		d.Needs("the metadata lose %d entries that were durable", lost)
	}
	return lost * producerBlock
}

// rebuildRaft replaces all of raft/ by a snapshot of what is left. Its index is above every one that anything names, so no index means two things.
func rebuildRaft(d *Draft, r *raftdump.Remains, hard *raftpb.HardState) error {
	passed := loseRaft(d, r)
	topics, err := adopted(d, r)
	if err != nil {
		return err
	}
	id, err := datadir.Inspect(d.FS, d.Dir)
	if err != nil {
		return err
	}
	if err := r.State.Adopt(r.Highest, id.Identity.ClusterID, topics, passed); err != nil {
		return fmt.Errorf("%w: %w; the topics must be renamed or dropped by hand", ErrRefused, err)
	}
	data, err := r.State.Snapshot()
	if err != nil {
		return err
	}
	hard.Commit = new(r.Highest)
	snap := &raftpb.Snapshot{Data: data, Metadata: &raftpb.SnapshotMetadata{ConfState: r.Conf, Index: new(r.Highest), Term: new(r.Term)}}
	if err := raftlog.Rebuild(r.Options, snap, hard, r.Sequence+1); err != nil {
		return err
	}
	from := fmt.Sprintf("the snapshot at index %d", r.From)
	switch {
	case r.Lost:
		from = fmt.Sprintf("the topics that are on this disk (%d)", len(topics))
	case r.From == raftlog.FoundingIndex:
		from = "the founding"
	}
	d.Say("raft/ is made anew: a snapshot at index %d of %s and %d entries behind it, state hash %016x", r.Highest, from, r.Applied, r.State.Hash())
	d.Say("HardState gets term %d, above the highest seen (%d), no vote, commit %d, sequence %d", hard.GetTerm(), r.Term, r.Highest, r.Sequence+1)
	if passed > 0 {
		d.Say("%d producer ids are passed over: lost entries may have handed them out", passed)
	}
	return nil
}

// adopted makes topics of the partitions that checkpoint and journal hold. Those that the metadata do not know any more keep everything until
// somebody sets their retention again, since their configuration is lost. No leader epoch is below one that the disk knows: clients would be
// fenced with it.
func adopted(d *Draft, r *raftdump.Remains) ([]*metadata.Topic, error) {
	var topics []*metadata.Topic
	byID := map[[16]byte]*metadata.Topic{}
	image := r.State.Image()
	for i := range r.OnDisk {
		p := &r.OnDisk[i]
		if image.Deleted[p.ID] != nil {
			continue
		}
		t := byID[p.ID]
		if t == nil {
			var err error
			if t, err = adopt(d, image, p); err != nil {
				return nil, err
			}
			byID[p.ID], topics = t, append(topics, t)
		}
		known := len(t.Partitions)
		for n := known; n <= int(p.Partition); n++ { // one that was never opened here is opened, empty, at the next start
			t.Partitions = append(t.Partitions, metadata.Partition{Index: p.RaftIndex, Leader: r.Node, Replicas: []int32{r.Node}, ISR: []int32{r.Node}})
		}
		q := &t.Partitions[p.Partition]
		if int(p.Partition) >= known {
			q.Index, t.Index = p.RaftIndex, min(t.Index, p.RaftIndex)
		}
		q.LeaderEpoch = max(q.LeaderEpoch, p.Epoch)
	}
	return topics, nil
}

// adopt is the topic of a partition on the disk: a copy of the metadata's, or a new one.
func adopt(d *Draft, image *metadata.Image, p *raftdump.PartitionOnDisk) (*metadata.Topic, error) {
	if known := image.TopicsByID[p.ID]; known != nil {
		t := *known
		t.Partitions = slices.Clone(known.Partitions)
		return &t, nil
	}
	if p.Topic == "" || p.Partition < 0 {
		return nil, fmt.Errorf("%w: the journal has partition %d of topic id %x, and nothing on this disk knows its name", ErrRefused, p.Partition, p.ID)
	}
	t := &metadata.Topic{Name: p.Topic, ID: p.ID, Index: p.RaftIndex, Configs: map[string]string{"retention.ms": "-1", "retention.bytes": "-1"}}
	if p.Topic == offsetsTopic {
		t.Internal, t.Configs = true, config.New().OffsetsTopic()
	}
	d.Say("topic %s (id %s) is taken from what is on this disk; its configuration is lost: it keeps everything until its retention is set again", t.Name,
		hex.EncodeToString(t.ID[:]))
	return t, nil
}

func hexes(ids []uint64) string {
	var out []string
	for _, id := range ids {
		out = append(out, fmt.Sprintf("%x", id))
	}
	if len(out) == 0 {
		return "nobody"
	}
	return fmt.Sprint(slices.Clip(out))
}

// raftName is a file as people read it: below the data directory.
func raftName(d *Draft, path string) string {
	if rel, err := filepath.Rel(d.Dir, path); err == nil {
		return rel
	}
	return path
}
