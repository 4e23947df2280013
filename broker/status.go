package broker

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"chronik.dev/chronik/broker/consensus"
	"chronik.dev/chronik/broker/datadir"
	"chronik.dev/chronik/broker/partition"
	"chronik.dev/chronik/broker/vfs"
	"chronik.dev/chronik/broker/wal"
)

// Health is the node's own judgement.
type Health struct {
	Live    bool     // a node that is not live should be restarted
	Ready   bool     // requests are served
	Reasons []string // why not, and what an operator should know while it serves; each a sentence
}

// Health says whether the node lives and serves.
func (b *Broker) Health() Health {
	h := Health{Live: true, Ready: b.ready.Load()}
	if err := b.Err(); err != nil {
		return Health{Reasons: []string{err.Error()}}
	}
	if !h.Ready {
		h.Reasons = append(h.Reasons, "the node is starting or stopping")
	}
	if _, err := b.groups.Loaded(); err != nil {
		h.Reasons = append(h.Reasons, err.Error())
	}
	return h
}

// RaftStatus is the metadata group, and what the disk held of it when this process started.
type RaftStatus struct {
	consensus.Status
	Founded   bool // this process founded the group, so nothing was recovered
	Recovered struct {
		Term, Vote, Commit, LastIndex uint64
		ConfState                     string
	}
	Conf string // ConfState rendered
}

// Raft returns the state of the metadata group.
func (b *Broker) Raft() RaftStatus {
	s := RaftStatus{Status: b.raft.Status(), Founded: b.recovered.Founded}
	s.Conf = confState(s.Status)
	r := b.recovered
	s.Recovered.Term, s.Recovered.Vote, s.Recovered.Commit, s.Recovered.LastIndex = r.Term, r.Vote, r.Commit, r.LastIndex
	s.Recovered.ConfState = r.ConfState
	return s
}

// PartitionStatus is one partition of this node.
type PartitionStatus struct {
	Topic                           string
	TopicID                         [16]byte
	Partition                       int32
	LeaderEpoch                     int32
	LogStart, HighWatermark, LogEnd int64
	Size                            int64 // bytes
	Traffic                         partition.Traffic
	Internal                        bool
	Stopped                         string // why it serves nothing; empty if it serves
	Command                         string // what to run then
}

// Partitions returns every partition of this node, by topic and number.
func (b *Broker) Partitions() []PartitionStatus {
	logs := b.allLogs()
	out := make([]PartitionStatus, 0, len(logs))
	for _, l := range logs {
		id := l.Identity()
		p := PartitionStatus{
			Topic: id.Topic, TopicID: id.ID, Partition: id.Partition, LeaderEpoch: l.LeaderEpoch(), LogStart: l.LogStart(),
			HighWatermark: l.HighWatermark(), LogEnd: l.LogEnd(), Size: l.Size(), Internal: l.Config().Internal,
			Traffic: l.Traffic(),
		}
		if err := l.Stopped(); err != nil {
			p.Stopped, p.Command = err.Error(), b.verifyCommand()
		}
		out = append(out, p)
	}
	image := b.Image()
	b.logsMu.RLock()
	for key, why := range b.stopped {
		p := PartitionStatus{TopicID: key.id, Partition: key.partition, LeaderEpoch: -1, LogStart: -1, HighWatermark: -1, LogEnd: -1, Stopped: why, Command: b.verifyCommand()}
		if t := image.TopicsByID[key.id]; t != nil {
			p.Topic, p.Internal = t.Name, t.Internal
		}
		out = append(out, p)
	}
	b.logsMu.RUnlock()
	if len(out) > len(logs) {
		slices.SortFunc(out, func(x, y PartitionStatus) int {
			return cmp.Or(cmp.Compare(x.Topic, y.Topic), cmp.Compare(x.Partition, y.Partition))
		})
	}
	return out
}

// verifyCommand is the next step after damage. It is read while the node runs, and works when it does not.
func (b *Broker) verifyCommand() string {
	return "chronik wal verify --live " + datadir.Quote(b.dir.Path())
}

// LogDir is the data directory's disk.
type LogDir struct {
	Path          string
	Total, Usable int64 // bytes of the file system; -1 if unknown
}

// LogDir describes where partition logs are.
func (b *Broker) LogDir() LogDir {
	d := LogDir{Path: b.dir.Path(datadir.TopicsDir), Total: -1, Usable: -1}
	if free, err := b.fs.Free(b.dir.Path()); err == nil {
		d.Usable = free
	}
	if total, err := vfs.DiskSize(b.dir.Path()); err == nil {
		d.Total = total
	}
	return d
}

// Stats are figures of the node's own parts, since its start.
type Stats struct {
	Started         time.Time
	RecoverySeconds float64
	Journal         wal.Stats
	JournalLive     int64 // bytes
	JournalMax      int64 // bytes; 0 is no cap
	SyncedLSN       uint64
	NextLSN         uint64
	Checkpoint      partition.Checkpoint // the last one; without partitions
	Checkpoints     uint64
	TailBytes       int64
	TailLimit       int64
	Incidents       map[string]int    // of this process, by class
	Traffic         partition.Traffic // of all partitions, also of those that were deleted since
}

// Stats returns the figures of this moment.
func (b *Broker) Stats() Stats {
	last := b.checkpointer.Last()
	last.Partitions = nil
	s := Stats{
		Started: b.started, RecoverySeconds: b.recoverySeconds, Journal: b.journal.Stats(), JournalLive: b.journal.LiveBytes(),
		JournalMax: b.static.JournalMaxBytes(), SyncedLSN: uint64(b.journal.Synced()), NextLSN: uint64(b.journal.Next()),
		Checkpoint: last, Checkpoints: b.checkpointCount.Load(), TailBytes: b.env.Pool.Used(), TailLimit: b.env.Pool.Limit(),
		Incidents: map[string]int{},
	}
	b.logsMu.RLock()
	s.Traffic = b.dropped
	for _, l := range b.logs {
		s.Traffic.Add(l.Traffic())
	}
	b.logsMu.RUnlock()
	b.incidentsMu.Lock()
	for class, n := range b.incidents {
		s.Incidents[class] = n
	}
	b.incidentsMu.Unlock()
	return s
}

// incident writes to the ledger; what cannot be written there is at least logged.
func (b *Broker) incident(i partition.Incident) {
	b.incidentsMu.Lock()
	b.incidents[i.Class]++
	b.incidentsMu.Unlock()
	b.logger.Error("incident", "class", i.Class, "partition", i.Partition, "message", i.Message, "next", i.Next)
	if err := b.record(i); err != nil {
		b.logger.Error("the incident ledger cannot be written", "error", fmt.Errorf("%s: %w", b.dir.Path(datadir.IncidentsFile), err))
	}
}

// classes maps what a partition reports to the ledger's closed list.
var classes = map[string]datadir.Class{
	"partition-stopped": datadir.Stopped, "clock-jump": datadir.ClockJump, "journal-cap": datadir.JournalFull,
}

// record appends an incident to the ledger. An incident of the same class, partition and message is there once.
func (b *Broker) record(i partition.Incident) error {
	class, ok := classes[i.Class]
	if !ok {
		class = datadir.Stopped
	}
	_, err := b.dir.Report(datadir.Incident{Class: class, Topic: i.Partition, Reason: i.Message, Message: i.Message, Next: i.Next})
	return err
}
