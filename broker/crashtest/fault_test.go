package crashtest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
	"testing"

	"chronik.dev/chronik/broker/recovery"
	"chronik.dev/chronik/broker/vfs"
)

// drawFault plans one failure of the disk, at a random call.
func drawFault(rng *rand.Rand) vfs.Fault {
	f := vfs.Fault{
		Op:    []vfs.OpKind{vfs.OpWrite, vfs.OpWrite, vfs.OpSync, vfs.OpSync, vfs.OpSyncFS, vfs.OpSyncDir, vfs.OpTruncate, vfs.OpRename, vfs.OpCreate}[rng.IntN(9)],
		Match: []string{"/wal/", "/wal/", "/raft/", "/topics/", ""}[rng.IntN(5)], Skip: rng.IntN(60),
		Times: []int{1, 1, 3, -1}[rng.IntN(4)], Sync: vfs.SyncFailure(rng.IntN(3)),
	}
	if f.Op == vfs.OpSyncFS || f.Op == vfs.OpSyncDir || f.Op == vfs.OpRename {
		f.Match, f.Skip = "", f.Skip/10
	}
	if f.Op == vfs.OpWrite {
		f.Short = vfs.Fragment * rng.IntN(18) // inside a sector it would rightly be called undecided
		if rng.IntN(3) == 0 {
			f.Err = syscall.ENOSPC
		}
	}
	return f
}

// runFault works on a disk that fails once or from then on, with each of the three semantics of a failed sync, until the node reports an error;
// then the node is killed or loses power, and what it acknowledged must be there.
func runFault(seed uint64, c *counts) (w *world, err error) {
	s := draw(seed)
	rng := rand.New(rand.NewPCG(seed, 31))
	fault := drawFault(rng)
	defer func() {
		if err != nil {
			err = fmt.Errorf("%+v: %w", fault, err)
		}
	}()
	w = &world{setup: s, counts: c, rng: rng, disk: vfs.NewMem(seed)}
	w.worker = &worker{rng: rand.New(rand.NewPCG(seed, 32)), model: newModel(), raft: &raftModel{settled: founded()}, faulty: true}
	c.seeds.Add(1)
	s.plant.onDisk = func(m *vfs.Mem) vfs.FS {
		f := vfs.NewFaulty(m)
		f.Inject(fault)
		return f
	}
	n, err := start(w.disk, s, w.topics())
	if err != nil {
		return w, nil // the fault struck while founding: there is nothing yet to lose
	}
	if err := w.worker.attach(n); err != nil {
		return w, err
	}
	for range steps {
		c.steps.Add(1)
		if w.worker.step() != nil || w.worker.model.wait(1<<20) != nil {
			break
		}
	}
	j := &judge{world: w, rng: rand.New(rand.NewPCG(seed, 33)), topics: w.topics(), at: "a failing disk"}
	var disk *vfs.Mem
	j.parts = w.worker.model.now(func() {
		j.raft = w.worker.raft.now()
		if rng.IntN(2) == 0 {
			disk = w.disk.Kill()
		} else {
			disk = w.disk.CrashClone(rng)
		}
	})
	n.halt()
	c.acks.Add(int64(w.worker.model.acks))
	w.setup.release = w.holds(disk)
	return w, j.verdict(disk, 2)
}

// holds says whether the disk is of a node of which a partition had stopped for a failed write: its frames were set aside, for a repair.
func (w *world) holds(disk *vfs.Mem) bool {
	report, err := w.check(disk)
	if err != nil {
		return false // the boot says why
	}
	return slices.ContainsFunc(report.Partitions, func(p recovery.PartitionReport) bool { return p.Status == recovery.Stopped && p.Held != "" })
}

// TestFaults runs seeds with one failure of the disk each.
func TestFaults(t *testing.T) {
	var c counts
	var group sync.WaitGroup
	seeds := make(chan uint64)
	for range 2 {
		group.Go(func() {
			for seed := range seeds {
				if w, err := runFault(seed, &c); err != nil {
					t.Errorf("seed %d: %v\nagain: go test ./broker/crashtest -run TestFaults -crash.from=%d -crash.seeds=1 -count=20", seed, err, seed)
					w.keep(t)
				}
			}
		})
	}
	for seed := *flagFrom; seed < *flagFrom+uint64(*flagSeeds)*4 && !t.Failed(); seed++ {
		seeds <- seed
	}
	close(seeds)
	group.Wait()
	t.Log(&c)
}
