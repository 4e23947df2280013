package raftdump

import (
	"fmt"
	"testing"

	"go.etcd.io/raft/v3/raftpb"
)

// BenchmarkVerify verifies a log of 10,000 commands behind a snapshot, of which a hundred create topics: each of those costs a copy of the map of
// topics, here as on the node.
func BenchmarkVerify(b *testing.B) {
	l := newLab(b)
	l.found(false)
	must(b, l.save(2, 2, l.id.MemberID, 0, l.entry("empty"), l.entry("init lab"), l.entry("broker")))
	l.snapshot(4)
	for i := range 100 {
		var entries []*raftpb.Entry
		for j := range 100 {
			if j == 0 {
				entries = append(entries, l.entry(fmt.Sprintf("topic t%d", i)))
			} else {
				entries = append(entries, l.entry("broker"))
			}
		}
		must(b, l.save(l.last+1, 2, l.id.MemberID, 0, entries...))
	}
	l.stop()
	d := l.dir()
	for b.Loop() {
		if sum, found, err := d.Verify(false); err != nil || len(found) > 0 || sum.Applied != 10_004 {
			b.Fatal(sum, found, err)
		}
	}
}
