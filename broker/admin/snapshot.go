package admin

import "math"

// Snapshot is every figure of a node at one moment, but for those of single partitions and groups. Counters count from the start of the
// process. /metrics and /admin/v1/overview both publish it.
type Snapshot struct {
	NodeID    int32  `json:"node_id"`
	ClusterID string `json:"cluster_id"`
	Directory string `json:"directory"`
	Kafka     string `json:"kafka"` // addresses of the Kafka listeners

	RecoverySeconds float64 `json:"recovery_seconds"` // from the lock to the end of boot recovery
	StartedAt       int64   `json:"started_at"`       // of the process, ms since 1970

	Connections      int       `json:"connections"`          // open Kafka connections
	ConnectionsTotal uint64    `json:"connections_accepted"` // since start
	Refused          uint64    `json:"connections_refused"`  // closed at accept for a limit
	Malformed        uint64    `json:"connections_malformed"`
	Requests         []Request `json:"requests"`
	RequestMemory    int64     `json:"request_memory_bytes"` // of large requests in work
	FetchMemory      int64     `json:"fetch_memory_bytes"`   // of fetched records on their way
	FetchSessions    int       `json:"fetch_sessions"`
	Traffic          Traffic   `json:"traffic"`

	Journal    Journal    `json:"journal"`
	Checkpoint Checkpoint `json:"checkpoint"`

	TailBytes int64 `json:"tail_bytes"` // memory that holds records newer than the partition files
	TailLimit int64 `json:"tail_limit_bytes"`
	DiskFree  int64 `json:"disk_free_bytes"` // of the file system under the data directory
	DiskTotal int64 `json:"disk_size_bytes"`

	Raft      Raft           `json:"raft"`
	Incidents map[string]int `json:"incidents"` // of the ledger since start, by class
}

// Request is one Kafka API.
type Request struct {
	API     string    `json:"api"`     // Kafka's name, such as Produce
	Count   uint64    `json:"count"`   // requests since start
	Latency Histogram `json:"latency"` // seconds from a request read to its answer written
}

// Traffic is what clients wrote and read: records, and bytes of batches as they are stored.
type Traffic struct {
	ProducedRecords uint64 `json:"produced_records"`
	ProducedBytes   uint64 `json:"produced_bytes"`
	FetchedRecords  uint64 `json:"fetched_records"`
	FetchedBytes    uint64 `json:"fetched_bytes"`
}

func (t *Traffic) add(o Traffic) {
	t.ProducedRecords += o.ProducedRecords
	t.ProducedBytes += o.ProducedBytes
	t.FetchedRecords += o.FetchedRecords
	t.FetchedBytes += o.FetchedBytes
}

// Histogram has cumulative-free buckets: Counts[i] is the number of values in (Bounds[i-1], Bounds[i]]; one more count is above the last
// bound.
type Histogram struct {
	Bounds []float64 `json:"bounds,omitempty"` // upper bounds, rising
	Counts []uint64  `json:"counts,omitempty"` // len(Bounds)+1, or nil if nothing was measured
	Sum    float64   `json:"sum"`
}

// Count returns how many values there are.
func (h Histogram) Count() (n uint64) {
	for _, c := range h.Counts {
		n += c
	}
	return n
}

// Since returns what was added after an earlier state of the same histogram; all of it if it began anew meanwhile.
func (h Histogram) Since(earlier Histogram) Histogram {
	if len(earlier.Counts) != len(h.Counts) || earlier.Count() > h.Count() {
		return h
	}
	d := Histogram{Bounds: h.Bounds, Counts: make([]uint64, len(h.Counts)), Sum: h.Sum - earlier.Sum}
	for i := range d.Counts {
		if h.Counts[i] < earlier.Counts[i] {
			return h
		}
		d.Counts[i] = h.Counts[i] - earlier.Counts[i]
	}
	return d
}

