package consensus

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"chronik.dev/chronik/broker/metadata"
	"chronik.dev/chronik/broker/metapb"
	"chronik.dev/chronik/broker/raftlog"
	"chronik.dev/chronik/broker/vfs"
)

// group is three members in one process, inside a synctest bubble: time is virtual.
type group struct {
	t     *testing.T
	disks map[uint64]*vfs.Mem
	nodes map[uint64]*Node
	links chan func() // hand-over of messages, in order
	cut   map[uint64]bool
	mu    sync.Mutex
	early []string // what a member applied or promised before it was durable
}

// watcher is a state machine that, at each Apply, cuts the power and looks whether the entry is on the disk.
type watcher struct {
	*metadata.State
	group  *group
	member uint64
}

// Apply implements StateMachine.
func (w *watcher) Apply(index uint64, data []byte) metadata.Result {
	disk := w.group.disks[w.member]
	if ok, err := vfs.Exists(disk, testDir+"/hardstate.0"); err != nil || !ok {
		return w.State.Apply(index, data) // founding
	}
	left := disk.CrashMode(rand.New(rand.NewPCG(1, 2)), vfs.None)
	report, err := raftlog.Inspect(raftlog.Options{FS: left, Dir: testDir, DirID: [16]byte{9}})
	if err != nil || report.Damage != nil || report.Last < index {
		w.group.mu.Lock()
		defer w.group.mu.Unlock()
		w.group.early = append(w.group.early, fmt.Sprintf("%d on member %x", index, w.member))
	}
	return w.State.Apply(index, data)
}

// Send implements Transport: each message is encoded, as on a wire, and handed over by the link's goroutine.
func (g *group) Send(messages []*raftpb.Message) {
	for _, m := range messages {
		g.promised(m)
		b, err := proto.Marshal(m)
		if err != nil {
			g.t.Error(err)
			return
		}
		g.links <- func() {
			copied := &raftpb.Message{}
			if err := proto.Unmarshal(b, copied); err != nil {
				g.t.Error(err)
				return
			}
			if n := g.nodes[copied.GetTo()]; n != nil && !g.cut[copied.GetTo()] && !g.cut[copied.GetFrom()] {
				n.Step(copied)
			}
		}
	}
}

// promised cuts the power of a member that promises something to another, and looks whether it is on the disk: a vote with its term, or entries.
func (g *group) promised(m *raftpb.Message) {
	t := m.GetType()
	if m.GetReject() || t != raftpb.MsgVote && t != raftpb.MsgVoteResp && t != raftpb.MsgAppResp {
		return
	}
	left := g.disks[m.GetFrom()].CrashMode(rand.New(rand.NewPCG(1, 2)), vfs.None)
	report, err := raftlog.Inspect(raftlog.Options{FS: left, Dir: testDir, DirID: [16]byte{9}})
	switch {
	case err != nil || report.Damage != nil, report.Term < m.GetTerm(), t == raftpb.MsgAppResp && report.Last < m.GetIndex():
	case t == raftpb.MsgVoteResp && report.Term == m.GetTerm() && report.Vote != m.GetTo():
	case t == raftpb.MsgVote && report.Term == m.GetTerm() && report.Vote != m.GetFrom():
	default:
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.early = append(g.early, fmt.Sprintf("%v of term %d, index %d from member %x to %x", t, m.GetTerm(), m.GetIndex(), m.GetFrom(), m.GetTo()))
}

var members = []uint64{0xa1, 0xb2, 0xc3}

func newGroup(t *testing.T) *group {
	g := &group{t: t, disks: map[uint64]*vfs.Mem{}, nodes: map[uint64]*Node{}, cut: map[uint64]bool{}, links: make(chan func(), 10_000)}
	go func() {
		for fn := range g.links {
			fn()
		}
	}()
	for _, id := range members {
		g.disks[id] = vfs.NewMem(id)
		g.start(id, true)
	}
	return g
}

func (g *group) start(id uint64, found bool) {
	g.t.Helper()
	o := testOptions(g.disks[id], found)
	o.MemberID, o.Voters, o.Transport, o.SnapshotEntries = id, members, g, 20
	o.StateMachine = &watcher{State: metadata.New(), group: g, member: id}
	n := mustStart(g.t, o)
	g.call(func() { g.nodes[id] = n })
}

// call runs fn between two messages, so that maps need no lock.
func (g *group) call(fn func()) {
	done := make(chan bool)
	g.links <- func() { fn(); close(done) }
	<-done
}

func (g *group) stop(id uint64) {
	g.t.Helper()
	n := g.nodes[id]
	g.call(func() { delete(g.nodes, id) })
	mustStop(g.t, n)
}

// leader waits until all running, connected members agree on one of them.
func (g *group) leader() uint64 {
	g.t.Helper()
	for range 1000 {
		time.Sleep(100 * time.Millisecond)
		leaders := map[uint64]bool{}
		for id, n := range g.nodes {
			if !g.cut[id] {
				leaders[n.Status().Leader] = true
			}
		}
		for id := range leaders {
			if len(leaders) == 1 && g.nodes[id] != nil && !g.cut[id] {
				return id
			}
		}
	}
	g.t.Fatal("no leader in 100 s")
	return 0
}

func (g *group) agree() {
	g.t.Helper()
	time.Sleep(5 * time.Second)
	synctest.Wait()
	hashes := map[string]bool{}
	for _, n := range g.nodes {
		hashes[hash(g.t, n)] = true
	}
	if len(hashes) != 1 {
		g.t.Fatalf("states differ: %v", hashes)
	}
}

func (g *group) end() {
	g.t.Helper()
	for id := range g.nodes {
		g.stop(id)
	}
	close(g.links)
	if len(g.early) > 0 {
		g.t.Errorf("applied or promised before it was durable: %v", g.early)
	}
}

// TestThreeMembers also finds an apply before the save, in a follower that catches up, and a message before it.
func TestThreeMembers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(t)
		p := metadata.NewProposer([16]byte{1})
		first := g.leader()
		next := int64(0)
		allocate := func(id uint64) {
			t.Helper()
			if r := mustPropose(t, g.nodes[id], encode(t, p, &metapb.AllocateProducerIds{Count: 1})); r.FirstProducerID != next {
				t.Fatalf("allocated %d, want %d", r.FirstProducerID, next)
			}
			next++
		}
		for range 5 {
			allocate(first)
		}
		for id, n := range g.nodes { // the first Chronik panicked here
			var other *NotLeaderError
			if _, err := n.Propose(t.Context(), encode(t, p, &metapb.AllocateProducerIds{Count: 1})); id != first && (!errors.As(err, &other) || other.Leader != first || other.Pending) {
				t.Fatalf("proposed on follower %x: %v", id, err)
			} else if id == first {
				next++
			}
		}
		g.agree()

		g.stop(first)
		second := g.leader()
		for range 60 { // far enough for snapshots, so that the first must be sent one
			allocate(second)
		}
		g.start(first, false)
		g.agree()
		if st := g.nodes[first].Status(); st.SnapshotIndex == 0 || st.Applied != g.nodes[second].Status().Applied {
			t.Fatalf("caught up as %+v", st)
		}
		allocate(g.leader())
		g.agree()
		g.end()
	})
}

