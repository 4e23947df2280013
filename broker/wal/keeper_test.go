package wal

import (
	"testing"

	"chronik.dev/chronik/broker/vfs"
)

// TestSteadyLoadPrewritesNothing: a log whose owner frees six segments at a time soon uses the same files again and again, and gives the surplus
// back when the load is over. Prewriting a file costs as much as filling it.
func TestSteadyLoadPrewritesNothing(t *testing.T) {
	o := testOptions(vfs.NewMem(5), "/wal", 5)
	o.Spares = 2
	l, err := Create(o)
	must(t, err)
	var offset int64
	round := func(segments uint64) {
		t.Helper()
		for to := l.Stats().Rolls + segments; l.Stats().Rolls < to; offset++ {
			for !l.spareReady() {
				waitSpare(l)
			}
			appendAll(t, l, testFrame(1, offset, 4000))
		}
		must(t, l.FreeBelow(l.Synced()))
		waitSpare(l)
	}
	for range 4 {
		round(6)
	}
	before := l.Stats()
	for range 5 {
		round(6)
	}
	after := l.Stats()
	// One may be on its way when others come back; without recycling there are 15.
	if after.Prewritten-before.Prewritten > 3 || after.Recycled-before.Recycled < 27 {
		t.Errorf("in 5 rounds of 6 segments %d files were prewritten, %d recycled", after.Prewritten-before.Prewritten, after.Recycled-before.Recycled)
	}
	round(1)
	if n := l.spareCount(); n > MaxSpares {
		t.Errorf("%d spares are kept after the load", n)
	}
	must(t, l.Close())
	inv, _ := readAll(t, inspectOptions(o))
	wantClean(t, inv)
}
