package coordinator

import (
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func (s *scenario) run() {
	s.unknown()
	s.simple()
	s.dynamic()
	s.static()
}

// unknown asks for groups that do not exist, and badly.
func (s *scenario) unknown() {
	none := "none" + s.unique
	s.do("join without a group", join(9, "", "", "", "consumer", "range:a"))
	short := join(9, none, "", "", "consumer", "range:a")
	short.SessionTimeoutMillis = 1
	s.do("join with a short session", short)
	s.do("join as an unknown member", join(9, none, "x", "", "consumer", "range:a"))
	s.do("join without protocols", join(9, "other"+s.unique+"1", "", "", "consumer"))
	s.do("join without a type", join(5, "other"+s.unique+"2", "", "", "", "range:a"))
	s.do("sync of an unknown group", synced(5, none, "x", "", 1, "consumer", "range"))
	s.do("sync v5 without a protocol", synced(5, none, "x", "", 1, "", ""))
	s.do("sync without a group", synced(3, "", "x", "", 1, "", ""))
	s.do("heartbeat of an unknown group", beat(none, "x", "", 1))
	s.do("heartbeat without a group", beat("", "x", "", 1))
	s.do("leave v5 an unknown group", leave(5, none, "x", "@i"))
	s.do("leave v2 an unknown group", leave(2, none, "x"))
	s.do("leave without a group", leave(5, "", "x"))
	s.do("commit v9 to an unknown group", commit(9, none, "x", 1, "gt", 0))
	s.do("commit v8 to an unknown group", commit(8, none, "x", 1, "gt", 0))
	s.do("commit of an unknown topic", commit(8, none, "", -1, "nope", 0))
	for v := int16(1); v < 10; v++ {
		s.do(fmt.Sprintf("fetch v%d of an unknown group", v), fetch(v, none, "gt", 0, 1))
	}
	s.do("fetch v5 of all of an unknown group", fetch(5, none, ""))
	s.do("fetch v9 of all of an unknown group", fetch(9, none, ""))
	s.do("fetch of an unknown topic", fetch(9, none, "nope", 0))
	s.do("describe v5 an unknown group", &kmsg.DescribeGroupsRequest{Version: 5, Groups: []string{none}})
	s.describe("describe v6 an unknown group", none)
	s.delete("delete an unknown group", none)
	s.do("delete offsets of an unknown group", forget(none, "gt", 0))
	s.do("delete offsets without a group", forget("", "gt", 0))
}

// simple uses a group that only keeps offsets.
func (s *scenario) simple() {
	g := "simple" + s.unique
	s.do("commit v8", commit(8, g, "", -1, "gt", 0, 1, 99))
	s.do("commit v2", commit(2, g, "", -1, "gt", 2))
	s.do("fetch v7 all", fetch(7, g, ""))
	s.do("fetch v8", fetch(8, g, "gt", 0, 5))
	s.do("commit with a member", commit(8, g, "x", -1, "gt", 0))
	s.do("commit with a generation", commit(8, g, "x", 3, "gt", 0))
	s.describe("describe", g)
	s.do("list stable", &kmsg.ListGroupsRequest{Version: 5, StatesFilter: []string{"stable"}})
	s.do("delete offsets", forget(g, "gt", 0, 1, 99))
	s.do("fetch what is left", fetch(7, g, ""))
	s.delete("delete", g)
	s.describe("describe what was deleted", g)
}

// dynamic has two members join, fail and leave.
func (s *scenario) dynamic() {
	g := "g" + s.unique
	one := s.do("join 1", join(9, g, "", "", "consumer", "range:a")).(*kmsg.JoinGroupResponse).MemberID
	s.do("heartbeat before the join", beat(g, one, "", 0))
	s.describe("describe before the join", g)
	s.do("join 1 with its id", join(9, g, one, "", "consumer", "range:a", "rr:a"))
	s.describe("describe before the sync", g)
	s.do("commit before the sync", commit(8, g, one, 1, "gt", 0))
	s.do("commit of nobody", commit(8, g, "", -1, "gt", 0))
	s.do("commit of a member without generation", commit(8, g, one, -1, "gt", 0))
	s.do("sync of another generation", synced(5, g, one, "", 7, "consumer", "range"))
	s.do("sync of another protocol", synced(5, g, one, "", 1, "consumer", "rr"))
	s.do("sync of another type", synced(5, g, one, "", 1, "connect", "range"))
	s.do("sync", synced(5, g, one, "", 1, "consumer", "range", one+"=A"))
	s.do("sync v3 again", synced(3, g, one, "", 1, "", ""))
	s.describe("describe", g)
	s.delete("delete with a member", g)
	s.do("commit", commit(8, g, one, 1, "gt", 0))
	s.do("delete offsets of who knows which topics", forget(g, "gt", 0))
	s.do("heartbeat", beat(g, one, "", 1))
	s.do("heartbeat of another generation", beat(g, one, "", 2))
	s.do("join with another protocol", join(3, g, "", "", "consumer", "other:b"))
	s.do("join with another type", join(3, g, "", "", "connect", "range:b"))

	joining := s.later("join 2", join(3, g, "", "", "consumer", "range:b"))
	s.do("heartbeat in the rebalance", beat(g, one, "", 1))
	s.do("sync in the rebalance", synced(3, g, one, "", 1, "", ""))
	s.do("commit in the rebalance", commit(8, g, one, 1, "gt", 1))
	s.describe("describe in the rebalance", g)
	s.do("join 1 in the rebalance", join(9, g, one, "", "consumer", "range:a"))
	two := joining().(*kmsg.JoinGroupResponse).MemberID
	syncing := s.later("sync 2", synced(5, g, two, "", 2, "consumer", "range"))
	s.describe("describe before the leader's sync", g)
	s.do("join 1, whose answer was lost", join(9, g, one, "", "consumer", "range:a"))
	s.do("sync 1", synced(5, g, one, "", 2, "consumer", "range", one+"=A", two+"=B"))
	syncing()
	s.do("join 2 with nothing new", join(7, g, two, "", "consumer", "range:b"))
	s.do("leave 1 and others", leave(5, g, one, "x", "@i"))
	s.do("heartbeat 2", beat(g, two, "", 2))
	s.do("leave 2", leave(1, g, two))
	s.describe("describe when empty", g)
	s.do("join with an old id", join(9, g, one, "", "consumer", "range:a"))
	s.do("commit of nobody when empty", commit(8, g, "", -1, "gt", 2))
	s.do("fetch", fetch(9, g, "gt", 0, 1, 2))
	s.delete("delete", g)
}

// static has a member with an instance id come back.
func (s *scenario) static() {
	g := "static" + s.unique
	a := s.do("join", join(9, g, "", "i1", "consumer", "range:a")).(*kmsg.JoinGroupResponse).MemberID
	s.do("sync", synced(5, g, a, "i1", 1, "consumer", "range", a+"=A"))
	b := s.do("join again", join(9, g, "", "i1", "consumer", "range:a")).(*kmsg.JoinGroupResponse).MemberID
	s.do("heartbeat with the old id", beat(g, a, "i1", 1))
	s.do("heartbeat of an unknown instance", beat(g, b, "i9", 1))
	s.do("join with the old id", join(9, g, a, "i1", "consumer", "range:a"))
	old := commit(8, g, a, 1, "gt", 0)
	old.InstanceID = kmsg.StringPtr("i1")
	s.do("commit with the old id", old)
	s.do("join v5 again", join(5, g, "", "i1", "consumer", "range:a"))
	s.describe("describe", g)
	s.do("leave of an unknown instance", leave(5, g, "@i9"))
	wrong := leave(5, g, a)
	wrong.Members[0].InstanceID = kmsg.StringPtr("i1")
	s.do("leave with the old id", wrong)
	s.do("join with another protocol", join(9, g, "", "i1", "consumer", "rr:a"))
	s.do("leave", leave(5, g, "@i1"))
	s.describe("describe when empty", g)
}

func (s *scenario) describe(label, name string) {
	s.do(label, &kmsg.DescribeGroupsRequest{Version: 6, Groups: []string{name}})
}

func (s *scenario) delete(label, name string) {
	s.do(label, &kmsg.DeleteGroupsRequest{Version: 2, Groups: []string{name}})
}

func join(version int16, name, id, instance, kind string, protocols ...string) *kmsg.JoinGroupRequest {
	r := &kmsg.JoinGroupRequest{Version: version, Group: name, MemberID: id, InstanceID: orNull(instance), SessionTimeoutMillis: 10000,
		RebalanceTimeoutMillis: 10000, ProtocolType: kind}
	for _, p := range protocols {
		protocol, metadata, _ := strings.Cut(p, ":")
		r.Protocols = append(r.Protocols, kmsg.JoinGroupRequestProtocol{Name: protocol, Metadata: []byte(metadata)})
	}
	return r
}

func synced(version int16, name, id, instance string, generation int32, kind, protocol string, assignments ...string) *kmsg.SyncGroupRequest {
	r := &kmsg.SyncGroupRequest{Version: version, Group: name, MemberID: id, InstanceID: orNull(instance), Generation: generation,
		ProtocolType: orNull(kind), Protocol: orNull(protocol)}
	for _, a := range assignments {
		member, data, _ := strings.Cut(a, "=")
		r.GroupAssignment = append(r.GroupAssignment, kmsg.SyncGroupRequestGroupAssignment{MemberID: member, MemberAssignment: []byte(data)})
	}
	return r
}

func beat(name, id, instance string, generation int32) *kmsg.HeartbeatRequest {
	return &kmsg.HeartbeatRequest{Version: 4, Group: name, MemberID: id, InstanceID: orNull(instance), Generation: generation}
}

// leave names members by id, or by @instance.
func leave(version int16, name string, ids ...string) *kmsg.LeaveGroupRequest {
	r := &kmsg.LeaveGroupRequest{Version: version, Group: name, MemberID: ids[0]}
	for _, id := range ids {
		if instance, ok := strings.CutPrefix(id, "@"); ok {
			r.Members = append(r.Members, kmsg.LeaveGroupRequestMember{InstanceID: &instance})
		} else {
			r.Members = append(r.Members, kmsg.LeaveGroupRequestMember{MemberID: id})
		}
	}
	return r
}

func commit(version int16, name, id string, generation int32, topic string, partitions ...int32) *kmsg.OffsetCommitRequest {
	r := &kmsg.OffsetCommitRequest{Version: version, Group: name, MemberID: id, Generation: generation, RetentionTimeMillis: -1,
		Topics: []kmsg.OffsetCommitRequestTopic{{Topic: topic}}}
	for _, p := range partitions {
		r.Topics[0].Partitions = append(r.Topics[0].Partitions, kmsg.OffsetCommitRequestTopicPartition{Partition: p, Offset: int64(p) + 10,
			Metadata: kmsg.StringPtr("md")})
	}
	return r
}

// fetch asks for all offsets if topic is empty.
func fetch(version int16, name, topic string, partitions ...int32) *kmsg.OffsetFetchRequest {
	r := &kmsg.OffsetFetchRequest{Version: version, Group: name, Groups: []kmsg.OffsetFetchRequestGroup{{Group: name, MemberEpoch: -1}}}
	if topic != "" {
		r.Topics = []kmsg.OffsetFetchRequestTopic{{Topic: topic, Partitions: partitions}}
		r.Groups[0].Topics = []kmsg.OffsetFetchRequestGroupTopic{{Topic: topic, Partitions: partitions}}
	}
	return r
}

func forget(name, topic string, partitions ...int32) *kmsg.OffsetDeleteRequest {
	r := &kmsg.OffsetDeleteRequest{Group: name, Topics: []kmsg.OffsetDeleteRequestTopic{{Topic: topic}}}
	for _, p := range partitions {
		r.Topics[0].Partitions = append(r.Topics[0].Partitions, kmsg.OffsetDeleteRequestTopicPartition{Partition: p})
	}
	return r
}
