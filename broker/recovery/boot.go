package recovery

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"chronik.dev/chronik/broker/batch"
	"chronik.dev/chronik/broker/datadir"
	"chronik.dev/chronik/broker/partition"
	"chronik.dev/chronik/broker/statefile"
	"chronik.dev/chronik/broker/vfs"
	"chronik.dev/chronik/broker/wal"
)

// Errors of Boot and Check. They are wrapped with the place, the cause and the command to run.
var (
	// ErrNoJournal says that a founded directory has no wal/; a new journal would forget what was acknowledged.
	ErrNoJournal = errors.New("the journal is missing")
	// ErrNoCheckpoint says that neither copy of the checkpoint can be used.
	ErrNoCheckpoint = errors.New("no valid checkpoint")
	// ErrUnreadable says that the disk does not read a part of the journal: try again, replace the disk. Nothing was cut.
	ErrUnreadable = errors.New("the disk does not read the journal")
	// ErrFormat says that another release wrote what is there.
	ErrFormat = errors.New("unknown format version")
)

// Options say what to recover. Env is completed by Boot: FS, Dir, Journal and Hold are set.
type Options struct {
	FS       vfs.FS
	Dir      string   // the data directory, locked by the caller
	DirID    [16]byte // its directory id
	Founding bool     // a new directory: make the journal and the first checkpoint
	Wal      wal.Options
	Env      *partition.Env
	// Topic tells a topic's name by its id; known is false if the metadata never heard of it. May be nil.
	Topic func(id [16]byte) (name string, known bool)
	// Config gives a topic's configuration. May be nil: defaults.
	Config func(topic string) partition.Config
	// Report puts an incident in the ledger and returns its id (*datadir.Dir.Report). May be nil.
	Report func(datadir.Incident) (id string, err error)
	// Release is for a repair, never for a node: a partition that lost records that were acknowledged does not stop, it goes on at the loss, and
	// what is behind it is given up; frames that were held for one that stopped are read back. The report says what was given up.
	Release bool
	// Adopt, with Release, are the partitions that the metadata have. Those that neither checkpoint nor journal knows are made anew from their
	// directories, or empty; without a usable checkpoint those that the journal does not open are.
	Adopt []Known
	// Gone, with Release, says why nothing is known of what was behind the partition files: the journal is a new one.
	Gone string
	// Progress is told how far it is, often. May be nil.
	Progress func(Progress)
}

// Known is a partition as the metadata have it.
type Known struct {
	partition.Identity
	Epoch int32 // leader epoch
}

// Result is a recovered node's storage.
type Result struct {
	Log          *wal.Log                // open for appending
	Partitions   []*partition.Log        // open
	Stopped      []partition.State       // partitions that serve nothing; their reasons are in the report
	Checkpointer *partition.Checkpointer // over all of them
	Checkpoint   partition.Checkpoint    // that recovery started from
	LastTime     int64                   // newest wall clock found in checkpoint and journal, ms; 0 = none. For partition.NewClock.
	Report       *Report
}

// Boot recovers a data directory and opens it. It may be killed anywhere and run again. An error means that nothing was opened and, but
// for evidence, nothing below the durable floor was changed; the report is complete as far as it got.
func Boot(o Options) (*Result, error) {
	s := newScan(o.FS, o.Dir, o.DirID, o.Env.Now())
	s.env, s.meter.tell, s.ledger, s.release = o.Env, o.Progress, o.Report, o.Release
	s.known, s.gone = o.Adopt, o.Gone
	s.setTopics(o.Topic, o.Config)
	o.Env.Dir = s.topicsDir()
	if o.Env.FS == nil {
		o.Env.FS = o.FS
	}
	o.Env.Hold = func(id partition.Identity, after, upTo wal.LSN) (string, wal.LSN, error) {
		return Hold(o.FS, o.Dir, o.DirID, id, after, upTo)
	}
	o.Wal.FS, o.Wal.Dir, o.Wal.DirID, o.Wal.Kind = o.FS, s.walDir(), o.DirID, wal.Journal
	started := time.Now()
	var result *Result
	var err error
	if o.Founding {
		result, err = s.found(o)
	} else {
		result, err = s.boot(o)
	}
	s.report.Seconds = time.Since(started).Seconds()
	s.report.sort()
	if err != nil {
		s.report.Refused = err.Error()
		return &Result{Report: s.report}, err
	}
	return result, nil
}

