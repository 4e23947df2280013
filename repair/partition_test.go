package repair

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"chronik.dev/chronik/broker"
	"chronik.dev/chronik/broker/batch"
	"chronik.dev/chronik/broker/group"
	"chronik.dev/chronik/broker/segment"
	"chronik.dev/chronik/broker/vfs"
)

// TestTruncatePartition cuts a partition of several segments at offsets of every kind: in each segment, at and inside of a batch, with and
// without a checkpoint behind it. Other partitions keep everything.
func TestTruncatePartition(t *testing.T) {
	for _, clean := range []bool{true, false} {
		n := startNode(t, vfs.NewMem(1))
		n.create("t", 2, "segment.bytes=1048576")
		n.large = 150_000
		n.produce("t", 0, 20, "v")
		n.produce("t", 1, 5, "other")
		if clean {
			n.stop()
			n = startNode(t, n.fs)
			n.large = 150_000
			n.produce("t", 0, 10, "w")
		}
		all, other := n.read("t", 0), n.read("t", 1)
		left := n.kill()
		for _, offset := range []int64{0, 3, 16, 17, 38, 39, int64(len(all) - 1)} {
			t.Run(fmt.Sprintf("%v/%d", clean, offset), func(t *testing.T) {
				m := left.Kill()
				cut := offset / 2 * 2 // batches of two records
				p, n := repaired(t, m, func(d *Draft) error { return TruncatePartition(d, "t", 0, offset) })
				if p.LossTotal != int64(len(all))-cut {
					t.Fatalf("the plan loses %d: %+v", p.LossTotal, p.Loss)
				}
				if got := n.read("t", 0); !slices.Equal(got, all[:cut]) {
					t.Fatalf("%d records are served, %d expected", len(got), cut)
				}
				if got := n.read("t", 1); !slices.Equal(got, other) {
					t.Fatalf("the other partition has %d records", len(got))
				}
				n.produce("t", 0, 3, "after")
				m = n.kill()
				mustVerify(t, m)
				again := startNode(t, m)
				if got := again.read("t", 0); len(got) != int(cut)+6 || got[cut] != "after0.a" {
					t.Fatalf("%d records after the next start", len(got))
				}
			})
		}
	}
}

// TestTruncatePartitionFiles: nothing that belongs to offsets behind the cut is left in the partition's directory.
func TestTruncatePartitionFiles(t *testing.T) {
	n := startNode(t, vfs.NewMem(1))
	n.create("t", 1, "segment.bytes=1048576")
	n.large = 150_000
	n.produce("t", 0, 20, "v")
	n.stop()
	m := n.fs
	p := newPlan(t, m, func(d *Draft) error { return TruncatePartition(d, "t", 0, 10) })
	_, err := Apply(ApplyOptions{FS: m, Dir: root, AcceptLoss: &p.LossTotal}, p)
	must(t, err)
	infos, err := m.ReadDir(filepath.Join(root, "topics/t-0"))
	must(t, err)
	for _, info := range infos {
		if kind, base, ok := segment.ParseName(info.Name()); ok && kind.PerSegment() && base > 10 {
			t.Errorf("%s is left", info.Name())
		}
	}
	mustVerify(t, m)
}

func TestTruncatePartitionRefuses(t *testing.T) {
	n := startNode(t, vfs.NewMem(1))
	n.create("t", 1)
	n.produce("t", 0, 5, "v")
	m := n.kill()
	for text, verb := range map[string]func(*Draft) error{
		"ends at offset 10":  func(d *Draft) error { return TruncatePartition(d, "t", 0, 10) },
		"knows such a":       func(d *Draft) error { return TruncatePartition(d, "t", 1, 1) },
		"give an offset":     func(d *Draft) error { return TruncatePartition(d, "t", 0, -1) },
		"the first is 1":     func(d *Draft) error { return TruncateJournal(d, 0) },
		"the journal ends a": func(d *Draft) error { return TruncateJournal(d, 1000) },
	} {
		if _, err := New(options(m), verb); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("want %q: %v", text, err)
		}
	}
}

// TestTruncateGroupOffsets: a cut of __consumer_offsets lists the committed offsets that are lost, and which older ones count again.
func TestTruncateGroupOffsets(t *testing.T) {
	n := startNode(t, vfs.NewMem(1))
	must(t, n.b.EnsureOffsetsTopic(t.Context()))
	l := n.log(broker.OffsetsTopic, 0)
	start := l.LogEnd()
	for i, c := range []struct {
		group  string
		offset int64
	}{{"old", 5}, {"moved", 7}, {"moved", 9}, {"new", 11}, {"moved", 10}} {
		key, err := group.AppendKey(nil, group.Key{Kind: group.OffsetKey, Group: c.group, Partition: group.Partition{Topic: "t", Index: 2}})
		must(t, err)
		b := batch.NewBuilder(batch.None)
		b.Append(time.Now().UnixMilli()+int64(i), key, group.AppendOffset(nil, group.Offset{Offset: c.offset, ExpireTime: -1}), nil)
		n.append(l, b)
	}
	m := n.kill()
	p := newPlan(t, m, func(d *Draft) error { return TruncatePartition(d, broker.OffsetsTopic, 0, start+2) })
	if len(p.GroupOffsets) != 2 || p.GroupOffsets[0].Group != "moved" || p.GroupOffsets[0].Offset != 10 || *p.GroupOffsets[0].Left != 7 ||
		p.GroupOffsets[1].Group != "new" || p.GroupOffsets[1].Left != nil {
		t.Fatalf("%+v", p.GroupOffsets)
	}
	if !errors.Is(apply(m, p), ErrRefused) {
		t.Fatal("acknowledged offsets were given up without a word")
	}
}
