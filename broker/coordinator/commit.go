package coordinator

import (
	"chronik.dev/chronik/broker/group"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Codes that only offsets need.
const (
	unknownTopicOrPartition group.Code = 3
	unknownTopicID          group.Code = 100
	invalidRequest          group.Code = 42
)

// pendingOffset is one offset of a commit, with its place in the response.
type pendingOffset struct {
	topic, index int
	partition    group.Partition
	offset       group.Offset
}

// OffsetCommit answers OffsetCommit v2-10, after the sync. Unknown topics and partitions, and metadata above offset.metadata.max.bytes, are
// refused one by one; the rest is written as one batch.
func (c *Coordinator) OffsetCommit(req *kmsg.OffsetCommitRequest, done func(*kmsg.OffsetCommitResponse)) {
	resp, offsets := c.checkCommit(req)
	if len(offsets) == 0 {
		done(resp)
		return
	}
	reply := func(code group.Code) {
		for _, o := range offsets {
			resp.Topics[o.topic].Partitions[o.index].ErrorCode = int16(code)
		}
		done(resp)
	}
	c.on(req.Group, func(s *shard) {
		e, code := s.groupForCommit(req)
		if code != group.None {
			reply(code)
			return
		}
		records := make([]record, 0, len(offsets))
		for _, o := range offsets {
			key, err := group.AppendKey(nil, group.Key{Kind: group.OffsetKey, Group: req.Group, Partition: o.partition})
			if err != nil {
				reply(group.InvalidCommitOffsetSize)
				s.settle(e, group.Effects{})
				return
			}
			records = append(records, record{key, group.AppendOffset(nil, o.offset)})
		}
		for _, o := range offsets {
			e.BeginCommit(o.partition)
		}
		s.write(records, func(code group.Code) {
			for _, o := range offsets {
				e.EndCommit(o.partition, o.offset, code == group.None)
			}
			if code == tooLarge {
				code = group.InvalidCommitOffsetSize
			}
			reply(code)
			s.settle(e, group.Effects{})
		})
	}, reply)
}

// checkCommit resolves topics and returns the response, with the errors that are known at once, and the offsets to commit.
func (c *Coordinator) checkCommit(req *kmsg.OffsetCommitRequest) (*kmsg.OffsetCommitResponse, []pendingOffset) {
	now, limit := c.now(), c.o.Config().OffsetMetadataMaxBytes()
	expire := int64(-1)
	if req.Version <= 4 && req.RetentionTimeMillis >= 0 {
		expire = now + req.RetentionTimeMillis
	}
	resp := req.ResponseKind().(*kmsg.OffsetCommitResponse)
	var offsets []pendingOffset
	for i, t := range req.Topics {
		topic := kmsg.OffsetCommitResponseTopic{Topic: t.Topic, TopicID: t.TopicID}
		name, id, count, code := c.resolve(req.Version >= 10, t.Topic, t.TopicID)
		for j, p := range t.Partitions {
			failure := code
			switch {
			case code != group.None:
			case p.Partition < 0 || p.Partition >= count:
				failure = unknownTopicOrPartition
			case len(text(p.Metadata)) > limit:
				failure = group.OffsetMetadataTooLarge
			default:
				epoch := int32(-1)
				if req.Version >= 6 {
					epoch = p.LeaderEpoch
				}
				offsets = append(offsets, pendingOffset{i, j, group.Partition{Topic: name, Index: p.Partition}, group.Offset{Offset: p.Offset,
					LeaderEpoch: epoch, Metadata: text(p.Metadata), CommitTime: now, ExpireTime: expire, TopicID: id}})
			}
			topic.Partitions = append(topic.Partitions, kmsg.OffsetCommitResponseTopicPartition{Partition: p.Partition, ErrorCode: int16(failure)})
		}
		resp.Topics = append(resp.Topics, topic)
	}
	return resp, offsets
}

// resolve finds a topic by its id or its name.
func (c *Coordinator) resolve(byID bool, name string, id [16]byte) (string, [16]byte, int32, group.Code) {
	if byID {
		var ok bool
		if name, ok = c.o.Name(id); !ok {
			return "", id, 0, unknownTopicID
		}
	}
	current, count, ok := c.o.Topic(name)
	switch {
	case byID && (!ok || current != id):
		return name, id, 0, unknownTopicID
	case !ok:
		return name, current, 0, unknownTopicOrPartition
	}
	return name, current, count, group.None
}

// groupForCommit returns the group to commit to; a group of which nothing is known is created for a consumer without group management.
func (s *shard) groupForCommit(req *kmsg.OffsetCommitRequest) (*entry, group.Code) {
	e := s.get(req.Group)
	switch {
	case e == nil && req.Generation < 0:
		e = s.getOrCreate(req.Group)
	case e == nil && req.Version >= 9:
		return nil, group.GroupIDNotFound
	case e == nil:
		return nil, group.IllegalGeneration
	}
	code := e.ValidateCommit(s.c.now(), req.MemberID, text(req.InstanceID), req.Generation)
	if code != group.None {
		s.settle(e, group.Effects{})
	}
	return e, code
}

// OffsetDelete answers OffsetDelete v0, after the sync of the tombstones.
func (c *Coordinator) OffsetDelete(req *kmsg.OffsetDeleteRequest, done func(*kmsg.OffsetDeleteResponse)) {
	resp := req.ResponseKind().(*kmsg.OffsetDeleteResponse)
	refuse := func(code group.Code) {
		resp.ErrorCode, resp.Topics = int16(code), nil
		done(resp)
	}
	if req.Group == "" {
		refuse(group.InvalidGroupID)
		return
	}
	c.on(req.Group, func(s *shard) {
		e := s.get(req.Group)
		if e == nil {
			refuse(group.GroupIDNotFound)
			return
		}
		if code := e.ValidateDeleteOffsets(); code != group.None {
			refuse(code)
			return
		}
		var gone []group.Partition
		for _, t := range req.Topics {
			topic := kmsg.OffsetDeleteResponseTopic{Topic: t.Topic}
			_, count, known := c.o.Topic(t.Topic)
			for _, p := range t.Partitions {
				partition := group.Partition{Topic: t.Topic, Index: p.Partition}
				_, committed := e.Offset(partition)
				code := group.None
				switch {
				case e.Subscribes(t.Topic):
					code = group.SubscribedToTopic
				case committed:
					gone = append(gone, partition)
				case !known || p.Partition < 0 || p.Partition >= count:
					code = unknownTopicOrPartition
				}
				topic.Partitions = append(topic.Partitions, kmsg.OffsetDeleteResponseTopicPartition{Partition: p.Partition, ErrorCode: int16(code)})
			}
			resp.Topics = append(resp.Topics, topic)
		}
		s.forget(e, gone, func(code group.Code) {
			if code != group.None {
				refuse(code)
				return
			}
			done(resp)
		})
	}, refuse)
}

// tombstonesAtOnce bounds the tombstones of one batch, which keeps it far below any max.message.bytes.
const tombstonesAtOnce = 500

// forget removes offsets, with tombstones, and then calls done once on the shard's goroutine. Without offsets it calls done at once.
func (s *shard) forget(e *entry, gone []group.Partition, done func(group.Code)) {
	if len(gone) == 0 {
		done(group.None)
		return
	}
	chunk, rest := gone, []group.Partition(nil)
	if len(gone) > tombstonesAtOnce {
		chunk, rest = gone[:tombstonesAtOnce], gone[tombstonesAtOnce:]
	}
	var records []record
	for _, p := range chunk {
		if key, err := group.AppendKey(nil, group.Key{Kind: group.OffsetKey, Group: e.ID(), Partition: p}); err == nil {
			records = append(records, record{key: key})
		}
	}
	s.write(records, func(code group.Code) {
		if code != group.None {
			done(code)
			return
		}
		for _, p := range chunk {
			e.Forget(p)
		}
		s.settle(e, group.Effects{})
		s.forget(e, rest, done)
	})
}