// TestCutOffLeader isolates a leader with a proposal in flight: it steps down and says that the outcome is open; the same bytes, proposed to the
// new leader, act once.
func TestCutOffLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(t)
		first := g.leader()
		g.call(func() { g.cut[first] = true })
		data := encode(t, metadata.NewProposer([16]byte{1}), &metapb.AllocateProducerIds{Count: 5})
		var lost *NotLeaderError
		if _, err := g.nodes[first].Propose(t.Context(), data); !errors.As(err, &lost) || !lost.Pending {
			t.Fatalf("propose on a leader that is cut off: %v", err)
		}
		second := g.leader()
		mustPropose(t, g.nodes[second], data)
		g.call(func() { g.cut[first] = false })
		g.agree()
		if r, err := g.nodes[g.leader()].Propose(t.Context(), data); err != nil || !r.Duplicate || r.FirstProducerID != 0 {
			t.Fatalf("repeated: %+v, %v", r, err)
		}
		g.agree()
		g.end()
	})
}

// TestProposalsWaitForALeader proposes where no leader can be: the caller's time runs out, or a leader comes.
func TestProposalsWaitForALeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(t)
		p := metadata.NewProposer([16]byte{1})
		g.leader()
		survivor := g.nodes[members[0]]
		g.stop(members[1])
		g.stop(members[2])
		time.Sleep(10 * time.Second) // it has stepped down
		short, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		if _, err := survivor.Propose(short, encode(t, p, &metapb.AllocateProducerIds{Count: 7})); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("propose without a quorum: %v", err)
		}
		result := make(chan error, 1)
		data := encode(t, p, &metapb.AllocateProducerIds{Count: 1})
		go func() {
			_, err := survivor.Propose(t.Context(), data)
			result <- err
		}()
		time.Sleep(time.Second)
		g.start(members[1], false)
		g.start(members[2], false)
		leader := g.leader()
		var other *NotLeaderError
		if err := <-result; err != nil && (!errors.As(err, &other) || other.Leader == members[0]) {
			t.Fatalf("a waiting proposal: %v", err)
		}
		mustPropose(t, g.nodes[leader], data)
		g.agree()
		if got := g.nodes[leader].o.StateMachine.(*watcher).Image().NextProducerID; got != 1 {
			t.Fatalf("next producer id %d: the abandoned proposal acted, or the other did not once", got)
		}
		g.end()
	})
}

// TestTermsNeverGoBack restarts members one after the other and compares what each wrote with what it says afterwards.
func TestTermsNeverGoBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGroup(t)
		for range 3 {
			g.leader()
			for _, id := range members {
				was := g.nodes[id].Status()
				g.stop(id)
				g.disks[id] = g.disks[id].CrashMode(rand.New(rand.NewPCG(id, 2)), vfs.None)
				g.start(id, false)
				if st := g.nodes[id].Status(); st.Term < was.Term || st.Term == was.Term && was.Vote != 0 && st.Vote != was.Vote || st.LastIndex < was.LastIndex {
					t.Fatalf("member %x was %s, is %s", id, show(was), show(st))
				}
				g.leader()
			}
		}
		g.agree()
		g.end()
	})
}

func show(s Status) string {
	return fmt.Sprintf("term %d, vote %x, commit %d, log to %d", s.Term, s.Vote, s.Commit, s.LastIndex)
}
