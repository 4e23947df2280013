package group

import (
	"bytes"
	"slices"
)

// Protocol is one protocol that a member supports, with its metadata.
type Protocol struct {
	Name     string
	Metadata []byte
}

// member is one member of a group.
type member struct {
	id, instance         string // instance "" = dynamic
	clientID, clientHost string
	rebalanceTimeout     int64
	sessionTimeout       int64
	protocols            []Protocol // in order of preference
	assignment           []byte
	isNew                bool  // not yet part of a generation
	deadline             int64 // end of the session, 0 = not running
	join, sync           Token // requests that wait
}

// same says whether these protocols are the member's own.
func (m *member) same(protocols []Protocol) bool {
	return slices.EqualFunc(m.protocols, protocols, func(a, b Protocol) bool {
		return a.Name == b.Name && bytes.Equal(a.Metadata, b.Metadata)
	})
}

func (m *member) metadata(protocol string) []byte {
	for _, p := range m.protocols {
		if p.Name == protocol {
			return p.Metadata
		}
	}
	return nil
}

func (m *member) supports(protocol string) bool {
	return slices.ContainsFunc(m.protocols, func(p Protocol) bool { return p.Name == protocol })
}

func (g *Group) member(id string) *member {
	for _, m := range g.members {
		if m.id == id {
			return m
		}
	}
	return nil
}

// check validates a member's identity, as Kafka's ClassicGroup.validateMember.
func (g *Group) check(id, instance string) (*member, Code) {
	if instance != "" {
		switch known, ok := g.static[instance]; {
		case !ok:
			return nil, UnknownMemberID
		case known != id:
			return nil, FencedInstanceID
		}
	}
	if m := g.member(id); m != nil {
		return m, None
	}
	return nil, UnknownMemberID
}

// touch restarts a member's session.
func (g *Group) touch(now int64, m *member) { m.deadline = now + m.sessionTimeout }

// remove takes a member out and answers what it waits for.
func (g *Group) remove(m *member) {
	g.answerJoin(m, JoinResult{Code: UnknownMemberID, Generation: -1})
	g.answerSync(m, SyncResult{Code: UnknownMemberID})
	g.members = slices.DeleteFunc(g.members, func(o *member) bool { return o == m })
	delete(g.unsynced, m.id)
	if m.instance != "" && g.static[m.instance] == m.id {
		delete(g.static, m.instance)
	}
	if g.leader == m.id {
		g.leader = ""
		if len(g.members) > 0 {
			g.leader = g.members[0].id
		}
	}
}

// replace gives a static member a new id and fences the old one.
func (g *Group) replace(m *member, id string) {
	g.answerJoin(m, JoinResult{Code: FencedInstanceID, Generation: -1, MemberID: m.id})
	g.answerSync(m, SyncResult{Code: FencedInstanceID})
	g.rename(m, id)
	m.isNew = false
}

// rename changes a static member's id wherever the group knows it by that.
func (g *Group) rename(m *member, id string) {
	if g.unsynced[m.id] {
		delete(g.unsynced, m.id)
		g.unsynced[id] = true
	}
	if g.leader == m.id {
		g.leader = id
	}
	m.id = id
	g.static[m.instance] = id
}

func (g *Group) answerJoin(m *member, r JoinResult) bool {
	if m.join == 0 {
		return false
	}
	g.out.Joined = append(g.out.Joined, JoinReply{m.join, r})
	m.join = 0
	return true
}

func (g *Group) answerSync(m *member, r SyncResult) bool {
	if m.sync == 0 {
		return false
	}
	g.out.Synced = append(g.out.Synced, SyncReply{m.sync, r})
	m.sync = 0
	return true
}

func (g *Group) awaitingJoin() int {
	n := 0
	for _, m := range g.members {
		if m.join != 0 {
			n++
		}
	}
	return n
}

func (g *Group) allJoined() bool { return len(g.pending) == 0 && g.awaitingJoin() == len(g.members) }

// rebalanceTimeout is the longest of the members'.
func (g *Group) rebalanceTimeout() int64 {
	var longest int64
	for _, m := range g.members {
		longest = max(longest, m.rebalanceTimeout)
	}
	return longest
}

// supportsProtocols says whether a joining member fits the group: one protocol at least that every member supports.
func (g *Group) supportsProtocols(protocolType string, protocols []Protocol) bool {
	if g.state == Empty || len(g.members) == 0 {
		return protocolType != "" && len(protocols) > 0
	}
	return protocolType == g.protocolType && slices.ContainsFunc(protocols, func(p Protocol) bool { return g.common(p.Name) })
}

// common says whether every member supports a protocol.
func (g *Group) common(protocol string) bool {
	for _, m := range g.members {
		if !m.supports(protocol) {
			return false
		}
	}
	return true
}

// selectProtocol returns the protocol with the most votes: each member votes for the first of its protocols that all support. A tie goes to
// the one whose first voter joined first.
func (g *Group) selectProtocol() string {
	votes := map[string]int{}
	best := ""
	for _, m := range g.members {
		for _, p := range m.protocols {
			if g.common(p.Name) {
				votes[p.Name]++
				break
			}
		}
	}
	for _, m := range g.members {
		for _, p := range m.protocols {
			if votes[p.Name] > votes[best] {
				best = p.Name
			}
		}
	}
	return best
}
