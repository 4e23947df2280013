package walinspect

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"chronik.dev/chronik/broker/datadir"
	"chronik.dev/chronik/broker/partition"
	"chronik.dev/chronik/broker/segment"
	"chronik.dev/chronik/broker/statefile"
	"chronik.dev/chronik/broker/wal"
)

// Diagnosis is the triage of a directory: what is wrong in one sentence, why, and the one command to run now.
type Diagnosis struct {
	Target    string      `json:"target"`
	Kind      Kind        `json:"kind"`
	Live      bool        `json:"live,omitempty"`
	Verdict   wal.Verdict `json:"verdict"`   // the gravest; "notice" if a node starts and nothing is lost
	Diagnosis string      `json:"diagnosis"` // of the first problem
	Next      string      `json:"next"`      // likewise
	Problems  []Problem   `json:"problems"`  // the one to deal with first comes first
	Findings  int         `json:"findings"`
}

// Problem is one cause, with everything that was found of it.
type Problem struct {
	Code      string      `json:"code"` // of docs/recovery/doctor.md
	Verdict   wal.Verdict `json:"verdict"`
	Diagnosis string      `json:"diagnosis"`
	Findings  int         `json:"findings"`
	Evidence  []string    `json:"evidence"` // of the first few findings
	Lost      []string    `json:"lost,omitempty"`
	Next      string      `json:"next"`

	first Finding
	lost  map[string]bool
}

// Bounds of what is kept of one problem.
const (
	maxEvidence = 3
	maxLost     = 50
)

// cause is a class of problems. They are tried in order, and that is the order in which they are dealt with.
type cause struct {
	code string
	is   func(f *Finding) bool
	say  string // one sentence; %s is the file or partition of the first finding
	next string // {DIR}, {PATH}, {PARTITION}, {OFFSET} are filled in; empty: that of the first finding
}

func inDir(f *Finding, dir string) bool {
	return f.File == dir || strings.HasPrefix(f.File, dir+string(filepath.Separator))
}

func grave(f *Finding) bool { return f.Verdict == wal.Corrupt }

func isCopy(f *Finding, base string) bool {
	name := filepath.Base(f.File)
	return name == base || name == base+".0" || name == base+".1"
}

// logDamage says whether the batches of a partition log themselves are damaged, at a place that is known.
func logDamage(f *Finding) bool {
	return grave(f) && strings.HasSuffix(f.File, ".log") && f.FirstOffset != nil &&
		slices.Contains([]segment.Reason{segment.BadBatch, segment.BadRecords, segment.BadOffset}, segment.Reason(f.Reason))
}

// repairPlan is the command where this machine alone can mend it.
const repairPlan = "chronik repair plan --dir {DIR}"

// otherDirectory says whether something is there that is another data directory's.
func otherDirectory(f *Finding) bool {
	return grave(f) && (f.Reason == string(wal.ReasonDirectory) || strings.Contains(f.Evidence, string(statefile.ReasonDirectory)))
}

// mended says whether a start of the node mends corruption without losing anything.
func mended(f *Finding) bool { return grave(f) && strings.HasPrefix(f.Next, "chronik serve ") }

