package segment

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"chronik.dev/chronik/broker/batch"
	"chronik.dev/chronik/broker/vfs"
)

// Rebuilt is what the batches of a segment imply for its index files.
type Rebuilt struct {
	Index, TimeIndex       []byte // content as after Seal
	SameIndex, SameTimeIdx bool   // the files hold exactly that
	NextOffset             int64
}

// RebuildIndexes derives both index files from the first size bytes of a .log file (-1: all of them), with index.interval.bytes as given, and
// compares. With write it then replaces each file that differs, in one synced step. The batches must be whole: the first fault is
// returned as *Error and nothing is written.
func RebuildIndexes(fsys vfs.FS, dir string, base, size int64, interval int32, write bool) (*Rebuilt, error) {
	name := filepath.Join(dir, Log.Name(base))
	f, err := fsys.OpenFile(name, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if size < 0 {
		if size, err = f.Size(); err != nil {
			return nil, err
		}
	}
	ix := newIndexer(base, Options{IndexIntervalBytes: interval}.withDefaults().IndexIntervalBytes)
	r := &Rebuilt{NextOffset: base}
	err = Scan(f, name, base, 0, size, func(pos int64, h batch.Header, _ []byte) error {
		ix.add(&h, pos)
		r.NextOffset = h.LastOffset() + 1
		return nil
	})
	if err != nil {
		return nil, err
	}
	ix.finish()
	r.Index, r.TimeIndex = ix.index, ix.times
	if r.SameIndex, err = settle(fsys, filepath.Join(dir, Index.Name(base)), r.Index, write); err != nil {
		return nil, err
	}
	r.SameTimeIdx, err = settle(fsys, filepath.Join(dir, TimeIndex.Name(base)), r.TimeIndex, write)
	return r, err
}

// settle says whether a file holds want, and with write makes it so.
func settle(fsys vfs.FS, name string, want []byte, write bool) (same bool, err error) {
	have, err := vfs.ReadFile(fsys, name, int64(len(want)))
	switch {
	case err == nil && bytes.Equal(have, want):
		return true, nil
	case err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, vfs.ErrTooLarge):
		return false, err
	case write:
		return false, vfs.WriteFile(fsys, name, want)
	}
	return false, nil
}
