package kafka

import (
	"net"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"chronik.dev/chronik/broker/vfs"
)

// TestRepeatedNames: who asks for the same thing many times in one request is answered once: the answer is thousands of times as long as
// the question.
func TestRepeatedNames(t *testing.T) {
	n := start(t, Options{}, "offsets.topic.num.partitions=1")
	n.create("t", 1)
	if err := n.b.EnsureOffsetsTopic(t.Context()); err != nil {
		t.Fatal(err)
	}
	p := n.dial()
	const times = 500

	configs := at(kmsg.NewPtrDescribeConfigsRequest(), 4)
	for range times {
		for _, name := range []string{"t", "no such topic"} {
			r := kmsg.NewDescribeConfigsRequestResource()
			r.ResourceType, r.ResourceName, r.ConfigNames = kmsg.ConfigResourceTypeTopic, name, []string{"retention.ms"}
			configs.Resources = append(configs.Resources, r)
		}
	}
	configs.Resources[4].ConfigNames = []string{"segment.ms", "retention.ms"}
	described := call1[*kmsg.DescribeConfigsResponse](p, configs)
	if got := described.Resources; len(got) != 2 || got[0].ResourceName != "t" || len(got[0].Configs) != 2 || got[1].ErrorCode == 0 {
		t.Errorf("DescribeConfigs: %d resources, the first with %d keys; want 2 with 2", len(got), len(got[0].Configs))
	}
	configs.Resources[6].ConfigNames = nil
	described = call1[*kmsg.DescribeConfigsResponse](p, configs)
	if got := len(described.Resources[0].Configs); got < 10 {
		t.Errorf("one of them asks for all keys: %d", got)
	}

	groups := at(kmsg.NewPtrDescribeGroupsRequest(), 5)
	offsets := at(kmsg.NewPtrOffsetFetchRequest(), 9)
	for range times {
		groups.Groups = append(groups.Groups, "group-g", "group-h")
		offsets.Groups = append(offsets.Groups, kmsg.OffsetFetchRequestGroup{Group: "g"}, kmsg.OffsetFetchRequestGroup{Group: "h"})
	}
	if got := call1[*kmsg.DescribeGroupsResponse](p, groups).Groups; len(got) != 2 || got[0].Group != "group-g" || got[1].Group != "group-h" {
		t.Errorf("DescribeGroups: %d groups, want 2", len(got))
	}
	for i, g := range call1[*kmsg.OffsetFetchResponse](p, offsets).Groups {
		if want := i >= 2; (g.ErrorCode == kerr.InvalidRequest.Code) != want {
			t.Fatalf("OffsetFetch: group %d: error %d", i, g.ErrorCode)
		}
	}
}

// TestPipelinedFetches: fetches that wait for records hold what was read of them, so their bytes are bounded for a connection, and large ones
// count against queued.max.request.bytes until they are answered.
func TestPipelinedFetches(t *testing.T) {
	n := start(t, Options{MaxWaiting: 200_000, FrameTimeout: time.Second}, "queued.max.request.bytes=3000000")
	id := n.create("t", 1)
	wait := func(partitions int) *kmsg.FetchRequest {
		req := fetchFrom(12, "t", id, 0, 0)
		req.MaxWaitMillis, req.MinBytes = 1<<30, 1000
		one := req.Topics[0].Partitions[0]
		for range partitions {
			req.Topics[0].Partitions = append(req.Topics[0].Partitions, one)
		}
		return req
	}
	p := n.dial()
	_ = p.nc.SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
	req := wait(1000) // 33 KB each
	f := frame(1, 12, 1, true, req.AppendTo(nil))
	for range 2000 {
		if _, err := p.nc.Write(f); err != nil {
			break
		}
	}
	for c := range n.conns() {
		c.mu.Lock()
		if len(c.queue) > 20 || len(c.queue) == 0 {
			t.Errorf("%d fetches of %d bytes wait", len(c.queue), len(f))
		}
		c.mu.Unlock()
	}
	_ = p.nc.Close()
	eventually(t, "its memory is given back", func() bool { return n.s.Stats().RequestMemory == 0 })

	large := n.dial()
	large.send(wait(10_000))
	eventually(t, "a large fetch that waits is counted", func() bool { return n.s.Stats().RequestMemory > 300_000 })
	receive[*kmsg.FetchResponse](large, req, 1) // after FrameTimeout: others need the memory
	eventually(t, "and no longer when it is answered", func() bool { return n.s.Stats().RequestMemory == 0 })
	large.send(wait(10_000))
	eventually(t, "a large fetch waits again", func() bool { return n.s.Stats().RequestMemory > 300_000 })
	_ = large.nc.Close()
	eventually(t, "nor when the peer is gone", func() bool { return n.s.Stats().RequestMemory == 0 })
}

