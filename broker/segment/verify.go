package segment

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"

	"chronik.dev/chronik/broker/batch"
	"chronik.dev/chronik/broker/vfs"
)

// Finding is one thing that Verify or CheckSums found wrong.
type Finding struct {
	File           string // name in the directory
	Offset, Length int64  // bytes of the file
	Record         string // what lies there: batch, index entry, time entry, sum, file
	Reason         Reason
	Detail         string
	First, Last    int64 // offsets of records that are damaged or missing; Last < First if none or unknown
}

// VerifyOptions say how closely Verify looks.
type VerifyOptions struct {
	Size               int64 // bytes of .log to look at; -1 all
	Grown              bool  // the segment may have grown past Size: what the indexes say of bytes past it is not judged
	Deep               bool  // decompress and decode every record
	Sealed             bool  // the segment was closed: with Exact, the last time entry must be there
	Exact              bool  // the indexes must be those that the batches imply; false: each entry must be true (Kafka's depend on restarts)
	IndexIntervalBytes int32 // for Exact
	DecompressLimit    int   // for Deep: bytes of one batch; 0 means 128 MiB
	// Batch is called for every good batch if it is set; raw is valid during the call only. Its error ends Verify.
	Batch func(pos int64, h batch.Header, raw []byte) error
}

// Verified counts what Verify saw.
type Verified struct {
	Bytes, Batches, Records   int64
	IndexEntries, TimeEntries int64
	NextOffset                int64 // after the last good batch
	MaxTimestamp              int64
}

// verifier is one run of Verify.
type verifier struct {
	o       VerifyOptions
	base    int64
	report  func(Finding)
	sum     Verified
	ix      indexer
	damaged bool
	index   *indexCheck
	times   *timeCheck
	log     string
}

// Verify checks one segment's .log, .index and .timeindex and goes on past damage: it reports every damaged range of the log, with the
// offsets that are missing, and every index entry that the batches refute. It holds one batch and small buffers in memory. The error is
// one of opening files, or of o.Batch; a range that cannot be read is a finding with reason IOError.
func Verify(fsys vfs.FS, dir string, base int64, o VerifyOptions, report func(Finding)) (Verified, error) {
	o.DecompressLimit = Options{DecompressLimit: o.DecompressLimit}.withDefaults().DecompressLimit
	v := &verifier{o: o, base: base, report: report, log: Log.Name(base)}
	v.sum.NextOffset, v.sum.MaxTimestamp = base, batch.NoTimestamp
	v.ix = newIndexer(base, Options{IndexIntervalBytes: o.IndexIntervalBytes}.withDefaults().IndexIntervalBytes)
	f, err := fsys.OpenFile(filepath.Join(dir, v.log), os.O_RDONLY)
	if err != nil {
		return v.sum, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return v.sum, err
	}
	if o.Size > size {
		report(Finding{File: v.log, Offset: size, Length: o.Size - size, Record: "file", Reason: Truncated, First: 0, Last: -1,
			Detail: fmt.Sprintf("the file has %d bytes, %d are expected", size, o.Size)})
	} else if o.Size >= 0 {
		size = o.Size
	}
	for k, use := range map[Kind]func(vfs.File){
		Index:     func(f vfs.File) { v.index = newIndexCheck(v, f) },
		TimeIndex: func(f vfs.File) { v.times = newTimeCheck(v, f) },
	} {
		x, err := fsys.OpenFile(filepath.Join(dir, k.Name(base)), os.O_RDONLY)
		if errors.Is(err, fs.ErrNotExist) {
			report(Finding{File: k.Name(base), Record: "file", Reason: MissingFile, First: 0, Last: -1})
			continue
		}
		if err != nil {
			return v.sum, err
		}
		defer x.Close()
		use(x)
	}
	if err := v.walk(&window{f: f, end: size}); err != nil {
		return v.sum, err
	}
	v.finish(size)
	return v.sum, nil
}

