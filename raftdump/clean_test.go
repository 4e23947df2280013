package raftdump

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"go.etcd.io/raft/v3/raftpb"

	"chronik.dev/chronik/broker/wal"
)

// TestSoundStates writes random histories, as a member may: after every step, every crash and every restart nothing is found but notices, after a
// clean stop nothing at all, and the state that is recomputed is the member's own.
func TestSoundStates(t *testing.T) {
	crashes, stops := 0, 0
	for seed := range uint64(12) {
		rng := rand.New(rand.NewPCG(seed, 5))
		l := newLab(t)
		l.found(false)
		for step := range 40 {
			what := l.randomStep(rng)
			if what == "restart" {
				l.stop()
				stops++
				sum, found, err := l.dir().Verify(true)
				must(t, err)
				if len(found) > 0 || sum.Hash == "" || sum.Commit < l.hard.GetCommit() {
					t.Fatalf("seed %d, step %d: after a clean stop: %+v; commit was %d: %v", seed, step, sum, l.hard.GetCommit(), found)
				}
				l.restart()
				l.compare(sum)
				continue
			}
			for range 3 {
				left := l.fs.CrashClone(rng)
				crashes++
				d, err := Open(Options{FS: left, Path: root})
				must(t, err)
				sum, found, err := d.Verify(true)
				must(t, err)
				for i := range found {
					if v := found[i].Verdict; v != wal.Notice && v != wal.Torn {
						t.Fatalf("seed %d, step %d (%s): after a crash: %s", seed, step, what, text(&found[i]))
					}
				}
				if sum.Hash == "" {
					t.Fatalf("seed %d, step %d (%s): the state could not be recomputed: %+v", seed, step, what, sum)
				}
			}
		}
		l.stop()
	}
	if stops == 0 || crashes < 1000 {
		t.Errorf("%d crashes and %d clean stops", crashes, stops)
	}
	t.Logf("%d crashes, %d clean stops", crashes, stops)
}

// compare checks the recomputed state against the member's own.
func (l *lab) compare(sum *Verification) {
	l.t.Helper()
	l.applyTo(sum.Applied)
	if l.meta.Image().Index == sum.Applied && hashText(l.meta.Hash()) != sum.Hash {
		l.t.Fatalf("the state at index %d has hash %s, recomputed %s", sum.Applied, hashText(l.meta.Hash()), sum.Hash)
	}
}

// randomStep makes one step of a member's life.
func (l *lab) randomStep(rng *rand.Rand) string {
	l.t.Helper()
	me, term, commit := l.id.MemberID, l.hard.GetTerm(), l.hard.GetCommit()
	entries := func() (out []*raftpb.Entry) {
		for range 1 + rng.IntN(3) {
			switch rng.IntN(6) {
			case 0:
				out = append(out, l.entry("empty"))
			case 1:
				out = append(out, l.entry("broker"))
			default:
				out = append(out, l.entry(fmt.Sprintf("topic t%d", rng.IntN(1000))))
			}
		}
		return out
	}
	switch n := rng.IntN(12); {
	case n < 5:
		e := entries()
		must(l.t, l.save(l.last+1, term, me, min(commit+rng.Uint64N(4), l.last+uint64(len(e))), e...))
		return "append"
	case n < 6: // a new term, without an entry
		must(l.t, l.save(l.last+1, term+1, me, commit))
		return "vote"
	case n < 8 && l.last > commit: // a new leader's entries in place of what was not committed
		e := entries()
		must(l.t, l.save(commit+1+rng.Uint64N(l.last-commit), term+1, me, commit, e...))
		return "overwrite"
	case n < 10:
		if from := max(l.newestSnapshot()+1, l.meta.Image().Index); commit >= from {
			l.snapshot(from + rng.Uint64N(commit-from+1))
			return "snapshot"
		}
	case n < 11:
		return "restart"
	}
	must(l.t, l.save(l.last+1, term, me, commit+rng.Uint64N(l.last-commit+1)))
	return "commit"
}

func (l *lab) newestSnapshot() uint64 {
	l.t.Helper()
	s, err := l.log.Snapshot()
	must(l.t, err)
	return s.GetMetadata().GetIndex()
}
