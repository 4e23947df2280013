package coordinator

import (
	"fmt"
	"slices"
	"strings"

	"chronik.dev/chronik/broker/group"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// classicType is the type of every group here, as ListGroups v5 spells it.
const classicType = "classic"

// DescribeGroups answers DescribeGroups v0-6. AuthorizedOperations are the caller's to fill in.
func (c *Coordinator) DescribeGroups(req *kmsg.DescribeGroupsRequest, done func(*kmsg.DescribeGroupsResponse)) {
	resp := req.ResponseKind().(*kmsg.DescribeGroupsResponse)
	named := map[string]bool{}
	names := slices.DeleteFunc(slices.Clone(req.Groups), func(name string) bool {
		again := named[name]
		named[name] = true
		return again // answered once: an answer may be thousands of times as long as the question
	})
	resp.Groups = make([]kmsg.DescribeGroupsResponseGroup, len(names))
	one := gather(len(names), func() { done(resp) })
	for i, name := range names {
		g := &resp.Groups[i]
		g.Default()
		g.Group = name
		c.on(name, func(s *shard) {
			describe(g, s.get(name), req.Version)
			one()
		}, func(code group.Code) {
			g.ErrorCode = int16(code)
			one()
		})
	}
}

func describe(g *kmsg.DescribeGroupsResponseGroup, e *entry, version int16) {
	if e == nil || e.State() == group.Dead {
		g.State = group.Dead.String()
		if version >= 6 {
			g.ErrorCode = int16(group.GroupIDNotFound)
			message := fmt.Sprintf("Group %s not found.", g.Group)
			g.ErrorMessage = &message
		}
		return
	}
	d := e.Describe()
	g.State, g.ProtocolType, g.Protocol = d.State.String(), d.ProtocolType, d.Protocol
	for _, m := range d.Members {
		g.Members = append(g.Members, kmsg.DescribeGroupsResponseGroupMember{MemberID: m.ID, InstanceID: orNull(m.InstanceID),
			ClientID: m.ClientID, ClientHost: m.ClientHost, ProtocolMetadata: orEmpty(m.Metadata), MemberAssignment: orEmpty(m.Assignment)})
	}
}

func orEmpty(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// ListGroups answers ListGroups v0-5. While a partition is loading the whole answer is COORDINATOR_LOAD_IN_PROGRESS.
func (c *Coordinator) ListGroups(req *kmsg.ListGroupsRequest, done func(*kmsg.ListGroupsResponse)) {
	shards := c.all()
	parts := make([][]kmsg.ListGroupsResponseGroup, len(shards))
	codes := make([]group.Code, len(shards))
	one := gather(len(shards), func() {
		resp := req.ResponseKind().(*kmsg.ListGroupsResponse)
		for i := range shards {
			if codes[i] == group.LoadInProgress {
				resp.ErrorCode, resp.Groups = int16(codes[i]), nil
				break
			}
			resp.Groups = append(resp.Groups, parts[i]...)
		}
		done(resp)
	})
	for i, s := range shards {
		s.run(func(s *shard) {
			for name, e := range s.groups {
				if e.State() != group.Dead && listed(req, e) {
					parts[i] = append(parts[i], kmsg.ListGroupsResponseGroup{Group: name, ProtocolType: e.ProtocolType(),
						GroupState: e.State().String(), GroupType: classicType})
				}
			}
			slices.SortFunc(parts[i], func(a, b kmsg.ListGroupsResponseGroup) int { return strings.Compare(a.Group, b.Group) })
			one()
		}, func(code group.Code) {
			codes[i] = code
			one()
		})
	}
}

// listed applies the filters: states (v4+) and types (v5+), without regard to case; an empty filter lets all through.
func listed(req *kmsg.ListGroupsRequest, e *entry) bool {
	in := func(filter []string, value string) bool {
		return len(filter) == 0 || slices.ContainsFunc(filter, func(f string) bool { return strings.EqualFold(f, value) })
	}
	return in(req.StatesFilter, e.State().String()) && in(req.TypesFilter, classicType)
}

// DeleteGroups answers DeleteGroups v0-2, after the sync of the tombstones.
func (c *Coordinator) DeleteGroups(req *kmsg.DeleteGroupsRequest, done func(*kmsg.DeleteGroupsResponse)) {
	resp := req.ResponseKind().(*kmsg.DeleteGroupsResponse)
	resp.Groups = make([]kmsg.DeleteGroupsResponseGroup, len(req.Groups))
	one := gather(len(req.Groups), func() { done(resp) })
	for i, name := range req.Groups {
		reply := func(code group.Code) {
			resp.Groups[i] = kmsg.DeleteGroupsResponseGroup{Group: name, ErrorCode: int16(code)}
			one()
		}
		c.on(name, func(s *shard) {
			e := s.get(name)
			if e == nil {
				reply(group.GroupIDNotFound)
				return
			}
			if code := e.ValidateDelete(); code != group.None {
				reply(code)
				return
			}
			s.remove(e, reply)
		}, reply)
	}
}

// remove deletes an empty group: it is Dead at once, so that nobody joins, and forgotten once the tombstones are synced; if they cannot be
// written it lives on.
func (s *shard) remove(e *entry, done func(group.Code)) {
	s.answer(e.Kill(group.NotAvailable))
	fail := func(code group.Code) {
		e.Revive(s.c.now())
		done(code)
	}
	key, err := group.AppendKey(nil, group.Key{Kind: group.MetadataKey, Group: e.ID()})
	if err != nil {
		fail(unknownServerError)
		return
	}
	s.forget(e, e.Traces(nil), func(code group.Code) {
		if code != group.None {
			fail(code)
			return
		}
		s.write([]record{{key: key}}, func(code group.Code) {
			if code != group.None {
				fail(code)
				return
			}
			if s.groups[e.ID()] == e {
				delete(s.groups, e.ID())
			}
			done(group.None)
		})
	})
}

// expire removes offsets that have outlived offsets.retention.minutes, and empty groups of which nothing is left.
func (s *shard) expire(now int64) {
	cfg := s.c.o.Config()
	s.expiry = now + cfg.OffsetsRetentionCheckIntervalMs()
	retention := cfg.OffsetsRetentionMinutes() * 60_000
	for _, e := range s.groups {
		gone := e.Expired(now, retention)
		s.forget(e, gone, func(code group.Code) {
			switch {
			case code != group.None:
				s.c.o.Logger.Warn("expired offsets could not be removed; they are looked for again later", "group", e.ID(), "partition", s.partition)
			case e.Removable() && s.groups[e.ID()] == e:
				s.remove(e, func(group.Code) {})
			}
		})
		if len(gone) > 0 {
			s.c.o.Logger.Info("offsets expired", "group", e.ID(), "partitions", len(gone))
		}
	}
}

// TopicsDeleted removes the offsets of deleted topics from every group, with tombstones. It does not wait for them: an offset that stays
// behind carries the id of its topic and is not taken for one of a topic created again under the name.
func (c *Coordinator) TopicsDeleted(names []string) {
	topics := map[string]bool{}
	for _, n := range names {
		topics[n] = true
	}
	for _, s := range c.all() {
		s.run(func(s *shard) {
			for _, e := range s.groups {
				s.forget(e, e.Traces(topics), func(group.Code) {})
			}
		}, func(group.Code) {})
	}
}
