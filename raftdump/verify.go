package raftdump

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"time"

	"chronik.dev/chronik/broker/datadir"
	"chronik.dev/chronik/broker/metadata"
	"chronik.dev/chronik/broker/raftlog"
	"chronik.dev/chronik/broker/statefile"
	"chronik.dev/chronik/broker/wal"
)

// Finding is one damage, contradiction or notice.
type Finding struct {
	Verdict  wal.Verdict
	File     string // path
	Offset   int64  // first byte in File
	Length   int64  // bytes; 0 where nothing is there
	Record   string // what encloses the bytes
	Reason   string // a Rule, or one of the closed lists of packages wal and statefile
	Evidence string
	Lost     string       // in words; empty if nothing is
	Verb     string       // arguments of chronik, without the directory, that show more; empty: what fits the verdict
	Log      *wal.Finding // where package wal found it: names what the bytes held
}

// Grave says whether a node would not start because of it, or whether it lost something.
func (f *Finding) Grave() bool {
	return f.Verdict == wal.Corrupt && (f.Log == nil || f.Log.Loses() || f.Log.Reason == wal.ReasonManifest)
}

// Verification ends a verification.
type Verification struct {
	Term, Vote, Commit uint64
	Snapshot, Last     uint64 // index of the newest intact snapshot and of the last entry
	Entries            int    // that are part of the log
	Applied            uint64 // index up to which the entries were applied to the metadata; 0: they could not be
	Hash               string // of the metadata there
}

// liveLooks bounds how often a running node's directory is read again while something contradicts something: the parts are not read at once.
const liveLooks = 5