// TestBlockedReader: a request that finds no place among the responses when its connection ends gives its memory back.
func TestBlockedReader(t *testing.T) {
	n := start(t, Options{MaxInFlight: 1})
	id := n.create("t", 1)
	req := fetchFrom(12, "t", id, 0, 0)
	req.MaxWaitMillis, req.MinBytes = 1<<30, 1000
	for len(req.Topics[0].Partitions) < 1000 { // so many elements count
		req.Topics[0].Partitions = append(req.Topics[0].Partitions, req.Topics[0].Partitions[0])
	}
	for range 20 {
		p := n.dial()
		for range 3 { // one is with the writer or in the queue, and the next, or the one after it, has no place
			p.send(req)
		}
		eventually(t, "two fetches are counted", func() bool { return n.s.Stats().RequestMemory >= 2*1000*elementCost })
		for c := range n.conns() {
			c.close()
		}
		eventually(t, "their memory is given back", func() bool { return n.s.Stats().RequestMemory == 0 })
	}
}

// TestBlockedPeerGone: a peer that is gone is noticed though its connection is not read, because as many of its fetches wait as may.
func TestBlockedPeerGone(t *testing.T) {
	n := start(t, Options{MaxInFlight: 4, FrameTimeout: 50 * time.Millisecond})
	req := fetchFrom(12, "t", n.create("t", 1), 0, 0)
	req.MaxWaitMillis, req.MinBytes = 1<<30, 1000
	p := n.dial()
	for range 20 {
		p.send(req)
	}
	_ = p.nc.Close()
	eventually(t, "the connection is given up", func() bool { return n.s.Stats().Connections == 0 })
}

// conns returns the open connections.
func (n *node) conns() map[*conn]struct{} {
	n.s.mu.Lock()
	defer n.s.mu.Unlock()
	all := map[*conn]struct{}{}
	for c := range n.s.conns {
		all[c] = struct{}{}
	}
	return all
}

// TestManyElements: small elements cost many times their bytes once they are decoded and answered, so their number is bounded, and they are
// counted against queued.max.request.bytes.
func TestManyElements(t *testing.T) {
	n := start(t, Options{FrameTimeout: 100 * time.Millisecond})
	n.create("t", 1)
	produce := func(partitions int) *kmsg.ProduceRequest {
		req := produceTo(9, "t", [16]byte{}, 0, -1, nil)
		req.Topics[0].Partitions = make([]kmsg.ProduceRequestTopicPartition, partitions)
		return req
	}
	p := n.dial()
	if got := call1[*kmsg.ProduceResponse](p, produce(1000)).Topics[0].Partitions; len(got) != 1000 {
		t.Errorf("%d partitions answered", len(got))
	}
	p.send(produce(maxElements))
	p.closed()
	n.s.requests.adjust(n.s.requests.limit - 1_000_000)
	q := n.dial()
	q.send(produce(100_000))
	q.closed()
	n.s.requests.adjust(1_000_000 - n.s.requests.limit)
	if used := n.s.requests.inUse(); used != 0 {
		t.Errorf("%d bytes of request memory are not given back", used)
	}
}

