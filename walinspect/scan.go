package walinspect

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"chronik.dev/chronik/broker/batch"
	"chronik.dev/chronik/broker/datadir"
	"chronik.dev/chronik/broker/segment"
	"chronik.dev/chronik/broker/statefile"
	"chronik.dev/chronik/broker/vfs"
	"chronik.dev/chronik/broker/wal"
)

// Entry is one file of an inventory.
type Entry struct {
	File        string  `json:"file"`
	Kind        string  `json:"kind"`
	Size        int64   `json:"size"`
	Segment     uint64  `json:"segment,omitempty"` // of a journal
	FirstLSN    wal.LSN `json:"first_lsn,omitempty"`
	LastLSN     wal.LSN `json:"last_lsn,omitempty"`
	Topic       string  `json:"topic,omitempty"`
	Partition   *int32  `json:"partition,omitempty"`
	FirstOffset *int64  `json:"first_offset,omitempty"`
	LastOffset  *int64  `json:"last_offset,omitempty"`
	Items       int64   `json:"items,omitempty"` // frames or batches
	FirstTime   int64   `json:"first_time,omitempty"`
	LastTime    int64   `json:"last_time,omitempty"` // ms
	Note        string  `json:"note,omitempty"`
}

// Range says which LSNs or offsets the file holds, for people.
func (e *Entry) Range() string {
	switch {
	case e.FirstOffset != nil && *e.LastOffset >= *e.FirstOffset:
		return fmt.Sprintf("offset %d-%d", *e.FirstOffset, *e.LastOffset)
	case e.FirstOffset != nil:
		return fmt.Sprintf("offset %d-", *e.FirstOffset)
	case e.LastLSN >= e.FirstLSN && e.FirstLSN > 0:
		return fmt.Sprintf("LSN %d-%d", e.FirstLSN, e.LastLSN)
	case e.FirstLSN > 0:
		return fmt.Sprintf("LSN %d-", e.FirstLSN)
	}
	return ""
}

// ScanSummary ends an inventory.
type ScanSummary struct {
	Target string `json:"target"`
	Kind   Kind   `json:"kind"`
	Files  int    `json:"files"`
	Size   int64  `json:"size"`
}

// scanner is one inventory.
type scanner struct {
	t    *Target
	emit func(*Entry) error
	sum  ScanSummary
	logs map[string]Entry // what is known of the files of journals, by path
}

// Scan lists every file below the target, in the order of names. Journals are read for their ranges; of partition segments the first and
// last batch are.
func (t *Target) Scan(emit func(*Entry) error) (*ScanSummary, error) {
	s := &scanner{t: t, emit: emit, sum: ScanSummary{Target: t.Path, Kind: t.Kind}, logs: map[string]Entry{}}
	for _, l := range s.journals() {
		if err := s.journal(l.dir, l.kind); err != nil {
			return &s.sum, err
		}
	}
	info, err := t.fs.Stat(t.Path)
	if err != nil {
		return &s.sum, err
	}
	if !info.IsDir() {
		return &s.sum, s.file(filepath.Clean(t.Path), info.Size())
	}
	return &s.sum, s.walk(filepath.Clean(t.Path))
}

type journalDir struct {
	dir  string
	kind wal.Kind
}

// journals lists the journals and Raft logs that the target holds.
func (s *scanner) journals() []journalDir {
	t := s.t
	switch t.Kind {
	case DataDir:
		return []journalDir{{filepath.Join(t.Root, datadir.WalDir), wal.Journal}, {filepath.Join(t.Root, datadir.RaftDir), wal.Raft}}
	case JournalDir:
		return []journalDir{{filepath.Clean(t.Path), wal.Journal}}
	case RaftDir:
		return []journalDir{{filepath.Clean(t.Path), wal.Raft}}
	case JournalFile:
		return []journalDir{{filepath.Dir(filepath.Clean(t.Path)), t.logKind()}}
	}
	return nil
}

