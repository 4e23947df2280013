package coordinator

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"chronik.dev/chronik/broker/group"
	"github.com/twmb/franz-go/pkg/kmsg"
	"pgregory.net/rapid"
)

func TestCommitRefusals(t *testing.T) {
	n := start(newMemory(), "offset.metadata.max.bytes=3")
	n.load(t)
	defer n.Close()
	long := commitRequest("g", "t", 0, 1)
	long.Topics[0].Partitions = append(long.Topics[0].Partitions, kmsg.OffsetCommitRequestTopicPartition{Partition: 1, Offset: 9,
		Metadata: kmsg.StringPtr("four")}, kmsg.OffsetCommitRequestTopicPartition{Partition: 8}, kmsg.OffsetCommitRequestTopicPartition{Partition: -1})
	long.Topics = append(long.Topics, kmsg.OffsetCommitRequestTopic{Topic: "nothing", Partitions: []kmsg.OffsetCommitRequestTopicPartition{{}}})
	r := call(n.OffsetCommit, long)
	var codes []int16
	for _, topic := range r.Topics {
		for _, p := range topic.Partitions {
			codes = append(codes, p.ErrorCode)
		}
	}
	if fmt.Sprint(codes) != "[0 12 3 3 3]" {
		t.Errorf("codes %v", codes)
	}
	if n.fetch("g", "t", 0) != 1 || n.fetch("g", "t", 1) != -1 {
		t.Error("the good offset is not there, or a refused one is")
	}

	for version, want := range map[int16]group.Code{8: group.IllegalGeneration, 9: group.GroupIDNotFound} {
		req := commitRequest("nobody", "t", 0, 1)
		req.Version, req.Generation, req.MemberID = version, 1, "m"
		if r := call(n.OffsetCommit, req); r.Topics[0].Partitions[0].ErrorCode != int16(want) {
			t.Errorf("unknown group, v%d: %+v", version, r)
		}
	}
	big := commitRequest("g", "t", 0, 1)
	big.Group = strings.Repeat("x", 40000)
	if r := call(n.OffsetCommit, big); r.Topics[0].Partitions[0].ErrorCode != int16(group.InvalidCommitOffsetSize) {
		t.Errorf("a name too long to store: %+v", r)
	}
}

func TestTopicIDs(t *testing.T) {
	n := start(newMemory())
	n.load(t)
	defer func() { n.Close() }()
	req := commitRequest("g", "", 0, 5)
	req.Version = 10
	req.Topics[0].TopicID = [16]byte{1}
	req.Topics = append(req.Topics, kmsg.OffsetCommitRequestTopic{TopicID: [16]byte{9}, Partitions: []kmsg.OffsetCommitRequestTopicPartition{{}}})
	r := call(n.OffsetCommit, req)
	if r.Topics[0].Partitions[0].ErrorCode != 0 || r.Topics[0].TopicID != [16]byte{1} || r.Topics[1].Partitions[0].ErrorCode != int16(unknownTopicID) {
		t.Errorf("commit: %+v", r)
	}
	ask := &kmsg.OffsetFetchRequest{Version: 10, Groups: []kmsg.OffsetFetchRequestGroup{{Group: "g", Topics: []kmsg.OffsetFetchRequestGroupTopic{
		{TopicID: [16]byte{1}, Partitions: []int32{0, 1}}, {TopicID: [16]byte{9}, Partitions: []int32{0}}}}}}
	topics := call(n.OffsetFetch, ask).Groups[0].Topics
	if p := topics[0].Partitions; p[0].Offset != 5 || p[1].Offset != -1 || p[1].ErrorCode != 0 ||
		topics[1].Partitions[0].ErrorCode != int16(unknownTopicID) {
		t.Errorf("fetch: %+v", topics)
	}
	ask.Groups[0].Topics = nil
	if topics := call(n.OffsetFetch, ask).Groups[0].Topics; len(topics) != 1 || topics[0].TopicID != [16]byte{1} || topics[0].Partitions[0].Offset != 5 {
		t.Errorf("fetch of all: %+v", topics)
	}

	// The topic is created again: its old offsets are not the new one's, also after a restart.
	n.mu.Lock()
	n.topics["t"] = [16]byte{7}
	n.mu.Unlock()
	if got := n.fetch("g", "t", 0); got != -1 {
		t.Errorf("offset of another topic of the name: %d", got)
	}
	n.TopicsDeleted([]string{"t"})
	n = n.restart(t)
	if got := n.fetch("g", "t", 0); got != -1 {
		t.Errorf("offset of a deleted topic: %d", got)
	}
	if all, dead := n.store.records(t); all != 2 || dead != 1 {
		t.Errorf("%d records, %d tombstones", all, dead)
	}
}

