package vfs

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// TestConformance runs the same calls on the host's disk and on the one in memory.
func TestConformance(t *testing.T) {
	t.Run("OS", func(t *testing.T) { conform(t, OS, t.TempDir()) })
	t.Run("Mem", func(t *testing.T) { conform(t, NewMem(1), "/data") })
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantIs(t testing.TB, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Fatalf("got error %v, want %v", err, target)
	}
}

func conform(t *testing.T, fsys FS, root string) {
	dir := filepath.Join(root, "a", "b")
	must(t, MkdirAll(fsys, dir))
	must(t, MkdirAll(fsys, dir))
	wantIs(t, fsys.Mkdir(dir), fs.ErrExist)
	name := filepath.Join(dir, "x")
	_, err := fsys.OpenFile(name, os.O_RDWR)
	wantIs(t, err, fs.ErrNotExist)
	_, err = fsys.Stat(name)
	wantIs(t, err, fs.ErrNotExist)
	must(t, WriteFile(fsys, name, []byte("hello")))
	_, err = fsys.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL)
	wantIs(t, err, fs.ErrExist)
	got, err := ReadFile(fsys, name, 5)
	must(t, err)
	if string(got) != "hello" {
		t.Fatalf("read %q", got)
	}
	_, err = ReadFile(fsys, name, 4)
	wantIs(t, err, ErrTooLarge)

	for _, flag := range []int{0, DSync} {
		f, err := fsys.OpenFile(name, os.O_RDWR|flag)
		must(t, err)
		_, err = f.WriteAt([]byte("end"), 8190)
		must(t, err)
		must(t, f.Sync())
		size, err := f.Size()
		must(t, err)
		if size != 8193 {
			t.Fatalf("size %d", size)
		}
		b := make([]byte, 4)
		if n, err := f.ReadAt(b, 8191); n != 2 || err == nil || string(b[:n]) != "nd" {
			t.Fatalf("short read: %d %v %q", n, err, b)
		}
		if n, err := f.ReadAt(b, 5); n != 4 || err != nil || !bytes.Equal(b, make([]byte, 4)) {
			t.Fatalf("hole: %d %v %q", n, err, b)
		}
		must(t, f.Truncate(3))
		must(t, f.Truncate(9))
		b = make([]byte, 9)
		_, err = f.ReadAt(b, 0)
		must(t, err)
		if string(b) != "hel\x00\x00\x00\x00\x00\x00" {
			t.Fatalf("after truncate: %q", b)
		}
		must(t, f.Close())
		wantIs(t, f.Close(), fs.ErrClosed)
	}
	conformDirect(t, fsys, filepath.Join(dir, "direct"))
	conformNames(t, fsys, dir, name)
}

func conformDirect(t *testing.T, fsys FS, name string) {
	f, err := fsys.OpenFile(name, os.O_RDWR|os.O_CREATE|Direct|DSync)
	if errors.Is(err, ErrDirect) {
		t.Log("no direct I/O here")
		must(t, WriteFile(fsys, name, nil))
		return
	}
	must(t, err)
	defer f.Close()
	b := Aligned(2 * Block)
	b[Block] = 7
	if _, err = f.WriteAt(b, Block); errors.Is(err, ErrDirect) {
		return
	}
	must(t, err)
	if _, err := f.WriteAt(b[:Block], 100); err == nil {
		t.Fatal("unaligned offset accepted")
	}
	clear(b)
	_, err = f.ReadAt(b, Block)
	must(t, err)
	if b[Block] != 7 {
		t.Fatal("direct read differs")
	}
}

func conformNames(t *testing.T, fsys FS, dir, name string) {
	other := filepath.Join(dir, "a0")
	must(t, WriteFile(fsys, other, []byte("other")))
	infos, err := fsys.ReadDir(dir)
	must(t, err)
	var names []string
	for _, i := range infos {
		names = append(names, i.Name())
	}
	if len(names) != 3 || names[0] != "a0" || names[1] != "direct" || names[2] != "x" {
		t.Fatalf("names %v", names)
	}
	must(t, fsys.Rename(other, name))
	must(t, fsys.SyncDir(dir))
	must(t, fsys.SyncFS(dir))
	if ok, err := Exists(fsys, other); ok || err != nil {
		t.Fatalf("exists %v %v", ok, err)
	}
	got, err := ReadFile(fsys, name, 100)
	must(t, err)
	if string(got) != "other" {
		t.Fatalf("renamed: %q", got)
	}
	if err := fsys.Remove(dir); err == nil {
		t.Fatal("removed a directory that is not empty")
	}
	wantIs(t, fsys.Remove(other), fs.ErrNotExist)
	wantIs(t, fsys.Rename(other, name), fs.ErrNotExist)
	lock, err := fsys.Lock(dir)
	must(t, err)
	_, err = fsys.Lock(dir)
	wantIs(t, err, ErrLocked)
	must(t, lock.Close())
	lock, err = fsys.Lock(dir)
	must(t, err)
	must(t, lock.Close())
	if n, err := fsys.Free(dir); n <= 0 || err != nil {
		t.Fatalf("free %d %v", n, err)
	}
	top := filepath.Dir(dir)
	must(t, RemoveAll(fsys, top))
	must(t, RemoveAll(fsys, top))
	if ok, err := Exists(fsys, top); ok || err != nil {
		t.Fatalf("exists %v %v", ok, err)
	}
}
