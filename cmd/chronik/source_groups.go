package main

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"chronik.dev/chronik/broker/admin"
)

// Groups asks the coordinator as a Kafka client would, without a connection.
func (s *source) Groups() ([]admin.Group, error) {
	c := s.server.broker.Groups()
	listed := await(c.ListGroups, kmsg.NewPtrListGroupsRequest())
	if err := kerr.ErrorForCode(listed.ErrorCode); err != nil {
		return nil, fmt.Errorf("groups are not known yet: %w", err)
	}
	describe, fetch := kmsg.NewPtrDescribeGroupsRequest(), kmsg.NewPtrOffsetFetchRequest()
	fetch.Version = 8
	for _, g := range listed.Groups {
		describe.Groups = append(describe.Groups, g.Group)
		fetch.Groups = append(fetch.Groups, kmsg.OffsetFetchRequestGroup{Group: g.Group})
	}
	described, fetched := await(c.DescribeGroups, describe), await(c.OffsetFetch, fetch)
	all := make([]admin.Group, 0, len(listed.Groups))
	for i := range described.Groups {
		d := &described.Groups[i]
		g := admin.Group{Name: d.Group, State: d.State, Type: d.ProtocolType, Protocol: d.Protocol, Members: []admin.GroupMember{}, Partitions: []admin.GroupPartition{}}
		for j := range d.Members {
			g.Members = append(g.Members, memberOf(&d.Members[j], d.ProtocolType))
		}
		for _, t := range fetched.Groups[i].Topics {
			for _, p := range t.Partitions {
				g.Partitions = append(g.Partitions, s.standing(t.Topic, &p))
			}
		}
		all = append(all, g)
	}
	slices.SortFunc(all, func(a, b admin.Group) int { return cmp.Compare(a.Name, b.Name) })
	return all, nil
}

// await calls a method of the coordinator and waits for its answer.
func await[Q, R any](method func(Q, func(R)), req Q) R {
	answer := make(chan R, 1)
	method(req, func(r R) { answer <- r })
	return <-answer
}

func partitionName(topic string, number int32) string { return fmt.Sprintf("%s-%d", topic, number) }

// standing is how far a group is in a partition; the end of one that is not served here is -1.
func (s *source) standing(topic string, p *kmsg.OffsetFetchResponseGroupTopicPartition) admin.GroupPartition {
	at := admin.GroupPartition{Topic: topic, Partition: p.Partition, Committed: p.Offset, End: -1}
	if l, err := s.server.broker.Log(topic, p.Partition); err == nil {
		at.End = l.HighWatermark()
		at.Lag = max(0, at.End-p.Offset)
	}
	return at
}

func memberOf(m *kmsg.DescribeGroupsResponseGroupMember, kind string) admin.GroupMember {
	member := admin.GroupMember{ID: m.MemberID, Client: m.ClientID, Host: m.ClientHost, Partitions: []string{}}
	if m.InstanceID != nil {
		member.Instance = *m.InstanceID
	}
	var assigned kmsg.ConsumerMemberAssignment
	if kind != "consumer" || assigned.ReadFrom(m.MemberAssignment) != nil {
		return member // not a consumer, or nothing assigned yet
	}
	for _, t := range assigned.Topics {
		for _, p := range t.Partitions {
			member.Partitions = append(member.Partitions, partitionName(t.Topic, p))
		}
	}
	return member
}
