package broker

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"

	"chronik.dev/chronik/broker/config"
	"chronik.dev/chronik/broker/datadir"
	"chronik.dev/chronik/broker/partition"
	"chronik.dev/chronik/broker/segment"
	"chronik.dev/chronik/broker/vfs"
)

// hasCode says whether err is an *Error with that code.
func hasCode(err error, code *kerr.Error) bool {
	var e *Error
	return errors.As(err, &e) && e.Code == code.Code
}

// mustPut appends n records and waits for them.
func (b *Broker) mustPut(t testing.TB, l *partition.Log, n int) {
	t.Helper()
	for range n {
		if err := <-b.put(t, l, 100); err != nil {
			t.Fatal(err)
		}
	}
}

// stop closes a node that the test opened itself.
func (b *Broker) stop(t testing.TB) {
	t.Helper()
	if err := b.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TestLife starts a node again and again, after a stop and after a kill: its identity stays, what was acknowledged is there, leader epochs rise, and
// no producer id is given twice.
func TestLife(t *testing.T) {
	mem := vfs.NewMem(1)
	var id datadir.Identity
	var epoch int32 = -1
	producers := map[int64]bool{}
	for round := range 6 {
		b, err := open(t, mem)
		if err != nil {
			t.Fatal(err)
		}
		b.register(t)
		if round == 0 {
			id = b.Identity()
			b.create(t, "t")
		}
		if got := b.Identity(); got.ClusterID != id.ClusterID || got.DirectoryID != id.DirectoryID || got.NodeID != 1 || b.ClusterID() != id.ClusterID {
			t.Fatalf("round %d: identity %+v, was %+v", round, got, id)
		}
		l, err := b.Log("t", 0)
		if err != nil || l.HighWatermark() != int64(10*round) || l.LeaderEpoch() <= epoch && round > 0 {
			t.Fatalf("round %d: high watermark %d, epoch %d after %d, %v", round, l.HighWatermark(), l.LeaderEpoch(), epoch, err)
		}
		epoch = l.LeaderEpoch()
		b.mustPut(t, l, 10)
		p, err := b.NextProducerID(t.Context())
		if err != nil || producers[p] {
			t.Fatalf("round %d: producer id %d, %v; before %v", round, p, err, producers)
		}
		producers[p] = true
		killed := mem.Kill()
		b.stop(t)
		verify(t, mem)
		if round%2 == 1 {
			mem = killed
		}
	}
}

// TestReadiness: a node is ready from its registration to its stop, and only then; a second one on the directory does not start.
func TestReadiness(t *testing.T) {
	mem := vfs.NewMem(1)
	b, err := open(t, mem)
	if err != nil {
		t.Fatal(err)
	}
	if h := b.Health(); h.Ready || !h.Live || len(h.Reasons) == 0 {
		t.Errorf("before the registration: %+v", h)
	}
	if _, err := open(t, mem); !errors.Is(err, vfs.ErrLocked) {
		t.Errorf("a second node: %v", err)
	}
	b.register(t)
	if h := b.Health(); !h.Ready || !h.Live || len(h.Reasons) != 0 || len(b.Listeners()) != 1 {
		t.Errorf("serving: %+v", h)
	}
	b.fail(errors.New("the disk is on fire"))
	if h := b.Health(); h.Ready || h.Live || !strings.Contains(fmt.Sprint(h.Reasons), "on fire") {
		t.Errorf("failed: %+v", h)
	}
	b.stop(t)
	if _, err := open(t, mem, "node.id=2"); err == nil || !strings.Contains(err.Error(), "belongs to another node") {
		t.Errorf("another node's directory: %v", err)
	}
	b = start(t, mem, mem)
	b.Drain()
	if h := b.Health(); h.Ready || !h.Live {
		t.Errorf("draining: %+v", h)
	}
}

// TestTopics creates, grows, deletes and creates again by metadata commands: a topic is served when the call returns, gone when the call returns, and
// of one that was deleted nothing is left for the next of its name.
func TestTopics(t *testing.T) {
	mem := vfs.NewMem(1)
	b := start(t, mem, mem)
	l := b.create(t, "t")
	b.mustPut(t, l, 5)
	first := l.Identity().ID
	if r := b.CreateTopics(t.Context(), []TopicSpec{{Name: "t", Partitions: 1, ReplicationFactor: -1}}, false)[0]; !hasCode(r.Err, kerr.TopicAlreadyExists) {
		t.Errorf("twice: %v", r.Err)
	}
	if r := b.CreateTopics(t.Context(), []TopicSpec{{Name: "dry", Partitions: 3, ReplicationFactor: -1}}, true)[0]; r.Err != nil || b.Image().Topics["dry"] != nil {
		t.Errorf("validate only: %v", r.Err)
	}
	if err := b.CreatePartitions(t.Context(), "t", 3, nil, false); err != nil {
		t.Fatal(err)
	}
	for n := range int32(3) {
		if _, err := b.Log("t", n); err != nil {
			t.Errorf("partition %d: %v", n, err)
		}
	}
	if _, err := b.Log("t", 3); !hasCode(err, kerr.UnknownTopicOrPartition) {
		t.Errorf("partition 3: %v", err)
	}
	value := "12345"
	if err := b.AlterConfigs(t.Context(), TopicResource, "t", []ConfigOp{{Key: "retention.ms", Kind: config.SetValue, Value: &value}}, false); err != nil || l.Config().RetentionMs != 12345 {
		t.Errorf("retention.ms of the open log is %d, %v", l.Config().RetentionMs, err)
	}
	if err := b.DeleteTopic(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Log("t", 0); !hasCode(err, kerr.UnknownTopicOrPartition) {
		t.Errorf("deleted: %v", err)
	}
	if err := <-b.put(t, l, 10); err == nil {
		t.Error("the deleted log takes records")
	}
	if err := b.DeleteTopic(t.Context(), first); !hasCode(err, kerr.UnknownTopicID) {
		t.Errorf("deleted twice: %v", err)
	}
	l = b.create(t, "t")
	if l.Identity().ID == first || l.LogEnd() != 0 {
		t.Errorf("the next of the name: id %x, end %d", l.Identity().ID, l.LogEnd())
	}
	if _, err := b.LogByID(first, 0); !hasCode(err, kerr.UnknownTopicID) {
		t.Errorf("by the old id: %v", err)
	}
	b.mustPut(t, l, 2)
	if err := b.checkpoint(); err != nil {
		t.Fatal(err)
	}
	for _, name := range mem.Files() {
		if strings.Contains(name, "-delete/") || strings.Contains(name, "topics/t-1/") {
			t.Errorf("%s is still there after a checkpoint", name)
		}
	}
	again := start(t, mem.Kill(), nil)
	if l, err := again.Log("t", 0); err != nil || l.HighWatermark() != 2 || len(again.Image().Deleted) != 0 {
		t.Errorf("after a kill: %v, %v; deleted %v", l, err, again.Image().Deleted)
	}
}

// TestStoppedPartition: a partition whose file is damaged is stopped alone: it says so with the command to run, and the others serve.
func TestStoppedPartition(t *testing.T) {
	mem := vfs.NewMem(1)
	b, err := open(t, mem)
	if err != nil {
		t.Fatal(err)
	}
	b.register(t)
	b.mustPut(t, b.create(t, "bad"), 5)
	b.mustPut(t, b.create(t, "good"), 5)
	b.stop(t)
	name := "data/topics/bad-0/" + segment.Log.Name(0)
	if err := mem.Remove(name); err != nil {
		t.Fatal(err)
	}
	if b, err = open(t, mem); err != nil {
		t.Fatal(err)
	}
	b.register(t)
	if _, err := b.Log("bad", 0); !hasCode(err, kerr.KafkaStorageError) {
		t.Errorf("the damaged partition: %v", err)
	}
	good, err := b.Log("good", 0)
	if err != nil {
		t.Fatal(err)
	}
	b.mustPut(t, good, 1)
	for _, p := range b.Partitions() {
		if stopped := p.Topic == "bad"; stopped != (p.Stopped != "") || stopped && p.Command != "chronik wal verify --live data" {
			t.Errorf("%+v", p)
		}
	}
	if err := b.DeleteTopic(t.Context(), b.Image().Topics["bad"].ID); err != nil {
		t.Errorf("a stopped partition's topic is not deleted: %v", err)
	}
	b.stop(t)
	b = start(t, mem, nil) // its directory is put aside
	b.mustPut(t, b.create(t, "bad"), 1)
	if good, err := b.Log("good", 0); err != nil || good.HighWatermark() != 6 {
		t.Errorf("the good partition, %v", err)
	}
}

// TestDiskReserve: near the end of the disk produce is refused while metadata still change, and what is deleted makes produce work again.
func TestDiskReserve(t *testing.T) {
	mem := vfs.NewMem(1)
	mem.SetLimit(24 << 20)
	b := start(t, mem, mem, "chronik.disk.reserve.bytes=4194304", "chronik.tail.memory.bytes=1048576", "chronik.journal.max.bytes=4194304")
	l := b.create(t, "large")
	var err error
	for i := 0; err == nil; i++ {
		if err = <-b.put(t, l, 200_000); i > 1000 {
			t.Fatal("the disk is never full")
		}
	}
	if !hasCode(err, kerr.KafkaStorageError) || !strings.Contains(err.Error(), "chronik.disk.reserve.bytes") {
		t.Fatalf("a full disk: %v", err)
	}
	other := b.create(t, "other")
	if err := <-b.put(t, other, 10); !hasCode(err, kerr.KafkaStorageError) {
		t.Errorf("a small record: %v", err)
	}
	if err := b.DeleteTopic(t.Context(), l.Identity().ID); err != nil {
		t.Fatal(err)
	}
	if err := b.checkpoint(); err != nil {
		t.Fatal(err)
	}
	if err := <-b.put(t, other, 10); err != nil {
		t.Errorf("with room again: %v", err)
	}
}
