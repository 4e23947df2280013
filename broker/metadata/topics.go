package metadata

import (
	"maps"
	"slices"
	"strings"

	"chronik.dev/chronik/broker/metapb"
)

// Limits of topics. They are part of the state machine: changing one needs a new format version.
const (
	maxTopicName     = 249 // bytes, as in Kafka
	maxPartitions    = 100_000
	maxReplicas      = 64
	maxClusterID     = 64
	maxProducerBlock = 1 << 20
	maxListeners     = 64
	maxDamaged       = 100_000
	maxNameText      = 1 << 10 // bytes of a host, rack or listener name
)

// validName checks a topic name by Kafka's rules (org.apache.kafka.common.internals.Topic).
func validName(name string) *Error {
	switch {
	case name == "":
		return refuse(metapb.Verdict_INVALID_TOPIC_NAME, "topic name is empty")
	case name == "." || name == "..":
		return refuse(metapb.Verdict_INVALID_TOPIC_NAME, "topic name cannot be %q", name)
	case len(name) > maxTopicName:
		return refuse(metapb.Verdict_INVALID_TOPIC_NAME, "topic name of %d bytes: at most %d are allowed", len(name), maxTopicName)
	}
	for i := range len(name) {
		c := name[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-') {
			return refuse(metapb.Verdict_INVALID_TOPIC_NAME, "topic name %q: only letters, digits, '.', '_' and '-' are allowed", name)
		}
	}
	return nil
}

// collisionKey is equal for names that Kafka refuses side by side, since metric names cannot tell '.' from '_'.
func collisionKey(name string) string { return strings.ReplaceAll(name, ".", "_") }

// assign turns assignments into partitions with the first replica as leader and everyone in sync.
func (e *edit) assign(list []*metapb.Assignment, replication int) ([]Partition, *Error) {
	parts := make([]Partition, len(list))
	for i, a := range list {
		if len(a.Replicas) == 0 || len(a.Replicas) > maxReplicas {
			return nil, refuse(metapb.Verdict_INVALID_ASSIGNMENT, "assignment %d: %d replicas, 1 to %d are allowed", i, len(a.Replicas), maxReplicas)
		}
		if replication == 0 {
			replication = len(a.Replicas)
		}
		if len(a.Replicas) != replication {
			return nil, refuse(metapb.Verdict_INVALID_ASSIGNMENT, "assignment %d: %d replicas, the other partitions have %d", i, len(a.Replicas), replication)
		}
		for j, node := range a.Replicas {
			if e.Brokers[node] == nil {
				return nil, refuse(metapb.Verdict_INVALID_ASSIGNMENT, "assignment %d: broker %d is not registered", i, node)
			}
			if slices.Contains(a.Replicas[:j], node) {
				return nil, refuse(metapb.Verdict_INVALID_ASSIGNMENT, "assignment %d: broker %d is listed twice", i, node)
			}
		}
		replicas := slices.Clip(slices.Clone(a.Replicas))
		parts[i] = Partition{Index: e.index, Leader: replicas[0], Replicas: replicas, ISR: replicas}
	}
	return parts, nil
}

func (e *edit) createTopic(c *metapb.CreateTopic) Result {
	if err := validName(c.Name); err != nil {
		return Result{Err: err}
	}
	id, ok := id16(c.Id)
	if !ok || id == ([16]byte{}) {
		return failed(metapb.Verdict_INVALID_COMMAND, "topic id of %d bytes: 16 that are not all zero are needed", len(c.Id))
	}
	if e.Topics[c.Name] != nil {
		return failed(metapb.Verdict_TOPIC_EXISTS, "topic '%s' already exists", c.Name)
	}
	if other, ok := e.state.collision[collisionKey(c.Name)]; ok {
		return failed(metapb.Verdict_INVALID_TOPIC_NAME, "topic '%s' collides with existing topic: %s", c.Name, other)
	}
	if e.TopicsByID[id] != nil || e.Deleted[id] != nil {
		return failed(metapb.Verdict_CONFLICT, "topic id %x is in use; propose with another id", id)
	}
	if len(c.Partitions) == 0 || len(c.Partitions) > maxPartitions {
		return failed(metapb.Verdict_INVALID_PARTITIONS, "%d partitions: 1 to %d are allowed", len(c.Partitions), maxPartitions)
	}
	parts, err := e.assign(c.Partitions, 0)
	if err != nil {
		return Result{Err: err}
	}
	configs, err := editConfigs(nil, c.Configs, nil)
	if err != nil {
		return Result{Err: err}
	}
	t := &Topic{Name: c.Name, ID: id, Index: e.index, Internal: c.Internal, Configs: configs, Partitions: parts}
	e.setTopic(t)
	e.commit = func() { e.state.collision[collisionKey(t.Name)] = t.Name }
	return Result{Topic: t}
}

