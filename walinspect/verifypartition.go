package walinspect

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"chronik.dev/chronik/broker/batch"
	"chronik.dev/chronik/broker/partition"
	"chronik.dev/chronik/broker/segment"
	"chronik.dev/chronik/broker/wal"
)

// place is a partition directory and what is promised of it.
type place struct {
	dir    string
	topic  string
	number int32
	state  *partition.State // of the checkpoint; nil: not chronik's, or not known
	only   int64            // verify this segment only; -1: all

	kafka   bool
	clean   bool  // Kafka's marker of a clean stop
	known   bool  // floor is known
	floor   int64 // Kafka: records below this offset were promised durable
	lastLog int64 // base offset of the last segment
	epochs  epochCheck
}

func (t *Target) placeOf(dir string, state *partition.State) *place {
	topic, number, _ := partitionName(filepath.Base(dir))
	return &place{dir: dir, topic: topic, number: number, state: state, only: -1, kafka: t.Kafka}
}

// sizeOf is how many bytes of a segment's .log are promised; -1 all that are there.
func (p *place) sizeOf(base int64) int64 {
	if p.state == nil {
		return -1
	}
	for _, s := range p.state.Segments {
		if s.Base == base {
			return s.Size
		}
	}
	return 0 // newer than the checkpoint, or below the log start
}

// partition verifies one partition directory.
func (v *verifier) partition(p *place) error {
	bases, err := v.t.segments(p.dir)
	if err != nil {
		v.report(v.t.ioFinding(p.dir, "partition directory", err))
		return nil
	}
	v.sum.Partitions++
	if p.state != nil {
		v.promised(p, bases)
	}
	v.learnEpochs(p)
	next := int64(-1)
	for i, base := range bases {
		if p.only >= 0 && base != p.only {
			continue
		}
		p.lastLog = bases[len(bases)-1]
		size := p.sizeOf(base)
		if size == 0 && p.state != nil {
			continue
		}
		if next, err = v.segment(p, base, size, next); err != nil || v.failed != nil {
			return err
		}
		if i+1 < len(bases) && p.only < 0 && next > bases[i+1] {
			v.partitionFinding(p, segment.Finding{File: segment.Log.Name(bases[i+1]), Record: "segment", Reason: segment.BadOffset,
				Detail: fmt.Sprintf("it begins at offset %d, but the one before it ends at %d", bases[i+1], next), First: bases[i+1], Last: next - 1})
		}
	}
	v.endEpochs(p)
	if v.level == Fast || p.only >= 0 {
		return nil
	}
	return v.smallFiles(p)
}

// promised reports segments that the checkpoint names and the directory lacks, and a partition that recovery stopped.
func (v *verifier) promised(p *place, bases []int64) {
	there := map[int64]bool{}
	for _, b := range bases {
		there[b] = true
	}
	for _, s := range p.state.Segments {
		if !there[s.Base] && s.Size > 0 {
			v.partitionFinding(p, segment.Finding{File: segment.Log.Name(s.Base), Length: s.Size, Record: "segment", Reason: segment.MissingFile,
				Detail: fmt.Sprintf("the checkpoint at LSN %d lists it with %d bytes", p.state.LSN, s.Size), First: s.Base, Last: s.Base - 1})
		}
	}
	if p.state.Held != 0 {
		f := Finding{
			Verdict: wal.Corrupt, File: v.t.rel(p.dir), Record: "partition", Reason: "stopped", Topic: p.topic, Partition: &p.number,
			FirstLSN: p.state.LSN + 1, LastLSN: p.state.Held,
			Evidence: fmt.Sprintf("recovery stopped it: %s; its newer frames are kept in %s", p.state.HeldReason, p.state.HeldFile),
		}
		f.Next = v.t.next(&f, filepath.Join(p.dir, segment.MetaFileName))
		v.report(f)
	}
}

