package repair

import (
	"errors"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"

	"chronik.dev/chronik/broker/datadir"
	"chronik.dev/chronik/broker/vfs"
)

// crash runs fn on a disk that dies after n changing calls, for every n, and shows the disks that a kill and a power cut leave.
func crash(t *testing.T, m *vfs.Mem, fn func(vfs.FS) error, check func(n int, how string, left *vfs.Mem)) {
	t.Helper()
	for n := 0; ; n++ {
		disk := m.Kill()
		faulty := vfs.NewFaulty(disk)
		faulty.PowerOffAfter(n)
		err := fn(faulty)
		rng := rand.New(rand.NewPCG(uint64(n), 9))
		check(n, "kill", disk.Kill())
		check(n, "power cut", disk.CrashMode(rng, vfs.None))
		for range 4 {
			check(n, "power cut that keeps some", disk.CrashClone(rng))
		}
		if err == nil {
			if n < 20 {
				t.Fatalf("it was done after %d calls", n)
			}
			t.Logf("%d crash points", n)
			return
		}
		wantIs(t, err, vfs.ErrPowerOff, "")
	}
}

// TestCrashInApply: killed at any call of Apply, the directory is finished by Apply and restored by Undo, and no node starts in between.
func TestCrashInApply(t *testing.T) {
	m := newDir(t)
	p, old, new := hashes(t, m, everything)
	crash(t, m, func(fsys vfs.FS) error { return apply(fsys, p) }, func(n int, how string, left *vfs.Mem) {
		if h := treeHash(t, left); h != old && h != new {
			wantIs(t, datadir.HalfRepaired(left, root), datadir.ErrHalfRepaired, "chronik repair")
			_, err := datadir.Open(left, root, datadir.Options{NodeID: 1})
			wantIs(t, err, datadir.ErrHalfRepaired, "")
			_, err = New(options(left), everything)
			wantIs(t, err, datadir.ErrHalfRepaired, "")
		}
		again := left.Kill()
		if err := apply(again, p); err != nil || treeHash(t, again) != new {
			t.Fatalf("%s after %d calls: apply again: %v, new tree: %v", how, n, err, treeHash(t, again) == new)
		}
		must(t, datadir.HalfRepaired(again, root))
		if err := undo(left, p); err != nil && !errors.Is(err, ErrUnknown) || treeHash(t, left) != old {
			t.Fatalf("%s after %d calls: undo: %v, old tree: %v", how, n, err, treeHash(t, left) == old)
		}
		must(t, datadir.HalfRepaired(left, root))
	})
}

// twoDisks is a directory of which repairs/ is on another file system than the rest: what a repair moves is carried over.
type twoDisks struct{ vfs.FS }

func (d twoDisks) Rename(from, to string) error {
	if kept := root + "/" + datadir.RepairsDir + "/"; strings.HasPrefix(from, kept) != strings.HasPrefix(to, kept) {
		return syscall.EXDEV
	}
	return d.FS.Rename(from, to)
}

// TestCrashInCarry: the same for apply and undo where files move between two file systems.
func TestCrashInCarry(t *testing.T) {
	m := newDir(t)
	p, old, new := hashes(t, m, everything)
	crash(t, m, func(fsys vfs.FS) error { return apply(twoDisks{fsys}, p) }, func(n int, how string, left *vfs.Mem) {
		again := left.Kill()
		if err := apply(twoDisks{again}, p); err != nil || treeHash(t, again) != new {
			t.Fatalf("%s after %d calls: apply again: %v, new tree: %v", how, n, err, treeHash(t, again) == new)
		}
		if err := undo(twoDisks{left}, p); err != nil && !errors.Is(err, ErrUnknown) || treeHash(t, left) != old {
			t.Fatalf("%s after %d calls: undo: %v, old tree: %v", how, n, err, treeHash(t, left) == old)
		}
	})
	must(t, apply(twoDisks{m}, p))
	crash(t, m, func(fsys vfs.FS) error { return undo(twoDisks{fsys}, p) }, func(n int, how string, left *vfs.Mem) {
		if err := undo(twoDisks{left}, p); err != nil || treeHash(t, left) != old {
			t.Fatalf("%s after %d calls: undo again: %v, old tree: %v", how, n, err, treeHash(t, left) == old)
		}
	})
}

