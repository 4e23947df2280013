package kafka

import (
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func (x *transcript) groups() {
	for _, c := range []struct {
		version int16
		kind    int8
		key     string
	}{{6, 0, "g"}, {0, 0, "g"}, {3, 0, "g"}, {4, 0, ""}, {6, 2, "k"}, {4, 2, "k"}, {6, 7, "k"}} {
		req := at(kmsg.NewPtrFindCoordinatorRequest(), c.version)
		req.CoordinatorKey, req.CoordinatorKeys, req.CoordinatorType = c.key, []string{c.key}, c.kind
		for range 1000 {
			resp := call1[*kmsg.FindCoordinatorResponse](x.p, req)
			code := resp.ErrorCode
			if c.version >= 4 {
				code = resp.Coordinators[0].ErrorCode
			}
			if code != 15 { // COORDINATOR_NOT_AVAILABLE: the offsets topic is being made
				x.note("coordinator", "version %d, type %d: %s", c.version, c.kind, kerrName(code))
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	x.loaded("unknown", "g", "j", "")
	x.groupOffsets()
	x.members()
}

// loaded waits until the coordinator of these groups has read its log.
func (x *transcript) loaded(groups ...string) {
	for _, group := range groups {
		req := at(kmsg.NewPtrOffsetFetchRequest(), 5)
		req.Group = group
		for range 1000 {
			if code := call1[*kmsg.OffsetFetchResponse](x.p, req).ErrorCode; code != 14 && code != 16 { // LOAD_IN_PROGRESS, NOT_COORDINATOR
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
}

func (x *transcript) groupOffsets() {
	for _, version := range []int16{1, 2, 5, 7, 8, 9} {
		req := at(kmsg.NewPtrOffsetFetchRequest(), version)
		req.Group, req.Topics = "unknown", []kmsg.OffsetFetchRequestTopic{{Topic: "t", Partitions: []int32{0, 9}}, {Topic: "absent", Partitions: []int32{0}}}
		req.Groups = []kmsg.OffsetFetchRequestGroup{{Group: "unknown", MemberEpoch: -1,
			Topics: []kmsg.OffsetFetchRequestGroupTopic{{Topic: "t", Partitions: []int32{0, 9}}, {Topic: "absent", Partitions: []int32{0}}}}}
		resp := call1[*kmsg.OffsetFetchResponse](x.p, req)
		x.note("offsets of an unknown group", "version %d: %s", version, kerrName(resp.ErrorCode))
		for _, topic := range resp.Topics {
			for _, p := range topic.Partitions {
				x.note("offsets of an unknown group", "%s-%d: %d %d %v %s", topic.Topic, p.Partition, p.Offset, p.LeaderEpoch, p.Metadata != nil, kerrName(p.ErrorCode))
			}
		}
		for _, g := range resp.Groups {
			for _, topic := range g.Topics {
				for _, p := range topic.Partitions {
					x.note("offsets of an unknown group", "%s-%d: %d %d %v %s", topic.Topic, p.Partition, p.Offset, p.LeaderEpoch, p.Metadata != nil, kerrName(p.ErrorCode))
				}
			}
		}
	}
	commit := func(name string, version int16, generation int32, member, topic string, id [16]byte, partition int32) {
		req := at(kmsg.NewPtrOffsetCommitRequest(), version)
		req.Group, req.Generation, req.MemberID = "g", generation, member
		p := kmsg.NewOffsetCommitRequestTopicPartition()
		p.Partition, p.Offset = partition, 3
		req.Topics = []kmsg.OffsetCommitRequestTopic{{Topic: topic, TopicID: id, Partitions: []kmsg.OffsetCommitRequestTopicPartition{p}}}
		r := call1[*kmsg.OffsetCommitResponse](x.p, req).Topics[0]
		x.note("commit "+name, "%s", kerrName(r.Partitions[0].ErrorCode))
	}
	commit("with a generation", 8, 5, "m", "t", x.t, 0)
	commit("with a member", 8, -1, "m", "t", x.t, 0)
	commit("simple", 2, -1, "", "t", x.t, 0)
	commit("simple", 9, -1, "", "t", x.t, 1)
	commit("by id", 10, -1, "", "", x.t, 0)
	commit("unknown id", 10, -1, "", "", [16]byte{3}, 0)
	commit("unknown topic", 8, -1, "", "absent", x.t, 0)
	commit("unknown partition", 8, -1, "", "t", x.t, 9)
	all := at(kmsg.NewPtrOffsetFetchRequest(), 8)
	all.Groups = []kmsg.OffsetFetchRequestGroup{{Group: "g", MemberEpoch: -1}}
	for _, topic := range call1[*kmsg.OffsetFetchResponse](x.p, all).Groups[0].Topics {
		n := int64(0)
		for _, p := range topic.Partitions {
			n += p.Offset
		}
		x.note("all offsets", "%s: %d partitions, sum %d", topic.Topic, len(topic.Partitions), n)
	}
	remove := func(name, group, topic string, partition int32) {
		req := kmsg.NewPtrOffsetDeleteRequest()
		req.Group = group
		req.Topics = []kmsg.OffsetDeleteRequestTopic{{Topic: topic, Partitions: []kmsg.OffsetDeleteRequestTopicPartition{{Partition: partition}}}}
		resp := call1[*kmsg.OffsetDeleteResponse](x.p, req)
		x.note("delete offset "+name, "%s", kerrName(resp.ErrorCode))
		for _, topic := range resp.Topics {
			x.note("delete offset "+name, "%s", kerrName(topic.Partitions[0].ErrorCode))
		}
	}
	remove("of an unknown group", "unknown", "t", 0)
	remove("of an unknown topic", "g", "absent", 0)
	remove("good", "g", "t", 0)
}

func (x *transcript) members() {
	join := func(name string, version int16, change func(r *kmsg.JoinGroupRequest)) *kmsg.JoinGroupResponse {
		req := at(kmsg.NewPtrJoinGroupRequest(), version)
		req.Group, req.ProtocolType, req.SessionTimeoutMillis, req.RebalanceTimeoutMillis = "j", "consumer", 30_000, 30_000
		req.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range", Metadata: []byte{0, 1, 0, 0, 0, 0, 0, 0, 0, 0}}}
		if change != nil {
			change(req)
		}
		r := call1[*kmsg.JoinGroupResponse](x.p, req)
		protocol := "-"
		if r.Protocol != nil {
			protocol = *r.Protocol
		}
		x.note("join "+name, "%s, generation %d, protocol %q, member %v, leads %v, %d members", kerrName(r.ErrorCode), r.Generation, protocol, r.MemberID != "",
			r.MemberID != "" && r.LeaderID == r.MemberID, len(r.Members))
		return r
	}
	join("empty group", 4, func(r *kmsg.JoinGroupRequest) { r.Group = "" })
	join("short session", 4, func(r *kmsg.JoinGroupRequest) { r.SessionTimeoutMillis = 1 })
	join("unknown member", 4, func(r *kmsg.JoinGroupRequest) { r.MemberID = "x" })
	join("no protocols", 4, func(r *kmsg.JoinGroupRequest) { r.Protocols = nil })
	join("no protocol type", 4, func(r *kmsg.JoinGroupRequest) { r.ProtocolType = "" })
	id := join("first", 5, nil).MemberID
	first := join("second", 5, func(r *kmsg.JoinGroupRequest) { r.MemberID = id })
	beat := func(name, group, member string, generation int32) {
		req := at(kmsg.NewPtrHeartbeatRequest(), 3)
		req.Group, req.MemberID, req.Generation = group, member, generation
		x.note("heartbeat "+name, "%s", kerrName(call1[*kmsg.HeartbeatResponse](x.p, req).ErrorCode))
	}
	sync := func(name, group, member string, generation int32) {
		req := at(kmsg.NewPtrSyncGroupRequest(), 3)
		req.Group, req.MemberID, req.Generation = group, member, generation
		req.GroupAssignment = []kmsg.SyncGroupRequestGroupAssignment{{MemberID: id, MemberAssignment: []byte("assigned")}}
		r := call1[*kmsg.SyncGroupResponse](x.p, req)
		x.note("sync "+name, "%s, %q", kerrName(r.ErrorCode), r.MemberAssignment)
	}
	sync("unknown group", "unknown", "x", 1)
	sync("unknown member", "j", "x", first.Generation)
	sync("wrong generation", "j", id, first.Generation+5)
	beat("before sync", "j", id, first.Generation)
	sync("good", "j", id, first.Generation)
	beat("good", "j", id, first.Generation)
	beat("wrong generation", "j", id, 99)
	beat("unknown member", "j", "x", first.Generation)
	beat("unknown group", "unknown", "x", 1)
	beat("empty group", "", "x", 1)
	join("other protocol type", 5, func(r *kmsg.JoinGroupRequest) { r.ProtocolType = "connect" })
	join("other protocol", 5, func(r *kmsg.JoinGroupRequest) { r.Protocols[0].Name = "roundrobin" })
	x.describe("j", "unknown")
	x.deleteGroups("j", "unknown", "")
	leave := func(name, group, member string) {
		req := at(kmsg.NewPtrLeaveGroupRequest(), 3)
		req.Group, req.Members = group, []kmsg.LeaveGroupRequestMember{{MemberID: member}}
		r := call1[*kmsg.LeaveGroupResponse](x.p, req)
		x.note("leave "+name, "%s", kerrName(r.ErrorCode))
		for _, m := range r.Members {
			x.note("leave "+name, "%s", kerrName(m.ErrorCode))
		}
	}
	leave("unknown group", "unknown", "x")
	leave("unknown member", "j", "x")
	leave("good", "j", id)
	x.describe("j")
	var list *kmsg.ListGroupsResponse
	eventually(x.p.t, "all groups are loaded", func() bool {
		list = call1[*kmsg.ListGroupsResponse](x.p, at(kmsg.NewPtrListGroupsRequest(), 5))
		return list.ErrorCode != kerr.CoordinatorLoadInProgress.Code
	})
	for _, g := range []string{"g", "j"} {
		for _, l := range list.Groups {
			if l.Group == g {
				x.note("listed", "%s: %q %q %q", l.Group, l.ProtocolType, l.GroupState, l.GroupType)
			}
		}
	}
	x.deleteGroups("j")
}

func (x *transcript) describe(groups ...string) {
	for _, version := range []int16{0, 5, 6} {
		req := at(kmsg.NewPtrDescribeGroupsRequest(), version)
		req.Groups, req.IncludeAuthorizedOperations = groups, true
		described := call1[*kmsg.DescribeGroupsResponse](x.p, req).Groups // in any order
		slices.SortFunc(described, func(a, b kmsg.DescribeGroupsResponseGroup) int { return strings.Compare(a.Group, b.Group) })
		for _, g := range described {
			x.note("describe group "+g.Group, "version %d: %s, %q %q %q, %d members, operations %d", version, kerrName(g.ErrorCode), g.State, g.ProtocolType,
				g.Protocol, len(g.Members), g.AuthorizedOperations)
			for _, m := range g.Members {
				x.note("describe group "+g.Group, "%q %q %q", m.ClientID, m.ClientHost, m.MemberAssignment)
			}
		}
	}
}

func (x *transcript) deleteGroups(groups ...string) {
	req := at(kmsg.NewPtrDeleteGroupsRequest(), 2)
	req.Groups = groups
	deleted := call1[*kmsg.DeleteGroupsResponse](x.p, req).Groups // in any order
	slices.SortFunc(deleted, func(a, b kmsg.DeleteGroupsResponseGroup) int { return strings.Compare(a.Group, b.Group) })
	for _, g := range deleted {
		x.note("delete group "+g.Group, "%s", kerrName(g.ErrorCode))
	}
}
