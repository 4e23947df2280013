package kafka

import (
	"context"
	"sync"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"chronik.dev/chronik/broker"
	"chronik.dev/chronik/broker/config"
)

// createTopics answers CreateTopics. Each topic is created for itself; a name twice in a request is refused each time.
func createTopics(ca *call, req *kmsg.CreateTopicsRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.CreateTopicsResponse)
	ctx, cancel := ca.within(req.TimeoutMillis)
	defer cancel()
	named := map[string]int{}
	for i := range req.Topics {
		named[req.Topics[i].Topic]++
	}
	for i := range req.Topics {
		t := &req.Topics[i]
		o := kmsg.NewCreateTopicsResponseTopic()
		o.Topic = t.Topic
		if named[t.Topic] > 1 {
			if named[t.Topic] < len(req.Topics)+2 { // answered once
				o.ErrorCode, o.ErrorMessage = refusal(kerr.InvalidRequest, "the topic is in the request more than once")
				resp.Topics = append(resp.Topics, o)
				named[t.Topic] = len(req.Topics) + 2
			}
			continue
		}
		createTopic(ctx, ca, req, t, &o)
		resp.Topics = append(resp.Topics, o)
	}
	return resp
}

func createTopic(ctx context.Context, ca *call, req *kmsg.CreateTopicsRequest, t *kmsg.CreateTopicsRequestTopic, o *kmsg.CreateTopicsResponseTopic) {
	spec := broker.TopicSpec{Name: t.Topic, Partitions: t.NumPartitions, ReplicationFactor: t.ReplicationFactor}
	if len(t.ReplicaAssignment) > 0 {
		spec.Assignment = map[int32][]int32{}
		for _, a := range t.ReplicaAssignment {
			if spec.Assignment[a.Partition] != nil {
				o.ErrorCode, o.ErrorMessage = refusal(kerr.InvalidReplicaAssignment, "a partition is assigned twice")
				return
			}
			spec.Assignment[a.Partition] = a.Replicas
		}
	}
	if len(t.Configs) > 0 {
		spec.Configs = map[string]*string{}
		for _, c := range t.Configs {
			spec.Configs[c.Name] = c.Value
		}
	}
	r := ca.c.s.b.CreateTopics(ctx, []broker.TopicSpec{spec}, req.ValidateOnly)[0]
	if r.Err != nil {
		o.ErrorCode, o.ErrorMessage = failure(r.Err)
		return
	}
	o.TopicID = r.Topic.ID
	o.NumPartitions = int32(len(r.Topic.Partitions))
	o.ReplicationFactor = int16(len(r.Topic.Partitions[0].Replicas))
	for i := range r.Configs {
		e := &r.Configs[i]
		o.Configs = append(o.Configs, kmsg.CreateTopicsResponseTopicConfig{
			Name: e.Name, Value: e.Value, ReadOnly: e.ReadOnly, Source: int8(e.Source), IsSensitive: e.Sensitive,
		})
	}
}

// deleteTopics answers DeleteTopics, by name or from version 6 on also by id.
func deleteTopics(ca *call, req *kmsg.DeleteTopicsRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.DeleteTopicsResponse)
	ctx, cancel := ca.within(req.TimeoutMillis)
	defer cancel()
	topics := req.Topics
	if req.Version < 6 {
		topics = nil
		for i := range req.TopicNames {
			topics = append(topics, kmsg.DeleteTopicsRequestTopic{Topic: &req.TopicNames[i]})
		}
	}
	b := ca.c.s.b
	for i := range topics {
		t := &topics[i]
		o := kmsg.NewDeleteTopicsResponseTopic()
		o.Topic, o.TopicID = t.Topic, t.TopicID
		switch {
		case (t.Topic != nil) == (t.TopicID != [16]byte{}):
			o.ErrorCode, o.ErrorMessage = refusal(kerr.InvalidRequest, "give either the name or the id of a topic")
		case t.Topic != nil:
			topic := b.Image().Topics[*t.Topic]
			if topic == nil {
				o.ErrorCode, o.ErrorMessage = refusal(kerr.UnknownTopicOrPartition, "the topic does not exist")
				break
			}
			o.TopicID = topic.ID
			o.ErrorCode, o.ErrorMessage = failure(b.DeleteTopic(ctx, topic.ID))
		default:
			if topic := b.Image().TopicsByID[t.TopicID]; topic != nil {
				o.Topic = &topic.Name
			}
			o.ErrorCode, o.ErrorMessage = failure(b.DeleteTopic(ctx, t.TopicID))
		}
		resp.Topics = append(resp.Topics, o)
	}
	return resp
}

