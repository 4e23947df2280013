package walinspect

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"chronik.dev/chronik/broker/datadir"
	"chronik.dev/chronik/broker/partition"
	"chronik.dev/chronik/broker/wal"
)

// Level says how closely Verify looks.
type Level string

// The levels.
const (
	Fast    Level = "fast"    // checksums and chains
	Default Level = "default" // also small files, indexes, and partition logs against checkpoint and journal
	Deep    Level = "deep"    // also decompresses and decodes every record
)

// Verification ends a verification.
type Verification struct {
	Target     string              `json:"target"`
	Kind       Kind                `json:"kind"`
	Level      Level               `json:"level"`
	Live       bool                `json:"live,omitempty"`
	Verdict    wal.Verdict         `json:"verdict"`  // the gravest; "notice" if all is well
	Findings   map[wal.Verdict]int `json:"findings"` // how many of each
	Floor      wal.LSN             `json:"floor_lsn,omitempty"`
	LastLSN    wal.LSN             `json:"last_lsn,omitempty"`
	Frames     int64               `json:"frames,omitempty"` // of the journal
	Partitions int                 `json:"partitions,omitempty"`
	Batches    int64               `json:"batches,omitempty"` // of partition logs
	Records    int64               `json:"records,omitempty"`
	RaftTerm   uint64              `json:"raft_term,omitempty"`
	RaftLast   uint64              `json:"raft_last_index,omitempty"`
	RaftCommit uint64              `json:"raft_commit,omitempty"`     // the highest index known to be committed
	RaftHash   string              `json:"raft_state_hash,omitempty"` // of the metadata there, recomputed from snapshot and log
	Bytes      int64               `json:"bytes_read"`
	Seconds    float64             `json:"seconds"`
}

// Scope says what was looked at, in a few words for people.
func (v *Verification) Scope() string {
	text := ""
	if v.LastLSN > 0 {
		text += fmt.Sprintf("; journal to LSN %d, %d frames, durable to %d", v.LastLSN, v.Frames, v.Floor)
	}
	if v.RaftLast > 0 {
		text += fmt.Sprintf("; Raft term %d, index %d, committed to %d", v.RaftTerm, v.RaftLast, v.RaftCommit)
	}
	if v.RaftHash != "" {
		text += ", state " + v.RaftHash
	}
	if v.Partitions > 0 {
		text += fmt.Sprintf("; %d partitions, %d batches, %d records", v.Partitions, v.Batches, v.Records)
	}
	return text
}

// verifier is one verification.
type verifier struct {
	t       *Target
	level   Level
	emit    func(*Finding) error
	sum     Verification
	grown   map[string]bool             // directories of partitions with frames behind the checkpoint; nil: the journal was not read
	files   map[string]*partition.State // by directory: what a start goes on from; nil: not known, the checkpoint counts
	cleaned map[string][]int64          // by directory: segments of which the indexes and sums may be of before or after the cleaner
	failed  error                       // of emit
	started bool                        // a node started meanwhile

	founding bool // the directory never came to be: there is nothing to judge

	handOver chan<- *Finding // findings go here, to be reported by another verifier
}

// Verify reports every finding, in no particular order of gravity, and goes on past damage. It returns ErrStarted, beside a valid summary,
// if a node started on the directory meanwhile: what the node may be changing was left out. An error of emit ends it.
func (t *Target) Verify(level Level, emit func(*Finding) error) (*Verification, error) {
	began := time.Now()
	v := &verifier{t: t, level: level, emit: emit, sum: Verification{
		Target: t.Path, Kind: t.Kind, Level: level, Live: t.live, Verdict: wal.Notice, Findings: map[wal.Verdict]int{},
	}}
	t.measure()
	err := v.run()
	if err == nil {
		err = v.failed
	}
	v.sum.Bytes, v.sum.Seconds = t.fs.done.Load(), time.Since(began).Seconds()
	if err == nil && v.started {
		err = ErrStarted
	}
	return &v.sum, err
}

func (v *verifier) run() error {
	t := v.t
	switch t.Kind {
	case DataDir:
		return v.dataDir()
	case JournalDir:
		return v.journal(t.Path, wal.Journal, "")
	case RaftDir:
		return v.raft(t.Path)
	case JournalFile:
		return v.journal(filepath.Dir(t.Path), t.logKind(), filepath.Clean(t.Path))
	case TopicsDir:
		v.judgeFiles()
		return v.topics(filepath.Join(t.Root, datadir.TopicsDir), t.checkpoint())
	case KafkaDir:
		return v.kafkaDir()
	default: // PartitionDir, LogFile
		return v.onePartition()
	}
}