// journal notes what the segments of a journal hold. A directory that cannot be read at all leaves its files to their names.
func (s *scanner) journal(dir string, kind wal.Kind) error {
	inv, err := s.t.inspect(dir, kind, false, nil)
	if err != nil {
		return nil
	}
	for i := range inv.Segments {
		g := &inv.Segments[i]
		e := Entry{Kind: kind.String() + " segment", Segment: g.ID, FirstLSN: g.FirstLSN, LastLSN: g.LastLSN, Items: g.Frames, FirstTime: g.FirstTime, LastTime: g.LastTime}
		var notes []string
		if g.Sealed {
			notes = append(notes, "sealed")
		}
		if g.Growing {
			notes = append(notes, "growing")
		}
		if g.Cut != nil {
			notes = append(notes, fmt.Sprintf("cut at byte %d, incident %s", int64(g.Cut.Block)*wal.BlockSize, g.Cut.Incident))
		}
		e.Note = strings.Join(notes, ", ")
		s.logs[filepath.Clean(g.File)] = e
	}
	for _, g := range inv.Spares {
		s.logs[filepath.Clean(g.File)] = Entry{Kind: "spare " + kind.String() + " segment", Note: g.Why}
	}
	for i := range inv.Findings {
		path := filepath.Clean(inv.Findings[i].File)
		e, ok := s.logs[path]
		if !ok || inv.Findings[i].Verdict == wal.Notice {
			continue
		}
		if !strings.Contains(e.Note, "damaged") {
			e.Note = strings.TrimPrefix(e.Note+", damaged: run wal verify", ", ")
			s.logs[path] = e
		}
	}
	return nil
}

