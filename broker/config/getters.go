package config

import (
	"strconv"
	"strings"
)

// text is the value in force, "" if unset.
func (c *Config) text(key string) string {
	v, _, _ := c.lookup(key)
	return v
}

// number is the value in force of a numeric key, 0 if unset.
func (c *Config) number(key string) int64 {
	n, _ := strconv.ParseInt(c.text(key), 10, 64)
	return n
}

// NodeID is the value of node.id: it is the identity of this node.
func (c *Config) NodeID() int32 { return int32(c.number("node.id")) }

// SocketRequestMaxBytes is the value of socket.request.max.bytes: it bounds one request, in bytes.
func (c *Config) SocketRequestMaxBytes() int { return int(c.number("socket.request.max.bytes")) }

// QueuedMaxRequestBytes is the value of queued.max.request.bytes: it bounds the memory of all requests in work, in bytes; -1 = unbounded.
func (c *Config) QueuedMaxRequestBytes() int64 { return c.number("queued.max.request.bytes") }

// MaxConnections is the value of max.connections: it bounds the open connections.
func (c *Config) MaxConnections() int { return int(c.number("max.connections")) }

// MaxConnectionsPerIP is the value of max.connections.per.ip: it bounds the open connections from one address.
func (c *Config) MaxConnectionsPerIP() int { return int(c.number("max.connections.per.ip")) }

// ConnectionsMaxIdleMs is the value of connections.max.idle.ms: it is when an idle connection is closed, in milliseconds.
func (c *Config) ConnectionsMaxIdleMs() int64 { return c.number("connections.max.idle.ms") }

// MessageMaxBytes is the value of message.max.bytes: it bounds one record batch, in bytes.
func (c *Config) MessageMaxBytes() int { return int(c.number("message.max.bytes")) }

// FetchMaxBytes is the value of fetch.max.bytes: it bounds the records of one Fetch response, in bytes.
func (c *Config) FetchMaxBytes() int { return int(c.number("fetch.max.bytes")) }

// FetchSessionSlots is the value of max.incremental.fetch.session.cache.slots: it bounds the fetch sessions.
func (c *Config) FetchSessionSlots() int {
	return int(c.number("max.incremental.fetch.session.cache.slots"))
}

// NumPartitions is the value of num.partitions: it is the count of partitions of a topic created without one.
func (c *Config) NumPartitions() int32 { return int32(c.number("num.partitions")) }

// DefaultReplicationFactor is the value of default.replication.factor: it is the replication factor of a topic created without one.
func (c *Config) DefaultReplicationFactor() int16 {
	return int16(c.number("default.replication.factor"))
}

// AutoCreateTopics is the value of auto.create.topics.enable: it says whether Metadata may create topics.
func (c *Config) AutoCreateTopics() bool {
	return strings.EqualFold(c.text("auto.create.topics.enable"), "true")
}

// RetentionCheckIntervalMs is the value of log.retention.check.interval.ms: it is the pause between two looks for old segments, in milliseconds.
func (c *Config) RetentionCheckIntervalMs() int64 { return c.number("log.retention.check.interval.ms") }

// ProducerIDExpirationMs is the value of producer.id.expiration.ms: it is how long an idle producer is remembered, in milliseconds.
func (c *Config) ProducerIDExpirationMs() int64 { return c.number("producer.id.expiration.ms") }

// GroupInitialRebalanceDelayMs is the value of group.initial.rebalance.delay.ms: it is how long an empty group waits for members, in milliseconds.
func (c *Config) GroupInitialRebalanceDelayMs() int64 {
	return c.number("group.initial.rebalance.delay.ms")
}

// GroupMinSessionTimeoutMs is the value of group.min.session.timeout.ms: it is the shortest session timeout, in milliseconds.
func (c *Config) GroupMinSessionTimeoutMs() int64 { return c.number("group.min.session.timeout.ms") }

// GroupMaxSessionTimeoutMs is the value of group.max.session.timeout.ms: it is the longest session timeout, in milliseconds.
func (c *Config) GroupMaxSessionTimeoutMs() int64 { return c.number("group.max.session.timeout.ms") }

// GroupMaxSize is the value of group.max.size: it bounds the members of a group.
func (c *Config) GroupMaxSize() int { return int(c.number("group.max.size")) }

// OffsetsTopicPartitions is the value of offsets.topic.num.partitions: it is the count of partitions of __consumer_offsets when it is created.
func (c *Config) OffsetsTopicPartitions() int32 {
	return int32(c.number("offsets.topic.num.partitions"))
}

// OffsetsRetentionMinutes is the value of offsets.retention.minutes: it is how long offsets nobody uses are kept, in minutes.
func (c *Config) OffsetsRetentionMinutes() int64 { return c.number("offsets.retention.minutes") }

// OffsetsRetentionCheckIntervalMs is the value of offsets.retention.check.interval.ms: it is the pause between two looks for expired offsets, in milliseconds.
func (c *Config) OffsetsRetentionCheckIntervalMs() int64 {
	return c.number("offsets.retention.check.interval.ms")
}

// OffsetMetadataMaxBytes is the value of offset.metadata.max.bytes: it bounds the metadata text of an offset, in bytes.
func (c *Config) OffsetMetadataMaxBytes() int { return int(c.number("offset.metadata.max.bytes")) }

// OffsetsLoadBufferSize is the value of offsets.load.buffer.size: it is how much is read at a time while groups load, in bytes.
func (c *Config) OffsetsLoadBufferSize() int { return int(c.number("offsets.load.buffer.size")) }

// JournalSegmentBytes is the value of chronik.journal.segment.bytes: it is the size of a journal segment, in bytes.
func (c *Config) JournalSegmentBytes() int64 { return c.number("chronik.journal.segment.bytes") }

// JournalMaxBytes is the value of chronik.journal.max.bytes: it caps the journal, in bytes.
func (c *Config) JournalMaxBytes() int64 { return c.number("chronik.journal.max.bytes") }

// JournalDirectIO is the value of chronik.journal.direct.io: it says whether the journal may bypass the page cache.
func (c *Config) JournalDirectIO() bool {
	return strings.EqualFold(c.text("chronik.journal.direct.io"), "true")
}

// CheckpointBytes is the value of chronik.checkpoint.bytes: it is the journal growth that starts a checkpoint, in bytes.
func (c *Config) CheckpointBytes() int64 { return c.number("chronik.checkpoint.bytes") }

// CheckpointIntervalMs is the value of chronik.checkpoint.interval.ms: it is the age that starts a checkpoint, in milliseconds.
func (c *Config) CheckpointIntervalMs() int64 { return c.number("chronik.checkpoint.interval.ms") }

// DiskReserveBytes is the value of chronik.disk.reserve.bytes: what produce leaves free on the disk, in bytes.
func (c *Config) DiskReserveBytes() int64 { return c.number("chronik.disk.reserve.bytes") }

// TailMemoryBytes is the value of chronik.tail.memory.bytes: it bounds the records not yet in partition files, in bytes.
func (c *Config) TailMemoryBytes() int64 { return c.number("chronik.tail.memory.bytes") }

// DataDir is the value of log.dirs: it is the data directory.
func (c *Config) DataDir() string { return c.text("log.dirs") }

// AdminListener is the value of chronik.admin.listener: it is HOST:PORT of the admin endpoint; empty = none.
func (c *Config) AdminListener() string { return c.text("chronik.admin.listener") }

// PeerListener is the value of chronik.peer.listener: it is HOST:PORT for other nodes, empty for none.
func (c *Config) PeerListener() string { return c.text("chronik.peer.listener") }
