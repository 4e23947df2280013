package wal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"chronik.dev/chronik/broker/vfs"
)

// clock is a writer's clock in tests.
func clock() func() time.Time {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	return func() time.Time { return now }
}

func counter(start uint64) func() uint64 {
	rng := rand.New(rand.NewPCG(start, 7))
	return rng.Uint64
}

func testOptions(fsys vfs.FS, dir string, seed uint64) Options {
	return Options{FS: fsys, Dir: dir, DirID: [16]byte{1, 2, 3}, Kind: Journal, SegmentSize: 64 << 10, FirstSegmentSize: 16 << 10, Spares: -1,
		GroupBytes: 16 << 10, Idle: -1, Now: clock(), Rand: counter(seed)}
}

func inspectOptions(o Options) InspectOptions {
	return InspectOptions{FS: o.FS, Dir: o.Dir, DirID: o.DirID, Kind: o.Kind, Deep: true}
}

// testFrame is a frame whose payload follows from its offset.
func testFrame(partition int32, offset int64, size int) Frame {
	return Frame{Type: Batch, ID: [16]byte{0xaa, byte(partition)}, Partition: partition, Epoch: 3, First: offset, Last: offset,
		Payload: testPayload(partition, offset, size)}
}

func testPayload(partition int32, offset int64, size int) []byte {
	b := make([]byte, size)
	rng := rand.New(rand.NewPCG(uint64(partition), uint64(offset)))
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// appendAll appends one group of frames and waits.
func appendAll(t testing.TB, l *Log, frames ...Frame) LSN {
	t.Helper()
	lsn, err := l.AppendSync(frames, Note{}, false)
	must(t, err)
	return lsn
}

// readAll inspects and collects copies of the frames, and checks that payloads are what testPayload made.
func readAll(t testing.TB, o InspectOptions) (*Inventory, []Frame) {
	t.Helper()
	var frames []Frame
	inv, err := Inspect(o, func(g *Group) error {
		for _, f := range g.Frames {
			if f.Type == Batch && !bytes.Equal(f.Payload, testPayload(f.Partition, f.First, len(f.Payload))) {
				return fmt.Errorf("LSN %d has another payload", f.LSN)
			}
			f.Payload = nil
			frames = append(frames, f)
		}
		return nil
	})
	must(t, err)
	return inv, frames
}

func wantClean(t testing.TB, inv *Inventory) {
	t.Helper()
	for _, f := range inv.Findings {
		t.Errorf("finding: %+v", f)
	}
	if t.Failed() {
		t.FailNow()
	}
}

func lsns(frames []Frame) []LSN {
	var l []LSN
	for _, f := range frames {
		l = append(l, f.LSN)
	}
	return l
}

func TestAppendInspectResume(t *testing.T) {
	t.Run("mem", func(t *testing.T) { roundTrip(t, vfs.NewMem(1), "/wal", false) })
	t.Run("mem buffered", func(t *testing.T) { roundTrip(t, vfs.NewMem(1), "/wal", true) })
	t.Run("os", func(t *testing.T) { roundTrip(t, vfs.OS, t.TempDir()+"/wal", false) })
	t.Run("os buffered", func(t *testing.T) { roundTrip(t, vfs.OS, t.TempDir()+"/wal", true) })
	t.Run("no direct I/O", func(t *testing.T) {
		m := vfs.NewMem(1)
		m.SetDirect(false)
		roundTrip(t, m, "/wal", false)
	})
}

func roundTrip(t *testing.T, fsys vfs.FS, dir string, buffered bool) {
	o := testOptions(fsys, dir, 1)
	o.Buffered, o.Spares, o.Idle = buffered, 2, 0
	l, err := Create(o)
	must(t, err)
	if _, err := Create(o); !errors.Is(err, fs.ErrExist) {
		t.Fatalf("second Create: %v", err)
	}
	var offset int64
	want := []LSN{}
	for round := range 4 {
		for i := range 60 {
			frames := []Frame{testFrame(int32(i%3), offset, 100+i*37), testFrame(7, offset, i)}
			last := appendAll(t, l, frames...)
			want = append(want, last-1, last)
			offset++
		}
		if l.Synced() != l.Next()-1 {
			t.Fatalf("synced %d, next %d", l.Synced(), l.Next())
		}
		must(t, l.Close())
		inv, frames := readAll(t, inspectOptions(o))
		wantClean(t, inv)
		if !slices.Equal(lsns(frames), want) {
			t.Fatalf("round %d: LSNs %v, want %v", round, lsns(frames), want)
		}
		if inv.Tail != nil || inv.Floor != want[len(want)-1] || inv.Last != inv.Floor {
			t.Fatalf("tail %v floor %d last %d", inv.Tail, inv.Floor, inv.Last)
		}
		o.Rand = counter(uint64(round) + 100)
		l, err = Resume(o, inv, CutNote{})
		must(t, err)
		inv, frames = readAll(t, inspectOptions(o))
		wantClean(t, inv)
		if !slices.Equal(lsns(frames), want) {
			t.Fatalf("after Resume: LSNs %v, want %v", lsns(frames), want)
		}
		must(t, l.FreeBelow(want[len(want)/2]))
		inv, frames = readAll(t, inspectOptions(o))
		wantClean(t, inv)
		want = lsns(frames)
	}
	must(t, l.Close())
}

func TestConcurrentAppend(t *testing.T) {
	o := testOptions(vfs.NewMem(3), "/wal", 3)
	o.Spares = 2
	l, err := Create(o)
	must(t, err)
	var wg sync.WaitGroup
	var mu sync.Mutex
	var order []LSN
	for p := range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range 50 {
				done := make(chan error, 1)
				f := []Frame{testFrame(int32(p), int64(i), 700)}
				mu.Lock() // as a partition lock: enqueue order is LSN order
				l.Append(f, func(err error) { order = append(order, f[0].LSN); done <- err })
				mu.Unlock()
				if err := <-done; err != nil {
					t.Error(err)
				}
			}
		}()
	}
	wg.Wait()
	if err := l.WaitRoom(context.Background()); err != nil {
		t.Fatal(err)
	}
	must(t, l.Close())
	if _, err := l.AppendSync([]Frame{testFrame(1, 1, 1)}, Note{}, false); !errors.Is(err, ErrClosed) {
		t.Fatalf("append after close: %v", err)
	}
	if len(order) != 400 || !slices.IsSorted(order) {
		t.Fatalf("%d done calls, %v", len(order), order)
	}
	inv, frames := readAll(t, inspectOptions(o))
	wantClean(t, inv)
	if len(frames) != 400 {
		t.Fatalf("%d frames", len(frames))
	}
	if s := l.Stats(); s.Frames != 400 || s.Rolls == 0 {
		t.Fatalf("stats %+v", s)
	}
}
