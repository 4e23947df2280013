package walinspect

import (
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"path/filepath"
	"slices"

	"chronik.dev/chronik/broker/datadir"
	"chronik.dev/chronik/broker/partition"
	"chronik.dev/chronik/broker/segment"
	"chronik.dev/chronik/broker/vfs"
	"chronik.dev/chronik/broker/wal"
)

// smallFiles verifies what lies beside the segments: epochs, metadata, producer snapshots, aborted transactions, chronik.sums.
func (v *verifier) smallFiles(p *place) error {
	entries, err := v.t.fs.ReadDir(p.dir)
	if err != nil {
		v.report(v.t.ioFinding(p.dir, "partition directory", err))
		return nil
	}
	for _, e := range entries {
		kind, base, ours := segment.ParseName(e.Name())
		path := filepath.Join(p.dir, e.Name())
		switch {
		case !ours && !p.kafka && !partition.Temporary(e.Name()):
			v.report(v.t.unknownFile(path))
		case ours && kind.PerSegment() && v.unlisted(p, kind, base):
			f := Finding{Verdict: wal.Notice, File: v.t.rel(path), Length: e.Size(), Record: "file", Reason: string(wal.ReasonUnknownFile), Topic: p.topic,
				Partition: &p.number, Evidence: "it belongs to no segment of the partition: left over, or a copy of another one; the next start removes it, and keeps the bytes of a log in " + datadir.EvidenceDir + "/"}
			f.Next = v.t.next(&f, path)
			v.report(f)
		case ours && (kind == segment.EpochFile || kind == segment.MetaFile || kind == segment.Snapshot || kind == segment.TxnIndex):
			v.smallFile(p, kind, base, path)
		}
	}
	if p.kafka || p.state == nil {
		return nil
	}
	v.companions(p)
	return v.sums(p)
}

// unlisted says whether a file belongs to no segment, where that can be known: the checkpoint lists all of them, and the journal behind it makes none.
// Producer snapshots stay where a clean stop made them.
func (v *verifier) unlisted(p *place, kind segment.Kind, base int64) bool {
	return p.state != nil && !v.mayHaveGrown(p) && p.listed(base) < 0 && kind != segment.Snapshot
}

// companions reports small files that a partition of the checkpoint always has and that are not there. No record depends on them.
func (v *verifier) companions(p *place) {
	names := []string{segment.MetaFileName}
	for _, s := range p.state.Segments {
		if s.Base > 0 {
			names = append(names, segment.Snapshot.Name(s.Base)) // written at the roll
		}
	}
	for _, name := range names {
		path := filepath.Join(p.dir, name)
		if there, err := vfs.Exists(v.t.fs, path); err != nil || there {
			continue
		}
		f := Finding{Verdict: wal.Notice, File: v.t.rel(path), Record: "file", Reason: string(segment.MissingFile), Topic: p.topic, Partition: &p.number,
			Evidence: "every partition of the checkpoint has one; what it says is in the checkpoint too"}
		f.Next = v.t.next(&f, path)
		v.report(f)
	}
}

func (v *verifier) smallFile(p *place, kind segment.Kind, base int64, path string) {
	text, err := vfs.ReadFile(v.t.fs, path, maxSmallFile)
	if err != nil {
		v.report(v.t.ioFinding(path, "file", err))
		return
	}
	switch kind {
	case segment.EpochFile:
		_, err = segment.DecodeEpochs(text)
	case segment.MetaFile:
		var id [16]byte
		if id, err = segment.DecodeMetadata(text); err == nil && p.state != nil && id != p.state.ID {
			err = &segment.Error{Reason: segment.BadSyntax, Detail: otherID}
		}
	case segment.Snapshot:
		_, err = segment.DecodeSnapshot(text)
	case segment.TxnIndex:
		_, err = segment.DecodeAbortedTxns(text)
	}
	var bad *segment.Error
	if errors.As(err, &bad) {
		v.partitionFinding(p, segment.Finding{File: kind.Name(base), Length: int64(len(text)), Record: "file", Reason: bad.Reason,
			Detail: fmt.Sprintf("%s, at byte %d", bad.Detail, bad.Offset), First: 0, Last: -1})
	}
}

