package metadata

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"chronik.dev/chronik/broker/metapb"
)

// cluster applies commands as a broker would propose them.
type cluster struct {
	t     *testing.T
	s     *State
	p     *Proposer
	index uint64
}

func newCluster(t *testing.T, brokers ...int32) *cluster {
	c := &cluster{t: t, s: New(), p: NewProposer(tid(200))}
	c.ok(&metapb.InitCluster{ClusterId: "test"})
	for _, b := range brokers {
		c.ok(&metapb.RegisterBroker{NodeId: b, Incarnation: bid(byte(b))})
	}
	return c
}

func tid(n byte) (id [16]byte) { id[0], id[15] = n, n; return }
func bid(n byte) []byte        { id := tid(n); return id[:] }

func (c *cluster) encode(body proto.Message) []byte {
	c.t.Helper()
	data, err := c.p.Encode(1000, body)
	if err != nil {
		c.t.Fatal(err)
	}
	return data
}

func (c *cluster) apply(data []byte) Result {
	c.index++
	return c.s.Apply(c.index, data)
}

func (c *cluster) ok(body proto.Message) Result {
	c.t.Helper()
	r := c.apply(c.encode(body))
	if r.Err != nil {
		c.t.Fatalf("%T: %v", body, r.Err)
	}
	return r
}

// fails applies a command that must be refused, and checks that nothing but index and answers changed.
func (c *cluster) fails(want error, body proto.Message) {
	c.t.Helper()
	before := *c.s.Image()
	r := c.apply(c.encode(body))
	if !errors.Is(r.Err, want) {
		c.t.Fatalf("%T: got %v, want %v", body, r.Err, want)
	}
	after := *c.s.Image()
	after.Index = before.Index
	if fmt.Sprint(before) != fmt.Sprint(after) {
		c.t.Fatalf("%T: refused, but changed %v into %v", body, before, after)
	}
}

func assignment(partitions int, nodes ...int32) []*metapb.Assignment {
	var list []*metapb.Assignment
	for range partitions {
		list = append(list, &metapb.Assignment{Replicas: nodes})
	}
	return list
}

func TestTopicLife(t *testing.T) {
	c := newCluster(t, 1, 2)
	r := c.ok(&metapb.CreateTopic{Name: "orders", Id: bid(1), Partitions: assignment(3, 2, 1), Configs: []*metapb.Config{{Key: "retention.ms", Value: "5"}}})
	if r.Topic == nil || r.Topic.Index != c.index || len(r.Topic.Partitions) != 3 || r.Topic != c.s.Image().Topics["orders"] {
		t.Fatalf("created %+v", r.Topic)
	}
	p := r.Topic.Partitions[2]
	if p.Leader != 2 || p.LeaderEpoch != 0 || p.Index != c.index || fmt.Sprint(p.ISR, p.Replicas) != "[2 1] [2 1]" {
		t.Fatalf("partition %+v", p)
	}
	old := c.s.Image()
	r = c.ok(&metapb.CreatePartitions{Id: bid(1), First: 3, Partitions: assignment(1, 1, 2)})
	if len(r.Topic.Partitions) != 4 || r.Topic.Partitions[3].Index != c.index || r.Topic.Partitions[0].Index == c.index {
		t.Fatalf("grown %+v", r.Topic)
	}
	if len(old.Topics["orders"].Partitions) != 3 {
		t.Fatal("an old image changed")
	}
	r = c.ok(&metapb.AlterConfigs{Resource: &metapb.AlterConfigs_TopicId{TopicId: bid(1)}, Sets: []*metapb.Config{{Key: "a", Value: "b"}}, Deletes: []string{"retention.ms"}})
	if fmt.Sprint(r.Topic.Configs) != "map[a:b]" || fmt.Sprint(old.Topics["orders"].Configs) != "map[retention.ms:5]" {
		t.Fatalf("configs %v, before %v", r.Topic.Configs, old.Topics["orders"].Configs)
	}
	c.fails(ErrConflict, &metapb.TopicDropped{NodeId: 1, Id: bid(1)})
	c.ok(&metapb.DeleteTopic{Id: bid(1)})
	d := c.s.Image().Deleted[tid(1)]
	if d == nil || d.Name != "orders" || d.Index != c.index || d.Partitions != 4 || fmt.Sprint(d.Waiting) != "[1 2]" {
		t.Fatalf("deleted %+v", d)
	}
	c.fails(ErrConflict, &metapb.CreateTopic{Name: "orders", Id: bid(1), Partitions: assignment(1, 1)})
	c.ok(&metapb.CreateTopic{Name: "orders", Id: bid(2), Partitions: assignment(1, 1)})
	c.ok(&metapb.TopicDropped{NodeId: 2, Id: bid(1)})
	c.ok(&metapb.TopicDropped{NodeId: 2, Id: bid(1)})
	if fmt.Sprint(c.s.Image().Deleted[tid(1)].Waiting) != "[1]" {
		t.Fatalf("waiting %v", c.s.Image().Deleted[tid(1)].Waiting)
	}
	c.ok(&metapb.TopicDropped{NodeId: 1, Id: bid(1)})
	c.ok(&metapb.TopicDropped{NodeId: 1, Id: bid(1)})
	if len(c.s.Image().Deleted) != 0 || c.s.Image().Topics["orders"].ID != tid(2) {
		t.Fatalf("left %+v", c.s.Image())
	}
}