// report hands on a finding. After an error of emit it does nothing.
func (v *verifier) report(f Finding) {
	if v.handOver != nil {
		v.handOver <- &f
		return
	}
	if v.failed != nil || v.t.live && (f.Verdict == wal.Torn || f.Verdict == wal.Undecided) {
		return // a running node's tail is always unfinished
	}
	if only := v.t.only; only != "" && f.File != only && !strings.HasPrefix(f.File, only+string(filepath.Separator)) {
		return
	}
	v.sum.Findings[f.Verdict]++
	if rank(f.Verdict) > rank(v.sum.Verdict) {
		v.sum.Verdict = f.Verdict
	}
	f.Rule = ruleOf(&f)
	if v.t.Bitflip {
		f.Bitflip = v.t.bitflip(&f)
	}
	v.failed = v.emit(&f)
}

// dataDir verifies a whole data directory: identity, journal, Raft, partition logs, and each against the others.
func (v *verifier) dataDir() error {
	if v.identity(); v.founding {
		return v.failed
	}
	checkpoint := v.t.checkpoint()
	if v.level == Fast {
		if err := v.journal(filepath.Join(v.t.Root, datadir.WalDir), wal.Journal, ""); err != nil {
			return err
		}
	} else if err := v.recovery(); err != nil {
		return err
	}
	if err := v.raft(filepath.Join(v.t.Root, datadir.RaftDir)); err != nil {
		return err
	}
	return v.topics(filepath.Join(v.t.Root, datadir.TopicsDir), checkpoint)
}

// topics verifies every partition directory below dir.
func (v *verifier) topics(dir string, checkpoint *partition.Checkpoint) error {
	states := map[string]*partition.State{}
	if checkpoint != nil {
		for i := range checkpoint.Partitions {
			if st := v.promise(&checkpoint.Partitions[i]); st != nil {
				states[st.Dir] = st
			}
		}
	}
	dirs, err := v.t.sortedPartitions(dir)
	if err != nil {
		return err
	}
	err = v.partitions(func(yield func(*place) bool) {
		for _, d := range dirs {
			state := states[filepath.Base(d)]
			if checkpoint != nil && state == nil {
				continue // newer than the checkpoint: all of it is in the journal
			}
			if !yield(v.t.placeOf(d, state)) {
				return
			}
		}
	})
	if err != nil {
		return err
	}
	for _, d := range dirs {
		delete(states, filepath.Base(d))
	}
	for name, state := range states {
		v.missingPartition(dir, name, state)
	}
	return nil
}

// promise is what a partition's files hold durably: what the checkpoint lists, less what the journal behind it cuts off. Nil: the journal deletes it,
// and any part of it may be gone.
func (v *verifier) promise(listed *partition.State) *partition.State {
	if v.files == nil {
		return listed
	}
	st := v.files[listed.Dir]
	if st == nil || st.ID != listed.ID { // deleted, and perhaps created anew under the same name
		return nil
	}
	return st
}

// unlessStarted runs a check of files that a running node changes and drops what it found if a node started meanwhile.
func (v *verifier) unlessStarted(findings []Finding) error {
	if !v.t.live && v.t.Root != "" && !v.started {
		running, err := datadir.Running(v.t.fs, v.t.Root)
		if err != nil {
			return err
		}
		v.started = running
	}
	if v.started {
		return nil
	}
	for _, f := range findings {
		v.report(f)
	}
	return nil
}

// measure adds up what there is to read, for the progress bar.
func (t *Target) measure() {
	if t.fs.progress != nil {
		t.fs.total.Store(t.size(t.Path))
	}
}

// size is the size in bytes of a file or of all files below a directory; what cannot be listed counts nothing.
func (t *Target) size(path string) int64 {
	info, err := t.fs.Stat(path)
	if err != nil {
		return 0
	}
	if !info.IsDir() {
		return info.Size()
	}
	entries, err := t.fs.ReadDir(path)
	if err != nil {
		return 0
	}
	var sum int64
	for _, e := range entries {
		if e.IsDir() {
			sum += t.size(filepath.Join(path, e.Name()))
		} else {
			sum += e.Size()
		}
	}
	return sum
}
