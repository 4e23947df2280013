package group

import (
	"fmt"
	"sort"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
)

// TestTranscripts runs the transcripts of testdata/transcripts/. Commands:
//
//	group [delay=MS] [max=N]                              begin with an empty group at time 1000
//	join NAME [id=] [instance=] [type=] [protocols=(a:meta,b:meta)] [session=MS] [rebalance=MS] [v=N]
//	sync NAME id= [instance=] gen= [type=] [protocol=] [assign=(id:data,...)]
//	persisted ticket=N [code=N] · heartbeat id= gen= · leave ids=(id,@instance,...) · pass MS · restart
//	commit topic= partition= offset= [id=] [gen=] · expired retention=MS · state
//
// NAME labels the request and is the random part of a new member's id.
func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata/transcripts", func(t *testing.T, path string) {
		var r *runner
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			if d.Cmd == "group" {
				r = &runner{now: 1000, names: map[Token]string{}}
				r.settings = Settings{InitialRebalanceDelay: number(d, "delay", 3000), MaxSize: int(number(d, "max", 100))}
				r.g = New("g", r.now, r.settings)
				return "ok\n"
			}
			r.out.Reset()
			r.command(t, d)
			checkInvariants(t, r.g)
			if r.out.Len() == 0 {
				return "nothing\n"
			}
			return r.out.String()
		})
	})
}

type runner struct {
	g        *Group
	settings Settings
	now      int64
	names    map[Token]string
	out      strings.Builder
}

func (r *runner) command(t *testing.T, d *datadriven.TestData) {
	switch d.Cmd {
	case "join":
		r.effects(r.g.Join(r.now, JoinRequest{Token: r.token(d), MemberID: value(d, "id", ""), InstanceID: value(d, "instance", ""),
			ClientID: "c", ClientHost: "/h", SessionTimeout: number(d, "session", 10000), RebalanceTimeout: number(d, "rebalance", 60000),
			ProtocolType: value(d, "type", "consumer"), Protocols: protocols(d), Unique: d.CmdArgs[0].Key,
			NeedsKnownID: number(d, "v", 9) >= 4, SkipsAssignment: number(d, "v", 9) >= 9}))
	case "sync":
		q := SyncRequest{Token: r.token(d), MemberID: value(d, "id", ""), InstanceID: value(d, "instance", ""),
			Generation: int32(number(d, "gen", 0)), ProtocolType: value(d, "type", ""), Protocol: value(d, "protocol", ""),
			Assignments: map[string][]byte{}}
		for _, a := range values(d, "assign") {
			id, data, _ := strings.Cut(a, ":")
			q.Assignments[id] = []byte(data)
		}
		r.effects(r.g.Sync(r.now, q))
	case "persisted":
		r.effects(r.g.Persisted(r.now, uint64(number(d, "ticket", 0)), Code(number(d, "code", 0))))
	case "heartbeat":
		fmt.Fprintln(&r.out, codeName(r.g.Heartbeat(r.now, value(d, "id", ""), value(d, "instance", ""), int32(number(d, "gen", 0)))))
	case "leave":
		var leaving []LeaveMember
		for _, id := range values(d, "ids") {
			if instance, ok := strings.CutPrefix(id, "@"); ok {
				leaving = append(leaving, LeaveMember{InstanceID: instance})
			} else {
				leaving = append(leaving, LeaveMember{ID: id})
			}
		}
		codes, e := r.g.Leave(r.now, leaving)
		for i, c := range codes {
			fmt.Fprintf(&r.out, "leave %s%s: %s\n", leaving[i].ID, leaving[i].InstanceID, codeName(c))
		}
		r.effects(e)
	case "pass":
		r.pass(number(d, d.CmdArgs[0].Key, 0))
	case "restart":
		m := r.g.Metadata()
		raw, err := AppendMetadata(nil, m)
		if err != nil {
			t.Fatal(err)
		}
		if m, err = ParseMetadata(raw); err != nil {
			t.Fatal(err)
		}
		r.g = New("g", r.now, r.settings)
		r.g.SetMetadata(r.now, m)
		r.state()
	case "state":
		r.state()
	default:
		r.offsetCommand(t, d)
	}
}

