package coordinator

import (
	"testing"
	"testing/synctest"
	"time"

	"chronik.dev/chronik/broker/group"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestPartition(t *testing.T) {
	for name, want := range map[string]int32{
		"": 0, "g1": 42, "group": 47,
		"polygenelubricants": 0,                                    // hash is the least int32
		"\u00e9\U0001f600":   (0xe9*961 + 0xd83d*31 + 0xde00) % 50, // Java hashes UTF-16 units
	} {
		if got := Partition(name, 50); got != want {
			t.Errorf("%q: %d, want %d", name, got, want)
		}
	}
}

// TestLife follows a group from its first member over a restart to its deletion.
func TestLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := start(newMemory())
		n.load(t)
		id, generation := n.member(t, "g")
		if code := n.heartbeat("g", id, generation); code != group.None {
			t.Fatalf("heartbeat: %d", code)
		}
		req := commitRequest("g", "t", 1, 42)
		req.Generation, req.MemberID = generation, id
		if r := call(n.OffsetCommit, req); r.Topics[0].Partitions[0].ErrorCode != 0 {
			t.Fatalf("commit: %+v", r)
		}
		if code := n.commit("g", "t", 1, 43); code != group.UnknownMemberID {
			t.Errorf("commit of a stranger: %d", code)
		}

		n = n.restart(t)
		if code := n.heartbeat("g", id, generation); code != group.None {
			t.Errorf("heartbeat after the restart: %d", code)
		}
		if got := n.fetch("g", "t", 1); got != 42 {
			t.Errorf("offset after the restart: %d", got)
		}
		d := n.describe(6, "g")
		if d.State != "Stable" || d.Protocol != "range" || len(d.Members) != 1 || string(d.Members[0].MemberAssignment) != "assigned" ||
			d.Members[0].ClientHost != "/127.0.0.1" || d.Members[0].ClientID != "client" {
			t.Errorf("described: %+v", d)
		}
		if r := call(n.DeleteGroups, &kmsg.DeleteGroupsRequest{Version: 2, Groups: []string{"g"}}); r.Groups[0].ErrorCode != int16(group.NonEmptyGroup) {
			t.Errorf("delete with a member: %+v", r)
		}

		time.Sleep(11 * time.Second) // the session ends
		synctest.Wait()
		if d := n.describe(6, "g"); d.State != "Empty" {
			t.Errorf("after the session: %+v", d)
		}
		if code := n.heartbeat("g", id, generation); code != group.UnknownMemberID {
			t.Errorf("heartbeat after the session: %d", code)
		}
		if r := call(n.DeleteGroups, &kmsg.DeleteGroupsRequest{Version: 2, Groups: []string{"g"}}); r.Groups[0].ErrorCode != 0 {
			t.Errorf("delete: %+v", r)
		}
		for range 2 {
			if d := n.describe(6, "g"); d.ErrorCode != int16(group.GroupIDNotFound) || d.State != "Dead" || d.ErrorMessage == nil {
				t.Errorf("a deleted group: %+v", d)
			}
			if got := n.fetch("g", "t", 1); got != -1 {
				t.Errorf("offset of a deleted group: %d", got)
			}
			n = n.restart(t)
		}
		n.Close()
	})
}

// TestTwoMembers has a second member join: the first learns of it by its heartbeat and both end in one generation.
func TestTwoMembers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := start(newMemory())
		n.load(t)
		defer n.Close()
		id, generation := n.member(t, "g")
		second := n.joining(3, "g", "", nil)
		synctest.Wait()
		if code := n.heartbeat("g", id, generation); code != group.RebalanceInProgress {
			t.Fatalf("heartbeat: %d", code)
		}
		a := n.join(9, "g", id, nil)
		b := <-second
		if a.Generation != 2 || b.Generation != 2 || a.LeaderID != id || b.LeaderID != id || len(a.Members) != 2 || len(b.Members) != 0 {
			t.Fatalf("joined: %+v and %+v", a, b)
		}
		follower := make(chan *kmsg.SyncGroupResponse, 1)
		go func() { follower <- n.sync("g", b, "") }()
		synctest.Wait()
		if len(follower) != 0 {
			t.Fatal("the follower was answered before the leader")
		}
		if r := n.sync("g", a, "x"); r.ErrorCode != 0 || string(r.MemberAssignment) != "x" {
			t.Fatalf("leader: %+v", r)
		}
		if r := <-follower; r.ErrorCode != 0 || string(r.MemberAssignment) != "x" {
			t.Fatalf("follower: %+v", r)
		}
		leave := &kmsg.LeaveGroupRequest{Version: 5, Group: "g", Members: []kmsg.LeaveGroupRequestMember{{MemberID: id}, {MemberID: "nobody"}}}
		if r := call(n.LeaveGroup, leave); r.ErrorCode != 0 || r.Members[0].ErrorCode != 0 || r.Members[1].ErrorCode != int16(group.UnknownMemberID) {
			t.Errorf("leave: %+v", r)
		}
		if code := n.heartbeat("g", b.MemberID, 2); code != group.RebalanceInProgress {
			t.Errorf("heartbeat of who stays: %d", code)
		}
		if r := call(n.LeaveGroup, &kmsg.LeaveGroupRequest{Version: 2, Group: "g", MemberID: b.MemberID}); r.ErrorCode != 0 {
			t.Errorf("leave v2: %+v", r)
		}
	})
}

