package broker

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"

	"chronik.dev/chronik/broker/config"
	"chronik.dev/chronik/broker/metadata"
	"chronik.dev/chronik/broker/metapb"
	"chronik.dev/chronik/broker/partition"
)

// Resource types of the configuration APIs, as KIP-133 numbers them.
const (
	TopicResource  int8 = 2
	BrokerResource int8 = 4
)

// ConfigOp is one change of one key (KIP-339).
type ConfigOp = config.Op

// Config returns the node's configuration: what it was started with, under the dynamic values of the cluster's metadata.
func (b *Broker) Config() *config.Config { return b.cfg.Load() }

// AlterConfigs changes keys of a topic, of a broker, or with an empty broker name of all brokers. Nothing or all of it happens.
func (b *Broker) AlterConfigs(ctx context.Context, resource int8, name string, ops []ConfigOp, validateOnly bool) error {
	command := &metapb.AlterConfigs{}
	var sets map[string]string
	var err error
	switch resource {
	case TopicResource:
		t, there := b.Image().Topics[name]
		if !there {
			return fail(kerr.UnknownTopicOrPartition, "topic %q does not exist", name)
		}
		command.Resource = &metapb.AlterConfigs_TopicId{TopicId: t.ID[:]}
		sets, command.Deletes, err = b.Config().AlterTopic(t.Configs, t.Internal, ops)
	case BrokerResource:
		id, bad := b.brokerResource(name)
		if bad != nil {
			return bad
		}
		command.Resource = &metapb.AlterConfigs_Broker{Broker: id}
		sets, command.Deletes, err = b.Config().AlterBroker(b.Image().BrokerConfigs[id], ops)
	default:
		return fail(kerr.InvalidRequest, "resource type %d has no configuration here; 2 (topic) and 4 (broker) have", resource)
	}
	if err != nil {
		return configError(err)
	}
	if validateOnly || len(sets)+len(command.Deletes) == 0 {
		return nil
	}
	for k, v := range sets {
		command.Sets = append(command.Sets, &metapb.Config{Key: k, Value: v})
	}
	sortConfigs(command.Sets)
	slices.Sort(command.Deletes)
	_, err = b.propose(ctx, command)
	return asError(err)
}

// DescribeConfigs lists every key of a resource with its value and where that comes from.
func (b *Broker) DescribeConfigs(resource int8, name string) ([]config.Entry, error) {
	switch resource {
	case TopicResource:
		t, there := b.Image().Topics[name]
		if !there {
			return nil, fail(kerr.UnknownTopicOrPartition, "topic %q does not exist", name)
		}
		return b.Config().TopicEntries(t.Configs), nil
	case BrokerResource:
		id, err := b.brokerResource(name)
		if err != nil {
			return nil, err
		}
		if id == metadata.DefaultBroker {
			return b.Config().ClusterEntries(), nil
		}
		return b.Config().BrokerEntries(), nil
	}
	return nil, fail(kerr.InvalidRequest, "resource type %d has no configuration here; 2 (topic) and 4 (broker) have", resource)
}

// brokerResource parses a broker resource's name: a node id, or empty for all brokers.
func (b *Broker) brokerResource(name string) (int32, error) {
	if name == "" {
		return metadata.DefaultBroker, nil
	}
	id, err := strconv.ParseInt(name, 10, 32)
	if err != nil || int32(id) != b.NodeID() {
		return 0, fail(kerr.InvalidRequest, "broker %q is unknown; this is broker %d", name, b.NodeID())
	}
	return int32(id), nil
}

func sortConfigs(c []*metapb.Config) {
	slices.SortFunc(c, func(a, b *metapb.Config) int { return strings.Compare(a.Key, b.Key) })
}

// logConfig resolves what of a topic's configuration shapes its partition logs.
func (b *Broker) logConfig(t *metadata.Topic) partition.Config { return LogConfig(b.Config(), t) }

// LogConfig is the configuration of a topic's partition logs under a node's configuration.
func LogConfig(node *config.Config, t *metadata.Topic) partition.Config {
	c := node.Topic(t.Configs)
	return partition.Config{
		SegmentBytes: c.SegmentBytes, SegmentMs: c.SegmentMs, SegmentIndexBytes: c.SegmentIndexBytes, IndexIntervalBytes: c.IndexInterval,
		RetentionMs: c.RetentionMs, RetentionBytes: c.RetentionBytes, MaxMessageBytes: c.MaxMessageBytes, Compact: c.Compact, Delete: c.Delete,
		DeleteRetentionMs: c.DeleteRetentionMs, LogAppendTime: c.LogAppendTime, TimestampBeforeMs: c.TimestampBeforeMs,
		TimestampAfterMs: c.TimestampAfterMs, ProducerExpiryMs: c.ProducerExpiryMs, Internal: t.Internal,
	}
}

// applyConfigs puts the dynamic configuration of an image in force.
func (b *Broker) applyConfigs(image *metadata.Image) {
	b.cfg.Store(b.static.WithDynamic(image.BrokerConfigs[metadata.DefaultBroker], image.BrokerConfigs[b.nodeID]))
}
