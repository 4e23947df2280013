package kafka

import (
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"chronik.dev/chronik/broker"
	"chronik.dev/chronik/broker/metadata"
)

// endpoint is where clients of this connection's listener reach a broker.
func (c *conn) endpoint(b *metadata.Broker) (e metadata.Endpoint, ok bool) {
	for _, l := range b.Listeners {
		if l.Name == c.listener || c.listener == "" {
			return l, true
		}
	}
	return e, false
}

// brokers returns the brokers that clients of this connection can reach, by id.
func (c *conn) brokers(image *metadata.Image) []*metadata.Broker {
	all := make([]*metadata.Broker, 0, len(image.Brokers))
	for _, b := range image.Brokers {
		if _, ok := c.endpoint(b); ok {
			all = append(all, b)
		}
	}
	slices.SortFunc(all, func(a, b *metadata.Broker) int { return int(a.NodeID) - int(b.NodeID) })
	return all
}

func (c *conn) reaches(image *metadata.Image, id int32) bool {
	b := image.Brokers[id]
	if b == nil {
		return false
	}
	_, ok := c.endpoint(b)
	return ok
}

// rack is a broker's rack, null if it has none.
func rack(b *metadata.Broker) *string {
	if b.Rack == "" {
		return nil
	}
	return &b.Rack
}

// describeMetadata answers Metadata: brokers, and the topics asked for. It creates missing ones where that is allowed.
func describeMetadata(ca *call, req *kmsg.MetadataRequest) kmsg.Response {
	c := ca.c
	resp := req.ResponseKind().(*kmsg.MetadataResponse)
	resp.AuthorizedOperations = operations(req.IncludeClusterAuthorizedOperations, clusterOperations)
	if req.Version >= 10 && req.Version < 12 && slices.ContainsFunc(req.Topics, byID) {
		for _, t := range req.Topics { // versions 10 and 11 have the fields, but Kafka never served them (KAFKA-12701)
			resp.Topics = append(resp.Topics, topicError(t.Topic, t.TopicID, kerr.InvalidRequest.Code))
		}
		return resp
	}
	resp.Topics = c.topics(ca, req)
	image := c.s.b.Image()
	for _, b := range c.brokers(image) {
		e, _ := c.endpoint(b)
		resp.Brokers = append(resp.Brokers, kmsg.MetadataResponseBroker{NodeID: b.NodeID, Host: e.Host, Port: int32(e.Port), Rack: rack(b)})
	}
	resp.ClusterID = &image.ClusterID
	resp.ControllerID = -1
	if id := c.s.b.NodeID(); c.reaches(image, id) {
		resp.ControllerID = id
	}
	return resp
}

func byID(t kmsg.MetadataRequestTopic) bool { return t.Topic == nil || t.TopicID != [16]byte{} }

// topics answers the topics of a request: null means all, and so does an empty list in version 0.
func (c *conn) topics(ca *call, req *kmsg.MetadataRequest) []kmsg.MetadataResponseTopic {
	ops := operations(req.IncludeTopicAuthorizedOperations, topicOperations)
	if req.Topics == nil || req.Version == 0 && len(req.Topics) == 0 {
		image := c.s.b.Image()
		all := make([]kmsg.MetadataResponseTopic, 0, len(image.Topics))
		for _, t := range image.Topics {
			all = append(all, c.topic(image, t, ops))
		}
		slices.SortFunc(all, func(a, b kmsg.MetadataResponseTopic) int { return strings.Compare(*a.Topic, *b.Topic) })
		return all
	}
	create := req.Version < 4 || req.AllowAutoTopicCreation
	var all []kmsg.MetadataResponseTopic
	names, ids := map[string]bool{}, map[[16]byte]bool{}
	for _, t := range req.Topics {
		if t.Topic == nil {
			if !ids[t.TopicID] {
				ids[t.TopicID] = true
				all = append(all, c.topicByID(t.TopicID, ops))
			}
		} else if !names[*t.Topic] {
			names[*t.Topic] = true
			all = append(all, c.topicByName(ca, *t.Topic, create, ops))
		}
	}
	return all
}

func (c *conn) topicByID(id [16]byte, ops int32) kmsg.MetadataResponseTopic {
	image := c.s.b.Image()
	if t := image.TopicsByID[id]; t != nil {
		return c.topic(image, t, ops)
	}
	return topicError(nil, id, kerr.UnknownTopicID.Code)
}