// TestFetchVersions asks in every version's own way.
func TestFetchVersions(t *testing.T) {
	n := start(newMemory())
	n.load(t)
	defer n.Close()
	n.commit("g", "t", 0, 5)
	n.commit("g", "u", 3, 6)
	n.commit("h", "t", 1, 7)
	for version := int16(1); version <= 7; version++ {
		req := &kmsg.OffsetFetchRequest{Version: version, Group: "g", Topics: []kmsg.OffsetFetchRequestTopic{{Topic: "t", Partitions: []int32{0, 1}}}}
		r := call(n.OffsetFetch, req)
		if p := r.Topics[0].Partitions; r.ErrorCode != 0 || p[0].Offset != 5 || *p[0].Metadata != "m" || p[1].Offset != -1 || p[1].ErrorCode != 0 {
			t.Errorf("v%d: %+v", version, r)
		}
		if version < 2 {
			continue
		}
		req.Topics = nil
		if r := call(n.OffsetFetch, req); len(r.Topics) != 2 || r.Topics[1].Partitions[0].Offset != 6 {
			t.Errorf("v%d, all: %+v", version, r)
		}
		req.Group = "unknown"
		if r := call(n.OffsetFetch, req); r.ErrorCode != 0 || len(r.Topics) != 0 {
			t.Errorf("v%d, all of an unknown group: %+v", version, r)
		}
	}
	req := &kmsg.OffsetFetchRequest{Version: 8, RequireStable: true, Groups: []kmsg.OffsetFetchRequestGroup{{Group: "g"}, {Group: "h"}, {Group: "unknown",
		Topics: []kmsg.OffsetFetchRequestGroupTopic{{Topic: "t", Partitions: []int32{0}}}}}}
	r := call(n.OffsetFetch, req)
	if len(r.Groups) != 3 || r.Groups[0].Group != "g" || len(r.Groups[0].Topics) != 2 || r.Groups[1].Topics[0].Partitions[0].Offset != 7 ||
		r.Groups[2].Topics[0].Partitions[0].Offset != -1 || r.Groups[2].ErrorCode != 0 {
		t.Errorf("v8: %+v", r)
	}
	n.Unload(Partition("g", n.store.count))
	old := &kmsg.OffsetFetchRequest{Version: 1, Group: "g", Topics: []kmsg.OffsetFetchRequestTopic{{Topic: "t", Partitions: []int32{0}}}}
	if r := call(n.OffsetFetch, old); r.Topics[0].Partitions[0].ErrorCode != int16(group.NotCoordinator) {
		t.Errorf("v1 at the wrong node: %+v", r)
	}
}

