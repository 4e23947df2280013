package coordinator

import (
	"errors"
	"sync"
	"testing"
	"time"

	"chronik.dev/chronik/broker/batch"
	"chronik.dev/chronik/broker/config"
	"chronik.dev/chronik/broker/group"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// memory is __consumer_offsets in memory. held keeps appends unfinished, failing refuses them, blocked stops reads.
type memory struct {
	mu      sync.Mutex
	count   int32
	logs    map[int32][][]byte
	ends    map[int32]int64
	failing bool
	held    bool
	waiting []func()
	blocked chan struct{}
	slow    time.Duration // of each read
}

func newMemory() *memory {
	return &memory{count: 4, logs: map[int32][][]byte{}, ends: map[int32]int64{}}
}

func (m *memory) Ready() (int32, bool) { return m.count, m.count > 0 }

func (m *memory) Append(partition int32, raw []byte, done func(error)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failing {
		done(errors.New("no disk")) // in the call, as a validation error would be
		return
	}
	finish := func() {
		h, err := batch.Check(raw)
		if err == nil {
			batch.SetBaseOffset(raw, m.ends[partition])
			m.logs[partition] = append(m.logs[partition], raw)
			m.ends[partition] += int64(h.LastOffsetDelta) + 1
		}
		done(err)
	}
	if m.held {
		m.waiting = append(m.waiting, finish)
		return
	}
	finish()
}

// release finishes the appends that were held.
func (m *memory) release() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, f := range m.waiting {
		f()
	}
	m.waiting, m.held = nil, false
}

func (m *memory) Read(partition int32, offset int64, maxBytes int) ([]byte, error) {
	if m.blocked != nil {
		<-m.blocked
	}
	time.Sleep(m.slow)
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []byte
	for _, raw := range m.logs[partition] {
		h, err := batch.Parse(raw)
		if err != nil {
			return nil, err
		}
		if h.LastOffset() < offset {
			continue
		}
		if len(out) > 0 && len(out)+len(raw) > maxBytes {
			break
		}
		out = append(out, raw...)
	}
	return out, nil
}

func (m *memory) Bounds(partition int32) (int64, int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return 0, m.ends[partition], nil
}

