package broker

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"

	"chronik.dev/chronik/broker/config"
	"chronik.dev/chronik/broker/metadata"
	"chronik.dev/chronik/broker/metapb"
)

// OffsetsTopic holds the committed offsets and the groups, as in Apache Kafka.
const OffsetsTopic = "__consumer_offsets"

// maxPartitionsPerRequest bounds what one CreateTopics or CreatePartitions may open on this node.
const maxPartitionsPerRequest = 10_000

// TopicSpec asks for a topic.
type TopicSpec struct {
	Name              string
	Partitions        int32             // -1: num.partitions, or as many as Assignment has
	ReplicationFactor int16             // -1: default.replication.factor, or as Assignment has
	Assignment        map[int32][]int32 // replicas by partition; nil: the broker chooses
	Configs           map[string]*string
	internal          bool
}

// TopicResult is what CreateTopics made, or would make.
type TopicResult struct {
	Topic   *metadata.Topic // nil on error; without ID if only validated
	Configs []config.Entry
	Err     error // *Error
}

// CreateTopics creates topics, each for itself; a topic is served when its result is returned. With validateOnly nothing changes.
func (b *Broker) CreateTopics(ctx context.Context, specs []TopicSpec, validateOnly bool) []TopicResult {
	results := make([]TopicResult, len(specs))
	for i, spec := range specs {
		results[i] = b.createTopic(ctx, spec, validateOnly)
	}
	return results
}

func (b *Broker) createTopic(ctx context.Context, spec TopicSpec, validateOnly bool) TopicResult {
	command, topic, err := b.planTopic(spec)
	if err != nil {
		return TopicResult{Err: AsError(err)}
	}
	if !validateOnly {
		done, err := b.propose(ctx, command)
		if err != nil {
			return TopicResult{Err: AsError(err)}
		}
		topic = done.Topic
		if topic == nil {
			return TopicResult{Err: fail(kerr.UnknownTopicOrPartition, "topic %q was deleted as soon as it was created", spec.Name)}
		}
		b.logger.Info("topic created", "topic", topic.Name, "partitions", len(topic.Partitions))
	}
	return TopicResult{Topic: topic, Configs: b.Config().TopicEntries(topic.Configs)}
}

// planTopic validates a spec against the metadata and makes the command that creates the topic.
func (b *Broker) planTopic(spec TopicSpec) (*metapb.CreateTopic, *metadata.Topic, error) {
	image, cfg := b.Image(), b.Config()
	if err := checkTopicName(image, spec.Name); err != nil {
		return nil, nil, err
	}
	if !spec.internal && strings.EqualFold(spec.Name, OffsetsTopic) {
		return nil, nil, fail(kerr.InvalidTopicException, "%s is made by the node itself", OffsetsTopic)
	}
	replicas, err := b.assign(spec, cfg)
	if err != nil {
		return nil, nil, err
	}
	configs := map[string]string{}
	for k, v := range spec.Configs {
		if v == nil {
			return nil, nil, fail(kerr.InvalidConfig, "%s has no value; leave the key out for its default", k)
		}
		configs[k] = *v
	}
	if err := config.ValidateTopic(configs, spec.internal); err != nil {
		return nil, nil, configError(err)
	}
	id := newTopicID()
	command := &metapb.CreateTopic{Name: spec.Name, Id: id[:], Internal: spec.internal}
	topic := &metadata.Topic{Name: spec.Name, Internal: spec.internal, Configs: configs}
	for _, r := range replicas {
		command.Partitions = append(command.Partitions, &metapb.Assignment{Replicas: r})
		topic.Partitions = append(topic.Partitions, metadata.Partition{Leader: r[0], Replicas: r, ISR: r})
	}
	for k, v := range configs {
		command.Configs = append(command.Configs, &metapb.Config{Key: k, Value: v})
	}
	sortConfigs(command.Configs)
	return command, topic, nil
}

// checkTopicName refuses names that are illegal or taken. Names that differ only in '.' and '_' collide in metric names (KAFKA-2337).
func checkTopicName(image *metadata.Image, name string) error {
	if err := legalTopicName(name); err != nil {
		return err
	}
	if _, there := image.Topics[name]; there {
		return fail(kerr.TopicAlreadyExists, "topic %q exists already", name)
	}
	if strings.ContainsAny(name, "._") {
		folded := strings.ReplaceAll(name, ".", "_")
		for other := range image.Topics {
			if len(other) == len(name) && strings.ReplaceAll(other, ".", "_") == folded {
				return fail(kerr.InvalidTopicException, "topic %q collides with the existing topic %q in metric names", name, other)
			}
		}
	}
	return nil
}

