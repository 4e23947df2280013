package partition

import (
	"log/slog"
	"math"

	"chronik.dev/chronik/broker/vfs"
	"chronik.dev/chronik/broker/wal"
)

// Journal is what a partition needs of the node's journal; *wal.Log is one.
type Journal interface {
	// Append enqueues frames in call order without blocking and returns the LSN of the last one. Payloads stay unchanged until done,
	// which is called once, in LSN order, after the sync or with the error that poisoned the journal.
	Append(frames []wal.Frame, done func(error)) wal.LSN
	// Synced is the LSN up to which everything is durable.
	Synced() wal.LSN
}

// Env is what all partitions of a node share.
type Env struct {
	FS      vfs.FS
	Dir     string // the topics/ directory
	Journal Journal
	Pool    *Pool
	Now     func() int64 // wall clock, milliseconds since 1970
	Logger  *slog.Logger
	// Incident records what an operator must know (a stopped partition, a jumping clock). May be nil.
	Incident func(Incident)
	// Hold copies the journal frames of a partition in (after, upTo] durably into a file of evidence/, so that a stopped partition does not
	// hold the journal; it returns the path under the data directory and the last LSN looked at. May be nil: then it holds the journal.
	Hold func(id Identity, after, upTo wal.LSN) (file string, last wal.LSN, err error)
}

// Incident is one entry for the node's ledger.
type Incident struct {
	Class     string // closed list: "partition-stopped", "clock-jump", "journal-cap"
	Partition string // "topic-0", or empty
	Message   string // what failed: cause
	Next      string // the one next command
}

// Identity names one partition for ever: a re-created topic has another ID.
type Identity struct {
	Topic     string
	ID        [16]byte // topic id
	Partition int32
	RaftIndex uint64 // of the command that created the partition
}

// Config is what of a topic's configuration shapes its logs. Zero values are not defaults; start from DefaultConfig.
type Config struct {
	SegmentBytes        int64 // segment.bytes
	SegmentMs           int64 // segment.ms
	SegmentIndexBytes   int32 // segment.index.bytes
	IndexIntervalBytes  int32 // index.interval.bytes
	RetentionMs         int64 // retention.ms, -1 = for ever
	RetentionBytes      int64 // retention.bytes, -1 = unlimited
	MaxMessageBytes     int   // max.message.bytes, of one batch as sent
	Compact             bool  // cleanup.policy contains compact: keys required, closed segments cleaned
	Delete              bool  // cleanup.policy contains delete: retention applies
	DeleteRetentionMs   int64 // delete.retention.ms, how long a tombstone stays after it was cleaned
	LogAppendTime       bool  // message.timestamp.type=LogAppendTime
	TimestampBeforeMs   int64 // message.timestamp.before.max.ms
	TimestampAfterMs    int64 // message.timestamp.after.max.ms
	ProducerExpiryMs    int64 // producer.id.expiration.ms
	Internal            bool  // an internal topic: only AppendInfo.Internal may write
	MaxDecompressedSize int   // limit for decompressing one batch where a rule needs its records (keys, timestamps); 0 = 64 MiB
}

// DefaultConfig returns Apache Kafka 4.3's topic defaults.
func DefaultConfig() Config {
	return Config{
		SegmentBytes: 1 << 30, SegmentMs: 7 * 24 * 3600 * 1000, SegmentIndexBytes: 10 << 20, IndexIntervalBytes: 4096,
		RetentionMs: 7 * 24 * 3600 * 1000, RetentionBytes: -1, MaxMessageBytes: 1048588, Delete: true,
		DeleteRetentionMs: 24 * 3600 * 1000, TimestampBeforeMs: math.MaxInt64, TimestampAfterMs: 3600 * 1000,
		ProducerExpiryMs: 24 * 3600 * 1000,
	}
}

func (c *Config) decompressLimit() int {
	if c.MaxDecompressedSize > 0 {
		return c.MaxDecompressedSize
	}
	return 64 << 20
}
