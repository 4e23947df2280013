package broker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"google.golang.org/protobuf/proto"

	"chronik.dev/chronik/broker/metadata"
	"chronik.dev/chronik/broker/metapb"
	"chronik.dev/chronik/broker/partition"
)

// slot names one partition of one topic id.
type slot struct {
	id        [16]byte
	partition int32
}

// Log returns the log of a partition that this node leads.
func (b *Broker) Log(topic string, number int32) (*partition.Log, error) {
	t, there := b.Image().Topics[topic]
	if !there {
		return nil, fail(kerr.UnknownTopicOrPartition, "topic %q does not exist", topic)
	}
	return b.log(t, number)
}

// LogByID is Log by topic id.
func (b *Broker) LogByID(id [16]byte, number int32) (*partition.Log, error) {
	t, there := b.Image().TopicsByID[id]
	if !there {
		return nil, fail(kerr.UnknownTopicID, "no topic has this id")
	}
	return b.log(t, number)
}

func (b *Broker) log(t *metadata.Topic, number int32) (*partition.Log, error) {
	if number < 0 || int(number) >= len(t.Partitions) {
		return nil, fail(kerr.UnknownTopicOrPartition, "topic %q has %d partitions; there is no partition %d", t.Name, len(t.Partitions), number)
	}
	b.logsMu.RLock()
	l, why := b.logs[slot{t.ID, number}], b.stopped[slot{t.ID, number}]
	b.logsMu.RUnlock()
	switch {
	case l != nil:
		return l, nil
	case why != "":
		return nil, fail(kerr.KafkaStorageError, "%s-%d is stopped: %s", t.Name, number, why)
	}
	return nil, fail(kerr.NotLeaderForPartition, "%s-%d is not open on this node yet", t.Name, number)
}

// allLogs returns every open log, by topic and number. The list must not be changed.
func (b *Broker) allLogs() []*partition.Log {
	b.logsMu.RLock()
	list := b.listed
	b.logsMu.RUnlock()
	if list != nil {
		return list
	}
	b.logsMu.Lock()
	defer b.logsMu.Unlock()
	b.listed = make([]*partition.Log, 0, len(b.logs))
	for _, l := range b.logs {
		b.listed = append(b.listed, l)
	}
	slices.SortFunc(b.listed, func(x, y *partition.Log) int {
		return cmp.Or(cmp.Compare(x.Identity().Topic, y.Identity().Topic), cmp.Compare(x.Identity().Partition, y.Identity().Partition))
	})
	return b.listed
}

// Append writes a produce payload to a log. done is called exactly once, from this goroutine if the payload is refused, else after the
// sync; its error is an *Error. records may be reused when Append returns.
func (b *Broker) Append(l *partition.Log, records []byte, done func(partition.Appended, error)) {
	err := b.space.admit(len(records))
	if err == nil {
		err = b.waitRoom()
	}
	if err != nil {
		done(partition.Appended{Base: -1, Last: -1, AppendTime: -1, LogStart: -1}, err)
		return
	}
	l.Append(records, partition.AppendInfo{LeaderEpoch: l.LeaderEpoch()}, func(a partition.Appended, err error) {
		done(a, asError(err))
	})
}

// DeleteRecords moves the log start to upTo, -1 for the high watermark (KIP-107). done gets the new log start once it is durable.
func (b *Broker) DeleteRecords(_ context.Context, l *partition.Log, upTo int64, done func(int64, error)) {
	if l.Config().Internal {
		done(-1, fail(kerr.TopicAuthorizationFailed, "records of %s are not deleted by hand", l.Name()))
		return
	}
	if !l.Config().Delete {
		done(-1, fail(kerr.PolicyViolation, "cleanup.policy of %s does not contain delete", l.Name()))
		return
	}
	if upTo == -1 {
		upTo = l.HighWatermark()
	}
	l.DeleteRecords(upTo, func(start int64, err error) { done(start, asError(err)) })
}

// propose carries one metadata command through Raft and then brings this node's partitions in line with the result.
func (b *Broker) propose(ctx context.Context, command proto.Message) (metadata.Result, error) {
	result, err := b.commit(ctx, command)
	if err != nil {
		return result, err
	}
	return result, b.reconcile(ctx)
}

