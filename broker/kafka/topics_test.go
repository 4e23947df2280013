package kafka

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// createOne makes a CreateTopics request for one topic.
func createOne(name string, partitions int32, factor int16, configs ...string) *kmsg.CreateTopicsRequest {
	req := at(kmsg.NewPtrCreateTopicsRequest(), 7)
	req.TimeoutMillis = 10_000
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = name, partitions, factor
	for i := 0; i < len(configs); i += 2 {
		topic.Configs = append(topic.Configs, kmsg.CreateTopicsRequestTopicConfig{Name: configs[i], Value: &configs[i+1]})
	}
	req.Topics = []kmsg.CreateTopicsRequestTopic{topic}
	return req
}

// TestCreateTopics (trap 16): validation, validate_only, assignments, configurations, duplicates.
func TestCreateTopics(t *testing.T) {
	n := start(t, Options{}, "num.partitions=3")
	p := n.dial()
	one := func(req *kmsg.CreateTopicsRequest, change func(*kmsg.CreateTopicsRequest)) kmsg.CreateTopicsResponseTopic {
		if change != nil {
			change(req)
		}
		return call1[*kmsg.CreateTopicsResponse](p, req).Topics[0]
	}
	assign := func(replicas ...int32) func(*kmsg.CreateTopicsRequest) {
		return func(r *kmsg.CreateTopicsRequest) {
			for i, id := range replicas {
				a := kmsg.CreateTopicsRequestTopicReplicaAssignment{Partition: int32(i), Replicas: []int32{id}}
				r.Topics[0].ReplicaAssignment = append(r.Topics[0].ReplicaAssignment, a)
			}
		}
	}
	again := func(r *kmsg.CreateTopicsRequest) {
		assign(1)(r)
		r.Topics[0].ReplicaAssignment = append(r.Topics[0].ReplicaAssignment, r.Topics[0].ReplicaAssignment[0])
	}
	validate := func(r *kmsg.CreateTopicsRequest) { r.ValidateOnly = true }
	for _, c := range []struct {
		name   string
		req    *kmsg.CreateTopicsRequest
		change func(*kmsg.CreateTopicsRequest)
		want   int16
	}{
		{"validate only", createOne("t", 2, 1), validate, 0},
		{"create", createOne("t", 2, 1), nil, 0},
		{"exists", createOne("t", 2, 1), nil, kerr.TopicAlreadyExists.Code},
		{"exists, validate only", createOne("t", 2, 1), validate, kerr.TopicAlreadyExists.Code},
		{"defaults", createOne("defaults", -1, -1), nil, 0},
		{"no partitions", createOne("x", 0, 1), nil, kerr.InvalidPartitions.Code},
		{"two replicas", createOne("x", 1, 2), nil, kerr.InvalidReplicationFactor.Code},
		{"illegal name", createOne("a b", 1, 1), nil, kerr.InvalidTopicException.Code},
		{"compaction", createOne("x", 1, 1, "cleanup.policy", "compact"), nil, kerr.InvalidConfig.Code},
		{"unknown key", createOne("x", 1, 1, "no.such.key", "1"), nil, kerr.InvalidConfig.Code},
		{"bad value", createOne("x", 1, 1, "retention.ms", "long"), nil, kerr.InvalidConfig.Code},
		{"bad value, validate only", createOne("x", 1, 1, "retention.ms", "long"), validate, kerr.InvalidConfig.Code},
		{"assigned", createOne("assigned", -1, -1), assign(1, 1), 0},
		{"assigned to a stranger", createOne("x", -1, -1), assign(7), kerr.InvalidReplicaAssignment.Code},
		{"assigned twice", createOne("x", -1, -1), again, kerr.InvalidReplicaAssignment.Code},
		{"offsets topic", createOne("__consumer_offsets", 1, 1), nil, kerr.InvalidTopicException.Code},
	} {
		r := one(c.req, c.change)
		if r.ErrorCode != c.want {
			t.Errorf("%s: %v (%v), want %v", c.name, kerr.ErrorForCode(r.ErrorCode), r.ErrorMessage, kerr.ErrorForCode(c.want))
		}
		if c.want != 0 && (r.ErrorMessage == nil || *r.ErrorMessage == "") {
			t.Errorf("%s: no message", c.name)
		}
		if c.name == "validate only" && n.b.Image().Topics["t"] != nil {
			t.Error("validate only has created the topic")
		}
	}
	if got := len(n.b.Image().Topics["defaults"].Partitions); got != 3 {
		t.Errorf("%d partitions by default", got)
	}
	if n.b.Image().Topics["x"] != nil {
		t.Error("a refused topic exists")
	}
	twice := createOne("twice", 1, 1)
	twice.Topics = append(twice.Topics, twice.Topics[0])
	if r := call1[*kmsg.CreateTopicsResponse](p, twice); len(r.Topics) != 1 || r.Topics[0].ErrorCode != kerr.InvalidRequest.Code {
		t.Errorf("a name twice: %+v", r)
	}
}

