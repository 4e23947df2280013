package repair

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"strings"
	"time"

	"chronik.dev/chronik/broker"
	"chronik.dev/chronik/broker/config"
	"chronik.dev/chronik/broker/datadir"
	"chronik.dev/chronik/broker/partition"
	"chronik.dev/chronik/broker/raftlog"
	"chronik.dev/chronik/broker/recovery"
	"chronik.dev/chronik/broker/statefile"
	"chronik.dev/chronik/broker/wal"
)

// Mend is `repair plan`: it proposes what makes the directory clean and its partitions serve again with what this machine alone holds. An identity, a
// manifest or a checkpoint of which no copy can be used is made anew from what is below; a journal that is gone, or another directory's, is begun
// anew above every LSN; Raft state that keeps the node from starting is mended as HardState does it; a torn or undecided end is cut; where acknowledged
// records are lost, the partitions that wait for a decision go on at the loss, frames that were held for them are read back, and what is behind is
// given up.
func Mend(d *Draft) error {
	if err := Identity(d); err != nil {
		return err
	}
	gone, err := d.journal()
	if err != nil {
		return err
	}
	if err := HardState(d); err != nil {
		return err
	}
	report, err := recovery.Check(recovery.CheckOptions{FS: d.FS, Dir: d.Dir, DirID: d.DirID})
	anew := errors.Is(err, recovery.ErrNoCheckpoint)
	switch {
	case errors.Is(err, recovery.ErrNoCheckpoint) && gone == "":
		d.Say("no copy of the checkpoint can be used: it is made anew from the partition directories, at the LSN before the journal's first")
	case errors.Is(err, recovery.ErrNoCheckpoint):
	case err != nil:
		return err // a disk that does not read, another release: the error names what to do
	case gone == "" && !waits(report):
		return TruncateTail(d)
	}
	if err := d.raftTail(); err != nil {
		return err
	}
	report, err = d.release(gone)
	if err != nil {
		return err
	}
	for i := range report.Findings {
		if f := &report.Findings[i]; f.Verdict != wal.Notice {
			d.Say("%s in %s at byte %d: %s: %s", f.Verdict, base(f.File), f.Offset, f.Record, f.Finding.Evidence)
		}
	}
	d.parts(report)
	if anew {
		if err := d.leftHeld(report); err != nil {
			return err
		}
	}
	return d.reindexAdopted(report)
}

// journal makes a new manifest if no copy of it can be used, and a new journal if no segment is left that is this directory's; gone then says why
// nothing is known of what was in it.
func (d *Draft) journal() (gone string, err error) {
	dir := d.Path(datadir.WalDir)
	o := wal.InspectOptions{FS: d.FS, Dir: dir, DirID: d.DirID, Kind: wal.Journal}
	owner, named := statefile.Owner(d.FS, d.Path(datadir.WalDir, datadir.ManifestBase))
	raft, sure := statefile.Owner(d.FS, d.Path(datadir.RaftDir, datadir.ManifestBase))
	inv, err := wal.Inspect(o, nil)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		gone = "the journal is gone"
	case err != nil:
		return "", err
	case named && owner != d.DirID && sure && raft == d.DirID:
		gone = fmt.Sprintf("the journal is of directory %s, and this one's is gone", hexID(owner))
	case len(inv.Segments) > 0:
		return "", d.manifest(datadir.WalDir, wal.Journal)
	default:
		for i := range inv.Findings {
			if v := inv.Findings[i].Verdict; v == wal.IOError || v == wal.UnknownVersion {
				return "", nil // the recovery names it
			}
		}
		gone = "no segment of the journal is left"
	}
	var known uint64
	if _, err := datadir.ReadIncidents(d.FS, d.Dir, func(i datadir.Incident) { known = max(known, i.FirstLSN, i.LastLSN) }); err != nil {
		return "", err
	}
	options := logOptions(o, &wal.Inventory{}, d.Now)
	first, err := wal.Renew(options, wal.LSN(known))
	if err != nil {
		return "", err
	}
	d.Say("%s: a new one begins at LSN %d, above every one that was given out", gone, first)
	return gone, nil
}