// records counts the records of the whole topic, and the tombstones among them.
func (m *memory) records(t *testing.T) (all, tombstones int) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, log := range m.logs {
		for _, raw := range log {
			err := batch.Records(raw, 1<<20, func(r batch.Record) error {
				all++
				if r.Value == nil {
					tombstones++
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	return all, tombstones
}

// node is a coordinator on a memory, with topics t and u.
type node struct {
	*Coordinator
	store  *memory
	mu     sync.Mutex
	topics map[string][16]byte
}

func start(store *memory, settings ...string) *node {
	cfg := config.New()
	for _, s := range append([]string{"group.initial.rebalance.delay.ms=0", "group.min.session.timeout.ms=1"}, settings...) {
		if err := cfg.SetPair(s, config.Flag, "test"); err != nil {
			panic(err)
		}
	}
	n := &node{store: store, topics: map[string][16]byte{"t": {1}, "u": {2}}}
	n.Coordinator = New(Options{Store: store, Config: func() *config.Config { return cfg }, Now: time.Now,
		Topic: func(name string) ([16]byte, int32, bool) {
			n.mu.Lock()
			defer n.mu.Unlock()
			id, ok := n.topics[name]
			return id, 8, ok
		},
		Name: func(id [16]byte) (string, bool) {
			n.mu.Lock()
			defer n.mu.Unlock()
			for name, other := range n.topics {
				if other == id {
					return name, true
				}
			}
			return "", false
		}})
	for p := range store.count {
		n.Load(p)
	}
	return n
}

// restart closes the node and starts another on its store, loaded.
func (n *node) restart(t *testing.T, settings ...string) *node {
	t.Helper()
	n.Close()
	next := start(n.store, settings...)
	next.load(t)
	return next
}

func (n *node) load(t *testing.T) {
	t.Helper()
	for _, s := range n.all() {
		<-s.loading
	}
	if ok, err := n.Loaded(); !ok || err != nil {
		t.Fatalf("loaded: %v, %v", ok, err)
	}
}

// call waits for the answer of one request.
func call[Q, R any](fn func(Q, func(R)), req Q) R {
	ch := make(chan R, 2)
	fn(req, func(r R) { ch <- r })
	return <-ch
}

func (n *node) join(version int16, name, id string, instance *string) *kmsg.JoinGroupResponse {
	return <-n.joining(version, name, id, instance)
}

func (n *node) joining(version int16, name, id string, instance *string) chan *kmsg.JoinGroupResponse {
	req := &kmsg.JoinGroupRequest{Version: version, Group: name, SessionTimeoutMillis: 10000, RebalanceTimeoutMillis: 20000, MemberID: id,
		InstanceID: instance, ProtocolType: "consumer", Protocols: []kmsg.JoinGroupRequestProtocol{{Name: "range", Metadata: subscribed("t")}}}
	ch := make(chan *kmsg.JoinGroupResponse, 2)
	n.JoinGroup(Client{ID: "client", Host: "/127.0.0.1"}, req, func(r *kmsg.JoinGroupResponse) { ch <- r })
	return ch
}

// member joins a group alone and gets its assignment.
func (n *node) member(t *testing.T, name string) (id string, generation int32) {
	t.Helper()
	first := n.join(9, name, "", nil)
	if first.ErrorCode != int16(group.MemberIDRequired) {
		t.Fatalf("join without an id: %d", first.ErrorCode)
	}
	joined := n.join(9, name, first.MemberID, nil)
	if joined.ErrorCode != 0 || joined.LeaderID != joined.MemberID {
		t.Fatalf("join: %+v", joined)
	}
	synced := n.sync(name, joined, "assigned")
	if synced.ErrorCode != 0 || string(synced.MemberAssignment) != "assigned" {
		t.Fatalf("sync: %+v", synced)
	}
	return joined.MemberID, joined.Generation
}

func (n *node) sync(name string, joined *kmsg.JoinGroupResponse, assignment string) *kmsg.SyncGroupResponse {
	req := &kmsg.SyncGroupRequest{Version: 5, Group: name, Generation: joined.Generation, MemberID: joined.MemberID,
		ProtocolType: joined.ProtocolType, Protocol: joined.Protocol}
	for _, m := range joined.Members {
		req.GroupAssignment = append(req.GroupAssignment, kmsg.SyncGroupRequestGroupAssignment{MemberID: m.MemberID, MemberAssignment: []byte(assignment)})
	}
	return call(n.SyncGroup, req)
}

func (n *node) heartbeat(name, id string, generation int32) group.Code {
	return group.Code(call(n.Heartbeat, &kmsg.HeartbeatRequest{Version: 4, Group: name, Generation: generation, MemberID: id}).ErrorCode)
}

func (n *node) commit(name, topic string, partition int32, offset int64) group.Code {
	return group.Code(call(n.OffsetCommit, commitRequest(name, topic, partition, offset)).Topics[0].Partitions[0].ErrorCode)
}

func commitRequest(name, topic string, partition int32, offset int64) *kmsg.OffsetCommitRequest {
	return &kmsg.OffsetCommitRequest{Version: 9, Group: name, Generation: -1, Topics: []kmsg.OffsetCommitRequestTopic{{Topic: topic,
		Partitions: []kmsg.OffsetCommitRequestTopicPartition{{Partition: partition, Offset: offset, LeaderEpoch: 3, Metadata: kmsg.StringPtr("m")}}}}}
}

// fetch returns one offset, -1 if there is none, -2 with an error.
func (n *node) fetch(name, topic string, partition int32) int64 {
	r := call(n.OffsetFetch, &kmsg.OffsetFetchRequest{Version: 9, Groups: []kmsg.OffsetFetchRequestGroup{{Group: name,
		Topics: []kmsg.OffsetFetchRequestGroupTopic{{Topic: topic, Partitions: []int32{partition}}}}}})
	if r.Groups[0].ErrorCode != 0 || r.Groups[0].Topics[0].Partitions[0].ErrorCode != 0 {
		return -2
	}
	return r.Groups[0].Topics[0].Partitions[0].Offset
}

func (n *node) describe(version int16, name string) kmsg.DescribeGroupsResponseGroup {
	return call(n.DescribeGroups, &kmsg.DescribeGroupsRequest{Version: version, Groups: []string{name}}).Groups[0]
}

func subscribed(topic string) []byte {
	m := kmsg.ConsumerMemberMetadata{Version: 1, Topics: []string{topic}}
	return m.AppendTo(nil)
}
