package recovery

import (
	"fmt"
	"path/filepath"
	"slices"

	"chronik.dev/chronik/broker/datadir"
	"chronik.dev/chronik/broker/partition"
	"chronik.dev/chronik/broker/planted"
	"chronik.dev/chronik/broker/wal"
)

var classes = map[wal.Verdict]datadir.Class{wal.Torn: datadir.Torn, wal.Undecided: datadir.Undecided, wal.Corrupt: datadir.Corrupt}

// incident reports to the ledger, if there is one.
func (s *scan) incident(i datadir.Incident) (string, error) {
	if s.ledger == nil || s.readOnly {
		return "", nil
	}
	id, err := s.ledger(i)
	if err != nil {
		return id, fmt.Errorf("recover %s: %w", s.dir, err)
	}
	return id, nil
}

// relative is a path inside the data directory, for reports.
func (s *scan) relative(path string) string {
	if rel, err := filepath.Rel(s.dir, path); err == nil {
		return rel
	}
	return path
}

// saveEvidence copies every damaged range of the journal, before anything is cut, and returns the incident of the cut.
func (s *scan) saveEvidence() (cut string, err error) {
	for i := range s.report.Findings {
		f := &s.report.Findings[i]
		class, ok := classes[f.Verdict]
		if !ok {
			continue
		}
		rel := s.relative(f.File)
		if f.Length > 0 && !planted.Is(planted.EvidenceUnsaved) {
			name := fmt.Sprintf("%s.at-%d", rel, f.Offset)
			if f.Saved, err = datadir.EvidenceRange(s.fs, s.dir, name, f.File, f.Offset, f.Length); err != nil {
				return "", fmt.Errorf("recover %s: %w", s.dir, err)
			}
		}
		f.Incident, err = s.incident(datadir.Incident{
			Class: class, File: rel, Offset: f.Offset, Length: f.Length, FirstLSN: uint64(f.FirstLSN), LastLSN: uint64(f.LastLSN),
			Reason: string(f.Reason), Evidence: f.Saved, Message: fmt.Sprintf("%s: %s", f.Record, f.Finding.Evidence), Next: s.later(),
		})
		if err != nil {
			return "", err
		}
		cut = f.Incident // findings are in order: the last is where the log ends
	}
	return cut, nil
}

// conclude writes the partitions into the report, and into the ledger what a person must know.
func (s *scan) conclude() error {
	for _, p := range s.sorted() {
		r := PartitionReport{Topic: p.name, TopicID: idString(p.id), Partition: p.partition, Status: OK, Replayed: p.frames}
		if p.replay != nil {
			st := p.replay.State()
			r.LogStart, r.End, r.Findings = st.LogStart, st.End, p.replay.Findings()
		} else {
			r.LogStart, r.End = p.st.LogStart, p.st.End
		}
		r.GivenUp = p.given
		var err error
		switch {
		case p.dropped:
			r.Status = Dropped
		case p.stop != nil:
			r.Status, r.Reason, r.Held, r.Next = Stopped, p.stop.Error(), p.held, s.later()
			r.Incident, err = s.reportPart(p, &r, datadir.Stopped)
		case p.over != "":
			r.Status, r.Reason, r.Next = Released, p.over, s.later()
			r.Incident, err = s.reportPart(p, &r, datadir.Truncated)
		case p.found != nil && len(p.given) > 0:
			r.Status, r.Reason, r.Next = Released, p.doubt(), s.next()
			r.Incident, err = s.reportPart(p, &r, datadir.Truncated)
		case p.unsure != "":
			r.Status, r.Reason, r.Next = Uncertain, p.unsure, s.later()
			r.Incident, err = s.reportPart(p, &r, datadir.Undecided)
		default:
			err = s.reportRepairs(p, &r)
			if p.found != nil && r.Status == OK {
				r.Status = Adopted
			}
		}
		if err != nil {
			return err
		}
		if s.outcome != nil && !p.dropped {
			s.outcome(p.result(&r))
		}
		if r.Status != OK || p.frames > 0 || len(r.Findings) > 0 {
			s.report.Partitions = append(s.report.Partitions, r)
		}
	}
	return nil
}

// result is the partition's Outcome. Closed files may be as the cleaner left them: their sizes are those that the replay found.
func (p *part) result(r *PartitionReport) Outcome {
	o := Outcome{Files: p.files, LogStart: r.LogStart, End: r.End, Status: r.Status, Reason: r.Reason, Truncated: len(p.cuts) > 0}
	for _, c := range p.changed {
		o.Replaced = append(o.Replaced, c.Base)
	}
	if p.replay == nil {
		o.Files = p.st
		return o
	}
	for _, g := range p.replay.State().Segments {
		i := slices.IndexFunc(o.Files.Segments, func(f partition.SegmentState) bool { return f.Base == g.Base })
		if i >= 0 && i < len(o.Files.Segments)-1 { // the last one is not cleaned since, and may have grown
			o.Files.Segments[i].Size = g.Size
		}
	}
	return o
}

func (s *scan) reportPart(p *part, r *PartitionReport, class datadir.Class) (string, error) {
	return s.incident(datadir.Incident{
		Class: class, Topic: p.name, TopicID: r.TopicID, Partition: p.partition, FirstOffset: p.st.End, Evidence: r.Held,
		Message: fmt.Sprintf("partition %s %s: %s", r.Name(), r.Status, r.Reason), Next: r.Next,
	})
}

// reportRepairs puts what was taken from the other copy, or saved and cut, into the ledger.
func (s *scan) reportRepairs(p *part, r *PartitionReport) error {
	for _, f := range r.Findings {
		i := datadir.Incident{
			Class: datadir.Repaired, File: s.relative(f.File), Offset: f.Offset, Length: f.Length, Topic: p.name, TopicID: r.TopicID,
			Partition: p.partition, FirstOffset: f.FirstOffset, LastOffset: f.LastOffset, Reason: string(f.Kind), Evidence: f.Evidence,
			Message: fmt.Sprintf("partition %s: %s", r.Name(), f.Message), Next: s.later(),
		}
		switch f.Kind {
		case partition.Repaired:
			r.Status = Repaired
		case partition.BlockFixed:
		case partition.Cut:
			i.Class = datadir.Torn
		default:
			continue // bytes that the page cache lost: written again
		}
		id, err := s.incident(i)
		if err != nil {
			return err
		}
		r.Incident = id
	}
	return nil
}
