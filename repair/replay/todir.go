package replay

import (
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"chronik.dev/chronik/broker/batch"
	"chronik.dev/chronik/broker/datadir"
	"chronik.dev/chronik/broker/metadata"
	"chronik.dev/chronik/broker/partition"
	"chronik.dev/chronik/broker/recovery"
	"chronik.dev/chronik/broker/segment"
	"chronik.dev/chronik/broker/statefile"
	"chronik.dev/chronik/broker/vfs"
	"chronik.dev/chronik/broker/wal"
)

// DirOptions say what ToDir replays.
type DirOptions struct {
	FS          vfs.FS
	Dir         string                  // a data directory that no node runs on
	Out         string                  // made by ToDir; its parent must be there
	SkipDamaged bool                    // go on although something is lost
	Progress    func(done, total int64) // bytes read and written, of an estimate; may be nil
}

// DirReport says what ToDir built.
type DirReport struct {
	Source      string           `json:"source"`
	Out         string           `json:"out"`
	Identity    datadir.Identity `json:"identity"` // of both directories
	Checkpoint  wal.LSN          `json:"checkpoint_lsn"`
	LSN         wal.LSN          `json:"lsn"` // of the last frame applied
	Frames      int64            `json:"frames_replayed"`
	FrameBytes  int64            `json:"bytes_replayed"`
	Copied      Copied           `json:"copied"`
	Metadata    Metadata         `json:"metadata"`
	Partitions  []PartitionHash  `json:"partitions"`
	Equal       int              `json:"equal"`        // partitions
	Different   int              `json:"different"`    // partitions
	JournalOnly int              `json:"journal_only"` // partitions of which the source's files hold nothing yet
	Records     int64            `json:"records"`      // in Out
	Lost        []Loss           `json:"lost"`         // with SkipDamaged
	Torn        int              `json:"torn"`         // interrupted writes at the source's end that were cut: never acknowledged
	Seconds     float64          `json:"seconds"`
}

// Comparison says how a replayed partition compares with the source's files.
type Comparison string

// The comparisons.
const (
	Equal       Comparison = "equal"
	Different   Comparison = "different"
	JournalOnly Comparison = "journal only" // the source's files hold none of it yet
)

// PartitionHash compares one partition. Hashes are SHA-256 over the stored batches in the order of offsets.
type PartitionHash struct {
	Topic     string     `json:"topic"`
	Partition int32      `json:"partition"`
	LogStart  int64      `json:"log_start"`
	End       int64      `json:"end"`
	Records   int64      `json:"records"`
	Bytes     int64      `json:"bytes"`
	SHA256    string     `json:"sha256"`        // of all of it in Out
	Common    int64      `json:"common_end"`    // both sides hold [LogStart, Common)
	Source    string     `json:"source_sha256"` // over what both hold
	Replayed  string     `json:"replayed_sha256"`
	Result    Comparison `json:"result"`
	Status    string     `json:"status"` // of recovery: ok, repaired, undecided, stopped
}

// builder is one run of ToDir.
type builder struct {
	o       DirOptions
	s       *source
	c       *copier
	report  *DirReport
	started time.Time
	sources map[*sourcePart]*digest
	done    int64
	total   int64
}

// ToDir replays a directory into a new one: a clean copy of the same node's directory, as it would be after its next start and a clean stop.
// Errors: vfs.ErrLocked, ErrStarted, *DamageError, ErrRefused if Out exists, *raftlog.DamageError, and those of the disk. After an error
// Out is gone; after a kill it may be there, without an identity: nothing starts on it.
func ToDir(o DirOptions) (*DirReport, error) {
	b := &builder{o: o, started: time.Now(), sources: map[*sourcePart]*digest{}}
	o.Out = filepath.Clean(o.Out)
	if there, err := vfs.Exists(o.FS, o.Out); err != nil {
		return nil, err
	} else if there {
		return nil, fmt.Errorf("%w: %s exists; nothing is overwritten: choose a new name", ErrRefused, o.Out)
	}
	var err error
	if b.s, err = openSource(o.FS, o.Dir, b.count); err != nil {
		return nil, err
	}
	b.total = b.done*3 + 3*b.s.logBytes()
	if err := b.survey(); err != nil {
		return nil, err
	}
	b.c = &copier{fs: o.FS, progress: b.count}
	if err := o.FS.Mkdir(o.Out); err != nil {
		return nil, fmt.Errorf("make the output: %w", err)
	}
	if err := b.build(); err != nil {
		return nil, errors.Join(err, vfs.RemoveAll(o.FS, o.Out))
	}
	b.report.Seconds = time.Since(b.started).Seconds()
	return b.report, nil
}

func (b *builder) count(n int64) {
	b.done += n
	if b.o.Progress != nil {
		b.o.Progress(b.done, max(b.total, b.done))
	}
}

