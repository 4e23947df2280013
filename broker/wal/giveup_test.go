package wal

import (
	"errors"
	"io/fs"
	"testing"

	"chronik.dev/chronik/broker/vfs"
)

// TestGiveUp takes the newest segments of a log away, one more each time, up to all of them. Resume refuses, and with GiveUp the log goes on above every
// LSN that was given out; once a checkpoint has freed what was before, it is clean, also when nothing was written since.
func TestGiveUp(t *testing.T) {
	for away := 1; ; away++ {
		m := vfs.NewMem(uint64(away))
		o := testOptions(m, "/wal", 3)
		o.Still = true
		l, err := Create(o)
		must(t, err)
		for i := range int64(40) {
			appendAll(t, l, testFrame(0, i, 9000))
		}
		given := l.Next()
		left := m.Kill()
		must(t, l.Close())
		o.FS = left
		inv, _ := readAll(t, inspectOptions(o))
		if away > len(inv.Segments) {
			return
		}
		for _, s := range inv.Segments[len(inv.Segments)-away:] {
			must(t, left.Remove(s.File))
		}
		inv, _ = readAll(t, inspectOptions(o))
		if inv.EndMissing() == "" {
			continue // the footer names it, and the manifest does not have it yet: a node starts, and says what is lost
		}
		if _, err := Resume(o, inv, CutNote{}); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("%d away: %v", away, err)
		}
		l, err = Resume(o, inv, CutNote{GiveUp: true})
		must(t, err)
		if l.Next() < given {
			t.Fatalf("%d away: the log goes on at %d, %d were given out", away, l.Next(), given-1)
		}
		must(t, l.FreeBelow(l.Next()))
		in := inspectOptions(o)
		in.MinSynced = l.Synced()
		idle := left.Kill()
		next := appendAll(t, l, testFrame(0, 99, 10))
		must(t, l.Close())
		for _, fsys := range []*vfs.Mem{idle, left} {
			in.FS = fsys
			inv, got := readAll(t, in)
			wantClean(t, inv)
			if fsys == left && (len(got) != 1 || got[0].LSN != next) {
				t.Fatalf("%d away: %v is left", away, lsns(got))
			}
		}
	}
}

// TestCheckpointBehindMovedFrames: a cut voids LSNs above the frames that were moved past it. A checkpoint that frees the cut segment before anything
// else is written takes those LSNs for durable, and they are still void.
func TestCheckpointBehindMovedFrames(t *testing.T) {
	m := vfs.NewMem(1)
	o := testOptions(m, "/wal", 3)
	o.Idle = -1
	l, err := Create(o)
	must(t, err)
	appendAll(t, l, testFrame(0, 1, 10))
	name, at := l.active.file.name, int64(l.active.pos)*BlockSize
	l.maint.Lock() // the keeper could store a manifest that promises the group
	appendAll(t, l, testFrame(0, 2, 1900), testFrame(1, 1, 1900))
	m = m.Kill()
	l.maint.Unlock()
	must(t, l.Close())
	must(t, m.Flip(name, at+3500, 1))
	o.FS = m
	inv, _ := readAll(t, inspectOptions(o))
	if inv.Worst() != Undecided || len(inv.Tail.Frames) != 1 {
		t.Fatalf("%+v", inv.Findings)
	}
	l, err = Resume(o, inv, CutNote{})
	must(t, err)
	must(t, l.FreeBelow(l.Next()))
	in := inspectOptions(o)
	in.FS, in.MinSynced = m.Kill(), l.Synced()
	must(t, l.Close())
	again, got := readAll(t, in)
	wantClean(t, again)
	if len(got) != 1 || got[0].LSN != 2 {
		t.Fatalf("%v is left", lsns(got))
	}
}