func newScan(fsys vfs.FS, dir string, id [16]byte, now int64) *scan {
	return &scan{
		fs: fsys, dir: dir, dirID: id, parts: map[key]*part{},
		report: &Report{Version: ReportVersion, Directory: dir, Started: now, Findings: []JournalFinding{}, Partitions: []PartitionReport{}, Moved: []Moved{}},
	}
}

func (s *scan) setTopics(topic func([16]byte) (string, bool), config func(string) partition.Config) {
	s.topic, s.config = topic, config
	if config == nil {
		s.config = func(string) partition.Config { return partition.DefaultConfig() }
	}
}

// found makes the journal and the first checkpoint of a new directory.
func (s *scan) found(o Options) (*Result, error) {
	s.report.Founded = true
	if err := vfs.MkdirAll(s.fs, s.topicsDir()); err != nil {
		return nil, fmt.Errorf("found %s: %w", s.dir, err)
	}
	log, err := wal.Create(o.Wal)
	if err != nil {
		return nil, fmt.Errorf("found %s: %w", s.dir, err)
	}
	first := partition.Checkpoint{Time: s.env.Now()}
	base := filepath.Join(s.walDir(), datadir.CheckpointBase)
	file, err := statefile.Create(s.fs, base, partition.CheckpointKind, partition.CheckpointVersion, s.dirID, first.Marshal())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("found %s: %w", s.dir, err), log.Close())
	}
	s.env.Journal = log
	return &Result{
		Log: log, Checkpointer: partition.NewCheckpointer(s.env, file, log, nil), Checkpoint: first, LastTime: first.Time, Report: s.report,
	}, nil
}

// boot recovers a directory that has been founded.
func (s *scan) boot(o Options) (*Result, error) {
	s.meter.enter(StageSurvey)
	if err := s.examine(); err != nil {
		return nil, err
	}
	s.meter.enter(StageReplay)
	if err := vfs.MkdirAll(s.fs, s.topicsDir()); err != nil {
		return nil, fmt.Errorf("recover %s: %w", s.dir, err)
	}
	cut, err := s.saveEvidence()
	if err != nil {
		return nil, err
	}
	if err := s.replayAll(); err != nil {
		return nil, err
	}
	if err := s.hold(); err != nil {
		return nil, err
	}
	removed, err := s.tidy()
	if err != nil {
		return nil, err
	}
	if err := s.conclude(); err != nil {
		return nil, err
	}
	if err := s.mendCheckpoint(); err != nil {
		return nil, fmt.Errorf("recover %s: %w", s.dir, err)
	}
	s.meter.enter(StageOpen)
	log, err := wal.Resume(o.Wal, s.inv, wal.CutNote{Incident: cut, GiveUp: s.release})
	if err != nil {
		return nil, fmt.Errorf("recover %s: %w; run %s", s.dir, err, s.next())
	}
	s.env.Journal = log
	return s.open(log, removed)
}

// examine reads checkpoint and journal and decides; nothing is changed.
func (s *scan) examine() error {
	if err := s.loadCheckpoint(); err != nil {
		return err
	}
	if err := s.survey(); err != nil {
		return err
	}
	if err := s.refuse(); err != nil {
		return err
	}
	if err := s.adopt(); err != nil {
		return err
	}
	if !s.readOnly { // the first change to a file: what it follows from must not be lost after it
		if err := s.inv.Sync(s.fs); err != nil {
			return fmt.Errorf("recover %s: %w", s.dir, err)
		}
	}
	return s.assign()
}

