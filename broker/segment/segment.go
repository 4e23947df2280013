// Package segment is the set of files in which Apache Kafka 4.3 keeps one segment of a partition log, byte for byte.
//
// The idea. A segment is named by its base offset: the batches in .log, and beside them .index (offset to position) and .timeindex
// (time to offset), with one entry whenever more than index.interval.bytes of batches came since the last. The entries are a function
// of the batches alone, so they are never trusted further than the batches confirm, and can be rebuilt byte for byte. Around the
// segments stand small files: producer snapshots, leader-epoch-checkpoint, partition.metadata, .txnindex, and chronik's own
// chronik.sums, which guards what Kafka's formats leave without a checksum.
//
// The guarantee. Append writes whole batches with one write and syncs nothing; a failed Append changes nothing. Open believes a size
// that the caller proved, and batch headers; a missing, short or foreign index costs time, never a record. Decoders take memory in
// proportion to their input.
//
// The API. Create, Open and Segment serve a partition log; Scan, Verify and Rebuild serve tools; Snapshot, Epochs, Metadata, AbortedTxns
// and Sums are the small files. Formats: docs/format/segment.md and docs/format/sums.md.
package segment

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"sync"

	"chronik.dev/chronik/broker/batch"
	"chronik.dev/chronik/broker/vfs"
)

// Options shape a segment's files. The zero value means Kafka's defaults.
type Options struct {
	IndexIntervalBytes int32 // index.interval.bytes; 0 or less means 4096
	IndexBytes         int32 // segment.index.bytes: where Full begins; 0 or less means 10 MiB
	DecompressLimit    int   // bytes that one batch may decompress to in OffsetForTime; 0 or less means 128 MiB
}

func (o Options) withDefaults() Options {
	if o.IndexIntervalBytes <= 0 {
		o.IndexIntervalBytes = 4096
	}
	if o.IndexBytes <= 0 {
		o.IndexBytes = 10 << 20
	}
	if o.DecompressLimit <= 0 {
		o.DecompressLimit = 128 << 20
	}
	return o
}

// Segment is one segment. One goroutine may append, truncate, seal and sync while others read; Close and Remove need all of them gone.
type Segment struct {
	fs   vfs.FS
	dir  string
	base int64
	o    Options

	mu     sync.RWMutex // guards what follows; never held over the writes of Append
	log    vfs.File     // opened on first use
	index  vfs.File
	times  vfs.File
	size   int64 // bytes of .log that hold batches
	loaded bool  // what follows is set
	sealed bool  // the index files hold what Seal writes; the next write drops the final time entry again
	next   int64 // offset after the last batch
	ix     indexer
	proof  proof
	hints  [4]hint // where recent reads ended
	turn   int

	proving sync.Mutex // one walk for the proof at a time; taken before mu
}

// hint says that the batch that begins with offset begins at pos.
type hint struct{ offset, pos int64 }

// Create makes an empty segment: .log must not exist (fs.ErrExist), stale index files of that name are emptied. Nothing is synced.
func Create(fs vfs.FS, dir string, base int64, o Options) (*Segment, error) {
	s := newSegment(fs, dir, base, o)
	var err error
	if s.log, err = fs.OpenFile(s.path(Log), os.O_CREATE|os.O_EXCL|os.O_RDWR); err != nil {
		return nil, fmt.Errorf("create segment: %w", err)
	}
	if s.index, err = fs.OpenFile(s.path(Index), os.O_CREATE|os.O_TRUNC|os.O_RDWR); err == nil {
		s.times, err = fs.OpenFile(s.path(TimeIndex), os.O_CREATE|os.O_TRUNC|os.O_RDWR)
	}
	if err != nil {
		err = errors.Join(err, s.Close(), fs.Remove(s.path(Log))) // so that it can be tried again
		return nil, fmt.Errorf("create segment: %w", err)
	}
	s.loaded = true
	s.proof = proof{done: true, entries: math.MaxInt64, newest: s.ix.last}
	return s, nil
}

// Open opens a segment of which the first size bytes are known to hold whole batches; -1 means the file's size. Bytes behind size stay in
// the file (see Adopt and Cut). Batches are not checked; index files are read when first needed.
func Open(fs vfs.FS, dir string, base, size int64, o Options) (*Segment, error) {
	s := newSegment(fs, dir, base, o)
	have, err := s.FileSize()
	if err != nil {
		_ = s.Close()
		return nil, fmt.Errorf("open segment: %w", err)
	}
	if size < 0 {
		size = have
	}
	if size > have {
		_ = s.Close()
		return nil, &Error{File: s.path(Log), Offset: have, Reason: Truncated, Detail: fmt.Sprintf("the file has %d bytes, %d are expected", have, size)}
	}
	s.size = size
	return s, nil
}

