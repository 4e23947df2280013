package kafka

import (
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"chronik.dev/chronik/broker/metadata"
)

// ask makes a Metadata request for names.
func ask(version int16, create bool, names ...string) *kmsg.MetadataRequest {
	req := at(kmsg.NewPtrMetadataRequest(), version)
	req.AllowAutoTopicCreation = create
	req.Topics = []kmsg.MetadataRequestTopic{}
	for _, name := range names {
		req.Topics = append(req.Topics, kmsg.MetadataRequestTopic{Topic: &name})
	}
	return req
}

func topicsOf(resp *kmsg.MetadataResponse) string {
	var all []string
	for _, t := range resp.Topics {
		name := "?"
		if t.Topic != nil {
			name = *t.Topic
		}
		if t.ErrorCode != 0 {
			name += "!" + kerr.TypedErrorForCode(t.ErrorCode).Message
		}
		all = append(all, name)
	}
	return strings.Join(all, " ")
}

// TestMetadataTopics (trap 5): null and empty lists, duplicates, ids, auto-creation and its limits.
func TestMetadataTopics(t *testing.T) {
	n := start(t, Options{})
	a := n.create("a", 2)
	n.create("b", 1)
	p := n.dial()
	null := at(kmsg.NewPtrMetadataRequest(), 12)
	byID := at(kmsg.NewPtrMetadataRequest(), 12)
	byID.Topics = []kmsg.MetadataRequestTopic{{TopicID: a}, {TopicID: [16]byte{7}}, {TopicID: a}}
	tooEarly := at(kmsg.NewPtrMetadataRequest(), 11)
	tooEarly.Topics = byID.Topics[:1]
	long := strings.Repeat("x", 250)
	for _, c := range []struct {
		name string
		req  *kmsg.MetadataRequest
		want string
	}{
		{"null is all", null, "a b"},
		{"empty is none", ask(12, true), ""},
		{"empty is none in version 1", ask(1, true), ""},
		{"empty is all in version 0", ask(0, true), "a b"},
		{"twice", ask(9, true, "a", "a"), "a"},
		{"by id", byID, "a ?!UNKNOWN_TOPIC_ID"},
		{"by id before version 12", tooEarly, "!INVALID_REQUEST"},
		{"missing, not to be created", ask(4, false, "new"), "new!UNKNOWN_TOPIC_OR_PARTITION"},
		{"illegal", ask(4, true, "a/b", "", ".", "..", "ä", long), "a/b!INVALID_TOPIC_EXCEPTION !INVALID_TOPIC_EXCEPTION " +
			".!INVALID_TOPIC_EXCEPTION ..!INVALID_TOPIC_EXCEPTION ä!INVALID_TOPIC_EXCEPTION " + long + "!INVALID_TOPIC_EXCEPTION"},
		{"illegal, not to be created", ask(4, false, "a/b"), "a/b!INVALID_TOPIC_EXCEPTION"},
		{"created", ask(4, true, "new"), "new"},
		{"created before version 4", ask(1, false, "newer"), "newer"},
		{"all in the end", null, "a b new newer"},
	} {
		if got := topicsOf(call1[*kmsg.MetadataResponse](p, c.req)); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	for _, topic := range call1[*kmsg.MetadataResponse](p, null).Topics {
		for _, part := range topic.Partitions {
			if part.Leader != 1 || !slices.Equal(part.Replicas, []int32{1}) || !slices.Equal(part.ISR, []int32{1}) || part.OfflineReplicas != nil || part.ErrorCode != 0 {
				t.Errorf("%s: %+v", *topic.Topic, part)
			}
		}
		if topic.TopicID == [16]byte{} || topic.AuthorizedOperations != noOperations {
			t.Errorf("%+v", topic)
		}
	}
	off := start(t, Options{}, "auto.create.topics.enable=false").dial()
	if got := topicsOf(call1[*kmsg.MetadataResponse](off, ask(12, true, "new"))); got != "new!UNKNOWN_TOPIC_OR_PARTITION" {
		t.Errorf("auto-creation is off: %q", got)
	}
}

// TestAdvertised (trap 5): one listener's endpoint, the same in Metadata, DescribeCluster and FindCoordinator; no leader that is not among
// the brokers.
func TestAdvertised(t *testing.T) {
	n := start(t, Options{})
	n.create("t", 1)
	err := n.b.SetListeners(t.Context(), []metadata.Endpoint{{Name: "PLAINTEXT", Host: "outside.example", Port: 1234}, {Name: "INSIDE", Host: "inside", Port: 9}})
	if err != nil {
		t.Fatal(err)
	}
	p := n.dial()
	m := call1[*kmsg.MetadataResponse](p, ask(12, false, "t"))
	if len(m.Brokers) != 1 || m.Brokers[0].Host != "outside.example" || m.Brokers[0].Port != 1234 || m.ControllerID != m.Brokers[0].NodeID {
		t.Errorf("metadata: %+v", m)
	}
	if m.Topics[0].Partitions[0].Leader != m.Brokers[0].NodeID {
		t.Errorf("leader %d of brokers %+v", m.Topics[0].Partitions[0].Leader, m.Brokers)
	}
	d := call1[*kmsg.DescribeClusterResponse](p, at(kmsg.NewPtrDescribeClusterRequest(), 2))
	if len(d.Brokers) != 1 || d.Brokers[0].Host != "outside.example" || d.Brokers[0].Port != 1234 || d.ClusterID != *m.ClusterID || d.ControllerID != 1 {
		t.Errorf("cluster: %+v", d)
	}
	f := at(kmsg.NewPtrFindCoordinatorRequest(), 6)
	f.CoordinatorKeys = []string{"g"}
	if c := call1[*kmsg.FindCoordinatorResponse](p, f).Coordinators[0]; c.Host != "outside.example" || c.Port != 1234 || c.NodeID != 1 || c.ErrorCode != 0 {
		t.Errorf("coordinator: %+v", c)
	}
	f.CoordinatorType = 1
	if c := call1[*kmsg.FindCoordinatorResponse](p, f).Coordinators[0]; c.ErrorCode != kerr.InvalidRequest.Code || c.ErrorMessage == nil || c.NodeID != -1 {
		t.Errorf("transaction coordinator: %+v", c)
	}
	hidden := n.s.b.Image()
	c := &conn{s: n.s, listener: "OTHER"}
	if len(c.brokers(hidden)) != 0 || c.topic(hidden, hidden.Topics["t"], 0).Partitions[0].Leader != -1 {
		t.Error("a listener that no broker has sees a leader")
	}
}

// TestOperations (KIP-430): without an authorizer everything that Kafka 4.3 knows is allowed; unasked, nothing is said.
func TestOperations(t *testing.T) {
	n := start(t, Options{})
	n.create("t", 1)
	p := n.dial()
	req := ask(10, false, "t")
	req.IncludeClusterAuthorizedOperations, req.IncludeTopicAuthorizedOperations = true, true
	if r := call1[*kmsg.MetadataResponse](p, req); r.AuthorizedOperations != 8096 || r.Topics[0].AuthorizedOperations != 3576 {
		t.Errorf("cluster %d, topic %d", r.AuthorizedOperations, r.Topics[0].AuthorizedOperations)
	}
	cluster := at(kmsg.NewPtrDescribeClusterRequest(), 1)
	cluster.IncludeClusterAuthorizedOperations = true
	if r := call1[*kmsg.DescribeClusterResponse](p, cluster); r.ClusterAuthorizedOperations != 8096 {
		t.Errorf("cluster %d", r.ClusterAuthorizedOperations)
	}
	cluster.EndpointType = 2
	if r := call1[*kmsg.DescribeClusterResponse](p, cluster); r.ErrorCode != kerr.MismatchedEndpointType.Code {
		t.Errorf("controllers: %+v", r)
	}
}

// TestListOffsets (trap 11): the special timestamps since their versions, exact records, nothing found, epochs.
func TestListOffsets(t *testing.T) {
	n := start(t, Options{})
	n.create("t", 1)
	p := n.dial()
	p.put("t", 0, "a", "b", "c") // timestamps 1000, 1001, 1002
	p.put("t", 0, "d")           // 1000
	none := [2]int64{-1, -1}
	for _, c := range []struct {
		version   int16
		timestamp int64
		want      [2]int64 // offset, timestamp
		code      int16
	}{
		{1, -1, [2]int64{4, -1}, 0}, {1, -2, [2]int64{0, -1}, 0}, {7, -3, [2]int64{2, 1002}, 0}, {8, -4, [2]int64{0, -1}, 0}, {9, -5, none, 0},
		{11, -6, none, 0}, {6, -3, none, 35}, {7, -4, none, 35}, {8, -5, none, 35}, {10, -6, none, 35}, {11, -7, none, 35},
		{4, 1001, [2]int64{1, 1001}, 0}, {4, 0, [2]int64{0, 1000}, 0}, {4, 1002, [2]int64{2, 1002}, 0}, {4, 1003, none, 0},
	} {
		req := at(kmsg.NewPtrListOffsetsRequest(), c.version)
		part := kmsg.NewListOffsetsRequestTopicPartition()
		part.Timestamp = c.timestamp
		req.Topics = []kmsg.ListOffsetsRequestTopic{{Topic: "t", Partitions: []kmsg.ListOffsetsRequestTopicPartition{part}}}
		for req.IsolationLevel = range int8(2) {
			if r := call1[*kmsg.ListOffsetsResponse](p, req).Topics[0].Partitions[0]; r.ErrorCode != c.code || [2]int64{r.Offset, r.Timestamp} != c.want {
				t.Errorf("version %d, timestamp %d: %+v", c.version, c.timestamp, r)
			}
		}
	}
	req := at(kmsg.NewPtrListOffsetsRequest(), 5)
	part := kmsg.NewListOffsetsRequestTopicPartition()
	part.Timestamp, part.CurrentLeaderEpoch = -1, 99
	req.Topics = []kmsg.ListOffsetsRequestTopic{{Topic: "t", Partitions: []kmsg.ListOffsetsRequestTopicPartition{part}}}
	if r := call1[*kmsg.ListOffsetsResponse](p, req).Topics[0].Partitions[0]; r.ErrorCode != kerr.UnknownLeaderEpoch.Code {
		t.Errorf("epoch 99: %+v", r)
	}
	req.Topics[0].Partitions = append(req.Topics[0].Partitions, part)
	if r := call1[*kmsg.ListOffsetsResponse](p, req).Topics[0].Partitions; len(r) != 1 || r[0].ErrorCode != kerr.InvalidRequest.Code {
		t.Errorf("a partition twice: %+v", r)
	}
}

// TestOffsetForLeaderEpoch (trap 11): the epoch in force ends at the end of the log, a future one is unknown.
func TestOffsetForLeaderEpoch(t *testing.T) {
	n := start(t, Options{})
	n.create("t", 1)
	p := n.dial()
	p.put("t", 0, "a", "b")
	l, err := n.b.Log("t", 0)
	if err != nil {
		t.Fatal(err)
	}
	now := l.LeaderEpoch()
	for _, c := range []struct {
		current, asked, epoch int32
		end                   int64
		code                  int16
	}{
		{-1, now, now, 2, 0}, {now, now, now, 2, 0}, {-1, now + 1, -1, -1, 0}, {now + 1, now, -1, -1, kerr.UnknownLeaderEpoch.Code},
	} {
		req := at(kmsg.NewPtrOffsetForLeaderEpochRequest(), 4)
		part := kmsg.NewOffsetForLeaderEpochRequestTopicPartition()
		part.CurrentLeaderEpoch, part.LeaderEpoch = c.current, c.asked
		req.Topics = []kmsg.OffsetForLeaderEpochRequestTopic{{Topic: "t", Partitions: []kmsg.OffsetForLeaderEpochRequestTopicPartition{part}}}
		r := call1[*kmsg.OffsetForLeaderEpochResponse](p, req).Topics[0].Partitions[0]
		if r.ErrorCode != c.code || r.LeaderEpoch != c.epoch || r.EndOffset != c.end {
			t.Errorf("%+v: %+v", c, r)
		}
	}
}

// TestRestart (traps 6, 9): ids, records, log start, offsets and the memory of producers are there after the node was stopped and started.
func TestRestart(t *testing.T) {
	n := start(t, Options{})
	id := n.create("t", 1)
	p := n.dial()
	who := call1[*kmsg.InitProducerIDResponse](p, at(kmsg.NewPtrInitProducerIDRequest(), 4))
	batch := func() *kmsg.ProduceRequest {
		return produceTo(9, "t", id, 0, -1, built(0, 0, who.ProducerID, who.ProducerEpoch, 0, "a", "b", "c"))
	}
	call1[*kmsg.ProduceResponse](p, batch())
	del := at(kmsg.NewPtrDeleteRecordsRequest(), 2)
	del.Topics = []kmsg.DeleteRecordsRequestTopic{{Topic: "t", Partitions: []kmsg.DeleteRecordsRequestTopicPartition{{Offset: 1}}}}
	if r := call1[*kmsg.DeleteRecordsResponse](p, del).Topics[0].Partitions[0]; r.ErrorCode != 0 {
		t.Fatalf("delete records: %+v", r)
	}
	find := at(kmsg.NewPtrFindCoordinatorRequest(), 0)
	find.CoordinatorKey = "commits"
	call1[*kmsg.FindCoordinatorResponse](p, find)
	commit := meaningful(8, 8, id)
	eventually(t, "the offset is committed", func() bool {
		return call1[*kmsg.OffsetCommitResponse](p, commit).Topics[0].Partitions[0].ErrorCode == 0
	})
	n.stop()

	again := startOn(t, n.fs, Options{})
	q := again.dial()
	m := call1[*kmsg.MetadataResponse](q, ask(12, false, "t"))
	if m.Topics[0].TopicID != id || m.Topics[0].Partitions[0].LeaderEpoch < 1 {
		t.Errorf("after the restart: %+v", m.Topics[0])
	}
	r := call1[*kmsg.FetchResponse](q, fetchFrom(13, "", id, 0, 1)).Topics[0].Partitions[0]
	if got := strings.Join(values(t, r.RecordBatches, 1), " "); got != "b c" || r.LogStartOffset != 1 {
		t.Errorf("records %q, %+v", got, r)
	}
	old := fetchFrom(13, "", id, 0, 1)
	old.Topics[0].Partitions[0].CurrentLeaderEpoch = 0
	if r := call1[*kmsg.FetchResponse](q, old).Topics[0].Partitions[0]; r.ErrorCode != kerr.FencedLeaderEpoch.Code || r.CurrentLeader.LeaderID != 1 {
		t.Errorf("the epoch of before: %+v", r)
	}
	old.SetVersion(18)
	if r := call1[*kmsg.FetchResponse](q, old); len(r.Brokers) != 1 || r.Brokers[0].NodeID != 1 || r.Brokers[0].Host != "127.0.0.1" {
		t.Errorf("hints (KIP-951): %+v", r.Brokers)
	}
	if r := call1[*kmsg.ProduceResponse](q, batch()).Topics[0].Partitions[0]; r.ErrorCode != 0 || r.BaseOffset != 0 {
		t.Errorf("a duplicate of before the restart: %+v", r)
	}
	if next := call1[*kmsg.InitProducerIDResponse](q, at(kmsg.NewPtrInitProducerIDRequest(), 4)); next.ProducerID <= who.ProducerID {
		t.Errorf("producer id %d after %d", next.ProducerID, who.ProducerID)
	}
	offsets := meaningful(9, 7, id)
	var got *kmsg.OffsetFetchResponse
	eventually(t, "the offsets are loaded", func() bool {
		got = call1[*kmsg.OffsetFetchResponse](q, offsets)
		return got.ErrorCode == 0
	})
	if got.Topics[0].Partitions[0].Offset != 1 {
		t.Errorf("offsets: %+v", got)
	}
}