// open opens the logs of a recovered directory.
func (s *scan) open(log *wal.Log, removed []string) (*Result, error) {
	r := &Result{Log: log, Checkpoint: *s.ck, Report: s.report, LastTime: s.ck.Time}
	for i := range s.inv.Segments {
		r.LastTime = max(r.LastTime, s.inv.Segments[i].LastTime)
	}
	synced := log.Synced()
	for _, p := range s.sorted() {
		switch {
		case p.dropped:
		case p.stop != nil:
			st := p.st
			if !p.listed {
				st = partition.EmptyState(p.st.Identity, s.config(p.name)) // so that a repair can read back what is held
				st.Dir, st.LSN = p.dir, p.opened
			}
			if p.name == "" {
				continue // nothing to list; the report names it
			}
			if st.Held == 0 && !p.filesOnly() {
				st.Held, st.HeldFile, st.HeldReason = p.heldLSN, p.held, p.stop.Error()
			}
			r.Stopped = append(r.Stopped, st)
		case p.replay != nil:
			l, err := p.replay.Open(synced)
			if err != nil {
				for _, l := range r.Partitions {
					err = errors.Join(err, l.Close())
				}
				return nil, errors.Join(fmt.Errorf("recover %s: %w", s.dir, err), log.Close())
			}
			r.Partitions = append(r.Partitions, l)
		}
	}
	r.Checkpointer = partition.NewCheckpointer(s.env, s.file, log, r.Stopped)
	for _, dir := range removed {
		r.Checkpointer.Removed(dir)
	}
	if err := s.settleLoss(r); err != nil {
		return nil, err
	}
	return r, nil
}

// settleLoss takes a checkpoint at once where partitions hold what the journal has not: records that were taken from the partition log, or a partition of
// which only the directory is left. Without it the next boot, which finds no damage any more, would not know of them, and pass over what comes behind.
func (s *scan) settleLoss(r *Result) error {
	undecided := slices.ContainsFunc(s.inv.Findings, func(f wal.Finding) bool { return f.Verdict == wal.Undecided })
	if !undecided && !slices.ContainsFunc(s.report.Partitions, func(p PartitionReport) bool { return p.Status == Repaired }) {
		return nil
	}
	err := r.Checkpointer.Settle()
	if err == nil {
		return nil
	}
	for _, l := range r.Partitions {
		err = errors.Join(err, l.Close())
	}
	return errors.Join(fmt.Errorf("recover %s: checkpoint of what was repaired: %w", s.dir, err), r.Log.Close())
}

// CheckOptions say what to check.
type CheckOptions struct {
	FS     vfs.FS
	Dir    string
	DirID  [16]byte // zero: not compared
	Topic  func(id [16]byte) (name string, known bool)
	Config func(topic string) partition.Config
	Deep   bool // reads spares and the reserve too
	// Durable ends at the floor, for a node that is running: what it may still be writing behind it is not taken.
	Durable bool
	// Progress is told how far it is, often. May be nil.
	Progress func(Progress)
	// Batch is told of every batch that a boot would take from the journal, in the order of LSNs; raw is valid during the call. An error ends
	// the check and is returned. May be nil.
	Batch func(id partition.Identity, h *batch.Header, raw []byte) error
	// Partition is told of every partition that is not deleted, at the end. May be nil.
	Partition func(Outcome)
}

// Outcome is a partition as a boot would leave it: its records are those of the files that Files describes, then what Batch was told of.
type Outcome struct {
	Files         partition.State // what the journal goes on from, after cuts behind the checkpoint; LogStart and End are those of that moment
	LogStart, End int64
	Status        Status
	Reason        string // why it is stopped or uncertain
	Truncated     bool   // the journal cuts it: what is in the files past Files may be of before the cut
	// Replaced are base offsets of segments that the cleaner rewrote behind the checkpoint: the .log is as before or after it, and what
	// belongs to it (indexes, sums) as either, or half made.
	Replaced []int64
}

// Check comes to the verdicts that Boot would come to, and changes nothing. Memory is bounded.
func Check(o CheckOptions) (*Report, error) {
	now := time.Now().UnixMilli()
	s := newScan(o.FS, o.Dir, o.DirID, now)
	s.readOnly, s.report.ReadOnly = true, true
	s.meter.tell = o.Progress
	s.took, s.outcome = o.Batch, o.Partition
	s.deep, s.durable = o.Deep, o.Durable
	s.env = &partition.Env{FS: o.FS, Dir: s.topicsDir(), Now: func() int64 { return now }}
	s.setTopics(o.Topic, o.Config)
	started := time.Now()
	err := s.check()
	if err != nil {
		s.report.Refused = err.Error()
	}
	s.report.Seconds = time.Since(started).Seconds()
	s.report.sort()
	return s.report, err
}

func (s *scan) check() error {
	s.meter.enter(StageSurvey)
	if err := s.examine(); err != nil {
		return err
	}
	s.meter.enter(StageReplay)
	if err := s.replayAll(); err != nil {
		return err
	}
	if _, err := s.tidy(); err != nil {
		return err
	}
	return s.conclude()
}
