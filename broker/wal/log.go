package wal

import (
	"context"
	"errors"
)

// Log is an open journal. Its methods may be called from several goroutines.
type Log struct{}

// Create makes a new log in o.Dir, which must not hold one, and makes the directory if needed. fs.ErrExist if there is one: a directory that is
// still being founded is removed first by its owner.
func Create(o Options) (*Log, error) { return nil, errors.ErrUnsupported }

// Resume opens the log that inv describes for appending. It ends the last segment at the cut (the bytes past it are saved by the caller before),
// moves what was accepted past the floor into a new segment, syncs, and records the cut; a crash inside leaves what a second Inspect
// and Resume finish. ErrManifest, without a change, if the manifest cannot be used.
func Resume(o Options, inv *Inventory, cut CutNote) (*Log, error) { return nil, errors.ErrUnsupported }

// Append enqueues frames in call order, sets their LSNs and returns the last. They go into one group. It never blocks on I/O. The payloads
// must stay unchanged until done; the frames slice may be reused at once. done is called once, in the order of LSNs, from the committer,
// after the sync or with the error: it must not block. ErrNoSpace means that these frames were not written and the log goes on; any other
// error is final.
func (l *Log) Append(frames []Frame, done func(error)) LSN { return 0 }

// AppendSync appends frames with a note in their group's head and waits until they are durable; with mark also until a marker block behind them
// is durable, which makes damage to them provable.
func (l *Log) AppendSync(frames []Frame, note Note, mark bool) (LSN, error) {
	return 0, errors.ErrUnsupported
}

// Synced returns the highest LSN below which everything is durable, itself included.
func (l *Log) Synced() LSN { return 0 }

// Next returns the LSN that the next frame gets.
func (l *Log) Next() LSN { return 0 }

// LiveBytes returns the bytes of the live segments, and of what waits to be written.
func (l *Log) LiveBytes() int64 { return 0 }

// Full says whether the log is at MaxBytes; producers should wait with WaitRoom.
func (l *Log) Full() bool { return false }

// WaitRoom waits until the log is below MaxBytes, has failed, or ctx is done, whose error it returns.
func (l *Log) WaitRoom(ctx context.Context) error { return nil }

// FreeBelow gives up the segments that hold only frames below lsn. Their files are recycled or removed after the manifest without them is durable.
func (l *Log) FreeBelow(lsn LSN) error { return nil }

// Err returns why the log failed, or nil.
func (l *Log) Err() error { return nil }

// Failed is closed when a write or sync has failed; nothing more is acknowledged.
func (l *Log) Failed() <-chan struct{} { return nil }

// Close writes what waits, seals the segment and stores the manifest. The log cannot be used afterwards.
func (l *Log) Close() error { return nil }

// Stats counts since the log was opened.
type Stats struct {
	Groups, Frames, Bytes, Syncs, Markers, Rolls, Recycled uint64
	// SyncLatency counts write-and-sync times: bucket i holds those below 2^i * 16 µs, the last all others.
	SyncLatency [16]uint64
	SyncNanos   uint64 // their sum
}

// Stats returns the counters.
func (l *Log) Stats() Stats { return Stats{} }

func inspect(o InspectOptions, visit func(*Group) error) (*Inventory, error) {
	return nil, errors.ErrUnsupported
}
