package group

// SyncRequest is a SyncGroup.
type SyncRequest struct {
	Token        Token
	MemberID     string
	InstanceID   string
	Generation   int32
	ProtocolType string            // "" = null
	Protocol     string            // "" = null
	Assignments  map[string][]byte // by member id, from the leader
}

// SyncResult answers a SyncGroup.
type SyncResult struct {
	Code         Code
	ProtocolType string
	Protocol     string
	Assignment   []byte
}

// Sync handles a SyncGroup. The answer is in these or in later Effects.
func (g *Group) Sync(now int64, r SyncRequest) Effects {
	m, code := g.checkSync(r)
	if code != None {
		g.out.Synced = append(g.out.Synced, SyncReply{r.Token, SyncResult{Code: code}})
		return g.take()
	}
	delete(g.unsynced, m.id)
	if g.state == Stable {
		g.out.Synced = append(g.out.Synced, SyncReply{r.Token, g.synced(m)})
		g.touch(now, m)
		return g.take()
	}
	g.answerSync(m, SyncResult{Code: RebalanceInProgress}) // an earlier request of the same member
	m.sync = r.Token
	if m.id == g.leader {
		metadata := g.Metadata()
		for i := range metadata.Members {
			metadata.Members[i].Assignment = r.Assignments[metadata.Members[i].ID]
		}
		g.persist(write{kind: writeAssignment, generation: g.generation, assignments: r.Assignments}, metadata)
	}
	return g.take()
}

func (g *Group) checkSync(r SyncRequest) (*member, Code) {
	if g.state == Dead {
		return nil, NotAvailable
	}
	m, code := g.check(r.MemberID, r.InstanceID)
	switch {
	case code != None:
		return nil, code
	case r.Generation != g.generation:
		return nil, IllegalGeneration
	case r.ProtocolType != "" && r.ProtocolType != g.protocolType, r.Protocol != "" && r.Protocol != g.protocol:
		return nil, InconsistentProtocol
	case g.state == Empty:
		return nil, UnknownMemberID
	case g.state == PreparingRebalance:
		return nil, RebalanceInProgress
	}
	return m, None
}

func (g *Group) synced(m *member) SyncResult {
	return SyncResult{ProtocolType: g.protocolType, Protocol: g.protocol, Assignment: m.assignment}
}

// assign gives every member its assignment, or takes all away if code says why, and answers who waits for it.
func (g *Group) assign(now int64, assignments map[string][]byte, code Code) {
	for _, m := range g.members {
		m.assignment = assignments[m.id]
		result := SyncResult{Code: code}
		if code == None {
			result = g.synced(m)
		}
		if g.answerSync(m, result) {
			g.touch(now, m)
		}
	}
}

// write is metadata that is being persisted, with what to do afterwards.
type write struct {
	kind        int8
	generation  int32
	assignments map[string][]byte // writeAssignment
	static      *replaced         // writeStatic
}

const (
	writeEmpty      int8 = iota // the group became empty
	writeAssignment             // the leader's assignment
	writeStatic                 // a static member's new id
)

func (g *Group) persist(w write, m Metadata) {
	g.ticket++
	g.writing[g.ticket] = w
	g.out.Persist = append(g.out.Persist, Persist{Ticket: g.ticket, Metadata: m})
}

// Persisted says that the metadata of a ticket is durable, or could not be written, which code tells the members.
func (g *Group) Persisted(now int64, ticket uint64, code Code) Effects {
	w, ok := g.writing[ticket]
	delete(g.writing, ticket)
	switch {
	case !ok || g.state == Dead:
	case w.kind == writeStatic:
		g.persistedStatic(now, w, code)
	case w.kind == writeAssignment && g.state == CompletingRebalance && g.generation == w.generation:
		if code != None {
			g.assign(now, nil, code)
			g.rebalance(now)
			break
		}
		g.to(now, Stable)
		g.assign(now, w.assignments, None)
	}
	return g.take()
}

// Heartbeat handles a Heartbeat.
func (g *Group) Heartbeat(now int64, memberID, instanceID string, generation int32) Code {
	if g.state == Dead {
		return NotAvailable
	}
	m, code := g.check(memberID, instanceID)
	switch {
	case code != None:
		return code
	case generation != g.generation:
		return IllegalGeneration
	case g.state == Empty:
		return UnknownMemberID
	}
	g.touch(now, m)
	if g.state == PreparingRebalance {
		return RebalanceInProgress
	}
	return None
}

// LeaveMember names a member that leaves: by id, or a static member by instance id alone (KIP-345).
type LeaveMember struct{ ID, InstanceID string }

// Leave handles a LeaveGroup and returns a code for each member.
func (g *Group) Leave(now int64, leaving []LeaveMember) ([]Code, Effects) {
	codes := make([]Code, len(leaving))
	left := false
	for i, l := range leaving {
		codes[i] = g.leave(l)
		left = left || codes[i] == None
	}
	if left {
		g.shrunk(now)
	}
	return codes, g.take()
}

func (g *Group) leave(l LeaveMember) Code {
	if g.state == Dead {
		return NotAvailable
	}
	id := l.ID
	if id == "" {
		known, ok := g.static[l.InstanceID]
		if !ok || l.InstanceID == "" {
			return UnknownMemberID
		}
		id = known
	}
	if _, ok := g.pending[id]; ok {
		delete(g.pending, id)
		return None
	}
	m, code := g.check(id, l.InstanceID)
	if code == None {
		g.remove(m)
	}
	return code
}