func TestRefusals(t *testing.T) {
	c := newCluster(t, 1, 2)
	c.ok(&metapb.CreateTopic{Name: "a.b", Id: bid(1), Partitions: assignment(2, 1)})
	one := assignment(1, 1)
	for _, x := range []struct {
		want error
		body proto.Message
	}{
		{ErrTopicExists, &metapb.CreateTopic{Name: "a.b", Id: bid(9), Partitions: one}},
		{ErrInvalidTopicName, &metapb.CreateTopic{Name: "a_b", Id: bid(9), Partitions: one}},
		{ErrInvalidTopicName, &metapb.CreateTopic{Name: "", Id: bid(9), Partitions: one}},
		{ErrInvalidTopicName, &metapb.CreateTopic{Name: "..", Id: bid(9), Partitions: one}},
		{ErrInvalidTopicName, &metapb.CreateTopic{Name: "a/b", Id: bid(9), Partitions: one}},
		{ErrInvalidTopicName, &metapb.CreateTopic{Name: strings.Repeat("x", 250), Id: bid(9), Partitions: one}},
		{ErrConflict, &metapb.CreateTopic{Name: "c", Id: bid(1), Partitions: one}},
		{ErrInvalidCommand, &metapb.CreateTopic{Name: "c", Id: []byte("short"), Partitions: one}},
		{ErrInvalidCommand, &metapb.CreateTopic{Name: "c", Id: make([]byte, 16), Partitions: one}},
		{ErrInvalidPartitions, &metapb.CreateTopic{Name: "c", Id: bid(9)}},
		{ErrInvalidAssignment, &metapb.CreateTopic{Name: "c", Id: bid(9), Partitions: assignment(1)}},
		{ErrInvalidAssignment, &metapb.CreateTopic{Name: "c", Id: bid(9), Partitions: assignment(1, 1, 1)}},
		{ErrInvalidAssignment, &metapb.CreateTopic{Name: "c", Id: bid(9), Partitions: assignment(1, 7)}},
		{ErrInvalidAssignment, &metapb.CreateTopic{Name: "c", Id: bid(9), Partitions: append(assignment(1, 1), assignment(1, 1, 2)...)}},
		{ErrInvalidConfig, &metapb.CreateTopic{Name: "c", Id: bid(9), Partitions: one, Configs: []*metapb.Config{{Value: "x"}}}},
		{ErrUnknownTopic, &metapb.DeleteTopic{Id: bid(9)}},
		{ErrInvalidCommand, &metapb.DeleteTopic{}},
		{ErrUnknownTopic, &metapb.CreatePartitions{Id: bid(9), Partitions: one}},
		{ErrConflict, &metapb.CreatePartitions{Id: bid(1), First: 1, Partitions: one}},
		{ErrInvalidPartitions, &metapb.CreatePartitions{Id: bid(1), First: 2}},
		{ErrInvalidAssignment, &metapb.CreatePartitions{Id: bid(1), First: 2, Partitions: assignment(1, 1, 2)}},
		{ErrUnknownTopic, &metapb.AlterConfigs{Resource: &metapb.AlterConfigs_TopicId{TopicId: bid(9)}}},
		{ErrInvalidConfig, &metapb.AlterConfigs{Resource: &metapb.AlterConfigs_Broker{Broker: 7}}},
		{ErrInvalidConfig, &metapb.AlterConfigs{Resource: &metapb.AlterConfigs_Broker{Broker: -2}}},
		{ErrInvalidConfig, &metapb.AlterConfigs{Resource: &metapb.AlterConfigs_Broker{Broker: -1}, Sets: []*metapb.Config{{Key: "k", Value: strings.Repeat("x", 32<<10+1)}}}},
		{ErrInvalidCommand, &metapb.AlterConfigs{}},
		{ErrInvalidCommand, &metapb.RegisterBroker{NodeId: -1, Incarnation: bid(3)}},
		{ErrInvalidCommand, &metapb.RegisterBroker{NodeId: 3}},
		{ErrInvalidCommand, &metapb.RegisterBroker{NodeId: 3, Incarnation: bid(3), Listeners: []*metapb.Endpoint{{Port: 70000}}}},
		{ErrInvalidCommand, &metapb.RegisterBroker{NodeId: 3, Incarnation: bid(3), Damaged: []*metapb.DamagedRange{{}}}},
		{ErrInvalidCommand, &metapb.AllocateProducerIds{}},
		{ErrInvalidCommand, &metapb.AllocateProducerIds{Count: 1 << 30}},
		{ErrConflict, &metapb.InitCluster{ClusterId: "other"}},
		{ErrInvalidCommand, &metapb.InitCluster{}},
		{ErrInvalidCommand, &metapb.TopicDropped{}},
	} {
		c.fails(x.want, x.body)
	}
	for _, garbage := range []string{"x", "\x08\x01", "\x08\x01\xff\xff", "\x08\x01\x52\x00"} {
		if r := c.apply([]byte(garbage)); !errors.Is(r.Err, ErrInvalidCommand) || c.s.Image().Index != c.index {
			t.Errorf("%q: %v at index %d", garbage, r.Err, c.s.Image().Index)
		}
	}
	if r := c.s.Apply(c.index+1, []byte("\x08\x02")); !errors.Is(r.Err, ErrUnsupported) || c.s.Image().Index != c.index {
		t.Errorf("newer format: %v at index %d", r.Err, c.s.Image().Index)
	}
}

