package group

import (
	"encoding/binary"
	"sort"
)

// Offset is one committed offset.
type Offset struct {
	Offset      int64
	LeaderEpoch int32 // of the record before, -1 = unknown
	Metadata    string
	CommitTime  int64
	ExpireTime  int64    // -1 = by offsets.retention.minutes; set by OffsetCommit v2-4 only
	TopicID     [16]byte // zero = unknown
}

// Partition names one partition of a topic.
type Partition struct {
	Topic string
	Index int32
}

// offsets are the committed offsets of a group.
type offsets struct {
	committed map[string]map[int32]Offset
	writing   map[Partition]int // commits begun and not ended
}

func newOffsets() offsets {
	return offsets{committed: map[string]map[int32]Offset{}, writing: map[Partition]int{}}
}

// ValidateCommit says whether a member, or nobody in particular (generation -1 and no ids), may commit offsets now. A member's session
// goes on.
func (g *Group) ValidateCommit(now int64, memberID, instanceID string, generation int32) Code {
	switch {
	case g.state == Dead:
		return NotAvailable
	case generation < 0 && g.state == Empty:
		return None // no member, or one that does without group management
	case generation < 0 && memberID == "" && instanceID == "":
		return UnknownMemberID // a group with members belongs to them
	}
	m, code := g.check(memberID, instanceID)
	switch {
	case code != None:
		return code
	case generation != g.generation:
		return IllegalGeneration
	case g.state == CompletingRebalance:
		return RebalanceInProgress
	}
	g.touch(now, m)
	return None
}

// BeginCommit announces the commit of an offset that is being written: it does not expire meanwhile.
func (g *Group) BeginCommit(p Partition) { g.offsets.writing[p]++ }

// EndCommit ends a BeginCommit; ok says that the offset is durable, which makes it the current one.
func (g *Group) EndCommit(p Partition, o Offset, ok bool) {
	if g.offsets.writing[p]--; g.offsets.writing[p] <= 0 {
		delete(g.offsets.writing, p)
	}
	if ok {
		g.SetOffset(p, o)
	}
}

// SetOffset makes an offset the current one.
func (g *Group) SetOffset(p Partition, o Offset) {
	topic := g.offsets.committed[p.Topic]
	if topic == nil {
		topic = map[int32]Offset{}
		g.offsets.committed[p.Topic] = topic
	}
	topic[p.Index] = o
}

// Forget removes an offset.
func (g *Group) Forget(p Partition) {
	topic := g.offsets.committed[p.Topic]
	delete(topic, p.Index)
	if len(topic) == 0 {
		delete(g.offsets.committed, p.Topic)
	}
}

// Offset returns a committed offset.
func (g *Group) Offset(p Partition) (Offset, bool) {
	o, ok := g.offsets.committed[p.Topic][p.Index]
	return o, ok
}

// Offsets returns every partition with a committed offset, sorted.
func (g *Group) Offsets() []Partition {
	return g.partitions(func(Partition, Offset) bool { return true })
}

// Removable says that nothing is left of the group but its name: it is empty, holds no offset and none is being written.
func (g *Group) Removable() bool {
	return g.state == Empty && len(g.offsets.committed) == 0 && len(g.offsets.writing) == 0 && len(g.pending) == 0
}

// Traces returns every partition of which __consumer_offsets holds, or may soon hold, an offset of the group: committed or being written.
// topics limits it to some topics, nil to none. Sorted.
func (g *Group) Traces(topics map[string]bool) []Partition {
	in := func(p Partition) bool { return topics == nil || topics[p.Topic] }
	all := g.partitions(func(p Partition, _ Offset) bool { return in(p) })
	for p := range g.offsets.writing {
		if _, committed := g.Offset(p); !committed && in(p) {
			all = append(all, p)
		}
	}
	return sortPartitions(all)
}

// Expired returns the partitions whose offsets have outlived retention (milliseconds): in an empty group since it became empty, in a stable
// one those of topics that it does not subscribe, in a group without members ever since their commit (KIP-211).
func (g *Group) Expired(now, retention int64) []Partition {
	since := func(o Offset) int64 { return o.CommitTime }
	switch {
	case g.protocolType == "":
	case g.state == Empty:
		if g.stateSince >= 0 {
			since = func(Offset) int64 { return g.stateSince }
		}
	case g.state == Stable && g.protocolType == consumerType && g.topicsKnown:
	default:
		return nil
	}
	return g.partitions(func(p Partition, o Offset) bool {
		if g.offsets.writing[p] > 0 || g.topicsKnown && g.topics[p.Topic] {
			return false
		}
		if o.ExpireTime >= 0 {
			return now >= o.ExpireTime
		}
		return now-since(o) >= retention
	})
}

func (g *Group) partitions(keep func(Partition, Offset) bool) []Partition {
	var all []Partition
	for topic, parts := range g.offsets.committed {
		for index, o := range parts {
			if p := (Partition{topic, index}); keep(p, o) {
				all = append(all, p)
			}
		}
	}
	return sortPartitions(all)
}

func sortPartitions(all []Partition) []Partition {
	sort.Slice(all, func(i, j int) bool {
		if all[i].Topic != all[j].Topic {
			return all[i].Topic < all[j].Topic
		}
		return all[i].Index < all[j].Index
	})
	return all
}

// consumerType is the protocol type of Kafka's consumers, whose metadata names the topics.
const consumerType = "consumer"

// Subscribes says whether the group is known, or must be assumed, to consume a topic.
func (g *Group) Subscribes(topic string) bool {
	if g.topicsKnown {
		return g.topics[topic]
	}
	return g.protocolType == consumerType
}

// ValidateDeleteOffsets says whether offsets may be deleted now; topics that the group consumes are refused one by one.
func (g *Group) ValidateDeleteOffsets() Code {
	switch {
	case g.state == Dead:
		return GroupIDNotFound
	case g.state != Empty && g.protocolType != consumerType:
		return NonEmptyGroup
	}
	return None
}

// ValidateDelete says whether the group may be deleted now.
func (g *Group) ValidateDelete() Code {
	switch g.state {
	case Dead:
		return GroupIDNotFound
	case Empty:
		return None
	}
	return NonEmptyGroup
}

// learnTopics reads the subscriptions of a new generation's members, if they are consumers.
func (g *Group) learnTopics() {
	g.topics, g.topicsKnown = nil, false
	if g.protocolType != consumerType {
		return
	}
	topics := map[string]bool{}
	for _, m := range g.members {
		names, ok := subscription(m.metadata(g.protocol))
		if !ok {
			return
		}
		for _, n := range names {
			topics[n] = true
		}
	}
	g.topics, g.topicsKnown = topics, true
}

// subscription reads the topics of a ConsumerProtocolSubscription, any version: int16 version, array of strings.
func subscription(b []byte) ([]string, bool) {
	if len(b) < 6 {
		return nil, false
	}
	count := int32(binary.BigEndian.Uint32(b[2:]))
	b = b[6:]
	if count < 0 || int(count) > len(b)/2 {
		return nil, false
	}
	names := make([]string, 0, count)
	for range count {
		if len(b) < 2 {
			return nil, false
		}
		n := int(int16(binary.BigEndian.Uint16(b)))
		if n < 0 || n > len(b)-2 {
			return nil, false
		}
		names = append(names, string(b[2:2+n]))
		b = b[2+n:]
	}
	return names, true
}
