package walinspect

import (
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"chronik.dev/chronik/broker/batch"
	"chronik.dev/chronik/broker/datadir"
	"chronik.dev/chronik/broker/partition"
	"chronik.dev/chronik/broker/recovery"
	"chronik.dev/chronik/broker/segment"
	"chronik.dev/chronik/broker/wal"
)

// Errors of Stats that callers tell apart.
var (
	// ErrNoTopics says that a target holds no topic's records.
	ErrNoTopics = errors.New("it holds no records of topics")
	// ErrMoving says that a running node freed its journal faster than it could be read.
	ErrMoving = errors.New("the node made checkpoints while its journal was read")
)

// StatsOptions say what Stats counts.
type StatsOptions struct {
	Topic      string // only this one; empty = all
	Partitions bool   // a row per partition, not per topic
}

// StatsSummary ends a count.
type StatsSummary struct {
	Target     string              `json:"target"`
	Kind       Kind                `json:"kind"`
	Live       bool                `json:"live,omitempty"`
	Topics     int                 `json:"topics"`
	Partitions int                 `json:"partitions"`
	Batches    int64               `json:"batches"`
	Records    int64               `json:"records"`
	Size       int64               `json:"size"`               // of batches, bytes
	LastLSN    wal.LSN             `json:"last_lsn,omitempty"` // of the journal, as far as it was counted
	Verdict    wal.Verdict         `json:"verdict"`            // the gravest of what was left out; "notice" if nothing was
	Findings   map[wal.Verdict]int `json:"findings"`           // how many of each; Verify names them
	Bytes      int64               `json:"bytes_read"`
	Seconds    float64             `json:"seconds"`
	Next       string              `json:"next,omitempty"` // the command that names what was left out
}

// stats is one count.
type stats struct {
	t    *Target
	o    StatsOptions
	v    *verifier // judges what cannot be counted
	rows map[statsKey]*tally
	last wal.LSN
}

type statsKey struct {
	topic     string
	partition int32 // -1: all of them
}

// Stats counts a target's records: of a data directory those that a node would serve after its next start, each once, wherever it lies; of a part of
// one, and of Apache Kafka's directories, those that are in the files. It decompresses every batch, goes on past damage, which is counted apart,
// and hands over a row per topic, in the order of names. Memory depends on the number of topics only. Errors: ErrStarted, as Verify; ErrNoTopics;
// ErrMoving; those of the disk and of a journal that a node would not start on; an error of emit.
func (t *Target) Stats(o StatsOptions, emit func(*TopicStats) error) (*StatsSummary, error) {
	began := time.Now()
	s := &stats{t: t, o: o, rows: map[statsKey]*tally{}}
	s.v = &verifier{t: t, level: Default, emit: func(*Finding) error { return nil }, sum: Verification{Verdict: wal.Notice, Findings: map[wal.Verdict]int{}}}
	t.measure()
	err := s.run()
	sum := &StatsSummary{Target: t.Path, Kind: t.Kind, Live: t.live, LastLSN: s.last}
	if err != nil {
		return sum, err
	}
	names := map[string]bool{}
	for _, row := range s.sorted() {
		names[row.Topic] = true
		sum.Partitions += row.Partitions
		sum.Batches += row.Batches
		sum.Records += row.Records
		sum.Size += row.Bytes
		if err := emit(row); err != nil {
			return sum, err
		}
	}
	sum.Topics = len(names)
	sum.Verdict, sum.Findings = s.v.sum.Verdict, s.v.sum.Findings
	if sum.Verdict != wal.Notice {
		sum.Next = "chronik wal verify " + quote(t.Path)
	}
	sum.Bytes, sum.Seconds = t.fs.done.Load(), time.Since(began).Seconds()
	if s.v.started {
		return sum, ErrStarted
	}
	return sum, nil
}

func (s *stats) sorted() []*TopicStats {
	rows := make([]*TopicStats, 0, len(s.rows))
	for _, t := range s.rows {
		rows = append(rows, t.finish())
	}
	slices.SortFunc(rows, func(a, b *TopicStats) int {
		c := cmp.Compare(a.Topic, b.Topic)
		if c == 0 && a.Partition != nil {
			c = cmp.Compare(*a.Partition, *b.Partition)
		}
		return c
	})
	return rows
}

