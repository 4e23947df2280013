package kafka

import (
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"chronik.dev/chronik/broker"
	"chronik.dev/chronik/broker/batch"
	"chronik.dev/chronik/broker/config"
	"chronik.dev/chronik/broker/metadata"
	"chronik.dev/chronik/broker/vfs"
)

// node is a whole node in this process, on a disk in memory, behind a real socket.
type node struct {
	t    testing.TB
	b    *broker.Broker
	s    *Server
	addr string
	fs   *vfs.Mem
	done chan error // of Serve
}

// start runs a node. pairs are KEY=VALUE of its configuration.
func start(t testing.TB, o Options, pairs ...string) *node {
	t.Helper()
	return startOn(t, vfs.NewMem(1), o, pairs...)
}

func startOn(t testing.TB, fs *vfs.Mem, o Options, pairs ...string) *node {
	t.Helper()
	n := startBehind(t, fs, func(l net.Listener) net.Listener { return l }, o, pairs...)
	n.fs = fs
	return n
}

// startBehind runs a node on a disk, with its listener behind another one.
func startBehind(t testing.TB, fs vfs.FS, behind func(net.Listener) net.Listener, o Options, pairs ...string) *node {
	t.Helper()
	cfg := config.New()
	pairs = append([]string{"group.initial.rebalance.delay.ms=0", "chronik.journal.segment.bytes=4194304"}, pairs...)
	for _, p := range pairs {
		if err := cfg.SetPair(p, config.Flag, "test"); err != nil {
			t.Fatal(err)
		}
	}
	log := slog.New(slog.DiscardHandler)
	b, err := broker.Open(t.Context(), broker.Options{DataDir: "data", Config: cfg, FS: fs, Logger: log, Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	if err := b.SetListeners(t.Context(), []metadata.Endpoint{{Name: "PLAINTEXT", Host: "127.0.0.1", Port: uint16(port)}}); err != nil {
		t.Fatal(err)
	}
	n := &node{t: t, b: b, s: New(b, o), addr: l.Addr().String(), done: make(chan error, 1)}
	go func() { n.done <- n.s.Serve(behind(l)) }()
	t.Cleanup(n.stop)
	return n
}

// stop ends the node; a second call does nothing.
func (n *node) stop() {
	if n.b == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := n.s.Shutdown(ctx); err != nil {
		n.t.Errorf("shutdown: %v", err)
	}
	if err := <-n.done; err != ErrServerClosed {
		n.t.Errorf("serve: %v", err)
	}
	if err := n.b.Close(ctx); err != nil {
		n.t.Errorf("close: %v", err)
	}
	n.b = nil
}

// peer is a raw connection to a node.
type peer struct {
	t    testing.TB
	nc   net.Conn
	corr int32
}

func (n *node) dial() *peer {
	n.t.Helper()
	nc, err := net.Dial("tcp", n.addr)
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { _ = nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(30 * time.Second))
	return &peer{t: n.t, nc: nc}
}

// frame makes a request frame with a header of the right version.
func frame(key, version int16, corr int32, flexible bool, body []byte) []byte {
	b := binary.BigEndian.AppendUint16(make([]byte, 4), uint16(key))
	b = binary.BigEndian.AppendUint16(b, uint16(version))
	b = binary.BigEndian.AppendUint32(b, uint32(corr))
	b = append(b, 0, 4, 't', 'e', 's', 't')
	if flexible {
		b = append(b, 0)
	}
	return sized(append(b, body...))
}

// send writes a request.
func (p *peer) send(req kmsg.Request) {
	p.t.Helper()
	p.corr++
	p.write(frame(req.Key(), req.GetVersion(), p.corr, req.IsFlexible(), req.AppendTo(nil)))
}

func (p *peer) write(b []byte) {
	p.t.Helper()
	if _, err := p.nc.Write(b); err != nil {
		p.t.Fatal(err)
	}
}

// read returns the next response frame without its length: correlation id, and the rest.
func (p *peer) read() (corr int32, rest []byte) {
	p.t.Helper()
	head := make([]byte, 8)
	if _, err := io.ReadFull(p.nc, head); err != nil {
		p.t.Fatalf("no response: %v", err)
	}
	rest = make([]byte, binary.BigEndian.Uint32(head)-4)
	if _, err := io.ReadFull(p.nc, rest); err != nil {
		p.t.Fatalf("response broke off: %v", err)
	}
	return int32(binary.BigEndian.Uint32(head[4:])), rest
}

// receive reads the response to req, which must be the next one, and checks that every byte of it is what the codec would write.
func receive[R kmsg.Response](p *peer, req kmsg.Request, corr int32) R {
	p.t.Helper()
	got, rest := p.read()
	if got != corr {
		p.t.Fatalf("response %d, want %d", got, corr)
	}
	resp := req.ResponseKind()
	if resp.IsFlexible() && resp.Key() != keyAPIVersions {
		if rest[0] != 0 {
			p.t.Fatalf("tags in the response header: % x", rest)
		}
		rest = rest[1:]
	}
	if err := resp.ReadFrom(rest); err != nil {
		p.t.Fatalf("%T version %d does not decode: %v\n% x", resp, resp.GetVersion(), err, rest)
	}
	if again := resp.AppendTo(nil); string(again) != string(rest) {
		p.t.Fatalf("%T version %d: bytes left or different:\n% x\nthe codec writes\n% x", resp, resp.GetVersion(), rest, again)
	}
	return resp.(R)
}

// call sends a request and returns its response.
func call1[R kmsg.Response](p *peer, req kmsg.Request) R {
	p.t.Helper()
	p.send(req)
	return receive[R](p, req, p.corr)
}

// at sets the version of a request.
func at[Q kmsg.Request](req Q, version int16) Q {
	req.SetVersion(version)
	return req
}

// closed waits for the end of the connection.
func (p *peer) closed() {
	p.t.Helper()
	if n, err := io.Copy(io.Discard, p.nc); n > 0 {
		p.t.Fatalf("%d bytes before the end", n)
	} else if ne, ok := err.(net.Error); ok && ne.Timeout() {
		p.t.Fatal("the connection stays open")
	}
}

// create makes a topic and returns its id.
func (n *node) create(name string, partitions int32) [16]byte {
	n.t.Helper()
	r := n.b.CreateTopics(n.t.Context(), []broker.TopicSpec{{Name: name, Partitions: partitions, ReplicationFactor: -1}}, false)[0]
	if r.Err != nil {
		n.t.Fatal(r.Err)
	}
	return r.Topic.ID
}

// records makes one batch with these values.
func records(values ...string) []byte {
	b := batch.NewBuilder(batch.None)
	for i, v := range values {
		b.Append(int64(1000+i), []byte("k"), []byte(v), nil)
	}
	data, err := b.Bytes(0, 0, -1, -1, -1)
	if err != nil {
		panic(err)
	}
	return data
}

// produceTo makes a Produce request for one partition of a topic.
func produceTo(version int16, topic string, id [16]byte, partition int32, acks int16, data []byte) *kmsg.ProduceRequest {
	req := at(kmsg.NewPtrProduceRequest(), version)
	req.Acks, req.TimeoutMillis = acks, 5000
	req.Topics = []kmsg.ProduceRequestTopic{{
		Topic: topic, TopicID: id, Partitions: []kmsg.ProduceRequestTopicPartition{{Partition: partition, Records: data}},
	}}
	return req
}

// put produces records and returns the base offset.
func (p *peer) put(topic string, partition int32, values ...string) int64 {
	p.t.Helper()
	resp := call1[*kmsg.ProduceResponse](p, produceTo(12, topic, [16]byte{}, partition, -1, records(values...)))
	r := resp.Topics[0].Partitions[0]
	if r.ErrorCode != 0 {
		p.t.Fatalf("produce: error %d", r.ErrorCode)
	}
	return r.BaseOffset
}

// eventually waits until something that happens behind the answer is so.
func eventually(t testing.TB, what string, so func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !so(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not so: %s", what)
		}
	}
}
