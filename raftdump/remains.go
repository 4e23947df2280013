package raftdump

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"go.etcd.io/raft/v3/raftpb"

	"chronik.dev/chronik/broker/datadir"
	"chronik.dev/chronik/broker/metadata"
	"chronik.dev/chronik/broker/partition"
	"chronik.dev/chronik/broker/raftlog"
	"chronik.dev/chronik/broker/statefile"
	"chronik.dev/chronik/broker/wal"
)

// Remains is what damaged Raft state still proves: what a repair has to go on. See Dir.Remains.
type Remains struct {
	Member   uint64            // of this directory
	Node     int32             // likewise
	Members  []uint64          // everyone that the newest known membership names
	Conf     *raftpb.ConfState // after the last entry that could be applied
	Options  raftlog.Options   // to write there
	Term     uint64            // the highest that any entry, head, HardState copy or snapshot names, overwritten or not
	Sequence uint64            // the highest that any HardState copy or head names
	Synced   wal.LSN           // up to which the log is known to have been durable
	Commit   uint64            // the highest index that anything has as committed
	Highest  uint64            // the highest index that anything names, the journal too
	Last     uint64            // of the last entry, or of the newest snapshot
	From     uint64            // index of the snapshot that State was begun with; 1: the founding
	Lost     bool              // there is none, nor a log that reaches back to the founding: State holds what the entries left give, if any
	State    *metadata.State   // that, and every intact entry behind it
	Applied  int               // entries behind it that are intact
	Missing  []Range           // indexes behind it of which no entry is left, ascending
	OnDisk   []PartitionOnDisk // what checkpoint and journal hold, but for what was dropped, by topic and number
	Unknown  int               // of them: whose topic State neither has nor deleted
	Started  *raftlog.Report   // what a start would go on with; nil if it would refuse
}

// Range is a run of indexes.
type Range struct{ First, Last uint64 }

// Count is the number of indexes.
func (r Range) Count() uint64 { return r.Last - r.First + 1 }

// PartitionOnDisk is what checkpoint and journal say of a partition.
type PartitionOnDisk struct {
	partition.Identity
	Epoch int32 // the highest leader epoch that they name
}

// ErrNewer says that another release wrote a part of the state: it is not damaged, and this program cannot judge what it means.
var ErrNewer = errors.New("written by a newer release")

// Remains reads everything that is left, journal included, and applies to the metadata what can be applied; raft/ itself may be gone. Errors: ErrNewer,
// ErrStarted, a disk that does not read, or an identity that cannot be read.
func (d *Dir) Remains() (*Remains, error) {
	id, known := d.identity()
	if !known {
		return nil, fmt.Errorf("%s: the identity of the data directory cannot be read; run `chronik wal verify` on it", d.Path)
	}
	s, err := d.read(true, true)
	if errors.Is(err, fs.ErrNotExist) { // raft/ is gone
		s, err = &state{Contents: &raftlog.Contents{Winner: -1, Log: &wal.Inventory{}}}, nil
	}
	if err != nil {
		return nil, err
	}
	if err := s.readable(); err != nil {
		return nil, err
	}
	r := &Remains{Member: id.MemberID, Node: id.NodeID, Options: d.options(), Term: s.highestTerm(), Synced: s.Log.Floor, Commit: s.commit, Last: s.last}
	for i := range s.Contents.HardState {
		r.Sequence, r.Commit = max(r.Sequence, s.Contents.HardState[i].Seq), max(r.Commit, s.Contents.HardState[i].Commit)
	}
	for i := range s.heads {
		r.Sequence = max(r.Sequence, s.heads[i].Sequence)
	}
	if err := r.begin(d, s); err != nil {
		return nil, err
	}
	r.Members = members(r.Conf)
	if r.Lost {
		r.Members = s.voted(r.Members)
	}
	onDisk, err := d.partitions(r.Lost)
	if err != nil {
		return nil, err
	}
	r.highest(s, onDisk)
	r.missing(s)
	image := r.State.Image()
	r.OnDisk = onDisk
	for _, p := range onDisk {
		if image.TopicsByID[p.ID] == nil && image.Deleted[p.ID] == nil {
			r.Unknown++
		}
	}
	if report, err := raftlog.Inspect(r.Options); err == nil && report.Damage == nil {
		r.Started = report
	}
	return r, d.started()
}

