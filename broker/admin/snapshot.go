package admin

import "time"

// Snapshot is every figure of a node at one moment. Counters count from the start of the process.
type Snapshot struct {
	NodeID    int32
	ClusterID string

	RecoverySeconds float64   // from the lock to the end of boot recovery
	StartedAt       time.Time // of the process

	Connections        int    // open Kafka connections
	ConnectionsTotal   uint64 // accepted since start
	Refused, Malformed uint64 // closed at accept for a limit; closed for bytes that are no request
	Requests           []Request
	RequestMemory      int64 // bytes of large requests in work
	FetchMemory        int64 // bytes of fetched records on their way
	FetchSessions      int

	Journal    Journal
	Checkpoint Checkpoint

	TailBytes, TailLimit int64 // memory that holds records newer than the partition files
	DiskFree, DiskTotal  int64 // bytes of the file system under the data directory

	Partitions []Partition
	Groups     map[string]int // consumer groups by state
	Raft       Raft
	Incidents  map[string]int // incidents of the ledger since start, by class
}

// Request counts one Kafka API.
type Request struct {
	API   string // Kafka's name, such as Produce
	Count uint64 // requests since start
}

// Histogram has cumulative-free buckets: Counts[i] is the number of values in (Bounds[i-1], Bounds[i]]; one more count is above the last
// bound.
type Histogram struct {
	Bounds []float64 // upper bounds, rising
	Counts []uint64  // len(Bounds)+1, or nil if nothing was measured
	Sum    float64
}

// Journal is the write-ahead log.
type Journal struct {
	Syncs, Groups, Frames, Bytes uint64
	SyncLatency                  Histogram // seconds
	LiveBytes                    int64     // needed by recovery: not yet behind a checkpoint
	MaxBytes                     int64     // producers wait at this many live bytes
	SyncedLSN, NextLSN           uint64
}

// Checkpoint is the newest checkpoint.
type Checkpoint struct {
	LSN    uint64
	Millis int64  // wall clock, ms since 1970; 0 = none
	Total  uint64 // taken since start
}

// Partition is one partition's log.
type Partition struct {
	Topic         string `json:"topic"`
	TopicID       string `json:"topic_id,omitempty"`
	Partition     int32  `json:"partition"`
	LeaderEpoch   int32  `json:"leader_epoch"`
	LogStart      int64  `json:"log_start_offset"`
	HighWatermark int64  `json:"high_watermark"`
	LogEnd        int64  `json:"log_end_offset"`
	SizeBytes     int64  `json:"size_bytes"`
	Stopped       string `json:"stopped,omitempty"` // why it serves nothing; empty if it serves
	Command       string `json:"command,omitempty"` // what to run if it is stopped
}

// Raft is the metadata group as it is now.
type Raft struct {
	State     string         `json:"state"`  // leader, follower, candidate
	Leader    uint64         `json:"leader"` // Raft member id, 0 if unknown
	Term      uint64         `json:"term"`
	Vote      uint64         `json:"vote"`
	Commit    uint64         `json:"commit"`
	Applied   uint64         `json:"applied"`
	LastIndex uint64         `json:"last_index"`
	Snapshot  uint64         `json:"snapshot_index"`
	ConfState string         `json:"conf_state"`
	Recovered *RecoveredRaft `json:"recovered,omitempty"`
}

// RecoveredRaft is what the disk held at this start, before the node campaigned.
type RecoveredRaft struct {
	Term      uint64 `json:"term"`
	Vote      uint64 `json:"vote"`
	Commit    uint64 `json:"commit"`
	LastIndex uint64 `json:"last_index"`
	ConfState string `json:"conf_state"`
}
