package replay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"reflect"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"chronik.dev/chronik/broker"
	"chronik.dev/chronik/broker/batch"
	"chronik.dev/chronik/broker/kafka"
	"chronik.dev/chronik/broker/metadata"
	"chronik.dev/chronik/broker/partition"
	"chronik.dev/chronik/broker/vfs"
)

// cluster is a node that clients reach.
type cluster struct {
	*node
	address string
	server  *kafka.Server
}

// startCluster serves a disk on a loopback address; port 0 picks one.
func startCluster(t testing.TB, disk *vfs.Mem, port int) *cluster {
	t.Helper()
	n := openNode(t, disk, root, rand.New(rand.NewPCG(1, 9)))
	l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port))
	for try := 0; err != nil && try < 100; try++ {
		time.Sleep(20 * time.Millisecond)
		l, err = net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port))
	}
	if err != nil {
		t.Fatal(err)
	}
	at := l.Addr().(*net.TCPAddr)
	if err := n.b.SetListeners(context.Background(), []metadata.Endpoint{{Name: "PLAINTEXT", Host: "127.0.0.1", Port: uint16(at.Port)}}); err != nil {
		t.Fatal(err)
	}
	c := &cluster{node: n, address: at.String(), server: kafka.New(n.b, kafka.Options{})}
	go func() { _ = c.server.ServeNamed("PLAINTEXT", l) }()
	return c
}

func (c *cluster) port() int { return int(c.b.Listeners()[0].Port) }

// stop ends the listener at once and the node cleanly.
func (c *cluster) stop() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = c.server.Shutdown(ctx)
	c.close()
}

// record is what must survive a replay.
type record struct {
	time       int64
	key, value string
	headers    string
	null       [2]bool // key, value
}