// TestLoading holds the read back: requests are told so, and none waits.
func TestLoading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := start(newMemory())
		n.load(t)
		id, generation := n.member(t, "g")
		n.Close()
		n.store.blocked = make(chan struct{})
		n = start(n.store)
		synctest.Wait()
		p := Partition("g", n.store.count)
		if ok, _ := n.Loaded(); ok {
			t.Error("loaded before the read")
		}
		if r := n.join(9, "g", id, nil); r.ErrorCode != int16(group.LoadInProgress) {
			t.Errorf("join: %+v", r)
		}
		if code := n.heartbeat("g", id, generation); code != group.None {
			t.Errorf("heartbeat: %d", code)
		}
		if r := call(n.SyncGroup, &kmsg.SyncGroupRequest{Group: "g"}); r.ErrorCode != int16(group.RebalanceInProgress) {
			t.Errorf("sync: %+v", r)
		}
		if code := n.commit("g", "t", 0, 1); code != group.LoadInProgress {
			t.Errorf("commit: %d", code)
		}
		if got := n.fetch("g", "t", 0); got != -2 {
			t.Errorf("fetch: %d", got)
		}
		if d := n.describe(5, "g"); d.ErrorCode != int16(group.LoadInProgress) {
			t.Errorf("describe: %+v", d)
		}
		if r := call(n.ListGroups, &kmsg.ListGroupsRequest{Version: 5}); r.ErrorCode != int16(group.LoadInProgress) {
			t.Errorf("list: %+v", r)
		}
		close(n.store.blocked)
		n.load(t)
		if code := n.heartbeat("g", id, generation); code != group.None {
			t.Errorf("heartbeat once loaded: %d", code)
		}
		n.Unload(p)
		if code := n.heartbeat("g", id, generation); code != group.NotCoordinator {
			t.Errorf("heartbeat once unloaded: %d", code)
		}
		n.Load(p)
		n.load(t)
		if code := n.heartbeat("g", id, generation); code != group.None {
			t.Errorf("heartbeat once loaded again: %d", code)
		}
		n.Close()
	})
}

// TestSlowLoad takes longer to load than a session lasts: sessions begin when members can be heard again.
func TestSlowLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := start(newMemory())
		n.load(t)
		id, generation := n.member(t, "g")
		for p := range int32(8) {
			req := commitRequest("g", "t", p, 5)
			req.Generation, req.MemberID = generation, id
			call(n.OffsetCommit, req)
		}
		n.store.slow = 3 * time.Second
		n = n.restart(t, "offsets.load.buffer.size=1")
		time.Sleep(time.Second)
		if code := n.heartbeat("g", id, generation); code != group.None {
			t.Errorf("heartbeat: %d", code)
		}
		time.Sleep(9 * time.Second)
		if code := n.heartbeat("g", id, generation); code != group.None {
			t.Errorf("heartbeat within the session: %d", code)
		}
		n.Close()
	})
}

// TestStopWhileLoading unloads a partition whose read has not come back.
func TestStopWhileLoading(t *testing.T) {
	store := newMemory()
	n := start(store)
	n.load(t)
	n.commit("g", "t", 0, 1)
	n.Close()
	store.blocked = make(chan struct{})
	n = start(store)
	go close(store.blocked)
	n.Close()
	if code := n.commit("g", "t", 0, 1); code != group.NotCoordinator {
		t.Errorf("commit: %d", code)
	}
}

