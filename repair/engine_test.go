package repair

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"chronik.dev/chronik/broker/datadir"
	"chronik.dev/chronik/broker/vfs"
)

const root = "/data"

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantIs(t testing.TB, err, target error, text string) {
	t.Helper()
	if !errors.Is(err, target) || !strings.Contains(err.Error(), text) {
		t.Fatalf("got %v, want %v with %q", err, target, text)
	}
}

func clock() time.Time { return time.Unix(1_800_000_000, 0) }

// newDir makes a data directory with an identity and a few files that mean nothing.
func newDir(t testing.TB) *vfs.Mem {
	t.Helper()
	m := vfs.NewMem(1)
	d, err := datadir.Open(m, root, datadir.Options{NodeID: 1, Now: clock, Rand: rand.NewChaCha8([32]byte{1})})
	must(t, err)
	must(t, d.Close())
	for i, name := range []string{"wal/a", "wal/b", "topics/t-0/c", "topics/t-0/d"} {
		must(t, vfs.MkdirAll(m, filepath.Dir(filepath.Join(root, name))))
		must(t, vfs.WriteFile(m, filepath.Join(root, name), bytes.Repeat([]byte{byte('a' + i)}, 3000*(i+1))))
	}
	return m
}

// treeHash is the SHA-256 of names and contents of everything but repairs/ and evidence/.
func treeHash(t testing.TB, fsys vfs.FS) string {
	t.Helper()
	h := sha256.New()
	var walk func(dir string)
	walk = func(dir string) {
		infos, err := fsys.ReadDir(dir)
		must(t, err)
		for _, info := range infos {
			name := filepath.Join(dir, info.Name())
			if dir == root && (info.Name() == datadir.RepairsDir || info.Name() == datadir.EvidenceDir) {
				continue
			}
			fmt.Fprintln(h, name, info.IsDir())
			if info.IsDir() {
				walk(name)
				continue
			}
			data, err := vfs.ReadFile(fsys, name, 1<<30)
			must(t, err)
			fmt.Fprintln(h, len(data))
			h.Write(data)
		}
	}
	walk(root)
	return hex.EncodeToString(h.Sum(nil))
}

// everything is a verb that needs each kind of step.
func everything(d *Draft) error {
	d.Say("everything changes")
	d.Lose(Loss{What: "records", Topic: "t", First: 5, Last: 7, Count: 3, Acknowledged: AckYes})
	return errors.Join(
		write(d.FS, d.Path("wal/a"), 100, "changed in the middle"),
		write(d.FS, d.Path("wal/a"), 2990, "changed beyond the end"),
		truncate(d.FS, d.Path("wal/b"), 10),
		d.FS.Remove(d.Path("topics/t-0/c")),
		d.FS.Mkdir(d.Path("topics/u-0")),
		d.FS.Rename(d.Path("topics/t-0/d"), d.Path("topics/u-0/d")),
		d.FS.Remove(d.Path("topics/t-0")),
		vfs.WriteFile(d.FS, d.Path("topics/new"), []byte("new")),
	)
}

func options(fsys vfs.FS) Options {
	return Options{FS: fsys, Dir: root, Verb: "test", Args: []string{"--at", "5"}, Tool: "0", Now: clock}
}

func newPlan(t testing.TB, fsys vfs.FS, verb func(*Draft) error) *Plan {
	t.Helper()
	p, err := New(options(fsys), verb)
	must(t, err)
	b, err := p.Encode()
	must(t, err)
	again, err := Decode(b) // what is applied is always what a file holds
	must(t, err)
	return again
}

func apply(fsys vfs.FS, p *Plan) error {
	_, err := Apply(ApplyOptions{FS: fsys, Dir: root, Now: clock}, p)
	return err
}

func undo(fsys vfs.FS, p *Plan) error {
	_, err := Undo(fsys, root, p.ID, clock)
	return err
}

// hashes makes the plan of a verb and returns the tree before, and as the verb leaves it when it works without a plan.
func hashes(t testing.TB, m *vfs.Mem, verb func(*Draft) error) (p *Plan, old, new string) {
	t.Helper()
	old = treeHash(t, m)
	p = newPlan(t, m, verb)
	if treeHash(t, m) != old {
		t.Fatal("the plan changed the directory")
	}
	over := vfs.NewOverlay(m)
	must(t, verb(&Draft{FS: over, Dir: root, plan: &Plan{}}))
	return p, old, treeHash(t, over)
}