// TestCreatePartitions and the records in the partitions that were there before.
func TestCreatePartitions(t *testing.T) {
	n := start(t, Options{})
	n.create("t", 2)
	p := n.dial()
	p.put("t", 1, "a")
	for _, c := range []struct {
		topic    string
		count    int32
		validate bool
		want     int16
	}{
		{"t", 4, true, 0}, {"t", 2, false, kerr.InvalidPartitions.Code}, {"t", 1, false, kerr.InvalidPartitions.Code},
		{"absent", 3, false, kerr.UnknownTopicOrPartition.Code}, {"t", 3, false, 0},
	} {
		req := at(kmsg.NewPtrCreatePartitionsRequest(), 3)
		req.TimeoutMillis, req.ValidateOnly = 10_000, c.validate
		req.Topics = []kmsg.CreatePartitionsRequestTopic{{Topic: c.topic, Count: c.count}}
		if r := call1[*kmsg.CreatePartitionsResponse](p, req).Topics[0]; r.ErrorCode != c.want {
			t.Errorf("%+v: %+v", c, r)
		}
	}
	if base := p.put("t", 2, "new"); base != 0 {
		t.Errorf("offset %d in the new partition", base)
	}
	if base := p.put("t", 1, "b"); base != 1 {
		t.Errorf("offset %d in an old partition", base)
	}
}