func newSegment(fs vfs.FS, dir string, base int64, o Options) *Segment {
	s := &Segment{fs: fs, dir: dir, base: base, o: o.withDefaults(), next: base}
	s.ix = newIndexer(base, s.o.IndexIntervalBytes)
	return s
}

// path is the path of one of the segment's files.
func (s *Segment) path(k Kind) string { return filepath.Join(s.dir, k.Name(s.base)) }

// openLocked returns the file in slot, opening it first if needed. Index files are created if they are missing. mu is held.
func (s *Segment) openLocked(slot *vfs.File, k Kind) (vfs.File, error) {
	if *slot != nil {
		return *slot, nil
	}
	flag := os.O_RDWR
	if k != Log {
		flag |= os.O_CREATE
	}
	f, err := s.fs.OpenFile(s.path(k), flag)
	if err != nil {
		return nil, err
	}
	*slot = f
	return f, nil
}

func (s *Segment) logFile() (vfs.File, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.openLocked(&s.log, Log)
}

// Options are those that the segment was opened with, defaults filled in.
func (s *Segment) Options() Options { return s.o }

// BaseOffset is the offset that names the segment, at most that of its first record.
func (s *Segment) BaseOffset() int64 { return s.base }

// Size is the number of bytes of batches.
func (s *Segment) Size() int64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.size
}

// FileSize is the size of the .log file; it is above Size while bytes behind the trusted size are not yet adopted or cut.
func (s *Segment) FileSize() (int64, error) {
	f, err := s.logFile()
	if err != nil {
		return 0, err
	}
	return f.Size()
}