// missingPartition reports a directory that the checkpoint names and that is not there.
func (v *verifier) missingPartition(topics, name string, state *partition.State) {
	if len(state.Segments) == 0 || v.failed != nil {
		return
	}
	p := v.t.placeOf(filepath.Join(topics, name), state)
	var bytes int64
	for _, s := range state.Segments {
		bytes += s.Size
	}
	v.partitionFinding(p, segment.Finding{Record: "partition directory", Length: bytes, Reason: segment.MissingFile,
		Detail: fmt.Sprintf("the checkpoint at LSN %d lists it", state.LSN), First: state.LogStart, Last: state.End - 1})
}

// segment verifies one segment and returns the offset after its last batch.
func (v *verifier) segment(p *place, base, size, next int64) (int64, error) {
	o := segment.VerifyOptions{Size: size, Grown: v.mayHaveGrown(p), Deep: v.level == Deep, DecompressLimit: maxRecords}
	if i := p.listed(base); i >= 0 && (v.level == Deep || o.Grown) { // of a grown one only so is it known which entries were durable; begun behind the checkpoint: its shape is in the journal only
		o.Exact, o.IndexIntervalBytes = true, p.state.Segments[i].Shape.IndexInterval
		o.Sealed = i < len(p.state.Segments)-1
	}
	o.Batch = func(pos int64, h batch.Header, _ []byte) error {
		v.checkEpoch(p, base, pos, &h)
		return v.failed
	}
	sum, err := segment.Verify(v.t.fs, p.dir, base, o, func(f segment.Finding) {
		if v.level == Fast && f.Record != "batch" && f.Record != "file" {
			return
		}
		v.partitionFinding(p, f)
	})
	if err != nil {
		v.report(v.t.ioFinding(filepath.Join(p.dir, segment.Log.Name(base)), "segment", err))
		return next, nil
	}
	v.sum.Batches += sum.Batches
	v.sum.Records += sum.Records
	return sum.NextOffset, nil
}

// mayHaveGrown says whether files of a partition can be newer than the checkpoint: its journal goes on behind it, or was not read.
func (v *verifier) mayHaveGrown(p *place) bool {
	return p.state != nil && (v.grown == nil || v.grown[filepath.Base(p.dir)])
}

// listed is where the checkpoint lists a segment, -1 if it does not.
func (p *place) listed(base int64) int {
	if p.state == nil {
		return -1
	}
	return slices.IndexFunc(p.state.Segments, func(s partition.SegmentState) bool { return s.Base == base })
}

// between says whether a finding is of what the cleaner left half made when the node died: the next start makes it anew.
func (v *verifier) between(p *place, s *segment.Finding) bool {
	kind, base, _ := segment.ParseName(s.File)
	return p.state != nil && kind.PerSegment() && slices.Contains(v.cleaned[filepath.Base(p.dir)], base) && s.Reason != segment.IOError &&
		(kind != segment.Log || s.Record == "sum" || s.Record == "file") // recovery compares its size and CRC with both versions
}

// partitionFinding words a finding of package segment and judges it.
func (v *verifier) partitionFinding(p *place, s segment.Finding) {
	if v.failed != nil || v.between(p, &s) {
		return
	}
	path := filepath.Join(p.dir, s.File)
	f := Finding{File: v.t.rel(path), Offset: s.Offset, Length: s.Length, Record: s.Record, Reason: string(s.Reason), Topic: p.topic, Partition: &p.number}
	if s.Last >= s.First {
		f.FirstOffset, f.LastOffset = &s.First, &s.Last
		f.Record = fmt.Sprintf("%s of offsets %d-%d", s.Record, s.First, s.Last)
	}
	var why string
	f.Verdict, why = p.judge(&s)
	if kind, _, _ := segment.ParseName(s.File); kind == segment.EpochFile && s.Reason != segment.IOError && v.mayHaveGrown(p) {
		f.Verdict, why = wal.Notice, "written anew behind the checkpoint, which holds the epochs too; the node writes it again"
	}
	f.Evidence = strings.TrimPrefix(s.Detail+"; "+why, "; ")
	f.Next = v.t.next(&f, path)
	v.report(f)
}

