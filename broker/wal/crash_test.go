package wal

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"chronik.dev/chronik/broker/statefile"
	"chronik.dev/chronik/broker/vfs"
)

var (
	crashSeeds = flag.Int("crash.seeds", 3, "histories of the crash test, each with hundreds of crash states")
	crashFrom  = flag.Uint64("crash.from", 1, "first seed of the crash test")
)

// crashWorld is one history: a writer, and at its system calls the disks that a power loss or a kill would leave, each of which is read and resumed.
type crashWorld struct {
	t      *testing.T
	seed   uint64
	kind   Kind
	rng    *rand.Rand
	rngMu  sync.Mutex
	acked  atomic.Uint64 // LSN
	freed  atomic.Uint64 // frames below it may be gone
	states int
	torn   int
	tails  int
}

func (w *crashWorld) chance(n int) bool {
	w.rngMu.Lock()
	defer w.rngMu.Unlock()
	return w.rng.IntN(n) == 0
}

func (w *crashWorld) clone(m *vfs.Mem) *vfs.Mem {
	w.rngMu.Lock()
	defer w.rngMu.Unlock()
	return m.CrashClone(w.rng)
}

// left is the disk that the end of the process leaves: by a power loss, or by a kill, whose unsynced writes a later power loss can still take.
func (w *crashWorld) left(m *vfs.Mem) *vfs.Mem {
	if w.chance(3) {
		return m.Kill()
	}
	return w.clone(m)
}

func (w *crashWorld) options(fsys vfs.FS) Options {
	o := testOptions(fsys, "/wal", w.seed)
	o.Kind = w.kind
	o.Rand = nil // crypto/rand: clones must not repeat generations
	return o
}

func TestCrash(t *testing.T) {
	states, torn, tails := 0, 0, 0
	for i := range uint64(*crashSeeds) {
		w := &crashWorld{t: t, seed: *crashFrom + i, kind: Journal, rng: rand.New(rand.NewPCG(*crashFrom+i, 99))}
		if i%3 == 2 {
			w.kind = Raft
		}
		w.run()
		states, torn, tails = states+w.states, torn+w.torn, tails+w.tails
		if t.Failed() {
			t.Fatalf("re-run: go test ./broker/wal -run TestCrash -crash.from %d -crash.seeds 1", w.seed)
		}
	}
	t.Logf("%d crash states, %d torn, %d with an accepted tail", states, torn, tails)
	if states < 50**crashSeeds || torn == 0 || tails == 0 {
		t.Errorf("too few states: %d, torn %d, tails %d", states, torn, tails)
	}
}

// run writes a history; half of the seeds use direct I/O, half spares.
func (w *crashWorld) run() {
	m := vfs.NewMem(w.seed)
	o := w.options(m)
	o.Buffered = w.seed%2 == 0
	if w.seed%4 < 2 {
		o.Spares = 2
	}
	o.Idle = []time.Duration{-1, 1, 50 * time.Microsecond}[w.seed%3]
	l, err := Create(o)
	must(w.t, err)
	m.SetHook(func(op vfs.Op) {
		if op.Kind != vfs.OpRead && w.chance(3) && !w.t.Failed() {
			acked := LSN(w.acked.Load())
			w.check(w.left(m), acked, op, true)
		}
	})
	for range 60 {
		w.step(l)
	}
	must(w.t, l.Close())
	m.SetHook(nil)
	w.check(w.clone(m), LSN(w.acked.Load()), vfs.Op{}, false)
}

func (w *crashWorld) step(l *Log) {
	w.rngMu.Lock()
	n, size, small := 1+w.rng.IntN(4), w.rng.IntN(9000), w.rng.IntN(3) > 0
	w.rngMu.Unlock()
	if small {
		size /= 20
	}
	if w.chance(50) {
		size = 80 << 10 // larger than a segment
	}
	next := l.Next()
	frames := make([]Frame, n)
	for i := range frames {
		frames[i] = testFrame(int32(i), int64(next)+int64(i), size)
	}
	if w.kind == Raft {
		lsn, err := l.AppendSync(frames, Note{1, 2, 3, uint64(next)}, true)
		must(w.t, err)
		w.acked.Store(uint64(lsn))
	} else {
		done := make(chan error, 1)
		l.Append(frames, func(err error) {
			if err == nil {
				w.acked.Store(uint64(frames[n-1].LSN))
			}
			done <- err
		})
		must(w.t, <-done)
	}
	if w.chance(10) {
		free := LSN(w.acked.Load()) / 2
		w.freed.Store(uint64(free))
		must(w.t, l.FreeBelow(free))
	}
}

// check reads what a power loss left, resumes it and reads it again.
func (w *crashWorld) check(m *vfs.Mem, acked LSN, op vfs.Op, deep bool) {
	w.rngMu.Lock()
	w.states++
	w.rngMu.Unlock()
	o := w.options(m)
	inv, before, err := w.read(o, acked)
	if err != nil {
		w.t.Errorf("seed %d, crash at %s, acknowledged %d: %v", w.seed, op, acked, err)
		return
	}
	if !deep && inv.Tail != nil {
		w.t.Errorf("a closed log has a tail")
	}
	w.rngMu.Lock()
	if inv.Worst() == Torn {
		w.torn++
	}
	if inv.Tail != nil {
		w.tails++
	}
	w.rngMu.Unlock()
	if deep {
		m.SetHook(func(in vfs.Op) {
			if op.Kind != vfs.OpRead && w.chance(8) {
				if err := w.again(w.clone(m), acked, before); err != nil {
					w.t.Errorf("seed %d, crash at %s, then inside Resume at %s: %v", w.seed, op, in, err)
				}
			}
		})
	}
	if err := w.resume(m, o, inv, acked, before); err != nil {
		w.t.Errorf("seed %d, crash at %s: %v", w.seed, op, err)
	}
}

