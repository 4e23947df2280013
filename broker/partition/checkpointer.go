package partition

import (
	"cmp"
	"fmt"
	"log/slog"
	"slices"
	"sync"

	"chronik.dev/chronik/broker/planted"
	"chronik.dev/chronik/broker/statefile"
	"chronik.dev/chronik/broker/vfs"
	"chronik.dev/chronik/broker/wal"
)

// Freer is the journal as a checkpoint needs it; *wal.Log is one.
type Freer interface {
	Synced() wal.LSN
	// FreeBelow gives back the segments that lie wholly below lsn.
	FreeBelow(lsn wal.LSN) error
}

// Checkpointer runs checkpoints over all logs of an Env: files written, one syncfs, both checkpoint copies stored, journal segments
// freed, removed files and dropped directories deleted. An error of syncfs or of the checkpoint file other than for want of room is final: the node
// must stop.
type Checkpointer struct {
	env     *Env
	file    *statefile.File
	journal Freer

	run  sync.Mutex // one checkpoint at a time
	mu   sync.Mutex
	held []State  // partitions that are not open: stopped at boot
	dirs []string // of dropped partitions, removed after the next checkpoint
	last Checkpoint
}

// NewCheckpointer makes a checkpointer over the logs of env (those that Create and Replay registered in env.Pool). file is wal/checkpoint;
// held are the states of partitions that boot stopped without opening them; they are listed unchanged until Release.
func NewCheckpointer(env *Env, file *statefile.File, journal Freer, held []State) *Checkpointer {
	return &Checkpointer{env: env, file: file, journal: journal, held: slices.Clone(held)}
}

// Last returns the last checkpoint that Run made durable.
func (c *Checkpointer) Last() Checkpoint { c.mu.Lock(); defer c.mu.Unlock(); return c.last }

// Release forgets a held partition: it was deleted or repaired. Its directory is Removed's business.
func (c *Checkpointer) Release(id [16]byte, partition int32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held = slices.DeleteFunc(c.held, func(s State) bool { return s.ID == id && s.Partition == partition })
}

// Removed names the directory of a dropped partition; it is deleted after the next checkpoint. Log.Drop returns it.
func (c *Checkpointer) Removed(dir string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dirs = append(c.dirs, dir)
}

// CompareStates is the order of partitions in a checkpoint: by topic, number and id.
func CompareStates(a, b State) int {
	return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition), slices.Compare(a.ID[:], b.ID[:]))
}

// Run makes one checkpoint. A full disk or a single partition's failure delays only that partition (its last State is listed again, and
// the journal keeps its frames) and is logged. ErrNoSpace: there was no room for the checkpoint itself, or no file descriptor; the one before it
// still holds, and Run may be called again. Any other error is final.
func (c *Checkpointer) Run() error { return c.make(true) }

// Settle is Run but for the journal, which keeps what it has: the cut of a boot must stay known until something is written behind it.
func (c *Checkpointer) Settle() error { return c.make(false) }

func (c *Checkpointer) make(free bool) error {
	c.run.Lock()
	defer c.run.Unlock()
	synced := c.journal.Synced()
	logs := c.env.Pool.all()
	c.mu.Lock()
	ck := Checkpoint{LSN: synced, Time: c.env.Now(), Partitions: slices.Clone(c.held)}
	dirs := slices.Clone(c.dirs)
	c.mu.Unlock()
	for _, l := range logs {
		st, ok, err := l.Checkpoint(synced)
		if err != nil {
			c.logger().Warn("a partition is left out of this checkpoint's progress", "partition", l.Name(), "error", err)
		}
		if ok {
			ck.Partitions = append(ck.Partitions, st)
		}
		if st.Held == 0 {
			ck.LSN = min(ck.LSN, st.LSN)
		}
	}
	slices.SortFunc(ck.Partitions, CompareStates)
	if !planted.Is(planted.CheckpointUnsynced) {
		if err := c.env.FS.SyncFS(c.env.Dir); err != nil {
			return refused("sync of the partition files: ", err)
		}
	}
	if planted.Is(planted.FreeFirst) {
		if err := c.journal.FreeBelow(ck.LSN + 1); err != nil {
			return refused("", err)
		}
	}
	if err := c.file.Store(ck.Marshal()); err != nil {
		return refused("", err)
	}
	c.mu.Lock()
	c.last = ck
	c.dirs = c.dirs[len(dirs):]
	c.mu.Unlock()
	var freed error
	if free {
		freed = c.journal.FreeBelow(ck.LSN + 1)
	}
	if vfs.NoRoom(freed) {
		freed = refused("the journal is not freed: ", freed)
	}
	for _, l := range logs {
		if err := l.Checkpointed(); err != nil {
			c.logger().Warn("files of removed segments stay until the next boot", "partition", l.Name(), "error", err)
		}
	}
	for _, d := range dirs {
		if err := vfs.RemoveAll(c.env.FS, d); err != nil {
			c.logger().Warn("a dropped partition's directory stays until the next boot", "directory", d, "error", err)
		}
	}
	return freed
}

// refused is the error of a checkpoint that was not made.
func refused(what string, err error) error {
	if vfs.NoRoom(err) {
		return fmt.Errorf("checkpoint: %s%w: %w", what, ErrNoSpace, err)
	}
	return fmt.Errorf("checkpoint: %s%w; the node stops, its next boot replays the journal", what, err)
}

func (c *Checkpointer) logger() *slog.Logger {
	if c.env.Logger != nil {
		return c.env.Logger
	}
	return slog.New(slog.DiscardHandler)
}