// Verify reports everything that is wrong, by parts: HardState, snapshots, log, then each against the others. It goes on past damage. With
// deep, the whole journal is read for the indexes that it names; else only the checkpoint. ErrStarted, beside valid results, if a node
// started meanwhile.
func (d *Dir) Verify(deep bool) (*Verification, []Finding, error) {
	for look := 1; ; look++ {
		v := &verifier{d: d}
		if err := v.run(deep); err != nil {
			return nil, nil, err
		}
		again := d.Live && look < liveLooks && slices.ContainsFunc(v.found, func(f Finding) bool { return f.Verdict != wal.Notice })
		if !again {
			return &v.sum, v.found, d.started()
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// verifier is one verification.
type verifier struct {
	d      *Dir
	s      *state
	sum    Verification
	found  []Finding
	losing bool // the log has lost entries for which it answered
	refuse *raftlog.DamageError
	image  *metadata.Image // after the last entry; nil if it cannot be told
}

func (v *verifier) report(f Finding) { v.found = append(v.found, f) }

// has says whether a rule was found broken.
func (v *verifier) has(rule Rule) bool {
	return slices.ContainsFunc(v.found, func(f Finding) bool { return f.Reason == string(rule) })
}

// grave says whether anything was found for which a node refuses to start.
func (v *verifier) grave() bool {
	return slices.ContainsFunc(v.found, func(f Finding) bool { return f.Verdict != wal.Notice && f.Verdict != wal.Torn })
}

func (v *verifier) run(deep bool) error {
	d := v.d
	report, err := raftlog.Inspect(d.options())
	var newer *statefile.VersionError
	switch {
	case errors.Is(err, raftlog.ErrMissing):
		v.report(Finding{Verdict: wal.Corrupt, File: d.Path, Record: "Raft state", Reason: string(wal.ReasonFile), Evidence: err.Error()})
		return nil
	case err != nil && !errors.Is(err, raftlog.ErrVersion) && !errors.As(err, &newer):
		v.report(unreadable(d.Path, "Raft state", err))
		return nil
	case err == nil:
		v.refuse = report.Damage
	}
	if v.s, err = d.read(true, deep); err != nil {
		v.report(unreadable(d.Path, "Raft state", err))
		return nil
	}
	v.hardState()
	v.logFindings()
	v.order()
	v.snapshots()
	v.votes()
	v.replay()
	if d.Root != "" {
		v.identity()
		if err := v.journal(deep); err != nil {
			return err
		}
	}
	if v.refuse != nil && !v.grave() {
		v.report(Finding{Verdict: wal.Corrupt, File: v.refuse.File, Offset: max(v.refuse.Offset, 0), Length: d.size(v.refuse.File), Record: "Raft state",
			Reason: string(RuleStart), Evidence: v.refuse.Reason, Lost: v.refuse.Lost})
	}
	v.lead()
	v.summarise(report)
	return nil
}

// lead names the repair for what keeps a node from starting, where there is one: in a group of one.
func (v *verifier) lead() {
	if v.d.Root == "" || v.s.several() {
		return
	}
	for i := range v.found {
		if f := &v.found[i]; f.Grave() {
			f.Verb = verbRepair
		}
	}
}

func (v *verifier) summarise(report *raftlog.Report) {
	if report != nil {
		v.sum.Term, v.sum.Vote = report.Term, report.Vote
	}
	v.sum.Commit, v.sum.Last, v.sum.Entries = v.s.commit, v.s.last, len(v.s.log())
	if v.s.newest != nil {
		v.sum.Snapshot = v.s.newest.Index
	}
}

// unreadable is the finding for a path that the disk does not give.
func unreadable(path, record string, err error) Finding {
	f := Finding{Verdict: wal.IOError, File: path, Record: record, Reason: string(wal.ReasonRead), Evidence: err.Error()}
	if errors.Is(err, fs.ErrNotExist) {
		f.Verdict, f.Reason = wal.Corrupt, string(wal.ReasonFile)
	}
	return f
}

// hardState reports what is wrong with the copies by themselves.
func (v *verifier) hardState() {
	c := &v.s.Contents.HardState
	for i := range c {
		good := v.s.Winner >= 0
		if i == v.s.Winner || good && c[i].State == statefile.OK && c[i].Seq == c[v.s.Winner].Seq {
			continue
		}
		f := Finding{Verdict: wal.Notice, File: c[i].Name, Length: v.d.size(c[i].Name), Record: "HardState copy", Reason: string(c[i].Reason),
			Evidence: c[i].String()}
		switch c[i].State {
		case statefile.OK:
			f.Reason = "older copy"
		case statefile.Missing:
			f.Reason = string(wal.ReasonFile)
		case statefile.IOError:
			f.Verdict = wal.IOError
		case statefile.UnknownVersion:
			if !good {
				f.Verdict = wal.UnknownVersion
			}
		}
		switch {
		case good:
			f.Evidence += fmt.Sprintf("; the other copy is good and holds everything: %s", c[1-i])
		case f.Verdict == wal.Notice:
			f.Verdict, f.Lost, f.Verb = wal.Corrupt, "the term and vote of this member", verbHardState
			f.Evidence += fmt.Sprintf("; the other copy cannot be used either: %s", c[1-i])
		}
		v.report(f)
	}
}

// Verbs that lead on from a finding.
const (
	verbHardState = "raft hardstate"
	verbSnapshots = "raft snapshot list"
	verbDamaged   = "raft dump --damaged"
	verbRepair    = "raft hardstate repair --dir"
)

// verbEntries shows the entries around an index.
func verbEntries(index uint64) string {
	return fmt.Sprintf("raft dump --from %d --to %d", max(index, 2)-1, index+1)
}

// snapshots reports what is wrong with the files of snapshots/ by themselves and with what should be there.
func (v *verifier) snapshots() {
	dir := v.d.snapshotsDir()
	for i := range v.s.Snapshots {
		if f := &v.s.Snapshots[i]; f.Problem != "" {
			v.badSnapshot(f)
		}
	}
	for _, name := range v.s.Unknown {
		v.report(Finding{Verdict: wal.Notice, File: name, Length: v.d.size(name), Record: "file", Reason: string(wal.ReasonUnknownFile),
			Evidence: "chronik makes no file of this name here; nothing reads it"})
	}
	newest, older := v.s.newest, v.s.older
	if newest == nil {
		v.report(Finding{Verdict: wal.Corrupt, File: dir, Record: "snapshots", Reason: string(RuleSnapshotLost), Verb: verbSnapshots,
			Evidence: fmt.Sprintf("no intact snapshot among %d files", len(v.s.Snapshots)), Lost: "the metadata below the log's first entry"})
		return
	}
	damagedNewer := slices.ContainsFunc(v.s.Snapshots, func(f raftlog.StoredSnapshot) bool { return f.Index > newest.Index })
	if !damagedNewer && !newest.Installed && newest.BaseIndex != newest.Index && (older == nil || older.Index != newest.BaseIndex) {
		name := filepath.Join(dir, raftlog.SnapshotName(newest.BaseIndex, newest.BaseTerm))
		if !slices.ContainsFunc(v.s.Snapshots, func(f raftlog.StoredSnapshot) bool { return filepath.Join(dir, f.Name) == name }) {
			v.report(Finding{Verdict: wal.Notice, File: name, Record: fmt.Sprintf("snapshot at index %d", newest.BaseIndex), Reason: string(RuleSnapshotLost),
				Evidence: fmt.Sprintf("the one at index %d names it as the one before and holds everything; either this one is gone, or a newer one, "+
					"whose state the log then holds", newest.Index)})
		}
	}
	intact := 0
	for i := range v.s.Snapshots {
		f := &v.s.Snapshots[i]
		if f.Problem != "" {
			continue
		}
		if intact++; intact > 2 {
			v.report(Finding{Verdict: wal.Notice, File: filepath.Join(dir, f.Name), Length: f.Size, Record: fmt.Sprintf("snapshot at index %d", f.Index),
				Reason: string(RuleSnapshotExtra), Evidence: "two are kept; the next snapshot removes this one"})
		}
	}
}

// badSnapshot reports a snapshot that cannot be read. Nothing is lost by it as long as an older one and the log give the same state.
func (v *verifier) badSnapshot(s *raftlog.StoredSnapshot) {
	f := Finding{Verdict: wal.Notice, File: filepath.Join(v.d.snapshotsDir(), s.Name), Length: s.Size,
		Record: fmt.Sprintf("snapshot at index %d", s.Index), Reason: s.Problem}
	switch {
	case s.Newer:
		f.Verdict, f.Evidence = wal.UnknownVersion, "another release wrote it, and it may be the newest state"
	case s.Unread:
		f.Verdict, f.Reason, f.Evidence = wal.IOError, string(wal.ReasonRead), s.Problem
	case v.s.newest == nil:
		f.Verdict, f.Verb, f.Evidence = wal.Corrupt, verbSnapshots, "there is no intact snapshot"
	case v.s.newest.Index > s.Index:
		f.Evidence = fmt.Sprintf("the one at index %d is newer and intact", v.s.newest.Index)
	default:
		f.Evidence = fmt.Sprintf("the one at index %d and the log hold everything", v.s.newest.Index)
		if v.losing || v.has(RuleGap) || v.has(RuleSnapshotLost) || v.has(RuleCommit) {
			f.Verdict, f.Verb = wal.Corrupt, verbSnapshots
			f.Evidence = fmt.Sprintf("it is newer than the one at index %d, and the log does not hold everything behind that", v.s.newest.Index)
		}
	}
	v.report(f)
}

// logFindings passes on what package wal found. Raft's log knows no undecided damage: what no marker proves never left the node.
func (v *verifier) logFindings() {
	for i := range v.s.Log.Findings {
		w := &v.s.Log.Findings[i]
		f := Finding{Verdict: w.Verdict, File: w.File, Offset: w.Offset, Length: w.Length, Record: w.Record, Reason: string(w.Reason),
			Evidence: w.Evidence, Log: w}
		if w.Reason == wal.ReasonManifest {
			f.Offset, f.Length = 0, v.d.size(w.File) // small and checked as a whole
		}
		switch {
		case w.Verdict == wal.Undecided:
			f.Verdict, f.Evidence = wal.Torn, f.Evidence+"; no marker proves it, so it never left the node"
		case w.Verdict == wal.Corrupt && w.Loses():
			f.Verb, v.losing = verbDamaged, true
		case w.Verdict == wal.IOError:
			v.losing = true
		}
		v.report(f)
	}
	v.manifest()
}

// manifest reports a valid copy of the log's manifest that is older than the other; damage to a copy is among the log's findings.
func (v *verifier) manifest() {
	c := &v.s.Log.Manifest
	for i := range c {
		if c[0].State == statefile.OK && c[1].State == statefile.OK && c[i].Seq < c[1-i].Seq {
			v.report(Finding{Verdict: wal.Notice, File: c[i].Name, Length: v.d.size(c[i].Name), Record: "manifest copy", Reason: "older copy",
				Evidence: fmt.Sprintf("%s; the other copy is newer and holds everything: %s", c[i], c[1-i])})
		}
	}
}

// identity checks that this directory is one of the group's.
func (v *verifier) identity() {
	id, known := v.d.identity()
	if !known || v.s.newest == nil {
		return
	}
	conf := v.s.newest.ConfState
	if slices.Contains(members(conf), id.MemberID) {
		return
	}
	for _, e := range v.s.log() {
		if change, err := v.change(e); err == nil && change != nil && changeNames(change, id.MemberID) {
			return // it joined or left since
		}
	}
	v.report(Finding{Verdict: wal.Corrupt, File: filepath.Join(v.d.snapshotsDir(), v.s.newest.Name), Length: v.s.newest.Size,
		Record: fmt.Sprintf("snapshot at index %d", v.s.newest.Index), Reason: string(RuleMember), Verb: verbHardState,
		Evidence: fmt.Sprintf("the group is %s and %s says member %x: they do not belong to one directory", memberText(members(conf)),
			datadir.IdentityBase, id.MemberID)})
}

func memberText(ids []uint64) string {
	text := "nobody"
	for i, id := range ids {
		if i == 0 {
			text = fmt.Sprintf("%x", id)
		} else {
			text += fmt.Sprintf(", %x", id)
		}
	}
	return text
}