// commit carries one metadata command through Raft. One at a time: the state machine keeps a few answers per proposer, and a command that others
// overtook by more would be taken for a late repetition.
func (b *Broker) commit(ctx context.Context, command proto.Message) (metadata.Result, error) {
	select {
	case b.proposing <- struct{}{}:
		defer func() { <-b.proposing }()
	case <-ctx.Done():
		return metadata.Result{}, fail(kerr.RequestTimedOut, "other metadata commands were not committed in time: %v", ctx.Err())
	}
	data, err := b.proposer.Encode(time.Now().UnixMilli(), command)
	if err != nil {
		return metadata.Result{}, fmt.Errorf("encode metadata command: %w", err)
	}
	result, err := b.raft.Propose(ctx, data)
	if err != nil {
		if ctx.Err() != nil {
			return metadata.Result{}, fail(kerr.RequestTimedOut, "the metadata command was not committed in time: %v", err)
		}
		return metadata.Result{}, fail(kerr.NotController, "the metadata command was not committed: %v", err)
	}
	if result.Err != nil {
		return result, verdictError(result.Err)
	}
	return result, nil
}

// reconcile brings the open logs in line with the metadata: opens new partitions, begins new leader epochs, applies configuration, drops
// what was deleted. It is idempotent; every command's proposer runs it, so a topic is served when its creation is answered.
func (b *Broker) reconcile(ctx context.Context) error {
	b.reconcileMu.Lock()
	image := b.Image()
	b.applyConfigs(image)
	var errs []error
	for _, t := range image.Topics {
		if err := b.openTopic(t); err != nil {
			errs = append(errs, err)
			b.again.Store(true)
		}
	}
	b.loadGroups(image)
	dropped := b.dropDeleted(image)
	b.reconcileMu.Unlock()
	for _, id := range dropped {
		_, err := b.propose(ctx, &metapb.TopicDropped{NodeId: b.nodeID, Id: id[:]})
		if err != nil {
			b.logger.Warn("a dropped topic stays in the metadata until the next start", "error", err)
		}
	}
	return errors.Join(errs...)
}

// loadGroups begins to run every partition of __consumer_offsets that is not run yet.
func (b *Broker) loadGroups(image *metadata.Image) {
	if t := image.Topics[OffsetsTopic]; t != nil {
		for n := range t.Partitions {
			b.groups.Load(int32(n))
		}
	}
}

func (b *Broker) openTopic(t *metadata.Topic) error {
	cfg := b.logConfig(t)
	for n, p := range t.Partitions {
		key := slot{t.ID, int32(n)}
		b.logsMu.RLock()
		l, stopped := b.logs[key], b.stopped[key]
		b.logsMu.RUnlock()
		if stopped != "" || p.Leader != b.nodeID {
			continue
		}
		if l == nil {
			var err error
			id := partition.Identity{Topic: t.Name, ID: t.ID, Partition: int32(n), RaftIndex: p.Index}
			if l, err = partition.Create(b.env, id, cfg); err != nil {
				return fail(kerr.KafkaStorageError, "%v", err)
			}
			b.logsMu.Lock()
			b.logs[key], b.listed = l, nil
			b.logsMu.Unlock()
		} else if l.Config() != cfg {
			l.SetConfig(cfg)
		}
		if l.LeaderEpoch() < p.LeaderEpoch {
			l.BeginEpoch(p.LeaderEpoch)
		}
	}
	return nil
}

// dropDeleted drops the logs of topics that are no longer in the metadata and returns the ids whose drop this node has to report. The
// Dropped frames are synced when it returns.
func (b *Broker) dropDeleted(image *metadata.Image) (report [][16]byte) {
	b.logsMu.Lock()
	gone := map[slot]*partition.Log{}
	for key, l := range b.logs {
		if image.Deleted[key.id] != nil { // never without a deletion, see explained
			gone[key] = l
		}
	}
	for key := range b.stopped {
		if _, lives := image.TopicsByID[key.id]; !lives {
			delete(b.stopped, key)
			b.checkpointer.Release(key.id, key.partition)
		}
	}
	b.logsMu.Unlock()
	failed := map[[16]byte]bool{}
	for key, l := range gone {
		dir, err := l.Drop(image.Deleted[key.id].Index)
		if err != nil {
			b.logger.Warn("a deleted partition could not be dropped; it is tried again", "partition", l.Name(), "error", err)
			failed[key.id] = true
			b.again.Store(true)
			continue
		}
		b.logsMu.Lock()
		b.dropped.Add(l.Traffic())
		delete(b.logs, key)
		b.listed = nil
		b.logsMu.Unlock()
		b.checkpointer.Removed(dir)
	}
	for id, d := range image.Deleted {
		if failed[id] {
			continue
		}
		for _, n := range d.Waiting {
			if n == b.nodeID {
				report = append(report, id)
			}
		}
	}
	return report
}
