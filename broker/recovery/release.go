package recovery

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"chronik.dev/chronik/broker/batch"
	"chronik.dev/chronik/broker/datadir"
	"chronik.dev/chronik/broker/partition"
	"chronik.dev/chronik/broker/vfs"
	"chronik.dev/chronik/broker/wal"
)

// giveUp notes records that the partition goes on without.
func (p *part) giveUp(t wal.Type, first, last, records int64) {
	if t != wal.Batch || records <= 0 {
		return
	}
	if n := len(p.given); n > 0 && p.given[n-1].Last+1 == first {
		p.given[n-1].Last = last
		p.given[n-1].Records += records
		return
	}
	p.given = append(p.given, GivenUp{first, last, records})
}

// giveUpRest lets the partition go on although nobody knows what was behind its end.
func (p *part) giveUpRest(why string) {
	p.over = why
	p.given = append(p.given, GivenUp{p.replay.End(), -1, -1})
}

func recordsOf(f *wal.Frame) int64 {
	if f.Type != wal.Batch {
		return 0
	}
	if h, err := batch.Parse(f.Payload); err == nil {
		return int64(h.Count)
	}
	return f.Last - f.First + 1
}

// readBack applies the frames that were held for partitions which a boot had stopped; what the journal still holds follows.
func (s *scan) readBack() error {
	for _, p := range s.sorted() {
		if !s.release || p.st.Held == 0 || p.dropped {
			continue
		}
		held, before := p.st.Held, p.st
		p.before = &before
		p.st.Held, p.st.HeldFile, p.st.HeldReason = 0, "", ""
		if err := s.start(p, p.st.LSN+1); err != nil {
			return err
		}
		last := p.st.LSN
		err := eachHeld(s.fs, s.dir, p.name, p.key, func(f *wal.Frame) error {
			if f.LSN <= last || f.LSN > held {
				return nil
			}
			last = f.LSN
			if f.Type == wal.Batch && p.stop == nil && p.replay != nil && f.First > p.replay.End() {
				p.gap = wal.Corrupt // what is missing between was lost before the frames were held
			}
			return s.apply(f, s.ck.Time)
		})
		if err != nil {
			return fmt.Errorf("recover %s: %w", s.dir, err)
		}
		p.readTo = held
	}
	return nil
}

// keepHeld leaves a partition as it was held if reading its frames back did not make it whole.
func (s *scan) keepHeld() {
	for _, p := range s.parts {
		if p.before != nil && p.stop != nil {
			p.st, p.held, p.heldLSN = *p.before, p.before.HeldFile, p.before.Held
		}
	}
}

