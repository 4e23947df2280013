package recovery

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"chronik.dev/chronik/broker/datadir"
	"chronik.dev/chronik/broker/partition"
	"chronik.dev/chronik/broker/segment"
	"chronik.dev/chronik/broker/statefile"
	"chronik.dev/chronik/broker/vfs"
)

// adopt gives partitions that the metadata have, and of which neither checkpoint nor journal says how they began, the state that their directories
// show. It is for a repair: a node takes such a directory for a foreign one.
//
// A checkpoint that is lost said at least what the journal does not hold any more: every frame below its first segment was in the partition files.
// So the files are taken as they are, at the LSN before that segment, and frames that they hold already are passed over. A partition that the journal
// opens is replayed from its first frame.
func (s *scan) adopt() error {
	if !s.release {
		return nil
	}
	if err := s.adoptShort(); err != nil {
		return fmt.Errorf("recover %s: %w", s.dir, err)
	}
	if !s.rebuild && len(s.blind) == 0 && s.gone == "" {
		return nil
	}
	if s.rebuild {
		s.ck.LSN, s.ck.Time = max(s.inv.First, 1)-1, s.env.Now()
	}
	var err error
	if s.entries, err = s.listTopics(); err != nil {
		return err
	}
	for _, k := range s.known {
		p := s.parts[key{k.ID, k.Partition}]
		if p != nil && (p.listed || p.opened > 0 || p.dropped) {
			continue
		}
		if err := s.adoptOne(k, p); err != nil {
			return fmt.Errorf("recover %s: %w", s.dir, err)
		}
	}
	return nil
}

func (s *scan) adoptOne(k Known, p *part) error {
	if p == nil && len(s.blind) == 0 && s.gone == "" && s.neverOpened(k) {
		return nil
	}
	if p == nil {
		p = &part{key: key{k.ID, k.Partition}, bereft: len(s.blind) > 0}
		s.parts[p.key] = p
	}
	p.name, p.dir, p.st.Identity = k.Topic, partition.DirName(k.Topic, k.Partition), k.Identity
	found, err := (*partition.Found)(nil), fs.ErrNotExist
	if s.hasDirectory(k) {
		found, err = partition.Find(s.fs, s.topicsDir(), k.Identity, k.Epoch, s.config(k.Topic))
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		p.opened = max(s.ck.LSN, 1) // it begins anew, empty
		if len(s.blind) == 0 && s.gone == "" {
			p.given = append(p.given, GivenUp{0, -1, -1})
		}
		found = &partition.Found{Proof: partition.Unproven}
	case err != nil:
		return err
	default:
		found.State.LSN = s.ck.LSN
		p.st, p.listed = found.State, true
		for _, c := range p.cuts {
			if c.To < p.st.End && (p.cutLSN == 0 || c.To <= p.cutTo) {
				p.cutTo, p.cutLSN = c.To, c.LSN
			}
		}
		for _, g := range found.Gaps {
			p.given = append(p.given, GivenUp{g.First, g.Last, g.Last - g.First + 1})
		}
	}
	p.found = found
	return nil
}

// adoptShort gives partitions whose files are less than the checkpoint promises the state that is left of them. Those that the journal cuts or replaces
// files of are not judged by their sizes.
func (s *scan) adoptShort() error {
	for _, p := range s.sorted() {
		if !p.listed || p.dropped || p.st.Held != 0 || len(p.cuts)+len(p.changed) > 0 || s.reaches(p) {
			continue
		}
		old := p.st
		found, err := partition.Find(s.fs, s.topicsDir(), old.Identity, old.Epoch, s.config(old.Topic))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			found = &partition.Found{Proof: partition.Shorter}
			p.listed, p.opened, p.st = false, max(s.ck.LSN, old.LSN, 1), partition.State{Identity: old.Identity}
		case err != nil:
			return err
		default:
			found.State.LSN, found.State.LogStart = old.LSN, max(found.State.LogStart, min(old.LogStart, found.State.End))
			p.st = found.State
			for _, g := range found.Gaps {
				p.given = append(p.given, GivenUp{g.First, g.Last, g.Last - g.First + 1})
			}
		}
		p.found, p.owed = found, old.End
	}
	return nil
}