// TestExpiry lets offsets outlive their retention, in groups of every kind.
func TestExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		settings := []string{"offsets.retention.minutes=10", "offsets.retention.check.interval.ms=60000"}
		n := start(newMemory(), settings...)
		n.load(t)
		n.commit("simple", "t", 0, 1)
		id, generation := n.member(t, "g")
		req := commitRequest("g", "t", 0, 5)
		req.Generation, req.MemberID = generation, id
		call(n.OffsetCommit, req)
		for range 80 { // 12 minutes in which g lives and simple does nothing
			time.Sleep(9 * time.Second)
			if code := n.heartbeat("g", id, generation); code != group.None {
				t.Fatalf("heartbeat: %d", code)
			}
		}
		if n.fetch("simple", "t", 0) != -1 || n.fetch("g", "t", 0) != 5 {
			t.Errorf("after 12 minutes: %d and %d", n.fetch("simple", "t", 0), n.fetch("g", "t", 0))
		}
		n = n.restart(t, settings...)
		if got := n.fetch("simple", "t", 0); got != -1 {
			t.Errorf("an expired offset is back: %d", got)
		}
		time.Sleep(9 * time.Minute) // g has been empty since its session ended
		if got := n.fetch("g", "t", 0); got != 5 {
			t.Errorf("the offset of an empty group: %d", got)
		}
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		if got := n.fetch("g", "t", 0); got != -1 {
			t.Errorf("the offset of a group long empty: %d", got)
		}
		if r := call(n.ListGroups, &kmsg.ListGroupsRequest{Version: 5}); len(r.Groups) != 0 {
			t.Errorf("groups left: %+v", r.Groups)
		}
		n = n.restart(t, settings...)
		if r := call(n.ListGroups, &kmsg.ListGroupsRequest{Version: 5}); len(r.Groups) != 0 {
			t.Errorf("groups back: %+v", r.Groups)
		}
		n.Close()
	})
}

func TestOffsetDelete(t *testing.T) {
	n := start(newMemory())
	n.load(t)
	defer func() { n.Close() }()
	id, generation := n.member(t, "g")
	for _, topic := range []string{"t", "u"} {
		req := commitRequest("g", topic, 0, 5)
		req.Generation, req.MemberID = generation, id
		call(n.OffsetCommit, req)
	}
	req := &kmsg.OffsetDeleteRequest{Group: "g", Topics: []kmsg.OffsetDeleteRequestTopic{
		{Topic: "t", Partitions: []kmsg.OffsetDeleteRequestTopicPartition{{Partition: 0}}},
		{Topic: "u", Partitions: []kmsg.OffsetDeleteRequestTopicPartition{{Partition: 0}, {Partition: 1}, {Partition: 99}}}}}
	r := call(n.OffsetDelete, req)
	u := r.Topics[1].Partitions
	if r.ErrorCode != 0 || r.Topics[0].Partitions[0].ErrorCode != int16(group.SubscribedToTopic) || u[0].ErrorCode != 0 || u[1].ErrorCode != 0 || u[2].ErrorCode != 3 {
		t.Errorf("deleted: %+v", r)
	}
	n = n.restart(t)
	if n.fetch("g", "t", 0) != 5 || n.fetch("g", "u", 0) != -1 {
		t.Errorf("left: %d and %d", n.fetch("g", "t", 0), n.fetch("g", "u", 0))
	}
	req.Group = "unknown"
	if r := call(n.OffsetDelete, req); r.ErrorCode != int16(group.GroupIDNotFound) || len(r.Topics) != 0 {
		t.Errorf("unknown group: %+v", r)
	}
}

// TestDeleteWithCommitInFlight deletes a group while a commit of it is being written: nothing of it comes back.
func TestDeleteWithCommitInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := start(newMemory())
		n.load(t)
		n.commit("g", "t", 0, 1)
		n.store.held = true
		committed := make(chan group.Code, 1)
		go func() { committed <- n.commit("g", "t", 1, 2) }()
		synctest.Wait()
		deleted := make(chan *kmsg.DeleteGroupsResponse, 1)
		go func() { deleted <- call(n.DeleteGroups, &kmsg.DeleteGroupsRequest{Groups: []string{"g"}}) }()
		synctest.Wait()
		if r := n.join(3, "g", "", nil); r.ErrorCode != int16(group.NotAvailable) {
			t.Errorf("join of a group that is being deleted: %+v", r)
		}
		n.store.release()
		if code, r := <-committed, <-deleted; code != group.None || r.Groups[0].ErrorCode != 0 {
			t.Errorf("commit %d, delete %+v", code, r)
		}
		n = n.restart(t)
		if r := call(n.OffsetFetch, &kmsg.OffsetFetchRequest{Version: 7, Group: "g"}); len(r.Topics) != 0 {
			t.Errorf("offsets of a deleted group: %+v", r)
		}
		n.Close()
	})
}

