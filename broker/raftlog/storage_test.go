package raftlog

import (
	"errors"
	"math/rand/v2"
	"testing"

	"go.etcd.io/raft/v3"
	"pgregory.net/rapid"

	"chronik.dev/chronik/broker/vfs"
)

// TestDifferential compares with raft.MemoryStorage after every step, across clean stops and kills.
func TestDifferential(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		disk := vfs.NewMem(1)
		s, m := mustFound(t, disk), newModel()
		m.size = rapid.SampledFrom([]int{0, 20, 5000}).Draw(t, "size")
		rng := rand.New(rand.NewPCG(1, 2))
		pick := func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "pick") }
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			switch pick(8) {
			case 0:
				t.Log("clean stop")
				if err := s.Close(); err != nil {
					t.Fatalf("close: %v", err)
				}
				s, _ = mustOpen(t, disk)
				m.check(t, s, true)
			case 1:
				t.Log("power cut")
				left := disk.CrashMode(rng, vfs.None)
				if err := s.Close(); err != nil { // its goroutines
					t.Fatalf("close: %v", err)
				}
				disk = left
				s, _ = mustOpen(t, disk)
				m.check(t, s, false)
				m.hard.Commit = s.hard.Commit
			}
			x := m.next(pick)
			t.Log(x.name)
			m.do(x)
			if err := do(s, x); err != nil {
				t.Fatalf("%s: %v", x.name, err)
			}
			m.check(t, s, true)
		}
		if _, err := s.Entries(1, 2, 0); !errors.Is(err, raft.ErrCompacted) {
			t.Fatalf("entries below the first: %v", err)
		}
		if _, err := s.Entries(m.last()+1, m.last()+2, 0); !errors.Is(err, raft.ErrUnavailable) {
			t.Fatalf("entries above the last: %v", err)
		}
		if _, err := s.Term(m.last() + 1); !errors.Is(err, raft.ErrUnavailable) {
			t.Fatalf("term above the last: %v", err)
		}
		if err := s.Close(); err != nil {
			t.Fatalf("close: %v", err)
		}
	})
}
