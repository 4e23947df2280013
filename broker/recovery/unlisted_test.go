package recovery

import (
	"slices"
	"strings"
	"testing"

	"chronik.dev/chronik/broker/vfs"
)

// TestUnlistedPartitionIsReadBack: a partition that no checkpoint lists stops at a boot for a lost record; its frames are held, and a repair reads
// back all but that record.
func TestUnlistedPartitionIsReadBack(t *testing.T) {
	n := newNode(t)
	a := n.create("a", 1)
	for _, v := range []string{"one-", "two-", "three-"} {
		n.produce(a, 1, v)
	}
	want := n.read(a)
	n.crash(vfs.None)
	var segment string
	for _, name := range n.fs.Files() {
		if data, err := n.fs.Bytes(name); err == nil && strings.HasSuffix(name, ".wal") {
			if at := strings.Index(string(data), "two-0.a"); at >= 0 {
				segment = name
				if err := n.fs.Flip(name, int64(at), 1); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if segment == "" {
		t.Fatal("the record is not in the journal")
	}
	if err := n.boot(false); err != nil {
		t.Fatal(err)
	}
	if len(n.result.Stopped) != 1 {
		t.Fatalf("%+v", n.result.Report)
	}
	n.checkpoint()
	n.crash(vfs.None)
	n.release = true
	if err := n.boot(false); err != nil {
		t.Fatal(err)
	}
	got := n.read(n.logs["a-0"])
	if !slices.Equal(got, want[:2]) {
		t.Fatalf("%v, want %v", got, want[:2])
	}
}