func (r *runner) offsetCommand(t *testing.T, d *datadriven.TestData) {
	switch d.Cmd {
	case "commit":
		code := r.g.ValidateCommit(r.now, value(d, "id", ""), value(d, "instance", ""), int32(number(d, "gen", -1)))
		if code == None {
			p := Partition{value(d, "topic", ""), int32(number(d, "partition", 0))}
			r.g.BeginCommit(p)
			r.g.EndCommit(p, Offset{Offset: number(d, "offset", 0), CommitTime: r.now, ExpireTime: number(d, "expire", -1)}, true)
		}
		fmt.Fprintln(&r.out, codeName(code))
	case "expired":
		fmt.Fprintln(&r.out, r.g.Expired(r.now, number(d, "retention", 0)))
	case "delete":
		fmt.Fprintf(&r.out, "group: %s, offsets: %s, subscribes t: %v\n", codeName(r.g.ValidateDelete()),
			codeName(r.g.ValidateDeleteOffsets()), r.g.Subscribes("t"))
	default:
		t.Fatalf("unknown command %s", d.Cmd)
	}
}

// pass lets time pass, from deadline to deadline.
func (r *runner) pass(ms int64) {
	end := r.now + ms
	for range 1000 {
		at, ok := r.g.NextDeadline()
		if !ok || at > end {
			break
		}
		r.now = max(at, r.now)
		e := r.g.Tick(r.now)
		if len(e.Joined)+len(e.Synced)+len(e.Persist) > 0 {
			fmt.Fprintf(&r.out, "at %d:\n", r.now)
		}
		r.effects(e)
	}
	r.now = end
	r.state()
}

func (r *runner) state() {
	g := r.g
	fmt.Fprintf(&r.out, "%s generation=%d protocol=%s leader=%s members=[", g.state, g.generation, g.protocol, g.leader)
	for i, m := range g.members {
		if i > 0 {
			r.out.WriteString(" ")
		}
		r.out.WriteString(m.id)
	}
	r.out.WriteString("]")
	if len(g.pending) > 0 {
		fmt.Fprintf(&r.out, " pending=%d", len(g.pending))
	}
	r.out.WriteString("\n")
}

func (r *runner) effects(e Effects) {
	for _, j := range e.Joined {
		a := j.Result
		fmt.Fprintf(&r.out, "joined %s: %s", r.names[j.Token], codeName(a.Code))
		if a.MemberID != "" {
			fmt.Fprintf(&r.out, " id=%s", a.MemberID)
		}
		if a.Code == None {
			fmt.Fprintf(&r.out, " generation=%d %s/%s leader=%s", a.Generation, a.ProtocolType, a.Protocol, a.Leader)
		}
		if a.SkipAssignment {
			r.out.WriteString(" skip-assignment")
		}
		for _, m := range a.Members {
			fmt.Fprintf(&r.out, " [%s %s]", m.ID, m.Metadata)
		}
		r.out.WriteString("\n")
	}
	sort.SliceStable(e.Synced, func(i, j int) bool { return r.names[e.Synced[i].Token] < r.names[e.Synced[j].Token] })
	for _, s := range e.Synced {
		fmt.Fprintf(&r.out, "synced %s: %s %s\n", r.names[s.Token], codeName(s.Result.Code), s.Result.Assignment)
	}
	for _, p := range e.Persist {
		fmt.Fprintf(&r.out, "persist ticket=%d generation=%d members=%d\n", p.Ticket, p.Metadata.Generation, len(p.Metadata.Members))
	}
}

func (r *runner) token(d *datadriven.TestData) Token {
	token := Token(len(r.names) + 1)
	r.names[token] = d.CmdArgs[0].Key
	return token
}

func values(d *datadriven.TestData, name string) []string {
	for _, a := range d.CmdArgs {
		if a.Key == name {
			return a.Vals
		}
	}
	return nil
}