// causes is the table of doctor: each finding belongs to the first that fits; the last fits all.
var causes = []cause{
	{"half-repair", func(f *Finding) bool { return f.Reason == string(wal.ReasonHalfRepaired) },
		"A repair was interrupted: the directory is between two states, and no node starts on it until it is finished or taken back.", ""},
	{"newer-version", func(f *Finding) bool { return f.Verdict == wal.UnknownVersion },
		"A newer release wrote %s; this one does not judge it.", ""},
	{"io-error", func(f *Finding) bool { return f.Verdict == wal.IOError },
		"The disk does not read %s: nothing is cut for that; copy the directory to another disk, then look again.", "chronik wal verify {PATH}"},
	{"other-directory", otherDirectory,
		"There are files of another data directory here (%s): restore this one's if you have them; else a plan goes on with what is this one's.", repairPlan},
	{"identity-lost", func(f *Finding) bool { return grave(f) && isCopy(f, datadir.IdentityBase) },
		"Neither copy of the identity can be used: restore identity.0 if you have it; else it is made anew from what is below.", repairPlan},
	{"journal-gone", func(f *Finding) bool {
		return grave(f) && f.File == datadir.WalDir && f.Reason == string(wal.ReasonFile)
	}, "wal/ is gone, and with it the checkpoint and what was acknowledged since: restore it if you have it; else the node goes on with the partition logs.",
		repairPlan},
	{"checkpoint-lost", func(f *Finding) bool {
		return grave(f) && isCopy(f, datadir.CheckpointBase) && f.Record == "checkpoint"
	}, "No copy of the checkpoint can be used, and a founded node never starts without: it can be made anew from partition logs and journal.", repairPlan},
	{"journal-unusable", func(f *Finding) bool { return grave(f) && f.File == datadir.WalDir },
		"Journal and checkpoint cannot be judged together.", "chronik wal verify {DIR}/wal"},
	{"manifest-lost", func(f *Finding) bool {
		return grave(f) && inDir(f, datadir.WalDir) && f.Reason == string(wal.ReasonManifest)
	}, "Neither copy of the journal's manifest can be used; it can be made anew from the segments.", repairPlan},
	{"raft-gone", func(f *Finding) bool {
		return grave(f) && f.File == datadir.RaftDir && f.Reason == string(wal.ReasonFile)
	}, "raft/ is gone, and with it the metadata: restore it if you have it; else the node goes on with the topics that are on this disk, and " +
		"their configuration is lost.", repairPlan},
	{"raft-damaged", func(f *Finding) bool { return grave(f) && inDir(f, datadir.RaftDir) },
		"The Raft state of this node is damaged (%s): it must not vote and does not start.", repairPlan},
	{"segment-lost", func(f *Finding) bool {
		return grave(f) && inDir(f, datadir.WalDir) && f.Reason == string(wal.ReasonFile) && !mended(f)
	}, "A segment of the journal is gone (%s): restore it if you have it; else what was in it is left in the partition logs only, as far as it got there.", repairPlan},
	{"log-short", func(f *Finding) bool {
		return grave(f) && (strings.HasSuffix(f.File, ".log") && slices.Contains([]segment.Reason{segment.MissingFile, segment.Truncated}, segment.Reason(f.Reason)) ||
			f.Record == "partition directory" || f.Record == "partition" && strings.Contains(f.Evidence, ": "+string(partition.Missing)+": "))
	}, "Files of a partition log are missing or shorter than the checkpoint says (%s), and nothing else here has the records: restore them if you have " +
		"them (until then the node serves the other partitions); else a plan lets the partition go on with what is left.", repairPlan},
	{"partition-stopped", func(f *Finding) bool { return grave(f) && f.Record == "partition" },
		"A partition (%s) lost acknowledged records and waits for a decision; the node serves the others.", repairPlan},
	{"journal-mended", func(f *Finding) bool { return mended(f) && inDir(f, datadir.WalDir) },
		"The journal is damaged (%s), and the partition logs hold everything that was there: the next start goes on without loss.", "chronik serve --data-dir {DIR}"},
	{"journal-damaged", func(f *Finding) bool { return grave(f) && inDir(f, datadir.WalDir) },
		"The journal is damaged below what was promised durable (%s).", repairPlan},
	{"log-damaged", logDamage,
		"A partition log is damaged (%s): the node starts, and reads of these offsets fail; cutting the partition there gives up what is behind.",
		"chronik wal truncate --dir {DIR} --partition {PARTITION} --offset {OFFSET}"},
	{"undecided", func(f *Finding) bool { return f.Verdict == wal.Undecided },
		"The end of the journal is damaged (%s): an interrupted write, or rot in what may have been acknowledged; the node keeps what is intact, saves the bytes and serves on.",
		"chronik serve --data-dir {DIR}"},
	{"derived-damaged", func(f *Finding) bool { return grave(f) && inDir(f, datadir.TopicsDir) },
		"Files that are derived from the batches are damaged (%s); no record is lost, they can be made anew.", "chronik log reindex --dir {DIR}"},
	{"damaged", grave, "%s is damaged.", ""},
	{"disk-full", func(f *Finding) bool { return f.Reason == reasonFull },
		"The disk is full and the journal's reserve is used up: make room outside of the directory, then start the node.", "chronik serve --data-dir {DIR}"},
	{"torn-tail", func(f *Finding) bool { return f.Verdict == wal.Torn },
		"A write was interrupted (%s); it was never acknowledged, and the next start cuts it.", "chronik serve --data-dir {DIR}"},
	{"founding", func(f *Finding) bool { return f.Reason == reasonFounding },
		"The first start of the node was interrupted; nothing was ever acknowledged, and the next start begins again.", "chronik serve --data-dir {DIR}"},
	{"sums", func(f *Finding) bool {
		return inDir(f, datadir.TopicsDir) && f.Reason != string(wal.ReasonUnknownFile) && strings.Contains(f.Next, "log reindex")
	}, "Files that guard or help a partition log are missing or damaged (%s); no record depends on them.", "chronik log reindex --dir {DIR}"},
	{"copy", func(f *Finding) bool { return strings.HasSuffix(f.Record, " copy") },
		"One of two copies of small state (%s) cannot be used or is older; the other holds everything, and the next start writes it again.",
		"chronik serve --data-dir {DIR}"},
	{"unknown-file", func(f *Finding) bool { return f.Reason == string(wal.ReasonUnknownFile) },
		"There is a file that is none of chronik's (%s); nothing depends on it.", "chronik serve --data-dir {DIR}"},
	{"notice", func(*Finding) bool { return true },
		"Something was found that needs no decision (%s).", "chronik serve --data-dir {DIR}"},
}

// Reasons of findings that only Diagnose makes.
const (
	reasonFull     = "disk-full"
	reasonFounding = "founding"
	fullBytes      = 1 << 20 // free space below which a disk counts as full
)

