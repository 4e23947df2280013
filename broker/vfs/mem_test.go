package vfs

import (
	"bytes"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func openFile(t testing.TB, fsys FS, name string, flag int) File {
	t.Helper()
	f, err := fsys.OpenFile(name, flag)
	must(t, err)
	return f
}

func write(t testing.TB, f File, data []byte, off int64) {
	t.Helper()
	n, err := f.WriteAt(data, off)
	must(t, err)
	if n != len(data) {
		t.Fatalf("wrote %d of %d", n, len(data))
	}
}

func fill(n int, b byte) []byte { return bytes.Repeat([]byte{b}, n) }

// durableFile makes /d/f durable with n bytes b.
func durableFile(t testing.TB, m *Mem, n int, b byte) File {
	t.Helper()
	must(t, MkdirAll(m, "/d"))
	f := openFile(t, m, "/d/f", os.O_RDWR|os.O_CREATE)
	write(t, f, fill(n, b), 0)
	must(t, f.Sync())
	must(t, m.SyncDir("/d"))
	return f
}

func content1(t testing.TB, m *Mem, name string) []byte {
	t.Helper()
	b, err := m.Bytes(name)
	must(t, err)
	return b
}

func TestOnlySyncedSurvivesNone(t *testing.T) {
	m := NewMem(1)
	f := durableFile(t, m, 1024, 'a')
	write(t, f, fill(512, 'b'), 512)
	write(t, f, fill(512, 'c'), 1024)
	must(t, WriteFile(m, "/d/g", []byte("kept")))
	g := openFile(t, m, "/d/h", os.O_RDWR|os.O_CREATE)
	write(t, g, []byte("entry not synced"), 0)
	must(t, g.Sync())
	must(t, m.Remove("/d/g"))
	rng := rand.New(rand.NewPCG(1, 1))

	none := m.CrashMode(rng, None)
	if got := content1(t, none, "/d/f"); !bytes.Equal(got, fill(1024, 'a')) {
		t.Fatalf("none: %q", got)
	}
	if got := none.Files(); fmt.Sprint(got) != "[/d/f /d/g]" {
		t.Fatalf("none: %v", got)
	}
	all := m.CrashMode(rng, All)
	want := append(append(fill(512, 'a'), fill(512, 'b')...), fill(512, 'c')...)
	if got := content1(t, all, "/d/f"); !bytes.Equal(got, want) {
		t.Fatalf("all: %q", got)
	}
	if got := all.Files(); fmt.Sprint(got) != "[/d/f /d/h]" {
		t.Fatalf("all: %v", got)
	}
	if n := m.Unsynced(); n != 5 { // two fragments, a size, the entry h, the removal of g
		t.Fatalf("%d units pending", n)
	}
	must(t, m.SyncFS("/"))
	if n := m.Unsynced(); n != 0 {
		t.Fatalf("%d units pending after SyncFS", n)
	}
	if got := content1(t, m.CrashMode(rng, None), "/d/f"); !bytes.Equal(got, want) {
		t.Fatalf("after SyncFS: %q", got)
	}
}

func TestEverySubset(t *testing.T) {
	m := NewMem(1)
	f := durableFile(t, m, 1024, 'a')
	write(t, f, fill(1536, 'b'), 0) // fragments 0 and 1 change, 2 is new, the size grows
	seen := map[string]bool{}
	done, err := m.EachCrash(14, func(c *Mem) error {
		b, err := c.Bytes("/d/f")
		state := fmt.Sprint(len(b))
		for at := 0; at < len(b); at += 512 {
			for _, x := range b[at : at+512] {
				if x != b[at] {
					return fmt.Errorf("fragment at %d is torn", at)
				}
			}
			state += fmt.Sprintf(" %d", b[at])
		}
		seen[state] = true
		return err
	})
	must(t, err)
	// size 1024: 4 states; size 1536: 4 times (zeros or new).
	if !done || len(seen) != 12 || !seen["1536 97 98 0"] || !seen["1024 98 97"] {
		t.Fatalf("%v %d %v", done, len(seen), seen)
	}
	write(t, f, fill(15*512, 'c'), 0)
	if done, err := m.EachCrash(14, nil); done || err != nil {
		t.Fatalf("too many units: %v %v", done, err)
	}
}

func TestFragmentVersions(t *testing.T) {
	m := NewMem(1)
	f := durableFile(t, m, 512, 'a')
	write(t, f, []byte("b"), 0)
	write(t, f, []byte("c"), 1)
	seen := map[string]bool{}
	_, err := m.EachCrash(14, func(c *Mem) error {
		seen[string(content1(t, c, "/d/f")[:2])] = true
		return nil
	})
	must(t, err)
	if fmt.Sprint(seen) != "map[aa:true ba:true bc:true]" { // a sector is written whole: never "ac"
		t.Fatal(seen)
	}
}

func TestWriteFileIsAtomic(t *testing.T) {
	m := NewMem(1)
	must(t, MkdirAll(m, "/d"))
	must(t, WriteFile(m, "/d/x", fill(1500, 'o')))
	states, points := 0, 0
	m.SetHook(func(op Op) {
		points++
		done, err := m.EachCrash(14, func(c *Mem) error {
			states++
			if b := content1(t, c, "/d/x"); !bytes.Equal(b, fill(1500, 'o')) && !bytes.Equal(b, fill(600, 'n')) {
				return fmt.Errorf("%s: neither old nor new: %d bytes", op, len(b))
			}
			return nil
		})
		if !done || err != nil {
			t.Errorf("done %v: %v", done, err)
		}
	})
	must(t, WriteFile(m, "/d/x", fill(600, 'n')))
	if points != 5 || states < 20 {
		t.Fatalf("%d points, %d states", points, states)
	}
	m.SetHook(nil)
	if b := content1(t, m.CrashMode(rand.New(rand.NewPCG(1, 1)), None), "/d/x"); !bytes.Equal(b, fill(600, 'n')) {
		t.Fatal("not durable after return")
	}
}

func TestSynchronousWriteTears(t *testing.T) {
	m := NewMem(1)
	durableFile(t, m, 4096, 'a')
	f := openFile(t, m, "/d/f", os.O_RDWR|Direct|DSync)
	torn := 0
	m.SetHook(func(Op) {
		_, err := m.EachCrash(14, func(c *Mem) error {
			if b := content1(t, c, "/d/f"); bytes.IndexByte(b, 'a') >= 0 && bytes.IndexByte(b, 'b') >= 0 {
				torn++
			}
			return nil
		})
		must(t, err)
	})
	b := Aligned(4096)
	copy(b, fill(4096, 'b'))
	write(t, f, b, 0)
	if torn != 254 {
		t.Fatalf("%d torn states", torn)
	}
	if n := m.Unsynced(); n != 0 {
		t.Fatalf("%d units pending after a synchronous write", n)
	}
	if _, err := f.WriteAt(b, 512); err == nil {
		t.Fatal("unaligned offset accepted")
	}
	if _, err := f.WriteAt(append([]byte{}, b[1:]...), 0); err == nil {
		t.Fatal("unaligned memory accepted")
	}
}

func TestSynchronousWriteLeavesOthersPending(t *testing.T) {
	m := NewMem(1)
	f := durableFile(t, m, 1024, 'a')
	s := openFile(t, m, "/d/f", os.O_RDWR|DSync)
	write(t, f, fill(1024, 'b'), 0)
	write(t, s, fill(512, 'c'), 512)
	rng := rand.New(rand.NewPCG(1, 1))
	want := append(fill(512, 'a'), fill(512, 'c')...)
	if got := content1(t, m.CrashMode(rng, None), "/d/f"); !bytes.Equal(got, want) {
		t.Fatalf("got %q", got[510:514])
	}
	must(t, f.Truncate(100))
	write(t, s, []byte("d"), 2000)
	if got := content1(t, m.CrashMode(rng, None), "/d/f"); !bytes.Equal(got, content1(t, m, "/d/f")) {
		t.Fatalf("truncation lost before a later synchronous write: %q", got)
	}
}

func TestKillKeepsPending(t *testing.T) {
	m := NewMem(1)
	f := durableFile(t, m, 512, 'a')
	write(t, f, fill(512, 'b'), 0)
	must(t, m.Rename("/d/f", "/d/g"))
	lock, err := m.Lock("/d")
	must(t, err)
	defer lock.Close()
	k := m.Kill()
	write(t, f, fill(512, 'c'), 0) // the dead process does not reach the copy
	if got := content1(t, k, "/d/g"); !bytes.Equal(got, fill(512, 'b')) {
		t.Fatalf("killed: %q", got[:2])
	}
	if _, err := k.Lock("/d"); err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 1))
	if got := content1(t, k.CrashMode(rng, None), "/d/f"); !bytes.Equal(got, fill(512, 'a')) {
		t.Fatalf("killed, then power lost: %q", got[:2])
	}
	must(t, k.SyncFS("/d"))
	if got := content1(t, k.CrashMode(rng, None), "/d/g"); !bytes.Equal(got, fill(512, 'b')) {
		t.Fatalf("killed, synced, power lost: %q", got[:2])
	}
	if got := content1(t, m.CrashMode(rng, None), "/d/f"); !bytes.Equal(got, fill(512, 'a')) {
		t.Fatal("the copy's sync reached the first disk")
	}
}

