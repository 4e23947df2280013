package wal

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"chronik.dev/chronik/broker/vfs"
)

// TestCrashChain lets one log live through many power losses and kills: what was acknowledged in any life is there in every later one, no LSN means two
// frames, and no life begins with more than a torn tail.
func TestCrashChain(t *testing.T) {
	for seed := range uint64(2 * *crashSeeds) {
		if err := crashChain(t, *crashFrom+seed); err != nil {
			t.Fatalf("seed %d: %v", *crashFrom+seed, err)
		}
	}
}

func crashChain(t *testing.T, seed uint64) error {
	rng := rand.New(rand.NewPCG(seed, 17))
	m := vfs.NewMem(seed)
	o := testOptions(m, "/wal", seed)
	o.Rand, o.Spares, o.Buffered = nil, int(seed%3)-1, seed%2 == 0
	o.Idle = []time.Duration{-1, 1, 20 * time.Microsecond}[rng.IntN(3)]
	acked := map[LSN]int64{} // value of each acknowledged frame
	issued := map[LSN]int64{}
	l, err := Create(o)
	must(t, err)
	var freed LSN
	value := int64(0)
	for life := range 12 {
		stop := rng.IntN(30)
		var mu sync.Mutex // for crash, calls and the crash's own generator: the keeper calls too
		var crash *vfs.Mem
		calls, cut := 0, rand.New(rand.NewPCG(seed, uint64(life)))
		for i := 0; i <= stop; i++ {
			if i == stop { // the power goes at some call of the last append
				at := rng.IntN(4)
				m.SetHook(func(vfs.Op) {
					mu.Lock()
					defer mu.Unlock()
					if calls++; calls > at && crash == nil {
						if crash = m.CrashClone(cut); cut.IntN(3) == 0 {
							crash = m.Kill() // what was not synced can still go in the next life
						}
					}
				})
			}
			value++
			f := testFrame(int32(rng.IntN(3)), value, rng.IntN(6000))
			lsn, err := l.AppendSync([]Frame{f}, Note{}, false)
			must(t, err)
			issued[lsn] = value
			mu.Lock()
			if crash == nil {
				acked[lsn] = value
			}
			mu.Unlock()
			if rng.IntN(12) == 0 && i < stop {
				freed = lsn / 2
				must(t, l.FreeBelow(freed))
			}
		}
		m.SetHook(nil)
		mu.Lock()
		if crash == nil {
			crash = m.CrashClone(cut)
		}
		mu.Unlock()
		must(t, l.Close())
		m = crash
		o.FS = m
		inv, err := checkChain(o, acked, issued, freed)
		if err != nil {
			return fmt.Errorf("life %d: %w", life, err)
		}
		if l, err = Resume(o, inv, CutNote{Incident: "i"}); err != nil {
			return fmt.Errorf("life %d: %w", life, err)
		}
	}
	return l.Close()
}

func checkChain(o Options, acked, issued map[LSN]int64, freed LSN) (*Inventory, error) {
	got := map[LSN]bool{}
	inv, err := Inspect(inspectOptions(o), func(g *Group) error {
		for _, f := range g.Frames {
			if issued[f.LSN] != f.First || got[f.LSN] {
				return fmt.Errorf("LSN %d holds %d, was %d", f.LSN, f.First, issued[f.LSN])
			}
			got[f.LSN] = true
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, f := range inv.Findings {
		if f.Verdict != Notice && f.Verdict != Torn {
			return nil, fmt.Errorf("finding %+v", f)
		}
	}
	for lsn := range acked {
		if lsn >= freed && !got[lsn] {
			return nil, fmt.Errorf("acknowledged LSN %d is lost", lsn)
		}
	}
	return inv, nil
}
