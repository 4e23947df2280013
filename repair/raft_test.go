package repair

import (
	"slices"
	"testing"

	"chronik.dev/chronik/broker"
	"chronik.dev/chronik/broker/vfs"
)

// TestTruncateRaft cuts committed entries of a group of one: the node starts, in a higher term, without what they did.
func TestTruncateRaft(t *testing.T) {
	n := startNode(t, vfs.NewMem(1))
	n.create("t", 1)
	n.produce("t", 0, 3, "v")
	all := n.read("t", 0)
	before := n.b.Raft()
	days := "86400000"
	for range 2 { // the second tells that the first is committed
		must(t, n.b.AlterConfigs(t.Context(), 2, "t", []broker.ConfigOp{{Key: "retention.ms", Value: &days}}, false))
	}
	m := n.kill()
	index := before.LastIndex + 1
	p, n := repaired(t, m, func(d *Draft) error { return TruncateRaft(d, index) })
	if p.LossTotal != 2 || p.Loss[0].First != int64(index) || p.Loss[0].What != "Raft entries" || p.Loss[0].Acknowledged != AckYes ||
		len(p.NeedsAccept) != 1 {
		t.Fatalf("%+v %q", p.Loss, p.NeedsAccept)
	}
	if now := n.b.Raft(); now.Term <= before.Term+1 { // a start alone raises it by one
		t.Fatalf("term %d after a cut below the commit in term %d", now.Term, before.Term)
	}
	if n.b.Image().Topics["t"].Configs["retention.ms"] != "" {
		t.Fatal("the command that was cut off still counts")
	}
	if got := n.read("t", 0); !slices.Equal(got, all) {
		t.Fatalf("%d records are served", len(got))
	}
	n.create("u", 1)
	n.produce("u", 0, 2, "w")
	n.produce("t", 0, 2, "w")
	m = n.kill()
	mustVerify(t, m)
	if got := startNode(t, m).read("u", 0); len(got) != 4 {
		t.Fatalf("%d records after the next start", len(got))
	}
}

// TestTruncateRaftRefuses: what partitions on the disk depend on cannot be cut off.
func TestTruncateRaftRefuses(t *testing.T) {
	n := startNode(t, vfs.NewMem(1))
	first := n.b.Raft().LastIndex + 1
	n.create("t", 1)
	deleted := n.b.Raft().LastIndex + 1
	n.create("gone", 1)
	n.produce("t", 0, 1, "v")
	producers := n.b.Raft().LastIndex + 1
	_, err := n.b.NextProducerID(t.Context())
	must(t, err)
	last := n.b.Raft().LastIndex
	m := n.kill()
	for index, text := range map[uint64]string{
		first: "has partitions on the disk", deleted: "topic gone has partitions on the disk", producers: "producer ids", 1: "",
	} {
		if _, err := New(options(m), func(d *Draft) error { return TruncateRaft(d, index) }); text != "" {
			wantIs(t, err, ErrRefused, text)
		} else if err == nil {
			t.Errorf("index %d was cut", index)
		}
	}
	_, err = New(options(m), func(d *Draft) error { return TruncateRaft(d, last+1) })
	wantIs(t, err, ErrNothing, "ends at index")
	m = m.Kill()
	n = startNode(t, m)
	must(t, n.b.DeleteTopic(t.Context(), n.b.Image().Topics["gone"].ID))
	m = n.kill()
	_, err = New(options(m), func(d *Draft) error { return TruncateRaft(d, last+1) })
	wantIs(t, err, ErrRefused, "its partitions may be gone")
}
