package partition

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"chronik.dev/chronik/broker/statefile"
	"chronik.dev/chronik/broker/vfs"
	"chronik.dev/chronik/broker/wal"
)

const checkpointBase = "/data/checkpoint"

// suspicious is a journal that cuts the power when it is asked to give something back, and looks for a checkpoint that does without.
type suspicious struct {
	*rig
	asked int
}

// Synced implements Freer.
func (s *suspicious) Synced() wal.LSN { return s.journal.Synced() }

// FreeBelow implements Freer.
func (s *suspicious) FreeBelow(lsn wal.LSN) error {
	s.asked++
	left := s.fs.CrashMode(rand.New(rand.NewPCG(1, 1)), vfs.None)
	file, err := statefile.Load(left, checkpointBase, CheckpointKind, CheckpointVersion, [16]byte{1})
	if err != nil {
		s.t.Fatal(err)
	}
	ck, err := UnmarshalCheckpoint(file.Body())
	if err != nil {
		s.t.Fatal(err)
	}
	if ck.LSN+1 < lsn {
		s.t.Errorf("the journal is freed below %d, and after a power cut the checkpoint needs it from %d on", lsn, ck.LSN+1)
	}
	for _, c := range file.Copies() {
		if c.State != statefile.OK || c.Seq != file.Seq() {
			s.t.Errorf("the journal is freed below %d with one copy of the checkpoint: %v", lsn, c)
		}
	}
	for _, st := range ck.Partitions {
		for _, g := range st.Segments {
			name := fmt.Sprintf("%s/%s/%020d.log", s.env.Dir, st.Dir, g.Base)
			if info, err := left.Stat(name); err != nil || info.Size() < g.Size {
				s.t.Errorf("the checkpoint has %d bytes of %s, and after a power cut: %v, %v", g.Size, name, info, err)
			}
		}
	}
	return nil
}

// TestCheckpointBeforeFree: what the journal gives back is in synced partition files, and both copies of the checkpoint say so.
func TestCheckpointBeforeFree(t *testing.T) {
	r := newRig(t)
	l := r.create(DefaultConfig())
	file, err := statefile.Create(r.fs, checkpointBase, CheckpointKind, CheckpointVersion, [16]byte{1}, (&Checkpoint{}).Marshal())
	if err != nil {
		t.Fatal(err)
	}
	journal := &suspicious{rig: r}
	c := NewCheckpointer(r.env, file, journal, nil)
	for range 3 {
		r.must(l, produce(5, "v", -1, -1, -1, r.now))
		if err := c.Run(); err != nil {
			t.Fatal(err)
		}
	}
	if journal.asked != 3 || c.Last().LSN != r.journal.Synced() {
		t.Errorf("freed %d times; the last checkpoint has LSN %d of %d", journal.asked, c.Last().LSN, r.journal.Synced())
	}
}
