package config

import (
	"math"
	"strconv"
	"strings"
)

// Topic is what a topic's configuration resolves to: its own values, else the node's, else the defaults. Times are in milliseconds.
type Topic struct {
	Delete, Compact   bool  // cleanup.policy
	RetentionMs       int64 // -1 = for ever
	RetentionBytes    int64 // -1 = no limit
	SegmentBytes      int64
	SegmentMs         int64
	SegmentIndexBytes int32
	IndexInterval     int32 // bytes
	MaxMessageBytes   int
	MinInsyncReplicas int32
	LogAppendTime     bool // message.timestamp.type
	TimestampBeforeMs int64
	TimestampAfterMs  int64
	DeleteRetentionMs int64
	ProducerExpiryMs  int64 // the node's producer.id.expiration.ms
}

// Topic resolves the settings of a topic with these values of its own.
func (c *Config) Topic(overrides map[string]string) Topic {
	n := func(key string) int64 {
		v, _ := c.topicValue(key, overrides)
		i, _ := strconv.ParseInt(v, 10, 64)
		return i
	}
	policy, _ := c.topicValue("cleanup.policy", overrides)
	stamp, _ := c.topicValue("message.timestamp.type", overrides)
	return Topic{
		Delete:            strings.Contains(policy, "delete"),
		Compact:           strings.Contains(policy, "compact"),
		RetentionMs:       n("retention.ms"),
		RetentionBytes:    n("retention.bytes"),
		SegmentBytes:      n("segment.bytes"),
		SegmentMs:         n("segment.ms"),
		SegmentIndexBytes: int32(n("segment.index.bytes")),
		IndexInterval:     int32(n("index.interval.bytes")),
		MaxMessageBytes:   int(n("max.message.bytes")),
		MinInsyncReplicas: int32(n("min.insync.replicas")),
		LogAppendTime:     stamp == "LogAppendTime",
		TimestampBeforeMs: n("message.timestamp.before.max.ms"),
		TimestampAfterMs:  n("message.timestamp.after.max.ms"),
		DeleteRetentionMs: n("delete.retention.ms"),
		ProducerExpiryMs:  c.ProducerIDExpirationMs(),
	}
}

// OffsetsTopic returns the configuration with which __consumer_offsets is created, as Kafka creates it.
func (c *Config) OffsetsTopic() map[string]string {
	return map[string]string{
		"cleanup.policy":   "compact",
		"compression.type": "producer",
		"segment.bytes":    c.text("offsets.topic.segment.bytes"),
	}
}

// topicValue is the value of a topic key in force and its source.
func (c *Config) topicValue(key string, overrides map[string]string) (string, Source) {
	k, known := topicKeys[key]
	if !known {
		panic("config: getter of an unknown topic key " + key)
	}
	if v, ok := overrides[key]; ok && k.validate(v) == nil {
		return v, DynamicTopic
	}
	for _, name := range k.Broker {
		if v, source, ok := c.lookup(name); ok {
			return convert(name, v), source
		}
	}
	return k.Default, DefaultConfig
}

// convert turns a broker value into the topic key's unit.
func convert(broker, value string) string {
	factor := map[string]int64{
		"log.retention.minutes": 60_000, "log.retention.hours": 3_600_000, "log.roll.hours": 3_600_000,
	}[broker]
	n, err := strconv.ParseInt(value, 10, 64)
	if factor == 0 || err != nil || n < 0 || n > math.MaxInt64/factor {
		return value
	}
	return strconv.FormatInt(n*factor, 10)
}
