package repair

import (
	"errors"
	"fmt"
	"time"

	"chronik.dev/chronik/broker/datadir"
	"chronik.dev/chronik/broker/raftlog"
	"chronik.dev/chronik/broker/recovery"
	"chronik.dev/chronik/broker/wal"
)

// Mend is `repair plan`: it proposes what makes the directory clean and its partitions serve again with what this machine alone holds. A manifest of
// which no copy can be used is made anew; Raft state that keeps the node from starting is mended as HardState does it; a torn or undecided end is
// cut; where acknowledged records are lost, the partitions that wait for a decision go on at the loss, frames that were held for them are read
// back, and what is behind is given up.
func Mend(d *Draft) error {
	if err := d.manifest(datadir.WalDir, wal.Journal); err != nil {
		return err
	}
	if err := HardState(d); err != nil {
		return err
	}
	report, err := recovery.Check(recovery.CheckOptions{FS: d.FS, Dir: d.Dir, DirID: d.DirID})
	if err != nil {
		return err // no journal, no checkpoint, a disk that does not read: the error names what to do
	}
	if !waits(report) {
		return TruncateTail(d)
	}
	if err := d.raftTail(); err != nil {
		return err
	}
	report, err = d.release()
	if err != nil {
		return err
	}
	for i := range report.Findings {
		if f := &report.Findings[i]; f.Verdict != wal.Notice {
			d.Say("%s in %s at byte %d: %s: %s", f.Verdict, base(f.File), f.Offset, f.Record, f.Finding.Evidence)
		}
	}
	for i := range report.Partitions {
		d.part(&report.Partitions[i])
	}
	return nil
}

// waits says whether something but a torn or undecided end is wrong: a start of the node alone would not mend it.
func waits(r *recovery.Report) bool {
	for i := range r.Findings {
		if r.Findings[i].Verdict == wal.Corrupt {
			return true
		}
	}
	for i := range r.Partitions {
		if r.Partitions[i].Status == recovery.Stopped {
			return true
		}
	}
	return false
}

// manifest makes a new manifest of the journal or of Raft's log if no copy can be used.
func (d *Draft) manifest(dir string, kind wal.Kind) error {
	o := wal.InspectOptions{FS: d.FS, Dir: d.Path(dir), DirID: d.DirID, Kind: kind}
	inv, err := wal.Inspect(o, nil)
	if err != nil {
		return err
	}
	for i := range inv.Findings {
		f := &inv.Findings[i]
		if f.Reason != wal.ReasonManifest || f.Verdict != wal.Corrupt {
			continue
		}
		if err := wal.RebuildManifest(o, inv); err != nil {
			return err
		}
		d.Say("the manifest of %s/ is made anew from the segments: %d, LSN %d to %d; whether a later segment is missing cannot be said",
			dir, len(inv.Segments), inv.First, inv.Last)
	}
	return nil
}

// raftTail cuts the torn end of Raft's log, of which nothing ever left the node.
func (d *Draft) raftTail() error {
	o := d.raftOptions(d.FS)
	report, err := raftlog.Inspect(o)
	if err != nil {
		return err
	}
	if report.Damage != nil {
		d.Say("Raft's state is damaged and is not touched by this plan: %v", report.Damage)
		return nil
	}
	if len(report.Cut) == 0 {
		return nil
	}
	f := &report.Cut[0]
	d.Say("Raft's log ends at %s byte %d: %s", base(f.File), f.Offset, f.Evidence)
	s, _, err := raftlog.Open(o)
	if err != nil {
		return err
	}
	return s.Close()
}

// release starts and stops the storage of a node that goes on at its losses.
func (d *Draft) release() (report *recovery.Report, err error) {
	o, closePool, err := d.recoveryOptions()
	if err != nil {
		return nil, err
	}
	defer closePool()
	dir, err := datadir.Open(d.FS, d.Dir, datadir.Options{NodeID: -1, Now: func() time.Time { return d.Now }})
	if err != nil {
		return nil, err
	}
	o.Release, o.Report = true, dir.Report
	r, err := recovery.Boot(o)
	if err != nil {
		return nil, errors.Join(err, dir.Close())
	}
	var errs []error
	for _, l := range r.Partitions {
		errs = append(errs, l.Close())
	}
	errs = append(errs, r.Checkpointer.Run(), r.Log.Close(), dir.Close())
	return r.Report, errors.Join(errs...)
}

// part puts what became of a partition into the plan.
func (d *Draft) part(p *recovery.PartitionReport) {
	acked := AckUnknown
	switch p.Status {
	case recovery.Stopped:
		d.Say("%s stays stopped: %s; what it lacks is nowhere on this machine", p.Name(), p.Reason)
	case recovery.Released:
		acked = AckYes
		d.Say("%s serves again, up to offset %d: %s", p.Name(), p.End, p.Reason)
	case recovery.Repaired:
		d.Say("%s: records that the journal lost are taken from its files", p.Name())
	}
	for _, g := range p.GivenUp {
		d.Lose(Loss{What: "records", Topic: p.Topic, TopicID: p.TopicID, Partition: p.Partition, First: g.First, Last: g.Last, Count: g.Records,
			Acknowledged: acked})
	}
	if acked == AckYes {
		d.Needs("%s", fmt.Sprintf("acknowledged records of %s are given up", p.Name()))
	}
}
