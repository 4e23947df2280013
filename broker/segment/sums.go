package segment

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"chronik.dev/chronik/broker/vfs"
)

const (
	// SumSize is the size in bytes of one entry of chronik.sums.
	SumSize = 36
	// SumSpan is the most bytes of a file that one entry covers.
	SumSpan = 64 << 10

	sumVersion   = 1
	maxSumsBytes = 256 << 20 // of a chronik.sums file: 7 million entries, 450 GB of log
)

// Sum is one entry of chronik.sums: the CRC-32C of bytes [From, To) of a file in the same directory. An entry voids every earlier entry
// of that file that ends past its From, so a file may be cut and grow again, or be replaced.
type Sum struct {
	Kind     Kind
	Base     int64 // base offset in the file's name, 0 where it has none
	From, To int64
	CRC      uint32
}

func (s *Sum) append(b []byte) []byte {
	be := binary.BigEndian
	at := len(b)
	b = append(b, sumVersion, byte(s.Kind), 0, 0)
	for _, v := range [...]int64{s.Base, s.From, s.To} {
		b = be.AppendUint64(b, uint64(v))
	}
	b = be.AppendUint32(b, s.CRC)
	return be.AppendUint32(b, crc32.Checksum(b[at:], castagnoli))
}

// EncodeSums encodes entries of chronik.sums.
func EncodeSums(sums []Sum) []byte {
	b := make([]byte, 0, len(sums)*SumSize)
	for i := range sums {
		b = sums[i].append(b)
	}
	return b
}

// DecodeSums decodes chronik.sums and goes on past damage: entries lie at multiples of SumSize, each with its own CRC. end is the position
// after the last good entry, where the next belongs. Faults behind it are a torn tail, those before it are damage.
func DecodeSums(b []byte) (sums []Sum, end int64, faults []*Error) {
	be := binary.BigEndian
	sums = make([]Sum, 0, len(b)/SumSize)
	for pos := 0; pos < len(b); pos += SumSize {
		e := b[pos:]
		fault := func(r Reason, format string, args ...any) {
			faults = append(faults, &Error{Offset: int64(pos), Reason: r, Detail: fmt.Sprintf(format, args...)})
		}
		if len(e) < SumSize {
			fault(Truncated, "%d bytes after the last entry", len(e))
			break
		}
		if got, want := crc32.Checksum(e[:32], castagnoli), be.Uint32(e[32:]); got != want {
			fault(BadChecksum, "CRC-32C of the entry is %08x, it says %08x", got, want)
			continue
		}
		end = int64(pos + SumSize)
		if e[0] != sumVersion {
			fault(BadVersion, "unknown format version %d, want %d", e[0], sumVersion)
			continue
		}
		s := Sum{Kind(e[1]), int64(be.Uint64(e[4:])), int64(be.Uint64(e[12:])), int64(be.Uint64(e[20:])), be.Uint32(e[28:])}
		if !s.Kind.Valid() || s.Kind == SumsFile || s.Base < 0 || s.From < 0 || s.To <= s.From || s.To-s.From > SumSpan || e[2] != 0 || e[3] != 0 {
			fault(BadSyntax, "kind %d, base %d, bytes %d to %d", e[1], s.Base, s.From, s.To)
			continue
		}
		sums = append(sums, s)
	}
	return sums, end, faults
}

// fileID names a file of a partition directory.
type fileID struct {
	kind Kind
	base int64
}

// Live drops the entries that a later one voids, and those that end past the size of their file; size returns -1 for a file that is not to
// be looked at. The order is kept.
func Live(sums []Sum, size func(k Kind, base int64) int64) []Sum {
	from := map[fileID]int64{} // the lowest From of the later entries
	live := make([]Sum, 0, len(sums))
	for i := len(sums) - 1; i >= 0; i-- {
		s := sums[i]
		id := fileID{s.Kind, s.Base}
		low, seen := from[id]
		void := seen && s.To > low
		if !seen || s.From < low {
			from[id] = s.From
		}
		if !void && s.To <= size(s.Kind, s.Base) {
			live = append(live, s)
		}
	}
	for i, j := 0, len(live)-1; i < j; i, j = i+1, j-1 {
		live[i], live[j] = live[j], live[i]
	}
	return live
}

// Uncovered returns the ranges [from, to) of the first size bytes of a file that no entry covers, rising. The entries must be live (Live).
func Uncovered(live []Sum, k Kind, base, size int64) (gaps [][2]int64) {
	var of []Sum
	for _, s := range live {
		if s.Kind == k && s.Base == base {
			of = append(of, s)
		}
	}
	slices.SortFunc(of, func(a, b Sum) int { return cmp.Compare(a.From, b.From) })
	at := int64(0)
	for _, s := range of {
		if s.From > at {
			gaps = append(gaps, [2]int64{at, min(s.From, size)})
		}
		if at = max(at, s.To); at >= size {
			return gaps
		}
	}
	if at < size {
		gaps = append(gaps, [2]int64{at, size})
	}
	return gaps
}