// eachHeld calls fn for the frames of a partition that are in files of evidence/, in the order of files and frames.
func eachHeld(fsys vfs.FS, dir, topic string, k key, fn func(*wal.Frame) error) error {
	infos, err := fsys.ReadDir(filepath.Join(dir, datadir.EvidenceDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	type file struct {
		name  string
		first uint64
	}
	var files []file
	prefix := fmt.Sprintf("held.%s.%x.", partition.DirName(topic, k.partition), k.id[:4])
	for _, info := range infos {
		rest, ok := strings.CutPrefix(info.Name(), prefix)
		number, _, _ := strings.Cut(rest, ".")
		if first, err := strconv.ParseUint(number, 10, 64); ok && err == nil && !strings.HasSuffix(rest, vfs.TempSuffix) {
			files = append(files, file{info.Name(), first})
		}
	}
	slices.SortFunc(files, func(a, b file) int { return cmp.Or(cmp.Compare(a.first, b.first), cmp.Compare(a.name, b.name)) })
	for _, f := range files {
		name := filepath.Join(dir, datadir.EvidenceDir, f.name)
		b, err := vfs.ReadFile(fsys, name, heldPart+wal.MaxPayload+(1<<20))
		if err != nil {
			return err
		}
		err = ReadHeld(b, func(frame wal.Frame) error {
			if frame.ID != k.id || frame.Partition != k.partition {
				return nil
			}
			return fn(&frame)
		})
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// Single is one partition of a data directory, opened for a repair while everything else stays as it is.
type Single struct {
	Log     *partition.Log
	Journal *wal.Log

	s     *scan
	p     *part
	index int // in the checkpoint; -1 if it does not list the partition
}

// OpenSingle recovers one partition as Boot does and opens it; no other partition is touched. The journal must have no torn or undecided end: cut
// that first. Options.Founding is not looked at.
func OpenSingle(o Options, topic string, number int32) (*Single, error) {
	s := newScan(o.FS, o.Dir, o.DirID, o.Env.Now())
	s.env, s.release = o.Env, o.Release
	s.setTopics(o.Topic, o.Config)
	o.Env.FS, o.Env.Dir = o.FS, s.topicsDir()
	o.Wal.FS, o.Wal.Dir, o.Wal.DirID, o.Wal.Kind = o.FS, s.walDir(), o.DirID, wal.Journal
	if err := s.examine(); err != nil {
		return nil, err
	}
	for i := range s.inv.Findings {
		if v := s.inv.Findings[i].Verdict; v == wal.Torn || v == wal.Undecided {
			return nil, fmt.Errorf("open %s of %s: the journal's end is %s; cut it first: chronik wal truncate --dir %s --apply",
				partition.DirName(topic, number), s.dir, v, s.dir)
		}
	}
	x := &Single{s: s, index: -1}
	for _, p := range s.parts {
		if p.name == topic && p.partition == number && !p.dropped {
			x.p = p
		}
	}
	if x.p == nil {
		return nil, fmt.Errorf("open %s of %s: neither the checkpoint nor the journal knows such a partition: %w",
			partition.DirName(topic, number), s.dir, fs.ErrNotExist)
	}
	for i, st := range s.ck.Partitions {
		if (key{st.ID, st.Partition}) == x.p.key {
			x.index = i
		}
	}
	return x, x.open(o)
}

func (x *Single) open(o Options) error {
	s, p := x.s, x.p
	all := s.parts
	s.parts = map[key]*part{p.key: p}
	defer func() { s.parts = all }()
	if err := vfs.MkdirAll(s.fs, s.topicsDir()); err != nil {
		return fmt.Errorf("recover %s: %w", s.dir, err)
	}
	if err := s.replayAll(); err != nil {
		return err
	}
	if p.stop != nil {
		return fmt.Errorf("open %s of %s: it is stopped: %w; see chronik repair plan --dir %s", p.dir, s.dir, p.stop, s.dir)
	}
	var err error
	if x.Journal, err = wal.Resume(o.Wal, s.inv, wal.CutNote{}); err != nil {
		return fmt.Errorf("recover %s: %w", s.dir, err)
	}
	s.env.Journal = x.Journal
	if x.Log, err = p.replay.Open(x.Journal.Synced()); err != nil {
		return errors.Join(err, x.Journal.Close())
	}
	return nil
}

// Close closes the partition as a clean stop does, puts its state into the checkpoint, whose other entries stay as they are, and closes the journal.
func (x *Single) Close() error {
	s := x.s
	if err := x.Log.Close(); err != nil {
		return errors.Join(err, x.Journal.Close())
	}
	st, ok, err := x.Log.Checkpoint(x.Journal.Synced())
	if err == nil && !ok {
		err = fmt.Errorf("checkpoint %s: it made no progress", x.Log.Name())
	}
	if err == nil {
		err = s.fs.SyncFS(s.topicsDir())
	}
	if err != nil {
		return errors.Join(err, x.Journal.Close())
	}
	if x.index >= 0 {
		s.ck.Partitions[x.index] = st
	} else {
		s.ck.Partitions = append(s.ck.Partitions, st)
		slices.SortFunc(s.ck.Partitions, partition.CompareStates)
	}
	err = s.file.Mend()
	if err == nil {
		err = s.file.Store(s.ck.Marshal())
	}
	if err == nil {
		err = x.Log.Checkpointed()
	}
	return errors.Join(err, x.Journal.Close())
}

// Floor is the LSN up to which the journal was promised to be durable when the partition was opened.
func (x *Single) Floor() wal.LSN { return x.s.inv.Floor }
