package wal

import (
	"context"
	"errors"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"chronik.dev/chronik/broker/vfs"
)

// TestPoison fails a write or a sync: nothing more is acknowledged, and what was acknowledged is there.
func TestPoison(t *testing.T) {
	for _, buffered := range []bool{false, true} {
		for _, how := range []vfs.SyncFailure{vfs.StillDirty, vfs.CleanButLost, vfs.RevertedToDisk} {
			for _, op := range []vfs.OpKind{vfs.OpWrite, vfs.OpSync} {
				if op == vfs.OpSync && !buffered {
					continue
				}
				m := vfs.NewMem(1)
				disk := vfs.NewFaulty(m)
				o := testOptions(disk, "/wal", 5)
				o.Buffered = buffered
				l, err := Create(o)
				must(t, err)
				acked := appendAll(t, l, testFrame(1, 1, 500))
				short := 0
				if buffered {
					short = 700
				}
				disk.Inject(vfs.Fault{Op: op, Match: segmentName(1), Sync: how, Short: short})
				if _, err := l.AppendSync([]Frame{testFrame(1, 2, 3000)}, Note{}, false); !errors.Is(err, syscall.EIO) {
					t.Fatalf("append on a failing disk: %v", err)
				}
				if _, err := l.AppendSync([]Frame{testFrame(1, 3, 10)}, Note{}, false); !errors.Is(err, syscall.EIO) {
					t.Fatalf("append after a failure: %v", err)
				}
				<-l.Failed()
				if l.Err() == nil || l.Synced() != acked {
					t.Fatalf("err %v, synced %d", l.Err(), l.Synced())
				}
				if err := l.FreeBelow(2); err == nil {
					t.Fatal("freed on a failed log")
				}
				if err := l.Close(); err == nil {
					t.Fatal("Close of a failed log says nothing")
				}
				o.FS = m
				inv, frames := readAll(t, inspectOptions(o))
				if len(frames) == 0 || frames[0].LSN != acked || inv.Worst() == Corrupt {
					t.Fatalf("%v: frames %v, findings %+v", op, lsns(frames), inv.Findings)
				}
				l, err = Resume(o, inv, CutNote{Incident: "x"})
				must(t, err)
				must(t, l.Close())
				inv, after := readAll(t, inspectOptions(o))
				wantClean(t, inv)
				if !slices.Equal(lsns(after), lsns(frames)) {
					t.Fatalf("after Resume %v, before %v", lsns(after), lsns(frames))
				}
			}
		}
	}
}

// TestNoSpace fills the disk: appends say so, nothing is poisoned, and with space the log goes on.
func TestNoSpace(t *testing.T) {
	m := vfs.NewMem(1)
	o := testOptions(m, "/wal", 6)
	o.Spares = 2
	m.SetLimit(200 << 10)
	l, err := Create(o)
	must(t, err)
	var full error
	var acked []LSN
	for i := 0; full == nil; i++ {
		lsn, err := l.AppendSync([]Frame{testFrame(1, int64(i), 2000)}, Note{}, false)
		if full = err; err == nil {
			acked = append(acked, lsn)
		}
		if i > 1000 {
			t.Fatal("the disk is never full")
		}
	}
	if !errors.Is(full, ErrNoSpace) || !errors.Is(full, syscall.ENOSPC) || l.Err() != nil {
		t.Fatalf("append on a full disk: %v; log %v", full, l.Err())
	}
	m.SetLimit(0)
	lsn := appendAll(t, l, testFrame(1, 5000, 2000))
	if lsn <= acked[len(acked)-1]+1 {
		t.Fatalf("LSN %d after %d and a failed one", lsn, acked[len(acked)-1])
	}
	acked = append(acked, lsn)
	must(t, l.Close())
	inv, frames := readAll(t, inspectOptions(o))
	wantClean(t, inv)
	if !slices.Equal(lsns(frames), acked) {
		t.Fatalf("frames %v, acknowledged %v", lsns(frames), acked)
	}
}

// TestReserve uses the reserve before it says that there is no space.
func TestReserve(t *testing.T) {
	m := vfs.NewMem(1)
	o := testOptions(m, "/wal", 6)
	l, err := Create(o)
	must(t, err)
	for {
		if ok, _ := vfs.Exists(m, "/wal/reserve"); ok {
			break
		}
		time.Sleep(time.Millisecond)
	}
	infos, err := m.ReadDir("/wal")
	must(t, err)
	var used int64
	for _, i := range infos {
		used += i.Size()
	}
	m.SetLimit(used + 1)
	appendAll(t, l, testFrame(1, 1, 14<<10))
	if ok, _ := vfs.Exists(m, "/wal/reserve"); ok {
		t.Fatal("the reserve is still there")
	}
	m.SetLimit(0)
	must(t, l.Close())
}

