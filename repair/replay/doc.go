// Package replay builds what a node's directory holds anew: as another directory (ToDir), or as records in a live cluster (ToCluster).
//
// The idea: what the records are is decided by the broker's own recovery (package recovery). The partition logs count up to the checkpoint;
// what follows comes from the journal, frame by frame, truncations and deletions included. So a replay gives what the node itself would
// serve after its next start, and comparing it with the partition logs that are on the disk compares two copies that were written
// separately. To a cluster the batches go as they are stored, compressed or not, under a producer id of the replay's own.
//
// The guarantee: the source is only read, and not while a node runs on it. ToDir makes its directory exclusively and gives it an identity
// last, so that no node starts on half of one. ToCluster writes a record down as sent before it depends on that: at most five batches of
// a partition are sent and not yet in the resume file, those are sent again after a kill with the same producer id and sequence numbers,
// and a broker remembers five. So every record arrives exactly once, however often the tool or the target dies.
//
// The API: ToDir and ToCluster, each with options and a report. Errors that callers tell apart are below; see also vfs.ErrLocked.
package replay

import (
	"errors"
	"fmt"
)

// Errors that callers tell apart. They are wrapped with the place and what to do next.
var (
	// ErrRefused says that a rule of safety forbids the replay: something is in the way that must not be overwritten or mixed up.
	ErrRefused = errors.New("refused")
	// ErrUnreachable says that the target cannot be reached.
	ErrUnreachable = errors.New("the target is unreachable")
	// ErrNoTopic says that the target lacks a topic.
	ErrNoTopic = errors.New("the topic does not exist")
	// ErrStarted says that a node started on the source while it was read.
	ErrStarted = errors.New("a node started on the directory while it was read")
	// ErrStalled says that the target acknowledged nothing for too long.
	ErrStalled = errors.New("the target acknowledges nothing")
)

// DamageError says that the source is damaged and something is lost by it; nothing was written.
type DamageError struct {
	Dir  string
	Lost []Loss // at least one
}

func (e *DamageError) Error() string {
	more := ""
	if n := len(e.Lost) - 1; n > 0 {
		more = fmt.Sprintf(" and %d more", n)
	}
	return fmt.Sprintf("%s is damaged: %s%s; look with 'chronik wal verify %s', or leave out what is lost with --skip-damaged", e.Dir, e.Lost[0], more, e.Dir)
}

// Loss is a range of offsets that the source does not give.
type Loss struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	First     int64  `json:"first_offset"`
	Last      int64  `json:"last_offset"` // -1: everything from First on
	File      string `json:"file,omitempty"`
	Offset    int64  `json:"offset,omitempty"` // byte in File
	Verdict   string `json:"verdict"`          // corrupt, undecided or io-error
	Detail    string `json:"detail"`
}

func (l Loss) String() string {
	text := fmt.Sprintf("%s-%d offsets %d-%d", l.Topic, l.Partition, l.First, l.Last)
	if l.Last < 0 {
		text = fmt.Sprintf("%s-%d from offset %d on", l.Topic, l.Partition, l.First)
	}
	if l.File != "" {
		text += fmt.Sprintf(" (%s byte %d)", l.File, l.Offset)
	}
	return text + ": " + l.Verdict + ": " + l.Detail
}