// records reads what a partition serves; skip is how many of the first are left out.
func records(t testing.TB, b *broker.Broker, topic string, number int32) []record {
	t.Helper()
	l, err := b.Log(topic, number)
	if err != nil {
		t.Fatal(err)
	}
	var out []record
	for at := l.LogStart(); at < l.HighWatermark(); {
		raw, err := l.Read(partition.ReadRequest{Offset: at, UpTo: l.HighWatermark(), MaxBytes: 1 << 20, AtLeastOne: true})
		if err != nil {
			t.Fatal(err)
		}
		err = batch.Each(raw, func(h batch.Header, one []byte) error {
			at = h.LastOffset() + 1
			return batch.Records(one, 1<<24, func(r batch.Record) error {
				if r.Offset >= l.LogStart() {
					out = append(out, record{r.Timestamp, string(r.Key), string(r.Value), fmt.Sprintf("%q", r.Headers), [2]bool{r.Key == nil, r.Value == nil}})
				}
				return nil
			})
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// fillSource makes two topics with everything that a record can be, one of them stamped by the broker, and a log start inside a batch.
func fillSource(t testing.TB, n *node) {
	stamp := "LogAppendTime"
	for _, spec := range []broker.TopicSpec{
		{Name: "orders", Partitions: 3, ReplicationFactor: 1},
		{Name: "stamped", Partitions: 1, ReplicationFactor: 1, Configs: map[string]*string{timestampType: &stamp}},
	} {
		if r := n.b.CreateTopics(context.Background(), []broker.TopicSpec{spec}, false); r[0].Err != nil {
			t.Fatal(r[0].Err)
		}
	}
	for i := range 300 {
		for _, l := range n.logs() {
			b := batch.NewBuilder(batch.Codec(i % 5))
			for j := range 1 + i%7 {
				key, value := fmt.Appendf(nil, "key-%d-%d", i, j), bytes.Repeat([]byte{byte('a' + i%26)}, 20*i%600)
				if j%5 == 1 {
					key = nil
				}
				if j%5 == 2 {
					value = nil
				}
				b.Append(1_600_000_000_000+int64(i*1000-j), key, value, []batch.RecordHeader{{Key: "n", Value: fmt.Appendf(nil, "%d", i)}, {Key: "null"}}[:j%3])
			}
			raw, err := b.Bytes(0, -1, -1, -1, -1)
			if err != nil {
				t.Fatal(err)
			}
			done := make(chan error, 1)
			n.b.Append(l, raw, func(_ partition.Appended, err error) { done <- err })
			if err := <-done; err != nil {
				t.Fatal(err)
			}
		}
	}
	l, err := n.b.Log("orders", 2)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	n.b.DeleteRecords(context.Background(), l, 17, func(_ int64, err error) { done <- err })
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// source is a killed node's disk, and what it served.
func killedSource(t testing.TB) (*vfs.Mem, map[string][]record) {
	n := openNode(t, vfs.NewMem(2), root, rand.New(rand.NewPCG(2, 9)))
	n.serve()
	fillSource(t, n)
	want := map[string][]record{}
	for _, p := range n.b.Partitions() {
		want[partition.DirName(p.Topic, p.Partition)] = records(t, n.b, p.Topic, p.Partition)
	}
	disk := n.disk.Kill()
	n.close()
	return disk, want
}

func checkTarget(t *testing.T, c *cluster, prefix string, want map[string][]record) {
	t.Helper()
	for _, p := range []struct {
		topic  string
		number int32
	}{{"orders", 0}, {"orders", 1}, {"orders", 2}, {"stamped", 0}} {
		got, want := records(t, c.b, prefix+p.topic, p.number), want[partition.DirName(p.topic, p.number)]
		if len(got) != len(want) {
			t.Errorf("%s-%d: %d records, want %d", p.topic, p.number, len(got), len(want))
			continue
		}
		for i := range got {
			if got[i] != want[i] {
				t.Errorf("%s-%d record %d: %+v, want %+v", p.topic, p.number, i, got[i], want[i])
				break
			}
		}
	}
}

// TestToCluster replays everything into a node and reads back every field of every record; a second run with the same resume file sends
// nothing.
func TestToCluster(t *testing.T) {
	disk, want := killedSource(t)
	before := tree(t, disk, root)
	c := startCluster(t, vfs.NewMem(3), 0)
	defer c.stop()
	o := ClusterOptions{FS: disk, Dir: root, Address: c.address, Prefix: "copy.", Create: true, Resume: "/resume"}
	report, err := ToCluster(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	checkTarget(t, c, "copy.", want)
	total := 0
	for _, r := range want {
		total += len(r)
	}
	if report.Records != int64(total) || report.Duplicates != 0 || report.Finished || report.Resumed || report.Sent != report.Bytes {
		t.Errorf("%d records: %+v", total, report)
	}
	again, err := ToCluster(context.Background(), o)
	if err != nil || !again.Finished || !again.Resumed || again.Sent != 0 || again.Records != report.Records {
		t.Errorf("%+v, %v", again, err)
	}
	checkTarget(t, c, "copy.", want)
	if !reflect.DeepEqual(before, tree(t, disk, root)) {
		t.Error("the source has changed")
	}
}

// TestToClusterResumes interrupts the replay again and again, and kills the target in between: every record is there once, in order.
func TestToClusterResumes(t *testing.T) {
	disk, want := killedSource(t)
	target := vfs.NewMem(3)
	c := startCluster(t, target, 0)
	port := c.port()
	o := ClusterOptions{FS: disk, Dir: root, Address: c.address, Create: true, Resume: "/resume", Timeout: 30 * time.Second}
	var duplicates int64
	rounds := 0
	const step = 16000
	for stopAt := int64(0); ; stopAt += step {
		ctx, cancel := context.WithCancel(context.Background())
		var sent atomic.Int64
		o.Progress = func(done, _ int64) {
			if sent.Store(done); done >= stopAt+step {
				cancel()
			}
		}
		report, err := ToCluster(ctx, o)
		cancel()
		if err == nil {
			duplicates = report.Duplicates
			break
		}
		if !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		rounds++
		if rounds%10 == 5 {
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			_ = c.server.Shutdown(ctx)
			target = target.Kill()
			c.close()
			c = startCluster(t, target, port)
		}
	}
	defer func() { c.stop() }()
	t.Logf("%d interruptions, %d batches were known already", rounds, duplicates)
	if rounds < 10 || duplicates == 0 {
		t.Errorf("%d interruptions and %d duplicates: the test shows nothing", rounds, duplicates)
	}
	checkTarget(t, c, "", want)
}

// TestToClusterRefuses takes what must not be sent.
func TestToClusterRefuses(t *testing.T) {
	disk, _ := killedSource(t)
	c := startCluster(t, vfs.NewMem(3), 0)
	defer c.stop()
	o := ClusterOptions{FS: disk, Dir: root, Address: c.address, Resume: "/resume"}
	refuse := func(want error, text string) {
		t.Helper()
		if _, err := ToCluster(context.Background(), o); !errors.Is(err, want) || !strings.Contains(fmt.Sprint(err), text) {
			t.Errorf("%v, want %v and %q", err, want, text)
		}
	}
	o.Topics = map[string]string{"orders": "few"}
	refuse(ErrNoTopic, "create it with 3 partitions")
	if r := c.b.CreateTopics(context.Background(), []broker.TopicSpec{{Name: "few", Partitions: 2, ReplicationFactor: 1}}, false); r[0].Err != nil {
		t.Fatal(r[0].Err)
	}
	refuse(ErrRefused, "has 2 partitions, the source needs 3")
	if there, _ := vfs.Exists(disk, "/resume.0"); there {
		t.Error("a resume file was made")
	}

	// A topic of the target whose broker sets the times: said, and done.
	stamp := "LogAppendTime"
	spec := broker.TopicSpec{Name: "now", Partitions: 1, ReplicationFactor: 1, Configs: map[string]*string{timestampType: &stamp}}
	if r := c.b.CreateTopics(context.Background(), []broker.TopicSpec{spec}, false); r[0].Err != nil {
		t.Fatal(r[0].Err)
	}
	o.Topics = map[string]string{"stamped": "now"}
	report, err := ToCluster(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(strings.Join(report.Notes, "\n"), "replaces the records' times") || report.Partitions[0].Rewritten == 0 {
		t.Errorf("%+v", report)
	}

	// The resume file is that of another choice, of another target, of another source, of a source that changed, or of a topic made anew.
	o.Topics = map[string]string{"stamped": "now2"}
	o.Create = true
	refuse(ErrRefused, "of another choice of topics")
	o.Topics = map[string]string{"stamped": "now"}
	other := startCluster(t, vfs.NewMem(4), 0)
	defer other.stop()
	o.Address = other.address
	refuse(ErrRefused, "of another target")
	o.Address = c.address
	if err := c.b.DeleteTopic(context.Background(), c.b.Image().Topics["now"].ID); err != nil {
		t.Fatal(err)
	}
	refuse(ErrRefused, "was deleted and made anew")

	o.Resume = "/resume2"
	refuseChanged(t, c, o)
}

// refuseChanged goes on with what a resume file alone can be wrong about.
func refuseChanged(t *testing.T, c *cluster, o ClusterOptions) {
	disk := o.FS.(*vfs.Mem)
	refuse := func(want error, text string) {
		t.Helper()
		if _, err := ToCluster(context.Background(), o); !errors.Is(err, want) || !strings.Contains(fmt.Sprint(err), text) {
			t.Errorf("%v, want %v and %q", err, want, text)
		}
	}
	changed := openNode(t, disk, root, rand.New(rand.NewPCG(5, 5)))
	changed.serve()
	refuse(vfs.ErrLocked, "stop the node first")
	changed.close()
	disk = disk.Kill()
	o.FS = disk
	if _, err := ToCluster(context.Background(), o); err != nil {
		t.Fatal(err)
	}
	changed = openNode(t, disk, root, rand.New(rand.NewPCG(5, 5)))
	changed.serve()
	changed.plain = true
	for range 20 {
		changed.append(changed.logs()[0])
	}
	changed.close()
	disk = disk.Kill()
	o.FS = disk
	refuse(ErrRefused, "the source has changed")

	lock, err := disk.Lock("/resume2.0")
	if err != nil {
		t.Fatal(err)
	}
	refuse(ErrRefused, "another replay works with")
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"/resume2.0", "/resume2.1"} {
		if err := disk.Flip(name, 70, 1); err != nil {
			t.Fatal(err)
		}
	}
	refuse(ErrRefused, "name another one with --resume")
	c.server.Shutdown(context.Background())
	o.Address = "127.0.0.1:1"
	refuse(ErrUnreachable, "")
}

// TestContent counts what is not sent: markers, aborted and open transactions; and sends compacted batches without their holes.
func TestContent(t *testing.T) {
	next := int64(100)
	make1 := func(producer int64, flags int16, keys ...string) []byte {
		b := batch.NewBuilder(batch.LZ4)
		b.SetFlags(flags)
		for i, k := range keys {
			b.Append(int64(i), []byte(k), []byte("v"), []batch.RecordHeader{{Key: "h", Value: []byte(k)}})
		}
		raw, err := b.Bytes(next, 3, producer, 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		next += int64(len(keys))
		return raw
	}
	const data, control = batch.FlagTransactional, batch.FlagTransactional | batch.FlagControl
	commit, abort := "\x00\x00\x00\x01", "\x00\x00\x00\x00"
	batches := [][]byte{
		make1(1, data, "a", "b"), make1(2, data, "x"), make1(-1, 0, "plain"), make1(1, control, commit), make1(2, data, "y", "z"), make1(2, control, abort),
		make1(2, data, "c"), make1(2, control, commit), make1(7, data, "open"),
	}
	holed, _, err := batch.Filter(make1(-1, 0, "d", "gone", "e"), 1<<20, func(r batch.Record) bool { return string(r.Key) != "gone" })
	if err != nil {
		t.Fatal(err)
	}
	batches = append(batches, holed)
	c := newContent(101, next) // the log starts inside the first batch
	for _, raw := range batches {
		h, err := batch.CheckStored(raw)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.add(&h, raw); err != nil {
			t.Fatal(err)
		}
	}
	c.finish()
	if c.Control != 3 || c.Aborted != 3 || c.Open != 1 || c.Batches != 4 || c.Rewritten != 2 {
		t.Errorf("%+v", c)
	}
	var keys []string
	for _, raw := range batches {
		h, _ := batch.Parse(raw)
		if c.skips(&h) {
			continue
		}
		out, count, err := sendable(&h, raw, c.start)
		if err != nil {
			t.Fatal(err)
		}
		batch.SetProducer(out, 9, 0, 5)
		got, err := batch.Check(out) // as the broker checks what is produced
		if err != nil || got.IsTransactional() || got.Count != count || got.ProducerID != 9 || got.BaseSequence != 5 || got.Codec() != batch.LZ4 {
			t.Errorf("%+v, %v", got, err)
		}
		err = batch.Records(out, 1<<20, func(r batch.Record) error {
			keys = append(keys, string(r.Key))
			if len(r.Headers) != 1 || string(r.Headers[0].Value) != string(r.Key) {
				t.Errorf("%+v", r)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if got := strings.Join(keys, " "); got != "b plain c d e" {
		t.Errorf("sent %q", got)
	}
	if got := nextSequence(math.MaxInt32, 1); got != 0 {
		t.Errorf("after the last sequence comes %d", got)
	}
}

// TestToClusterTargetDies kills the target in the middle of one run, again and again: the run goes on, and every record is there once.
func TestToClusterTargetDies(t *testing.T) {
	disk, want := killedSource(t)
	target := vfs.NewMem(3)
	c := startCluster(t, target, 0)
	port := c.port()
	die := make(chan bool, 100)
	next := int64(20_000)
	o := ClusterOptions{FS: disk, Dir: root, Address: c.address, Create: true, Resume: "/resume", Timeout: time.Minute, Progress: func(done, _ int64) {
		if done >= next {
			next += 40_000
			die <- true
		}
	}}
	finished := make(chan error, 1)
	var report *ClusterReport
	go func() {
		r, err := ToCluster(context.Background(), o)
		report = r
		finished <- err
	}()
	deaths := 0
	for alive := true; alive; {
		select {
		case <-die:
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			_ = c.server.Shutdown(ctx)
			target = target.Kill()
			c.close()
			c = startCluster(t, target, port)
			deaths++
		case err := <-finished:
			if err != nil {
				t.Fatal(err)
			}
			alive = false
		}
	}
	defer func() { c.stop() }()
	t.Logf("%d deaths, %d batches were known already", deaths, report.Duplicates)
	if deaths < 3 {
		t.Errorf("%d deaths: the test shows nothing", deaths)
	}
	checkTarget(t, c, "", want)
}