func TestRenameBetweenDirectories(t *testing.T) {
	m := NewMem(1)
	must(t, MkdirAll(m, "/a"))
	must(t, MkdirAll(m, "/b"))
	must(t, WriteFile(m, "/a/x", []byte("x")))
	must(t, m.Rename("/a/x", "/b/x"))
	must(t, m.SyncDir("/b"))
	seen := map[string]bool{}
	_, err := m.EachCrash(14, func(c *Mem) error { seen[fmt.Sprint(c.Files())] = true; return nil })
	must(t, err)
	if fmt.Sprint(seen) != "map[[/a/x /b/x]:true [/b/x]:true]" {
		t.Fatal(seen)
	}
}

func TestPowerOffAndLimit(t *testing.T) {
	m := NewMem(1)
	f := durableFile(t, m, 512, 'a')
	m.SetLimit(1000)
	n, err := f.WriteAt(fill(600, 'b'), 500)
	wantIs(t, err, syscall.ENOSPC)
	if n != 500 {
		t.Fatalf("short write of %d", n)
	}
	free, err := m.Free("/")
	must(t, err)
	if free != 0 {
		t.Fatalf("free %d", free)
	}
	must(t, m.Remove("/d/f"))
	if free, _ = m.Free("/"); free != 1000 {
		t.Fatalf("free %d", free)
	}
	m.PowerOff()
	wantIs(t, f.Sync(), ErrPowerOff)
	wantIs(t, m.SyncDir("/d"), ErrPowerOff)
	_, err = m.Stat("/d")
	wantIs(t, err, ErrPowerOff)
	m2 := NewMem(1)
	m2.SetDirect(false)
	_, err = m2.OpenFile("/x", os.O_CREATE|os.O_RDWR|Direct)
	wantIs(t, err, ErrDirect)
}