// survey reads the source's partition logs: hashes, and what is lost in them.
func (b *builder) survey() error {
	s := b.s
	for _, p := range s.parts {
		d := newDigest(p.LogStart, p.End)
		b.sources[p] = d
		if p.listed != nil {
			if err := s.files(p, p.LogStart, d.add, func(l Loss) { s.lost = append(s.lost, l) }); err != nil {
				return err
			}
		}
		if p.Truncated {
			continue // what is behind the checkpoint may be of before the cut
		}
		if err := s.behind(p, d.add); err != nil {
			return err
		}
	}
	if len(s.lost) > 0 && !b.o.SkipDamaged {
		return &DamageError{Dir: s.dir, Lost: s.lost}
	}
	return nil
}

// build fills the new directory; the identity comes last.
func (b *builder) build() error {
	fsys, out := b.o.FS, filepath.Clean(b.o.Out)
	if err := b.copyAll(); err != nil {
		return err
	}
	image, meta, err := rebuildMetadata(fsys, out, b.s.id)
	if err != nil {
		return err
	}
	states, err := b.replay(image)
	if err != nil {
		return err
	}
	b.report.Metadata = *meta
	if err := b.compare(states); err != nil {
		return err
	}
	if err := b.s.stillFree(); err != nil {
		return err
	}
	if err := fsys.SyncFS(out); err != nil {
		return err
	}
	if err := b.copyIdentity(); err != nil {
		return err
	}
	return fsys.SyncDir(filepath.Dir(out))
}

// copyAll copies journal, Raft state and the partition logs up to the checkpoint.
func (b *builder) copyAll() error {
	if err := b.preflight(); err != nil {
		return err
	}
	keep := func(name string) bool {
		return !strings.HasPrefix(name, "spare-") && !strings.HasSuffix(name, vfs.TempSuffix)
	}
	for _, dir := range []string{datadir.WalDir, datadir.RaftDir, datadir.EvidenceDir} {
		if err := b.copyDir(dir, keep); err != nil {
			return err
		}
	}
	if err := vfs.MkdirAll(b.o.FS, filepath.Join(b.o.Out, datadir.TopicsDir)); err != nil {
		return err
	}
	for _, p := range b.s.parts {
		if p.listed == nil {
			continue
		}
		if err := b.copyPartition(p); err != nil {
			return err
		}
	}
	ledger := filepath.Join(b.s.dir, datadir.IncidentsFile)
	if there, err := vfs.Exists(b.o.FS, ledger); err != nil || !there {
		return err
	}
	return b.c.file(ledger, filepath.Join(b.o.Out, datadir.IncidentsFile), -1)
}

// preflight makes sure that there is room: for the journal twice, once copied and once as partition logs, and for what cannot be shared.
func (b *builder) preflight() error {
	need := b.s.report.Journal.Bytes + b.s.report.Bytes + b.s.report.Bytes/8
	probe := filepath.Join(b.s.dir, datadir.WalDir, statefile.Names(datadir.ManifestBase)[0])
	test := filepath.Join(b.o.Out, "probe"+vfs.TempSuffix)
	err := vfs.Clone(b.o.FS, probe, test)
	if err == nil {
		err = b.o.FS.Remove(test)
	} else {
		need += b.s.logBytes()
		if errors.Is(err, vfs.ErrNoClone) || errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	}
	if err != nil {
		return err
	}
	return b.c.room(b.o.Out, need)
}

