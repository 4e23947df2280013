package statefile

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"chronik.dev/chronik/broker/vfs"
)

// TestFailedSyncThenRestart: a sync failed and the kernel called the pages clean without writing them, as ext4 and XFS do; the process ended and began
// again without a loss of power, read the pages, and built on them. A loss of power then must not bring back what was before.
func TestFailedSyncThenRestart(t *testing.T) {
	for _, how := range []vfs.SyncFailure{vfs.StillDirty, vfs.CleanButLost, vfs.RevertedToDisk} {
		for _, name := range Names("/s") {
			m := vfs.NewMem(1)
			create(t, m, strings.Repeat("one", 100))
			d := vfs.NewFaulty(m)
			f := load(t, d)
			must(t, f.Mend())
			d.Inject(vfs.Fault{Op: vfs.OpSync, Match: name, Sync: how})
			if err := f.Store([]byte("two")); err == nil {
				t.Fatal("the sync did not fail")
			}
			m = m.Kill()
			f = load(t, m)
			must(t, f.Mend())
			loaded := string(f.Body())
			var bad error
			m.SetHook(func(op vfs.Op) {
				_, err := m.EachCrash(14, func(c *vfs.Mem) error {
					g, err := Load(c, "/s", kind, 1, id)
					if err == nil && string(g.Body()) != loaded && string(g.Body()) != "three" {
						err = fmt.Errorf("state %.20q, %.20q was loaded before", g.Body(), loaded)
					}
					return err
				})
				if err != nil {
					bad = errors.Join(bad, fmt.Errorf("crash at %s: %w", op, err))
				}
			})
			if err := errors.Join(f.Store([]byte("three")), bad); err != nil {
				t.Errorf("failed sync %d of %s: %v", how, name, err)
			}
		}
	}
}
