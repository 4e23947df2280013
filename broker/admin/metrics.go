package admin

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// collector turns one Snapshot into metrics per scrape.
type collector struct {
	server *Server
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("chronik_"+name, help, labels, nil)
}

// Metrics of the node. Names end in their unit; _total are counters from the start of the process.
var (
	descBuild       = desc("build_info", "1, with the version as a label.", "version")
	descLive        = desc("node_live", "1 while the node works; 0 asks for a restart.")
	descReady       = desc("node_ready", "1 while requests are served.")
	descNode        = desc("node_info", "1, with node id and cluster id as labels.", "node_id", "cluster_id")
	descStarted     = desc("node_start_time_seconds", "Unix time of the start.")
	descRecovery    = desc("recovery_duration_seconds", "Time that boot recovery took.")
	descConnections = desc("kafka_connections", "Open Kafka connections.")
	descAccepted    = desc("kafka_connections_accepted_total", "Kafka connections accepted.")
	descRefused     = desc("kafka_connections_refused_total", "Connections closed at accept because of a limit.")
	descMalformed   = desc("kafka_connections_malformed_total", "Connections closed because of bytes that are no request.")
	descRequests    = desc("kafka_requests_total", "Requests, by Kafka API.", "api")
	descReqLatency  = desc("kafka_request_duration_seconds", "From a request read to its answer written, by Kafka API; without what a fetch waited for records.", "api")
	descReqMemory   = desc("kafka_request_memory_bytes", "Memory of large requests in work.")
	descFetchMemory = desc("kafka_fetch_memory_bytes", "Memory of fetched records on their way to clients.")
	descSessions    = desc("kafka_fetch_sessions", "Incremental fetch sessions.")

	descProducedRecords = desc("produced_records_total", "Records that producers wrote, acknowledged.")
	descProducedBytes   = desc("produced_bytes_total", "Bytes of batches that producers wrote, as stored.")
	descFetchedRecords  = desc("fetched_records_total", "Records sent to consumers.")
	descFetchedBytes    = desc("fetched_bytes_total", "Bytes of batches sent to consumers, as stored.")
	descTopicProducedR  = desc("topic_produced_records_total", "Records that producers wrote to a topic; topic=\"\" is the sum of those past the first 1000 by name.", "topic")
	descTopicProducedB  = desc("topic_produced_bytes_total", "Bytes of batches that producers wrote to a topic, as stored.", "topic")
	descTopicFetchedR   = desc("topic_fetched_records_total", "Records of a topic sent to consumers.", "topic")
	descTopicFetchedB   = desc("topic_fetched_bytes_total", "Bytes of a topic's batches sent to consumers, as stored.", "topic")

	descSyncs       = desc("journal_syncs_total", "Syncs of the journal.")
	descGroups      = desc("journal_groups_total", "Commit groups written.")
	descFrames      = desc("journal_frames_total", "Frames written.")
	descBytes       = desc("journal_bytes_total", "Bytes written to the journal, with framing and padding.")
	descSyncLatency = desc("journal_sync_duration_seconds", "Time of one write and sync of a commit group.")
	descQueueTime   = desc("journal_queue_duration_seconds", "Time that the oldest frames of a commit group waited for its write to begin.")
	descLiveBytes   = desc("journal_live_bytes", "Bytes of journal that recovery would have to read.")
	descMaxBytes    = desc("journal_max_bytes", "Live bytes at which producers wait for a checkpoint.")
	descSyncedLSN   = desc("journal_synced_lsn", "Highest durable log sequence number.")
	descNextLSN     = desc("journal_next_lsn", "Log sequence number that the next frame gets.")

	descCheckpointAge   = desc("checkpoint_age_seconds", "Time since the newest checkpoint.")
	descCheckpointLSN   = desc("checkpoint_lsn", "Log sequence number up to which partition files hold everything.")
	descCheckpointTotal = desc("checkpoints_total", "Checkpoints taken.")
	descTail            = desc("tail_memory_bytes", "Records held in memory, newer than the partition files.")
	descTailLimit       = desc("tail_memory_limit_bytes", "Limit of tail_memory_bytes.")
	descDiskFree        = desc("disk_free_bytes", "Bytes free on the file system of the data directory.")
	descDiskTotal       = desc("disk_size_bytes", "Size of the file system of the data directory.")

	descPartitions = desc("partitions", "Partitions on this node, by state (online, stopped).", "state")
	descLogSize    = desc("log_size_bytes", "Bytes of a partition's log.", "topic", "partition")
	descLogStart   = desc("log_start_offset", "First offset of a partition.", "topic", "partition")
	descWatermark  = desc("log_high_watermark", "Offset below which consumers can read.", "topic", "partition")
	descLogEnd     = desc("log_end_offset", "Offset that the next record gets.", "topic", "partition")
	descEpoch      = desc("log_leader_epoch", "Leader epoch of a partition.", "topic", "partition")
	descStopped    = desc("partition_stopped", "1 for a partition that damage stopped.", "topic", "partition")

	descGroupCount = desc("consumer_groups", "Consumer groups, by state.", "state")
	descGroupLag   = desc("consumer_group_lag_records", "Records between a group's committed offsets and the high watermarks of a topic; the first 2000 by name.", "group", "topic")
	descRaftLeader = desc("raft_is_leader", "1 while this node leads the metadata group.")
	descTerm       = desc("raft_term", "Raft term.")
	descCommit     = desc("raft_commit_index", "Highest committed Raft index.")
	descApplied    = desc("raft_applied_index", "Highest applied Raft index.")
	descLast       = desc("raft_last_index", "Highest Raft index in the log.")
	descSnapshot   = desc("raft_snapshot_index", "Raft index of the newest snapshot.")
	descIncidents  = desc("incidents_total", "Incidents recorded since start, by class.", "class")
)