// Quantile estimates the value below which a share q (0 to 1) of the values lies, by interpolation within its bucket; NaN without values. Values
// above the last bound count as that bound.
func (h Histogram) Quantile(q float64) float64 {
	total := h.Count()
	if total == 0 || len(h.Bounds) == 0 {
		return math.NaN()
	}
	rank, below := q*float64(total), 0.0
	for i, c := range h.Counts {
		if n := float64(c); below+n < rank || n == 0 {
			below += n
			continue
		}
		if i >= len(h.Bounds) {
			break
		}
		low := 0.0
		if i > 0 {
			low = h.Bounds[i-1]
		}
		return low + (h.Bounds[i]-low)*(rank-below)/float64(c)
	}
	return h.Bounds[len(h.Bounds)-1]
}

// Journal is the write-ahead log.
type Journal struct {
	Syncs        uint64    `json:"syncs"`
	Groups       uint64    `json:"groups"`
	Frames       uint64    `json:"frames"`
	Bytes        uint64    `json:"bytes"`
	SyncLatency  Histogram `json:"sync_latency"`  // seconds
	QueueLatency Histogram `json:"queue_latency"` // seconds that the oldest frames of a group waited for its write to begin
	LiveBytes    int64     `json:"live_bytes"`    // needed by recovery: not yet behind a checkpoint
	MaxBytes     int64     `json:"max_bytes"`     // producers wait at this many live bytes
	SyncedLSN    uint64    `json:"synced_lsn"`
	NextLSN      uint64    `json:"next_lsn"`
}

// Checkpoint is the newest checkpoint.
type Checkpoint struct {
	LSN    uint64 `json:"lsn"`
	Millis int64  `json:"time"`  // wall clock, ms since 1970; 0 = none
	Total  uint64 `json:"total"` // taken since start
}

// Partition is one partition's log.
type Partition struct {
	Topic         string  `json:"topic"`
	TopicID       string  `json:"topic_id,omitempty"`
	Partition     int32   `json:"partition"`
	Internal      bool    `json:"internal,omitempty"`
	LeaderEpoch   int32   `json:"leader_epoch"`
	LogStart      int64   `json:"log_start_offset"`
	HighWatermark int64   `json:"high_watermark"`
	LogEnd        int64   `json:"log_end_offset"`
	SizeBytes     int64   `json:"size_bytes"`
	Traffic       Traffic `json:"traffic"`
	Stopped       string  `json:"stopped,omitempty"` // why it serves nothing; empty if it serves
	Command       string  `json:"command,omitempty"` // what to run if it is stopped
}

// Raft is the metadata group as it is now.
type Raft struct {
	Member    uint64         `json:"member"` // this node's Raft member id
	State     string         `json:"state"`  // leader, follower, candidate
	Leader    uint64         `json:"leader"` // Raft member id, 0 if unknown
	Term      uint64         `json:"term"`
	Vote      uint64         `json:"vote"`
	Commit    uint64         `json:"commit"`
	Applied   uint64         `json:"applied"`
	First     uint64         `json:"first_index"`
	LastIndex uint64         `json:"last_index"`
	Snapshot  uint64         `json:"snapshot_index"`
	Snapshots uint64         `json:"snapshots"` // taken since start
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

// Group is one consumer group.
type Group struct {
	Name       string           `json:"group"`
	State      string           `json:"state"`
	Type       string           `json:"protocol_type,omitempty"`
	Protocol   string           `json:"protocol,omitempty"` // the assignor
	Members    []GroupMember    `json:"members"`
	Partitions []GroupPartition `json:"partitions"` // those with a committed offset
}

// GroupMember is one member of a group.
type GroupMember struct {
	ID         string   `json:"member_id"`
	Instance   string   `json:"instance_id,omitempty"`
	Client     string   `json:"client_id"`
	Host       string   `json:"host"`
	Partitions []string `json:"partitions"` // "topic-0", as assigned
}

// GroupPartition is where a group stands in a partition.
type GroupPartition struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Committed int64  `json:"committed_offset"`
	End       int64  `json:"high_watermark"` // -1 if the partition is not here
	Lag       int64  `json:"lag"`            // records between them, never negative
}

// Lag returns the records that the group has not read yet.
func (g *Group) Lag() (n int64) {
	for i := range g.Partitions {
		n += g.Partitions[i].Lag
	}
	return n
}