func TestList(t *testing.T) {
	n := start(newMemory())
	n.load(t)
	defer n.Close()
	n.member(t, "stable")
	n.commit("empty", "t", 0, 1)
	for _, c := range []struct {
		states, types []string
		want          string
	}{
		{nil, nil, "empty/Empty/ stable/Stable/consumer"},
		{[]string{"STABLE"}, nil, "stable/Stable/consumer"},
		{[]string{"Empty", "Dead"}, []string{"Classic"}, "empty/Empty/"},
		{nil, []string{"consumer"}, ""},
	} {
		r := call(n.ListGroups, &kmsg.ListGroupsRequest{Version: 5, StatesFilter: c.states, TypesFilter: c.types})
		var got []string
		for _, g := range r.Groups {
			got = append(got, g.Group+"/"+g.GroupState+"/"+g.ProtocolType)
		}
		if len(got) == 2 && got[0] > got[1] {
			got[0], got[1] = got[1], got[0]
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("states %v, types %v: %v, want %q", c.states, c.types, got, c.want)
		}
	}
}

// TestModel compares random commits, deletions and restarts with a map.
func TestModel(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		n := start(newMemory(), "offsets.load.buffer.size="+fmt.Sprint(rapid.SampledFrom([]int{1, 200, 5000}).Draw(r, "buffer")))
		n.load(t)
		defer func() { n.Close() }()
		model := map[string]map[int32]int64{}
		for range rapid.IntRange(1, 30).Draw(r, "steps") {
			name := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(r, "group")
			p := rapid.Int32Range(0, 2).Draw(r, "partition")
			switch rapid.SampledFrom([]string{"commit", "commit", "commit", "forget", "delete", "restart"}).Draw(r, "step") {
			case "commit":
				offset := rapid.Int64Range(0, 1000).Draw(r, "offset")
				req := commitRequest(name, "t", p, offset) // a batch of two records
				also := req.Topics[0].Partitions[0]
				also.Partition = (p + 1) % 3
				req.Topics[0].Partitions = append(req.Topics[0].Partitions, also)
				if code := call(n.OffsetCommit, req).Topics[0].Partitions[1].ErrorCode; code != 0 {
					r.Fatalf("commit: %d", code)
				}
				if model[name] == nil {
					model[name] = map[int32]int64{}
				}
				model[name][p], model[name][also.Partition] = offset, offset
			case "forget":
				call(n.OffsetDelete, &kmsg.OffsetDeleteRequest{Group: name, Topics: []kmsg.OffsetDeleteRequestTopic{{Topic: "t",
					Partitions: []kmsg.OffsetDeleteRequestTopicPartition{{Partition: p}}}}})
				delete(model[name], p)
			case "delete":
				call(n.DeleteGroups, &kmsg.DeleteGroupsRequest{Groups: []string{name}})
				delete(model, name)
			case "restart":
				n = n.restart(t, "offsets.load.buffer.size=300")
			}
			for _, name := range []string{"a", "b", "c"} {
				for p := range int32(3) {
					want, ok := model[name][p]
					if !ok {
						want = -1
					}
					if got := n.fetch(name, "t", p); got != want {
						r.Fatalf("%s, partition %d: %d, want %d", name, p, got, want)
					}
				}
			}
		}
	})
}