// Sums is the chronik.sums of one partition directory, open for writing. It is not safe for concurrent use.
type Sums struct {
	fs      vfs.FS
	path    string
	end     int64 // bytes of good entries
	sums    []Sum // in the file
	pending []Sum // added, not yet written
	faults  []*Error
}

// SumGuards are the ranges that the entry at a position of chronik.sums covers with its own CRC-32C, and where that lies, in big-endian order:
// from, to, CRC.
func SumGuards(data []byte, pos int64) [][3]int {
	if pos < 0 || pos+SumSize > int64(len(data)) {
		return nil
	}
	at := int(pos)
	return [][3]int{{at, at + SumSize - 4, at + SumSize - 4}}
}

// OpenSums reads the chronik.sums of a directory; a missing file is an empty one. Nothing is written.
func OpenSums(fsys vfs.FS, dir string) (*Sums, error) {
	s := &Sums{fs: fsys, path: filepath.Join(dir, SumsFileName)}
	b, err := vfs.ReadFile(fsys, s.path, maxSumsBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, err
	}
	s.sums, s.end, s.faults = DecodeSums(b)
	for _, f := range s.faults {
		f.File = s.path
	}
	return s, nil
}

// Faults is what OpenSums could not read.
func (s *Sums) Faults() []*Error { return s.faults }

// Entries is what the file holds, without what Add gained since the last Write.
func (s *Sums) Entries() []Sum { return s.sums }

// Add takes bytes that were written to a file at from. A file that is written as a whole is added from 0. Consecutive pieces share an
// entry of at most SumSpan bytes.
func (s *Sums) Add(k Kind, base, from int64, data []byte) {
	for len(data) > 0 {
		var e *Sum
		if n := len(s.pending); n > 0 {
			e = &s.pending[n-1]
		}
		if e == nil || e.Kind != k || e.Base != base || e.To != from || e.To-e.From == SumSpan {
			s.pending = append(s.pending, Sum{Kind: k, Base: base, From: from, To: from})
			e = &s.pending[len(s.pending)-1]
		}
		n := min(int64(len(data)), SumSpan-(e.To-e.From))
		e.CRC = crc32.Update(e.CRC, castagnoli, data[:n])
		e.To += n
		from += n
		data = data[n:]
	}
}

// Write appends what was added to the file with one write; it does not sync. On an error it may be called again.
func (s *Sums) Write() error {
	if len(s.pending) == 0 {
		return nil
	}
	f, err := s.fs.OpenFile(s.path, os.O_CREATE|os.O_RDWR)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(EncodeSums(s.pending), s.end)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	s.end += int64(len(s.pending)) * SumSize
	s.sums = append(s.sums, s.pending...)
	s.pending = nil
	return nil
}

// Compact rewrites the file, synced and in one step, without void entries and those of files that keep refuses, if that at least halves it.
func (s *Sums) Compact(keep func(k Kind, base int64) bool) error {
	live := Live(s.sums, func(k Kind, base int64) int64 {
		if keep(k, base) {
			return 1<<63 - 1
		}
		return -1
	})
	if len(live) > len(s.sums)/2 {
		return nil
	}
	if err := vfs.WriteFile(s.fs, s.path, EncodeSums(live)); err != nil {
		return err
	}
	s.sums, s.end, s.faults = live, int64(len(live))*SumSize, nil
	return nil
}

// CheckSums compares the bytes of a directory's files with the live entries and reports every difference, in the order of the entries.
// size is as in Live. Memory is bounded. The error is one of I/O.
func CheckSums(fsys vfs.FS, dir string, sums []Sum, size func(k Kind, base int64) int64, report func(Finding)) error {
	buf := make([]byte, SumSpan)
	var f vfs.File
	var open fileID
	defer func() {
		if f != nil {
			_ = f.Close()
		}
	}()
	for _, s := range Live(sums, size) {
		name := s.Kind.Name(s.Base)
		if id := (fileID{s.Kind, s.Base}); f == nil || open != id {
			if f != nil {
				_ = f.Close()
			}
			var err error
			if f, err = fsys.OpenFile(filepath.Join(dir, name), os.O_RDONLY); errors.Is(err, fs.ErrNotExist) {
				f = nil
				report(Finding{File: name, Length: s.To, Record: "file", Reason: MissingFile, Detail: "chronik.sums has entries of it", Last: -1})
				continue
			} else if err != nil {
				return err
			}
			open = id
		}
		n, err := f.ReadAt(buf[:s.To-s.From], s.From)
		if err != nil && err != io.EOF {
			return err
		}
		if int64(n) < s.To-s.From {
			report(Finding{File: name, Offset: s.From + int64(n), Length: s.To - s.From - int64(n), Record: "file", Reason: Truncated, Detail: "chronik.sums covers more", Last: -1})
			continue
		}
		if got := crc32.Checksum(buf[:n], castagnoli); got != s.CRC {
			report(Finding{File: name, Offset: s.From, Length: int64(n), Record: "sum", Reason: BadSum, Detail: fmt.Sprintf("CRC-32C is %08x, chronik.sums says %08x", got, s.CRC), Last: -1})
		}
	}
	return nil
}