func TestDamageAtRest(t *testing.T) {
	m := NewMem(1)
	durableFile(t, m, 10, 'a')
	c := m.CrashClone(nil)
	must(t, m.Flip("/d/f", 3, 1))
	if got := content1(t, m.CrashClone(nil), "/d/f"); string(got) != "aaa`aaaaaa" {
		t.Fatalf("%q", got)
	}
	must(t, m.SetBytes("/d/f", []byte("short")))
	if got := content1(t, m.CrashClone(nil), "/d/f"); string(got) != "short" {
		t.Fatalf("%q", got)
	}
	if got := content1(t, c, "/d/f"); !bytes.Equal(got, fill(10, 'a')) {
		t.Fatalf("damage reached an older clone: %q", got)
	}
	wantIs(t, m.Flip("/d/x", 0, 1), fs.ErrNotExist)
}

// TestModel drives random calls against plain maps: what a process reads, and what None, All and the modes between may leave.
func TestModel(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 3))
		m := NewMem(seed)
		must(t, m.Mkdir("/d"))
		must(t, m.SyncDir("/"))
		cur, disk := map[string][]byte{}, map[string][]byte{}
		names := []string{"/d/0", "/d/1", "/d/2"}
		for _, n := range names {
			must(t, WriteFile(m, n, nil))
			cur[n], disk[n] = nil, nil
		}
		for range 60 {
			name := names[rng.IntN(len(names))]
			f := openFile(t, m, name, os.O_RDWR)
			switch rng.IntN(8) {
			case 0, 1, 2, 3:
				off, data := rng.IntN(9000), fill(1+rng.IntN(5000), byte(1+rng.IntN(255)))
				write(t, f, data, int64(off))
				b := append([]byte{}, cur[name]...)
				if len(b) < off+len(data) {
					b = append(b, make([]byte, off+len(data)-len(b))...)
				}
				copy(b[off:], data)
				cur[name] = b
			case 4:
				size := rng.IntN(9000)
				must(t, f.Truncate(int64(size)))
				cur[name] = append(append([]byte{}, cur[name]...), make([]byte, 9000)...)[:size]
			case 5:
				must(t, f.Sync())
				disk[name] = cur[name]
			case 6:
				must(t, m.SyncFS("/d"))
				for n := range cur {
					disk[n] = cur[n]
				}
			case 7:
				m = checkModel(t, m, rng, seed, cur, disk)
			}
		}
		checkModel(t, m, rng, seed, cur, disk)
	}
}

