package recovery

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"sort"

	"chronik.dev/chronik/broker/partition"
	"chronik.dev/chronik/broker/statefile"
	"chronik.dev/chronik/broker/wal"
)

// ReportVersion is the version of the report's JSON.
const ReportVersion = 1

// Status says how a partition came out of recovery.
type Status string

// The statuses of a partition.
const (
	OK        Status = "ok"        // everything acknowledged is there
	Repaired  Status = "repaired"  // what the journal lost was taken from the partition log
	Uncertain Status = "undecided" // records past the floor were lost that may have been acknowledged; it serves on
	Stopped   Status = "stopped"   // acknowledged records are, or may be, lost: it serves nothing until a person decides
	Adopted   Status = "adopted"   // Options.Adopt: its state was made anew from its files, and nothing says that it lacks anything
	Released  Status = "released"  // Options.Release: it goes on without the acknowledged records that are lost
	Dropped   Status = "dropped"   // deleted; the directory goes after the next checkpoint
)

// Report is what boot recovery, or Check, found. It is complete: what is not named here was in order.
type Report struct {
	Version    int               `json:"version"`
	Directory  string            `json:"directory"`
	ReadOnly   bool              `json:"readOnly"`          // of Check: what Boot would do
	Founded    bool              `json:"founded"`           // a new directory: there was nothing to recover
	Refused    string            `json:"refused,omitempty"` // why nothing was recovered; what follows is as far as it got
	Started    int64             `json:"started"`           // wall clock, ms
	Seconds    float64           `json:"seconds"`
	Checkpoint CheckpointInfo    `json:"checkpoint"`
	Journal    JournalInfo       `json:"journal"`
	Findings   []JournalFinding  `json:"findings"`
	Partitions []PartitionReport `json:"partitions"`
	Moved      []Moved           `json:"quarantined"`
	Frames     int64             `json:"framesReplayed"`
	Bytes      int64             `json:"bytesReplayed"`
}

// CheckpointInfo describes the checkpoint that recovery started from.
type CheckpointInfo struct {
	LSN        wal.LSN           `json:"lsn"`
	Time       int64             `json:"time"`
	Partitions int               `json:"partitions"`
	Copies     [2]statefile.Copy `json:"copies"`
}

// JournalInfo describes the journal as a whole.
type JournalInfo struct {
	Segments int     `json:"segments"`
	Spares   int     `json:"spares"`
	First    wal.LSN `json:"first"`
	Last     wal.LSN `json:"last"`
	Floor    wal.LSN `json:"floor"` // everything up to it was promised durable
	Highest  wal.LSN `json:"highest"`
	Bytes    int64   `json:"bytes"`
	Clean    bool    `json:"clean"`
	Missing  string  `json:"missing,omitempty"` // file of the first of the newest segments that are not there: a node does not start

	Manifest [2]statefile.Copy `json:"manifest"`
}

// JournalFinding is a finding in the journal, with where its bytes were saved.
type JournalFinding struct {
	wal.Finding
	Saved    string `json:"saved,omitempty"` // file in evidence/
	Incident string `json:"incident,omitempty"`
}

// PartitionReport is a partition that was touched: one that is simply in order and had nothing to replay is not listed.
type PartitionReport struct {
	Topic     string              `json:"topic"`
	TopicID   string              `json:"topicId"`
	Partition int32               `json:"partition"`
	Status    Status              `json:"status"`
	LogStart  int64               `json:"logStart"`
	End       int64               `json:"end"`
	Replayed  int64               `json:"replayed"` // frames
	Findings  []partition.Finding `json:"findings,omitempty"`
	GivenUp   []GivenUp           `json:"givenUp,omitempty"` // by an undecided or released partition
	Reason    string              `json:"reason,omitempty"`
	Held      string              `json:"held,omitempty"` // file in evidence/ with the frames of a stopped partition
	Incident  string              `json:"incident,omitempty"`
	Next      string              `json:"next,omitempty"` // the command to run
}

// GivenUp is a range of offsets that recovery gave up: lost, or behind what was lost.
type GivenUp struct {
	First   int64 `json:"first"`
	Last    int64 `json:"last"`    // -1: unknown
	Records int64 `json:"records"` // -1: unknown, perhaps none
}

// Moved is an unknown file that went to quarantine/.
type Moved struct {
	From string `json:"from"`
	To   string `json:"to"`
	Why  string `json:"why"`
}

// Name is "topic-partition".
func (p *PartitionReport) Name() string { return partition.DirName(p.Topic, p.Partition) }

