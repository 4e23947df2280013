package group

// JoinRequest is a JoinGroup. Timeouts are in milliseconds.
type JoinRequest struct {
	Token            Token
	MemberID         string // "" = new
	InstanceID       string // "" = dynamic
	ClientID         string
	ClientHost       string
	SessionTimeout   int64
	RebalanceTimeout int64
	ProtocolType     string
	Protocols        []Protocol
	Unique           string // random part of a new member's id
	NeedsKnownID     bool   // v4+: a new dynamic member is told its id first (KIP-394)
	SkipsAssignment  bool   // v9+: understands SkipAssignment (KIP-814)
}

// JoinResult answers a JoinGroup.
type JoinResult struct {
	Code           Code
	Generation     int32  // -1 with an error
	ProtocolType   string // "" = null
	Protocol       string // "" = null
	Leader         string
	MemberID       string
	SkipAssignment bool
	Members        []JoinMember // for the leader only
}

// JoinMember is what the leader is told of a member.
type JoinMember struct {
	ID, InstanceID string
	Metadata       []byte
}

// Join handles a JoinGroup. The answer is in these or in later Effects.
func (g *Group) Join(now int64, r JoinRequest) Effects {
	refuse := func(code Code) Effects {
		id := r.MemberID
		if code == GroupMaxSizeReached {
			id = ""
		}
		g.out.Joined = append(g.out.Joined, JoinReply{r.Token, JoinResult{Code: code, Generation: -1, MemberID: id}})
		return g.take()
	}
	switch {
	case g.state == Dead:
		return refuse(NotAvailable)
	case !g.accepts(r.MemberID):
		if m := g.member(r.MemberID); m != nil {
			g.remove(m)
		}
		delete(g.pending, r.MemberID)
		g.completeIfJoined(now)
		return refuse(GroupMaxSizeReached)
	case !g.supportsProtocols(r.ProtocolType, r.Protocols):
		return refuse(InconsistentProtocol)
	case r.MemberID == "":
		g.joinNew(now, r)
		return g.take()
	}
	if _, pending := g.pending[r.MemberID]; pending && r.InstanceID == "" {
		g.add(now, r.MemberID, r)
		return g.take()
	}
	m, code := g.check(r.MemberID, r.InstanceID)
	if code != None {
		return refuse(code)
	}
	g.rejoin(now, m, r)
	return g.take()
}

// accepts says whether the group has room for this member.
func (g *Group) accepts(id string) bool {
	m := g.member(id)
	switch g.state {
	case PreparingRebalance:
		return m != nil && m.join != 0 || g.awaitingJoin() < g.settings.MaxSize
	case CompletingRebalance, Stable:
		return m != nil || len(g.members) < g.settings.MaxSize
	}
	return true
}

func (g *Group) joinNew(now int64, r JoinRequest) {
	prefix := r.ClientID
	if r.InstanceID != "" {
		prefix = r.InstanceID
	}
	id := prefix + "-" + r.Unique
	if r.InstanceID != "" {
		if old, ok := g.static[r.InstanceID]; ok {
			g.joinStatic(now, g.member(old), id, r)
			return
		}
	} else if r.NeedsKnownID {
		g.pending[id] = now + r.SessionTimeout
		g.out.Joined = append(g.out.Joined, JoinReply{r.Token, JoinResult{Code: MemberIDRequired, Generation: -1, MemberID: id}})
		return
	}
	g.add(now, id, r)
}

// add takes a new member in and rebalances.
func (g *Group) add(now int64, id string, r JoinRequest) {
	delete(g.pending, id)
	if len(g.members) == 0 {
		g.protocolType = r.ProtocolType
	}
	m := &member{id: id, instance: r.InstanceID, clientID: r.ClientID, clientHost: r.ClientHost, isNew: true, join: r.Token,
		rebalanceTimeout: r.RebalanceTimeout, sessionTimeout: r.SessionTimeout, protocols: r.Protocols, deadline: now + newMemberTimeout}
	g.members = append(g.members, m)
	if m.instance != "" {
		g.static[m.instance] = id
	}
	if g.leader == "" {
		g.leader = id
	}
	if g.state == PreparingRebalance && g.generation == 0 {
		g.newMemberAdded = true
	}
	g.rebalance(now)
}