func (s *stats) run() error {
	t := s.t
	path := filepath.Clean(t.Path)
	switch t.Kind {
	case DataDir:
		return s.dataDir()
	case JournalDir:
		return s.journal(path, "")
	case JournalFile:
		if t.logKind() == wal.Raft {
			return fmt.Errorf("%s: %w: it is of Raft's log; use chronik raft dump", t.Path, ErrNoTopics)
		}
		return s.journal(filepath.Dir(path), path)
	case TopicsDir, KafkaDir:
		return s.topics(path)
	case PartitionDir:
		return s.partition(path, s.floors())
	case LogFile:
		p := s.place(filepath.Dir(path), s.floors())
		_, base, _ := segment.ParseName(filepath.Base(path))
		return s.file(p, base, -1, 0)
	}
	return fmt.Errorf("%s: %w: it is a %s; use chronik raft dump", t.Path, ErrNoTopics, t.Kind)
}

// count adds a batch to its row.
func (s *stats) count(topic string, number int32, h *batch.Header, raw []byte, from int64) error {
	if s.o.Topic != "" && topic != s.o.Topic {
		return nil
	}
	key := statsKey{topic, -1}
	if s.o.Partitions {
		key.partition = number
	}
	row := s.rows[key]
	if row == nil {
		row = &tally{places: map[int32]struct{}{}, producers: map[producerPlace]*lastSeen{}}
		row.Topic = topic
		if s.o.Partitions {
			row.Partition = &number
		}
		s.rows[key] = row
	}
	return row.add(number, h, raw, from)
}

// statsTries is how often the journal of a running node is read anew because a checkpoint came in between.
const statsTries = 8

// dataDir counts what a node would serve: partition logs up to the checkpoint, the journal behind it, less what was deleted or cut off.
func (s *stats) dataDir() error {
	starts := map[partition.Identity]int64{}
	for try := 1; ; try++ {
		outcomes, checkpoint, err := s.replay(starts)
		if err != nil {
			return err
		}
		again := false
		if c := s.t.checkpoint(); s.t.live && (c == nil || c.LSN != checkpoint) {
			if try >= statsTries {
				return fmt.Errorf("%s: %w, %d times; try again, or count its topics/ alone", s.t.Path, ErrMoving, try)
			}
			again = true
		}
		for i := range outcomes {
			o := &outcomes[i]
			again = again || o.LogStart > max(o.Files.End, starts[o.Files.Identity]) // the journal deletes records that it holds
			starts[o.Files.Identity] = o.LogStart
		}
		if again {
			continue
		}
		for i := range outcomes {
			if err := s.files(&outcomes[i]); err != nil {
				return err
			}
		}
		return nil
	}
}

// replay has recovery tell what it would take from the journal, and count it; records below starts are deleted.
func (s *stats) replay(starts map[partition.Identity]int64) (outcomes []recovery.Outcome, checkpoint wal.LSN, err error) {
	t := s.t
	s.rows = map[statsKey]*tally{}
	s.v.sum.Verdict, s.v.sum.Findings = wal.Notice, map[wal.Verdict]int{}
	var found []Finding
	report, err := recovery.Check(recovery.CheckOptions{
		FS: t.fs, Dir: t.Root, DirID: t.dirID, Durable: t.live,
		Batch: func(id partition.Identity, h *batch.Header, raw []byte) error {
			if h.LastOffset() < starts[id] {
				return nil
			}
			if err := s.count(id.Topic, id.Partition, h, raw, starts[id]); err != nil {
				found = append(found, s.undecoded(filepath.Join(t.Root, datadir.WalDir), id.Topic, id.Partition, 0, h, err))
			}
			return nil
		},
		Partition: func(o recovery.Outcome) { outcomes = append(outcomes, o) },
	})
	if err != nil {
		return nil, 0, fmt.Errorf("%w; its partition logs alone: chronik wal stats %s", err, quote(filepath.Join(t.Root, datadir.TopicsDir)))
	}
	s.last = report.Journal.Last
	if t.live {
		s.last = min(s.last, report.Journal.Floor)
	}
	for i := range report.Findings {
		found = append(found, t.fromJournal(&report.Findings[i].Finding))
	}
	for i := range report.Partitions {
		found = append(found, t.fromRecovery(&report.Partitions[i])...)
	}
	return outcomes, report.Checkpoint.LSN, s.v.unlessStarted(found)
}

// undecoded is the finding for a batch whose CRC is right and whose records are not.
func (s *stats) undecoded(path, topic string, number int32, at int64, h *batch.Header, err error) Finding {
	first, last := h.BaseOffset, h.LastOffset()
	return Finding{Verdict: wal.Corrupt, File: s.t.rel(path), Offset: at, Length: int64(h.Size()), Record: "batch", Reason: string(segment.BadRecords),
		Topic: topic, Partition: &number, FirstOffset: &first, LastOffset: &last, Evidence: err.Error()}
}

