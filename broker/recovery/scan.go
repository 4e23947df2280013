package recovery

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"chronik.dev/chronik/broker/batch"
	"chronik.dev/chronik/broker/datadir"
	"chronik.dev/chronik/broker/partition"
	"chronik.dev/chronik/broker/statefile"
	"chronik.dev/chronik/broker/vfs"
	"chronik.dev/chronik/broker/wal"
)

// key names a partition.
type key struct {
	id        [16]byte
	partition int32
}

// part is what recovery knows of one partition.
type part struct {
	key
	name   string          // of the topic; empty if nothing tells it
	st     partition.State // of the checkpoint, if listed
	listed bool
	opened wal.LSN // of the Opened frame behind the checkpoint

	dropped bool
	cutTo   int64 // lowest Truncated behind the checkpoint that goes below its end
	cutLSN  wal.LSN
	cuts    []partition.Truncation // all of them behind the checkpoint
	changed []partition.Replaced
	lost    []loss // frames that the journal lost, by LSN
	bereft  bool   // there were such frames, or may have been

	replay  *partition.Replay
	files   partition.State // that replay started from
	dir     string          // directory name
	applied wal.LSN         // last frame seen
	gap     wal.Verdict
	frames  int64
	bytes   int64
	stop    error  // why the partition stops
	unsure  string // what it may have lost
	over    string // why it goes on without what it lost: Options.Release
	given   []GivenUp
	found   *partition.Found // made anew from its directory
	owed    int64            // the end that the checkpoint promises, if its files are less
	before  *partition.State // as it was held, if its frames were read back
	readTo  wal.LSN          // the last of them
	held    string
	heldLSN wal.LSN
}

// loss is a frame, or a summary of several, that a damaged stretch of the journal lost.
type loss struct {
	wal.Identity
	verdict wal.Verdict
}

// scan is one recovery, of Boot or Check.
type scan struct {
	fs       vfs.FS
	dir      string
	dirID    [16]byte
	readOnly bool
	release  bool // Options.Release
	known    []Known
	gone     string
	rebuild  bool // no copy of the checkpoint can be used, and it is made anew
	deep     bool // reads spares and the reserve too
	durable  bool // CheckOptions.Durable
	env      *partition.Env
	topic    func(id [16]byte) (string, bool)
	config   func(topic string) partition.Config
	meter    meter
	took     func(partition.Identity, *batch.Header, []byte) error // nil: nobody looks
	outcome  func(Outcome)                                         // nil: nobody looks

	file    *statefile.File
	ck      *partition.Checkpoint
	inv     *wal.Inventory
	parts   map[key]*part
	entries []*entry       // of topics/
	blind   []*wal.Finding // findings that lost frames which nothing names
	report  *Report
	ledger  func(datadir.Incident) (string, error)
}

func (s *scan) walDir() string    { return filepath.Join(s.dir, datadir.WalDir) }
func (s *scan) topicsDir() string { return filepath.Join(s.dir, datadir.TopicsDir) }

// next is the command that every refusal names.
func (s *scan) next() string { return "chronik wal verify " + datadir.Quote(s.dir) }

// later is the next step for who reads the report or the ledger, perhaps while the node runs; it works when it does not.
func (s *scan) later() string { return "chronik wal verify --live " + datadir.Quote(s.dir) }

// loadCheckpoint reads the checkpoint and refuses a directory that has none.
func (s *scan) loadCheckpoint() error {
	base := filepath.Join(s.walDir(), datadir.CheckpointBase)
	if there, err := vfs.Exists(s.fs, s.walDir()); err != nil {
		return fmt.Errorf("recover %s: %w", s.dir, err)
	} else if !there {
		return fmt.Errorf("recover %s: %w: %s does not exist; restore it, or copy the partitions out (%s)", s.dir, ErrNoJournal, s.walDir(), s.next())
	}
	f, err := statefile.Load(s.fs, base, partition.CheckpointKind, partition.CheckpointVersion, s.dirID)
	var version *statefile.VersionError
	var bad *statefile.BadError
	switch {
	case s.release && (errors.Is(err, statefile.ErrMissing) || errors.As(err, &bad) && bad.Unwrap() == nil):
		s.rebuild, s.ck = true, &partition.Checkpoint{}
		return nil
	case errors.As(err, &version):
		return fmt.Errorf("recover %s: %w: %w; use the release that wrote it, or a newer one", s.dir, ErrFormat, err)
	case err != nil:
		return fmt.Errorf("recover %s: %w: %w; run %s", s.dir, ErrNoCheckpoint, err, s.next())
	}
	if s.ck, err = partition.UnmarshalCheckpoint(f.Body()); err != nil {
		return fmt.Errorf("recover %s: %w: %w; run %s", s.dir, ErrNoCheckpoint, err, s.next())
	}
	s.file = f
	s.report.Checkpoint = CheckpointInfo{LSN: s.ck.LSN, Time: s.ck.Time, Partitions: len(s.ck.Partitions), Copies: f.Copies()}
	for _, st := range s.ck.Partitions {
		k := key{st.ID, st.Partition}
		s.parts[k] = &part{key: k, name: st.Topic, st: st, listed: true, dir: st.Dir}
	}
	return nil
}