// reindexAdopted makes anew what is derived from the batches in the partitions that were made anew.
func (d *Draft) reindexAdopted(report *recovery.Report) error {
	for i := range report.Partitions {
		p := &report.Partitions[i]
		if p.Status != recovery.Adopted && p.Status != recovery.Released {
			continue
		}
		if err := Reindex(d, p.Topic, p.Partition); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
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

// manifest makes a new manifest of the journal or of Raft's log if no copy can be used, and there are segments that it could list.
func (d *Draft) manifest(dir string, kind wal.Kind) error {
	o := wal.InspectOptions{FS: d.FS, Dir: d.Path(dir), DirID: d.DirID, Kind: kind}
	inv, err := wal.Inspect(o, nil)
	if err != nil || len(inv.Segments) == 0 {
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
func (d *Draft) release(gone string) (report *recovery.Report, err error) {
	o, closePool, err := d.recoveryOptions()
	if err != nil {
		return nil, err
	}
	defer closePool()
	dir, err := datadir.Open(d.FS, d.Dir, datadir.Options{NodeID: -1, Now: func() time.Time { return d.Now }})
	if err != nil {
		return nil, err
	}
	o.Release, o.Gone, o.Report = true, gone, dir.Report
	if err := d.metadata(&o); err != nil {
		return nil, errors.Join(err, dir.Close())
	}
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

// metadata tells a recovery what the metadata know of partitions. Raft state that cannot be read, which HardState leaves alone only where it is another
// member's business, tells nothing.
func (d *Draft) metadata(o *recovery.Options) error {
	v, err := d.readRaft(math.MaxUint64)
	var damaged *raftlog.DamageError
	if errors.As(err, &damaged) {
		return nil
	}
	if err != nil {
		return err
	}
	image := v.after
	for _, t := range image.TopicsByID {
		for n := range t.Partitions {
			id := partition.Identity{Topic: t.Name, ID: t.ID, Partition: int32(n), RaftIndex: t.Partitions[n].Index}
			o.Adopt = append(o.Adopt, recovery.Known{Identity: id, Epoch: t.Partitions[n].LeaderEpoch})
		}
	}
	o.Config = func(topic string) partition.Config {
		if t := image.Topics[topic]; t != nil {
			return broker.LogConfig(config.New(), t)
		}
		return partition.DefaultConfig()
	}
	return nil
}

// parts puts what became of the partitions into the plan.
func (d *Draft) parts(report *recovery.Report) {
	var adopted, sure, open []string
	for i := range report.Partitions {
		p := &report.Partitions[i]
		switch p.Status {
		case recovery.Stopped:
			d.Say("%s stays stopped: %s; what it lacks is nowhere on this machine", p.Name(), p.Reason)
		case recovery.Adopted:
			adopted = append(adopted, fmt.Sprintf("%s [%d, %d)", p.Name(), p.LogStart, p.End))
		case recovery.Repaired:
			d.Say("%s: records that the journal lost are taken from its files", p.Name())
		case recovery.Released:
			if known := d.losePart(p, AckYes); known {
				sure = append(sure, p.Name())
				d.Say("%s serves again, up to offset %d: %s", p.Name(), p.End, p.Reason)
			} else {
				open = append(open, fmt.Sprintf("%s [%d, %d)", p.Name(), p.LogStart, p.End))
			}
			continue
		}
		d.losePart(p, AckUnknown)
	}
	if len(adopted) > 0 {
		d.Say("made anew from their directories, and nothing says that they lack anything: %s", strings.Join(adopted, ", "))
	}
	if len(open) > 0 {
		d.Say("these go on with what is left of them, and whether they held more cannot be said: %s", strings.Join(open, ", "))
		d.Needs("what partitions may have held behind their ends (%d of them) is given up", len(open))
	}
	if len(sure) > 0 {
		d.Needs("acknowledged records of %s are given up", strings.Join(sure, ", "))
	}
}

// losePart adds what a partition gives up to the loss. It says whether there are records among it that are known.
func (d *Draft) losePart(p *recovery.PartitionReport, acked Acknowledged) (known bool) {
	for _, g := range p.GivenUp {
		l := Loss{What: "records", Topic: p.Topic, TopicID: p.TopicID, Partition: p.Partition, First: g.First, Last: g.Last, Count: g.Records, Acknowledged: acked}
		if g.Records == LossUnknown {
			l.Acknowledged = AckUnknown
		}
		known = known || g.Records != LossUnknown
		d.Lose(l)
	}
	return known
}