// TestResumeOnFullDisk starts where not a byte is free: the reserve is given up for the new segment.
func TestResumeOnFullDisk(t *testing.T) {
	m := vfs.NewMem(1)
	o := testOptions(m, "/wal", 6)
	o.FirstSegmentSize = 32 << 10
	l, err := Create(o)
	must(t, err)
	want := appendAll(t, l, testFrame(1, 1, 2000))
	for ok := false; !ok; time.Sleep(time.Millisecond) {
		ok, err = vfs.Exists(m, "/wal/reserve")
		must(t, err)
	}
	m.PowerOff()
	left := m.Kill()
	_ = l.Close() // its disk is gone
	left.SetLimit(1 << 40)
	now, err := left.Free("/wal")
	must(t, err)
	left.SetLimit(1<<40 - now)
	o.FS = left
	inv, _ := readAll(t, inspectOptions(o))
	l, err = Resume(o, inv, CutNote{})
	if err != nil {
		t.Fatalf("%v\n%s", err, left)
	}
	left.SetLimit(0)
	appendAll(t, l, testFrame(1, 2, 2000))
	must(t, l.Close())
	inv, frames := readAll(t, inspectOptions(o))
	wantClean(t, inv)
	if got := lsns(frames); len(got) != 2 || got[0] != want {
		t.Fatalf("frames %v, want 2 from %d on", got, want)
	}
}

// TestIOError reads a journal with an unreadable block: it is neither corrupt nor torn, and the end of the log is not cut.
func TestIOError(t *testing.T) {
	m, o := fixtureDir(t, Journal)
	disk := vfs.NewFaulty(m)
	o.FS = disk
	name := "/wal/00000000000000000003.wal"
	disk.Inject(vfs.Fault{Op: vfs.OpRead, Match: name, Times: -1})
	inv, err := Inspect(inspectOptions(o), nil)
	must(t, err)
	if inv.Worst() != IOError {
		t.Fatalf("worst %s: %+v", inv.Worst(), inv.Findings)
	}
	disk.Clear()
	inv, _ = readAll(t, inspectOptions(o))
	wantClean(t, inv)
}

// TestFreeWithoutRoom: where there is no room, or no descriptor, for the manifest, nothing is freed, and the next call does it.
func TestFreeWithoutRoom(t *testing.T) {
	for _, fault := range []vfs.Fault{{Op: vfs.OpCreate, Match: "/wal/manifest", Err: syscall.EMFILE}, {Op: vfs.OpWrite, Match: "/wal/manifest.1", Err: syscall.ENOSPC}} {
		m := vfs.NewMem(1)
		disk := vfs.NewFaulty(m)
		o := testOptions(disk, "/wal", 6)
		o.Spares = 1
		l, err := Create(o)
		must(t, err)
		var last LSN
		for i := range int64(200) {
			last = appendAll(t, l, testFrame(1, i, 2000))
		}
		live := l.LiveBytes()
		fault.Times = -1 // the keeper stores the manifest too
		disk.Inject(fault)
		if err := l.FreeBelow(last); !vfs.NoRoom(err) || l.Err() != nil || l.LiveBytes() < live {
			t.Fatalf("%v; the log %v; %d live bytes, before %d", err, l.Err(), l.LiveBytes(), live)
		}
		for _, s := range l.live {
			if there, err := vfs.Exists(m, s.file); err != nil || !there {
				t.Fatalf("%s is live and not there, %v", s.file, err)
			}
		}
		disk.Clear()
		must(t, l.FreeBelow(last))
		if l.LiveBytes() >= live {
			t.Fatal("nothing was freed")
		}
		must(t, l.Close())
		inv, _ := readAll(t, inspectOptions(o))
		wantClean(t, inv)
	}
}

// TestFull holds producers at MaxBytes until FreeBelow makes room.
func TestFull(t *testing.T) {
	o := testOptions(vfs.NewMem(1), "/wal", 7)
	o.MaxBytes = 100 << 10
	l, err := Create(o)
	must(t, err)
	for !l.Full() {
		appendAll(t, l, testFrame(1, int64(l.Next()), 3000))
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := l.WaitRoom(ctx); !errors.Is(err, context.Canceled) {
		t.Fatalf("WaitRoom at the cap: %v", err)
	}
	waited := make(chan error, 1)
	go func() { waited <- l.WaitRoom(context.Background()) }()
	must(t, l.FreeBelow(l.Synced()))
	must(t, <-waited)
	must(t, l.Close())
}

// TestFullOfWaiting: what still waits for its group counts too; who waits because of it goes on when it is written, though nothing was freed.
func TestFullOfWaiting(t *testing.T) {
	o := testOptions(vfs.NewMem(1), "/wal", 7)
	o.MaxBytes = 100 << 10
	l, err := Create(o)
	must(t, err)
	l.queued.Add(o.MaxBytes)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	waited := make(chan error, 1)
	go func() { waited <- l.WaitRoom(ctx) }()
	for l.waiters.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	l.queued.Add(-o.MaxBytes)
	appendAll(t, l, testFrame(1, 1, 100))
	must(t, <-waited)
	must(t, l.Close())
}

// TestVersions: another format version is said to be that, and nothing is changed.
func TestVersions(t *testing.T) {
	m, o := goldenDir(t)
	name := "/wal/" + segmentName(1)
	data := readFile(t, m, name)
	le.PutUint16(data[BlockSize+4:], 2)
	le.PutUint16(data[BlockSize+6:], ^uint16(2))
	must(t, m.SetBytes(name, data))
	inv, err := Inspect(inspectOptions(o), nil)
	must(t, err)
	if inv.Worst() != UnknownVersion {
		t.Fatalf("findings %+v", inv.Findings)
	}
	if _, err := Resume(o, inv, CutNote{}); err == nil || !strings.Contains(err.Error(), "version") {
		t.Fatalf("Resume: %v", err)
	}
}