func (s *scan) inspect(visit func(*wal.Group) error) (*wal.Inventory, error) {
	inv, err := wal.Inspect(wal.InspectOptions{
		FS: s.fs, Dir: s.walDir(), DirID: s.dirID, Kind: wal.Journal, MinSynced: s.ck.Synced(), Deep: s.deep, Progress: s.meter.advance,
		Expect: s.meter.expect,
	}, visit)
	if err != nil {
		return nil, fmt.Errorf("recover %s: %w", s.dir, err)
	}
	return inv, s.alike(inv)
}

// alike compares a later reading of the journal with the first, by which everything was judged. What a disk then did not read, or read otherwise, would
// be taken for records that were never acknowledged.
func (s *scan) alike(inv *wal.Inventory) error {
	if s.inv == nil {
		return nil
	}
	const next = "try again, or copy the directory to another disk"
	if err := inv.Unreadable(); err != nil && s.inv.Unreadable() == nil {
		return fmt.Errorf("recover %s: %w: %w; %s", s.dir, ErrUnreadable, err, next)
	}
	same := func(a, b wal.Finding) bool {
		return a.File == b.File && a.Offset == b.Offset && a.Verdict == b.Verdict && a.Reason == b.Reason
	}
	if inv.Last != s.inv.Last || inv.Highest != s.inv.Highest || inv.Floor != s.inv.Floor || !slices.EqualFunc(inv.Findings, s.inv.Findings, same) {
		return fmt.Errorf("recover %s: %w: it was read twice and was not the same: to LSN %d with %d findings, then to LSN %d with %d; %s",
			s.dir, ErrUnreadable, s.inv.Last, len(s.inv.Findings), inv.Last, len(inv.Findings), next)
	}
	return nil
}

