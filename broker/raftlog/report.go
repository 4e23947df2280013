package raftlog

import "fmt"

// FoundingIndex and FoundingTerm are those of the snapshot that a founded group starts from.
const (
	FoundingIndex = 1
	FoundingTerm  = 1
)

// Report is what Open or Inspect found.
type Report struct {
	Term, Vote, Commit uint64 // HardState after reconciliation with groups and snapshots
	First, Last        uint64 // index range of the log; empty if First > Last
	Snapshots          []SnapshotFile
	HardStateCopies    [2]string     // state of each copy: ok, missing, corrupt, unknown-version
	Notices            []string      // repaired without loss
	Damage             *DamageError  // set by Inspect where Open would fail
}

// SnapshotFile is one file of snapshots/.
type SnapshotFile struct {
	Name        string
	Size        int64
	Index, Term uint64
	Problem     string // empty: intact
}

// message renders a DamageError.
func (e *DamageError) message() string {
	where := e.File
	if e.Offset >= 0 {
		where = fmt.Sprintf("%s at byte %d", e.File, e.Offset)
	}
	return fmt.Sprintf("Raft state is damaged: %s: %s; lost: %s; %s", where, e.Reason, e.Lost, e.Next)
}