// Diagnose verifies the target at a level and says what is wrong and what to do first. Errors are those of Verify.
func (t *Target) Diagnose(level Level) (*Diagnosis, error) {
	d := &Diagnosis{Target: t.Path, Kind: t.Kind, Live: t.live, Verdict: wal.Notice}
	groups := make([]*Problem, len(causes))
	take := func(f *Finding) error {
		d.Findings++
		if rank(f.Verdict) > rank(d.Verdict) {
			d.Verdict = f.Verdict
		}
		for i := range causes {
			if causes[i].is(f) {
				if groups[i] == nil {
					groups[i] = &Problem{Code: causes[i].code, Verdict: f.Verdict, first: *f, lost: map[string]bool{}}
				}
				groups[i].add(f)
				break
			}
		}
		return nil
	}
	_, err := t.Verify(level, take)
	for _, f := range t.circumstances() {
		_ = take(&f) // has no error of its own
	}
	for i, p := range groups {
		if p != nil {
			t.word(p, &causes[i])
			d.Problems = append(d.Problems, *p)
		}
	}
	if len(d.Problems) == 0 {
		d.Problems, d.Diagnosis, d.Next = []Problem{}, "Nothing is wrong.", t.next(&Finding{Verdict: wal.Notice}, t.Path)
		return d, err
	}
	d.Diagnosis, d.Next = d.Problems[0].Diagnosis, d.Problems[0].Next
	return d, err
}

// add takes a finding of the problem.
func (p *Problem) add(f *Finding) {
	p.Findings++
	if rank(f.Verdict) > rank(p.Verdict) {
		p.Verdict = f.Verdict
	}
	if len(p.Evidence) < maxEvidence {
		p.Evidence = append(p.Evidence, fmt.Sprintf("%s byte %d: %s: %s: %s", f.File, f.Offset, f.Record, f.Reason, f.Evidence))
	}
	for _, l := range f.Lost {
		if text := l.String(); len(p.Lost) < maxLost && !p.lost[text] {
			p.lost[text] = true
			p.Lost = append(p.Lost, text)
		}
	}
	if f.FirstOffset != nil && p.first.FirstOffset != nil && f.File == p.first.File && *f.FirstOffset < *p.first.FirstOffset {
		p.first = *f
	}
}

// word fills in sentence and command.
func (t *Target) word(p *Problem, c *cause) {
	f := &p.first
	p.Diagnosis = c.say
	if strings.Contains(c.say, "%s") {
		p.Diagnosis = fmt.Sprintf(c.say, f.File)
	}
	if p.Next = f.Next; c.next == "" || t.Root == "" || t.Kafka {
		return
	}
	offset, part := int64(0), ""
	if f.FirstOffset != nil {
		offset = *f.FirstOffset
	}
	if f.Partition != nil {
		part = fmt.Sprintf("%s-%d", f.Topic, *f.Partition)
	}
	p.Next = strings.NewReplacer("{DIR}", quote(t.Root), "{PATH}", quote(t.Path), "{PARTITION}", quote(part), "{OFFSET}", fmt.Sprint(offset)).Replace(c.next)
}

// circumstances are findings about what is around the data: an interrupted founding, a full disk.
func (t *Target) circumstances() (out []Finding) {
	if t.Kind != DataDir {
		return nil
	}
	if info, err := datadir.Inspect(t.fs, t.Root); err == nil && !info.Identity.Founded {
		out = append(out, Finding{Verdict: wal.Notice, File: datadir.IdentityBase + ".0", Record: "identity", Reason: reasonFounding,
			Evidence: "its state is founding", Next: t.next(&Finding{Verdict: wal.Notice}, t.Root)})
	}
	reserve := t.exists(filepath.Join(t.Root, datadir.WalDir), reserveName)
	if free, err := t.fs.Free(t.Root); err == nil && free < fullBytes && !reserve {
		out = append(out, Finding{Verdict: wal.Notice, File: filepath.Join(datadir.WalDir, reserveName), Record: "space reserve", Reason: reasonFull,
			Evidence: fmt.Sprintf("%d bytes are free and the reserve was given up", free), Next: t.next(&Finding{Verdict: wal.Notice}, t.Root)})
	}
	return out
}

// NextCommands lists every form of command that findings and diagnoses end with, with "DIR", "orders-0" and 7 in the places, so that a test
// can hold them against the commands that exist.
func NextCommands() []string {
	t := &Target{Kind: DataDir, Path: "DIR", Root: "DIR"}
	var out []string
	number, offset := int32(0), int64(7)
	for i := range causes {
		for _, v := range []wal.Verdict{wal.Notice, wal.Torn, wal.Undecided, wal.Corrupt, wal.IOError, wal.UnknownVersion} {
			f := Finding{Verdict: v, File: "topics/orders-0/" + segment.Index.Name(0), Topic: "orders", Partition: &number, FirstOffset: &offset}
			f.Next = t.next(&f, filepath.Join(t.Root, f.File))
			p := &Problem{first: f}
			t.word(p, &causes[i])
			out = append(out, f.Next, p.Next)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
