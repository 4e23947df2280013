package walinspect

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"chronik.dev/chronik/broker/datadir"
	"chronik.dev/chronik/broker/partition"
	"chronik.dev/chronik/broker/recovery"
	"chronik.dev/chronik/broker/statefile"
	"chronik.dev/chronik/broker/wal"
	"chronik.dev/chronik/raftdump"
)

// identity verifies both copies of the identity, the ledger, and the names at the top of the directory.
func (v *verifier) identity() {
	t := v.t
	base := filepath.Join(t.Root, datadir.IdentityBase)
	info, err := datadir.Inspect(t.fs, t.Root)
	var version *statefile.VersionError
	switch {
	case errors.As(err, &version):
		v.report(Finding{
			Verdict: wal.UnknownVersion, File: t.rel(version.Name), Record: "identity", Reason: string(statefile.ReasonVersion),
			Evidence: version.Error(), Next: "chronik version",
		})
	case err != nil:
		v.report(Finding{
			Verdict: wal.Corrupt, File: t.rel(base), Record: "identity", Reason: "no usable copy",
			Evidence: err.Error(), Next: "chronik wal scan " + quote(t.Root),
		})
	default:
		if v.founding = info.Founding && !t.live; v.founding {
			v.report(Finding{
				Verdict: wal.Notice, File: t.rel(base), Record: "identity", Reason: "founding",
				Evidence: "a crash interrupted the very first start: nothing was ever acknowledged from here, and the next start begins anew",
				Next:     "chronik serve --data-dir " + quote(t.Root),
			})
			return
		}
		v.copies("identity", info.Copies)
		for _, name := range info.Unknown {
			v.report(t.unknownFile(filepath.Join(t.Root, name)))
		}
	}
	v.repairs()
	bad, err := datadir.ReadIncidents(t.fs, t.Root, func(datadir.Incident) {})
	if err != nil {
		v.report(t.ioFinding(filepath.Join(t.Root, datadir.IncidentsFile), "incident ledger", err))
	}
	for _, b := range bad {
		f := Finding{
			Verdict: wal.Notice, File: datadir.IncidentsFile, Offset: b.Offset, Length: b.Length, Record: "ledger line", Reason: b.Reason,
			Evidence: "the ledger informs; nothing depends on it",
		}
		f.Next = t.next(&f, filepath.Join(t.Root, datadir.IncidentsFile))
		v.report(f)
	}
}

// repairs reports a repair that was interrupted: the directory is between two states until it is finished or taken back.
func (v *verifier) repairs() {
	t := v.t
	repairs, err := datadir.Repairs(t.fs, t.Root)
	if err != nil {
		v.report(t.ioFinding(filepath.Join(t.Root, datadir.RepairsDir), "repairs", err))
	}
	for i := range repairs {
		if r := &repairs[i]; r.State.Half() {
			v.report(Finding{
				Verdict: wal.Corrupt, File: filepath.Join(datadir.RepairsDir, r.ID), Record: "repair " + r.Verb, Reason: string(wal.ReasonHalfRepaired),
				Evidence: fmt.Sprintf("the repair is %s: the directory is neither as before nor as planned, and no node starts on it; "+
					"what it overwrites is kept, chronik repair undo takes it back", r.State),
				Next: r.Next(quote(t.Root)),
			})
		}
	}
}

// copies reports what is wrong with one of two copies of small state: the other one holds everything, so it is a notice.
func (v *verifier) copies(what string, copies [2]statefile.Copy) {
	for i, c := range copies {
		other := copies[1-i]
		if c.State == statefile.OK && (other.State != statefile.OK || c.Seq >= other.Seq) {
			continue
		}
		f := Finding{
			Verdict: wal.Notice, File: v.t.rel(c.Name), Length: v.t.size(c.Name), Record: what + " copy", Reason: string(c.Reason),
			Evidence: fmt.Sprintf("%s; the other copy is good and holds everything: %s", c, other),
		}
		switch c.State {
		case statefile.OK:
			f.Reason = olderCopy
		case statefile.Missing:
			f.Reason = string(wal.ReasonFile)
		case statefile.IOError:
			f.Verdict = wal.IOError
		}
		f.Next = v.t.next(&f, c.Name)
		v.report(f)
	}
}

// olderCopy is the reason of a copy that is valid and older than the other.
const olderCopy = "older copy"

