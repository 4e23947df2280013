package vfs

import (
	"bytes"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// TestOverlayModel drives the same random calls against an overlay and against a copy of the disk below it: both see the same tree, the disk
// below does not change, and Changes names exactly what differs.
func TestOverlayModel(t *testing.T) {
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 5))
		base := NewMem(seed)
		for _, d := range []string{"/d", "/d/a", "/d/b"} {
			must(t, base.Mkdir(d))
		}
		for i := range 4 {
			must(t, WriteFile(base, fmt.Sprintf("/d/a/%d", i), fill(rng.IntN(9000), byte(i+1))))
		}
		model, before := base.Kill(), base.Kill()
		over := NewOverlay(base)
		for step := range 60 {
			call := randomCall(rng)
			got, want := call(over), call(model)
			if (got == nil) != (want == nil) {
				t.Fatalf("seed %d step %d: overlay says %v, the disk %v", seed, step, got, want)
			}
		}
		sameTree(t, over, model, "/d")
		sameTree(t, base, before, "/d")
		checkChanges(t, over, base, model)
	}
}

// randomCall returns one call that can be made on several file systems.
func randomCall(rng *rand.Rand) func(FS) error {
	dirs := []string{"/d", "/d/a", "/d/b", "/d/b/c"}
	name := func() string { return filepath.Join(dirs[rng.IntN(len(dirs))], fmt.Sprint(rng.IntN(4))) }
	a, b, dir := name(), name(), dirs[1+rng.IntN(3)]
	off, data, size := int64(rng.IntN(9000)), fill(1+rng.IntN(5000), byte(1+rng.IntN(255))), int64(rng.IntN(9000))
	flag := os.O_RDWR
	if rng.IntN(2) == 0 {
		flag |= os.O_CREATE
	}
	switch rng.IntN(9) {
	case 0, 1, 2:
		return onFile(a, flag, func(f File) error { _, err := f.WriteAt(data, off); return err })
	case 3:
		return onFile(a, flag, func(f File) error { return f.Truncate(size) })
	case 4:
		return func(fsys FS) error { return fsys.Remove(a) }
	case 5:
		return func(fsys FS) error { return fsys.Rename(a, b) }
	case 6:
		return func(fsys FS) error { return fsys.Mkdir(dir) }
	case 7:
		return func(fsys FS) error { return WriteFile(fsys, a, data) }
	}
	return func(fsys FS) error { return fsys.Rename("/d/a", "/d/b/c") }
}

func onFile(name string, flag int, fn func(File) error) func(FS) error {
	return func(fsys FS) error {
		f, err := fsys.OpenFile(name, flag)
		if err != nil {
			return err
		}
		defer f.Close()
		return fn(f)
	}
}

func sameTree(t *testing.T, a, b FS, dir string) {
	t.Helper()
	list := func(fsys FS) []fs.FileInfo {
		infos, err := fsys.ReadDir(dir)
		must(t, err)
		return infos
	}
	as, bs := list(a), list(b)
	for i := range max(len(as), len(bs)) {
		if i >= len(as) || i >= len(bs) || as[i].Name() != bs[i].Name() || as[i].IsDir() != bs[i].IsDir() {
			t.Fatalf("%s: %d names and %d; they differ at %d", dir, len(as), len(bs), i)
		}
		name := filepath.Join(dir, as[i].Name())
		if as[i].IsDir() {
			sameTree(t, a, b, name)
			continue
		}
		x, err := ReadFile(a, name, 1<<20)
		must(t, err)
		y, err := ReadFile(b, name, 1<<20)
		must(t, err)
		if !bytes.Equal(x, y) || as[i].Size() != bs[i].Size() {
			t.Fatalf("%s: %d bytes and %d differ", name, len(x), len(y))
		}
	}
}

// checkChanges compares Changes with a comparison of the two trees.
func checkChanges(t *testing.T, over *Overlay, base, now FS) {
	t.Helper()
	changes, err := over.Changes()
	must(t, err)
	told := map[string]Change{}
	for _, c := range changes {
		told[c.Name] = c
	}
	seen := map[string]bool{}
	var walk func(fsys FS, dir string)
	walk = func(fsys FS, dir string) {
		infos, err := fsys.ReadDir(dir)
		must(t, err)
		for _, info := range infos {
			name := filepath.Join(dir, info.Name())
			seen[name] = true
			if info.IsDir() {
				walk(fsys, name)
			}
		}
	}
	walk(base, "/d")
	walk(now, "/d")
	for name := range seen {
		old, oldErr := base.Stat(name)
		is, isErr := now.Stat(name)
		c, listed := told[name]
		delete(told, name)
		differs := (oldErr == nil) != (isErr == nil)
		if !differs && !old.IsDir() {
			x, _ := ReadFile(base, name, 1<<20)
			y, _ := ReadFile(now, name, 1<<20)
			differs = !bytes.Equal(x, y)
		}
		if differs && !listed {
			t.Fatalf("%s differs and is not listed", name)
		}
		if listed && c.Gone != (isErr != nil) {
			t.Fatalf("%s: %+v, and it is there: %v", name, c, isErr == nil)
		}
		if listed && isErr == nil && c.Dir != is.IsDir() {
			t.Fatalf("%s: %+v", name, c)
		}
	}
	for name := range told {
		t.Fatalf("%s is listed and was never there", name)
	}
}

// TestOverlayReads: what the answer depended on is remembered.
func TestOverlayReads(t *testing.T) {
	base := NewMem(1)
	must(t, base.Mkdir("/d"))
	must(t, WriteFile(base, "/d/read", []byte("x")))
	must(t, WriteFile(base, "/d/not", []byte("y")))
	over := NewOverlay(base)
	if _, err := ReadFile(over, "/d/read", 10); err != nil {
		t.Fatal(err)
	}
	must(t, WriteFile(over, "/d/new", []byte("z")))
	if _, err := ReadFile(over, "/d/new", 10); err != nil {
		t.Fatal(err)
	}
	if _, err := over.ReadDir("/d"); err != nil {
		t.Fatal(err)
	}
	files, dirs := over.Reads()
	if fmt.Sprint(files, dirs) != "[/d/read] [/d]" {
		t.Fatalf("read %v, listed %v", files, dirs)
	}
	if _, err := over.OpenFile("/d/read", os.O_RDWR|Direct); err == nil {
		t.Fatal("direct I/O was accepted")
	}
}
