// Package group is the classic consumer group protocol (KIP-62, KIP-345, KIP-394, KIP-814) as a pure state machine, and the records in which
// __consumer_offsets keeps groups and offsets.
//
// The idea: a Group takes requests and the time as arguments and returns effects: answers to requests that were waiting, and group
// metadata to persist. It has no goroutine, clock, disk or network, so that every behaviour can be read as a transcript (testdata/transcripts/). The
// transitions and error codes are those of Apache Kafka 4.3's coordinator; protocol type, protocol names, metadata and assignments are
// opaque, so that Kafka Connect, schema registries and others form groups too.
//
// The guarantee: every request with a Token is answered exactly once; a generation has one leader and never goes back; assignments are
// handed out only after Persisted confirmed them. A deadline that passed has no effect before Tick.
//
// The API: New or Restore, then Join, Sync, Heartbeat, Leave, Tick, Persisted; ValidateCommit, BeginCommit, EndCommit and the other
// offset methods; Describe. Times are milliseconds since 1970.
package group

// State is the state of a group.
type State int8

// The states. A new group is Empty; Dead is final.
const (
	Empty State = iota
	PreparingRebalance
	CompletingRebalance
	Stable
	Dead
)

func (s State) String() string {
	return [...]string{"Empty", "PreparingRebalance", "CompletingRebalance", "Stable", "Dead"}[s]
}

// Settings are the node's limits for groups.
type Settings struct {
	InitialRebalanceDelay int64 // group.initial.rebalance.delay.ms
	MaxSize               int   // group.max.size, members
}

// newMemberTimeout is how long a member that is not yet part of a generation may wait for its first one: its client cannot send heartbeats
// meanwhile, and a client that is gone must not hold the group for ever. Kafka's value.
const newMemberTimeout = 5 * 60 * 1000

// Group is one group. The zero value is not usable.
type Group struct {
	id       string
	settings Settings
	state    State

	generation   int32
	protocolType string // "" = none: a group that only keeps offsets
	protocol     string // of the current generation; "" = none
	leader       string // member id, "" exactly while there is no member
	members      []*member
	static       map[string]string // instance id to member id
	pending      map[string]int64  // ids handed out with MEMBER_ID_REQUIRED and not used yet, with their deadline
	unsynced     map[string]bool   // members of this generation that have not sent SyncGroup
	stateSince   int64             // time of the last transition; -1 = unknown (read from an old record)

	joinDeadline     int64 // end of PreparingRebalance, 0 = none
	initial          bool  // the rebalance of a group that was empty: waits for more members, not for these
	initialRemaining int64 // how much longer it may be extended
	initialDelay     int64 // the delay that is running
	newMemberAdded   bool  // since that delay began
	syncDeadline     int64 // members that have not synced by then are removed, 0 = none

	topics      map[string]bool // subscribed by the current generation, if known
	topicsKnown bool

	offsets offsets
	writing map[uint64]write // handed out in Effects.Persist, not yet Persisted
	ticket  uint64
	out     Effects
}

// New returns an empty group.
func New(id string, now int64, s Settings) *Group {
	return &Group{id: id, settings: s, stateSince: now, static: map[string]string{}, pending: map[string]int64{},
		unsynced: map[string]bool{}, offsets: newOffsets(), writing: map[uint64]write{}}
}

// Token names a request that waits for an answer; 0 is none.
type Token uint64

// Effects is what a step asks its caller to do, in any order. Slices are the caller's.
type Effects struct {
	Joined  []JoinReply
	Synced  []SyncReply
	Persist []Persist
}

// JoinReply answers the JoinGroup with this Token.
type JoinReply struct {
	Token  Token
	Result JoinResult
}

// SyncReply answers the SyncGroup with this Token.
type SyncReply struct {
	Token  Token
	Result SyncResult
}

// Persist asks to write the group's metadata; the caller reports with Persisted(Ticket).
type Persist struct {
	Ticket   uint64
	Metadata Metadata
}

// take returns the effects of a step and begins the next.
func (g *Group) take() Effects {
	e := g.out
	g.out = Effects{}
	return e
}

// ID returns the group's name.
func (g *Group) ID() string { return g.id }

// State returns the group's state.
func (g *Group) State() State { return g.state }

// Generation returns the generation of the last completed rebalance, 0 before the first.
func (g *Group) Generation() int32 { return g.generation }

// ProtocolType returns the protocol type of the members, "" for a group that only keeps offsets.
func (g *Group) ProtocolType() string { return g.protocolType }

// SetSettings changes the limits from now on.
func (g *Group) SetSettings(s Settings) { g.settings = s }

// Kill makes the group Dead and answers every waiting request with code.
func (g *Group) Kill(code Code) Effects {
	g.state = Dead
	g.joinDeadline, g.syncDeadline = 0, 0
	for _, m := range g.members {
		g.answerJoin(m, JoinResult{Code: code, Generation: -1, MemberID: m.id})
		g.answerSync(m, SyncResult{Code: code})
		m.deadline = 0
	}
	clear(g.pending)
	return g.take()
}

// Revive undoes Kill for a group without members, after its deletion could not be written.
func (g *Group) Revive(now int64) {
	if g.state == Dead && len(g.members) == 0 {
		g.to(now, Empty)
	}
}

func (g *Group) to(now int64, s State) {
	g.state = s
	g.stateSince = now
}

// NextDeadline returns the earliest time at which Tick has something to do; ok is false if there is none.
func (g *Group) NextDeadline() (at int64, ok bool) {
	least := func(t int64) {
		if t != 0 && (!ok || t < at) {
			at, ok = t, true
		}
	}
	least(g.joinDeadline)
	least(g.syncDeadline)
	for _, m := range g.members {
		least(m.deadline)
	}
	for _, t := range g.pending {
		least(t)
	}
	return at, ok
}