// sums compares the directory's files with chronik.sums, up to what the checkpoint promises.
func (v *verifier) sums(p *place) error {
	sums, err := segment.OpenSums(v.t.fs, p.dir)
	if err != nil {
		v.report(v.t.ioFinding(filepath.Join(p.dir, segment.SumsFileName), "file", err))
		return nil
	}
	for _, bad := range sums.Faults() {
		f := Finding{Verdict: wal.Notice, File: v.t.rel(bad.File), Offset: bad.Offset, Length: segment.SumSize, Record: "sum entry", Reason: string(bad.Reason),
			Topic: p.topic, Partition: &p.number, Evidence: bad.Detail + "; the sums guard other files and are never needed to read them"}
		f.Next = v.t.next(&f, bad.File)
		v.report(f)
	}
	entries := sums.Entries()
	if v.foreign(p, entries) {
		return nil
	}
	if v.mayHaveGrown(p) { // a roll and a boot write the epochs again; the checkpoint after it sums them
		entries = slices.DeleteFunc(slices.Clone(entries), func(s segment.Sum) bool { return s.Kind == segment.EpochFile })
	}
	size := func(k segment.Kind, base int64) int64 {
		if k == segment.Log {
			return p.sizeOf(base)
		}
		return math.MaxInt64 // written as a whole: what the last entry says counts
	}
	err = segment.CheckSums(v.t.fs, p.dir, entries, size, func(f segment.Finding) { v.partitionFinding(p, f) })
	if err != nil {
		v.report(v.t.ioFinding(filepath.Join(p.dir, segment.SumsFileName), "file", err))
		return nil
	}
	v.longer(p, entries)
	if len(sums.Faults()) == 0 && (!v.mayHaveGrown(p) || len(entries) == 0) { // else the next checkpoint covers again what was cut or replaced
		v.unguarded(p, segment.Live(entries, size))
	}
	return nil
}

// foreign reports a chronik.sums of another partition: what it says of partition.metadata, which never changes, is of another topic id. It says
// nothing of the files beside it.
func (v *verifier) foreign(p *place, entries []segment.Sum) bool {
	ours := segment.EncodeMetadata(p.state.ID)
	for _, s := range entries {
		if s.Kind != segment.MetaFile || s.From != 0 || s.To == int64(len(ours)) && s.CRC == crc32.Checksum(ours, castagnoli) {
			continue
		}
		path := filepath.Join(p.dir, segment.SumsFileName)
		f := Finding{Verdict: wal.Notice, File: v.t.rel(path), Length: v.t.size(path), Record: "file", Reason: string(segment.BadSum), Topic: p.topic,
			Partition: &p.number, Evidence: "it is of another partition: its sum of partition.metadata is that of another topic id; it guards other files and is never needed to read them"}
		f.Next = v.t.next(&f, path)
		v.report(f)
		return true
	}
	return false
}

// longer reports small files that go on behind what their last sum covers.
func (v *verifier) longer(p *place, entries []segment.Sum) {
	last := map[segment.Kind]int64{}
	for _, s := range entries {
		if !s.Kind.PerSegment() {
			last[s.Kind] = s.To
		}
	}
	for kind, end := range last {
		info, err := v.t.fs.Stat(filepath.Join(p.dir, kind.Name(0)))
		if err == nil && info.Size() > end {
			v.partitionFinding(p, segment.Finding{File: kind.Name(0), Offset: end, Length: info.Size() - end, Record: "file", Reason: segment.BadSum,
				Detail: fmt.Sprintf("chronik.sums knows %d bytes of it, it has %d", end, info.Size()), First: 0, Last: -1})
		}
	}
}

// unguarded reports the bytes that chronik.sums does not cover: damage there to what Kafka's own checksums leave out would not show.
func (v *verifier) unguarded(p *place, live []segment.Sum) {
	for _, s := range p.state.Segments {
		for _, gap := range segment.Uncovered(live, segment.Log, s.Base, s.Size) {
			path := filepath.Join(p.dir, segment.Log.Name(s.Base))
			f := Finding{Verdict: wal.Notice, File: v.t.rel(path), Offset: gap[0], Length: gap[1] - gap[0], Record: "bytes without a sum",
				Reason: string(segment.NoSum), Topic: p.topic, Partition: &p.number,
				Evidence: "chronik.sums does not cover them; the batches are good, but no checksum holds their base offsets and leader epochs"}
			f.Next = v.t.next(&f, path)
			v.report(f)
		}
	}
}
