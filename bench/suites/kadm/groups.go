package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

var groupChecks = []check{
	{"FindGroupCoordinators", func(ctx context.Context, e *env) error {
		r := e.FindGroupCoordinators(ctx, e.group, "another")
		return errors.Join(r.Error(), want(len(r) == 2 && r[e.group].NodeID == 1, "%+v", r))
	}},
	{"FetchOffsets/unknown", func(ctx context.Context, e *env) error {
		r, err := e.FetchOffsets(ctx, e.group)
		return errors.Join(err, want(len(r) == 0, "%+v", r))
	}},
	{"CommitOffsets", func(ctx context.Context, e *env) error {
		o := kadm.Offsets{}
		o.Add(kadm.Offset{Topic: e.topic, Partition: 0, At: 3, LeaderEpoch: 0, Metadata: "m"})
		o.AddOffset(e.topic, 1, 4, -1)
		r, err := e.CommitOffsets(ctx, e.group, o)
		return errors.Join(err, r.Error())
	}},
	{"CommitOffsets/absent", func(ctx context.Context, e *env) error {
		o := kadm.Offsets{}
		o.AddOffset("absent", 0, 3, -1)
		r, err := e.CommitOffsets(ctx, e.group, o)
		return errors.Join(err, want(errors.Is(r.Error(), kerr.UnknownTopicOrPartition), "%v", r.Error()))
	}},
	{"FetchOffsets", func(ctx context.Context, e *env) error {
		r, err := e.FetchOffsets(ctx, e.group)
		o, _ := r.Lookup(e.topic, 0)
		return errors.Join(err, r.Error(), want(o.At == 3 && o.Metadata == "m" && len(r[e.topic]) == 2, "%+v", r))
	}},
	{"FetchOffsetsForTopics", func(ctx context.Context, e *env) error {
		r, err := e.FetchOffsetsForTopics(ctx, e.group, e.topic)
		o, _ := r.Lookup(e.topic, 2)
		return errors.Join(err, r.Error(), want(o.At == -1, "%+v", r))
	}},
	{"FetchManyOffsets", func(ctx context.Context, e *env) error {
		r := e.FetchManyOffsets(ctx, e.group, "nobody")
		return errors.Join(r.Error(), want(len(r) == 2 && len(r[e.group].Fetched[e.topic]) == 2, "%+v", r))
	}},
	{"CommitOffsetsByID", func(ctx context.Context, e *env) error {
		t, err := e.ListTopics(ctx, e.topic)
		if err != nil {
			return err
		}
		o := kadm.OffsetsByID{}
		o.Add(kadm.Offset{Topic: e.topic, TopicID: t[e.topic].ID, Partition: 2, At: 5, LeaderEpoch: -1})
		r, err := e.CommitOffsetsByID(ctx, e.group, o)
		return errors.Join(err, r.Error())
	}},
	{"FetchOffsetsByID", func(ctx context.Context, e *env) error {
		r, err := e.FetchOffsetsByID(ctx, e.group)
		return errors.Join(err, r.Error(), want(len(r) == 1, "%+v", r))
	}},
	{"DescribeGroups/empty", func(ctx context.Context, e *env) error {
		r, err := e.DescribeGroups(ctx, e.group)
		return errors.Join(err, r.Error(), want(r[e.group].State == "Empty", "state %q", r[e.group].State))
	}},
	{"DescribeGroups/absent", func(ctx context.Context, e *env) error {
		r, err := e.DescribeGroups(ctx, "nobody")
		return errors.Join(err, want(errors.Is(r["nobody"].Err, kerr.GroupIDNotFound) || r["nobody"].State == "Dead", "%+v", r["nobody"]))
	}},
	{"DeleteOffsets", func(ctx context.Context, e *env) error {
		r, err := e.DeleteOffsets(ctx, e.group, kadm.TopicsSet{e.topic: {1: {}}})
		return errors.Join(err, r.Error())
	}},
	{"member", member},
	{"ListGroups", func(ctx context.Context, e *env) error {
		r, err := e.ListGroups(ctx)
		return errors.Join(err, want(r[e.group].Group == e.group && r[e.group].ProtocolType == "consumer", "%+v", r))
	}},
	{"ListGroups/state", func(ctx context.Context, e *env) error {
		r, err := e.ListGroups(ctx, "Dead")
		return errors.Join(err, want(r[e.group].Group == "", "%+v", r))
	}},
	{"ListGroupsByType", func(ctx context.Context, e *env) error {
		r, err := e.ListGroupsByType(ctx, []string{"classic"})
		return errors.Join(err, want(r[e.group].Group == e.group, "%+v", r))
	}},
	{"LeaveGroup/absent", func(ctx context.Context, e *env) error {
		r, err := e.LeaveGroup(ctx, kadm.LeaveGroup(e.group).InstanceIDs("nobody"))
		return want(err != nil || r.Error() != nil, "an absent member left")
	}},
	{"DeleteGroups", func(ctx context.Context, e *env) error {
		r, err := e.DeleteGroups(ctx, e.group)
		return errors.Join(err, r.Error())
	}},
	{"DeleteGroups/absent", func(ctx context.Context, e *env) error {
		r, err := e.DeleteGroups(ctx, e.group)
		return errors.Join(err, want(errors.Is(r[e.group].Err, kerr.GroupIDNotFound), "%v", r[e.group].Err))
	}},
}

