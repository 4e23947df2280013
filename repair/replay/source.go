package replay

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"chronik.dev/chronik/broker/batch"
	"chronik.dev/chronik/broker/datadir"
	"chronik.dev/chronik/broker/partition"
	"chronik.dev/chronik/broker/recovery"
	"chronik.dev/chronik/broker/segment"
	"chronik.dev/chronik/broker/statefile"
	"chronik.dev/chronik/broker/vfs"
	"chronik.dev/chronik/broker/wal"
)

// source is a data directory that is read and not changed.
type source struct {
	fs       vfs.FS
	dir      string
	id       datadir.Identity
	copies   [2]statefile.Copy // of the identity
	ck       *partition.Checkpoint
	report   *recovery.Report
	parts    []*sourcePart // in the order of names
	lost     []Loss
	progress func(bytes int64)
	locking  sync.Mutex // one test of the lock at a time
}

// sourcePart is one partition: files first, then what the journal has behind them.
type sourcePart struct {
	partition.Identity
	recovery.Outcome
	listed  *partition.State // as the checkpoint has it; nil: the partition is newer
	dir     string           // path
	journal int64            // batches that come from the journal
	bytes   int64            // of those
}

func (p *sourcePart) name() string { return partition.DirName(p.Topic, p.Partition) }

// openSource reads a directory's small state and judges its journal. Progress is told of bytes read; it may be nil.
func openSource(fsys vfs.FS, dir string, progress func(int64)) (*source, error) {
	if progress == nil {
		progress = func(int64) {}
	}
	s := &source{fs: fsys, dir: filepath.Clean(dir), progress: progress}
	info, err := datadir.Inspect(fsys, s.dir)
	switch {
	case err != nil:
		return nil, err
	case info.Running:
		return nil, fmt.Errorf("%s: %w; stop the node first, or consume from it", s.dir, vfs.ErrLocked)
	case !info.Identity.Founded:
		return nil, fmt.Errorf("%w: %s was never served from: there is nothing to replay", ErrRefused, s.dir)
	}
	s.id, s.copies = info.Identity, info.Copies
	if err := s.check(); err != nil {
		return nil, err
	}
	return s, nil
}

// check comes to the verdicts of a boot and learns the partitions.
func (s *source) check() error {
	counts := map[partition.Identity][2]int64{}
	var err error
	s.report, err = recovery.Check(recovery.CheckOptions{
		FS: s.fs, Dir: s.dir, DirID: s.id.DirectoryID, Progress: steps(s.progress),
		Batch: func(id partition.Identity, _ *batch.Header, raw []byte) error {
			c := counts[id]
			counts[id] = [2]int64{c[0] + 1, c[1] + int64(len(raw))}
			return nil
		},
		Partition: func(o recovery.Outcome) {
			p := &sourcePart{Identity: o.Files.Identity, Outcome: o, dir: filepath.Join(s.dir, datadir.TopicsDir, o.Files.Dir)}
			p.journal, p.bytes = counts[p.Identity][0], counts[p.Identity][1]
			s.parts = append(s.parts, p)
		},
	})
	if err != nil {
		return err
	}
	file, err := statefile.Load(s.fs, filepath.Join(s.dir, datadir.WalDir, datadir.CheckpointBase), partition.CheckpointKind, partition.CheckpointVersion, s.id.DirectoryID)
	if err != nil {
		return err
	}
	if s.ck, err = partition.UnmarshalCheckpoint(file.Body()); err != nil {
		return err
	}
	for i := range s.ck.Partitions {
		st := &s.ck.Partitions[i]
		for _, p := range s.parts {
			if p.ID == st.ID && p.Identity.Partition == st.Partition {
				p.listed = st
			}
		}
	}
	slices.SortFunc(s.parts, func(a, b *sourcePart) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Identity.Partition, b.Identity.Partition))
	})
	s.judge()
	return nil
}

// judge lists what recovery could not keep.
func (s *source) judge() {
	for _, p := range s.parts {
		if p.Status != recovery.Stopped && p.Status != recovery.Uncertain {
			continue
		}
		l := Loss{Topic: p.Topic, Partition: p.Identity.Partition, First: p.End, Last: -1, Verdict: string(wal.Corrupt), Detail: p.Reason}
		if p.Status == recovery.Uncertain {
			l.Verdict = string(wal.Undecided)
		}
		s.lost = append(s.lost, l)
	}
}

// lockTries and lockPause tell a node from another tool that tests the lock in the same moment.
const (
	lockTries = 10
	lockPause = 20 * time.Millisecond
)

// stillFree fails with ErrStarted if a node runs on the directory by now.
func (s *source) stillFree() error {
	s.locking.Lock()
	defer s.locking.Unlock()
	for try := 1; ; try++ {
		running, err := datadir.Running(s.fs, s.dir)
		switch {
		case err != nil || !running:
			return err
		case try == lockTries:
			return fmt.Errorf("%s: %w; stop it and run the command again", s.dir, ErrStarted)
		}
		time.Sleep(lockPause)
	}
}

