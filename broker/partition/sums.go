package partition

import (
	"cmp"
	"errors"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"chronik.dev/chronik/broker/segment"
	"chronik.dev/chronik/broker/vfs"
)

// sums gathers entries of chronik.sums between checkpoints and appends them at each. It never holds the file in memory.
type sums struct {
	fs      vfs.FS
	path    string
	end     int64 // where the next entry belongs, -1 unknown
	pending []segment.Sum
}

func newSums(fsys vfs.FS, dir string) sums {
	return sums{fs: fsys, path: filepath.Join(dir, segment.SumsFileName), end: -1}
}

// add takes bytes written to a file at from; a small file is added whole. Consecutive pieces share an entry of at most SumSpan bytes.
func (s *sums) add(k segment.Kind, base, from int64, data []byte) {
	for len(data) > 0 {
		n := len(s.pending) - 1
		if n < 0 || s.pending[n].Kind != k || s.pending[n].Base != base || s.pending[n].To != from || from-s.pending[n].From >= segment.SumSpan {
			s.pending = append(s.pending, segment.Sum{Kind: k, Base: base, From: from, To: from})
			n = len(s.pending) - 1
		}
		e := &s.pending[n]
		piece := data[:min(int64(len(data)), segment.SumSpan-(e.To-e.From))]
		e.CRC = crc32.Update(e.CRC, castagnoli, piece)
		e.To += int64(len(piece))
		from += int64(len(piece))
		data = data[len(piece):]
	}
}

// cut is told that a file ends at size from now on. An entry that covers bytes on both sides is void as soon as the next one begins at size, so
// what it covers of the bytes that stay is covered again, from its beginning on; and as the new entry voids those that end past that, so is
// what they cover, and so on. The file must hold those bytes.
func (s *sums) cut(k segment.Kind, base, size int64) error {
	var of []segment.Sum
	take := func(e segment.Sum) {
		if e.Kind == k && e.Base == base && e.From < size {
			of = append(of, e)
		}
	}
	if err := s.each(take); err != nil {
		return err
	}
	for _, e := range s.pending {
		take(e)
	}
	slices.SortFunc(of, func(a, b segment.Sum) int { return cmp.Compare(b.From, a.From) })
	from := size
	for _, e := range of { // those that begin later first: each decides for those before it
		if e.From < from && from < e.To {
			from = e.From
		}
	}
	if from == size {
		return nil
	}
	return s.addFile(k, base, from, size)
}

// addFile covers bytes [from, to) of a file as it is now.
func (s *sums) addFile(k segment.Kind, base, from, to int64) (err error) {
	f, err := s.fs.OpenFile(filepath.Join(filepath.Dir(s.path), k.Name(base)), os.O_RDONLY)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	buf := make([]byte, min(to-from, segment.SumSpan))
	for from < to {
		b := buf[:min(int64(len(buf)), to-from)]
		if _, err := f.ReadAt(b, from); err != nil {
			return err
		}
		s.add(k, base, from, b)
		from += int64(len(b))
	}
	return nil
}

// each calls fn with every good entry of the file.
func (s *sums) each(fn func(segment.Sum)) (err error) {
	f, err := s.fs.OpenFile(s.path, os.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	buf := make([]byte, 64*segment.SumSize)
	for pos := int64(0); ; pos += int64(len(buf)) {
		n, err := f.ReadAt(buf, pos)
		entries, _, _ := segment.DecodeSums(buf[:n])
		for _, e := range entries {
			fn(e)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// write appends the pending entries, unsynced. On an error it may be called again.
func (s *sums) write() error {
	if len(s.pending) == 0 {
		return nil
	}
	f, err := s.fs.OpenFile(s.path, os.O_CREATE|os.O_RDWR)
	if err != nil {
		return err
	}
	if s.end < 0 {
		err = s.findEnd(f)
	}
	if err == nil {
		_, err = f.WriteAt(segment.EncodeSums(s.pending), s.end)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	s.end += int64(len(s.pending)) * segment.SumSize
	s.pending = s.pending[:0]
	return nil
}

// findEnd finds the end of the last good entry and cuts what a crash left behind it.
func (s *sums) findEnd(f vfs.File) error {
	size, err := f.Size()
	if err != nil {
		return err
	}
	end := size - size%segment.SumSize
	buf := make([]byte, 64*segment.SumSize)
	for end > 0 {
		from := max(0, end-int64(len(buf)))
		if _, err := f.ReadAt(buf[:end-from], from); err != nil {
			return err
		}
		_, good, _ := segment.DecodeSums(buf[:end-from])
		if good > 0 {
			end = from + good
			break
		}
		end = from
	}
	if end < size {
		if err := f.Truncate(end); err != nil {
			return err
		}
	}
	s.end = end
	return nil
}

// compact rewrites the file without entries of files that are gone, if that at least halves it. Bytes already counted stay counted.
func (s *sums) compact(keep func(k segment.Kind, base int64) bool) error {
	if there, err := vfs.Exists(s.fs, s.path); err != nil || !there {
		return err
	}
	file, err := segment.OpenSums(s.fs, filepath.Dir(s.path))
	if err != nil {
		return err
	}
	s.end = -1
	if err := file.Compact(keep); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
