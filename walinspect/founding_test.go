package walinspect

import (
	"testing"

	"chronik.dev/chronik/broker/datadir"
	"chronik.dev/chronik/broker/vfs"
	"chronik.dev/chronik/broker/wal"
)

// TestFounding: a directory whose first start was interrupted holds nothing that could be damaged; one with partitions does.
func TestFounding(t *testing.T) {
	m := vfs.NewMem(1)
	d, err := datadir.Open(m, "/data", datadir.Options{NodeID: 1})
	must(t, err)
	must(t, m.Mkdir("/data/wal"))
	must(t, d.Close())
	verify := func() (*Verification, []Finding) {
		target, err := Open(Options{FS: m, Path: "/data"})
		must(t, err)
		var all []Finding
		v, err := target.Verify(Deep, func(f *Finding) error { all = append(all, *f); return nil })
		must(t, err)
		return v, all
	}
	if v, all := verify(); v.Verdict != wal.Notice || len(all) != 1 || all[0].Reason != "founding" {
		t.Errorf("%v: %+v", v.Verdict, all)
	}
	must(t, vfs.MkdirAll(m, "/data/topics/a-0"))
	if v, all := verify(); v.Verdict != wal.Corrupt {
		t.Errorf("with a partition: %v: %+v", v.Verdict, all)
	}
}