func value(d *datadriven.TestData, name, def string) string {
	if v := values(d, name); len(v) > 0 {
		return v[0]
	}
	return def
}

func number(d *datadriven.TestData, name string, def int64) int64 {
	text := value(d, name, "")
	if d.Cmd == "pass" {
		text = name
	}
	if text == "" {
		return def
	}
	var n int64
	if _, err := fmt.Sscan(text, &n); err != nil {
		panic(fmt.Sprintf("%s: %s=%s: %v", d.Pos, name, text, err))
	}
	return n
}

func protocols(d *datadriven.TestData) []Protocol {
	list := values(d, "protocols")
	switch {
	case value(d, "protocols", "") == "none":
		return nil
	case list == nil:
		list = []string{"range:m"}
	}
	var all []Protocol
	for _, p := range list {
		name, data, _ := strings.Cut(p, ":")
		meta := []byte(data)
		if topic, ok := strings.CutPrefix(data, "topic="); ok {
			meta = append([]byte{0, 0, 0, 0, 0, 1}, appendString(nil, topic)...)
		}
		all = append(all, Protocol{name, meta})
	}
	return all
}

func codeName(c Code) string {
	name, ok := map[Code]string{None: "NONE", NotAvailable: "COORDINATOR_NOT_AVAILABLE", NotCoordinator: "NOT_COORDINATOR",
		IllegalGeneration: "ILLEGAL_GENERATION", InconsistentProtocol: "INCONSISTENT_GROUP_PROTOCOL", UnknownMemberID: "UNKNOWN_MEMBER_ID",
		RebalanceInProgress: "REBALANCE_IN_PROGRESS", NonEmptyGroup: "NON_EMPTY_GROUP", GroupIDNotFound: "GROUP_ID_NOT_FOUND",
		MemberIDRequired: "MEMBER_ID_REQUIRED", GroupMaxSizeReached: "GROUP_MAX_SIZE_REACHED", FencedInstanceID: "FENCED_INSTANCE_ID"}[c]
	if !ok {
		return fmt.Sprint(int16(c))
	}
	return name
}

// checkInvariants checks what holds between any two steps.
func checkInvariants(t interface{ Fatalf(string, ...any) }, g *Group) {
	ids := map[string]bool{}
	for _, m := range g.members {
		if ids[m.id] {
			t.Fatalf("two members %s", m.id)
		}
		ids[m.id] = true
		if m.instance != "" && g.static[m.instance] != m.id {
			t.Fatalf("static member %s is not known by its instance", m.id)
		}
		if m.join != 0 && g.state != PreparingRebalance && g.state != Stable {
			t.Fatalf("%s waits for a join in %s", m.id, g.state)
		}
		if m.sync != 0 && g.state != CompletingRebalance {
			t.Fatalf("%s waits for a sync in %s", m.id, g.state)
		}
		if g.state != Dead && m.deadline == 0 && m.join == 0 && m.sync == 0 {
			t.Fatalf("%s has no session", m.id)
		}
	}
	if (g.leader != "") != (len(g.members) > 0) || g.leader != "" && !ids[g.leader] {
		t.Fatalf("leader %q of members %v", g.leader, ids)
	}
	if (g.state == CompletingRebalance || g.state == Stable) && (len(g.members) == 0 || g.protocol == "") || g.state == Empty && len(g.members) > 0 {
		t.Fatalf("%s with %d members and protocol %q", g.state, len(g.members), g.protocol)
	}
	if (g.joinDeadline != 0) != (g.state == PreparingRebalance) {
		t.Fatalf("%s with a join deadline of %d", g.state, g.joinDeadline)
	}
	for instance, id := range g.static {
		if !ids[id] {
			t.Fatalf("instance %s names %s, who is not a member", instance, id)
		}
	}
	for id := range g.unsynced {
		if !ids[id] {
			t.Fatalf("%s has not synced and is not a member", id)
		}
	}
	if len(g.out.Joined)+len(g.out.Synced)+len(g.out.Persist) > 0 {
		t.Fatalf("effects left behind: %+v", g.out)
	}
}
