package segment

import (
	"encoding/binary"
	"io"

	"chronik.dev/chronik/broker/batch"
)

// Sizes in bytes of one entry of .index and .timeindex.
const (
	IndexEntrySize = 8
	TimeEntrySize  = 12
)

// IndexEntry says that the batch whose last offset is Offset begins at Position.
type IndexEntry struct {
	Offset   int64 // absolute; the file holds it relative to the base offset
	Position int64
}

// TimeEntry says that up to the batch whose last offset is Offset no record is newer than Timestamp.
type TimeEntry struct {
	Timestamp int64 // ms
	Offset    int64 // absolute; the file holds it relative to the base offset
}

func decodeEntry(b []byte, base int64) IndexEntry {
	return IndexEntry{base + int64(int32(binary.BigEndian.Uint32(b))), int64(int32(binary.BigEndian.Uint32(b[4:])))}
}

func decodeTime(b []byte, base int64) TimeEntry {
	return TimeEntry{int64(binary.BigEndian.Uint64(b)), base + int64(int32(binary.BigEndian.Uint32(b[8:])))}
}

// IndexFull says whether indexes with that many entries are full as Kafka counts: segment.index.bytes rounded down to entries, and the
// time index keeps room for the final entry.
func IndexFull(entries, timeEntries int64, indexBytes int32) bool {
	return entries >= int64(indexBytes)/IndexEntrySize || timeEntries >= int64(indexBytes)/TimeEntrySize-1
}

// indexer derives index entries from batches, as Kafka's LogSegment.append and recover do.
type indexer struct {
	base        int64
	interval    int64
	since       int64 // bytes of batches since the last entry
	maxTime     int64 // newest time so far
	maxOffset   int64 // last offset of the batch that has it
	last        TimeEntry
	entries     int64 // in .index, with those pending
	timeEntries int64
	index       []byte // pending bytes of .index
	times       []byte // and of .timeindex
}

func newIndexer(base int64, interval int32) indexer {
	return indexer{base: base, interval: int64(interval), maxTime: batch.NoTimestamp, maxOffset: base, last: TimeEntry{batch.NoTimestamp, base}}
}

// add takes the next batch, which begins at pos.
func (x *indexer) add(h *batch.Header, pos int64) {
	if h.MaxTimestamp > x.maxTime {
		x.maxTime, x.maxOffset = h.MaxTimestamp, h.LastOffset()
	}
	if x.since > x.interval {
		x.index = binary.BigEndian.AppendUint32(x.index, uint32(h.LastOffset()-x.base))
		x.index = binary.BigEndian.AppendUint32(x.index, uint32(pos))
		x.entries++
		x.finish()
		x.since = 0
	}
	x.since += int64(h.Size())
}

// finish adds a time entry if the newest time is newer than the last entry's.
func (x *indexer) finish() {
	if x.maxTime <= x.last.Timestamp {
		return
	}
	x.times = binary.BigEndian.AppendUint64(x.times, uint64(x.maxTime))
	x.times = binary.BigEndian.AppendUint32(x.times, uint32(x.maxOffset-x.base))
	x.last = TimeEntry{x.maxTime, x.maxOffset}
	x.timeEntries++
}

// entryReader streams the fixed-size entries of an index file.
type entryReader struct {
	f    io.ReaderAt
	size int
	took int64 // entries that next returned
	pos  int64 // of the next entry not yet in buf
	buf  []byte
	have []byte // part of buf
}

// next returns the next entry's bytes, nil at the end or where less than an entry is left.
func (r *entryReader) next() ([]byte, error) {
	if len(r.have) < r.size {
		if r.buf == nil {
			r.buf = make([]byte, 1024*r.size)
		}
		n, err := r.f.ReadAt(r.buf, r.pos)
		if err != nil && err != io.EOF {
			return nil, err
		}
		n -= n % r.size
		if n == 0 {
			return nil, nil
		}
		r.pos += int64(n)
		r.have = r.buf[:n]
	}
	e := r.have[:r.size]
	r.have = r.have[r.size:]
	r.took++
	return e, nil
}

// validIndex counts the entries of .index that can be true of size bytes of batches and returns the last: offsets and positions rise,
// positions leave room for a batch.
func validIndex(f io.ReaderAt, base, size int64) (n int64, last IndexEntry, err error) {
	r := entryReader{f: f, size: IndexEntrySize}
	last = IndexEntry{base - 1, 0}
	for {
		b, err := r.next()
		if err != nil {
			return 0, last, err
		}
		if b == nil {
			return n, last, nil
		}
		e := decodeEntry(b, base)
		if e.Offset <= last.Offset || e.Position < last.Position+batch.HeaderSize || e.Position+batch.HeaderSize > size {
			return n, last, nil
		}
		last = e
		n++
	}
}

// validTimes counts the entries of .timeindex up to offset that can be true and returns the last: times and offsets rise.
func validTimes(f io.ReaderAt, base, offset int64) (n int64, last TimeEntry, err error) {
	r := entryReader{f: f, size: TimeEntrySize}
	last = TimeEntry{batch.NoTimestamp, base}
	for {
		b, err := r.next()
		if err != nil {
			return 0, last, err
		}
		if b == nil {
			return n, last, nil
		}
		e := decodeTime(b, base)
		if e.Timestamp <= last.Timestamp || e.Offset < last.Offset || (n > 0 && e.Offset == last.Offset) || e.Offset > offset {
			return n, last, nil
		}
		last = e
		n++
	}
}
