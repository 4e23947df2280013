package raftlog

import (
	"testing"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"chronik.dev/chronik/broker/vfs"
)

// TestFallBackBehindFreedSegments destroys the newest snapshot after segments below the one before it were freed: the older one and the log
// still start a node.
func TestFallBackBehindFreedSegments(t *testing.T) {
	disk := vfs.NewMem(5)
	s := mustFound(t, disk)
	for i := uint64(2); i < 100; i++ {
		e := &raftpb.Entry{Index: &i, Term: new(uint64(1)), Data: make([]byte, 5000)}
		if err := s.Save(raft.Ready{HardState: hard(1, 0, i), Entries: []*raftpb.Entry{e}}); err != nil {
			t.Fatal(err)
		}
		if i%20 == 0 {
			if err := s.CreateSnapshot(i, testConf, []byte("state")); err != nil {
				t.Fatal(err)
			}
		}
	}
	mustClose(t, s)
	flip(t, disk, path(snapDir, snapName(80, 1)), 100)
	s, report := mustOpen(t, disk)
	if s.snapshot.GetMetadata().GetIndex() != 60 || s.log.last() != 99 || s.log.first() > 61 || len(report.Notices) == 0 {
		t.Fatalf("snapshot %d, log %d to %d, notices %q", s.snapshot.GetMetadata().GetIndex(), s.log.first(), s.log.last(), report.Notices)
	}
	mustClose(t, s)
}
