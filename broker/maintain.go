package broker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"chronik.dev/chronik/broker/datadir"
	"chronik.dev/chronik/broker/partition"
)

// The background of a node is four goroutines, started by startBackground and ended by stopBackground:
// checkpoints, retention and compaction, the watch over journal and Raft, and (in coordinator) offset expiry.

// checkpointPoll is how often the checkpointer looks at the journal's growth; on a full disk every change leads to a checkpoint after fullInterval.
const (
	checkpointPoll = 100 * time.Millisecond
	fullInterval   = time.Second
)

func (b *Broker) startBackground() {
	for _, run := range []func(){b.checkpoints, b.maintenance, b.watch} {
		b.background.Add(1)
		go func() {
			defer b.background.Done()
			run()
		}()
	}
}

func (b *Broker) stopBackground() {
	close(b.quit)
	b.background.Wait()
}

// goneInterval is how often the node looks whether its data directory is still there.
const goneInterval = time.Second

// watch ends the node when the journal or the metadata group failed, or when the data directory was removed, moved or unmounted: its open files
// would go on to take records that no restart could find.
func (b *Broker) watch() {
	ticker := time.NewTicker(goneInterval)
	defer ticker.Stop()
	for {
		select {
		case <-b.journal.Failed():
			b.fail(b.journal.Err())
		case <-b.raft.Failed():
			b.fail(b.raft.Err())
		case <-b.quit:
		case <-ticker.C:
			wal := b.dir.Path(datadir.WalDir)
			if _, err := b.fs.Stat(wal); !errors.Is(err, fs.ErrNotExist) {
				continue
			}
			b.fail(fmt.Errorf("%s is gone: the data directory was removed, moved or unmounted under the running node; "+
				"records acknowledged since are in no file of that name: bring the directory back and start again", wal))
		}
		return
	}
}

// checkpoints takes a checkpoint when the journal has grown by chronik.checkpoint.bytes, when it is at its cap, or after
// chronik.checkpoint.interval.ms if anything was written. A full disk does not wait so long: what was deleted gives its room back with the next checkpoint.
// A checkpoint for which there was no room, or no file descriptor, is made again after fullInterval.
func (b *Broker) checkpoints() {
	ticker := time.NewTicker(checkpointPoll)
	defer ticker.Stop()
	last, base := time.Now(), b.journal.Synced()
	var again time.Time // not zero: the last one failed for want of room
	for {
		select {
		case <-b.quit:
			return
		case <-ticker.C:
		}
		cfg := b.Config()
		grown := b.journal.LiveBytes() - b.liveAtCheckpoint.Load()
		interval := time.Duration(cfg.CheckpointIntervalMs()) * time.Millisecond
		if b.space.low.Load() {
			interval = min(interval, fullInterval)
		}
		aged := time.Since(last) >= interval && b.journal.Synced() != base
		due := grown >= cfg.CheckpointBytes() || aged || b.journal.Full() || !again.IsZero()
		if !due || time.Now().Before(again) {
			continue
		}
		synced := b.journal.Synced()
		err := b.checkpoint()
		if errors.Is(err, partition.ErrNoSpace) {
			if again.IsZero() {
				b.logger.Warn("no checkpoint; the one before it holds, and the journal grows until there is one", "error", err)
			}
			again = time.Now().Add(fullInterval)
			continue
		}
		if err != nil {
			b.fail(err)
			return
		}
		base, last, again = synced, time.Now(), time.Time{}
	}
}

// checkpoint makes one checkpoint and notes how much journal is left.
func (b *Broker) checkpoint() error {
	if err := b.checkpointer.Run(); err != nil {
		return err
	}
	b.liveAtCheckpoint.Store(b.journal.LiveBytes())
	b.checkpointCount.Add(1)
	return nil
}

// againWait bounds a round of making and dropping partitions that is tried again.
const againWait = 10 * time.Second

// maintenance applies retention, rolls old segments, compacts, and drops what could not be dropped before.
func (b *Broker) maintenance() {
	for {
		select {
		case <-b.quit:
			return
		case <-time.After(time.Duration(b.Config().RetentionCheckIntervalMs()) * time.Millisecond):
		}
		b.clean(time.Now().UnixMilli())
	}
}

// clean is one round of maintenance at a time in milliseconds.
func (b *Broker) clean(now int64) {
	byTime, jump := b.clock.Look(now, time.Now())
	if jump != 0 {
		b.incident(partition.Incident{
			Class: "clock-jump", Message: fmt.Sprintf("the clock jumped by %v; retention by time pauses for a day", jump), Next: "date; timedatectl status",
		})
	}
	if b.again.Swap(false) {
		ctx, cancel := context.WithTimeout(context.Background(), againWait)
		if err := b.reconcile(ctx); err != nil {
			b.logger.Warn("partitions are not yet what the metadata says; it is tried again", "error", err)
		}
		cancel()
	}
	for _, l := range b.allLogs() {
		l.Roll(now)
		if l.Config().Compact {
			if err := l.Compact(now); err != nil && !errors.Is(err, partition.ErrStopped) && !errors.Is(err, partition.ErrDeleted) {
				b.logger.Warn("compaction failed; the log is as it was", "partition", l.Name(), "error", err)
			}
			continue
		}
		l.Retain(now, byTime)
	}
}

// Drain says that the node is about to stop, before its listeners close: it is not ready any more, and whoever waits for room in the journal
// is refused, so that no client holds up the stop. Everything else still works.
func (b *Broker) Drain() {
	b.ready.Store(false)
	b.drain()
}

// Close stops the node cleanly: groups, partition logs with Kafka's files of a clean stop, a last checkpoint, Raft, the journal, the lock.
// The listeners are closed before.
func (b *Broker) Close(_ context.Context) error {
	b.closeOnce.Do(func() { b.closeErr = b.close() })
	return b.closeErr
}

func (b *Broker) close() error {
	b.Drain()
	b.stopBackground()
	b.groups.Close()
	if b.Err() != nil {
		if err := b.abandon(); err != nil {
			b.logger.Warn("closing after the failure", "error", err) // the failure itself, mostly
		}
		return nil
	}
	var errs []error
	for _, l := range b.allLogs() {
		errs = append(errs, l.Close())
	}
	errs = append(errs, b.checkpoint())
	return errors.Join(append(errs, b.abandon())...)
}

// abandon gives back what is open without writing anything that a clean stop would.
func (b *Broker) abandon() error {
	var errs []error
	if b.env != nil && b.env.Pool != nil {
		b.env.Pool.Close()
	}
	if b.raft != nil {
		errs = append(errs, b.raft.Stop())
	}
	if b.journal != nil {
		errs = append(errs, b.journal.Close())
	}
	return errors.Join(append(errs, b.dir.Close())...)
}
