package group

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

// TestInvariants takes random steps and checks that every request is answered exactly once, that generations never go back, that a
// generation has one leader and one protocol, and that assignments are handed out only after they were persisted.
func TestInvariants(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &walk{now: 1000, open: map[Token]string{}, persisted: map[int32]bool{}, led: map[int32]string{}, ids: []string{"", "nobody"}}
		w.g = New("g", w.now, Settings{InitialRebalanceDelay: rapid.Int64Range(0, 500).Draw(t, "delay"), MaxSize: 4})
		for range rapid.IntRange(1, 120).Draw(t, "steps") {
			before := w.g.generation
			w.step(t)
			if w.g.generation < before {
				t.Fatalf("generation went from %d to %d", before, w.g.generation)
			}
			checkInvariants(t, w.g)
			if waiting := w.waiting(); waiting != len(w.open) {
				t.Fatalf("%d requests wait, %d are open: %v", waiting, len(w.open), w.open)
			}
		}
		w.take(t, w.g.Kill(NotCoordinator))
		if len(w.open) > 0 {
			t.Fatalf("never answered: %v", w.open)
		}
	})
}

type walk struct {
	g         *Group
	now       int64
	next      Token
	open      map[Token]string
	tickets   []uint64
	persisted map[int32]bool   // generations whose assignment is durable
	led       map[int32]string // leader of each generation; a static leader may change its id
	ids       []string
}

func (w *walk) waiting() int {
	n := 0
	for _, m := range w.g.members {
		if m.join != 0 {
			n++
		}
		if m.sync != 0 {
			n++
		}
	}
	return n
}

func (w *walk) token(what string) Token {
	w.next++
	w.open[w.next] = what
	return w.next
}

func (w *walk) step(t *rapid.T) {
	id := rapid.SampledFrom(w.ids).Draw(t, "id")
	instance := rapid.SampledFrom([]string{"", "", "i1", "i2"}).Draw(t, "instance")
	gen := w.g.generation - int32(rapid.IntRange(0, 4).Draw(t, "stale")/4)
	switch rapid.SampledFrom([]string{"join", "join", "join", "sync", "sync", "sync", "heartbeat", "leave", "time", "persisted", "persisted"}).Draw(t, "step") {
	case "join":
		w.take(t, w.g.Join(w.now, JoinRequest{Token: w.token("join"), MemberID: id, InstanceID: instance, ClientID: "c",
			SessionTimeout: 6000, RebalanceTimeout: 20000, ProtocolType: "consumer", Unique: fmt.Sprint(w.next),
			Protocols:    []Protocol{{"range", []byte(rapid.SampledFrom([]string{"x", "y"}).Draw(t, "meta"))}},
			NeedsKnownID: rapid.Bool().Draw(t, "v4"), SkipsAssignment: rapid.Bool().Draw(t, "v9")}))
	case "sync":
		w.take(t, w.g.Sync(w.now, SyncRequest{Token: w.token("sync"), MemberID: id, InstanceID: instance, Generation: gen}))
	case "heartbeat":
		w.g.Heartbeat(w.now, id, instance, gen)
	case "leave":
		_, e := w.g.Leave(w.now, []LeaveMember{{id, instance}})
		w.take(t, e)
	case "time":
		w.now += rapid.Int64Range(1, 8000).Draw(t, "ms")
		w.take(t, w.g.Tick(w.now))
	case "persisted":
		if len(w.tickets) > 0 {
			ticket := w.tickets[0]
			w.tickets = w.tickets[1:]
			code := rapid.SampledFrom([]Code{None, None, NotAvailable}).Draw(t, "code")
			if wr := w.g.writing[ticket]; wr.kind == writeAssignment && code == None {
				w.persisted[wr.generation] = true
			}
			w.take(t, w.g.Persisted(w.now, ticket, code))
		}
	}
}

func (w *walk) take(t *rapid.T, e Effects) {
	answered := func(token Token, what string) {
		if w.open[token] != what {
			t.Fatalf("token %d was answered as a %s, is a %q", token, what, w.open[token])
		}
		delete(w.open, token)
	}
	for _, j := range e.Joined {
		answered(j.Token, "join")
		r := j.Result
		if r.MemberID != "" && len(w.ids) < 12 {
			w.ids = append(w.ids, r.MemberID)
		}
		if r.Code != None {
			continue
		}
		if m := w.g.member(r.Leader); m != nil && m.instance == "" && len(r.Members) > 0 {
			if old, ok := w.led[r.Generation]; ok && old != r.Leader {
				t.Fatalf("generation %d is led by %s and by %s", r.Generation, old, r.Leader)
			}
			w.led[r.Generation] = r.Leader
		}
		if len(r.Members) > 0 && r.Leader != r.MemberID {
			t.Fatalf("%s is no leader and was told the members", r.MemberID)
		}
	}
	for _, s := range e.Synced {
		answered(s.Token, "sync")
		if s.Result.Code == None && !w.persisted[w.g.generation] {
			t.Fatalf("assignment of generation %d handed out before it was persisted", w.g.generation)
		}
	}
	for _, p := range e.Persist {
		w.tickets = append(w.tickets, p.Ticket)
	}
}
