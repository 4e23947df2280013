package main

import (
	"fmt"
	"io"
	"sort"
	"strconv"

	"github.com/twmb/franz-go/pkg/kadm"
)

// groupInfo is what `group describe` says of a group.
type groupInfo struct {
	Group       string        `json:"group"`
	State       string        `json:"state"`
	Type        string        `json:"type"`     // classic, or consumer for KIP-848
	Assignor    string        `json:"assignor"` // empty without members
	Coordinator int32         `json:"coordinator"`
	Lag         int64         `json:"lag"` // records, of the partitions with a committed offset
	Uncommitted int           `json:"uncommitted"`
	Members     []groupMember `json:"members"`
	Partitions  []groupOffset `json:"partitions"`
}

type groupMember struct {
	Member   string      `json:"member"`
	Instance string      `json:"instance,omitempty"` // of static members
	Client   string      `json:"client"`
	Host     string      `json:"host"`
	Assigned []partition `json:"assigned"`
}

type groupOffset struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Committed *int64 `json:"committed"` // null = nothing committed
	Start     *int64 `json:"start"`     // null = the partition is gone, or does not answer
	End       *int64 `json:"end"`
	Lag       *int64 `json:"lag"`
	Metadata  string `json:"metadata,omitempty"`
	Member    string `json:"member,omitempty"`
	Client    string `json:"client,omitempty"`
	Host      string `json:"host,omitempty"`
	Note      string `json:"note,omitempty"`
	epoch     int32
}

// describeGroup asks for members, commits and the ends of partitions, of a group of either protocol.
func (s *session) describeGroup(name string) (*groupInfo, error) {
	g, err := s.groupMembers(name)
	if err != nil {
		return nil, err
	}
	var commits kadm.OffsetResponses
	err = s.patiently(func() (err error) {
		commits, err = s.admin.FetchOffsets(s.ctx, name)
		return err
	})
	if err != nil {
		return nil, s.failed("read the offsets of group "+name, err)
	}
	offsets := map[partition]*groupOffset{}
	at := func(topic string, number int32) *groupOffset {
		p := partition{topic, number}
		if offsets[p] == nil {
			offsets[p] = &groupOffset{Topic: topic, Partition: number, epoch: -1}
		}
		return offsets[p]
	}
	topics := map[string]bool{}
	commits.Each(func(c kadm.OffsetResponse) {
		if c.Err == nil && c.At >= 0 {
			o := at(c.Topic, c.Partition)
			o.Committed, o.Metadata, o.epoch = &c.At, c.Metadata, c.LeaderEpoch
			topics[c.Topic] = true
		}
	})
	for _, m := range g.Members {
		for _, p := range m.Assigned {
			o := at(p.Topic, p.Partition)
			o.Member, o.Client, o.Host = m.Member, m.Client, m.Host
			topics[p.Topic] = true
		}
	}
	if err := s.addEnds(offsets, topics); err != nil {
		return nil, err
	}
	for _, o := range offsets {
		g.add(o)
	}
	sort.Slice(g.Partitions, func(i, j int) bool {
		a, b := g.Partitions[i], g.Partitions[j]
		return a.Topic < b.Topic || a.Topic == b.Topic && a.Partition < b.Partition
	})
	return g, nil
}

// groupMembers asks for state and members: in the classic protocol, then, if there is no such group, in that of KIP-848.
func (s *session) groupMembers(name string) (*groupInfo, error) {
	var d kadm.DescribedGroup
	err := s.patiently(func() error {
		described, err := s.admin.DescribeGroups(s.ctx, name)
		d = described[name]
		return firstError(s.explained(err), d.Err)
	})
	if d.Err == nil && err != nil {
		return nil, s.failed("describe group "+name, err)
	}
	if absent(d.State, d.Err) {
		return s.newGroupMembers(name)
	}
	if d.Err != nil {
		return nil, s.failed("describe group "+name, brokerError(d.Err, d.ErrMessage))
	}
	g := &groupInfo{
		Group: name, State: d.State, Type: "classic", Assignor: d.Protocol, Coordinator: d.Coordinator.NodeID,
		Members: []groupMember{}, Partitions: []groupOffset{},
	}
	for _, m := range d.Members {
		member := groupMember{Member: m.MemberID, Instance: deref(m.InstanceID), Client: m.ClientID, Host: m.ClientHost, Assigned: []partition{}}
		if c, ok := m.Assigned.AsConsumer(); ok {
			for _, t := range c.Topics {
				for _, number := range t.Partitions {
					member.Assigned = append(member.Assigned, partition{t.Topic, number})
				}
			}
		}
		g.Members = append(g.Members, member)
	}
	return g, nil
}

