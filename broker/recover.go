package broker

import (
	"fmt"
	"time"

	"chronik.dev/chronik/broker/coordinator"
	"chronik.dev/chronik/broker/datadir"
	"chronik.dev/chronik/broker/metapb"
	"chronik.dev/chronik/broker/partition"
	"chronik.dev/chronik/broker/raftlog"
	"chronik.dev/chronik/broker/recovery"
	"chronik.dev/chronik/broker/vfs"
	"chronik.dev/chronik/broker/wal"
)

// openLogs recovers journal and partitions and makes what needs them.
func (b *Broker) openLogs(founding bool) error {
	cfg := b.static
	b.env = &partition.Env{
		FS: vfs.NewHandles(b.fs, b.openFiles), Pool: partition.NewPool(cfg.TailMemoryBytes()), Now: func() int64 { return time.Now().UnixMilli() },
		Logger: b.logger, Incident: b.incident,
	}
	began := time.Now()
	result, err := recovery.Boot(recovery.Options{
		FS: b.fs, Dir: b.dir.Path(), DirID: b.dir.Identity().DirectoryID, Founding: founding, Env: b.env,
		Wal: wal.Options{
			SegmentSize: cfg.JournalSegmentBytes(), MaxBytes: cfg.JournalMaxBytes(), Buffered: !cfg.JournalDirectIO(), Logger: b.logger,
		},
		Topic: b.topicName, Config: b.configByName, Report: b.dir.Report, Progress: b.progress,
	})
	b.recoverySeconds = time.Since(began).Seconds()
	if result != nil {
		b.report = result.Report
	}
	if err != nil {
		return err
	}
	b.journal, b.checkpointer, b.clock = result.Log, result.Checkpointer, partition.NewClock(result.LastTime)
	b.liveAtCheckpoint.Store(b.journal.LiveBytes())
	if !founding {
		r := b.report
		b.logger.Info("recovered", "seconds", fmt.Sprintf("%.3f", r.Seconds), "frames", r.Frames, "bytes", r.Bytes,
			"findings", len(r.Findings), "stopped", len(result.Stopped))
	}
	for _, l := range result.Partitions {
		id := l.Identity()
		b.logs[slot{id.ID, id.Partition}] = l
	}
	if err := b.explained(); err != nil {
		return err
	}
	for _, s := range result.Stopped {
		b.stopped[slot{s.ID, s.Partition}] = b.stopReason(s)
	}
	b.groups = coordinator.New(coordinator.Options{
		Store: offsetsStore{b}, Config: b.Config, Logger: b.logger,
		Topic: func(name string) (id [16]byte, partitions int32, ok bool) {
			if t := b.Image().Topics[name]; t != nil {
				return t.ID, int32(len(t.Partitions)), true
			}
			return id, 0, false
		},
		Name: func(id [16]byte) (string, bool) {
			if t := b.Image().TopicsByID[id]; t != nil {
				return t.Name, true
			}
			return "", false
		},
	})
	return nil
}

// explained refuses partitions whose topic the metadata neither have nor deleted: then raft/ is older than what was built on it, and a start would
// drop them. A deletion is in the metadata until every replica's journal holds the drop.
func (b *Broker) explained() error {
	image := b.Image()
	for key, l := range b.logs {
		if image.TopicsByID[key.id] != nil || image.Deleted[key.id] != nil {
			continue
		}
		id := l.Identity()
		return &raftlog.DamageError{
			File: b.dir.Path(datadir.RaftDir), Offset: -1,
			Reason: fmt.Sprintf("partition %s-%d was created at index %d, and the metadata end at index %d without its topic and without a deletion of it",
				id.Topic, id.Partition, id.RaftIndex, image.Index),
			Lost: "the metadata of that topic at least",
			Next: fmt.Sprintf("nothing of the partition was changed; run `chronik raft verify %s`", b.dir.Path()),
		}
	}
	return nil
}

// topicName tells recovery what an id in the journal means. An id of a deleted topic is known: its drop may not have happened here yet.
func (b *Broker) topicName(id [16]byte) (name string, known bool) {
	image := b.Image()
	if t := image.TopicsByID[id]; t != nil {
		return t.Name, true
	}
	if d := image.Deleted[id]; d != nil {
		return d.Name, true
	}
	return "", false
}

func (b *Broker) configByName(topic string) partition.Config {
	if t := b.Image().Topics[topic]; t != nil {
		return b.logConfig(t)
	}
	return partition.DefaultConfig()
}

// stopReason is why recovery stopped a partition, as its report says it.
func (b *Broker) stopReason(s partition.State) string {
	if s.HeldReason != "" {
		return s.HeldReason
	}
	for i := range b.report.Partitions {
		p := &b.report.Partitions[i]
		if p.TopicID == fmt.Sprintf("%x", s.ID) && p.Partition == s.Partition {
			return p.Reason
		}
	}
	return "recovery stopped it; see the recovery report"
}

// damaged lists what recovery could not prove, for the registration: the controller takes this broker out of those partitions' ISR.
func (b *Broker) damaged() []*metapb.DamagedRange {
	var out []*metapb.DamagedRange
	image := b.Image()
	for i := range b.report.Partitions {
		p := &b.report.Partitions[i]
		if p.Status != recovery.Uncertain && p.Status != recovery.Stopped {
			continue
		}
		if t := image.Topics[p.Topic]; t != nil {
			out = append(out, &metapb.DamagedRange{
				TopicId: t.ID[:], Partition: uint32(p.Partition), ProvenEnd: p.End, Corrupt: p.Status == recovery.Stopped,
			})
		}
	}
	return out
}
