package recovery

import (
	"errors"

	"chronik.dev/chronik/broker/datadir"
	"chronik.dev/chronik/broker/partition"
	"chronik.dev/chronik/broker/vfs"
	"chronik.dev/chronik/broker/wal"
)

// Errors of Boot and Check. They are wrapped with the place, the cause and the command to run.
var (
	// ErrNoJournal says that a founded directory has no wal/; a new journal would forget what was acknowledged.
	ErrNoJournal = errors.New("the journal is missing")
	// ErrNoCheckpoint says that neither copy of the checkpoint can be used.
	ErrNoCheckpoint = errors.New("no valid checkpoint")
	// ErrUnreadable says that the disk does not read a part of the journal: try again, replace the disk. Nothing was cut.
	ErrUnreadable = errors.New("the disk does not read the journal")
	// ErrFormat says that another release wrote what is there.
	ErrFormat = errors.New("unknown format version")
)

// Options say what to recover. Env is completed by Boot: FS, Dir, Journal and Hold are set.
type Options struct {
	FS       vfs.FS
	Dir      string   // the data directory, locked by the caller
	DirID    [16]byte // its directory id
	Founding bool     // a new directory: make the journal and the first checkpoint
	Wal      wal.Options
	Env      *partition.Env
	// Topic tells a topic's name by its id; known is false if the metadata never heard of it. May be nil.
	Topic func(id [16]byte) (name string, known bool)
	// Config gives a topic's configuration. May be nil: defaults.
	Config func(topic string) partition.Config
	// Report puts an incident in the ledger and returns its id (*datadir.Dir.Report). May be nil.
	Report func(datadir.Incident) (id string, err error)
	// Progress is told how many bytes of journal were read since the last call. May be nil.
	Progress func(bytes int64)
}

// Result is a recovered node's storage.
type Result struct {
	Log          *wal.Log                // open for appending
	Partitions   []*partition.Log        // open
	Stopped      []partition.State       // partitions that serve nothing; their reasons are in the report
	Checkpointer *partition.Checkpointer // over all of them
	Checkpoint   partition.Checkpoint    // that recovery started from
	LastTime     int64                   // newest wall clock found in checkpoint and journal, ms; 0 = none. For partition.NewClock.
	Report       *Report
}

// Boot recovers a data directory and opens it. It may be killed anywhere and run again. An error means that nothing was opened and, but
// for evidence, nothing below the durable floor was changed; the report is complete as far as it got.
func Boot(o Options) (*Result, error) {
	return nil, errors.ErrUnsupported
}

// CheckOptions say what to check.
type CheckOptions struct {
	FS     vfs.FS
	Dir    string
	DirID  [16]byte // zero: not compared
	Deep   bool     // also reads every byte of the partition logs: batches, chronik.sums, indexes
	UpTo   wal.LSN  // not 0: a live node's synced LSN; what is past it is not reported
	Topic  func(id [16]byte) (name string, known bool)
	Config func(topic string) partition.Config
	// Progress is told how many bytes were read since the last call. May be nil.
	Progress func(bytes int64)
}

// Check comes to the verdicts that Boot would come to, and changes nothing. Memory is bounded.
func Check(o CheckOptions) (*Report, error) {
	return nil, errors.ErrUnsupported
}
