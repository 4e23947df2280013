package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"

	"github.com/rogpeppe/go-internal/testscript"

	"chronik.dev/chronik/broker/datadir"
	"chronik.dev/chronik/broker/statefile"
	"chronik.dev/chronik/broker/vfs"
	"chronik.dev/chronik/repair"
)

// cmdPlan reads a plan file into the environment: $ID, and $LOSS, the number that --accept-loss wants.
func cmdPlan(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: plan FILE")
	}
	p, err := repair.Load(vfs.OS, ts.MkAbs(args[0]))
	ts.Check(err)
	ts.Setenv("ID", p.ID)
	ts.Setenv("LOSS", fmt.Sprint(p.LossTotal))
}

// cmdHalf makes the status of a repair one that was interrupted.
func cmdHalf(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: half DIR ID")
	}
	base := filepath.Join(ts.MkAbs(args[0]), datadir.RepairsDir, args[1], datadir.RepairStatusBase)
	f, err := statefile.Load(vfs.OS, base, datadir.RepairStatusKind, datadir.RepairStatusVersion, [16]byte{})
	ts.Check(err)
	var r datadir.Repair
	ts.Check(json.Unmarshal(f.Body(), &r))
	r.State = datadir.RepairApplying
	body, err := json.Marshal(r)
	ts.Check(err)
	ts.Check(f.Store(body))
}
