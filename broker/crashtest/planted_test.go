package crashtest

import (
	"strings"
	"testing"

	"chronik.dev/chronik/broker/partition"
	"chronik.dev/chronik/broker/vfs"
	"chronik.dev/chronik/broker/wal"
)

// plant is a bug put into the node on purpose, to see the programme find it. The zero value plants none.
type plant struct {
	name    string
	onDisk  func(*vfs.Mem) vfs.FS
	onQueue func(partition.Journal) partition.Journal

	// Of the fast floors:
	onRecovery func(*vfs.Mem) vfs.FS // the disk that a recovery sees
	early      bool                  // acknowledge before the sync
}

func (p plant) disk(m *vfs.Mem) vfs.FS {
	if p.onDisk == nil {
		return m
	}
	return p.onDisk(m)
}

func (p plant) journal(j partition.Journal) partition.Journal {
	if p.onQueue == nil {
		return j
	}
	return p.onQueue(j)
}

// plants are the bugs, one per rule of storage.md that this programme answers for.
var plants = []plant{
	{name: "acknowledge before the sync", onQueue: func(j partition.Journal) partition.Journal { return newEager(j) }},
	{name: "forget a truncation", onQueue: forget(wal.Truncated)},
	{name: "forget delete-records", onQueue: forget(wal.LogStart)},
	{name: "forget a drop", onQueue: forget(wal.Dropped)},
	{name: "journal without sync", onDisk: unsynced("/wal/0", vfs.OpSync)},
	{name: "Raft log without sync", onDisk: unsynced("/raft/0", vfs.OpSync)},
	{name: "HardState without sync", onDisk: unsynced("/hardstate.", vfs.OpSync)},
	{name: "checkpoint without sync of the partition files", onDisk: unsynced("", vfs.OpSyncFS)},
	{name: "checkpoint not stored before the journal is freed", onDisk: unsynced("/checkpoint.", vfs.OpWrite)},
	{name: "directories without sync", onDisk: unsynced("", vfs.OpSyncDir)},
}

// TestPlantedBugs runs seeds with each bug until the programme finds it.
func TestPlantedBugs(t *testing.T) {
	for _, p := range plants {
		t.Run(strings.ReplaceAll(p.name, " ", "-"), func(t *testing.T) {
			t.Parallel()
			var c counts
			for seed := uint64(1); seed <= 60; seed++ {
				s := draw(seed)
				s.plant = p
				if _, err := run(s, &c, steps, lives, *flagRate); err != nil {
					t.Logf("found after %d crash states, seed %d: %.300s", c.states.Load(), seed, err)
					return
				}
			}
			t.Errorf("%s is not found in %d crash states", p.name, c.states.Load())
		})
	}
}

// eager answers an append before the journal has synced it.
type eager struct {
	partition.Journal
	queue chan func(error)
}

func newEager(j partition.Journal) *eager {
	e := &eager{Journal: j, queue: make(chan func(error), 1024)}
	go func() {
		for done := range e.queue {
			done(nil)
		}
	}()
	return e
}

// Append implements partition.Journal.
func (e *eager) Append(frames []wal.Frame, done func(error)) wal.LSN {
	lsn := e.Journal.Append(frames, func(error) {})
	e.queue <- done
	return lsn
}

// forgetful never writes frames of one type.
type forgetful struct {
	partition.Journal
	what wal.Type
}

func forget(what wal.Type) func(partition.Journal) partition.Journal {
	return func(j partition.Journal) partition.Journal { return &forgetful{Journal: j, what: what} }
}

// Append implements partition.Journal.
func (f *forgetful) Append(frames []wal.Frame, done func(error)) wal.LSN {
	for i := range frames {
		if frames[i].Type == f.what { // in its place one that says nothing
			frames[i].Type, frames[i].First = wal.EpochBegun, 0
		}
	}
	return f.Journal.Append(frames, done)
}

// unsynced makes the disk under a node ignore one kind of call on some names. A file that is written synchronously is not.
func unsynced(match string, op vfs.OpKind) func(*vfs.Mem) vfs.FS {
	return func(m *vfs.Mem) vfs.FS {
		f := vfs.NewFaulty(m)
		f.Inject(vfs.Fault{Op: op, Match: match, Times: -1, Drop: true})
		return &asynchronous{FS: f, match: match}
	}
}

type asynchronous struct {
	vfs.FS
	match string
}

// OpenFile implements vfs.FS.
func (a *asynchronous) OpenFile(name string, flag int) (vfs.File, error) {
	if a.match != "" && strings.Contains(name, a.match) {
		flag &^= vfs.DSync
	}
	return a.FS.OpenFile(name, flag)
}