// NextOffset is the offset after the last batch, the base offset if there is none.
func (s *Segment) NextOffset() (int64, error) {
	if err := s.load(); err != nil {
		return 0, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.next, nil
}

// Full says that an index has no room by segment.index.bytes: Kafka rolls then.
func (s *Segment) Full() (bool, error) {
	if err := s.load(); err != nil {
		return false, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return IndexFull(s.ix.entries, s.ix.timeEntries, s.o.IndexBytes), nil
}

// Append writes a chunk of whole batches, with their offsets, at Size. On an error nothing has changed and the call may be repeated.
// The index entries go to their files first: entries that point behind the size are no harm, batches without entries would be.
func (s *Segment) Append(chunk []byte) error {
	if err := s.prepare(); err != nil {
		return err
	}
	ix, next, err := s.extend(chunk)
	if err != nil {
		return fmt.Errorf("append to %s: %w", s.path(Log), err)
	}
	if err := s.writeEntries(&ix); err != nil {
		return err
	}
	if _, err := s.log.WriteAt(chunk, s.size); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ix, s.next = ix, next
	s.size += int64(len(chunk))
	return nil
}

// Adopt counts a chunk of whole batches as appended if the file already holds exactly these bytes at Size; else it changes nothing and
// returns at which byte of the chunk the file first differs or ends. Replay uses it to keep what a crash left.
func (s *Segment) Adopt(chunk []byte) (same bool, differs int64, err error) {
	if err := s.prepare(); err != nil {
		return false, 0, err
	}
	if differs, err = compareAt(s.log, s.size, chunk); err != nil || differs < int64(len(chunk)) {
		return false, differs, err
	}
	ix, next, err := s.extend(chunk)
	if err != nil {
		return false, 0, fmt.Errorf("adopt in %s: %w", s.path(Log), err)
	}
	if err := s.writeEntries(&ix); err != nil {
		return false, 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ix, s.next = ix, next
	s.size += int64(len(chunk))
	return true, int64(len(chunk)), nil
}

// compareAt returns how many bytes of want the file holds at off.
func compareAt(f io.ReaderAt, off int64, want []byte) (int64, error) {
	buf := make([]byte, min(len(want), 64<<10))
	for done := 0; done < len(want); {
		n, err := f.ReadAt(buf[:min(len(buf), len(want)-done)], off+int64(done))
		if !bytes.Equal(buf[:n], want[done:done+n]) {
			for buf[0] == want[done] {
				buf, done = buf[1:], done+1
			}
			return int64(done), nil
		}
		done += n
		if err != nil && err != io.EOF {
			return 0, err
		}
		if n == 0 {
			return int64(done), nil
		}
	}
	return int64(len(want)), nil
}

// extend works out the index entries of a chunk that follows the last batch.
func (s *Segment) extend(chunk []byte) (ix indexer, next int64, err error) {
	ix, next = s.ix, s.next
	ix.index, ix.times = nil, nil
	pos := s.size
	err = batch.Each(chunk, func(h batch.Header, raw []byte) error {
		if h.BaseOffset < next || h.LastOffsetDelta < 0 || h.LastOffset()-s.base > math.MaxInt32 {
			return &Error{File: s.path(Log), Offset: pos, Reason: BadOffset,
				Detail: fmt.Sprintf("batch of offsets %d to %d does not follow offset %d", h.BaseOffset, h.LastOffset(), next)}
		}
		ix.add(&h, pos)
		pos += int64(len(raw))
		next = h.LastOffset() + 1
		return nil
	})
	return ix, next, err
}

// writeEntries writes the entries that ix gained over the segment's own.
func (s *Segment) writeEntries(ix *indexer) error {
	if len(ix.index) > 0 {
		if _, err := s.index.WriteAt(ix.index, (ix.entries-int64(len(ix.index))/IndexEntrySize)*IndexEntrySize); err != nil {
			return err
		}
	}
	if len(ix.times) > 0 {
		if _, err := s.times.WriteAt(ix.times, (ix.timeEntries-int64(len(ix.times))/TimeEntrySize)*TimeEntrySize); err != nil {
			return err
		}
	}
	ix.index, ix.times = nil, nil
	return nil
}

// Cut makes the .log file end at Size.
func (s *Segment) Cut() error {
	f, err := s.logFile()
	if err != nil {
		return err
	}
	have, err := f.Size()
	if err != nil || have == s.Size() {
		return err
	}
	return f.Truncate(s.Size())
}

// Truncate removes every batch that holds offset or a later one.
func (s *Segment) Truncate(offset int64) error {
	pos, err := s.FindOffset(offset)
	if err != nil {
		return err
	}
	return s.TruncateSize(pos)
}

// TruncateSize makes the segment end at pos, which must be where a batch begins or ends; index entries behind it go too.
func (s *Segment) TruncateSize(pos int64) error {
	s.mu.Lock()
	if pos > s.size {
		s.mu.Unlock()
		return fmt.Errorf("truncate %s: it has %d bytes, not %d", s.path(Log), s.size, pos)
	}
	s.size = pos
	s.loaded, s.sealed, s.proof = false, false, proof{}
	s.hints = [len(s.hints)]hint{}
	s.mu.Unlock()
	if err := s.Cut(); err != nil {
		return err
	}
	if err := s.prepare(); err != nil {
		return err
	}
	return s.trim()
}

// trim makes the index files end with their last entry.
func (s *Segment) trim() error {
	if err := s.index.Truncate(s.ix.entries * IndexEntrySize); err != nil {
		return err
	}
	return s.times.Truncate(s.ix.timeEntries * TimeEntrySize)
}

// Seal leaves the files as Kafka leaves them at a roll or clean stop: a final time index entry for the newest time, and no file longer
// than its content. It does not sync. A later Append takes the final entry back.
func (s *Segment) Seal() error {
	if err := s.prepare(); err != nil {
		return err
	}
	ix := s.ix
	ix.finish()
	if err := s.writeEntries(&ix); err != nil {
		return err
	}
	s.mu.Lock()
	s.ix, s.sealed = ix, true
	s.mu.Unlock()
	if err := s.trim(); err != nil {
		return err
	}
	return s.Cut()
}

// Sync makes the three files durable, not their names.
func (s *Segment) Sync() error {
	if err := s.openAll(); err != nil {
		return err
	}
	for _, f := range []vfs.File{s.log, s.index, s.times} {
		if err := f.Sync(); err != nil {
			return err
		}
	}
	return nil
}

// Close closes the files. A later call opens them again, so it also serves to give descriptors back.
func (s *Segment) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var first error
	for _, slot := range []*vfs.File{&s.log, &s.index, &s.times} {
		if *slot == nil {
			continue
		}
		if err := (*slot).Close(); err != nil && first == nil {
			first = err
		}
		*slot = nil
	}
	return first
}