// checkModel compares the disk and its crash clones with the model, and now and then goes on with a killed copy.
func checkModel(t *testing.T, m *Mem, rng *rand.Rand, seed uint64, cur, disk map[string][]byte) *Mem {
	t.Helper()
	state := rng.Uint64()
	same := m.CrashClone(rand.New(rand.NewPCG(state, 1)))
	clone := m.CrashClone(rand.New(rand.NewPCG(state, 1)))
	none, all, killed := m.CrashMode(rng, None), m.CrashMode(rng, All), m.Kill()
	for name := range cur {
		for what, got := range map[string][]byte{"process": content1(t, m, name), "all": content1(t, all, name), "killed": content1(t, killed, name)} {
			if !bytes.Equal(got, cur[name]) {
				t.Fatalf("seed %d: %s sees other bytes in %s", seed, what, name)
			}
		}
		if got := content1(t, none, name); !bytes.Equal(got, disk[name]) {
			t.Fatalf("seed %d: durable bytes of %s differ: %d and %d", seed, filepath.Base(name), len(got), len(disk[name]))
		}
		if !bytes.Equal(content1(t, same, name), content1(t, clone, name)) {
			t.Fatalf("seed %d: two crashes with one generator differ in %s", seed, name)
		}
	}
	if rng.IntN(2) == 0 {
		return killed
	}
	return m
}

func BenchmarkCrashClone(b *testing.B) {
	m := NewMem(1)
	for i := range 100 {
		must(b, WriteFile(m, fmt.Sprintf("/%d", i), fill(64<<10, 'a')))
	}
	f := openFile(b, m, "/0", os.O_RDWR)
	write(b, f, fill(256<<10, 'b'), 0)
	rng := rand.New(rand.NewPCG(1, 1))
	b.ReportAllocs()
	for b.Loop() {
		m.CrashClone(rng)
	}
}

// TestMkdirAllAfterAKill: a directory that a killed process made, and did not come to sync, is durable when MkdirAll finds it.
func TestMkdirAllAfterAKill(t *testing.T) {
	m := NewMem(1)
	if err := m.Mkdir("/data"); err != nil {
		t.Fatal(err)
	}
	m = m.Kill()
	if err := MkdirAll(m, "/data"); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(m, "/data/file", []byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := m.CrashMode(rand.New(rand.NewPCG(1, 1)), None).Bytes("/data/file"); err != nil {
		t.Fatal(err)
	}
	f := NewFaulty(m)
	for _, err := range []error{syscall.EACCES, syscall.EPERM, syscall.EROFS, syscall.EINVAL, syscall.EIO} {
		f.Inject(Fault{Op: OpSyncDir, Err: err})
		if got := MkdirAll(f, "/data"); (got == nil) != (err != syscall.EIO) {
			t.Errorf("the parent says %v: %v", err, got)
		}
	}
}