func (s *scanner) walk(dir string) error {
	entries, err := s.t.fs.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if e.IsDir() {
			err = s.walk(path)
		} else {
			err = s.file(path, e.Size())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *scanner) file(path string, size int64) error {
	s.sum.Files++
	s.sum.Size += size
	e, ok := s.logs[path]
	if !ok {
		e = s.describe(path, size)
	}
	e.File, e.Size = s.t.rel(path), size
	return s.emit(&e)
}

// describe says what a file is by its name and place.
func (s *scanner) describe(path string, size int64) Entry {
	name, parent := filepath.Base(path), filepath.Base(filepath.Dir(path))
	if kind, base, ok := segment.ParseName(name); ok {
		return s.partitionFile(path, kind, base, size)
	}
	if base, ok := statefile.Base(name); ok {
		switch base {
		case datadir.IdentityBase, datadir.ManifestBase, datadir.CheckpointBase, datadir.HardStateBase:
			return Entry{Kind: base + " copy"}
		}
	}
	switch {
	case name == datadir.IncidentsFile:
		return Entry{Kind: "incident ledger"}
	case name == reserveName && (parent == datadir.WalDir || parent == datadir.RaftDir):
		return Entry{Kind: "space reserve", Note: "given up when the disk is full"}
	case parent == datadir.SnapshotsDir:
		return Entry{Kind: "Raft snapshot"}
	case s.below(path, datadir.EvidenceDir):
		return Entry{Kind: "evidence"}
	case s.below(path, datadir.RepairsDir):
		return Entry{Kind: "repair"}
	case s.below(path, datadir.QuarantineDir):
		return Entry{Kind: "quarantined"}
	case strings.HasSuffix(name, vfs.TempSuffix):
		return Entry{Kind: "temporary", Note: "left by an interrupted write"}
	case s.t.Kafka:
		if kind, ok := kafkaFiles[name]; ok {
			return Entry{Kind: kind}
		}
	}
	return Entry{Kind: "unknown", Note: "not a file that this release knows"}
}

// reserveName is the file in wal/ and raft/ that keeps space for metadata and repair.
const reserveName = "reserve"

// kafkaFiles are the files at the top of an Apache Kafka log directory.
var kafkaFiles = map[string]string{
	kafkaMeta: "Kafka broker metadata", kafkaRecoveryPoints: "Kafka recovery points", kafkaHighWatermarks: "Kafka high watermarks",
	kafkaLogStarts: "Kafka log start offsets", kafkaCleanerOffsets: "Kafka cleaner offsets", kafkaCleanShutdown: "Kafka clean stop", kafkaLock: "Kafka lock",
	"bootstrap.checkpoint": "Kafka bootstrap metadata", "quorum-state": "Kafka Raft state",
}

func (s *scanner) below(path, folder string) bool {
	return s.t.Root != "" && strings.HasPrefix(path, filepath.Join(s.t.Root, folder)+string(filepath.Separator))
}

// kinds of the files of a partition directory, for people.
var segmentKinds = map[segment.Kind]string{
	segment.Log: "partition segment", segment.Index: "offset index", segment.TimeIndex: "time index", segment.Snapshot: "producer snapshot",
	segment.TxnIndex: "aborted transactions", segment.EpochFile: "leader epochs", segment.MetaFile: "partition metadata", segment.SumsFile: "checksums",
}

func (s *scanner) partitionFile(path string, kind segment.Kind, base, size int64) Entry {
	e := Entry{Kind: segmentKinds[kind]}
	if topic, number, ok := partitionName(filepath.Base(filepath.Dir(path))); ok {
		e.Topic, e.Partition = topic, &number
	}
	if kind != segment.Log || size == 0 {
		return e
	}
	f, err := s.t.fs.OpenFile(path, os.O_RDONLY)
	if err == nil {
		err = errors.Join(s.rangeOf(&e, f, path, base, size), f.Close())
	}
	if err != nil {
		e.Note = "damaged: run wal verify"
	}
	return e
}

// rangeOf finds a partition segment's offsets and times: the first batch begins it, the next segment ends it, and where there is none the
// headers are followed to the end. The records are not read.
func (s *scanner) rangeOf(e *Entry, f vfs.File, path string, base, size int64) error {
	first, err := header(f, 0)
	if err != nil {
		return err
	}
	e.FirstOffset, e.LastOffset, e.FirstTime = &first.BaseOffset, new(int64), first.BaseTimestamp
	bases, err := s.t.segments(filepath.Dir(path))
	if err != nil {
		return err
	}
	if i := slices.Index(bases, base); i >= 0 && i+1 < len(bases) {
		*e.LastOffset, e.LastTime = bases[i+1]-1, s.lastTime(path, base)
		return nil
	}
	for pos := int64(0); pos < size; {
		h, err := header(f, pos)
		if err != nil || pos+int64(h.Size()) > size {
			return cmp.Or(err, io.ErrUnexpectedEOF)
		}
		*e.LastOffset, e.LastTime = h.LastOffset(), max(e.LastTime, h.MaxTimestamp)
		pos += int64(h.Size())
	}
	return nil
}

// lastTime is the time in the last entry of the segment's time index; 0 if there is none.
func (s *scanner) lastTime(path string, base int64) int64 {
	name := filepath.Join(filepath.Dir(path), segment.TimeIndex.Name(base))
	info, err := s.t.fs.Stat(name)
	if err != nil || info.Size() < segment.TimeEntrySize {
		return 0
	}
	f, err := s.t.fs.OpenFile(name, os.O_RDONLY)
	if err != nil {
		return 0
	}
	entry := make([]byte, segment.TimeEntrySize)
	_, err = f.ReadAt(entry, info.Size()/segment.TimeEntrySize*segment.TimeEntrySize-segment.TimeEntrySize)
	if errors.Join(err, f.Close()) != nil {
		return 0
	}
	return int64(binary.BigEndian.Uint64(entry))
}

// header reads the batch header at pos.
func header(f vfs.File, pos int64) (batch.Header, error) {
	head := make([]byte, batch.HeaderSize)
	n, err := f.ReadAt(head, pos)
	if n < len(head) {
		return batch.Header{}, cmp.Or(err, io.ErrUnexpectedEOF)
	}
	return batch.Parse(head)
}
