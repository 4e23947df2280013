package broker

import (
	"slices"
	"testing"
	"time"

	"chronik.dev/chronik/broker/vfs"
)

// TestDropIsTriedAgain: a deleted topic whose directory could not be renamed goes with the next round of maintenance, not with the next start.
func TestDropIsTriedAgain(t *testing.T) {
	mem := vfs.NewMem(1)
	disk := vfs.NewFaulty(mem)
	b := start(t, mem, disk)
	id := b.create(t, "t").Identity().ID
	disk.Inject(vfs.Fault{Op: vfs.OpRename, Match: "t-0."})
	if err := b.DeleteTopic(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if len(b.allLogs()) != 1 || len(b.Image().Deleted) != 1 {
		t.Fatalf("%d logs, %d deletions: the fault was not met", len(b.allLogs()), len(b.Image().Deleted))
	}
	b.clean(time.Now().UnixMilli())
	if len(b.allLogs()) != 0 || len(b.Image().Deleted) != 0 {
		t.Errorf("%d logs, %d deletions are left", len(b.allLogs()), len(b.Image().Deleted))
	}
	if err := b.checkpoint(); err != nil {
		t.Fatal(err)
	}
	if slices.ContainsFunc(mem.Files(), func(name string) bool { return len(name) > 14 && name[:14] == "/data/topics/t" }) {
		t.Error(mem.Files())
	}
}
