package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sort"
)

// The classes of faults; the rows of the table.
const (
	flip      = "one bit of a byte flipped"
	zero      = "sector zeroed"
	duplicate = "sector copied over the next"
	swap      = "sector swapped with the next"
	cut       = "file cut"
	remove    = "file deleted"
	rollback  = "file replaced by an older copy"
)

var classes = []string{flip, zero, duplicate, swap, cut, remove, rollback}

const sector = 512

// image is a directory's regular files.
type image map[string][]byte

// readImage reads a directory tree; symbolic links and sockets are left out.
func readImage(dir string) (image, error) {
	m := image{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		m[name] = data
		return err
	})
	return m, err
}

func (m image) names() []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

// write makes dir hold the image and nothing else, with one file damaged.
func (m image) write(dir string, f *fault) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	for name, data := range m {
		if f != nil && name == f.file {
			if data = f.data; data == nil {
				continue
			}
		}
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// fault is one damage to one file.
type fault struct {
	class, file, text string
	data              []byte // the file's content; nil: it is removed
}

func (f *fault) String() string { return f.file + ": " + f.text }

// catalogue lists the faults of an image: flips bits spread over all written bytes (0: one in every byte), sectors of each kind of sector fault at
// most (0: all), and the whole-file faults. An older copy of a file is what older has under its name, where that differs.
func catalogue(m, older image, flips, sectors int, seed uint64) []*fault {
	rng := rand.New(rand.NewPCG(seed, 1))
	var out []*fault
	written := 0
	for _, data := range m {
		written += len(places(data))
	}
	for _, name := range m.names() {
		data := m[name]
		at := places(data)
		stride := 1
		if flips > 0 {
			stride = max(1, written/flips)
			stride = min(stride, max(1, len(at)/24)) // small files get their share
		}
		for i := rng.IntN(stride); i < len(at); i += stride {
			bad := bytes.Clone(data)
			bit := rng.IntN(8)
			bad[at[i]] ^= 1 << bit
			out = append(out, &fault{flip, name, fmt.Sprintf("bit %d of byte %d flipped", bit, at[i]), bad})
		}
		out = append(out, wholeFile(name, data, older)...)
	}
	all := map[string][]*fault{}
	for _, name := range m.names() {
		for _, f := range sectorFaults(name, m[name]) {
			all[f.class] = append(all[f.class], f)
		}
	}
	for _, class := range []string{zero, duplicate, swap} {
		list := all[class]
		if sectors > 0 && len(list) > sectors {
			rng.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
			list = list[:sectors]
		}
		out = append(out, list...)
	}
	return out
}

// places are the bytes worth a flip: all but the inside of long runs of zeros, which are space that was prepared and not yet written.
func places(data []byte) (at []int) {
	const long, edge = 4096, 64
	for i := 0; i < len(data); {
		run := i
		for run < len(data) && data[run] == 0 {
			run++
		}
		if run-i >= long {
			for j := i; j < i+edge; j++ {
				at = append(at, j)
			}
			i = run
			continue
		}
		for ; i <= run && i < len(data); i++ {
			at = append(at, i)
		}
	}
	return at
}

func sectorFaults(name string, was []byte) (out []*fault) {
	add := func(class, format string, at int, data []byte) {
		if !bytes.Equal(data, was) {
			out = append(out, &fault{class, name, fmt.Sprintf(format, at), data})
		}
	}
	for from := 0; from < len(was); from += sector {
		to := min(from+sector, len(was))
		zeroed := bytes.Clone(was)
		clear(zeroed[from:to])
		add(zero, "sector at %d zeroed", from, zeroed)
		if to-from < sector || len(was)-to < sector {
			continue
		}
		twice, swapped := bytes.Clone(was), bytes.Clone(was)
		copy(twice[to:to+sector], was[from:to])
		copy(swapped[from:to], was[to:to+sector])
		copy(swapped[to:to+sector], was[from:to])
		add(duplicate, "sector at %d copied over the next", from, twice)
		add(swap, "sector at %d swapped with the next", from, swapped)
	}
	return out
}

// wholeFile cuts a file at 24 places at most (some at sectors' borders, the first and last byte), removes it, and puts an older copy back.
func wholeFile(name string, was []byte, older image) []*fault {
	out := []*fault{{remove, name, "deleted", nil}}
	sizes := map[int]bool{}
	for i := range 8 {
		n := len(was) * i / 8
		sizes[n], sizes[n/sector*sector] = true, true
	}
	last := len(bytes.TrimRight(was, "\x00"))
	for _, n := range []int{1, len(was) - 1, last - 1, last - 100, last/sector*sector - sector} {
		sizes[n] = true
	}
	var sorted []int
	for n := range sizes {
		if n >= 0 && n < len(was) {
			sorted = append(sorted, n)
		}
	}
	sort.Ints(sorted)
	for _, n := range sorted {
		out = append(out, &fault{cut, name, fmt.Sprintf("cut to %d of %d bytes", n, len(was)), append([]byte{}, was[:n]...)})
	}
	if old, ok := older[name]; ok && !bytes.Equal(old, was) {
		out = append(out, &fault{rollback, name, "replaced by the copy from half-way", append([]byte{}, old...)})
	}
	return out
}
