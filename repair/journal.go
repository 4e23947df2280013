package repair

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"chronik.dev/chronik/broker/batch"
	"chronik.dev/chronik/broker/datadir"
	"chronik.dev/chronik/broker/partition"
	"chronik.dev/chronik/broker/statefile"
	"chronik.dev/chronik/broker/wal"
)

// key names a partition in the journal.
type key struct {
	id        [16]byte
	partition int32
}

// journal is what a verb knows of a journal before it changes it.
type journal struct {
	d      *Draft
	ck     *partition.Checkpoint
	file   *statefile.File // of the checkpoint
	states map[key]*partition.State
	names  map[[16]byte]string
	inv    *wal.Inventory
	others map[wal.Type]int // frames behind the cut that hold no records
	losses map[lossKey]*Loss
}

type lossKey struct {
	key
	acked Acknowledged
}

// readJournal reads checkpoint and journal.
func readJournal(d *Draft) (*journal, error) {
	j := &journal{d: d, states: map[key]*partition.State{}, names: map[[16]byte]string{}, others: map[wal.Type]int{}, losses: map[lossKey]*Loss{}}
	var err error
	j.file, err = statefile.Load(d.FS, d.Path(datadir.WalDir, datadir.CheckpointBase), partition.CheckpointKind, partition.CheckpointVersion, d.DirID)
	if err != nil {
		return nil, err
	}
	if j.ck, err = partition.UnmarshalCheckpoint(j.file.Body()); err != nil {
		return nil, err
	}
	for i := range j.ck.Partitions {
		st := &j.ck.Partitions[i]
		j.states[key{st.ID, st.Partition}], j.names[st.ID] = st, st.Topic
	}
	j.inv, err = wal.Inspect(j.inspect(), func(g *wal.Group) error {
		for i := range g.Frames {
			if g.Frames[i].Type == wal.Opened {
				j.names[g.Frames[i].ID] = string(g.Frames[i].Payload)
			}
		}
		return nil
	})
	return j, err
}

func (j *journal) inspect() wal.InspectOptions {
	return wal.InspectOptions{FS: j.d.FS, Dir: j.d.Path(datadir.WalDir), DirID: j.d.DirID, Kind: wal.Journal, MinSynced: j.ck.Synced()}
}

// options are those with which a repair writes to the journal: what the node prepared stays as it is.
func (j *journal) options() wal.Options { return logOptions(j.inspect(), j.inv, j.d.Now) }

func logOptions(in wal.InspectOptions, inv *wal.Inventory, now time.Time) wal.Options {
	o := wal.Options{FS: in.FS, Dir: in.Dir, DirID: in.DirID, Kind: in.Kind, Buffered: true, Still: true, Spares: -1, Idle: -1,
		Now: func() time.Time { return now }}
	for _, s := range inv.Spares {
		if s.Usable {
			o.SegmentSize, o.Spares = s.Size, wal.MaxSpares
			o.FirstSegmentSize = min(64<<10, s.Size)
			break
		}
	}
	return o
}

// TruncateTail is `wal truncate` without a target: it ends journal and Raft's log at the first torn or undecided byte.
func TruncateTail(d *Draft) error {
	if err := d.raftTail(); err != nil {
		return err
	}
	j, err := readJournal(d)
	if err != nil {
		return err
	}
	tail := j.tail()
	if tail == nil {
		d.Say("the journal has no torn or undecided end")
		return nil
	}
	d.Say("the journal ends at %s byte %d: %s: %s", base(tail.File), tail.Offset, tail.Verdict, tail.Evidence)
	for i := range j.inv.Findings {
		switch f := &j.inv.Findings[i]; f.Verdict {
		case wal.Torn:
			j.loseAll(f.Lost, AckNo)
		case wal.Undecided:
			j.loseAll(f.Lost, AckUnknown)
			if f.Incomplete {
				d.Say("what else was in %s at byte %d cannot be said", base(f.File), f.Offset)
			}
		}
	}
	return j.cut(j.inv, nil, tail)
}

// tail is the first torn or undecided finding, nil if the end is whole.
func (j *journal) tail() *wal.Finding {
	for i := range j.inv.Findings {
		if f := &j.inv.Findings[i]; f.Verdict == wal.Torn || f.Verdict == wal.Undecided {
			return f
		}
	}
	return nil
}

// TruncateJournal is `wal truncate --at LSN`: the frame with that LSN and all behind it are no part of the journal any more. No partition log is
// touched: what a checkpoint already counts there stays.
func TruncateJournal(d *Draft, lsn wal.LSN) error {
	j, err := readJournal(d)
	if err != nil {
		return err
	}
	if lsn > j.inv.Last && j.tail() != nil {
		return TruncateTail(d) // of which nothing is part of the journal
	}
	if lsn > j.inv.Last {
		return fmt.Errorf("%w: the journal ends at LSN %d, before %d", ErrNothing, j.inv.Last, lsn)
	}
	cut, gone, err := wal.EndBefore(j.inspect(), j.inv, lsn)
	if err != nil {
		return err
	}
	if err := j.count(lsn); err != nil {
		return err
	}
	d.Say("the journal ends before LSN %d; it held LSN %d to %d, and goes on at an LSN above %d", lsn, j.inv.First, j.inv.Last, j.inv.Highest)
	if lsn <= j.inv.Floor {
		d.Needs("LSN %d and below were promised to be durable, and the cut is at LSN %d", j.inv.Floor, lsn)
	}
	return j.cut(cut, gone, nil)
}