// Worst is the gravest verdict of the report, journal and partitions together; wal.Notice if all is well.
func (r *Report) Worst() wal.Verdict {
	order := []wal.Verdict{wal.Notice, wal.Torn, wal.Undecided, wal.Corrupt, wal.IOError, wal.UnknownVersion}
	rank := func(v wal.Verdict) int {
		for i := range order {
			if order[i] == v {
				return i
			}
		}
		return 0
	}
	worst := 0
	for i := range r.Findings {
		worst = max(worst, rank(r.Findings[i].Verdict))
	}
	for i := range r.Partitions {
		switch r.Partitions[i].Status {
		case Stopped:
			worst = max(worst, rank(wal.Corrupt))
		case Uncertain:
			worst = max(worst, rank(wal.Undecided))
		}
		for _, f := range r.Partitions[i].Findings {
			if f.Kind == partition.Unreadable {
				worst = max(worst, rank(wal.IOError))
			}
		}
	}
	return order[worst]
}

// JSON renders the report.
func (r *Report) JSON() ([]byte, error) { return json.MarshalIndent(r, "", "  ") }

// WriteText renders the report for people: one line of verdict, then one line per finding.
func (r *Report) WriteText(w io.Writer) error {
	e := &errWriter{w: w}
	if r.Founded {
		e.printf("recovery: %s is new, nothing to recover\n", r.Directory)
		return e.err
	}
	if r.Refused != "" {
		e.printf("recovery: %s: refused: %s\n", r.Directory, r.Refused)
	} else {
		r.writeSummary(e)
	}
	for i := range r.Findings {
		f := &r.Findings[i]
		e.printf("journal %s: %s byte %d: %s: %s: %s%s%s\n", f.Verdict, f.File, f.Offset, f.Record, f.Reason, f.Evidence,
			optional("; bytes saved in ", f.Saved), optional("; incident ", f.Incident))
	}
	for i := range r.Partitions {
		r.Partitions[i].write(e)
	}
	for _, m := range r.Moved {
		if m.To == "" {
			e.printf("unknown: %s: %s; the next boot moves it to quarantine/\n", m.From, m.Why)
		} else {
			e.printf("quarantined: %s to %s: %s\n", m.From, m.To, m.Why)
		}
	}
	return e.err
}

func (r *Report) writeSummary(e *errWriter) {
	e.printf("recovery: %s: %s; checkpoint at LSN %d, journal to LSN %d, %d frames (%d bytes) replayed in %.3f s\n",
		r.Directory, r.verdict(), r.Checkpoint.LSN, r.Journal.Last, r.Frames, r.Bytes, r.Seconds)
}

// write renders a partition: what came of it, then what was found in its files.
func (p *PartitionReport) write(e *errWriter) {
	if p.Status != OK || len(p.Findings) > 0 {
		e.printf("partition %s %s: offsets [%d, %d)%s%s%s%s\n", p.Name(), p.Status, p.LogStart, p.End, optional(": ", p.Reason),
			optional("; frames held in ", p.Held), optional("; incident ", p.Incident), optional("; next: ", p.Next))
	}
	for _, f := range p.Findings {
		e.printf("partition %s %s: %s byte %d, %d bytes: %s%s\n", p.Name(), f.Kind, f.File, f.Offset, f.Length, f.Message,
			optional("; bytes saved in ", f.Evidence))
	}
}

func (r *Report) verdict() string {
	switch r.Worst() {
	case wal.Notice:
		return "clean"
	case wal.Torn:
		return "clean but for an interrupted write at the end"
	default:
		return string(r.Worst())
	}
}

func optional(before, s string) string {
	if s == "" {
		return ""
	}
	return before + s
}

type errWriter struct {
	w   io.Writer
	err error
}

func (e *errWriter) printf(format string, a ...any) {
	if e.err == nil {
		_, e.err = fmt.Fprintf(e.w, format, a...)
	}
}

// sort orders partitions by name, so that two runs give the same report.
func (r *Report) sort() {
	sort.Slice(r.Partitions, func(i, j int) bool {
		a, b := &r.Partitions[i], &r.Partitions[j]
		if a.Topic != b.Topic {
			return a.Topic < b.Topic
		}
		if a.Partition != b.Partition {
			return a.Partition < b.Partition
		}
		return a.TopicID < b.TopicID
	})
	sort.Slice(r.Moved, func(i, j int) bool { return r.Moved[i].From < r.Moved[j].From })
}

func idString(id [16]byte) string { return hex.EncodeToString(id[:]) }

// Mends says whether a start of the node mends what is wrong in the journal without losing anything: the newest segment is there, and no partition stops
// or may have lost records, be it one that nothing names.
func (r *Report) Mends() bool {
	lost := func(f JournalFinding) bool {
		blind := f.Incomplete && (f.LastLSN == 0 || f.LastLSN > r.Checkpoint.LSN)
		return f.Verdict == wal.Corrupt && (f.Reason == wal.ReasonManifest || blind) || f.Verdict == wal.Undecided && (len(f.Lost) > 0 || blind)
	}
	stopped := func(p PartitionReport) bool { return p.Status == Stopped || p.Status == Uncertain }
	return r.Journal.Missing == "" && !slices.ContainsFunc(r.Findings, lost) && !slices.ContainsFunc(r.Partitions, stopped)
}