// TestDamagedLog has a batch that cannot be read: that partition alone is not available.
func TestDamagedLog(t *testing.T) {
	n := start(newMemory())
	n.load(t)
	n.commit("g", "t", 0, 1)
	n.commit("other", "t", 0, 2)
	n.Close()
	p := Partition("g", n.store.count)
	if p == Partition("other", n.store.count) {
		t.Fatal("the test needs groups of two partitions")
	}
	raw := n.store.logs[p][0]
	raw[len(raw)-1] ^= 1
	n = start(n.store)
	defer n.Close()
	for _, s := range n.all() {
		<-s.loading
	}
	if ok, err := n.Loaded(); !ok || err == nil {
		t.Errorf("loaded: %v, %v", ok, err)
	}
	if code := n.commit("g", "t", 0, 1); code != group.NotCoordinator {
		t.Errorf("commit: %d", code)
	}
	if got := n.fetch("other", "t", 0); got != 2 {
		t.Errorf("offset of another partition: %d", got)
	}
}

// TestUnloadAnswers unloads a partition while members wait.
func TestUnloadAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := start(newMemory(), "group.initial.rebalance.delay.ms=3000")
		n.load(t)
		waiting := n.joining(3, "g", "", nil)
		synctest.Wait()
		n.Close()
		if r := <-waiting; r.ErrorCode != int16(group.NotCoordinator) {
			t.Errorf("join: %+v", r)
		}
	})
}

// TestFailedWrites has appends fail: nothing is visible that was not written, and members are told to come again.
func TestFailedWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := start(newMemory())
		n.load(t)
		defer n.Close()
		n.commit("simple", "t", 0, 1)
		joined := n.join(3, "g", "", nil)
		n.store.failing = true
		if code := n.commit("simple", "t", 0, 2); code != group.NotAvailable {
			t.Errorf("commit: %d", code)
		}
		if got := n.fetch("simple", "t", 0); got != 1 {
			t.Errorf("fetch: %d", got)
		}
		if r := call(n.DeleteGroups, &kmsg.DeleteGroupsRequest{Groups: []string{"simple"}}); r.Groups[0].ErrorCode != int16(group.NotAvailable) {
			t.Errorf("delete: %+v", r)
		}
		req := &kmsg.SyncGroupRequest{Version: 3, Group: "g", Generation: joined.Generation, MemberID: joined.MemberID}
		if r := call(n.SyncGroup, req); r.ErrorCode != int16(group.NotAvailable) {
			t.Errorf("sync: %+v", r)
		}
		if code := n.heartbeat("g", joined.MemberID, joined.Generation); code != group.RebalanceInProgress {
			t.Errorf("heartbeat: %d", code)
		}
		n.store.failing = false
		if code := n.commit("simple", "t", 0, 3); code != group.None || n.fetch("simple", "t", 0) != 3 {
			t.Errorf("commit after the failure: %d", code)
		}
	})
}

// TestAnswerAfterSync holds appends: commits and assignments are neither answered nor visible before.
func TestAnswerAfterSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := start(newMemory())
		n.load(t)
		defer n.Close()
		joined := n.join(3, "g", "", nil)
		n.store.held = true
		codes := make(chan group.Code, 1)
		go func() { codes <- n.commit("simple", "t", 0, 7) }()
		synced := make(chan *kmsg.SyncGroupResponse, 1)
		go func() {
			synced <- n.sync("g", &kmsg.JoinGroupResponse{Generation: 1, MemberID: joined.MemberID, ProtocolType: kmsg.StringPtr("consumer"), Protocol: kmsg.StringPtr("range"), Members: joined.Members}, "x")
		}()
		synctest.Wait()
		if len(codes) != 0 || len(synced) != 0 {
			t.Fatal("answered before the sync")
		}
		if got := n.fetch("simple", "t", 0); got != -1 {
			t.Errorf("an offset that is not synced is served: %d", got)
		}
		if d := n.describe(5, "g"); d.State != "CompletingRebalance" {
			t.Errorf("state before the sync: %s", d.State)
		}
		n.store.release()
		if code := <-codes; code != group.None {
			t.Errorf("commit: %d", code)
		}
		if r := <-synced; r.ErrorCode != 0 || string(r.MemberAssignment) != "x" {
			t.Errorf("sync: %+v", r)
		}
		if got := n.fetch("simple", "t", 0); got != 7 {
			t.Errorf("offset: %d", got)
		}
	})
}