// legalTopicName applies Kafka's rule: 1 to 249 characters of [a-zA-Z0-9._-], neither "." nor "..".
func legalTopicName(name string) error {
	switch {
	case name == "":
		return fail(kerr.InvalidTopicException, "a topic name must not be empty")
	case name == "." || name == "..":
		return fail(kerr.InvalidTopicException, "a topic must not be named %q", name)
	case len(name) > 249:
		return fail(kerr.InvalidTopicException, "a topic name has at most 249 characters, this one has %d", len(name))
	}
	for _, c := range name {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-') {
			return fail(kerr.InvalidTopicException, "topic name %q has the character %q; only letters, digits, '.', '_' and '-' are allowed", name, c)
		}
	}
	return nil
}

// assign chooses or checks the replicas of every partition.
func (b *Broker) assign(spec TopicSpec, cfg *config.Config) ([][]int32, error) {
	if len(spec.Assignment) > 0 {
		if spec.Partitions != -1 || spec.ReplicationFactor != -1 {
			return nil, fail(kerr.InvalidRequest, "give either an assignment or counts (both -1), not both")
		}
		list := make([][]int32, len(spec.Assignment))
		for p, r := range spec.Assignment {
			if p < 0 || int(p) >= len(list) {
				return nil, fail(kerr.InvalidReplicaAssignment, "partitions must be numbered from 0 without a gap; %d is out of place", p)
			}
			list[p] = r
		}
		return list, b.checkReplicas(list)
	}
	count, factor := spec.Partitions, spec.ReplicationFactor
	if count == -1 {
		count = cfg.NumPartitions()
	}
	if factor == -1 {
		factor = cfg.DefaultReplicationFactor()
	}
	if count < 1 || count > maxPartitionsPerRequest {
		return nil, fail(kerr.InvalidPartitions, "the number of partitions must be between 1 and %d, not %d", maxPartitionsPerRequest, count)
	}
	if factor != 1 {
		return nil, fail(kerr.InvalidReplicationFactor, "replication factor %d: this cluster has one broker, so it can only be 1", factor)
	}
	list := make([][]int32, count)
	for i := range list {
		list[i] = []int32{b.NodeID()}
	}
	return list, nil
}

// checkReplicas accepts replicas that this cluster of one broker has.
func (b *Broker) checkReplicas(list [][]int32) error {
	for p, r := range list {
		if len(r) != 1 || r[0] != b.NodeID() {
			return fail(kerr.InvalidReplicaAssignment, "partition %d: replicas %v; this cluster has the one broker %d", p, r, b.NodeID())
		}
	}
	return nil
}

// newTopicID returns a random (version 4) UUID.
func newTopicID() (id [16]byte) {
	_, _ = rand.Read(id[:]) // never fails, see crypto/rand
	id[6] = id[6]&0x0f | 0x40
	id[8] = id[8]&0x3f | 0x80
	return id
}

// AutoCreate creates a topic with the defaults, if auto.create.topics.enable allows it; nil if it exists then.
func (b *Broker) AutoCreate(ctx context.Context, name string) error {
	if name == OffsetsTopic {
		return b.EnsureOffsetsTopic(ctx)
	}
	if !b.Config().AutoCreateTopics() {
		return fail(kerr.UnknownTopicOrPartition, "topic %q does not exist and auto.create.topics.enable is false", name)
	}
	r := b.createTopic(ctx, TopicSpec{Name: name, Partitions: -1, ReplicationFactor: -1}, false)
	return exists(r.Err)
}

// EnsureOffsetsTopic creates __consumer_offsets if it is missing.
func (b *Broker) EnsureOffsetsTopic(ctx context.Context) error {
	if _, there := b.Image().Topics[OffsetsTopic]; there {
		return nil
	}
	cfg := b.Config()
	configs := map[string]*string{}
	for k, v := range cfg.OffsetsTopic() {
		configs[k] = &v
	}
	r := b.createTopic(ctx, TopicSpec{
		Name: OffsetsTopic, Partitions: cfg.OffsetsTopicPartitions(), ReplicationFactor: 1, Configs: configs, internal: true,
	}, false)
	return exists(r.Err)
}