// readable refuses what no repair may touch: another release's files, and a disk that does not read.
func (s *state) readable() error {
	var newer *statefile.VersionError
	if errors.As(s.HardError, &newer) {
		return fmt.Errorf("HardState: %w: %w", ErrNewer, s.HardError)
	}
	for i := range s.Contents.HardState {
		if c := &s.Contents.HardState[i]; c.State == statefile.IOError {
			return fmt.Errorf("%s: %w", c.Name, c.Err)
		}
	}
	for i := range s.Snapshots {
		switch f := &s.Snapshots[i]; {
		case f.Newer:
			return fmt.Errorf("snapshot %s: %w: %s", f.Name, ErrNewer, f.Problem)
		case f.Unread:
			return fmt.Errorf("snapshot %s: %s", f.Name, f.Problem)
		}
	}
	for i := range s.Log.Findings {
		switch f := &s.Log.Findings[i]; f.Verdict {
		case wal.UnknownVersion:
			return fmt.Errorf("%s at byte %d: %w", f.File, f.Offset, ErrNewer)
		case wal.IOError:
			return fmt.Errorf("%s at byte %d: %w", f.File, f.Offset, errors.Join(errors.New("the disk does not read it"), f.Err))
		}
	}
	return nil
}

// start is a state that the log goes on from.
type start struct {
	index uint64
	meta  *metadata.State
	conf  *raftpb.ConfState
	end   uint64 // index up to which no entry is missing behind it
}

// begin chooses the start from which the log reaches farthest, the newest of equal ones, and applies every intact entry behind it at its own
// index: a command that depended on a lost one is refused by the state machine and changes nothing. Without a start it begins with nothing, in a group
// of this member alone.
func (r *Remains) begin(d *Dir, s *state) error {
	var best *start
	consider := func(c *start) {
		c.end = c.index
		for _, e := range s.log() {
			if e.Index == c.end+1 && e.intact() {
				c.end++
			}
		}
		if best == nil || c.end > best.end {
			best = c
		}
	}
	for i := range s.Snapshots {
		f := &s.Snapshots[i]
		if f.Problem != "" {
			continue
		}
		m, _, err := d.restore(f)
		if errors.Is(err, metadata.ErrUnsupported) {
			return fmt.Errorf("snapshot %s: %w: %w", f.Name, ErrNewer, err)
		}
		if err == nil && m.Image().Index == f.Index {
			consider(&start{index: f.Index, meta: m, conf: f.ConfState})
		}
	}
	if log := s.log(); len(log) > 0 && log[0].Index == raftlog.FoundingIndex+1 {
		m := metadata.New()
		m.Apply(raftlog.FoundingIndex, nil)
		consider(&start{index: raftlog.FoundingIndex, meta: m, conf: &raftpb.ConfState{Voters: []uint64{r.Member}}})
	}
	if r.Lost = best == nil; r.Lost {
		m := metadata.New()
		m.Apply(raftlog.FoundingIndex, nil)
		best = &start{index: raftlog.FoundingIndex, meta: m, conf: &raftpb.ConfState{Voters: []uint64{r.Member}}}
	}
	var behind []*stored
	for _, e := range s.log() {
		if e.Index > best.index && e.intact() {
			behind = append(behind, e)
		}
	}
	if err := apply(best.meta, behind); err != nil {
		return fmt.Errorf("%w: %w", ErrNewer, err)
	}
	conf, err := follow(best.conf, behind)
	if err != nil {
		return fmt.Errorf("apply the membership changes in the log: %w", err)
	}
	r.From, r.State, r.Conf, r.Applied = best.index, best.meta, conf, len(behind)
	return nil
}

// voted adds to the members those that anything here names as voted for.
func (s *state) voted(members []uint64) []uint64 {
	add := func(vote uint64) {
		if vote != 0 && !slices.Contains(members, vote) {
			members = append(members, vote)
		}
	}
	for i := range s.heads {
		add(s.heads[i].Vote)
	}
	for i := range s.Contents.HardState {
		add(s.Contents.HardState[i].Vote)
	}
	return members
}