// Describe announces nothing: which series exist depends on the node.
func (c *collector) Describe(chan<- *prometheus.Desc) {}

// Collect publishes the node's snapshot.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	m := sink{ch}
	h := c.server.health()
	m.gauge(descBuild, 1, c.server.version)
	m.gauge(descLive, truth(h.Live))
	m.gauge(descReady, truth(h.Live && h.Ready))
	n := c.server.node()
	if n == nil {
		return
	}
	s := n.Snapshot()
	m.gauge(descNode, 1, strconv.Itoa(int(s.NodeID)), s.ClusterID)
	m.gauge(descStarted, float64(s.StartedAt)/1000)
	m.gauge(descRecovery, s.RecoverySeconds)
	m.gauge(descTail, float64(s.TailBytes))
	m.gauge(descTailLimit, float64(s.TailLimit))
	m.gauge(descDiskFree, float64(s.DiskFree))
	m.gauge(descDiskTotal, float64(s.DiskTotal))
	if groups, err := n.Groups(); err == nil {
		m.groups(groups)
	}
	for class, count := range s.Incidents {
		m.counter(descIncidents, uint64(count), class)
	}
	m.traffic(&s)
	m.journal(&s)
	parts := n.Partitions()
	m.topics(topicsOf(parts))
	m.partitions(parts)
	m.raft(s.Raft)
}

// sink hands constant metrics to Prometheus.
type sink struct {
	ch chan<- prometheus.Metric
}