// survey reads the whole journal once, before anything changes: partitions, drops, cuts, replaced files, and what is lost.
func (s *scan) survey() error {
	inv, err := s.inspect(func(g *wal.Group) error {
		for i := range g.Frames {
			if err := s.meet(&g.Frames[i]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	s.inv = inv
	if inv.Freed > s.ck.LSN && !s.rebuild {
		return s.rolledBack()
	}
	info := &s.report.Journal
	*info = JournalInfo{
		Segments: len(inv.Segments), Spares: len(inv.Spares), First: inv.First, Last: inv.Last, Floor: inv.Floor, Highest: inv.Highest,
		Bytes: inv.Bytes, Clean: inv.Clean, Manifest: inv.Manifest,
		Missing: inv.EndMissing(),
	}
	for i := range inv.Findings {
		f := &inv.Findings[i]
		s.report.Findings = append(s.report.Findings, JournalFinding{Finding: *f})
		if f.Verdict == wal.Corrupt || f.Verdict == wal.Undecided {
			s.lose(f)
		}
	}
	for _, p := range s.parts {
		p.bereft = p.bereft || len(s.blind) > 0
		slices.SortFunc(p.lost, func(a, b loss) int { return cmp.Compare(a.LSN, b.LSN) })
	}
	return nil
}

// rolledBack deals with a checkpoint that is older than the one for which the journal was freed: between the two nothing is known of the partition files.
func (s *scan) rolledBack() error {
	if s.release {
		s.rebuild, s.ck, s.parts, s.blind, s.report.Findings = true, &partition.Checkpoint{}, map[key]*part{}, nil, []JournalFinding{}
		return s.survey()
	}
	return fmt.Errorf("recover %s: %w: it ends at LSN %d, and the journal gave back frames up to LSN %d, which a newer one included: both copies were put back from "+
		"before; restore the newest, or run chronik repair plan --dir %s", s.dir, ErrNoCheckpoint, s.ck.LSN, s.inv.Freed, s.dir)
}

// stale says whether a frame is included in the checkpoint.
func (s *scan) stale(p *part, lsn wal.LSN) bool {
	if lsn == 0 {
		return false // a summary
	}
	return p != nil && p.listed && lsn <= p.st.LSN || (p == nil || !p.listed) && lsn <= s.ck.LSN
}

// partOf returns the partition of a frame behind the checkpoint, nil if the frame is included in it.
func (s *scan) partOf(k key, lsn wal.LSN) *part {
	p := s.parts[k]
	if s.stale(p, lsn) {
		return nil
	}
	if p == nil {
		p = &part{key: k}
		s.parts[k] = p
	}
	return p
}

// meet takes note of a frame.
func (s *scan) meet(f *wal.Frame) error {
	if !f.Type.Known() && f.Flags&wal.FlagSkippable == 0 {
		return fmt.Errorf("recover %s: LSN %d: frame of type %v: %w", s.dir, f.LSN, f.Type, ErrFormat)
	}
	p := s.partOf(key{f.ID, f.Partition}, f.LSN)
	if p == nil {
		return nil
	}
	switch f.Type {
	case wal.Opened:
		if !p.listed && p.opened == 0 {
			p.opened, p.name = f.LSN, string(f.Payload)
			p.st.Identity = partition.Identity{Topic: p.name, ID: p.id, Partition: p.partition, RaftIndex: uint64(f.First)}
		}
	case wal.Replaced:
		v, err := partition.ParseReplaced(f.Payload)
		if err != nil {
			return fmt.Errorf("recover %s: LSN %d: %w: %w", s.dir, f.LSN, ErrFormat, err)
		}
		p.changed = append(p.changed, v)
	case wal.Truncated:
		at, err := partition.ParseCutAt(f.Payload)
		if err != nil {
			return fmt.Errorf("recover %s: LSN %d: %w: %w", s.dir, f.LSN, ErrFormat, err)
		}
		p.note(f.Type, f.LSN, f.First, &at)
	default:
		p.note(f.Type, f.LSN, f.First, nil)
	}
	return nil
}

// note takes note of what a frame, or the identity of a lost one, changes for good. at is known of a Truncated frame that is intact.
func (p *part) note(t wal.Type, lsn wal.LSN, first int64, at *partition.CutAt) {
	switch t {
	case wal.Dropped:
		p.dropped = true
	case wal.Truncated:
		p.cuts = append(p.cuts, partition.Truncation{LSN: lsn, To: first, At: at})
		if p.listed && first < p.st.End && (p.cutLSN == 0 || first <= p.cutTo) {
			p.cutTo, p.cutLSN = first, lsn
		}
	}
}

// lose notes what a finding lost.
func (s *scan) lose(f *wal.Finding) {
	for _, id := range f.Lost {
		p := s.partOf(key{id.ID, id.Partition}, id.LSN)
		if p == nil {
			continue
		}
		p.note(id.Type, id.LSN, id.First, nil)
		p.lost, p.bereft = append(p.lost, loss{id, f.Verdict}), true
	}
	if f.Incomplete {
		s.blind = append(s.blind, f)
	}
}

// refuse returns why this journal cannot be recovered from at all.
func (s *scan) refuse() error {
	for i := range s.inv.Findings {
		f := &s.inv.Findings[i]
		switch f.Verdict {
		case wal.UnknownVersion:
			return fmt.Errorf("recover %s: %s byte %d: %w: %s; use the release that wrote it, or a newer one", s.dir, f.File, f.Offset, ErrFormat, f.Evidence)
		case wal.IOError:
			return fmt.Errorf("recover %s: %s byte %d: %w: %w; try again, or copy the directory to another disk", s.dir, f.File, f.Offset, ErrUnreadable, f.Err)
		}
	}
	if file := s.inv.EndMissing(); file != "" && !s.readOnly && !s.release {
		return fmt.Errorf("recover %s: %w: %s, the newest segment, is not there; restore it, or run chronik repair plan --dir %s", s.dir, ErrNoJournal, file, s.dir)
	}
	return nil
}