// update takes over what a known member sent, and waits for the next generation.
func (g *Group) update(m *member, r JoinRequest) {
	g.answerJoin(m, JoinResult{Code: RebalanceInProgress, Generation: -1, MemberID: m.id}) // an earlier request of the same member
	m.protocols, m.rebalanceTimeout, m.sessionTimeout = r.Protocols, r.RebalanceTimeout, r.SessionTimeout
	m.clientID, m.clientHost = r.ClientID, r.ClientHost
	m.join = r.Token
}

// rejoin handles a JoinGroup of a member of the group.
func (g *Group) rejoin(now int64, m *member, r JoinRequest) {
	switch {
	case g.state == CompletingRebalance && m.same(r.Protocols), // the answer to its join was lost
		g.state == Stable && m.id != g.leader && m.same(r.Protocols): // nothing changed
		result := g.joined(m)
		if g.state == Stable {
			result.Members = nil
		}
		g.out.Joined = append(g.out.Joined, JoinReply{r.Token, result})
	case g.state == Empty:
		g.out.Joined = append(g.out.Joined, JoinReply{r.Token, JoinResult{Code: UnknownMemberID, Generation: -1, MemberID: m.id}})
	default: // also the leader of a stable group: it asks for a new assignment
		g.update(m, r)
		g.rebalance(now)
	}
}

// joinStatic handles a static member that comes back without its id, after a restart of its client.
func (g *Group) joinStatic(now int64, m *member, id string, r JoinRequest) {
	undo := *m
	oldLeader := g.leader
	g.replace(m, id)
	g.touch(now, m)
	g.update(m, r)
	if g.state != Stable || g.selectProtocol() != g.protocol {
		g.rebalance(now)
		return
	}
	// The generation goes on: its assignment is kept under the new id, which must be durable before it is used.
	undo.join, undo.sync = 0, 0
	g.persist(write{kind: writeStatic, generation: g.generation, static: &replaced{old: undo, id: id, oldLeader: oldLeader, token: r.Token,
		skips: r.SkipsAssignment}}, g.Metadata())
}

// replaced is a static member whose new id is being persisted.
type replaced struct {
	old       member
	id        string
	oldLeader string
	token     Token
	skips     bool
}

// persistedStatic ends joinStatic.
func (g *Group) persistedStatic(now int64, w write, code Code) {
	m := g.member(w.static.id)
	if m == nil || m.join != w.static.token { // answered meanwhile: fenced again, removed or part of a rebalance
		return
	}
	if code == None && (g.state != Stable || g.generation != w.generation) {
		return // a rebalance began; its end answers
	}
	g.touch(now, m) // its session may have ended while it waited
	if code != None {
		g.answerJoin(m, JoinResult{Code: code, Generation: -1})
		if g.state != Stable {
			return
		}
		g.rename(m, w.static.old.id)
		*m = w.static.old
		g.touch(now, m)
		return
	}
	result := g.joined(m)
	if w.static.skips {
		result.SkipAssignment = m.id == g.leader
	} else {
		// Before v9 a leader could not be told to skip: it is told the old leader's id, so that it syncs as a follower.
		result.Leader, result.Members = w.static.oldLeader, nil
	}
	g.answerJoin(m, result)
}

// joined is the answer for a member of the current generation.
func (g *Group) joined(m *member) JoinResult {
	r := JoinResult{Generation: g.generation, ProtocolType: g.protocolType, Protocol: g.protocol, Leader: g.leader, MemberID: m.id}
	if m.id == g.leader {
		for _, o := range g.members {
			r.Members = append(r.Members, JoinMember{ID: o.id, InstanceID: o.instance, Metadata: o.metadata(g.protocol)})
		}
	}
	return r
}