func TestRegistrationRaisesEpochs(t *testing.T) {
	c := newCluster(t, 1, 2, 3)
	c.ok(&metapb.CreateTopic{Name: "a", Id: bid(1), Partitions: append(assignment(1, 1, 2, 3), assignment(1, 2, 1, 3)...)})
	c.ok(&metapb.CreateTopic{Name: "b", Id: bid(2), Partitions: assignment(1, 1)})
	show := func() string {
		var s []string
		for _, n := range []string{"a", "b"} {
			for i, p := range c.s.Image().Topics[n].Partitions {
				s = append(s, fmt.Sprintf("%s-%d leader %d epoch %d/%d isr %v", n, i, p.Leader, p.LeaderEpoch, p.PartitionEpoch, p.ISR))
			}
		}
		return strings.Join(s, "; ")
	}
	r := c.ok(&metapb.RegisterBroker{NodeId: 1, Incarnation: bid(1), Listeners: []*metapb.Endpoint{{Name: "PLAINTEXT", Host: "h", Port: 9092}}})
	if b := c.s.Image().Brokers[1]; r.BrokerEpoch == int64(c.index) || r.BrokerEpoch != b.Epoch || b.Listeners[0].Port != 9092 {
		t.Fatalf("same incarnation: epoch %d, broker %+v", r.BrokerEpoch, b)
	}
	if got, want := show(), "a-0 leader 1 epoch 0/0 isr [1 2 3]; a-1 leader 2 epoch 0/0 isr [2 1 3]; b-0 leader 1 epoch 0/0 isr [1]"; got != want {
		t.Fatalf("same incarnation:\n%s\n%s", got, want)
	}
	r = c.ok(&metapb.RegisterBroker{NodeId: 1, Incarnation: bid(11)})
	if got, want := show(), "a-0 leader 1 epoch 1/1 isr [1 2 3]; a-1 leader 2 epoch 0/0 isr [2 1 3]; b-0 leader 1 epoch 1/1 isr [1]"; got != want || r.BrokerEpoch != int64(c.index) {
		t.Fatalf("new incarnation:\n%s\n%s", got, want)
	}
	c.ok(&metapb.RegisterBroker{NodeId: 1, Incarnation: bid(12), Damaged: []*metapb.DamagedRange{
		{TopicId: bid(1), Partition: 0, ProvenEnd: 5}, {TopicId: bid(1), Partition: 1, Corrupt: true}, {TopicId: bid(2), Partition: 0, Corrupt: true}}})
	want := "a-0 leader 2 epoch 2/2 isr [2 3]; a-1 leader 2 epoch 0/1 isr [2 3]; b-0 leader 1 epoch 2/2 isr [1]"
	if got := show(); got != want || len(c.s.Image().Brokers[1].Damaged) != 3 {
		t.Fatalf("damaged:\n%s\n%s", got, want)
	}
}