// member joins the group and looks at it from outside: described, lagging, not to be deleted, gone.
func member(ctx context.Context, e *env) error {
	seeds := e.kgo.OptValue(kgo.SeedBrokers).([]string)
	cl, err := kgo.NewClient(kgo.SeedBrokers(seeds...), kgo.ConsumerGroup(e.group), kgo.ConsumeTopics(e.topic), kgo.InstanceID("instance"), kgo.DisableAutoCommit())
	if err != nil {
		return err
	}
	defer cl.Close()
	for cl.PollFetches(ctx).NumRecords() == 0 {
		if ctx.Err() != nil {
			return fmt.Errorf("no records for the group: %w", ctx.Err())
		}
	}
	r, err := e.DescribeGroups(ctx, e.group)
	g := r[e.group]
	if err = errors.Join(err, r.Error(), want(g.State == "Stable" && len(g.Members) == 1 && g.Protocol == "cooperative-sticky" && *g.Members[0].InstanceID == "instance",
		"%+v", g)); err != nil {
		return err
	}
	l, err := e.Lag(ctx, e.group)
	if err = errors.Join(err, l.Error(), want(l[e.group].Lag.Total() > 0, "lag %+v", l)); err != nil {
		return err
	}
	d, err := e.DeleteGroups(ctx, e.group)
	if err = errors.Join(err, want(errors.Is(d[e.group].Err, kerr.NonEmptyGroup), "delete a group with a member: %v", d[e.group].Err)); err != nil {
		return err
	}
	cl.Close()
	left, err := e.LeaveGroup(ctx, kadm.LeaveGroup(e.group).InstanceIDs("instance"))
	return errors.Join(err, left.Error())
}

// laterChecks are of requests that Kafka serves and that chronik does not advertise yet.
var laterChecks = []check{
	{"DescribeACLs", func(ctx context.Context, e *env) error {
		_, err := e.DescribeACLs(ctx, kadm.NewACLs().Topics("x").Allow().AllowHosts().Operations().ResourcePatternType(kadm.ACLPatternLiteral))
		return err
	}},
	{"DescribeClientQuotas", func(ctx context.Context, e *env) error {
		_, err := e.DescribeClientQuotas(ctx, false, nil)
		return err
	}},
	{"DescribeUserSCRAMs", func(ctx context.Context, e *env) error { _, err := e.DescribeUserSCRAMs(ctx); return err }},
	{"ElectLeaders", func(ctx context.Context, e *env) error {
		_, err := e.ElectLeaders(ctx, kadm.ElectPreferredReplica, kadm.TopicsSet{e.topic: {0: {}}})
		return err
	}},
	{"ListPartitionReassignments", func(ctx context.Context, e *env) error { _, err := e.ListPartitionReassignments(ctx, nil); return err }},
	{"DescribeProducers", func(ctx context.Context, e *env) error {
		_, err := e.DescribeProducers(ctx, kadm.TopicsSet{e.topic: {0: {}}})
		return err
	}},
	{"ListTransactions", func(ctx context.Context, e *env) error { _, err := e.ListTransactions(ctx, nil, nil); return err }},
	{"FindTxnCoordinators", func(ctx context.Context, e *env) error { return e.FindTxnCoordinators(ctx, "tx").Error() }},
	{"ListConfigResources", func(ctx context.Context, e *env) error { _, err := e.ListConfigResources(ctx); return err }},
	{"AlterTopicConfigsState", func(ctx context.Context, e *env) error {
		value := "100000001"
		r, err := e.AlterTopicConfigsState(ctx, []kadm.AlterConfig{{Name: "retention.ms", Value: &value}}, e.topic)
		if err == nil && len(r) == 1 {
			err = r[0].Err
		}
		return err
	}},
}

var lastChecks = []check{
	{"DeleteTopics", func(ctx context.Context, e *env) error {
		r, err := e.DeleteTopics(ctx, e.topic)
		return errors.Join(err, r.Error())
	}},
	{"DeleteTopics/absent", func(ctx context.Context, e *env) error {
		deadline := time.Now().Add(5 * time.Second) // Kafka answers the first after others know
		for {
			r, err := e.DeleteTopics(ctx, e.topic)
			if err == nil && errors.Is(r[e.topic].Err, kerr.UnknownTopicOrPartition) {
				return nil
			}
			if time.Now().After(deadline) {
				return fmt.Errorf("%w, %w", err, r[e.topic].Err)
			}
		}
	}},
}
