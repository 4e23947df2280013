package kafka

import (
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func (x *transcript) sessions() {
	step := func(name string, req *kmsg.FetchRequest) *kmsg.FetchResponse {
		r := call1[*kmsg.FetchResponse](x.p, req)
		x.note("session "+name, "%s, has one %v, %q", kerrName(r.ErrorCode), r.SessionID != 0, heard(r))
		return r
	}
	end := func(req *kmsg.FetchRequest) *kmsg.FetchRequest {
		for i := range req.Topics[0].Partitions {
			req.Topics[0].Partitions[i].FetchOffset = 5 - int64(req.Topics[0].Partitions[i].Partition)
		}
		return req
	}
	id := step("full", end(sessionFetch(12, 0, 0, "t", x.t, 0, 1))).SessionID
	step("nothing new", sessionFetch(12, id, 1, "t", x.t))
	step("bad offset", sessionFetch(12, id, 2, "t", x.t, 0))
	step("wrong epoch", sessionFetch(12, id, 2, "t", x.t))
	step("by id", sessionFetch(13, id, 3, "t", x.t))
	forget := sessionFetch(12, id, 3, "t", x.t)
	forget.ForgottenTopics = []kmsg.FetchRequestForgottenTopic{{Topic: "t", Partitions: []int32{0}}}
	step("forget", forget)
	forget.SessionEpoch, forget.ForgottenTopics[0].Partitions[0] = 4, 1
	step("forget the last", forget)
	step("afterwards", sessionFetch(12, id, 5, "t", x.t))
	step("unknown", sessionFetch(12, 1, 5, "t", x.t))
	step("empty full", sessionFetch(12, 0, 0, "t", x.t))
	id = step("full of absent", sessionFetch(12, 0, 0, "absent", x.t, 0)).SessionID
	step("absent again", sessionFetch(12, id, 1, "absent", x.t))
	step("close", sessionFetch(12, id, -1, "t", x.t))
	id = step("full by id", sessionFetch(13, 0, 0, "", [16]byte{7}, 0)).SessionID
	step("unknown id again", sessionFetch(13, id, 1, "", x.t))
}

func (x *transcript) offsets() {
	list := func(name string, version int16, timestamp int64, epoch int32, topic string, partitions ...int32) {
		req := at(kmsg.NewPtrListOffsetsRequest(), version)
		req.Topics = []kmsg.ListOffsetsRequestTopic{{Topic: topic}}
		for _, n := range partitions {
			p := kmsg.NewListOffsetsRequestTopicPartition()
			p.Partition, p.Timestamp, p.CurrentLeaderEpoch = n, timestamp, epoch
			req.Topics[0].Partitions = append(req.Topics[0].Partitions, p)
		}
		for _, p := range call1[*kmsg.ListOffsetsResponse](x.p, req).Topics[0].Partitions {
			x.note("list "+name, "%s, offset %d, timestamp %d, epoch %d", kerrName(p.ErrorCode), p.Offset, p.Timestamp, min(p.LeaderEpoch, 0))
		}
	}
	for _, version := range []int16{1, 6, 7, 8, 9, 10, 11} {
		for timestamp := int64(-7); timestamp < 0; timestamp++ {
			list("special", version, timestamp, -1, "t", 0)
		}
	}
	for _, timestamp := range []int64{0, 999, 1000, 1001, 1002, 1003, 1 << 60} {
		list("timestamp", 7, timestamp, -1, "t", 0)
	}
	list("empty", 7, -1, -1, "d", 0)
	list("empty, max", 7, -3, -1, "d", 0)
	list("empty, earliest", 7, -2, -1, "d", 0)
	list("epoch ahead", 7, -1, 60, "t", 0)
	list("twice", 7, -1, -1, "t", 0, 0)
	list("unknown topic", 7, -1, -1, "absent", 0)
	list("unknown partition", 7, -1, -1, "t", 9)
	epochs := func(name string, current, asked int32, partition int32) {
		req := at(kmsg.NewPtrOffsetForLeaderEpochRequest(), 4)
		p := kmsg.NewOffsetForLeaderEpochRequestTopicPartition()
		p.Partition, p.CurrentLeaderEpoch, p.LeaderEpoch = partition, current, asked
		req.Topics = []kmsg.OffsetForLeaderEpochRequestTopic{{Topic: "t", Partitions: []kmsg.OffsetForLeaderEpochRequestTopicPartition{p}}}
		r := call1[*kmsg.OffsetForLeaderEpochResponse](x.p, req).Topics[0].Partitions[0]
		x.note("epoch "+name, "%s, epoch %d, end %d", kerrName(r.ErrorCode), min(r.LeaderEpoch, 0), r.EndOffset)
	}
	epochs("ahead", -1, 60, 0)
	epochs("current ahead", 60, 0, 0)
	epochs("none", -1, -1, 0)
	epochs("unknown partition", -1, 0, 9)
	remove := func(name, topic string, partition int32, offset int64) {
		req := at(kmsg.NewPtrDeleteRecordsRequest(), 2)
		req.TimeoutMillis = 10_000
		req.Topics = []kmsg.DeleteRecordsRequestTopic{{Topic: topic, Partitions: []kmsg.DeleteRecordsRequestTopicPartition{{Partition: partition, Offset: offset}}}}
		r := call1[*kmsg.DeleteRecordsResponse](x.p, req).Topics[0].Partitions[0]
		x.note("delete records "+name, "%s, %d", kerrName(r.ErrorCode), r.LowWatermark)
	}
	remove("unknown topic", "absent", 0, 0)
	remove("unknown partition", "t", 9, 0)
	remove("-2", "t", 0, -2)
	remove("beyond", "t", 0, 99)
	remove("inside a batch", "t", 0, 1)
	remove("below", "t", 0, 0)
	remove("to the end", "t", 0, -1)
	remove("empty", "d", 0, -1)
	list("after deletion, earliest", 7, -2, -1, "t", 0)
	list("after deletion, max", 7, -3, -1, "t", 0)
	list("after deletion, time", 7, 1000, -1, "t", 0)
}

func (x *transcript) configs() {
	value := func(s string) *string { return &s }
	for _, c := range []struct {
		name string
		kind kmsg.ConfigResourceType
		of   string
		key  string
		op   kmsg.IncrementalAlterConfigOp
		v    *string
	}{
		{"set", 2, "t", "retention.ms", 0, value("5000")}, {"null", 2, "t", "retention.ms", 0, nil}, {"bad value", 2, "t", "retention.ms", 0, value("x")},
		{"unknown key", 2, "t", "no.such.key", 0, value("1")}, {"unknown topic", 2, "absent", "retention.ms", 0, value("1")},
		{"append to a number", 2, "t", "retention.ms", 2, value("1")}, {"delete", 2, "t", "retention.ms", 1, nil}, {"delete again", 2, "t", "retention.ms", 1, nil},
		{"operation 9", 2, "t", "retention.ms", 9, value("1")}, {"all brokers", 4, "", "message.max.bytes", 0, value("1048588")},
		{"other broker", 4, "77", "message.max.bytes", 0, value("1048588")}, {"broker x", 4, "x", "message.max.bytes", 0, value("1048588")},
		{"read only", 4, "1", "node.id", 0, value("2")}, {"kind 99", 99, "t", "retention.ms", 0, value("1")}, {"below the least", 2, "t", "retention.ms", 0, value("-2")},
	} {
		req := at(kmsg.NewPtrIncrementalAlterConfigsRequest(), 1)
		req.Resources = []kmsg.IncrementalAlterConfigsRequestResource{{ResourceType: c.kind, ResourceName: c.of,
			Configs: []kmsg.IncrementalAlterConfigsRequestResourceConfig{{Name: c.key, Op: c.op, Value: c.v}}}}
		x.note("alter "+c.name, "%s", kerrName(call1[*kmsg.IncrementalAlterConfigsResponse](x.p, req).Resources[0].ErrorCode))
	}
	for _, c := range []struct {
		kind kmsg.ConfigResourceType
		of   string
		keys []string
	}{
		{2, "t", []string{"retention.ms", "max.message.bytes", "segment.bytes"}}, {2, "absent", nil}, {2, "a b", nil}, {2, "t", []string{}}, {2, "t", []string{"no.such.key"}},
		{4, "1", []string{"num.partitions"}}, {4, "77", nil}, {4, "x", nil}, {99, "t", nil},
	} {
		req := at(kmsg.NewPtrDescribeConfigsRequest(), 4)
		req.Resources = []kmsg.DescribeConfigsRequestResource{{ResourceType: c.kind, ResourceName: c.of, ConfigNames: c.keys}}
		r := call1[*kmsg.DescribeConfigsResponse](x.p, req).Resources[0]
		var all []string
		for _, e := range r.Configs {
			if len(r.Configs) < 5 {
				all = append(all, e.Name+"="+*e.Value+" "+e.ConfigType.String())
			}
		}
		x.note("describe "+c.of+" "+strings.Join(c.keys, ","), "%s, %v entries: %d", kerrName(r.ErrorCode), sortedSet(all), min(len(r.Configs), 10))
	}
}

func (x *transcript) topics() {
	grow := func(name, topic string, count int32, assignment ...int32) {
		req := at(kmsg.NewPtrCreatePartitionsRequest(), 3)
		req.TimeoutMillis = 10_000
		req.Topics = []kmsg.CreatePartitionsRequestTopic{{Topic: topic, Count: count}}
		for _, a := range assignment {
			req.Topics[0].Assignment = append(req.Topics[0].Assignment, kmsg.CreatePartitionsRequestTopicAssignment{Replicas: []int32{a}})
		}
		x.note("partitions "+name, "%s", kerrName(call1[*kmsg.CreatePartitionsResponse](x.p, req).Topics[0].ErrorCode))
	}
	grow("unknown topic", "absent", 5)
	grow("same", "t", 2)
	grow("fewer", "t", 1)
	grow("negative", "t", -1)
	grow("stranger", "t", 3, 77)
	grow("too many assigned", "t", 3, 1, 1)
	grow("more", "t", 3)
	grow("assigned", "t", 4, 1)
	remove := func(name string, version int16, topic *string, id [16]byte) {
		req := at(kmsg.NewPtrDeleteTopicsRequest(), version)
		req.TimeoutMillis = 10_000
		if version < 6 {
			req.TopicNames = []string{*topic}
		} else {
			req.Topics = []kmsg.DeleteTopicsRequestTopic{{Topic: topic, TopicID: id}}
		}
		r := call1[*kmsg.DeleteTopicsResponse](x.p, req).Topics[0]
		x.note("delete "+name, "%s, named %v, id %v", kerrName(r.ErrorCode), r.Topic != nil, r.TopicID == x.t)
	}
	absent, other := "absent", "t"
	remove("unknown name", 6, &absent, [16]byte{})
	remove("unknown name, version 1", 1, &absent, [16]byte{})
	remove("unknown id", 6, nil, [16]byte{4})
	remove("nothing", 6, nil, [16]byte{})
	remove("by id", 6, nil, x.t)
	remove("by name of before", 6, &other, [16]byte{})
}

func (x *transcript) versions() {
	for _, version := range []int16{5, 127} {
		x.p.write(frame(keyAPIVersions, version, 9, true, []byte("\x02a\x021\x00")))
		_, rest := x.p.read()
		resp := kmsg.NewPtrApiVersionsResponse()
		if err := resp.ReadFrom(rest); err != nil {
			x.p.t.Fatal(err)
		}
		x.note("versions", "%s, %v", kerrName(resp.ErrorCode), resp.ApiKeys)
	}
	ours := served()
	for _, k := range call1[*kmsg.ApiVersionsResponse](x.p, meaningful(keyAPIVersions, 4, x.t)).ApiKeys {
		if a := ours[k.ApiKey]; a != nil {
			x.note("version of "+a.name, "%d-%d", k.MinVersion, k.MaxVersion)
		}
	}
	init := at(kmsg.NewPtrInitProducerIDRequest(), 5)
	r := call1[*kmsg.InitProducerIDResponse](x.p, init)
	for range 1000 {
		if r.ErrorCode != 14 { // COORDINATOR_LOAD_IN_PROGRESS: Kafka fetches a block of ids
			break
		}
		time.Sleep(10 * time.Millisecond)
		r = call1[*kmsg.InitProducerIDResponse](x.p, init)
	}
	x.note("producer id", "%s, %v, epoch %d", kerrName(r.ErrorCode), r.ProducerID >= 0, r.ProducerEpoch)
}

func sortedSet(all []string) string {
	for i := range all {
		for j := range i {
			if all[i] < all[j] {
				all[i], all[j] = all[j], all[i]
			}
		}
	}
	return strings.Join(all, ", ")
}