// createPartitions answers CreatePartitions (KIP-195).
func createPartitions(ca *call, req *kmsg.CreatePartitionsRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.CreatePartitionsResponse)
	ctx, cancel := ca.within(req.TimeoutMillis)
	defer cancel()
	named := map[string]int{}
	for i := range req.Topics {
		named[req.Topics[i].Topic]++
	}
	done := map[string]bool{}
	for i := range req.Topics {
		t := &req.Topics[i]
		if done[t.Topic] {
			continue
		}
		done[t.Topic] = true
		o := kmsg.NewCreatePartitionsResponseTopic()
		o.Topic = t.Topic
		if named[t.Topic] > 1 {
			o.ErrorCode, o.ErrorMessage = refusal(kerr.InvalidRequest, "the topic is in the request more than once")
		} else {
			var assignment [][]int32
			if t.Assignment != nil {
				assignment = [][]int32{}
			}
			for _, a := range t.Assignment {
				assignment = append(assignment, a.Replicas)
			}
			o.ErrorCode, o.ErrorMessage = failure(ca.c.s.b.CreatePartitions(ctx, t.Topic, t.Count, assignment, req.ValidateOnly))
		}
		resp.Topics = append(resp.Topics, o)
	}
	return resp
}

// deleteRecords answers DeleteRecords (KIP-107) when the new log starts are durable.
func deleteRecords(ca *call, req *kmsg.DeleteRecordsRequest, done func(kmsg.Response)) {
	resp := req.ResponseKind().(*kmsg.DeleteRecordsResponse)
	b := ca.c.s.b
	var mu sync.Mutex
	pending := 1
	finish := func() {
		mu.Lock()
		pending--
		last := pending == 0
		mu.Unlock()
		if last {
			done(resp)
		}
	}
	ctx, cancel := ca.within(req.TimeoutMillis)
	defer cancel()
	resp.Topics = make([]kmsg.DeleteRecordsResponseTopic, len(req.Topics))
	for i := range req.Topics {
		t := &req.Topics[i]
		resp.Topics[i].Topic = t.Topic
		resp.Topics[i].Partitions = make([]kmsg.DeleteRecordsResponseTopicPartition, len(t.Partitions))
		for j := range t.Partitions {
			p, o := &t.Partitions[j], &resp.Topics[i].Partitions[j]
			o.Partition, o.LowWatermark = p.Partition, -1
			l, err := b.Log(t.Topic, p.Partition)
			if err != nil {
				o.ErrorCode = code(err)
				continue
			}
			if p.Offset < -1 {
				o.ErrorCode = kerr.OffsetOutOfRange.Code
				continue
			}
			mu.Lock()
			pending++
			mu.Unlock()
			b.DeleteRecords(ctx, l, p.Offset, func(start int64, err error) {
				if o.ErrorCode = code(err); err == nil {
					o.LowWatermark = start
				}
				finish()
			})
		}
	}
	finish()
}

// describeConfigs answers DescribeConfigs with every key, its value, source and synonyms (KIP-133, KIP-226, KIP-569).
func describeConfigs(ca *call, req *kmsg.DescribeConfigsRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.DescribeConfigsResponse)
	for _, r := range mergeResources(req.Resources) {
		o := kmsg.NewDescribeConfigsResponseResource()
		o.ResourceType, o.ResourceName = r.ResourceType, r.ResourceName
		if r.ResourceType == kmsg.ConfigResourceTypeTopic && !legalName(r.ResourceName) {
			o.ErrorCode, o.ErrorMessage = refusal(kerr.InvalidTopicException, "this is no name of a topic")
			resp.Resources = append(resp.Resources, o)
			continue
		}
		entries, err := ca.c.s.b.DescribeConfigs(int8(r.ResourceType), r.ResourceName)
		if err != nil {
			o.ErrorCode, o.ErrorMessage = failure(err)
			resp.Resources = append(resp.Resources, o)
			continue
		}
		wanted := map[string]bool{}
		for _, name := range r.ConfigNames {
			wanted[name] = true
		}
		for j := range entries {
			if len(r.ConfigNames) == 0 || wanted[entries[j].Name] {
				o.Configs = append(o.Configs, describeEntry(&entries[j], req))
			}
		}
		resp.Resources = append(resp.Resources, o)
	}
	return resp
}