// TestCrashInUndo: killed at any call of Undo, Undo again restores the directory.
func TestCrashInUndo(t *testing.T) {
	m := newDir(t)
	p, old, new := hashes(t, m, everything)
	must(t, apply(m, p))
	crash(t, m, func(fsys vfs.FS) error { return undo(fsys, p) }, func(n int, how string, left *vfs.Mem) {
		if h := treeHash(t, left); h != old && h != new {
			wantIs(t, datadir.HalfRepaired(left, root), datadir.ErrHalfRepaired, "repair undo")
			wantIs(t, apply(left, p), ErrRefused, "repair undo")
		}
		if err := undo(left, p); err != nil || treeHash(t, left) != old {
			t.Fatalf("%s after %d calls: undo again: %v, old tree: %v", how, n, err, treeHash(t, left) == old)
		}
		must(t, datadir.HalfRepaired(left, root))
		if err := apply(left, p); err != nil || treeHash(t, left) != new {
			t.Fatalf("%s after %d calls: apply after undo: %v, new tree: %v", how, n, err, treeHash(t, left) == new)
		}
	})
}

// TestCrashInSecondApply: a repair that was undone is prepared anew over what the first attempt left.
func TestCrashInSecondApply(t *testing.T) {
	m := newDir(t)
	p, old, new := hashes(t, m, everything)
	must(t, apply(m, p))
	must(t, undo(m, p))
	crash(t, m, func(fsys vfs.FS) error { return apply(fsys, p) }, func(n int, how string, left *vfs.Mem) {
		again := left.Kill()
		if err := apply(again, p); err != nil || treeHash(t, again) != new {
			t.Fatalf("%s after %d calls: apply again: %v", how, n, err)
		}
		if err := undo(left, p); err != nil && !errors.Is(err, ErrUnknown) || treeHash(t, left) != old {
			t.Fatalf("%s after %d calls: undo: %v", how, n, err)
		}
	})
}

// TestFullDisk: the disk is full at each call in turn that can say so, of apply and of undo; with room again the same command finishes, or undo takes back.
func TestFullDisk(t *testing.T) {
	m := newDir(t)
	p, old, new := hashes(t, m, everything)
	applied := m.Kill()
	must(t, apply(applied, p))
	for what, c := range map[string]struct {
		from  *vfs.Mem
		fn    func(vfs.FS) error
		after string
	}{
		"apply": {m, func(fsys vfs.FS) error { return apply(fsys, p) }, new},
		"undo":  {applied, func(fsys vfs.FS) error { return undo(fsys, p) }, old},
	} {
		for _, op := range []vfs.OpKind{vfs.OpWrite, vfs.OpCreate, vfs.OpMkdir, vfs.OpTruncate, vfs.OpSync, vfs.OpRename, vfs.OpSyncDir} {
			for n := 0; ; n++ {
				disk := c.from.Kill()
				faulty := vfs.NewFaulty(disk)
				faulty.Inject(vfs.Fault{Op: op, Skip: n, Err: syscall.ENOSPC, Short: n % 7})
				err := c.fn(faulty)
				if err == nil && n == 0 {
					t.Fatalf("%s makes no %v", what, op)
				}
				if err == nil {
					t.Logf("%s: full at each %v of %d", what, op, n)
					break
				}
				wantIs(t, err, syscall.ENOSPC, "")
				back := disk.Kill()
				if err := c.fn(disk); err != nil || treeHash(t, disk) != c.after {
					t.Fatalf("%s: full at %v %d, then again: %v", what, op, n, err)
				}
				if err := undo(back, p); err != nil && !errors.Is(err, ErrUnknown) || treeHash(t, back) != old {
					t.Fatalf("%s: full at %v %d, then undo: %v", what, op, n, err)
				}
			}
		}
	}
}