func TestApplyAndUndo(t *testing.T) {
	m := newDir(t)
	p, old, new := hashes(t, m, everything)
	seen := map[Op]bool{}
	for _, s := range p.Steps {
		seen[s.Op] = true
	}
	for _, s := range inverse(p.Steps) {
		seen[s.Op] = true
	}
	if len(seen) != 6 {
		t.Fatalf("the verb and its inverse should need every kind of step, they have %v", seen)
	}
	must(t, apply(m, p))
	if treeHash(t, m) != new {
		t.Fatal("the tree differs from what the verb does by itself")
	}
	must(t, apply(m, p)) // again: nothing
	if treeHash(t, m) != new {
		t.Fatal("the second apply changed something")
	}
	must(t, undo(m, p))
	must(t, undo(m, p))
	if treeHash(t, m) != old {
		t.Fatal("undo did not restore the tree")
	}
	must(t, apply(m, p)) // and forward again
	if treeHash(t, m) != new {
		t.Fatal("apply after undo differs")
	}
	list, err := List(m, root)
	must(t, err)
	if len(list) != 1 || list[0].State != datadir.RepairApplied || list[0].Verb != "test" {
		t.Fatalf("%+v", list)
	}
}

func TestNoRoom(t *testing.T) {
	m := newDir(t)
	p, old, _ := hashes(t, m, everything)
	free, err := m.Free(root)
	must(t, err)
	used := int64(1<<40) - free
	m.SetLimit(used + 100_000)
	wantIs(t, apply(m, p), ErrNoSpace, "make room")
	if treeHash(t, m) != old {
		t.Fatal("something was changed")
	}
}