// topic finds the live topic that a command names.
func (e *edit) topic(raw []byte) (*Topic, *Error) {
	id, ok := id16(raw)
	if !ok {
		return nil, refuse(metapb.Verdict_INVALID_COMMAND, "topic id of %d bytes: 16 are needed", len(raw))
	}
	t := e.TopicsByID[id]
	if t == nil {
		return nil, refuse(metapb.Verdict_UNKNOWN_TOPIC, "no topic has the id %x", id)
	}
	return t, nil
}

func (e *edit) deleteTopic(c *metapb.DeleteTopic) Result {
	t, err := e.topic(c.Id)
	if err != nil {
		return Result{Err: err}
	}
	e.Topics, e.TopicsByID, e.Deleted = maps.Clone(e.Topics), maps.Clone(e.TopicsByID), maps.Clone(e.Deleted)
	delete(e.Topics, t.Name)
	delete(e.TopicsByID, t.ID)
	d := &Deleted{Name: t.Name, ID: t.ID, Created: t.Index, Index: e.index, Partitions: int32(len(t.Partitions))}
	for _, p := range t.Partitions {
		d.Waiting = append(d.Waiting, p.Replicas...)
		if len(d.Waiting) > 4*len(e.Brokers)+maxReplicas {
			d.Waiting = sortedSet(d.Waiting)
		}
	}
	d.Waiting = sortedSet(d.Waiting)
	e.Deleted[t.ID] = d
	e.commit = func() { delete(e.state.collision, collisionKey(t.Name)) }
	return Result{}
}

// sortedSet sorts and removes repetitions, in place.
func sortedSet(nodes []int32) []int32 {
	slices.Sort(nodes)
	return slices.Compact(nodes)
}

func (e *edit) createPartitions(c *metapb.CreatePartitions) Result {
	t, err := e.topic(c.Id)
	if err != nil {
		return Result{Err: err}
	}
	have := len(t.Partitions)
	switch {
	case int64(c.First) != int64(have):
		return failed(metapb.Verdict_CONFLICT, "topic '%s' has %d partitions, not %d as the proposer saw; ask again", t.Name, have, c.First)
	case len(c.Partitions) == 0 || have+len(c.Partitions) > maxPartitions:
		return failed(metapb.Verdict_INVALID_PARTITIONS, "%d new partitions on %d: at least one, and %d in all, are allowed", len(c.Partitions), have, maxPartitions)
	}
	parts, err := e.assign(c.Partitions, len(t.Partitions[0].Replicas))
	if err != nil {
		return Result{Err: err}
	}
	grown := *t
	grown.Partitions = slices.Concat(t.Partitions, parts)
	e.setTopic(&grown)
	return Result{Topic: &grown}
}

// topicDropped takes a node off the list of those that may still hold a deleted topic. Reporting twice, or of an id that nobody waits for,
// is no error: a restarted node reports what it finds.
func (e *edit) topicDropped(c *metapb.TopicDropped) Result {
	id, ok := id16(c.Id)
	if !ok {
		return failed(metapb.Verdict_INVALID_COMMAND, "topic id of %d bytes: 16 are needed", len(c.Id))
	}
	if e.TopicsByID[id] != nil {
		return failed(metapb.Verdict_CONFLICT, "topic '%s' is not deleted", e.TopicsByID[id].Name)
	}
	d := e.Deleted[id]
	if d == nil || !slices.Contains(d.Waiting, c.NodeId) {
		return Result{}
	}
	e.Deleted = maps.Clone(e.Deleted)
	if len(d.Waiting) == 1 {
		delete(e.Deleted, id)
		return Result{}
	}
	rest := *d
	rest.Waiting = slices.DeleteFunc(slices.Clone(d.Waiting), func(n int32) bool { return n == c.NodeId })
	e.Deleted[id] = &rest
	return Result{}
}