// older reports a valid copy that is older than the other; damage to a copy is reported elsewhere.
func (v *verifier) older(what string, copies [2]statefile.Copy) {
	if copies[0].State == statefile.OK && copies[1].State == statefile.OK {
		v.copies(what, copies)
	}
}

func (t *Target) unknownFile(path string) Finding {
	f := Finding{
		Verdict: wal.Notice, File: t.rel(path), Record: "file", Reason: string(wal.ReasonUnknownFile),
		Evidence: "not a file of chronik's; the node moves it to " + datadir.QuarantineDir + "/",
	}
	f.Next = t.next(&f, path)
	return f
}

func (t *Target) ioFinding(path, record string, err error) Finding {
	f := Finding{Verdict: wal.IOError, File: t.rel(path), Record: record, Reason: string(wal.ReasonRead), Evidence: err.Error()}
	if errors.Is(err, fs.ErrNotExist) {
		f.Verdict, f.Reason = wal.Corrupt, string(wal.ReasonFile)
	}
	f.Next = t.next(&f, path)
	return f
}

// journal verifies a journal or Raft log by itself; only limits the findings to one file of the directory.
func (v *verifier) journal(dir string, kind wal.Kind, only string) error {
	inv, err := v.t.inspect(dir, kind, v.level == Deep, func(g *wal.Group) error {
		if only == "" || filepath.Clean(g.File) == only {
			v.sum.Frames += int64(len(g.Frames))
		}
		for i := range g.Frames {
			if g.Frames[i].Type == wal.Opened {
				v.t.names[g.Frames[i].ID] = string(g.Frames[i].Payload)
			}
		}
		return v.failed
	})
	if err != nil {
		v.report(v.t.ioFinding(dir, kind.String(), err))
		return nil
	}
	v.sum.Floor, v.sum.LastLSN = inv.Floor, inv.Last
	var found []Finding
	for i := range inv.Findings {
		if only == "" || filepath.Clean(inv.Findings[i].File) == only {
			found = append(found, v.t.fromJournal(&inv.Findings[i]))
		}
	}
	return v.unlessStarted(found)
}

// raft verifies the metadata group's log, both HardState copies and the snapshots, and each against the others.
func (v *verifier) raft(dir string) error {
	d := &raftdump.Dir{FS: v.t.fs, Path: dir, Root: v.t.Root, Live: v.t.live}
	sum, found, err := d.Verify(v.level == Deep)
	if errors.Is(err, raftdump.ErrStarted) {
		v.started = true
	} else if err != nil {
		return err
	}
	findings := make([]Finding, 0, len(found))
	for i := range found {
		findings = append(findings, v.t.fromRaft(&found[i], dir))
	}
	v.sum.RaftTerm, v.sum.RaftLast, v.sum.RaftCommit, v.sum.RaftHash = sum.Term, sum.Last, sum.Commit, sum.Hash
	return v.unlessStarted(findings)
}

// fromRaft rewords a finding of package raftdump.
func (t *Target) fromRaft(r *raftdump.Finding, dir string) Finding {
	f := Finding{Verdict: r.Verdict, File: t.rel(r.File), Offset: r.Offset, Length: r.Length, Record: r.Record, Reason: r.Reason, Evidence: r.Evidence}
	if r.Lost != "" {
		f.Evidence += "; lost: " + r.Lost
	}
	if w := r.Log; w != nil {
		f.FirstLSN, f.LastLSN, f.Incomplete = w.FirstLSN, w.LastLSN, w.Incomplete
		for i := range w.Lost {
			f.Lost = append(f.Lost, t.loss(&w.Lost[i]))
		}
	}
	f.Next = t.next(&f, r.File)
	if r.Verb != "" && r.Verdict != wal.IOError && r.Verdict != wal.UnknownVersion {
		f.Next = "chronik " + r.Verb + " " + quote(dir)
		if t.Root != "" {
			f.Next = "chronik " + r.Verb + " " + quote(t.Root)
		}
	}
	return f
}

