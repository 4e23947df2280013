package walinspect

import (
	"encoding/hex"
	"fmt"
	"path/filepath"
	"strings"

	"chronik.dev/chronik/broker/datadir"
	"chronik.dev/chronik/broker/partition"
	"chronik.dev/chronik/broker/segment"
	"chronik.dev/chronik/broker/wal"
)

// Finding is one damage, or one notice, with everything an operator needs to go on.
type Finding struct {
	Verdict     wal.Verdict `json:"verdict"`
	File        string      `json:"file"`           // below the directory that was given, else its path
	Offset      int64       `json:"offset"`         // first byte in the file
	Length      int64       `json:"length"`         // bytes; 0 where nothing is there
	Record      string      `json:"record"`         // what encloses the bytes: "group at 8192", "batch of offsets 10-19", "index entry 7"
	Reason      string      `json:"reason"`         // from the closed lists of packages wal, segment, batch, statefile
	Rule        string      `json:"rule,omitempty"` // code of the rule between files that is broken: docs/recovery/rules.md
	Topic       string      `json:"topic,omitempty"`
	Partition   *int32      `json:"partition,omitempty"`
	FirstOffset *int64      `json:"first_offset,omitempty"` // of the records touched
	LastOffset  *int64      `json:"last_offset,omitempty"`
	FirstLSN    wal.LSN     `json:"first_lsn,omitempty"`
	LastLSN     wal.LSN     `json:"last_lsn,omitempty"`
	Lost        []Loss      `json:"lost,omitempty"`
	Incomplete  bool        `json:"incomplete,omitempty"` // more may be lost than Lost names
	Bitflip     *Bit        `json:"bitflip,omitempty"`    // the one bit that explains it; only if Target.Bitflip is set
	Evidence    string      `json:"evidence"`             // why this verdict, in a sentence
	Next        string      `json:"next"`                 // the one command to run
}

// Loss is what a damaged range held of one partition, or of the Raft log.
type Loss struct {
	Topic     string  `json:"topic,omitempty"`
	TopicID   string  `json:"topic_id,omitempty"`
	Partition int32   `json:"partition"`
	Type      string  `json:"type"`
	First     int64   `json:"first"` // offsets; Raft: index
	Last      int64   `json:"last"`  // offsets; Raft: term, or with no LSN the last index
	LSN       wal.LSN `json:"lsn,omitempty"`
	Frames    int32   `json:"frames"`
}

func (l Loss) String() string {
	switch {
	case l.Type == wal.RaftEntry.String() && l.LSN == 0: // a range
		return fmt.Sprintf("Raft entries %d to %d", l.First, l.Last)
	case l.Type == wal.RaftEntry.String():
		return fmt.Sprintf("Raft entry %d of term %d", l.First, l.Last)
	case l.Type == wal.Batch.String() || l.First >= 0 && l.Frames > 1:
		return fmt.Sprintf("%s-%d offsets %d-%d", l.name(), l.Partition, l.First, l.Last)
	}
	return fmt.Sprintf("%s-%d %s", l.name(), l.Partition, l.Type)
}

func (l Loss) name() string {
	if l.Topic != "" {
		return l.Topic
	}
	return "topic id " + l.TopicID
}

// fromJournal rewords a finding of package wal.
func (t *Target) fromJournal(w *wal.Finding) Finding {
	f := Finding{
		Verdict: w.Verdict, File: t.rel(w.File), Offset: w.Offset, Length: w.Length, Record: w.Record, Reason: string(w.Reason),
		FirstLSN: w.FirstLSN, LastLSN: w.LastLSN, Incomplete: w.Incomplete, Evidence: w.Evidence,
	}
	if w.Reason == wal.ReasonManifest || w.Record == "manifest" {
		f.Offset, f.Length = 0, t.size(w.File) // small and checked as a whole
	}
	for i := range w.Lost {
		f.Lost = append(f.Lost, t.loss(&w.Lost[i]))
	}
	f.Next = t.next(&f, w.File)
	return f
}

func (t *Target) loss(id *wal.Identity) Loss {
	l := Loss{Partition: id.Partition, Type: id.Type.String(), First: id.First, Last: id.Last, LSN: id.LSN, Frames: id.Count}
	if id.Type != wal.RaftEntry {
		l.Topic, l.TopicID = t.names[id.ID], hex.EncodeToString(id.ID[:])
	}
	return l
}

// next is the one command that leads on from a finding in file: to look closer at what is lost, or to mend what is not.
func (t *Target) next(f *Finding, file string) string {
	ours := t.Root != "" && !t.Kafka
	switch f.Verdict {
	case wal.UnknownVersion:
		return "chronik version"
	case wal.IOError:
		return "chronik wal verify " + quote(t.Path) // again, once the device reads
	}
	if topic, number, derived := t.derived(f, file); ours && derived {
		return fmt.Sprintf("chronik log reindex --dir %s --partition %s", quote(t.Root), quote(partition.DirName(topic, number)))
	}
	switch {
	case f.Verdict == wal.Corrupt || f.Verdict == wal.Undecided:
		return "chronik wal dump --damaged " + quote(t.dumpable(file))
	case ours:
		return "chronik serve --data-dir " + quote(t.Root) // cuts or mends it, after saving the bytes
	}
	return "chronik wal scan " + quote(t.Path)
}

// derived says whether a finding is in a file of a partition directory that can be made anew from the batches and the checkpoint.
func (t *Target) derived(f *Finding, file string) (topic string, number int32, ok bool) {
	if topic, number, ok = partitionName(filepath.Base(filepath.Dir(file))); !ok || f.Reason == string(wal.ReasonUnknownFile) {
		return "", 0, false
	}
	kind, _, known := segment.ParseName(filepath.Base(file))
	switch kind {
	case segment.Log:
		return topic, number, known && (f.Reason == string(segment.NoSum) || f.Reason == string(segment.BadSum))
	case segment.Snapshot, segment.TxnIndex:
		return "", 0, false // the node writes them at the next roll
	}
	return topic, number, known
}

// dumpable is the nearest path to file that Dump takes.
func (t *Target) dumpable(file string) string {
	switch filepath.Ext(file) {
	case ".log", journalSuffix:
		return file
	}
	if t.Root != "" && strings.HasPrefix(file, filepath.Join(t.Root, datadir.TopicsDir)+string(filepath.Separator)) {
		return filepath.Dir(file)
	}
	return t.Path
}

// quote makes a path safe to paste into a shell.
func quote(path string) string { return datadir.Quote(path) }

// rank orders verdicts by gravity as exit codes do: an unknown version forbids any judgement, then I/O error, corrupt, undecided, torn.
func rank(v wal.Verdict) int {
	for i, w := range []wal.Verdict{wal.Notice, wal.Torn, wal.Undecided, wal.Corrupt, wal.IOError, wal.UnknownVersion} {
		if v == w {
			return i
		}
	}
	return 0
}
