package main

import (
	"encoding/hex"
	"math"
	"sort"

	"github.com/twmb/franz-go/pkg/kmsg"

	"chronik.dev/chronik/broker/admin"
	"chronik.dev/chronik/broker/datadir"
	"chronik.dev/chronik/broker/vfs"
)

// source is the node as the admin endpoint sees it.
type source struct {
	server *server
}

// Health is the broker's own judgement.
func (s *source) Health() admin.Health {
	h := s.server.broker.Health()
	return admin.Health{Live: h.Live, Ready: h.Ready, Reasons: h.Reasons}
}

// Report is what boot recovery found.
func (s *source) Report() any { return s.server.broker.Report() }

// Incidents reads the newest incidents of the ledger.
func (s *source) Incidents(limit int) (any, error) {
	newest := []datadir.Incident{}
	damaged, err := datadir.ReadIncidents(vfs.OS, s.server.cfg.DataDir(), func(i datadir.Incident) {
		if len(newest) == limit {
			newest = append(newest[:0], newest[1:]...)
		}
		newest = append(newest, i)
	})
	if damaged == nil {
		damaged = []datadir.BadLine{}
	}
	return map[string]any{"incidents": newest, "damaged_lines": damaged}, err
}

// Snapshot gathers every figure of the node.
func (s *source) Snapshot() admin.Snapshot {
	b := s.server.broker
	st := b.Stats()
	disk := b.LogDir()
	snap := admin.Snapshot{
		NodeID: b.NodeID(), ClusterID: b.ClusterID(), StartedAt: st.Started, RecoverySeconds: st.RecoverySeconds,
		Journal: admin.Journal{
			Syncs: st.Journal.Syncs, Groups: st.Journal.Groups, Frames: st.Journal.Frames, Bytes: st.Journal.Bytes,
			SyncLatency: syncLatency(st.Journal.SyncLatency[:], st.Journal.SyncNanos),
			LiveBytes:   st.JournalLive, MaxBytes: st.JournalMax, SyncedLSN: st.SyncedLSN, NextLSN: st.NextLSN,
		},
		Checkpoint: admin.Checkpoint{LSN: uint64(st.Checkpoint.LSN), Millis: st.Checkpoint.Time, Total: st.Checkpoints},
		TailBytes:  st.TailBytes, TailLimit: st.TailLimit, DiskFree: disk.Usable, DiskTotal: disk.Total,
		Groups: s.groups(), Raft: s.raft(), Incidents: st.Incidents,
	}
	s.wire(&snap)
	for _, p := range b.Partitions() {
		snap.Partitions = append(snap.Partitions, admin.Partition{
			Topic: p.Topic, TopicID: hex.EncodeToString(p.TopicID[:]), Partition: p.Partition, LeaderEpoch: p.LeaderEpoch,
			LogStart: p.LogStart, HighWatermark: p.HighWatermark, LogEnd: p.LogEnd, SizeBytes: p.Size, Stopped: p.Stopped, Command: p.Command,
		})
	}
	return snap
}

// wire adds the figures of the Kafka listeners.
func (s *source) wire(snap *admin.Snapshot) {
	st := s.server.kafka.Stats()
	snap.Connections, snap.ConnectionsTotal = st.Connections, uint64(st.Accepted)
	snap.Refused, snap.Malformed = uint64(st.Refused), uint64(st.Malformed)
	snap.RequestMemory, snap.FetchMemory, snap.FetchSessions = st.RequestMemory, st.FetchMemory, st.Sessions
	for api, n := range st.Requests {
		snap.Requests = append(snap.Requests, admin.Request{API: api, Count: uint64(n)})
	}
	sort.Slice(snap.Requests, func(i, j int) bool { return snap.Requests[i].API < snap.Requests[j].API })
}

// syncLatency converts package wal's histogram: bucket i holds times below 2^i * 16 µs, the last all others.
func syncLatency(counts []uint64, nanos uint64) admin.Histogram {
	h := admin.Histogram{Counts: counts, Sum: float64(nanos) / 1e9}
	for i := range len(counts) - 1 {
		h.Bounds = append(h.Bounds, math.Ldexp(16e-6, i))
	}
	return h
}

// groups counts consumer groups by state.
func (s *source) groups() map[string]int {
	answer := make(chan *kmsg.ListGroupsResponse, 1)
	s.server.broker.Groups().ListGroups(kmsg.NewPtrListGroupsRequest(), func(r *kmsg.ListGroupsResponse) { answer <- r })
	states := map[string]int{}
	for _, g := range (<-answer).Groups {
		states[g.GroupState]++
	}
	return states
}

func (s *source) raft() admin.Raft {
	r := s.server.broker.Raft()
	state := admin.Raft{
		State: raftRole(r.MemberID, r.Leader), Leader: r.Leader, Term: r.Term, Vote: r.Vote, Commit: r.Commit, Applied: r.Applied,
		LastIndex: r.LastIndex, Snapshot: r.SnapshotIndex, ConfState: r.Conf,
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