// reaches says whether the files of a partition are as long as the checkpoint says.
func (s *scan) reaches(p *part) bool {
	for _, g := range p.st.Segments {
		info, err := s.fs.Stat(filepath.Join(s.topicsDir(), p.dir, segment.Log.Name(g.Base)))
		if g.Size > 0 && (errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() < g.Size) {
			return false
		}
	}
	return true
}

// neverOpened says whether a directory is what an interrupted creation leaves: no byte of a log, and no sums, which every partition has once a
// checkpoint lists it. The journal, which is whole, does not open it.
func (s *scan) neverOpened(k Known) bool {
	path := filepath.Join(s.topicsDir(), partition.DirName(k.Topic, k.Partition))
	sums, err := vfs.Exists(s.fs, filepath.Join(path, segment.SumsFileName))
	return s.hasDirectory(k) && err == nil && !sums && s.unfinished(path)
}

// hasDirectory says whether there is a directory of a partition's name that is not of another topic's.
func (s *scan) hasDirectory(k Known) bool {
	name := partition.DirName(k.Topic, k.Partition)
	return slices.ContainsFunc(s.entries, func(e *entry) bool { return e.isDir && e.name == name && (!e.known || e.id == k.ID) })
}

// unproven adds what a partition that was made anew may have lost at its end, once the journal was applied.
func (s *scan) unproven(p *part) {
	if p.found != nil && p.over == "" && p.replay.End() < p.owed {
		p.given = append(p.given, GivenUp{p.replay.End(), p.owed - 1, p.owed - p.replay.End()})
		return
	}
	if p.found == nil || p.owed > 0 || p.over != "" || p.frames > 0 || p.found.Proof == partition.Whole {
		return // a frame went on where the files end, or the sums prove it
	}
	if n := len(p.given); n == 0 || p.given[n-1].Records >= 0 {
		p.given = append(p.given, GivenUp{p.replay.End(), -1, -1})
	}
}

// doubt says why a partition that was made anew may lack something.
func (p *part) doubt() string {
	switch f := p.found; {
	case p.owed > 0 && len(f.State.Segments) == 0:
		return fmt.Sprintf("its files are gone; it begins anew, and the checkpoint has offset %d as its end", p.owed)
	case len(f.Gaps) > 0:
		return fmt.Sprintf("offsets %d to %d are damaged or missing in its files", f.Gaps[0].First, f.Gaps[0].Last)
	case f.Proof == partition.Shorter:
		return fmt.Sprintf("its files lack %d bytes that chronik.sums promises", f.Short)
	case p.owed > 0:
		return fmt.Sprintf("its files end before offset %d, which the checkpoint has as its end", p.owed)
	case len(f.State.Segments) == 0:
		return "nothing of it is on this disk; it begins anew, empty"
	}
	return "nothing proves that its files are whole"
}

// mendCheckpoint makes the checkpoint durable that recovery began with. One that is made anew gets a sequence number above every one that was used:
// there is not one checkpoint a millisecond.
func (s *scan) mendCheckpoint() error {
	if !s.rebuild {
		return s.file.Mend()
	}
	for _, p := range s.sorted() {
		if p.listed {
			s.ck.Partitions = append(s.ck.Partitions, p.st)
		}
	}
	slices.SortFunc(s.ck.Partitions, partition.CompareStates)
	base := filepath.Join(s.walDir(), datadir.CheckpointBase)
	var err error
	s.file, err = statefile.Replace(s.fs, base, partition.CheckpointKind, partition.CheckpointVersion, s.dirID, uint64(s.env.Now()), s.ck.Marshal())
	return err
}