func (c *conn) topicByName(ca *call, name string, create bool, ops int32) kmsg.MetadataResponseTopic {
	image := c.s.b.Image()
	if t := image.Topics[name]; t != nil {
		return c.topic(image, t, ops)
	}
	if !legalName(name) {
		return topicError(&name, [16]byte{}, kerr.InvalidTopicException.Code)
	}
	if !create || !c.s.b.Config().AutoCreateTopics() {
		return topicError(&name, [16]byte{}, kerr.UnknownTopicOrPartition.Code)
	}
	ctx, cancel := ca.within(int32(maxTimeout.Milliseconds()))
	defer cancel()
	if err := c.s.b.AutoCreate(ctx, name); err != nil {
		return topicError(&name, [16]byte{}, code(err))
	}
	image = c.s.b.Image()
	if t := image.Topics[name]; t != nil {
		return c.topic(image, t, ops)
	}
	return topicError(&name, [16]byte{}, kerr.LeaderNotAvailable.Code) // deleted at once: the client asks again
}

func topicError(name *string, id [16]byte, code int16) kmsg.MetadataResponseTopic {
	t := kmsg.NewMetadataResponseTopic()
	t.Topic, t.TopicID, t.ErrorCode, t.AuthorizedOperations = name, id, code, noOperations
	return t
}

func (c *conn) topic(image *metadata.Image, t *metadata.Topic, ops int32) kmsg.MetadataResponseTopic {
	out := kmsg.NewMetadataResponseTopic()
	out.Topic, out.TopicID, out.IsInternal, out.AuthorizedOperations = &t.Name, t.ID, t.Internal, ops
	out.Partitions = make([]kmsg.MetadataResponseTopicPartition, len(t.Partitions))
	for i := range t.Partitions {
		p := &t.Partitions[i]
		o := &out.Partitions[i]
		o.Default()
		o.Partition, o.Leader, o.LeaderEpoch, o.Replicas, o.ISR = int32(i), p.Leader, p.LeaderEpoch, p.Replicas, p.ISR
		for _, r := range p.Replicas {
			if !c.reaches(image, r) {
				o.OfflineReplicas = append(o.OfflineReplicas, r)
			}
		}
		if !c.reaches(image, p.Leader) {
			o.Leader, o.ErrorCode = -1, kerr.LeaderNotAvailable.Code
		}
	}
	return out
}

// legalName is Kafka's rule for topic names.
func legalName(name string) bool {
	if name == "" || name == "." || name == ".." || len(name) > 249 {
		return false
	}
	return !strings.ContainsFunc(name, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '.' && r != '_' && r != '-'
	})
}

// describeCluster answers DescribeCluster (KIP-700, KIP-919).
func describeCluster(ca *call, req *kmsg.DescribeClusterRequest) kmsg.Response {
	c := ca.c
	resp := req.ResponseKind().(*kmsg.DescribeClusterResponse)
	resp.ClusterAuthorizedOperations = operations(req.IncludeClusterAuthorizedOperations, clusterOperations)
	if req.Version >= 1 && req.EndpointType != 1 {
		resp.EndpointType = req.EndpointType
		resp.ErrorCode, resp.ErrorMessage = refusal(kerr.MismatchedEndpointType, "this is a broker; the controllers have no endpoint of this protocol")
		if req.EndpointType != 2 {
			resp.ErrorCode, resp.ErrorMessage = refusal(kerr.UnsupportedEndpointType, "unknown endpoint type; 1 is brokers, 2 is controllers")
		}
		return resp
	}
	image := c.s.b.Image()
	resp.EndpointType = 1
	resp.ClusterID = image.ClusterID
	resp.ControllerID = -1
	if id := c.s.b.NodeID(); c.reaches(image, id) {
		resp.ControllerID = id
	}
	for _, b := range c.brokers(image) {
		e, _ := c.endpoint(b)
		resp.Brokers = append(resp.Brokers, kmsg.DescribeClusterResponseBroker{NodeID: b.NodeID, Host: e.Host, Port: int32(e.Port), Rack: rack(b)})
	}
	return resp
}