func TestProducerIDs(t *testing.T) {
	c := newCluster(t)
	if a, b := c.ok(&metapb.AllocateProducerIds{Count: 1000}), c.ok(&metapb.AllocateProducerIds{Count: 1}); a.FirstProducerID != 0 || b.FirstProducerID != 1000 {
		t.Fatalf("blocks %d, %d", a.FirstProducerID, b.FirstProducerID)
	}
}

func TestRetryIsAnsweredTwiceAndActsOnce(t *testing.T) {
	c := newCluster(t, 1)
	create := c.encode(&metapb.CreateTopic{Name: "t", Id: bid(1), Partitions: assignment(1, 1)})
	ids := c.encode(&metapb.AllocateProducerIds{Count: 10})
	bad := c.encode(&metapb.DeleteTopic{Id: bid(9)})
	first := []Result{c.apply(create), c.apply(ids), c.apply(bad)}
	check := func(when string) {
		t.Helper()
		for i, data := range [][]byte{create, ids, bad} {
			again := c.apply(data)
			if !again.Duplicate || again.Index != first[i].Index || again.FirstProducerID != first[i].FirstProducerID || !errors.Is(again.Err, first[i].Err) {
				t.Fatalf("%s: retry %d answered %+v, first %+v", when, i, again, first[i])
			}
			if first[i].Topic != nil && again.Topic.ID != first[i].Topic.ID {
				t.Fatalf("%s: another topic %+v", when, again.Topic)
			}
		}
		if c.s.Image().NextProducerID != 10 {
			t.Fatalf("%s: a retry acted", when)
		}
	}
	check("at once")
	snap, err := c.s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	c.s = New()
	if err := c.s.Restore(snap); err != nil {
		t.Fatal(err)
	}
	check("after restore")
	for range window {
		c.ok(&metapb.AllocateProducerIds{Count: 1})
	}
	if r := c.apply(create); !errors.Is(r.Err, ErrStaleCommand) {
		t.Fatalf("long after: %+v", r)
	}
}

func TestProposersAreBounded(t *testing.T) {
	c := newCluster(t)
	for i := range 2 * maxProposers {
		c.p = NewProposer([16]byte{byte(i), byte(i >> 8), 1})
		c.ok(&metapb.AllocateProducerIds{Count: 1})
	}
	if n := len(c.s.dedup.proposers); n != maxProposers {
		t.Fatalf("%d proposers", n)
	}
	if c.s.dedup.proposers[[16]byte{255, 1, 1}] == nil || c.s.dedup.proposers[[16]byte{0, 0, 1}] != nil {
		t.Fatal("the newest went, or the oldest stayed")
	}
}

func TestJSON(t *testing.T) {
	c := newCluster(t, 1)
	data := c.encode(&metapb.CreateTopic{Name: "t", Id: bid(1), Partitions: assignment(1, 1)})
	line, err := CommandJSON(data)
	if err != nil || !bytes.Contains(line, []byte(`"create_topic":{"name":"t"`)) {
		t.Fatalf("%s, %v", line, err)
	}
	if line, err := CommandJSON(nil); err != nil || string(line) != "{}" {
		t.Fatalf("%s, %v", line, err)
	}
	c.apply(data)
	snap, err := c.s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	line, err = SnapshotJSON(snap)
	if err != nil || !bytes.Contains(line, []byte(`"partitions":[{"index":"3"`)) || bytes.ContainsAny(line, "\n") {
		t.Fatalf("%s, %v", line, err)
	}
}