// mergeResources makes one of resources that are asked for several times, so that the answer is not thousands of times as long as the question.
func mergeResources(asked []kmsg.DescribeConfigsRequestResource) []*kmsg.DescribeConfigsRequestResource {
	type key struct {
		kind kmsg.ConfigResourceType
		name string
	}
	first := map[key]*kmsg.DescribeConfigsRequestResource{}
	var merged []*kmsg.DescribeConfigsRequestResource
	for i := range asked {
		r := &asked[i]
		f := first[key{r.ResourceType, r.ResourceName}]
		switch {
		case f == nil:
			first[key{r.ResourceType, r.ResourceName}] = r
			merged = append(merged, r)
		case len(f.ConfigNames) == 0 || len(r.ConfigNames) == 0:
			f.ConfigNames = nil // all
		default:
			f.ConfigNames = append(f.ConfigNames, r.ConfigNames...)
		}
	}
	return merged
}

func describeEntry(e *config.Entry, req *kmsg.DescribeConfigsRequest) kmsg.DescribeConfigsResponseResourceConfig {
	o := kmsg.NewDescribeConfigsResponseResourceConfig()
	o.Name, o.Value, o.ReadOnly, o.IsSensitive = e.Name, e.Value, e.ReadOnly, e.Sensitive
	o.Source, o.ConfigType = kmsg.ConfigSource(e.Source), kmsg.ConfigType(e.Type)
	o.IsDefault = e.Source == config.DefaultConfig
	if e.Sensitive {
		o.Value = nil
	}
	if req.IncludeSynonyms {
		for _, s := range e.Synonyms {
			synonym := kmsg.DescribeConfigsResponseResourceConfigConfigSynonym{Name: s.Name, Value: &s.Value, Source: kmsg.ConfigSource(s.Source)}
			if e.Sensitive {
				synonym.Value = nil
			}
			o.ConfigSynonyms = append(o.ConfigSynonyms, synonym)
		}
	}
	if req.IncludeDocumentation {
		o.Documentation = &e.Doc
	}
	return o
}

// incrementalAlterConfigs answers IncrementalAlterConfigs (KIP-339): each resource changes as a whole or not at all.
func incrementalAlterConfigs(ca *call, req *kmsg.IncrementalAlterConfigsRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.IncrementalAlterConfigsResponse)
	ctx, cancel := ca.within(int32(maxTimeout.Milliseconds()))
	defer cancel()
	type key struct {
		kind kmsg.ConfigResourceType
		name string
	}
	named := map[key]int{}
	for i := range req.Resources {
		named[key{req.Resources[i].ResourceType, req.Resources[i].ResourceName}]++
	}
	for i := range req.Resources {
		r := &req.Resources[i]
		o := kmsg.NewIncrementalAlterConfigsResponseResource()
		o.ResourceType, o.ResourceName = r.ResourceType, r.ResourceName
		if named[key{r.ResourceType, r.ResourceName}] > 1 {
			o.ErrorCode, o.ErrorMessage = refusal(kerr.InvalidRequest, "the resource is in the request more than once")
		} else {
			ops := make([]broker.ConfigOp, 0, len(r.Configs))
			for _, c := range r.Configs {
				ops = append(ops, broker.ConfigOp{Key: c.Name, Kind: config.OpKind(c.Op), Value: c.Value})
			}
			o.ErrorCode, o.ErrorMessage = failure(ca.c.s.b.AlterConfigs(ctx, int8(r.ResourceType), r.ResourceName, ops, req.ValidateOnly))
		}
		resp.Resources = append(resp.Resources, o)
	}
	return resp
}
