package group

// Description is what DescribeGroups tells of a group.
type Description struct {
	State        State
	ProtocolType string
	Protocol     string // of a stable group
	Members      []MemberDescription
}

// MemberDescription is what DescribeGroups tells of a member. Metadata is shown in a stable group; Assignment is the last one.
type MemberDescription struct {
	ID, InstanceID, ClientID, ClientHost string
	Metadata, Assignment                 []byte
}

// Describe describes the group.
func (g *Group) Describe() Description {
	d := Description{State: g.state, ProtocolType: g.protocolType}
	for _, m := range g.members {
		md := MemberDescription{ID: m.id, InstanceID: m.instance, ClientID: m.clientID, ClientHost: m.clientHost, Assignment: m.assignment}
		if g.state == Stable {
			md.Metadata = m.metadata(g.protocol)
		}
		d.Members = append(d.Members, md)
	}
	if g.state == Stable {
		d.Protocol = g.protocol
	}
	return d
}

// Metadata returns what is persisted of the group: the generation and its members.
func (g *Group) Metadata() Metadata {
	v := Metadata{ProtocolType: g.protocolType, Generation: g.generation, Protocol: g.protocol, StateSince: g.stateSince}
	if len(g.members) > 0 {
		v.Leader = g.leader
	}
	for _, m := range g.members {
		v.Members = append(v.Members, Member{ID: m.id, InstanceID: m.instance, ClientID: m.clientID, ClientHost: m.clientHost,
			RebalanceTimeout: int32(m.rebalanceTimeout), SessionTimeout: int32(m.sessionTimeout),
			Subscription: m.metadata(g.protocol), Assignment: m.assignment})
	}
	return v
}

// SetMetadata makes the group what a record says of it, as after a restart: Stable with its members, whose sessions begin now, or Empty.
// Committed offsets stay. It is for groups in which nothing is going on.
func (g *Group) SetMetadata(now int64, v Metadata) {
	g.generation, g.protocolType, g.protocol, g.leader = v.Generation, v.ProtocolType, v.Protocol, v.Leader
	g.stateSince = v.StateSince
	g.members, g.static = nil, map[string]string{}
	for _, r := range v.Members {
		m := &member{id: r.ID, instance: r.InstanceID, clientID: r.ClientID, clientHost: r.ClientHost,
			rebalanceTimeout: int64(r.RebalanceTimeout), sessionTimeout: int64(r.SessionTimeout),
			protocols: []Protocol{{Name: v.Protocol, Metadata: r.Subscription}}, assignment: r.Assignment}
		if m.rebalanceTimeout < 0 {
			m.rebalanceTimeout = m.sessionTimeout // version 0 had none
		}
		g.touch(now, m)
		g.members = append(g.members, m)
		if m.instance != "" {
			g.static[m.instance] = m.id
		}
	}
	g.state = Empty
	if len(g.members) > 0 {
		g.state = Stable
		if g.member(g.leader) == nil {
			g.leader = g.members[0].id
		}
	}
	g.learnTopics()
}

// ResumeSessions begins the sessions of a restored group's members, once loading is over.
func (g *Group) ResumeSessions(now int64) {
	for _, m := range g.members {
		g.touch(now, m)
	}
}
