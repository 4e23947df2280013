package recovery

import (
	"cmp"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"

	"chronik.dev/chronik/broker/batch"
	"chronik.dev/chronik/broker/datadir"
	"chronik.dev/chronik/broker/partition"
	"chronik.dev/chronik/broker/planted"
	"chronik.dev/chronik/broker/wal"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// replayAll reads the journal again and applies it, then settles every partition.
func (s *scan) replayAll() error {
	if err := s.readBack(); err != nil {
		return err
	}
	_, err := s.inspect(func(g *wal.Group) error {
		for i := range g.Frames {
			if err := s.apply(&g.Frames[i], g.Head.Time); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, p := range s.sorted() {
		if p.dropped {
			continue
		}
		if err := s.settle(p); err != nil {
			return err
		}
	}
	s.keepHeld()
	return nil
}

// sorted returns the partitions in a fixed order, so that a recovery does the same writes each time.
func (s *scan) sorted() []*part {
	out := make([]*part, 0, len(s.parts))
	for _, p := range s.parts {
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b *part) int {
		return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.partition, b.partition), slices.Compare(a.id[:], b.id[:]))
	})
	return out
}

func (s *scan) apply(f *wal.Frame, now int64) error {
	p := s.parts[key{f.ID, f.Partition}]
	if p == nil || p.dropped || p.stop != nil || p.st.Held != 0 || s.stale(p, f.LSN) || f.LSN <= p.readTo ||
		s.durable && f.LSN > s.inv.Floor {
		return nil
	}
	s.report.Frames++
	s.report.Bytes += int64(len(f.Payload))
	p.frames++
	p.bytes += int64(len(f.Payload))
	if p.unsure != "" || p.over != "" {
		p.giveUp(f.Type, f.First, f.Last, recordsOf(f)) // behind a loss of its own
		return nil
	}
	if err := s.start(p, f.LSN); err != nil || p.stop != nil || p.replay == nil {
		return err
	}
	if err := s.consume(p, f.LSN, now); err != nil || p.stop != nil {
		return err
	}
	if p.over != "" {
		p.giveUp(f.Type, f.First, f.Last, recordsOf(f))
		return nil
	}
	if p.found != nil && p.applied == 0 && f.First > p.replay.End() {
		p.gap = wal.Corrupt // that the files reach what the journal goes on with is not promised by anything
	}
	for _, b := range s.blind {
		if (b.LastLSN == 0 || b.LastLSN > p.applied) && b.FirstLSN < f.LSN {
			p.gap = graver(p.gap, b.Verdict)
		}
	}
	p.applied = f.LSN
	err := p.replay.Apply(f, now, p.gap != "")
	if p.replay.Proven() == f.LSN {
		p.gap = ""
	}
	err = s.judge(p, err)
	if p.over != "" || p.unsure != "" {
		if end := p.replay.End(); f.First > end {
			p.giveUp(wal.Batch, end, f.First-1, f.First-end)
		}
		p.giveUp(f.Type, f.First, f.Last, recordsOf(f))
	}
	return err
}

// graver returns the graver of two verdicts.
func graver(a, b wal.Verdict) wal.Verdict {
	if a == wal.Corrupt || b == "" {
		return a
	}
	return b
}

// judge turns damage into a verdict on the partition; any other error ends the recovery.
func (s *scan) judge(p *part, err error) error {
	var damage *partition.DamageError
	switch {
	case err == nil:
	case !errors.As(err, &damage):
		return fmt.Errorf("recover %s: %w", s.dir, err)
	case damage.Kind == partition.Gap && p.gap == wal.Undecided:
		p.unsure = damage.Message
	case s.release && damage.Kind == partition.Gap:
		p.over = damage.Message
	case planted.Is(planted.SilentCut):
	default:
		p.stop = damage
	}
	return nil
}

// start begins the replay of a partition with its first frame, or at the end if it had none.
func (s *scan) start(p *part, first wal.LSN) error {
	if p.replay != nil {
		return nil
	}
	opened := p.opened
	if !p.listed && opened == 0 {
		if !s.nameLost(p) {
			return nil
		}
		opened = max(first, 2) - 1
	}
	st := p.st
	if !p.listed {
		st = partition.State{Identity: p.st.Identity, Dir: p.dir}
	}
	var took func(*batch.Header, []byte) error
	if s.took != nil {
		took = func(h *batch.Header, raw []byte) error { return s.took(p.st.Identity, h, raw) }
	}
	r, err := partition.NewReplay(s.env, st, opened, s.config(p.name), partition.ReplayOptions{
		Took:     took,
		ReadOnly: s.readOnly, CutTo: p.cutTo, CutLSN: p.cutLSN, Truncations: p.cuts, Replaced: p.changed,
		Save: func(name, file string, offset, length int64) (string, error) {
			return datadir.EvidenceRange(s.fs, s.dir, name, file, offset, length)
		},
	})
	p.replay = r
	if err != nil {
		p.replay = nil
	} else if s.outcome != nil {
		p.files = r.State()
		p.files.Segments = slices.Clone(p.files.Segments) // the replay goes on with its own
	}
	return s.judge(p, err)
}

// nameLost finds the name of a partition whose Opened frame is lost: from the metadata, or from its directory. Without a name, its frames
// follow an Opened that the journal refused for want of space, or cannot be placed; they are passed over, and damage is reported as such.
func (s *scan) nameLost(p *part) bool {
	if len(p.lost) == 0 && len(s.blind) == 0 {
		return false
	}
	if p.name == "" && s.topic != nil {
		p.name, _ = s.topic(p.id)
	}
	if p.name == "" {
		p.name = s.topicOfDirectory(p.key)
	}
	if p.name == "" {
		return false
	}
	p.dir = partition.DirName(p.name, p.partition)
	p.st.Identity = partition.Identity{Topic: p.name, ID: p.id, Partition: p.partition}
	return true
}

// consume deals with the lost frames below an LSN: batches are looked for in the partition log, other frames are known from their identity.
func (s *scan) consume(p *part, below wal.LSN, now int64) error {
	for len(p.lost) > 0 && p.lost[0].LSN < below && p.stop == nil && p.unsure == "" && p.over == "" {
		l := p.lost[0]
		p.lost = p.lost[1:]
		if l.Type != wal.Batch && l.LSN != 0 {
			f := wal.Frame{LSN: l.LSN, Type: l.Type, ID: l.ID, Partition: l.Partition, Epoch: l.Epoch, First: l.First, Last: l.Last}
			p.gap = graver(p.gap, l.verdict)
			if err := s.judge(p, p.replay.Apply(&f, now, true)); err != nil {
				return err
			}
			continue
		}
		p.gap = graver(p.gap, l.verdict)
		if l.Last < p.replay.End() || p.replay.Superseded(l.LSN, l.Last) {
			continue
		}
		accept := func(h *batch.Header, raw []byte) bool {
			return l.Count > 1 || l.Length < 0 || h.BaseOffset != l.First || crc32.Checksum(raw, castagnoli) == l.CRC
		}
		if _, err := p.replay.Recover(l.Last+1, accept); err != nil {
			if err := s.judge(p, err); err != nil {
				return err
			}
		}
		if end := p.replay.End(); p.stop == nil && end <= l.Last {
			text := fmt.Sprintf("offsets %d to %d are damaged in the journal and not in the partition log", end, l.Last)
			p.giveUp(wal.Batch, max(l.First, end), l.Last, l.Last-max(l.First, end)+1)
			switch {
			case l.verdict == wal.Undecided:
				p.unsure = text
			case s.release:
				p.over = text
			case planted.Is(planted.SilentCut):
			default:
				p.stop = errors.New(text)
			}
		}
	}
	return nil
}

// unknown judges lost frames of a partition that nothing names: it was created just before the end of the journal.
func (p *part) unknown() {
	const text = "frames of a partition that neither checkpoint, metadata nor a directory knows"
	if slices.ContainsFunc(p.lost, func(l loss) bool { return l.verdict != wal.Undecided }) {
		p.stop = errors.New(text)
		return
	}
	for _, l := range p.lost {
		p.unsure = text
		p.giveUp(l.Type, l.First, l.Last, l.Last-l.First+1)
	}
}

// settle ends a partition's replay and comes to its verdict.
func (s *scan) settle(p *part) error {
	if p.st.Held != 0 {
		p.stop, p.held, p.heldLSN = errors.New(p.st.HeldReason), p.st.HeldFile, p.st.Held
		return nil
	}
	if p.stop != nil {
		return nil
	}
	if err := s.start(p, p.applied+1); err != nil || p.stop != nil {
		return err
	}
	if p.replay == nil {
		p.unknown()
		return nil
	}
	if err := s.consume(p, ^wal.LSN(0), s.ck.Time); err != nil || p.stop != nil {
		return err
	}
	for _, b := range s.blind {
		if b.LastLSN != 0 && b.LastLSN <= p.replay.Proven() {
			continue
		}
		if p.unsure == "" && p.over == "" {
			if _, err := p.replay.Recover(-1, nil); err != nil {
				if err := s.judge(p, err); err != nil || p.stop != nil {
					return err
				}
			}
		}
		if s.release {
			p.giveUpRest(fmt.Sprintf("the journal lost frames at %s byte %d that nothing names: what was behind offset %d, if anything, is not known",
				b.File, b.Offset, p.replay.End()))
			break
		}
		if b.Verdict == wal.Corrupt {
			p.stop = fmt.Errorf("the journal lost frames at %s byte %d that nothing names; no later frame proves where this partition ends (offset %d)",
				b.File, b.Offset, p.replay.End())
			return nil
		}
	}
	if s.gone != "" && p.over == "" {
		p.giveUpRest(fmt.Sprintf("%s: what was behind offset %d, if anything, is not known", s.gone, p.replay.End()))
	}
	for _, l := range p.lost {
		if p.over != "" || p.unsure != "" {
			p.giveUp(l.Type, l.First, l.Last, l.Last-l.First+1)
		}
	}
	if err := s.judge(p, p.replay.Finish()); err != nil || p.stop != nil {
		return err
	}
	s.unproven(p)
	return nil
}