// TestSessionGrowth: what incremental fetches and long names add to a session counts as what it was made with.
func TestSessionGrowth(t *testing.T) {
	s := newSessions(10, time.Now)
	s.room = 1000
	ask := func(session, epoch int32, topics, partitions int, length int) (fetchContext, int16) {
		req := at(kmsg.NewPtrFetchRequest(), 12)
		req.SessionID, req.SessionEpoch = session, epoch
		for i := range topics {
			name := make([]byte, length)
			name[0], name[1] = byte(i), byte(i>>8)
			topic := kmsg.FetchRequestTopic{Topic: string(name)}
			for j := range partitions {
				topic.Partitions = append(topic.Partitions, kmsg.FetchRequestTopicPartition{Partition: int32(j) + epoch*int32(partitions)})
			}
			req.Topics = append(req.Topics, topic)
		}
		return s.open(req)
	}
	fc, code := ask(0, 0, 1, 500, 3)
	if fc.session == nil || code != 0 {
		t.Fatal("no session")
	}
	if _, code = ask(fc.session.id, 1, 1, 501, 3); code != kerr.FetchSessionIDNotFound.Code || s.parts != 0 || s.count() != 0 {
		t.Errorf("a session grew beyond all: code %d, %d partitions, %d sessions", code, s.parts, s.count())
	}
	for range 3 {
		ask(0, 0, 3, 1, 32_000)
	}
	if s.parts > s.room || s.count() > 1 {
		t.Errorf("%d sessions with names of 96 kB each", s.count())
	}
}

// TestDescriptors: connections never take the descriptors that the node's files need.
func TestDescriptors(t *testing.T) {
	if n := start(t, Options{Descriptors: 1 << 30}); true {
		call1[*kmsg.MetadataResponse](n.dial(), at(kmsg.NewPtrMetadataRequest(), 12))
	}
	n := start(t, Options{Descriptors: 4})
	nc, err := net.Dial("tcp", n.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(20 * time.Second))
	(&peer{t: t, nc: nc}).closed()
	if s := n.s.Stats(); s.Refused != 1 || s.Connections != 0 {
		t.Errorf("%+v", s)
	}
}

// TestDeletingMakesRoom: on a full disk the room of a deleted topic is there at once, not a checkpoint's age later.
func TestDeletingMakesRoom(t *testing.T) {
	disk := vfs.NewMem(1)
	disk.SetLimit(48 << 20)
	n := startOn(t, disk, Options{}, "chronik.journal.segment.bytes=1048576", "chronik.disk.reserve.bytes=1048576", "chronik.tail.memory.bytes=4194304")
	id := n.create("large", 1)
	n.create("other", 1)
	p := n.dial()
	put := func(topic string) int16 {
		req := produceTo(9, topic, [16]byte{}, 0, -1, records(string(make([]byte, 500_000))))
		return call1[*kmsg.ProduceResponse](p, req).Topics[0].Partitions[0].ErrorCode
	}
	for i := 0; put("large") == 0; i++ {
		if i > 200 {
			t.Fatal("the disk is never full")
		}
	}
	if err := n.b.DeleteTopic(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	eventually(t, "there is room again", func() bool { return put("other") == 0 })
}

// TestSlowReaders: who asks for much and reads nothing takes the memory for fetched records, not the service: others get less at a time, and once
// they need the memory, who does not read loses the connection.
func TestSlowReaders(t *testing.T) {
	n := start(t, Options{FetchMemory: 12 << 20, FrameTimeout: 300 * time.Millisecond})
	id := n.create("large", 1)
	p := n.dial()
	for range 16 {
		p.put("large", 0, string(make([]byte, 900_000)))
	}
	n.create("small", 1)
	p.put("small", 0, "v")
	var deaf []*peer
	for range 4 {
		d := n.dial()
		_ = d.nc.(*net.TCPConn).SetReadBuffer(4096)
		for range 20 {
			req := fetchFrom(12, "large", id, 0, 0)
			req.MaxBytes, req.Topics[0].Partitions[0].PartitionMaxBytes = 50<<20, 50<<20
			d.send(req)
		}
		deaf = append(deaf, d)
	}
	eventually(t, "the memory is spent", n.s.fetches.halfSpent)
	for _, topic := range []string{"small", "large"} {
		for range 20 {
			req := fetchFrom(11, topic, id, 0, 0)
			req.Topics[0].Partitions[0].PartitionMaxBytes = 20 << 20
			if got := call1[*kmsg.FetchResponse](p, req).Topics[0].Partitions[0]; got.ErrorCode != 0 || len(got.RecordBatches) == 0 {
				t.Fatalf("fetch of %s: error %d, %d bytes", topic, got.ErrorCode, len(got.RecordBatches))
			}
		}
	}
	eventually(t, "who holds most of it is gone", func() bool { return !n.s.fetches.halfSpent() && n.s.Stats().Connections <= len(deaf) })
	for _, d := range deaf {
		_ = d.nc.Close()
	}
}