// exists takes "exists already" for success: somebody else created it meanwhile.
func exists(err error) error {
	var e *Error
	if errors.As(err, &e) && e.Code == kerr.TopicAlreadyExists.Code {
		return nil
	}
	return err
}

// DeleteTopic deletes a topic; its partitions answer UNKNOWN_TOPIC_OR_PARTITION from then on.
func (b *Broker) DeleteTopic(ctx context.Context, id [16]byte) error {
	t, there := b.Image().TopicsByID[id]
	if !there {
		return fail(kerr.UnknownTopicID, "no topic has this id")
	}
	if t.Internal {
		return fail(kerr.InvalidTopicException, "%s is internal; groups need it", t.Name)
	}
	if _, err := b.propose(ctx, &metapb.DeleteTopic{Id: id[:]}); err != nil {
		return AsError(err)
	}
	b.logger.Info("topic deleted", "topic", t.Name)
	b.groups.TopicsDeleted([]string{t.Name})
	return nil
}

// CreatePartitions raises a topic's partition count to count. assignment has the replicas of the new ones, or is nil.
func (b *Broker) CreatePartitions(ctx context.Context, topic string, count int32, assignment [][]int32, validateOnly bool) error {
	t, there := b.Image().Topics[topic]
	if !there {
		return fail(kerr.UnknownTopicOrPartition, "topic %q does not exist", topic)
	}
	if t.Internal {
		return fail(kerr.InvalidTopicException, "the partition count of %s never changes: groups are placed by it", topic)
	}
	have := int32(len(t.Partitions))
	more := count - have
	switch {
	case count < 1 || more < 0:
		return fail(kerr.InvalidPartitions, "topic %q has %d partitions, they cannot become %d", topic, have, count)
	case more == 0:
		return fail(kerr.InvalidPartitions, "topic %q already has %d partitions", topic, have)
	case more > maxPartitionsPerRequest:
		return fail(kerr.InvalidPartitions, "%d new partitions at once; at most %d", more, maxPartitionsPerRequest)
	}
	if assignment != nil {
		if int32(len(assignment)) != more {
			return fail(kerr.InvalidReplicaAssignment, "%d assignments for %d new partitions", len(assignment), more)
		}
		if err := b.checkReplicas(assignment); err != nil {
			return err
		}
	}
	if validateOnly {
		return nil
	}
	command := &metapb.CreatePartitions{Id: t.ID[:], First: uint32(have)}
	for range more {
		command.Partitions = append(command.Partitions, &metapb.Assignment{Replicas: []int32{b.NodeID()}})
	}
	if _, err := b.propose(ctx, command); err != nil {
		return asError(err)
	}
	b.logger.Info("partitions added", "topic", topic, "partitions", count)
	return nil
}

// configError maps a refused key or value.
func configError(err error) error {
	var e *config.Error
	if errors.As(err, &e) && e.Malformed {
		return fail(kerr.InvalidRequest, "%v", err)
	}
	return fail(kerr.InvalidConfig, "%v", err)
}

// asError is AsError for errors that may be nil.
func asError(err error) error {
	if err == nil {
		return nil
	}
	return AsError(err)
}

// verdicts maps what the state machine refused to Kafka's codes.
var verdicts = []struct {
	err  error
	code *kerr.Error
}{
	{metadata.ErrTopicExists, kerr.TopicAlreadyExists},
	{metadata.ErrUnknownTopic, kerr.UnknownTopicOrPartition},
	{metadata.ErrInvalidTopicName, kerr.InvalidTopicException},
	{metadata.ErrInvalidPartitions, kerr.InvalidPartitions},
	{metadata.ErrInvalidAssignment, kerr.InvalidReplicaAssignment},
	{metadata.ErrInvalidConfig, kerr.InvalidConfig},
	{metadata.ErrInvalidCommand, kerr.InvalidRequest},
	{metadata.ErrConflict, kerr.NotController},
	{metadata.ErrStaleCommand, kerr.RequestTimedOut},
	{metadata.ErrLimitExceeded, kerr.PolicyViolation},
}

func verdictError(err error) error {
	for _, v := range verdicts {
		if errors.Is(err, v.err) {
			return fail(v.code, "%v", err)
		}
	}
	return fmt.Errorf("metadata command refused: %w", err)
}
