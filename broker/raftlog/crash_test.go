package raftlog

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"chronik.dev/chronik/broker/vfs"
)

var (
	crashStates = flag.Int("crash.states", 1500, "crash states of TestCrash")
	crashSeed   = flag.Uint64("crash.seed", 1, "first seed of TestCrash")
)

// TestCrash runs random histories on a disk that may lose power, or whose process may be killed, inside every call that changes something. Whatever it leaves must open as the state
// before or after the step in progress, go on, and open again as the same.
func TestCrash(t *testing.T) {
	states, seed := 0, *crashSeed
	for ; states < *crashStates; seed++ {
		states += crashHistory(t, seed, *crashStates-states)
	}
	t.Logf("%d crash states, seeds %d to %d", states, *crashSeed, seed-1)
}

// crashHistory runs one history and returns how many crashes it tried.
func crashHistory(t *testing.T, seed uint64, limit int) (states int) {
	rng := rand.New(rand.NewPCG(seed, 0))
	disk := vfs.NewMem(seed)
	s, before := mustFound(t, disk), newModel()
	before.size = []int{0, 40, 3000}[rng.IntN(3)]
	var log []string
	for range 12 {
		x := before.next(rng.IntN)
		after := before.clone()
		after.do(x)
		log = append(log, x.name)
		var crashes []*vfs.Mem
		var killed []bool // the process only, not the power
		var mu sync.Mutex // the log has goroutines of its own
		over := false
		disk.SetHook(func(vfs.Op) {
			mu.Lock()
			defer mu.Unlock()
			if !over && rng.IntN(3) == 0 && states < limit {
				crashes, killed = append(crashes, disk.CrashClone(rng)), append(killed, false)
				if rng.IntN(4) == 0 {
					crashes[len(crashes)-1], killed[len(killed)-1] = disk.Kill(), true
				}
				states++
			}
		})
		err := do(s, x)
		disk.SetHook(nil)
		mu.Lock()
		over = true // for a call of the hook that is on its way
		mu.Unlock()
		if err != nil {
			t.Fatalf("seed %d: %s: %v", seed, strings.Join(log, "; "), err)
		}
		for i, c := range crashes {
			if d := crashed(t, c, rng, before, after, killed[i]); d != "" {
				t.Fatalf("-crash.seed %d: %s: crash %d: %s\n%s", seed, strings.Join(log, "; "), i, d, c)
			}
		}
		if d := crashed(t, disk.CrashMode(rng, vfs.None), rng, after, after, false); d != "" {
			t.Fatalf("-crash.seed %d: %s: after the last step: %s\n%s", seed, strings.Join(log, "; "), d, disk)
		}
		before = after
	}
	mustClose(t, s)
	return states
}

// crashed opens what a crash left, twice, with a crash inside the first opening, and says what is wrong.
func crashed(t *testing.T, disk *vfs.Mem, rng *rand.Rand, before, after *model, killed bool) string {
	var inside *vfs.Mem
	var mu sync.Mutex
	over := false
	disk.SetHook(func(vfs.Op) {
		mu.Lock()
		defer mu.Unlock()
		if !over && inside == nil && rng.IntN(4) == 0 {
			inside = disk.CrashClone(rng)
		}
	})
	s, _, err := Open(testOptions(disk))
	disk.SetHook(nil)
	mu.Lock()
	over = true
	mu.Unlock()
	if err != nil {
		return err.Error()
	}
	defer mustClose(t, s)
	m := between(s, before, after)
	if m == nil {
		return fmt.Sprintf("neither the state before (%s) nor after (%s)", before.differs(s, false), after.differs(s, false))
	}
	if inside != nil {
		again, _, err := Open(testOptions(inside))
		if err != nil {
			return fmt.Sprintf("after a crash inside Open: %v", err)
		}
		mustClose(t, again)
		if d := m.differs(again, false); d != "" && (!killed || between(again, before, after) == nil) {
			return "after a crash inside Open: " + d // but what a kill left unsynced, a power loss may take until Open returns
		}
	}
	x := m.next(rng.IntN)
	m.do(x)
	if err := do(s, x); err != nil {
		return fmt.Sprintf("going on with %s: %v", x.name, err)
	}
	again, _, err := Open(testOptions(disk.Kill()))
	if err != nil {
		return fmt.Sprintf("second start: %v", err)
	}
	mustClose(t, again)
	if d := m.differs(again, false); d != "" {
		return "second start: " + d
	}
	return ""
}

// between returns the model that the storage equals: before, after, or, since a Ready of several parts may be half done, its first parts alone.
// The commit index may be any that was known; raft finds it again.
func between(s *Storage, before, after *model) *model {
	for _, hard := range []*model{after, before} {
		for _, log := range []*model{after, before} {
			m := log.clone()
			m.hard = hard.hard
			if commit := s.hard.GetCommit(); commit > after.hard.GetCommit() || commit < s.snapshot.GetMetadata().GetIndex() {
				continue
			} else if m.differs(s, false) == "" || m.hard.GetCommit() < commit && m.withCommit(commit).differs(s, true) == "" {
				return m.withCommit(commit)
			}
		}
	}
	return nil
}

func (m *model) withCommit(commit uint64) *model {
	c := m.clone()
	c.hard = hard(m.hard.GetTerm(), m.hard.GetVote(), commit)
	return c
}
