package vfs

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
)

// TestHandles: through few descriptors many files are what they are through many.
func TestHandles(t *testing.T) {
	for name, base := range map[string]FS{"mem": NewMem(1), "os": OS} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if name == "mem" {
				dir = "/d"
				if err := base.Mkdir(dir); err != nil {
					t.Fatal(err)
				}
			}
			p := NewHandles(base, 3)
			rng := rand.New(rand.NewPCG(1, 2))
			var files []File
			model := make([][]byte, 20)
			for i := range model {
				f, err := p.OpenFile(fmt.Sprintf("%s/%d", dir, i), os.O_RDWR|os.O_CREATE|os.O_EXCL)
				if err != nil {
					t.Fatal(err)
				}
				files = append(files, f)
			}
			for range 2000 {
				i := rng.IntN(len(files))
				f, m := files[i], model[i]
				switch rng.IntN(5) {
				case 0:
					b := []byte(fmt.Sprint(rng.Uint64()))
					if n, err := f.WriteAt(b, int64(len(m))); err != nil || n != len(b) {
						t.Fatal(n, err)
					}
					model[i] = append(m, b...)
				case 1:
					n := rng.IntN(len(m) + 1)
					if err := f.Truncate(int64(n)); err != nil {
						t.Fatal(err)
					}
					model[i] = m[:n]
				case 2:
					if err := f.Sync(); err != nil {
						t.Fatal(err)
					}
				case 3:
					if n, err := f.Size(); err != nil || n != int64(len(m)) {
						t.Fatal(n, err)
					}
				case 4:
					b := make([]byte, len(m))
					if n, err := f.ReadAt(b, 0); n != len(m) || err != nil && len(m) > 0 || !bytes.Equal(b, m) {
						t.Fatal(n, err)
					}
				}
				if n := p.Open(); n > 3 {
					t.Fatalf("%d descriptors, at most 3 are allowed", n)
				}
			}
			for _, f := range files {
				if err := f.Close(); err != nil {
					t.Fatal(err)
				}
				_, err := f.Size()
				if again := f.Close(); !errors.Is(again, fs.ErrClosed) || !errors.Is(err, fs.ErrClosed) {
					t.Fatal(again, err)
				}
			}
			if n := p.Open(); n != 0 {
				t.Fatalf("%d descriptors are left", n)
			}
		})
	}
}

// TestHandlesTogether: goroutines that use more files at once than there are descriptors get them.
func TestHandlesTogether(t *testing.T) {
	p := NewHandles(NewMem(1), 2)
	var wg sync.WaitGroup
	for i := range 8 {
		f, err := p.OpenFile(fmt.Sprint(i), os.O_RDWR|os.O_CREATE)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			wg.Add(1)
			go func() {
				defer wg.Done()
				for range 200 {
					if _, err := f.WriteAt([]byte{byte(i)}, int64(i)); err != nil {
						t.Error(err)
					}
					var b [1]byte
					if _, err := f.ReadAt(b[:], int64(i)); err != nil || b[0] != byte(i) {
						t.Error(b, err)
					}
					if err := f.Sync(); err != nil {
						t.Error(err)
					}
				}
			}()
		}
	}
	wg.Wait()
}

// TestHandlesSync: a Sync makes durable what was written through a descriptor that is gone, and asks the whole file system for its errors then.
func TestHandlesSync(t *testing.T) {
	mem := NewMem(1)
	faulty := NewFaulty(mem)
	p := NewHandles(faulty, 1)
	open := func(name string) File {
		f, err := p.OpenFile(name, os.O_RDWR|os.O_CREATE)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	a := open("a")
	if _, err := a.WriteAt([]byte("kept"), 0); err != nil {
		t.Fatal(err)
	}
	if err := a.Sync(); err != nil || faulty.Count(OpSyncFS) != 0 {
		t.Fatalf("a file that was open all the time: %v, %d syncs of the file system", err, faulty.Count(OpSyncFS))
	}
	if _, err := a.WriteAt([]byte("also"), 4); err != nil {
		t.Fatal(err)
	}
	b := open("b") // takes the descriptor
	if err := faulty.SyncDir("."); err != nil {
		t.Fatal(err)
	}
	faulty.Inject(Fault{Op: OpSyncFS})
	if err := a.Sync(); err == nil {
		t.Fatal("the file system's error is not told")
	}
	if err := a.Sync(); err != nil || faulty.Count(OpSyncFS) != 2 {
		t.Fatalf("%v, %d syncs of the file system", err, faulty.Count(OpSyncFS))
	}
	if err := a.Sync(); err != nil || faulty.Count(OpSyncFS) != 2 {
		t.Fatalf("once is enough: %v, %d syncs of the file system", err, faulty.Count(OpSyncFS))
	}
	after := mem.CrashClone(rand.New(rand.NewPCG(1, 1)))
	got, err := ReadFile(after, "a", 100)
	if err != nil || string(got) != "keptalso" {
		t.Fatalf("%q, %v", got, err)
	}
	if err := errors.Join(a.Close(), b.Close()); err != nil {
		t.Fatal(err)
	}
}