// recovery verifies journal, checkpoint and partition logs against each other, as a start of the node would.
func (v *verifier) recovery() error {
	t := v.t
	report, err := v.check(v.level == Deep)
	if err != nil {
		return v.unlessStarted(t.refusal(report, err))
	}
	v.sum.Floor, v.sum.LastLSN, v.sum.Frames = report.Journal.Floor, report.Journal.Last, report.Frames
	var found []Finding
	for i := range report.Findings {
		f := t.fromJournal(&report.Findings[i].Finding)
		if report.Mends() && f.Verdict == wal.Corrupt {
			f.Lost, f.Incomplete = nil, false
			f.Evidence += "; the partition logs hold all of it, and the next start goes on with them"
			f.Next = t.next(&Finding{Verdict: wal.Notice}, t.Root)
		}
		found = append(found, f)
	}
	for i := range report.Partitions {
		found = append(found, t.fromRecovery(&report.Partitions[i])...)
	}
	for _, m := range report.Moved {
		f := t.unknownFile(filepath.Join(t.Root, m.From))
		f.File, f.Evidence = m.From, m.Why
		found = append(found, f)
	}
	if err := v.unlessStarted(found); err != nil || v.started {
		return err
	}
	v.copies("checkpoint", report.Checkpoint.Copies)
	v.older("manifest", report.Journal.Manifest)
	return nil
}

// check asks recovery what a start would do, and learns what the partition logs must hold.
func (v *verifier) check(deep bool) (*recovery.Report, error) {
	t := v.t
	grown, files, cleaned := map[string]bool{}, map[string]*partition.State{}, map[string][]int64{}
	report, err := recovery.Check(recovery.CheckOptions{
		FS: t.fs, Dir: t.Root, DirID: t.dirID, Deep: deep, Partition: func(o recovery.Outcome) {
			files[o.Files.Dir], cleaned[o.Files.Dir] = &o.Files, o.Replaced
		},
	})
	if err != nil {
		return report, err
	}
	for i := range report.Partitions {
		grown[report.Partitions[i].Name()] = report.Partitions[i].Replayed > 0
	}
	v.grown, v.files, v.cleaned = grown, files, cleaned
	return report, nil
}

// judgeFiles is check for a target that is a part of a data directory. Where the journal cannot be read, the checkpoint alone must do.
func (v *verifier) judgeFiles() {
	if v.t.Root != "" && !v.t.Kafka && v.level != Fast {
		_, _ = v.check(false) // findings of other parts are theirs
	}
}

// refusal is why a node would not start: what the journal's reader had found by then, which names the place, else the error as a whole.
func (t *Target) refusal(report *recovery.Report, err error) (found []Finding) {
	whole, named := t.refused(err), false
	for i := range report.Findings {
		f := t.fromJournal(&report.Findings[i].Finding)
		found = append(found, f)
		named = named || rank(f.Verdict) >= rank(whole.Verdict)
	}
	if named {
		return found
	}
	return append(found, whole)
}

// refused is the finding for a directory that a node would not start on.
func (t *Target) refused(err error) Finding {
	f := Finding{Verdict: wal.Corrupt, File: datadir.WalDir, Record: "journal and checkpoint", Reason: "unusable", Evidence: err.Error()}
	switch {
	case errors.Is(err, recovery.ErrFormat):
		f.Verdict, f.Reason = wal.UnknownVersion, string(wal.ReasonVersion)
	case errors.Is(err, recovery.ErrUnreadable):
		f.Verdict, f.Reason = wal.IOError, string(wal.ReasonRead)
	case errors.Is(err, recovery.ErrNoJournal):
		f.Reason = string(wal.ReasonFile)
	case errors.Is(err, recovery.ErrNoCheckpoint):
		f.File, f.Record = filepath.Join(datadir.WalDir, datadir.CheckpointBase), "checkpoint"
	}
	f.Next = t.next(&f, filepath.Join(t.Root, datadir.WalDir))
	return f
}

// fromRecovery words what recovery says of a partition. What it finds inside files past the checkpoint is its daily work (the journal has the
// same bytes), so that is a notice; lost records are not.
func (t *Target) fromRecovery(p *recovery.PartitionReport) []Finding {
	number := p.Partition
	verdict := map[recovery.Status]wal.Verdict{recovery.Stopped: wal.Corrupt, recovery.Uncertain: wal.Undecided}[p.Status]
	if verdict == "" {
		return nil
	}
	f := Finding{
		Verdict: verdict, File: filepath.Join(datadir.TopicsDir, p.Name()), Record: "partition", Reason: string(p.Status),
		Topic: p.Topic, Partition: &number, Evidence: p.Reason,
		Next: fmt.Sprintf("chronik wal dump --damaged --topic %s --partition %d %s", quote(p.Topic), number, quote(t.Root)),
	}
	return []Finding{f}
}
