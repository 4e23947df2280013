package raftlog

import (
	"fmt"

	"chronik.dev/chronik/broker/statefile"
	"chronik.dev/chronik/broker/wal"
)

// FoundingIndex and FoundingTerm are those of the snapshot that a founded group starts from.
const (
	FoundingIndex = 1
	FoundingTerm  = 1
)

// Report is what Open or Inspect found.
type Report struct {
	Term            uint64            `json:"term"`
	Vote            uint64            `json:"vote"`
	Commit          uint64            `json:"commit"` // the highest that HardState, log and snapshot know of
	First           uint64            `json:"first"`  // index range of the log; empty if First > Last
	Last            uint64            `json:"last"`
	Segments        int               `json:"segments"`  // of the log
	Snapshots       []SnapshotFile    `json:"snapshots"` // newest first
	HardStateCopies [2]statefile.Copy `json:"hardStateCopies"`
	Findings        []wal.Finding     `json:"findings"` // everything that the log's reader found
	Cut             []wal.Finding     `json:"cut"`      // ends that never left the node: cut by Open
	Notices         []string          `json:"notices"`  // repaired, or to be repaired by Open, without loss
	Damage          *DamageError      `json:"damage"`   // of Inspect: Open would fail with it
}

// SnapshotFile is one file of snapshots/.
type SnapshotFile struct {
	Name    string `json:"name"`
	Size    int64  `json:"size"`
	Index   uint64 `json:"index"`
	Term    uint64 `json:"term"`
	Problem string `json:"problem,omitempty"` // empty: intact
}

// message renders a DamageError.
func (e *DamageError) message() string {
	where := e.File
	if e.Offset >= 0 {
		where = fmt.Sprintf("%s at byte %d", e.File, e.Offset)
	}
	return fmt.Sprintf("Raft state is damaged: %s: %s; lost: %s; %s", where, e.Reason, e.Lost, e.Next)
}