// highest finds the highest index that anything names.
func (r *Remains) highest(s *state, onDisk []PartitionOnDisk) {
	r.Highest = max(r.Commit, r.Last)
	for i := range s.Snapshots {
		r.Highest = max(r.Highest, s.Snapshots[i].Index) // by its name, damaged or not
	}
	for i := range s.Log.Findings {
		for _, id := range s.Log.Findings[i].Lost {
			if id.Type == wal.RaftEntry {
				r.Highest = max(r.Highest, uint64(id.First))
				if id.LSN == 0 {
					r.Highest = max(r.Highest, uint64(id.Last))
				}
			}
		}
	}
	for i := range onDisk {
		r.Highest = max(r.Highest, onDisk[i].RaftIndex)
	}
}

// missing lists the indexes behind the start that no intact entry has.
func (r *Remains) missing(s *state) {
	next := r.From + 1
	gap := func(to uint64) {
		if to >= next {
			r.Missing = append(r.Missing, Range{next, to})
		}
	}
	for _, e := range s.log() {
		if e.Index > r.From && e.intact() {
			gap(e.Index - 1)
			next = e.Index + 1
		}
	}
	gap(r.Highest)
}

// partitions lists what checkpoint and journal know of partitions that were not dropped; if the metadata are lost and no checkpoint can be read, what their
// directories say too. Journal damage is not this reader's to report.
func (d *Dir) partitions(lost bool) ([]PartitionOnDisk, error) {
	type slot struct {
		id     [16]byte
		number int32
	}
	all := map[slot]*PartitionOnDisk{}
	dropped := map[[16]byte]bool{}
	note := func(p partition.Identity, epoch int32) {
		k := slot{p.ID, p.Partition}
		if all[k] == nil {
			all[k] = &PartitionOnDisk{Identity: p}
		}
		all[k].Epoch = max(all[k].Epoch, epoch)
		if all[k].RaftIndex == 0 {
			all[k].Identity = p
		}
	}
	base := filepath.Join(d.Root, datadir.WalDir, datadir.CheckpointBase)
	f, err := statefile.Load(d.FS, base, partition.CheckpointKind, partition.CheckpointVersion, d.options().DirID)
	if err == nil {
		var c *partition.Checkpoint
		if c, err = partition.UnmarshalCheckpoint(f.Body()); err == nil {
			for i := range c.Partitions {
				note(c.Partitions[i].Identity, c.Partitions[i].Epoch)
			}
		}
	}
	if err != nil && lost {
		if err := d.directories(note); err != nil {
			return nil, err
		}
	}
	o := wal.InspectOptions{FS: d.FS, Dir: filepath.Join(d.Root, datadir.WalDir), DirID: d.options().DirID, Kind: wal.Journal}
	_, err = wal.Inspect(o, func(g *wal.Group) error {
		for i := range g.Frames {
			f := &g.Frames[i]
			switch known := all[slot{f.ID, f.Partition}]; {
			case f.Type == wal.Opened:
				note(partition.Identity{Topic: string(f.Payload), ID: f.ID, Partition: f.Partition, RaftIndex: uint64(f.First)}, f.Epoch)
			case f.Type == wal.Dropped:
				dropped[f.ID] = true
			case known != nil && (f.Type == wal.Batch || f.Type == wal.EpochBegun):
				known.Epoch = max(known.Epoch, f.Epoch)
			}
		}
		return nil
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read the journal for the partitions in it: %w", err)
	}
	var out []PartitionOnDisk
	for k, p := range all {
		if !dropped[k.id] {
			if p.RaftIndex == 0 { // only its directory is known: the first index that a command can have
				p.RaftIndex = raftlog.FoundingIndex + 1
			}
			out = append(out, *p)
		}
	}
	slices.SortFunc(out, func(a, b PartitionOnDisk) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), slices.Compare(a.ID[:], b.ID[:]), cmp.Compare(a.Partition, b.Partition))
	})
	return out, nil
}

// directories notes the partitions whose directories say which topic they are of: all that is left to ask where no checkpoint can be read.
func (d *Dir) directories(note func(partition.Identity, int32)) error {
	dir := filepath.Join(d.Root, datadir.TopicsDir)
	infos, err := d.FS.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, info := range infos {
		topic, number, ok := partition.SplitDirName(info.Name())
		if !ok || !info.IsDir() {
			continue
		}
		if id, err := partition.TopicID(d.FS, filepath.Join(dir, info.Name())); err == nil {
			note(partition.Identity{Topic: topic, ID: id, Partition: number}, 0)
		}
	}
	return nil
}