func (s *session) newGroupMembers(name string) (*groupInfo, error) {
	described, err := s.admin.DescribeConsumerGroups(s.ctx, name)
	d, ok := described[name]
	if err != nil || !ok || d.Err != nil { // also: the brokers do not know KIP-848
		return nil, s.noGroup(name)
	}
	g := &groupInfo{
		Group: name, State: d.State, Type: "consumer", Assignor: d.AssignorName, Coordinator: d.Coordinator.NodeID,
		Members: []groupMember{}, Partitions: []groupOffset{},
	}
	for _, m := range d.Members {
		member := groupMember{Member: m.MemberID, Instance: deref(m.InstanceID), Client: m.ClientID, Host: m.ClientHost, Assigned: []partition{}}
		for _, t := range m.Assignment.Sorted() {
			for _, number := range t.Partitions {
				member.Assigned = append(member.Assigned, partition{t.Topic, number})
			}
		}
		g.Members = append(g.Members, member)
	}
	return g, nil
}

// addEnds fills in start and end of partitions that still exist.
func (s *session) addEnds(offsets map[partition]*groupOffset, topics map[string]bool) error {
	if len(topics) == 0 {
		return nil
	}
	names := make([]string, 0, len(topics))
	for t := range topics {
		names = append(names, t)
	}
	starts, err := s.admin.ListStartOffsets(s.ctx, names...)
	if err != nil {
		return s.failed("read the start offsets", err)
	}
	ends, err := s.admin.ListEndOffsets(s.ctx, names...)
	if err != nil {
		return s.failed("read the end offsets", err)
	}
	for p, o := range offsets {
		if l, ok := starts.Lookup(p.Topic, p.Partition); ok && l.Err == nil {
			o.Start = &l.Offset
		}
		if l, ok := ends.Lookup(p.Topic, p.Partition); ok && l.Err == nil {
			o.End = &l.Offset
		}
	}
	return nil
}

// add judges a partition and counts it.
func (g *groupInfo) add(o *groupOffset) {
	switch {
	case o.End == nil:
		o.Note = "the partition does not exist or has no leader"
	case o.Committed == nil:
		g.Uncommitted++
	case *o.Committed > *o.End:
		o.Lag, o.Note = new(int64), fmt.Sprintf("committed %d past the end", *o.Committed-*o.End)
	default:
		lag := *o.End - *o.Committed
		o.Lag = &lag
		g.Lag += lag
		if *o.Committed < *o.Start && lag > 0 {
			o.Note = fmt.Sprintf("%s gone before it was read", counted(*o.Start-*o.Committed, "record"))
		}
	}
	g.Partitions = append(g.Partitions, *o)
}

// committed counts the partitions with a committed offset.
func (g *groupInfo) committed() int {
	n := 0
	for _, p := range g.Partitions {
		if p.Committed != nil {
			n++
		}
	}
	return n
}

func (g *groupInfo) text(w io.Writer) error {
	fmt.Fprintf(w, "group %s: %s, %s, lag %d", g.Group, g.State, counted(len(g.Members), "member"), g.Lag)
	if g.Uncommitted > 0 {
		fmt.Fprintf(w, ", %s without a committed offset", counted(g.Uncommitted, "partition"))
	}
	if g.Assignor != "" {
		fmt.Fprintf(w, ", assignor %s", g.Assignor)
	}
	fmt.Fprintf(w, ", coordinator %d\n", g.Coordinator)
	rows := &table{w: w, headers: []string{"topic", "partition", "committed", "end", "lag", "client", "host", "note"}}
	for _, p := range g.Partitions {
		lag := "-"
		if p.Lag != nil {
			lag = strconv.FormatInt(*p.Lag, 10)
		}
		committed := "-"
		if p.Committed != nil {
			committed = strconv.FormatInt(*p.Committed, 10)
		}
		if err := rows.Row(p.Topic, strconv.Itoa(int(p.Partition)), committed, offsetText(p.End), lag, orDash(p.Client), orDash(p.Host), p.Note); err != nil {
			return err
		}
	}
	if err := rows.Flush(); err != nil {
		return err
	}
	for _, m := range g.Members {
		if len(m.Assigned) == 0 {
			fmt.Fprintf(w, "member %s at %s has no partitions\n", m.Member, m.Host)
		}
	}
	return nil
}
