package main

import (
	"encoding/hex"
	"math"
	"sort"
	"strings"
	"sync"
	"time"

	"chronik.dev/chronik/broker/admin"
	"chronik.dev/chronik/broker/datadir"
	"chronik.dev/chronik/broker/kafka"
	"chronik.dev/chronik/broker/recovery"
	"chronik.dev/chronik/broker/vfs"
	"chronik.dev/chronik/broker/wal"
)

// boot is what the process tells before it has a node.
type boot struct {
	dir     string
	started time.Time

	mu    sync.Mutex
	stage string
	since time.Time // when the stage began
	now   recovery.Progress
}

func newBoot(dir string) *boot {
	now := time.Now()
	return &boot{dir: dir, started: now, stage: "raft", since: now}
}

// progress is told how far recovery is.
func (b *boot) progress(p recovery.Progress) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if stage := string(p.Stage); stage != b.stage {
		b.stage, b.since = stage, time.Now()
	}
	b.now = p
}

// Boot implements admin.Teller.
func (b *boot) Boot() admin.Boot {
	b.mu.Lock()
	defer b.mu.Unlock()
	return admin.Boot{
		Stage: b.stage, Done: b.now.Done, Total: b.now.Total, Seconds: time.Since(b.started).Seconds(), InStage: time.Since(b.since).Seconds(),
	}
}

// Incidents reads the newest incidents of the ledger.
func (b *boot) Incidents(limit int) (admin.Ledger, error) {
	l := admin.Ledger{Incidents: []datadir.Incident{}, Damaged: []datadir.BadLine{}}
	damaged, err := datadir.ReadIncidents(vfs.OS, b.dir, func(i datadir.Incident) {
		if len(l.Incidents) == limit {
			l.Incidents = append(l.Incidents[:0], l.Incidents[1:]...)
		}
		l.Incidents = append(l.Incidents, i)
	})
	l.Damaged = append(l.Damaged, damaged...)
	return l, err
}

// source is the node as the admin endpoint sees it.
type source struct {
	server *server
	kafka  string // addresses
}

// Health is the broker's own judgement.
func (s *source) Health() admin.Health {
	h := s.server.broker.Health()
	return admin.Health{Live: h.Live, Ready: h.Ready, Reasons: h.Reasons}
}

// Report is what boot recovery found.
func (s *source) Report() *recovery.Report { return s.server.broker.Report() }

// Snapshot gathers the figures of the node.
func (s *source) Snapshot() admin.Snapshot {
	b := s.server.broker
	st := b.Stats()
	disk := b.LogDir()
	snap := admin.Snapshot{
		NodeID: b.NodeID(), ClusterID: b.ClusterID(), Directory: s.server.cfg.DataDir(), Kafka: s.kafka, StartedAt: st.Started.UnixMilli(),
		RecoverySeconds: st.RecoverySeconds, Traffic: admin.Traffic(st.Traffic),
		Journal: admin.Journal{
			Syncs: st.Journal.Syncs, Groups: st.Journal.Groups, Frames: st.Journal.Frames, Bytes: st.Journal.Bytes,
			SyncLatency: journalLatency(st.Journal.Sync), QueueLatency: journalLatency(st.Journal.Queue),
			LiveBytes: st.JournalLive, MaxBytes: st.JournalMax, SyncedLSN: st.SyncedLSN, NextLSN: st.NextLSN,
		},
		Checkpoint: admin.Checkpoint{LSN: uint64(st.Checkpoint.LSN), Millis: st.Checkpoint.Time, Total: st.Checkpoints},
		TailBytes:  st.TailBytes, TailLimit: st.TailLimit, DiskFree: disk.Usable, DiskTotal: disk.Total,
		Raft: s.raft(), Incidents: st.Incidents,
	}
	s.wire(&snap)
	return snap
}

// Partitions lists them by topic and number.
func (s *source) Partitions() []admin.Partition {
	list := s.server.broker.Partitions()
	all := make([]admin.Partition, 0, len(list))
	for _, p := range list {
		all = append(all, admin.Partition{
			Topic: p.Topic, TopicID: hex.EncodeToString(p.TopicID[:]), Partition: p.Partition, Internal: p.Internal, LeaderEpoch: p.LeaderEpoch,
			LogStart: p.LogStart, HighWatermark: p.HighWatermark, LogEnd: p.LogEnd, SizeBytes: p.Size, Traffic: admin.Traffic(p.Traffic),
			Stopped: p.Stopped, Command: p.Command,
		})
	}
	return all
}

// wire adds the figures of the Kafka listeners.
func (s *source) wire(snap *admin.Snapshot) {
	st := s.server.kafka.Stats()
	snap.Connections, snap.ConnectionsTotal = st.Connections, uint64(st.Accepted)
	snap.Refused, snap.Malformed = uint64(st.Refused), uint64(st.Malformed)
	snap.RequestMemory, snap.FetchMemory, snap.FetchSessions = st.RequestMemory, st.FetchMemory, st.Sessions
	snap.Requests = []admin.Request{}
	bounds := kafka.LatencyBounds()
	for api, n := range st.Requests {
		l := st.Latencies[api]
		snap.Requests = append(snap.Requests, admin.Request{
			API: api, Count: uint64(n), Latency: admin.Histogram{Bounds: bounds, Counts: l.Buckets[:], Sum: float64(l.Nanos) / 1e9},
		})
	}
	sort.Slice(snap.Requests, func(i, j int) bool { return snap.Requests[i].API < snap.Requests[j].API })
}

// journalLatency converts package wal's counts: bucket i holds times below 2^i * 16 µs, the last all others.
func journalLatency(l wal.Latency) admin.Histogram {
	h := admin.Histogram{Counts: l.Buckets[:], Sum: float64(l.Nanos) / 1e9}
	for i := range len(l.Buckets) - 1 {
		h.Bounds = append(h.Bounds, math.Ldexp(16e-6, i))
	}
	return h
}

func (s *source) raft() admin.Raft {
	r := s.server.broker.Raft()
	state := admin.Raft{
		Member: r.MemberID, State: raftRole(r.MemberID, r.Leader), Leader: r.Leader, Term: r.Term, Vote: r.Vote, Commit: r.Commit, Applied: r.Applied,
		First: r.FirstIndex, LastIndex: r.LastIndex, Snapshot: r.SnapshotIndex, Snapshots: r.Snapshots, ConfState: r.Conf,
	}
	if !r.Founded {
		state.Recovered = &admin.RecoveredRaft{
			Term: r.Recovered.Term, Vote: r.Recovered.Vote, Commit: r.Recovered.Commit, LastIndex: r.Recovered.LastIndex,
			ConfState: r.Recovered.ConfState,
		}
	}
	return state
}

// raftRole is what this member is in the group.
func raftRole(member, leader uint64) string {
	switch leader {
	case 0:
		return "candidate"
	case member:
		return "leader"
	}
	return "follower"
}

// newSource is the node of a server that listens at addresses.
func newSource(s *server, addresses []string) *source {
	return &source{server: s, kafka: strings.Join(addresses, " ")}
}
