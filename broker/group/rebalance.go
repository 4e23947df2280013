package group

// rebalance starts a rebalance, or ends the running one if everybody is there.
func (g *Group) rebalance(now int64) {
	switch g.state {
	case Stable, CompletingRebalance, Empty:
		g.prepare(now)
	case PreparingRebalance:
		g.completeIfJoined(now)
	}
}

// shrunk follows the removal of members, or of a pending one from a group that may be empty.
func (g *Group) shrunk(now int64) {
	if g.state != Empty {
		g.rebalance(now)
	}
}

func (g *Group) prepare(now int64) {
	if g.state == CompletingRebalance {
		g.assign(now, nil, RebalanceInProgress)
	}
	g.syncDeadline = 0
	g.initial = g.state == Empty
	g.to(now, PreparingRebalance)
	if g.initial {
		g.initialDelay = g.settings.InitialRebalanceDelay
		g.initialRemaining = max(g.rebalanceTimeout()-g.initialDelay, 0)
		g.newMemberAdded = false
		g.joinDeadline = max(now+g.initialDelay, 1)
		return
	}
	g.joinDeadline = now + max(g.rebalanceTimeout(), 1)
	g.completeIfJoined(now)
}

func (g *Group) completeIfJoined(now int64) {
	if g.state == PreparingRebalance && !g.initial && g.allJoined() {
		g.complete(now)
	}
}

// joinTimeout is the end of the time to join.
func (g *Group) joinTimeout(now int64) {
	if g.initial && g.newMemberAdded && g.initialRemaining != 0 {
		g.newMemberAdded = false
		delay := min(g.settings.InitialRebalanceDelay, g.initialRemaining)
		g.initialRemaining = max(g.initialRemaining-g.initialDelay, 0)
		g.initialDelay = delay
		g.joinDeadline = now + max(delay, 1)
		return
	}
	g.complete(now)
}

// complete ends PreparingRebalance: who has not rejoined is out (static members stay until their session ends), and the next generation
// begins.
func (g *Group) complete(now int64) {
	g.joinDeadline, g.initial = 0, false
	for _, m := range append([]*member(nil), g.members...) {
		if m.join == 0 && m.instance == "" {
			g.remove(m)
		}
	}
	if len(g.members) > 0 && !g.elect() {
		// Static members only, and none is back: wait until they are or their sessions end.
		g.joinDeadline = now + max(g.rebalanceTimeout(), 1)
		return
	}
	g.generation++
	clear(g.unsynced)
	if len(g.members) == 0 {
		g.protocol = ""
		g.learnTopics()
		g.to(now, Empty)
		g.persist(write{kind: writeEmpty}, g.Metadata())
		return
	}
	g.protocol = g.selectProtocol()
	g.learnTopics()
	g.to(now, CompletingRebalance)
	for _, m := range g.members {
		g.answerJoin(m, g.joined(m))
		g.touch(now, m)
		m.isNew = false
		g.unsynced[m.id] = true
	}
	g.syncDeadline = now + max(g.rebalanceTimeout(), 1)
}

// elect keeps the leader if it rejoined, else makes the first member that did leader. It returns false if none did.
func (g *Group) elect() bool {
	if m := g.member(g.leader); m != nil && m.join != 0 {
		return true
	}
	for _, m := range g.members {
		if m.join != 0 {
			g.leader = m.id
			return true
		}
	}
	return false
}

// Tick handles every deadline that has passed.
func (g *Group) Tick(now int64) Effects {
	due := func(t int64) bool { return t != 0 && t <= now }
	for id, t := range g.pending {
		if due(t) {
			delete(g.pending, id)
		}
	}
	g.completeIfJoined(now)
	for _, m := range append([]*member(nil), g.members...) {
		if due(m.deadline) && g.member(m.id) == m {
			g.expire(now, m)
		}
	}
	if due(g.joinDeadline) {
		g.joinTimeout(now)
	}
	if due(g.syncDeadline) {
		g.syncTimeout(now)
	}
	return g.take()
}

// expire ends a member's session, unless it waits for the group.
func (g *Group) expire(now int64, m *member) {
	if !m.isNew && (m.join != 0 || m.sync != 0) {
		m.deadline = 0 // restarted by the answer
		return
	}
	g.remove(m)
	g.shrunk(now)
}

// syncTimeout removes the members that never asked for their assignment (KIP-62's rebalance timeout).
func (g *Group) syncTimeout(now int64) {
	g.syncDeadline = 0
	if len(g.unsynced) == 0 || g.state != CompletingRebalance && g.state != Stable {
		return
	}
	for _, m := range append([]*member(nil), g.members...) {
		if g.unsynced[m.id] {
			g.remove(m)
		}
	}
	g.prepare(now)
}