// count finds what is lost when the journal ends before an LSN: the records behind it that no checkpoint counts.
func (j *journal) count(lsn wal.LSN) error {
	_, err := wal.Inspect(j.inspect(), func(g *wal.Group) error {
		for i := range g.Frames {
			f := &g.Frames[i]
			if f.LSN < lsn || j.counted(key{f.ID, f.Partition}, f.LSN) {
				continue
			}
			id := wal.Identity{LSN: f.LSN, Type: f.Type, ID: f.ID, Partition: f.Partition, First: f.First, Last: f.Last, Count: 1}
			j.lose(id, records(f), j.acked(f.LSN))
		}
		return nil
	})
	for i := range j.inv.Findings {
		for _, id := range j.inv.Findings[i].Lost {
			if id.LSN >= lsn && !j.counted(key{id.ID, id.Partition}, id.LSN) {
				j.lose(id, id.Last-id.First+1, j.acked(id.LSN))
			}
		}
	}
	return err
}

// counted says whether the partition's files include a frame.
func (j *journal) counted(k key, lsn wal.LSN) bool {
	if st := j.states[k]; st != nil {
		return lsn <= max(st.LSN, st.Held)
	}
	return lsn <= j.ck.LSN
}

func (j *journal) acked(lsn wal.LSN) Acknowledged {
	if lsn <= j.inv.Floor {
		return AckYes
	}
	return AckUnknown
}

// records is the number of records in a batch frame.
func records(f *wal.Frame) int64 {
	if f.Type == wal.Batch {
		if h, err := batch.Parse(f.Payload); err == nil {
			return int64(h.Count)
		}
	}
	return f.Last - f.First + 1
}

func (j *journal) loseAll(ids []wal.Identity, acked Acknowledged) {
	for _, id := range ids {
		if !j.counted(key{id.ID, id.Partition}, id.LSN) || id.LSN == 0 {
			j.lose(id, id.Last-id.First+1, acked)
		}
	}
}

// lose adds a frame to the loss of its partition.
func (j *journal) lose(id wal.Identity, n int64, acked Acknowledged) {
	if id.Type != wal.Batch {
		j.others[id.Type] += int(max(id.Count, 1))
		return
	}
	k := lossKey{key{id.ID, id.Partition}, acked}
	l := j.losses[k]
	if l == nil {
		l = &Loss{What: "records", Topic: j.names[id.ID], TopicID: hexID(id.ID), Partition: id.Partition, First: id.First, Last: id.Last, Acknowledged: acked}
		j.losses[k] = l
	}
	l.First, l.Last, l.Count = min(l.First, id.First), max(l.Last, id.Last), l.Count+n
}

// tell puts losses and what else goes into the plan.
func (j *journal) tell() {
	var list []Loss
	for _, l := range j.losses {
		list = append(list, *l)
	}
	slices.SortFunc(list, func(a, b Loss) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.TopicID, b.TopicID), cmp.Compare(a.Partition, b.Partition), cmp.Compare(a.First, b.First))
	})
	j.d.Lose(list...)
	var rest []string
	for t, n := range j.others {
		rest = append(rest, fmt.Sprintf("%d %v", n, t))
	}
	slices.Sort(rest)
	if len(rest) > 0 {
		j.d.Say("frames without records that go too: %s", strings.Join(rest, ", "))
	}
}

// cut ends the journal as inv says, with a footer and a manifest that record the range [cut, resume), and removes the segments behind it.
func (j *journal) cut(inv *wal.Inventory, gone []string, why *wal.Finding) error {
	j.tell()
	incident := datadir.Incident{Class: datadir.Truncated, Message: fmt.Sprintf("%s %s", j.d.plan.Verb, strings.Join(j.d.plan.Args, " "))}
	if why != nil {
		incident.File, incident.Offset, incident.Length, incident.Reason = datadir.WalDir+"/"+base(why.File), why.Offset, why.Length, string(why.Reason)
	}
	id, err := j.d.report(incident)
	if err != nil {
		return err
	}
	return cutLog(j.options(), inv, gone, id)
}

// cutLog resumes a log at a cut, closes it, and removes the files behind the cut.
func cutLog(o wal.Options, inv *wal.Inventory, gone []string, incident string) error {
	for _, name := range gone {
		if err := o.FS.Remove(name); err != nil {
			return err
		}
	}
	log, err := wal.Resume(o, inv, wal.CutNote{Incident: incident})
	if err != nil {
		return err
	}
	return log.Close()
}

// report puts an incident into the ledger of the draft's directory, if it has an identity.
func (d *Draft) report(i datadir.Incident) (id string, err error) {
	if d.DirID == [16]byte{} {
		return "", nil
	}
	dir, err := datadir.Open(d.FS, d.Dir, datadir.Options{NodeID: -1, Now: func() time.Time { return d.Now }})
	if err != nil {
		return "", err
	}
	i.Next = "chronik repair status --dir " + d.Dir
	id, err = dir.Report(i)
	return id, errors.Join(err, dir.Close())
}

func base(name string) string { return name[strings.LastIndexAny(name, `/\`)+1:] }