// copyDir copies a directory of the source, if it is there.
func (b *builder) copyDir(name string, keep func(string) bool) error {
	entries, err := b.o.FS.ReadDir(filepath.Join(b.s.dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := vfs.MkdirAll(b.o.FS, filepath.Join(b.o.Out, name)); err != nil {
		return err
	}
	for _, e := range entries {
		rel := filepath.Join(name, e.Name())
		switch {
		case !keep(e.Name()):
			continue
		case e.IsDir():
			err = b.copyDir(rel, keep)
		default:
			err = b.c.file(filepath.Join(b.s.dir, rel), filepath.Join(b.o.Out, rel), -1)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// copyPartition copies what the checkpoint promises of a partition's files, the active segment no further than its size there. If the
// journal is damaged everything is copied: recovery may need the other copy of its records.
func (b *builder) copyPartition(p *sourcePart) error {
	entries, err := b.o.FS.ReadDir(p.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // a loss that was reported
	}
	if err != nil {
		return err
	}
	sizes := map[int64]int64{}
	for _, g := range p.listed.Segments {
		sizes[g.Base] = -1
	}
	if n := len(p.listed.Segments); n > 0 && len(p.Files.Segments) == n {
		sizes[p.listed.Segments[n-1].Base] = p.listed.Segments[n-1].Size
	}
	whole := b.s.report.Worst() != wal.Notice && b.s.report.Worst() != wal.Torn || p.Status == recovery.Repaired
	to := filepath.Join(b.o.Out, datadir.TopicsDir, p.listed.Dir)
	if err := b.o.FS.Mkdir(to); err != nil {
		return err
	}
	for _, e := range entries {
		kind, base, ok := segment.ParseName(e.Name())
		limit, listed := sizes[base]
		switch {
		case !ok || e.IsDir():
			continue // temporary, or not ours
		case !kind.PerSegment() || whole:
			limit = -1
		case !listed && base != p.listed.End:
			continue
		case kind != segment.Log || !listed:
			limit = -1
		}
		if kind == segment.Log && !listed && !whole {
			continue
		}
		if err := b.c.file(filepath.Join(p.dir, e.Name()), filepath.Join(to, e.Name()), limit); err != nil {
			return err
		}
	}
	return nil
}

// replay runs the broker's recovery on the copy, takes a checkpoint, and stops cleanly. It returns the partitions as that checkpoint has them.
func (b *builder) replay(image *metadata.Image) ([]partition.State, error) {
	env := &partition.Env{FS: b.o.FS, Pool: partition.NewPool(0), Now: func() int64 { return time.Now().UnixMilli() }}
	result, err := recovery.Boot(recovery.Options{
		FS: b.o.FS, Dir: filepath.Clean(b.o.Out), DirID: b.s.id.DirectoryID, Env: env, Progress: steps(b.count),
		Wal: wal.Options{Buffered: true, Spares: -1},
		Topic: func(id [16]byte) (string, bool) {
			if t := image.TopicsByID[id]; t != nil {
				return t.Name, true
			}
			if d := image.Deleted[id]; d != nil {
				return d.Name, true
			}
			return "", false
		},
	})
	if err != nil {
		return nil, err
	}
	b.report = &DirReport{
		Source: b.s.dir, Out: filepath.Clean(b.o.Out), Identity: b.s.id, Checkpoint: result.Checkpoint.LSN, LSN: result.Report.Journal.Last,
		Frames: result.Report.Frames, FrameBytes: result.Report.Bytes, Copied: b.c.copied, Lost: append([]Loss{}, b.s.lost...),
		Partitions: []PartitionHash{},
	}
	for _, f := range result.Report.Findings {
		if f.Verdict == wal.Torn {
			b.report.Torn++
		}
	}
	for _, l := range result.Partitions {
		err = errors.Join(err, l.Close())
	}
	err = errors.Join(err, result.Checkpointer.Run())
	env.Pool.Close()
	err = errors.Join(err, result.Log.Close())
	return result.Checkpointer.Last().Partitions, err
}

// compare hashes what was built and compares it with what the source's files hold.
func (b *builder) compare(states []partition.State) error {
	out := &source{fs: b.o.FS, dir: filepath.Clean(b.o.Out), progress: b.count}
	for _, p := range b.s.parts {
		var st *partition.State
		for i := range states {
			if states[i].ID == p.ID && states[i].Partition == p.Identity.Partition {
				st = &states[i]
			}
		}
		if st == nil {
			if p.Status == recovery.Stopped {
				continue // nothing of it was ever in a checkpoint; its loss is reported
			}
			return fmt.Errorf("partition %s (topic id %s) is missing from the replay's checkpoint", p.name(), hex.EncodeToString(p.ID[:]))
		}
		mine := &sourcePart{Identity: st.Identity, dir: filepath.Join(out.dir, datadir.TopicsDir, st.Dir)}
		mine.Files, mine.LogStart, mine.End = *st, st.LogStart, st.End
		if err := b.comparePart(out, p, mine); err != nil {
			return err
		}
	}
	return nil
}

func (b *builder) comparePart(out *source, p, mine *sourcePart) error {
	theirs := b.sources[p]
	whole, common := newDigest(mine.LogStart, mine.End), newDigest(mine.LogStart, theirs.next)
	err := out.files(mine, mine.LogStart, func(h *batch.Header, raw []byte) error {
		return cmp.Or(whole.add(h, raw), common.add(h, raw))
	}, func(Loss) {})
	if err != nil {
		return err
	}
	h := PartitionHash{
		Topic: p.Topic, Partition: p.Identity.Partition, LogStart: mine.LogStart, End: mine.End, Records: whole.records, Bytes: whole.bytes,
		SHA256: whole.hex(), Common: theirs.next, Source: theirs.hex(), Replayed: common.hex(), Result: Equal, Status: string(p.Status),
	}
	switch {
	case h.Source != h.Replayed:
		h.Result = Different
		b.report.Different++
	case theirs.batches == 0 && whole.batches > 0:
		h.Result = JournalOnly
		b.report.JournalOnly++
	default:
		b.report.Equal++
	}
	b.report.Records += whole.records
	b.report.Partitions = append(b.report.Partitions, h)
	return nil
}

// copyIdentity writes both copies of the identity as the valid one of the source has it.
func (b *builder) copyIdentity() error {
	from := b.s.copies[0]
	if other := b.s.copies[1]; from.State != statefile.OK || other.State == statefile.OK && other.Seq > from.Seq {
		from = other
	}
	data, err := vfs.ReadFile(b.o.FS, from.Name, statefile.MaxBody)
	if err != nil {
		return err
	}
	for _, name := range statefile.Names(filepath.Join(b.o.Out, datadir.IdentityBase)) {
		if err := vfs.WriteFile(b.o.FS, name, data); err != nil {
			return err
		}
	}
	return nil
}