// TestConfigs (traps 16, 18): what was set reads back with its source; a bad operation changes nothing.
func TestConfigs(t *testing.T) {
	n := start(t, Options{})
	n.create("t", 1)
	p := n.dial()
	describe := func(kind kmsg.ConfigResourceType, name string, keys ...string) kmsg.DescribeConfigsResponseResource {
		req := at(kmsg.NewPtrDescribeConfigsRequest(), 4)
		req.IncludeSynonyms = true
		req.Resources = []kmsg.DescribeConfigsRequestResource{{ResourceType: kind, ResourceName: name, ConfigNames: keys}}
		return call1[*kmsg.DescribeConfigsResponse](p, req).Resources[0]
	}
	alter := func(kind kmsg.ConfigResourceType, name string, op kmsg.IncrementalAlterConfigOp, validate bool, pairs ...string) int16 {
		req := at(kmsg.NewPtrIncrementalAlterConfigsRequest(), 1)
		req.ValidateOnly = validate
		r := kmsg.IncrementalAlterConfigsRequestResource{ResourceType: kind, ResourceName: name}
		for i := 0; i < len(pairs); i += 2 {
			r.Configs = append(r.Configs, kmsg.IncrementalAlterConfigsRequestResourceConfig{Name: pairs[i], Op: op, Value: &pairs[i+1]})
		}
		req.Resources = []kmsg.IncrementalAlterConfigsRequestResource{r}
		return call1[*kmsg.IncrementalAlterConfigsResponse](p, req).Resources[0].ErrorCode
	}
	const topic, broker = kmsg.ConfigResourceTypeTopic, kmsg.ConfigResourceTypeBroker
	value := func(kind kmsg.ConfigResourceType, name, key string) (string, kmsg.ConfigSource) {
		r := describe(kind, name, key)
		if r.ErrorCode != 0 || len(r.Configs) != 1 || r.Configs[0].Value == nil {
			t.Fatalf("%s of %s: %+v", key, name, r)
		}
		return *r.Configs[0].Value, r.Configs[0].Source
	}
	check := func(kind kmsg.ConfigResourceType, name, key, want string, source kmsg.ConfigSource) {
		t.Helper()
		if got, from := value(kind, name, key); got != want || from != source {
			t.Errorf("%s of %q: %s from %v, want %s from %v", key, name, got, from, want, source)
		}
	}
	check(topic, "t", "retention.ms", "604800000", kmsg.ConfigSourceDefaultConfig)
	if c := alter(topic, "t", 0, true, "retention.ms", "5000"); c != 0 {
		t.Errorf("validate only: %d", c)
	}
	check(topic, "t", "retention.ms", "604800000", kmsg.ConfigSourceDefaultConfig)
	if c := alter(topic, "t", 0, false, "retention.ms", "5000", "segment.bytes", "2000000"); c != 0 {
		t.Errorf("set: %d", c)
	}
	check(topic, "t", "retention.ms", "5000", kmsg.ConfigSourceDynamicTopicConfig)
	if c := alter(topic, "t", 0, false, "retention.ms", "6000", "segment.bytes", "many"); c != kerr.InvalidConfig.Code {
		t.Errorf("half good: %d", c)
	}
	check(topic, "t", "retention.ms", "5000", kmsg.ConfigSourceDynamicTopicConfig)
	if c := alter(topic, "t", 1, false, "retention.ms", ""); c != 0 {
		t.Errorf("delete: %d", c)
	}
	check(topic, "t", "retention.ms", "604800000", kmsg.ConfigSourceDefaultConfig)
	if c := alter(topic, "t", 0, false, "cleanup.policy", "compact"); c != kerr.InvalidConfig.Code {
		t.Errorf("compaction: %d", c)
	}
	if c := alter(broker, "", 0, false, "message.max.bytes", "3000000"); c != 0 {
		t.Errorf("all brokers: %d", c)
	}
	check(broker, "1", "message.max.bytes", "3000000", kmsg.ConfigSourceDynamicDefaultBrokerConfig)
	check(topic, "t", "max.message.bytes", "3000000", kmsg.ConfigSourceDynamicDefaultBrokerConfig)
	check(broker, "1", "node.id", "1", kmsg.ConfigSourceDefaultConfig)
	if r := describe(topic, "absent"); r.ErrorCode != kerr.UnknownTopicOrPartition.Code {
		t.Errorf("absent topic: %+v", r)
	}
	if r := describe(8, "1"); r.ErrorCode != kerr.InvalidRequest.Code {
		t.Errorf("broker loggers: %+v", r)
	}
	find := at(kmsg.NewPtrFindCoordinatorRequest(), 4)
	find.CoordinatorKeys = []string{"g"}
	call1[*kmsg.FindCoordinatorResponse](p, find)
	check(topic, "__consumer_offsets", "cleanup.policy", "compact", kmsg.ConfigSourceDynamicTopicConfig)
}

// TestLogDirs (trap 18): the one directory, with the partitions asked for.
func TestLogDirs(t *testing.T) {
	n := start(t, Options{})
	n.create("t", 3)
	n.create("u", 1)
	p := n.dial()
	p.put("t", 1, "some record")
	req := at(kmsg.NewPtrDescribeLogDirsRequest(), 4)
	resp := call1[*kmsg.DescribeLogDirsResponse](p, req)
	if len(resp.Dirs) != 1 || len(resp.Dirs[0].Topics) != 2 || len(resp.Dirs[0].Topics[0].Partitions) != 3 || resp.Dirs[0].Topics[0].Partitions[1].Size == 0 {
		t.Errorf("all: %+v", resp)
	}
	req.Topics = []kmsg.DescribeLogDirsRequestTopic{{Topic: "t", Partitions: []int32{1, 9}}, {Topic: "absent", Partitions: []int32{0}}}
	resp = call1[*kmsg.DescribeLogDirsResponse](p, req)
	if len(resp.Dirs[0].Topics) != 1 || len(resp.Dirs[0].Topics[0].Partitions) != 1 || resp.Dirs[0].Topics[0].Partitions[0].Partition != 1 {
		t.Errorf("one: %+v", resp)
	}
}
