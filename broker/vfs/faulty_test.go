package vfs

import (
	"bytes"
	"errors"
	"os"
	"syscall"
	"testing"
)

func TestFaultyPassesThrough(t *testing.T) {
	conform(t, NewFaulty(NewMem(1)), "/data")
}

func TestSyncFailureSemantics(t *testing.T) {
	for _, tt := range []struct {
		how                 SyncFailure
		read, durable, next byte // what a process reads after the failure; what a crash leaves after the next Sync, at 0 and (written later) at 512
	}{
		{StillDirty, 'b', 'b', 'c'},
		{CleanButLost, 'b', 'a', 'c'},
		{RevertedToDisk, 'a', 'a', 'c'},
	} {
		m := NewMem(1)
		durableFile(t, m, 1024, 'a')
		f := NewFaulty(m)
		x := openFile(t, f, "/d/f", os.O_RDWR)
		write(t, x, fill(512, 'b'), 0)
		f.Inject(Fault{Op: OpSync, Match: "/d/f", Sync: tt.how})
		wantIs(t, x.Sync(), syscall.EIO)
		b := make([]byte, 1)
		_, err := x.ReadAt(b, 0)
		must(t, err)
		write(t, x, fill(512, 'c'), 512)
		must(t, x.Sync())
		left := content1(t, m.CrashMode(m.rng, None), "/d/f")
		if b[0] != tt.read || left[0] != tt.durable || left[512] != tt.next {
			t.Errorf("semantics %d: read %c, durable %c %c", tt.how, b[0], left[0], left[512])
		}
	}
}

func TestFaults(t *testing.T) {
	m := NewMem(1)
	durableFile(t, m, 1024, 'a')
	f := NewFaulty(m)
	x := openFile(t, f, "/d/f", os.O_RDWR)

	f.Inject(Fault{Op: OpWrite, Skip: 1, Short: 3, Err: syscall.ENOSPC})
	write(t, x, []byte("first"), 0)
	n, err := x.WriteAt([]byte("second"), 0)
	wantIs(t, err, syscall.ENOSPC)
	if n != 3 {
		t.Fatalf("short write of %d", n)
	}
	f.Inject(Fault{Op: OpWrite, Shift: 512})
	write(t, x, []byte("X"), 0)
	f.Inject(Fault{Op: OpWrite, Drop: true})
	write(t, x, []byte("lost"), 0)
	f.Inject(Fault{Op: OpRead, Invert: -1})
	b := make([]byte, 513)
	_, err = x.ReadAt(b, 0)
	must(t, err)
	if string(b[:5]) != "recst" || b[512] != 'X' {
		t.Fatalf("read %q", b)
	}
	f.Inject(Fault{Op: OpRead, Times: 2})
	for range 2 {
		_, err = x.ReadAt(b, 0)
		wantIs(t, err, syscall.EIO)
	}
	_, err = x.ReadAt(b, 0)
	must(t, err)
	f.Inject(Fault{Op: OpSync, Drop: true})
	must(t, x.Sync())
	if m.Unsynced() == 0 {
		t.Fatal("the dropped sync reached the disk")
	}
	if f.Count(OpWrite) != 4 || f.Count(OpSync) != 1 || f.Count(0) < 9 {
		t.Fatalf("%d writes, %d syncs, %d calls", f.Count(OpWrite), f.Count(OpSync), f.Count(0))
	}
}

func TestPowerOffAfter(t *testing.T) {
	// Each point of an atomic replacement, the disk dead from then on: never an error that is swallowed, never a mixture.
	for n := range 8 {
		m := NewMem(uint64(n))
		must(t, WriteFile(m, "/x", []byte("old")))
		f := NewFaulty(m)
		f.PowerOffAfter(n)
		err := WriteFile(f, "/x", []byte("new"))
		if n >= 5 {
			must(t, err)
		} else {
			wantIs(t, err, ErrPowerOff)
		}
		got := content1(t, m.CrashClone(nil), "/x")
		if !bytes.Equal(got, []byte("old")) && !bytes.Equal(got, []byte("new")) {
			t.Fatalf("after %d calls: %q", n, got)
		}
		f.Clear()
		must(t, WriteFile(f, "/x", []byte("third")))
	}
	f := NewFaulty(NewMem(1))
	for _, op := range []OpKind{OpMkdir, OpRemove, OpRename, OpReadDir, OpStat, OpSyncDir, OpSyncFS, OpLock, OpFree, OpOpen, OpCreate} {
		f.Inject(Fault{Op: op})
	}
	_, e1 := f.ReadDir("/")
	_, e2 := f.Stat("/")
	_, e3 := f.Lock("/")
	_, e4 := f.Free("/")
	_, e5 := f.OpenFile("/x", os.O_RDWR)
	_, e6 := f.OpenFile("/x", os.O_RDWR|os.O_CREATE)
	for i, err := range []error{e1, e2, e3, e4, e5, e6, f.Mkdir("/d"), f.Remove("/x"), f.Rename("/x", "/y"), f.SyncDir("/"), f.SyncFS("/")} {
		if !errors.Is(err, syscall.EIO) {
			t.Errorf("call %d: %v", i, err)
		}
	}
}