// describeLogDirs answers DescribeLogDirs: one directory, the partitions that were asked for and exist, null for all.
func describeLogDirs(ca *call, req *kmsg.DescribeLogDirsRequest) kmsg.Response {
	b := ca.c.s.b
	resp := req.ResponseKind().(*kmsg.DescribeLogDirsResponse)
	wanted := map[string]map[int32]bool{}
	for _, t := range req.Topics {
		set := wanted[t.Topic]
		if set == nil {
			set = map[int32]bool{}
			wanted[t.Topic] = set
		}
		for _, p := range t.Partitions {
			set[p] = true
		}
	}
	dir := kmsg.NewDescribeLogDirsResponseDir()
	d := b.LogDir()
	dir.Dir, dir.TotalBytes, dir.UsableBytes = d.Path, d.Total, d.Usable
	image := b.Image()
	for _, name := range slices.Sorted(topicNames(image)) {
		set, named := wanted[name]
		if req.Topics != nil && !named {
			continue
		}
		topic := kmsg.NewDescribeLogDirsResponseDirTopic()
		topic.Topic = name
		for p := range int32(len(image.Topics[name].Partitions)) {
			l, err := b.Log(name, p)
			if err != nil || req.Topics != nil && !set[p] {
				continue // not on this disk, or stopped: Kafka leaves out what its log manager does not hold
			}
			part := kmsg.NewDescribeLogDirsResponseDirTopicPartition()
			part.Partition, part.Size = p, l.Size()
			topic.Partitions = append(topic.Partitions, part)
		}
		if len(topic.Partitions) > 0 {
			dir.Topics = append(dir.Topics, topic)
		}
	}
	resp.Dirs = []kmsg.DescribeLogDirsResponseDir{dir}
	return resp
}

func topicNames(image *metadata.Image) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for name := range image.Topics {
			if !yield(name) {
				return
			}
		}
	}
}

// findCoordinator answers where the coordinator of groups is. The offsets topic is created by the first who asks.
func findCoordinator(ca *call, req *kmsg.FindCoordinatorRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.FindCoordinatorResponse)
	keys := req.CoordinatorKeys
	if req.Version < 4 {
		keys = []string{req.CoordinatorKey}
	}
	all := make([]kmsg.FindCoordinatorResponseCoordinator, 0, len(keys))
	node, code, why := ca.coordinator(req.CoordinatorType)
	for _, key := range keys {
		o := kmsg.NewFindCoordinatorResponseCoordinator()
		o.Key, o.NodeID, o.Host, o.Port, o.ErrorCode, o.ErrorMessage = key, -1, "", -1, code, why
		if code == 0 {
			o.NodeID, o.Host, o.Port = ca.c.s.b.NodeID(), node.Host, int32(node.Port)
		}
		all = append(all, o)
	}
	if req.Version >= 4 {
		resp.Coordinators = all
		return resp
	}
	o := all[0]
	resp.NodeID, resp.Host, resp.Port, resp.ErrorCode, resp.ErrorMessage = o.NodeID, o.Host, o.Port, o.ErrorCode, o.ErrorMessage
	return resp
}

// coordinator is the endpoint of the node that coordinates keys of a type: 0 groups, 1 transactions, 2 share groups.
func (ca *call) coordinator(kind int8) (metadata.Endpoint, int16, *string) {
	var none metadata.Endpoint
	switch kind {
	case 0:
	case 1:
		code, why := refusal(kerr.InvalidRequest, noTransactions)
		return none, code, why
	default:
		code, why := refusal(kerr.InvalidRequest, "unknown coordinator type; groups (0) are served")
		return none, code, why
	}
	b := ca.c.s.b
	ctx, cancel := ca.within(int32(maxTimeout.Milliseconds()))
	defer cancel()
	if err := b.EnsureOffsetsTopic(ctx); err != nil {
		code, why := refusal(kerr.CoordinatorNotAvailable, broker.AsError(err).Message)
		return none, code, why
	}
	if self := b.Image().Brokers[b.NodeID()]; self != nil {
		if e, ok := ca.c.endpoint(self); ok {
			return e, 0, nil
		}
	}
	code, why := refusal(kerr.CoordinatorNotAvailable, "this node is not registered yet")
	return none, code, why
}

// noTransactions is what every request of a transactional producer is told.
const noTransactions = "transactions are not offered yet: leave transactional.id unset (idempotent producers are served)"