// TestStale: a plan is refused when any byte that it read or changes is another, and when a file came or went; nothing is changed.
func TestStale(t *testing.T) {
	read := func(d *Draft) error {
		if _, err := vfs.ReadFile(d.FS, d.Path("wal/b"), 1<<20); err != nil {
			return err
		}
		if _, err := d.FS.ReadDir(d.Path("topics")); err != nil {
			return err
		}
		return write(d.FS, d.Path("wal/a"), 0, "x")
	}
	m := newDir(t)
	p := newPlan(t, m, read)
	for name, change := range map[string]func(*vfs.Mem) error{
		"a file that it changes": func(m *vfs.Mem) error { return m.Flip(root+"/wal/a", 2000, 1) },
		"a file that it read":    func(m *vfs.Mem) error { return m.Flip(root+"/wal/b", 5999, 1) },
		"a longer file":          func(m *vfs.Mem) error { return write(m, root+"/wal/b", 6000, "x") },
		"a file gone":            func(m *vfs.Mem) error { return m.Remove(root + "/wal/b") },
		"a new name":             func(m *vfs.Mem) error { return m.Mkdir(root + "/topics/v-0") },
		"another directory": func(m *vfs.Mem) error {
			for _, c := range []string{"0", "1"} {
				if err := m.Remove(root + "/identity." + c); err != nil {
					return err
				}
			}
			for _, c := range []string{"wal", "topics"} {
				if err := m.Rename(root+"/"+c, "/"+c); err != nil {
					return err
				}
			}
			d, err := datadir.Open(m, root, datadir.Options{NodeID: 1, Rand: rand.NewChaCha8([32]byte{2})})
			if err != nil {
				return err
			}
			return errors.Join(d.Close(), m.Rename("/wal", root+"/wal"), m.Rename("/topics", root+"/topics"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			left := m.Kill()
			must(t, change(left))
			before := treeHash(t, left)
			wantIs(t, apply(left, p), ErrStale, "")
			if treeHash(t, left) != before {
				t.Fatal("something was changed")
			}
		})
	}
	must(t, m.Flip(root+"/topics/t-0/c", 0, 1)) // what it neither read nor changes does not count
	must(t, apply(m, p))
	for _, name := range []string{"/wal/a", "/wal/b"} {
		left := m.Kill()
		must(t, left.Flip(root+name, 100, 1))
		wantIs(t, undo(left, p), ErrStale, "since it was applied")
	}
	must(t, undo(m, p))
}

func TestAcceptLoss(t *testing.T) {
	m := newDir(t)
	p := newPlan(t, m, func(d *Draft) error {
		d.Needs("the cut is below what was acknowledged")
		return everything(d)
	})
	old := treeHash(t, m)
	three, four := int64(3), int64(4)
	wantIs(t, apply(m, p), ErrRefused, "--accept-loss 3")
	_, err := Apply(ApplyOptions{FS: m, Dir: root, AcceptLoss: &four}, p)
	wantIs(t, err, ErrRefused, "the plan loses 3")
	if treeHash(t, m) != old {
		t.Fatal("something was changed")
	}
	_, err = Apply(ApplyOptions{FS: m, Dir: root, AcceptLoss: &three}, p)
	must(t, err)
}

func TestRunningNode(t *testing.T) {
	m := newDir(t)
	p := newPlan(t, m, everything)
	before := treeHash(t, m)
	lock, err := m.Lock(root)
	must(t, err)
	wantIs(t, apply(m, p), vfs.ErrLocked, "stop it")
	wantIs(t, undo(m, p), vfs.ErrLocked, "stop it")
	_, err = New(options(m), everything)
	wantIs(t, err, vfs.ErrLocked, "stop it")
	must(t, lock.Close())
	if treeHash(t, m) != before {
		t.Fatal("something was changed")
	}
}

// TestDamagedStatus: with both copies of the status gone after the repair began, nothing starts, and apply and undo go on if they can tell.
func TestDamagedStatus(t *testing.T) {
	m := newDir(t)
	p, old, new := hashes(t, m, everything)
	must(t, apply(m, p))
	for _, c := range []string{"0", "1"} {
		must(t, m.Flip(fmt.Sprintf("%s/repairs/%s/status.%s", root, p.ID, c), 60, 1))
	}
	wantIs(t, datadir.HalfRepaired(m, root), datadir.ErrHalfRepaired, "unreadable")
	foreign := m.Kill()
	must(t, foreign.Flip(root+"/wal/a", 0, 1))
	before := treeHash(t, foreign)
	wantIs(t, apply(foreign, p), ErrStale, "by hand")
	wantIs(t, undo(foreign, p), ErrStale, "by hand")
	if treeHash(t, foreign) != before {
		t.Fatal("something was changed")
	}
	again := m.Kill()
	must(t, apply(again, p))
	if treeHash(t, again) != new {
		t.Fatal("apply came to another tree")
	}
	must(t, undo(m, p))
	if treeHash(t, m) != old {
		t.Fatal("undo came to another tree")
	}
}

// TestRandomSequences: 1,000 random sequences of changes, each a repair, then all of them undone in the other order.
func TestRandomSequences(t *testing.T) {
	start := newDir(t)
	for seed := range uint64(1000) {
		rng := rand.New(rand.NewPCG(seed, 4))
		m := start.Kill()
		trees := []string{treeHash(t, m)}
		var plans []*Plan
		for i := range 1 + rng.IntN(4) {
			verb := randomVerb(rng)
			o := options(m)
			o.Now = func() time.Time { return clock().Add(time.Duration(i) * time.Second) }
			p, err := New(o, verb)
			if errors.Is(err, ErrNothing) {
				continue
			}
			must(t, err)
			over := vfs.NewOverlay(m)
			must(t, verb(&Draft{FS: over, Dir: root, plan: &Plan{}}))
			want := treeHash(t, over)
			must(t, apply(m, p))
			if treeHash(t, m) != want {
				t.Fatalf("seed %d: repair %d came to another tree", seed, i)
			}
			plans, trees = append(plans, p), append(trees, want)
		}
		for i := len(plans) - 1; i >= 0; i-- {
			must(t, undo(m, plans[i]))
			if treeHash(t, m) != trees[i] {
				t.Fatalf("seed %d: undo of repair %d did not restore the tree", seed, i)
			}
		}
	}
}

// randomVerb does the same few random things each time it is called.
func randomVerb(rng *rand.Rand) func(*Draft) error {
	seed := rng.Uint64()
	return func(d *Draft) error {
		rng := rand.New(rand.NewPCG(seed, 1))
		dirs := []string{"wal", "topics", "topics/t-0", "topics/u-0"}
		name := func() string { return d.Path(dirs[rng.IntN(len(dirs))], string(rune('a'+rng.IntN(5)))) }
		for range 1 + rng.IntN(6) { // what cannot be done is not done: the tree decides
			a, b := name(), name()
			switch rng.IntN(8) {
			case 0, 1, 2:
				_ = write(d.FS, a, int64(rng.IntN(9000)), strings.Repeat(string(rune('A'+rng.IntN(20))), 1+rng.IntN(3000)))
			case 3:
				_ = truncate(d.FS, a, int64(rng.IntN(9000)))
			case 4:
				_ = d.FS.Remove(a)
			case 5:
				_ = d.FS.Rename(a, b)
			case 6:
				_ = vfs.WriteFile(d.FS, a, []byte{byte(rng.IntN(256))})
			case 7:
				_ = errors.Join(d.FS.Mkdir(d.Path("topics/u-0")), d.FS.Rename(d.Path("topics/t-0/c"), d.Path("topics/u-0/c")))
			}
		}
		return nil
	}
}
