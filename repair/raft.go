package repair

import (
	"errors"
	"fmt"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"chronik.dev/chronik/broker/datadir"
	"chronik.dev/chronik/broker/metadata"
	"chronik.dev/chronik/broker/raftlog"
	"chronik.dev/chronik/broker/vfs"
)

// raftView is what a Raft log says, and the metadata before an index and after all of it.
type raftView struct {
	report        *raftlog.Report
	voters        []uint64
	before, after *metadata.Image
	entries       []string // that would go, in words
}

func (d *Draft) raftOptions(fsys vfs.FS) raftlog.Options {
	return raftlog.Options{FS: fsys, Dir: d.Path(datadir.RaftDir), DirID: d.DirID, Buffered: true, Now: func() time.Time { return d.Now }}
}

// readRaft applies the Raft log to its snapshot. The log is opened on an overlay of its own: what a start would write does not count.
func (d *Draft) readRaft(index uint64) (v *raftView, err error) {
	store, report, err := raftlog.Open(d.raftOptions(vfs.NewOverlay(d.FS)))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	snap, err := store.Snapshot()
	if err != nil {
		return nil, err
	}
	v = &raftView{report: report, voters: snap.GetMetadata().GetConfState().GetVoters()}
	state := metadata.New()
	if err := state.Restore(snap.GetData()); err != nil {
		return nil, fmt.Errorf("metadata snapshot at index %d: %w", snap.GetMetadata().GetIndex(), err)
	}
	v.before = state.Image()
	for at := snap.GetMetadata().GetIndex() + 1; at <= report.Last; {
		entries, err := store.Entries(at, report.Last+1, 4<<20)
		if err != nil {
			return nil, fmt.Errorf("entries of Raft from index %d: %w", at, err)
		}
		for _, e := range entries {
			data := e.GetData()
			if e.GetType() != raftpb.EntryNormal {
				data = nil
			}
			if r := state.Apply(e.GetIndex(), data); errors.Is(r.Err, metadata.ErrUnsupported) {
				return nil, r.Err
			}
			if at = e.GetIndex() + 1; at <= index {
				v.before = state.Image()
			} else {
				v.entries = append(v.entries, describe(e))
			}
		}
	}
	v.after = state.Image()
	return v, nil
}

// describe names an entry in a line.
func describe(e *raftpb.Entry) string {
	what := "nothing (a new leader)"
	if e.GetType() != raftpb.EntryNormal {
		what = e.GetType().String()
	} else if len(e.GetData()) > 0 {
		what = "a command that cannot be decoded"
		if text, err := metadata.CommandJSON(e.GetData()); err == nil {
			what = string(text)
		}
	}
	const most = 160
	if len(what) > most {
		what = what[:most] + "..."
	}
	return fmt.Sprintf("index %d, term %d: %s", e.GetIndex(), e.GetTerm(), what)
}

// maxDescribed bounds the entries that a plan names one by one.
const maxDescribed = 20

// TruncateRaft is `wal truncate --raft-index N`: the metadata group's log ends before that entry. A group of one may cut below its commit, if no
// partition on the disk depends on what goes; its term then rises above all that were seen. A member of a larger group may not: its peers remember.
func TruncateRaft(d *Draft, index uint64) error {
	v, err := d.readRaft(index)
	if err != nil {
		return err
	}
	if index > v.report.Last {
		return fmt.Errorf("%w: Raft's log ends at index %d, before %d", ErrNothing, v.report.Last, index)
	}
	committed := index <= v.report.Commit
	if committed && len(v.voters) != 1 {
		return fmt.Errorf("%w: index %d is committed (to %d) in a group of %d members, and a member that forgets what it agreed to must not vote; "+
			"remove it from the group and add it anew", ErrRefused, index, v.report.Commit, len(v.voters))
	}
	if err := v.depends(); err != nil {
		return err
	}
	if err := raftlog.EndBefore(d.raftOptions(d.FS), index); err != nil {
		return err
	}
	d.Say("Raft's log ends before index %d; it was committed to %d and ended at %d, in term %d", index, v.report.Commit, v.report.Last, v.report.Term)
	for i, e := range v.entries {
		if i == maxDescribed {
			d.Say("and %d more; see chronik raft dump %s", len(v.entries)-i, d.Dir)
			break
		}
		d.Say("goes: %s", e)
	}
	d.loseEntries(index, min(v.report.Last, v.report.Commit), AckYes)
	d.loseEntries(max(index, v.report.Commit+1), v.report.Last, AckUnknown)
	if committed {
		d.Needs("index %d and below were committed, and the cut is at index %d", v.report.Commit, index)
	}
	_, err = d.report(datadir.Incident{Class: datadir.Truncated, File: datadir.RaftDir, Message: fmt.Sprintf("Raft's log was cut before index %d by a plan", index)})
	return err
}

func (d *Draft) loseEntries(first, last uint64, acked Acknowledged) {
	if first <= last {
		d.Lose(Loss{What: "Raft entries", First: int64(first), Last: int64(last), Count: int64(last - first + 1), Acknowledged: acked})
	}
}

// depends refuses a cut of commands that the disk depends on.
func (v *raftView) depends() error {
	for id, t := range v.after.TopicsByID {
		old := v.before.TopicsByID[id]
		if old == nil || len(old.Partitions) < len(t.Partitions) {
			return fmt.Errorf("%w: topic %s has partitions on the disk that are made at index %d; cut behind that", ErrRefused, t.Name, made(old, t))
		}
	}
	for id, t := range v.before.TopicsByID {
		if v.after.TopicsByID[id] == nil {
			return fmt.Errorf("%w: topic %s is deleted behind the cut, and its partitions may be gone; cut behind its deletion", ErrRefused, t.Name)
		}
	}
	if v.after.NextProducerID > v.before.NextProducerID {
		return fmt.Errorf("%w: producer ids up to %d are given out behind the cut, and would be given out again; cut behind that", ErrRefused,
			v.after.NextProducerID-1)
	}
	return nil
}

// made is the Raft index of the first of a topic's partitions that an older state of it does not have.
func made(old, now *metadata.Topic) uint64 {
	if old == nil {
		return now.Index
	}
	return now.Partitions[len(old.Partitions)].Index
}