func (m sink) gauge(d *prometheus.Desc, v float64, labels ...string) {
	m.ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

func (m sink) counter(d *prometheus.Desc, v uint64, labels ...string) {
	m.ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
}

func (m sink) histogram(d *prometheus.Desc, h Histogram, labels ...string) {
	buckets := make(map[float64]uint64, len(h.Bounds))
	var count uint64
	for i, n := range h.Counts {
		count += n
		if i < len(h.Bounds) {
			buckets[h.Bounds[i]] = count
		}
	}
	m.ch <- prometheus.MustNewConstHistogram(d, count, h.Sum, buckets, labels...)
}

func (m sink) traffic(s *Snapshot) {
	m.gauge(descConnections, float64(s.Connections))
	m.counter(descAccepted, s.ConnectionsTotal)
	m.counter(descRefused, s.Refused)
	m.counter(descMalformed, s.Malformed)
	m.gauge(descReqMemory, float64(s.RequestMemory))
	m.gauge(descFetchMemory, float64(s.FetchMemory))
	m.gauge(descSessions, float64(s.FetchSessions))
	for _, r := range s.Requests {
		m.counter(descRequests, r.Count, r.API)
		m.histogram(descReqLatency, r.Latency, r.API)
	}
	m.counter(descProducedRecords, s.Traffic.ProducedRecords)
	m.counter(descProducedBytes, s.Traffic.ProducedBytes)
	m.counter(descFetchedRecords, s.Traffic.FetchedRecords)
	m.counter(descFetchedBytes, s.Traffic.FetchedBytes)
}

// Bounds of series per name.
const (
	maxTopicSeries = 1000
	maxLagSeries   = 2000
)

// topics publishes the traffic of the first topics by name, and the sum of the others.
func (m sink) topics(all []Topic) {
	publish := func(name string, t *Traffic) {
		m.counter(descTopicProducedR, t.ProducedRecords, name)
		m.counter(descTopicProducedB, t.ProducedBytes, name)
		m.counter(descTopicFetchedR, t.FetchedRecords, name)
		m.counter(descTopicFetchedB, t.FetchedBytes, name)
	}
	var others Traffic
	for i := range all {
		if i < maxTopicSeries {
			publish(all[i].Name, &all[i].Traffic)
		} else {
			others.add(all[i].Traffic)
		}
	}
	if len(all) > maxTopicSeries {
		publish("", &others)
	}
}

// groups publishes how many there are by state, and their lag by topic.
func (m sink) groups(all []Group) {
	states, series := map[string]int{}, 0
	for i := range all {
		g := &all[i]
		states[g.State]++
		lags := map[string]int64{}
		for _, p := range g.Partitions {
			lags[p.Topic] += p.Lag
		}
		for topic, lag := range lags {
			if series++; series <= maxLagSeries {
				m.gauge(descGroupLag, float64(lag), g.Name, topic)
			}
		}
	}
	for state, count := range states {
		m.gauge(descGroupCount, float64(count), state)
	}
}

func (m sink) journal(s *Snapshot) {
	j := s.Journal
	m.counter(descSyncs, j.Syncs)
	m.counter(descGroups, j.Groups)
	m.counter(descFrames, j.Frames)
	m.counter(descBytes, j.Bytes)
	m.histogram(descSyncLatency, j.SyncLatency)
	m.histogram(descQueueTime, j.QueueLatency)
	m.gauge(descLiveBytes, float64(j.LiveBytes))
	m.gauge(descMaxBytes, float64(j.MaxBytes))
	m.gauge(descSyncedLSN, float64(j.SyncedLSN))
	m.gauge(descNextLSN, float64(j.NextLSN))
	m.counter(descCheckpointTotal, s.Checkpoint.Total)
	m.gauge(descCheckpointLSN, float64(s.Checkpoint.LSN))
	if s.Checkpoint.Millis > 0 {
		m.gauge(descCheckpointAge, max(0, time.Since(time.UnixMilli(s.Checkpoint.Millis)).Seconds()))
	}
}

func (m sink) partitions(all []Partition) {
	stopped := 0
	for i := range all {
		p := &all[i]
		number := strconv.Itoa(int(p.Partition))
		m.gauge(descLogSize, float64(p.SizeBytes), p.Topic, number)
		m.gauge(descLogStart, float64(p.LogStart), p.Topic, number)
		m.gauge(descWatermark, float64(p.HighWatermark), p.Topic, number)
		m.gauge(descLogEnd, float64(p.LogEnd), p.Topic, number)
		m.gauge(descEpoch, float64(p.LeaderEpoch), p.Topic, number)
		if p.Stopped != "" {
			stopped++
			m.gauge(descStopped, 1, p.Topic, number)
		}
	}
	m.gauge(descPartitions, float64(len(all)-stopped), "online")
	m.gauge(descPartitions, float64(stopped), "stopped")
}

func (m sink) raft(r Raft) {
	m.gauge(descRaftLeader, truth(r.State == "leader"))
	m.gauge(descTerm, float64(r.Term))
	m.gauge(descCommit, float64(r.Commit))
	m.gauge(descApplied, float64(r.Applied))
	m.gauge(descLast, float64(r.LastIndex))
	m.gauge(descSnapshot, float64(r.Snapshot))
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