// judge says what damage in a partition directory means, and why.
func (p *place) judge(s *segment.Finding) (wal.Verdict, string) {
	kind, base, _ := segment.ParseName(s.File)
	derived := kind == segment.Index || kind == segment.TimeIndex
	switch {
	case s.Reason == segment.IOError:
		return wal.IOError, "the disk does not read it"
	case p.state != nil && kind == segment.Snapshot && p.listed(base) < 0:
		return wal.Notice, "newer than the checkpoint, which promises nothing of it: nothing depends on it, and the next start removes it"
	case s.Reason == segment.BadVersion:
		return wal.UnknownVersion, "written by another release"
	case p.state != nil && derived:
		return wal.Corrupt, "the file is derived from the batches: no record is lost"
	case p.state != nil:
		return wal.Corrupt, fmt.Sprintf("the checkpoint at LSN %d promised these bytes", p.state.LSN)
	case p.kafka && p.clean:
		return wal.Corrupt, "the broker stopped cleanly, so everything was synced"
	case p.kafka && p.known && kind == segment.Log && s.First < p.floor:
		return wal.Corrupt, fmt.Sprintf("below the recovery point %d, so it was synced", p.floor)
	case p.kafka && p.known && derived && base < p.lastLog && p.floor > base:
		return wal.Corrupt, "the index of a synced segment; no record is lost, it is derived from the batches"
	case p.kafka && p.known:
		return wal.Undecided, fmt.Sprintf("past the recovery point %d: an interrupted write, or rot", p.floor)
	case base < p.lastLog:
		return wal.Corrupt, "in a segment before the last one, so it was written long ago"
	}
	return wal.Undecided, "no checkpoint or recovery point is known for this file alone"
}

// onePartition verifies a partition directory, or one segment of it.
func (v *verifier) onePartition() error {
	t := v.t
	path := filepath.Clean(t.Path)
	dir, only := path, int64(-1)
	if t.Kind == LogFile {
		dir = filepath.Dir(path)
		_, only, _ = segment.ParseName(filepath.Base(path))
	}
	var state *partition.State
	if c := t.checkpoint(); c != nil {
		v.judgeFiles()
		for i := range c.Partitions {
			if c.Partitions[i].Dir == filepath.Base(dir) {
				state = v.promise(&c.Partitions[i])
			}
		}
		if state == nil {
			return nil // newer than the checkpoint: all of it is in the journal; or deleted there
		}
	}
	p := t.placeOf(dir, state)
	p.only = only
	if t.Kafka && t.Root != "" {
		v.kafkaFloor(p, v.floors())
	}
	return v.partition(p)
}

// kafkaDir verifies every partition of an Apache Kafka log directory.
func (v *verifier) kafkaDir() error {
	floors := v.floors()
	dirs, err := v.t.sortedPartitions(v.t.Root)
	if err != nil {
		return err
	}
	return v.partitions(func(yield func(*place) bool) {
		for _, d := range dirs {
			p := v.t.placeOf(d, nil)
			v.kafkaFloor(p, floors)
			if !yield(p) {
				return
			}
		}
	})
}

// floors reads Kafka's recovery points; a file that cannot be read is a finding, and nothing is known then.
func (v *verifier) floors() *kafkaFloors {
	floors, err := readKafkaFloors(v.t.fs, v.t.Root)
	if err == nil {
		return floors
	}
	path := filepath.Join(v.t.Root, kafkaRecoveryPoints)
	f := Finding{Verdict: wal.Corrupt, File: v.t.rel(path), Record: "recovery points", Reason: string(segment.BadSyntax),
		Evidence: err.Error() + "; Apache Kafka rebuilds it by reading every log"}
	var disk *fs.PathError
	if errors.As(err, &disk) {
		f = v.t.ioFinding(path, "recovery points", err)
	}
	f.Next = v.t.next(&f, path)
	v.report(f)
	return nil
}

func (v *verifier) kafkaFloor(p *place, floors *kafkaFloors) {
	p.floor, p.clean, p.known = floors.of(filepath.Base(p.dir))
}
