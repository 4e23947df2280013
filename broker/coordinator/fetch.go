package coordinator

import (
	"sync/atomic"

	"chronik.dev/chronik/broker/group"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// gather calls done after it was called n times itself; at once if n is 0.
func gather(n int, done func()) func() {
	if n == 0 {
		done()
		return func() {}
	}
	var left atomic.Int64
	left.Store(int64(n))
	return func() {
		if left.Add(-1) == 0 {
			done()
		}
	}
}

// OffsetFetch answers OffsetFetch v1-10, also for several groups of different partitions. A partition without an offset, also of an unknown
// group, answers -1 and no error. RequireStable changes nothing: without transactions every committed offset is stable.
func (c *Coordinator) OffsetFetch(req *kmsg.OffsetFetchRequest, done func(*kmsg.OffsetFetchResponse)) {
	resp := req.ResponseKind().(*kmsg.OffsetFetchResponse)
	if req.Version >= 8 {
		resp.Groups = make([]kmsg.OffsetFetchResponseGroup, len(req.Groups))
		one := gather(len(req.Groups), func() { done(resp) })
		named := map[string]bool{}
		for i := range req.Groups {
			if name := req.Groups[i].Group; named[name] {
				resp.Groups[i] = kmsg.OffsetFetchResponseGroup{Group: name, ErrorCode: int16(invalidRequest)}
				one()
				continue
			}
			named[req.Groups[i].Group] = true
			c.fetchGroup(req.Version, req.Groups[i], func(g kmsg.OffsetFetchResponseGroup) {
				resp.Groups[i] = g
				one()
			})
		}
		return
	}
	ask := kmsg.OffsetFetchRequestGroup{Group: req.Group}
	if req.Topics != nil {
		ask.Topics = []kmsg.OffsetFetchRequestGroupTopic{}
	}
	for _, t := range req.Topics {
		ask.Topics = append(ask.Topics, kmsg.OffsetFetchRequestGroupTopic{Topic: t.Topic, Partitions: t.Partitions})
	}
	c.fetchGroup(req.Version, ask, func(g kmsg.OffsetFetchResponseGroup) {
		resp.ErrorCode = g.ErrorCode
		if req.Version < 2 && g.ErrorCode != 0 {
			g.Topics = failedTopics(ask.Topics, group.Code(g.ErrorCode)) // version 1 has no error of the group
		}
		for _, t := range g.Topics {
			topic := kmsg.OffsetFetchResponseTopic{Topic: t.Topic}
			for _, p := range t.Partitions {
				topic.Partitions = append(topic.Partitions, kmsg.OffsetFetchResponseTopicPartition{Partition: p.Partition, Offset: p.Offset,
					LeaderEpoch: p.LeaderEpoch, Metadata: p.Metadata, ErrorCode: p.ErrorCode})
			}
			resp.Topics = append(resp.Topics, topic)
		}
		done(resp)
	})
}

// fetchGroup answers for one group. Null topics mean all that have an offset.
func (c *Coordinator) fetchGroup(version int16, ask kmsg.OffsetFetchRequestGroup, done func(kmsg.OffsetFetchResponseGroup)) {
	refuse := func(code group.Code) {
		done(kmsg.OffsetFetchResponseGroup{Group: ask.Group, ErrorCode: int16(code)})
	}
	c.on(ask.Group, func(s *shard) {
		g := kmsg.OffsetFetchResponseGroup{Group: ask.Group}
		e := s.get(ask.Group)
		if ask.Topics == nil {
			if e != nil {
				g.Topics = c.allOffsets(version, e)
			}
			done(g)
			return
		}
		for _, t := range ask.Topics {
			topic := kmsg.OffsetFetchResponseGroupTopic{Topic: t.Topic, TopicID: t.TopicID}
			name := t.Topic
			if version >= 10 {
				var ok bool
				if name, ok = c.o.Name(t.TopicID); !ok {
					topic.Partitions = failedPartitions(t.Partitions, unknownTopicID)
					g.Topics = append(g.Topics, topic)
					continue
				}
			}
			for _, p := range t.Partitions {
				topic.Partitions = append(topic.Partitions, c.offset(e, group.Partition{Topic: name, Index: p}))
			}
			g.Topics = append(g.Topics, topic)
		}
		done(g)
	}, refuse)
}

// offset answers for one partition; e may be nil.
func (c *Coordinator) offset(e *entry, p group.Partition) kmsg.OffsetFetchResponseGroupTopicPartition {
	if e != nil && e.State() != group.Dead {
		if o, ok := e.Offset(p); ok && c.current(p.Topic, o) {
			return kmsg.OffsetFetchResponseGroupTopicPartition{Partition: p.Index, Offset: o.Offset, LeaderEpoch: o.LeaderEpoch, Metadata: &o.Metadata}
		}
	}
	return failedPartitions([]int32{p.Index}, group.None)[0]
}

// current says whether an offset belongs to the topic that has the name now: one committed before the topic was deleted and created again
// does not.
func (c *Coordinator) current(topic string, o group.Offset) bool {
	id, _, ok := c.o.Topic(topic)
	return !ok || o.TopicID == [16]byte{} || o.TopicID == id
}

func (c *Coordinator) allOffsets(version int16, e *entry) []kmsg.OffsetFetchResponseGroupTopic {
	var topics []kmsg.OffsetFetchResponseGroupTopic
	last := ""
	for _, p := range e.Offsets() { // sorted by topic
		o, _ := e.Offset(p)
		id, _, known := c.o.Topic(p.Topic)
		if version >= 10 && !known || !c.current(p.Topic, o) {
			continue
		}
		if len(topics) == 0 || last != p.Topic {
			topics = append(topics, kmsg.OffsetFetchResponseGroupTopic{Topic: p.Topic, TopicID: id})
			last = p.Topic
		}
		t := &topics[len(topics)-1]
		t.Partitions = append(t.Partitions, c.offset(e, p))
	}
	return topics
}

func failedTopics(asked []kmsg.OffsetFetchRequestGroupTopic, code group.Code) []kmsg.OffsetFetchResponseGroupTopic {
	var topics []kmsg.OffsetFetchResponseGroupTopic
	for _, t := range asked {
		topics = append(topics, kmsg.OffsetFetchResponseGroupTopic{Topic: t.Topic, TopicID: t.TopicID, Partitions: failedPartitions(t.Partitions, code)})
	}
	return topics
}

// failedPartitions answers -1 for partitions, as Kafka does with an error and without an offset.
func failedPartitions(partitions []int32, code group.Code) []kmsg.OffsetFetchResponseGroupTopicPartition {
	var all []kmsg.OffsetFetchResponseGroupTopicPartition
	for _, p := range partitions {
		all = append(all, kmsg.OffsetFetchResponseGroupTopicPartition{Partition: p, Offset: -1, LeaderEpoch: -1, Metadata: new(string), ErrorCode: int16(code)})
	}
	return all
}
