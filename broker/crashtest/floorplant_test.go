package crashtest

import (
	"strings"
	"testing"

	"chronik.dev/chronik/broker/partition"
	"chronik.dev/chronik/broker/vfs"
)

// floorPlants are bugs put into one component on purpose, by floor: it must find them.
var floorPlants = map[string][]plant{
	"state files": {
		{name: "copies without sync", onDisk: unsynced("/state.", vfs.OpSync)},
		{name: "the second copy is not written", onDisk: unsynced("/state.1", vfs.OpWrite)},
		{name: "new files without sync of the directory", onDisk: unsynced("", vfs.OpSyncDir)},
	},
	"journal": {
		{name: "segments without sync", onDisk: unsynced("/wal/0", vfs.OpSync)},
		{name: "acknowledge before the sync", early: true},
		{name: "manifest without sync", onDisk: unsynced("/manifest.", vfs.OpSync)},
		{name: "new segments without sync of the directory", onDisk: unsynced("", vfs.OpSyncDir)},
		{name: "recovery without sync", onRecovery: unsynced("/wal/0", vfs.OpSync)},
	},
	"Raft state": {
		{name: "log without sync", onDisk: unsynced("/raft/0", vfs.OpSync)},
		{name: "HardState without sync", onDisk: unsynced("/hardstate.", vfs.OpSync)},
		{name: "snapshots without sync", onDisk: unsynced("/snapshots/", vfs.OpSync)},
		{name: "recovery without sync", onRecovery: unsynced("/raft/0", vfs.OpSync)},
	},
	"partitions": {
		{name: "acknowledge before the sync", onQueue: func(j partition.Journal) partition.Journal { return newEager(j) }},
		{name: "journal without sync", onDisk: unsynced("/wal/0", vfs.OpSync)},
		{name: "checkpoint without sync of the partition files", onDisk: unsynced("", vfs.OpSyncFS)},
		{name: "recovery without sync", onRecovery: unsynced("/wal/0", vfs.OpSync)},
	},
}

// TestPlantedFloors runs each floor with each of its bugs until it finds it.
func TestPlantedFloors(t *testing.T) {
	for i := range floors {
		f := &floors[i]
		if len(floorPlants[f.name]) == 0 {
			t.Errorf("%s: no bug is planted: nothing shows that this floor can fail", f.name)
		}
		for _, p := range floorPlants[f.name] {
			t.Run(strings.ReplaceAll(f.name+" "+p.name, " ", "-"), func(t *testing.T) {
				t.Parallel()
				var c floorCounts
				for seed := uint64(1); seed <= 60; seed += 2 { // without faults of the disk
					if _, err := runFloor(seed, f.build, p, &c, f.weight); err != nil {
						t.Logf("found after %d states, seed %d: %.300s", c.total(), seed, err)
						return
					}
				}
				t.Errorf("%s is not found in %d states", p.name, c.total())
			})
		}
	}
}
