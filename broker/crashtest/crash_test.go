// Package crashtest is the crash programme over the storage core: identity, Raft log, journal and partition logs of one node, assembled as the
// broker assembles them, on a disk in memory that loses power (vfs.Mem).
//
// The idea: a seeded workload runs against the node (appends to several partitions with and without idempotent producers, disks that run full,
// truncations, delete-records, retention, compaction, rolls, flushes, checkpoints, epochs, drops, changes of configuration, lives with other
// settings of the journal, Raft entries, votes, conflicts and snapshots). At many calls to the disk a copy is made as a power loss there would
// leave it, each unsynced 512-byte fragment, size and name kept or lost; the copy is booted and judged against a model of what was
// acknowledged. Some copies crash again inside that recovery, and each is booted a second time.
//
// What is checked: 0 acknowledged records lost (but those of a compacted topic that a later one with the same key replaced), 0 invented, 0 at
// another offset, truncations, deletions and drops never undone, producers where they were; Raft term, vote, commit, members and log never go
// back; no verdict worse than "torn"; recovery twice gives the same and finds nothing new; a clean stop leaves a clean report. TestPlantedBugs
// shows that it finds what it should.
//
// At length:
//
//	go test ./broker/crashtest -run TestCrash -crash.from=1 -crash.for=5m -crash.floor=100000 -timeout=0
//
// The fast floors (floor_test.go) are the same for one component alone: state files, journal, Raft state, partitions with their checkpoint. There a state
// costs tens to hundreds of microseconds, so at a crash point every subset of up to 14 units is tried; a history has its fault (three kinds of failed
// fsync, ENOSPC, EIO, a short write), recoveries crash inside and meet errors of the disk. TestPlantedFloors shows that each can fail.
//
//	go test ./broker/crashtest -run TestFloors -crash.from=1 -crash.for=15m -crash.results=FILE -timeout=0 -v
//	go test ./broker/crashtest -run TestResults -crash.results=FILE
//
// A run goes on where the last line of its programme in FILE says "next"; TestResults adds the lines up, and refuses seeds that ran twice.
//
// A failing seed prints the command that runs it again and, with -crash.keep=DIR, leaves the disk there for `chronik wal verify`. Goroutines
// make runs of one seed similar, not equal: run a seed several times (-count=20).
package crashtest

import (
	"flag"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var (
	flagFrom  = flag.Uint64("crash.from", 1, "first seed")
	flagSeeds = flag.Int("crash.seeds", 6, "number of seeds, if -crash.for is not given")
	flagFor   = flag.Duration("crash.for", 0, "go on for this long")
	flagFloor = flag.Int64("crash.floor", 0, "fail if fewer crash states were judged")
	flagRate  = flag.Int("crash.density", 12, "crash points per 1000 calls to the disk; less means more seeds and longer histories")
	flagKeep  = flag.String("crash.keep", "", "directory for the disk of a failing seed")
)

// Of each seed: lives of the node, and requests per life.
const (
	lives = 4
	steps = 60
)

func init() {
	debug.SetGCPercent(400) // many small disks, short lives
	runtime.MemProfileRate = 0
}

// TestCrash runs seeds on all processors.
func TestCrash(t *testing.T) {
	var c counts
	begin := time.Now()
	next := eachSeed(t, "TestCrash", func(seed uint64) (*world, error) { return run(draw(seed), &c, steps, lives, *flagRate) })
	t.Logf("%s; %.0f states/s", &c, float64(c.states.Load())/time.Since(begin).Seconds())
	if n := c.states.Load(); n < *flagFloor {
		t.Errorf("%d crash states, the floor is %d", n, *flagFloor)
	}
	result{"whole node", *flagFrom, next, time.Since(begin).Seconds(), c.states.Load(), c.fields()}.record(t)
}

// eachSeed runs seeds on all processors, as many as the flags say, until one fails. It returns the first seed that was not run.
func eachSeed(t *testing.T, test string, run func(seed uint64) (*world, error)) uint64 {
	t.Helper()
	begin := time.Now()
	next := atomic.Uint64{}
	next.Store(*flagFrom)
	var group sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		group.Go(func() {
			for !t.Failed() {
				seed := next.Add(1) - 1
				if *flagFor > 0 && time.Since(begin) > *flagFor || *flagFor == 0 && seed >= *flagFrom+uint64(*flagSeeds) {
					next.Add(^uint64(0)) // not run
					return
				}
				if w, err := run(seed); err != nil {
					t.Errorf("seed %d: %v\nagain: go test ./broker/crashtest -run '%s$' -crash.from=%d -crash.seeds=1 -count=20", seed, err, test, seed)
					w.keep(t)
				}
			}
		})
	}
	group.Wait()
	return next.Load()
}

// keep writes the disk of the first failure to -crash.keep.
func (w *world) keep(t *testing.T) {
	if *flagKeep == "" || w.failed == nil {
		return
	}
	for _, name := range w.failed.Files() {
		data, err := w.failed.Bytes(name)
		if err == nil {
			err = os.MkdirAll(filepath.Join(*flagKeep, filepath.Dir(name)), 0o755)
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(*flagKeep, name), data, 0o644)
		}
		if err != nil {
			t.Log(err)
		}
	}
	t.Logf("the disk (%s) is in %s", w.where, filepath.Join(*flagKeep, root))
}