// again finishes a Resume that was interrupted.
func (w *crashWorld) again(m *vfs.Mem, acked LSN, before []LSN) error {
	o := w.options(m)
	inv, frames, err := w.read(o, acked)
	if err != nil {
		return err
	}
	// Frames that were not acknowledged may go at the second crash, but none may come, except those that were freed: a kill can leave a manifest
	// that is read and not durable.
	extra := 0
	for len(before) > 0 && extra < len(frames) && frames[extra] < before[0] {
		extra++
	}
	if len(frames)-extra > len(before) {
		return fmt.Errorf("%d frames after %d", len(frames), len(before))
	}
	return w.resume(m, o, inv, acked, frames)
}

func (w *crashWorld) resume(m *vfs.Mem, o Options, inv *Inventory, acked LSN, before []LSN) error {
	l, err := Resume(o, inv, CutNote{Incident: "test"})
	if err != nil {
		return err
	}
	m.SetHook(nil)
	if next := l.Next(); next <= inv.Highest || len(before) > 0 && next <= before[len(before)-1] {
		return fmt.Errorf("next LSN %d, seen %d", next, inv.Highest)
	}
	lsn, err := l.AppendSync([]Frame{testFrame(9, int64(l.Next()), 50)}, Note{}, false)
	if err == nil {
		err = l.Close()
	}
	if err != nil {
		return err
	}
	inv, after, err := w.read(o, acked)
	if err != nil {
		return fmt.Errorf("after Resume: %w", err)
	}
	if !inv.Clean {
		return fmt.Errorf("after Resume: %+v", inv.Findings)
	}
	if len(after) != len(before)+1 || after[len(before)] != lsn {
		return fmt.Errorf("after Resume %d frames, before %d", len(after), len(before))
	}
	for i := range before {
		if before[i] != after[i] {
			return fmt.Errorf("LSN %d became %d", before[i], after[i])
		}
	}
	return nil
}

// read inspects a disk after a power loss and checks that it holds what was acknowledged, and nothing that it should not.
func (w *crashWorld) read(o Options, acked LSN) (*Inventory, []LSN, error) {
	var got []LSN
	io := inspectOptions(o)
	inv, err := Inspect(io, func(g *Group) error {
		for _, f := range g.Frames {
			if len(got) > 0 && f.LSN <= got[len(got)-1] {
				return fmt.Errorf("LSN %d after %d", f.LSN, got[len(got)-1])
			}
			want := testPayload(f.Partition, f.First, len(f.Payload))
			if string(f.Payload) != string(want) || f.First != int64(f.LSN) {
				return fmt.Errorf("LSN %d: invented frame", f.LSN)
			}
			got = append(got, f.LSN)
		}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	for _, f := range inv.Findings {
		if f.Verdict != Notice && f.Verdict != Torn {
			return nil, nil, fmt.Errorf("finding %+v", f)
		}
	}
	have := map[LSN]bool{}
	for _, l := range got {
		have[l] = true
	}
	for l := max(inv.First, 1); l <= acked; l++ {
		if !have[l] {
			// It may be an LSN that a cut made void.
			return nil, nil, fmt.Errorf("acknowledged LSN %d of %d is lost; findings %+v", l, acked, inv.Findings)
		}
	}
	if freed := LSN(w.freed.Load()); inv.First > max(freed, 1) {
		return nil, nil, fmt.Errorf("live from LSN %d, freed below %d", inv.First, freed)
	}
	return inv, got, nil
}

// TestCreateCrash crashes inside Create: what is left is a log, or has no manifest and nothing of value.
func TestCreateCrash(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 5))
	for seed := range uint64(30) {
		m := vfs.NewMem(seed)
		var clones []*vfs.Mem
		m.SetHook(func(vfs.Op) { clones = append(clones, m.CrashClone(rng)) })
		o := testOptions(m, "/wal", seed)
		l, err := Create(o)
		must(t, err)
		m.SetHook(nil)
		must(t, l.Close())
		for _, c := range clones {
			o.FS = c
			if ok, err := vfs.Exists(c, "/wal"); !ok || err != nil {
				continue
			}
			inv, err := Inspect(inspectOptions(o), nil)
			must(t, err)
			if inv.Manifest[0].State != statefile.OK && inv.Manifest[1].State != statefile.OK {
				if _, err := Resume(o, inv, CutNote{}); !errors.Is(err, ErrManifest) {
					t.Fatalf("Resume without a manifest: %v", err)
				}
				must(t, vfs.RemoveAll(c, "/wal"))
				l, err := Create(o)
				must(t, err)
				must(t, l.Close())
				continue
			}
			l, err := Resume(o, inv, CutNote{})
			must(t, err)
			must(t, l.Close())
		}
	}
}