// logBytes is the size of the partition logs up to the checkpoint.
func (s *source) logBytes() (n int64) {
	for _, p := range s.parts {
		for _, g := range p.Files.Segments {
			n += g.Size
		}
	}
	return n
}

// files reads the batches of a partition's files that reach into [from, end) and goes on past damage, which it hands to lost. raw is valid
// during the call of fn.
func (s *source) files(p *sourcePart, from int64, fn func(h *batch.Header, raw []byte) error, lost func(Loss)) error {
	segs := p.Files.Segments
	for i, g := range segs {
		end := p.Files.End
		if i+1 < len(segs) {
			end = segs[i+1].Base
		}
		if g.Size == 0 || end <= from {
			continue
		}
		if err := s.stillFree(); err != nil {
			return err
		}
		if err := s.file(p, g, end, from, fn, lost); err != nil {
			return err
		}
	}
	return nil
}

// file reads one segment whose offsets end before end.
func (s *source) file(p *sourcePart, g partition.SegmentState, end, from int64, fn func(h *batch.Header, raw []byte) error, lost func(Loss)) error {
	name := segment.Log.Name(g.Base)
	path := filepath.Join(p.dir, name)
	next, short, tail := g.Base, "", false
	report := func(first, last, at int64, verdict wal.Verdict, detail string) {
		if last >= max(from, p.LogStart) || last < first {
			lost(Loss{Topic: p.Topic, Partition: p.Identity.Partition, First: first, Last: last, File: s.rel(path), Offset: at, Verdict: string(verdict), Detail: detail})
		}
	}
	_, err := segment.Verify(s.fs, p.dir, g.Base, segment.VerifyOptions{
		Size: g.Size,
		Batch: func(_ int64, h batch.Header, raw []byte) error {
			s.progress(int64(len(raw)))
			next = h.LastOffset() + 1
			if h.LastOffset() < from {
				return nil
			}
			return fn(&h, raw)
		},
	}, func(f segment.Finding) {
		detail := string(f.Reason) + ": " + f.Detail
		switch {
		case f.File != name: // indexes: no record is in them
		case f.Record == "file":
			short = detail
		case f.Offset+f.Length >= g.Size || short != "":
			tail = true
			report(f.First, end-1, f.Offset, verdictOf(f.Reason), detail)
		default:
			report(f.First, f.Last, f.Offset, verdictOf(f.Reason), detail)
		}
	})
	if errors.Is(err, fs.ErrNotExist) {
		report(g.Base, end-1, 0, wal.Corrupt, "the file is missing")
		return nil
	}
	if err == nil && short != "" && !tail {
		report(next, end-1, 0, wal.Corrupt, short)
	}
	return err
}

func verdictOf(r segment.Reason) wal.Verdict {
	if r == segment.IOError {
		return wal.IOError
	}
	return wal.Corrupt
}

// behind reads what the files hold past the checkpoint, as far as it is valid batches without a gap.
func (s *source) behind(p *sourcePart, fn func(h *batch.Header, raw []byte) error) error {
	entries, err := s.fs.ReadDir(p.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	last := partition.SegmentState{Base: -1}
	if n := len(p.Files.Segments); p.listed != nil && n > 0 {
		last = p.Files.Segments[n-1]
	}
	next := p.Files.End
	for _, e := range entries {
		kind, base, ok := segment.ParseName(e.Name())
		if !ok || kind != segment.Log || base < last.Base {
			continue
		}
		from := int64(0)
		if base == last.Base {
			from = last.Size
		} else if base != next {
			return nil
		}
		whole, err := s.scanFrom(filepath.Join(p.dir, e.Name()), base, from, &next, fn)
		if err != nil || !whole {
			return err
		}
	}
	return nil
}

// scanFrom reads the batches of a file from a byte on; whole says that they reach its end.
func (s *source) scanFrom(path string, base, from int64, next *int64, fn func(h *batch.Header, raw []byte) error) (whole bool, err error) {
	f, err := s.fs.OpenFile(path, os.O_RDONLY)
	if err != nil {
		return false, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return false, err
	}
	gap := errors.New("a gap")
	err = segment.Scan(f, path, base, from, size, func(_ int64, h batch.Header, raw []byte) error {
		if h.BaseOffset != *next {
			return gap
		}
		*next = h.LastOffset() + 1
		return fn(&h, raw)
	})
	var bad *segment.Error
	if errors.As(err, &bad) || errors.Is(err, gap) {
		return false, nil // an interrupted write: the journal has it
	}
	return err == nil, err
}

func (s *source) rel(path string) string {
	if r, err := filepath.Rel(s.dir, path); err == nil {
		return r
	}
	return path
}

// steps turns the progress of a recovery into bytes read since the last call.
func steps(fn func(int64)) func(recovery.Progress) {
	var last recovery.Progress
	return func(p recovery.Progress) {
		if p.Stage != last.Stage {
			last = recovery.Progress{Stage: p.Stage}
		}
		fn(p.Done - last.Done)
		last = p
	}
}
