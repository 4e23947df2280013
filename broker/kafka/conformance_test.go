package kafka

import (
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// meaningful makes a request of a key that has something to do: topic t with one partition exists, group g may.
func meaningful(key, version int16, topic [16]byte) kmsg.Request {
	req := kmsg.RequestForKey(key)
	req.SetVersion(version)
	switch r := req.(type) {
	case *kmsg.ProduceRequest:
		return produceTo(version, "t", topic, 0, -1, records("a", "b"))
	case *kmsg.FetchRequest:
		return fetchFrom(version, "t", topic, 0, 0)
	case *kmsg.ListOffsetsRequest:
		r.ReplicaID = -1
		p := kmsg.NewListOffsetsRequestTopicPartition()
		p.Timestamp = -1
		r.Topics = []kmsg.ListOffsetsRequestTopic{{Topic: "t", Partitions: []kmsg.ListOffsetsRequestTopicPartition{p}}}
	case *kmsg.OffsetCommitRequest:
		r.Group = "commits"
		p := kmsg.NewOffsetCommitRequestTopicPartition()
		p.Offset = 1
		r.Topics = []kmsg.OffsetCommitRequestTopic{{Topic: "t", TopicID: topic, Partitions: []kmsg.OffsetCommitRequestTopicPartition{p}}}
	case *kmsg.OffsetFetchRequest:
		r.Group = "commits"
		r.Topics = []kmsg.OffsetFetchRequestTopic{{Topic: "t", Partitions: []int32{0}}}
		g := kmsg.NewOffsetFetchRequestGroup()
		g.Group, g.Topics = "commits", []kmsg.OffsetFetchRequestGroupTopic{{Topic: "t", TopicID: topic, Partitions: []int32{0}}}
		r.Groups = []kmsg.OffsetFetchRequestGroup{g}
	case *kmsg.FindCoordinatorRequest:
		r.CoordinatorKey, r.CoordinatorKeys = "g", []string{"g", "h"}
	case *kmsg.JoinGroupRequest:
		r.Group, r.ProtocolType, r.SessionTimeoutMillis, r.RebalanceTimeoutMillis = fmt.Sprintf("join%d", version), "consumer", 10000, 10000
		r.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range", Metadata: []byte{1}}}
	case *kmsg.DescribeGroupsRequest:
		r.Groups = []string{"g", "commits"}
	case *kmsg.ApiVersionsRequest:
		r.ClientSoftwareName, r.ClientSoftwareVersion = "test", "1"
	case *kmsg.CreateTopicsRequest:
		topic := kmsg.NewCreateTopicsRequestTopic()
		topic.Topic, topic.NumPartitions, topic.ReplicationFactor = fmt.Sprintf("c%d", version), 2, 1
		r.Topics = []kmsg.CreateTopicsRequestTopic{topic}
	case *kmsg.DeleteTopicsRequest:
		name := "absent"
		r.TopicNames = []string{name}
		r.Topics = []kmsg.DeleteTopicsRequestTopic{{Topic: &name}}
	case *kmsg.DeleteRecordsRequest:
		r.Topics = []kmsg.DeleteRecordsRequestTopic{{Topic: "t", Partitions: []kmsg.DeleteRecordsRequestTopicPartition{{Offset: 0}}}}
	case *kmsg.OffsetForLeaderEpochRequest:
		p := kmsg.NewOffsetForLeaderEpochRequestTopicPartition()
		r.Topics = []kmsg.OffsetForLeaderEpochRequestTopic{{Topic: "t", Partitions: []kmsg.OffsetForLeaderEpochRequestTopicPartition{p}}}
	case *kmsg.DescribeConfigsRequest:
		r.IncludeSynonyms, r.IncludeDocumentation = true, true
		r.Resources = []kmsg.DescribeConfigsRequestResource{{ResourceType: 2, ResourceName: "t"}, {ResourceType: 4, ResourceName: "1"}, {ResourceType: 4}}
	case *kmsg.CreatePartitionsRequest:
		r.Topics = []kmsg.CreatePartitionsRequestTopic{{Topic: "t", Count: 1}}
	case *kmsg.IncrementalAlterConfigsRequest:
		value := "1000"
		r.Resources = []kmsg.IncrementalAlterConfigsRequestResource{{ResourceType: 2, ResourceName: "t",
			Configs: []kmsg.IncrementalAlterConfigsRequestResourceConfig{{Name: "retention.ms", Value: &value}}}}
	case *kmsg.DeleteGroupsRequest:
		r.Groups = []string{"absent"}
	case *kmsg.OffsetDeleteRequest:
		r.Group = "absent"
	}
	return req
}

// fetchFrom makes a Fetch request for one partition, outside of sessions.
func fetchFrom(version int16, topic string, id [16]byte, partition int32, offset int64) *kmsg.FetchRequest {
	req := at(kmsg.NewPtrFetchRequest(), version)
	req.MaxWaitMillis, req.MinBytes, req.MaxBytes, req.SessionEpoch = 0, 1, 1<<20, -1
	p := kmsg.NewFetchRequestTopicPartition()
	p.Partition, p.FetchOffset, p.PartitionMaxBytes = partition, offset, 1<<20
	req.Topics = []kmsg.FetchRequestTopic{{Topic: topic, TopicID: id, Partitions: []kmsg.FetchRequestTopicPartition{p}}}
	return req
}

// TestConformance sends a request that does something, and one that is as empty as can be, at every advertised version of every key. The
// answers decode with zero bytes left, and are what the codec would write.
func TestConformance(t *testing.T) {
	n := start(t, Options{})
	topic := n.create("t", 1)
	p := n.dial()
	find := at(kmsg.NewPtrFindCoordinatorRequest(), 0)
	find.CoordinatorKey = "g"
	for call1[*kmsg.FindCoordinatorResponse](p, find).ErrorCode != 0 {
	}
	versions := call1[*kmsg.ApiVersionsResponse](p, meaningful(keyAPIVersions, 4, topic))
	if len(versions.ApiKeys) != len(n.s.apis) {
		t.Fatalf("%d keys are advertised, %d are served", len(versions.ApiKeys), len(n.s.apis))
	}
	pairs := 0
	for _, k := range versions.ApiKeys {
		for v := k.MinVersion; v <= k.MaxVersion; v++ {
			pairs++
			t.Run(fmt.Sprintf("%s/%d", kmsg.NameForKey(k.ApiKey), v), func(t *testing.T) {
				p := n.dial()
				p.t = t
				for _, req := range []kmsg.Request{meaningful(k.ApiKey, v, topic), at(kmsg.RequestForKey(k.ApiKey), v)} {
					if k.ApiKey == keyProduce && len(req.(*kmsg.ProduceRequest).Topics) == 0 {
						req.(*kmsg.ProduceRequest).Acks = 1
					}
					resp := call1[kmsg.Response](p, req)
					if resp.GetVersion() != v {
						t.Errorf("version %d", resp.GetVersion())
					}
					if bad := unmapped(reflect.ValueOf(resp)); bad != "" {
						t.Errorf("%T: %s is UNKNOWN_SERVER_ERROR", resp, bad)
					}
				}
			})
		}
	}
	t.Logf("%d (API key, version) pairs are advertised, and answered in a form that kmsg decodes to the last byte", pairs)
}

// TestOldProduce: the versions that are advertised only for old librdkafka are refused in their own form, and bounded like all others.
func TestOldProduce(t *testing.T) {
	n := start(t, Options{FrameTimeout: 100 * time.Millisecond})
	n.create("t", 1)
	for v := int16(0); v < 3; v++ {
		req := produceTo(v, "t", [16]byte{}, 0, -1, records("a"))
		p := n.dial()
		if got := call1[*kmsg.ProduceResponse](p, req).Topics[0].Partitions[0]; got.ErrorCode != kerr.UnsupportedVersion.Code || got.BaseOffset != -1 {
			t.Errorf("version %d: %+v", v, got)
		}
		req.Topics[0].Partitions = make([]kmsg.ProduceRequestTopicPartition, maxElements)
		p.send(req)
		p.closed()
	}
}

// unmapped finds an error code -1, which no answer may have.
func unmapped(v reflect.Value) string {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			return unmapped(v.Elem())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if name := v.Type().Field(i).Name; name == "ErrorCode" && v.Field(i).Int() == -1 {
				return name
			} else if found := unmapped(v.Field(i)); found != "" {
				return name + "." + found
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			if found := unmapped(v.Index(i)); found != "" {
				return fmt.Sprintf("[%d].%s", i, found)
			}
		}
	}
	return ""
}

// table is docs/compatibility.md's table of keys.
func table() string {
	var b strings.Builder
	b.WriteString("| key | request | versions | not supported |\n|---|---|---|---|\n")
	apis := served()
	for key := int16(0); key <= maxKey; key++ {
		if a := apis[key]; a != nil {
			fmt.Fprintf(&b, "| %d | %s | %d-%d | %s |\n", key, a.name, a.min, a.max, a.note)
		}
	}
	return b.String()
}

// TestCompatibilityPage: docs/compatibility.md says what is served.
func TestCompatibilityPage(t *testing.T) {
	page, err := os.ReadFile("../../docs/compatibility.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(page), table()) {
		t.Errorf("docs/compatibility.md must contain this table:\n%s", table())
	}
}