// files counts the segments of a partition up to what the checkpoint promises, from its log start on.
func (s *stats) files(o *recovery.Outcome) error {
	if s.o.Topic != "" && o.Files.Topic != s.o.Topic {
		return nil
	}
	dir := filepath.Join(s.t.Root, datadir.TopicsDir, o.Files.Dir)
	p := &place{dir: dir, topic: o.Files.Topic, number: o.Files.Partition, state: &o.Files, only: -1}
	segments := o.Files.Segments
	for i, g := range segments {
		if g.Size == 0 || i+1 < len(segments) && segments[i+1].Base <= o.LogStart {
			continue
		}
		if err := s.file(p, g.Base, g.Size, o.LogStart); err != nil {
			return err
		}
	}
	return nil
}

// topics counts every partition directory below dir.
func (s *stats) topics(dir string) error {
	dirs, err := s.t.sortedPartitions(dir)
	if err != nil {
		return err
	}
	floors := s.floors()
	for _, d := range dirs {
		if topic, _, _ := partitionName(filepath.Base(d)); strings.HasSuffix(d, "-delete") || s.o.Topic != "" && topic != s.o.Topic {
			continue
		}
		if err := s.partition(d, floors); err != nil {
			return err
		}
	}
	return nil
}

// floors are the recovery points of an Apache Kafka log directory.
func (s *stats) floors() *kafkaFloors {
	if s.t.Kafka && s.t.Root != "" {
		return s.v.floors()
	}
	return nil
}

// place is a partition directory with what is promised of it.
func (s *stats) place(dir string, floors *kafkaFloors) *place {
	p := s.t.placeOf(dir, nil)
	if floors != nil {
		s.v.kafkaFloor(p, floors)
	}
	if bases, err := s.t.segments(dir); err == nil && len(bases) > 0 {
		p.lastLog = bases[len(bases)-1]
	}
	return p
}

// partition counts every segment of a partition directory as it is.
func (s *stats) partition(dir string, floors *kafkaFloors) error {
	bases, err := s.t.segments(dir)
	if err != nil {
		return err
	}
	p := s.place(dir, floors)
	for _, base := range bases {
		if err := s.file(p, base, -1, 0); err != nil {
			return err
		}
	}
	return nil
}

// file counts one segment: size bytes of it (-1: all), from an offset on.
func (s *stats) file(p *place, base, size, from int64) error {
	name := segment.Log.Name(base)
	path := filepath.Join(p.dir, name)
	_, err := segment.Verify(s.t.fs, p.dir, base, segment.VerifyOptions{
		Size: size,
		Batch: func(pos int64, h batch.Header, raw []byte) error {
			if h.LastOffset() < from {
				return nil
			}
			if err := s.count(p.topic, p.number, &h, raw, from); err != nil {
				s.v.report(s.undecoded(path, p.topic, p.number, pos, &h, err))
			}
			return nil
		},
	}, func(f segment.Finding) {
		if f.File == name {
			s.v.partitionFinding(p, f)
		}
	})
	if err != nil && s.t.live && errors.Is(err, fs.ErrNotExist) {
		return nil // retention, meanwhile
	}
	if err != nil {
		s.v.report(s.t.ioFinding(path, "segment", err))
	}
	return nil
}

// journal counts the batches of a journal's frames, whatever became of them; only limits it to one file.
func (s *stats) journal(dir, only string) error {
	floor := wal.LSN(0)
	if s.t.live {
		inv, err := s.t.inspect(dir, wal.Journal, false, nil)
		if err != nil {
			return err
		}
		floor = inv.Floor
	}
	inv, err := s.t.inspect(dir, wal.Journal, false, func(g *wal.Group) error {
		for i := range g.Frames {
			f := &g.Frames[i]
			if f.Type == wal.Opened {
				s.t.names[f.ID] = string(f.Payload)
			}
			if f.Type != wal.Batch || only != "" && filepath.Clean(g.File) != only || s.t.live && f.LSN > floor {
				continue
			}
			s.last = f.LSN
			topic := cmp.Or(s.t.names[f.ID], "id:"+hex.EncodeToString(f.ID[:]))
			h, err := batch.CheckStored(f.Payload)
			if err == nil {
				err = s.count(topic, f.Partition, &h, f.Payload, 0)
			}
			if err != nil {
				s.v.report(s.undecoded(g.File, topic, f.Partition, g.Offset, &h, err))
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	var found []Finding
	for i := range inv.Findings {
		if only == "" || filepath.Clean(inv.Findings[i].File) == only {
			found = append(found, s.t.fromJournal(&inv.Findings[i]))
		}
	}
	return s.v.unlessStarted(found)
}