// walk goes over the batches and past damage.
func (v *verifier) walk(w *window) error {
	for pos := int64(0); pos < w.end; {
		h, raw, err := w.batchAt(pos, v.base, v.sum.NextOffset)
		if err == nil {
			if err := v.good(pos, &h, raw); err != nil {
				return err
			}
			pos += int64(len(raw))
			continue
		}
		to, err := v.skip(w, pos, &h, err)
		if err != nil {
			return err
		}
		pos = to
	}
	return nil
}

// good takes a batch that passed its checks.
func (v *verifier) good(pos int64, h *batch.Header, raw []byte) error {
	v.sum.Batches++
	v.sum.Records += int64(h.Count)
	v.sum.Bytes += int64(len(raw))
	v.sum.NextOffset = h.LastOffset() + 1
	v.sum.MaxTimestamp = max(v.sum.MaxTimestamp, h.MaxTimestamp)
	if v.o.Deep {
		if err := batch.CheckRecords(raw, v.o.DecompressLimit); err != nil {
			v.report(Finding{File: v.log, Offset: pos, Length: int64(len(raw)), Record: "batch", Reason: BadRecords, Detail: err.Error(), First: h.BaseOffset, Last: h.LastOffset()})
		}
	}
	v.ix.add(h, pos)
	if v.index != nil {
		v.index.batch(pos, h, v.ix.index)
	}
	if v.times != nil {
		v.times.batch(h, v.ix.times)
	}
	v.ix.index, v.ix.times = v.ix.index[:0], v.ix.times[:0]
	if v.o.Batch != nil {
		return v.o.Batch(pos, *h, raw)
	}
	return nil
}

// skip reports the damage at pos and returns where the next good batch begins.
func (v *verifier) skip(w *window, pos int64, h *batch.Header, fault error) (int64, error) {
	next := v.sum.NextOffset
	finding := Finding{File: v.log, Offset: pos, Record: "batch", Reason: IOError, Detail: fault.Error()}
	var bad *Error
	var to int64
	var err error
	if errors.As(fault, &bad) {
		finding.Reason, finding.Detail = bad.Reason, bad.Detail
		if bad.Err != nil {
			finding.Detail = bad.Err.Error()
		}
		if to, err = v.behind(w, pos, h, next); err == nil && to == 0 {
			to, err = w.resync(pos, v.base, next)
		}
	} else {
		to = min((pos/blockSize+1)*blockSize, w.end)
	}
	for err != nil { // a range that cannot be read: step over it by blocks
		if to >= w.end {
			break
		}
		if to, err = w.resync(min((max(to, pos)/blockSize+1)*blockSize, w.end)-1, v.base, next); to <= pos {
			to = w.end
		}
	}
	finding.Length = to - pos
	finding.First, finding.Last = next, next-1
	if to < w.end {
		if h, _, err := w.batchAt(to, v.base, next); err == nil {
			finding.Last = h.BaseOffset - 1
		}
	} else if h.Magic == 2 && h.LastOffset() >= next && h.LastOffset()-v.base <= math.MaxInt32 {
		finding.Last = h.LastOffset() // as the damaged header says
	}
	v.damaged = true
	if v.index != nil {
		v.index.skipTo = to
	}
	v.report(finding)
	return to, nil
}

// behind tries the damaged header's own length and returns where the next batch begins if one is there, else 0.
func (v *verifier) behind(w *window, pos int64, h *batch.Header, next int64) (int64, error) {
	to := pos + int64(h.Size())
	if h.Length < batch.HeaderSize-12 || to > w.end {
		return 0, nil
	}
	if to == w.end {
		return to, nil
	}
	_, ok, err := w.follows(to, v.base, next)
	if err != nil || !ok {
		return 0, err
	}
	return to, nil
}

const blockSize = 4096

// finish checks what comes after the last batch.
func (v *verifier) finish(size int64) {
	v.ix.finish()
	if v.index != nil {
		v.index.end(size)
		v.sum.IndexEntries = v.index.count
	}
	if v.times != nil {
		v.times.end(v.ix.times)
		v.sum.TimeEntries = v.times.count
	}
}
