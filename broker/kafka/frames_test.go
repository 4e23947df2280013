package kafka

import (
	"encoding/binary"
	"fmt"
	"math"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestNewerApiVersions (trap 1): a version that we do not know is answered in version 0 without looking at the body, and the connection
// goes on.
func TestNewerApiVersions(t *testing.T) {
	n := start(t, Options{})
	p := n.dial()
	for _, version := range []int16{5, 6, 127, math.MaxInt16, -1} {
		p.write(frame(keyAPIVersions, version, 77, true, []byte("\xff\xff no body of ours")))
		corr, rest := p.read()
		resp := kmsg.NewPtrApiVersionsResponse()
		if err := resp.ReadFrom(rest); err != nil || corr != 77 {
			t.Fatalf("version %d: correlation id %d, %v: % x", version, corr, err, rest)
		}
		if resp.ErrorCode != kerr.UnsupportedVersion.Code || len(resp.ApiKeys) != 1 || resp.ApiKeys[0].ApiKey != 18 || resp.ApiKeys[0].MaxVersion != 4 {
			t.Errorf("version %d: %+v", version, resp)
		}
		if again := resp.AppendTo(nil); string(again) != string(rest) {
			t.Errorf("version %d: bytes left: % x", version, rest)
		}
	}
	if resp := call1[*kmsg.ApiVersionsResponse](p, meaningful(keyAPIVersions, 4, [16]byte{})); resp.ErrorCode != 0 {
		t.Errorf("after it: %+v", resp)
	}
	bad := at(kmsg.NewPtrApiVersionsRequest(), 4)
	bad.ClientSoftwareName, bad.ClientSoftwareVersion = "a b", "1"
	if resp := call1[*kmsg.ApiVersionsResponse](p, bad); resp.ErrorCode != kerr.InvalidRequest.Code {
		t.Errorf("software name with a blank: %+v", resp)
	}
}

// TestFeatures (trap 18): UIs read the version of the cluster from the finalised metadata.version.
func TestFeatures(t *testing.T) {
	p := start(t, Options{}).dial()
	resp := call1[*kmsg.ApiVersionsResponse](p, meaningful(keyAPIVersions, 3, [16]byte{}))
	if len(resp.FinalizedFeatures) != 1 || resp.FinalizedFeatures[0].Name != "metadata.version" || resp.FinalizedFeatures[0].MaxVersionLevel != 30 {
		t.Errorf("features: %+v", resp.FinalizedFeatures)
	}
	if resp.FinalizedFeaturesEpoch < 0 {
		t.Error("the epoch of the features is unknown")
	}
}

// TestUnknownRequests (trap 2): an unknown key or version is answered under its correlation id with an error, and the connection goes on.
func TestUnknownRequests(t *testing.T) {
	p := start(t, Options{}).dial()
	cases := []struct {
		key, version int16
		flexible     bool
	}{
		{999, 0, false}, {-1, 3, false}, {4, 0, false}, {24, 0, false}, {3, 14, true}, {3, -1, false}, {1, 3, false}, {1, 19, true},
		{60, 9, true}, {11, 99, true}, {22, 6, true},
	}
	for i, c := range cases {
		p.write(frame(c.key, c.version, int32(100+i), c.flexible, []byte("anything")))
		corr, rest := p.read()
		if corr != int32(100+i) {
			t.Fatalf("%+v: correlation id %d", c, corr)
		}
		if !strings.Contains(string(rest), "\x00\x23") {
			t.Errorf("%+v: no error 35 in % x", c, rest)
		}
	}
	call1[*kmsg.MetadataResponse](p, at(kmsg.NewPtrMetadataRequest(), 12))
}

// TestMalformed (trap 3): what is no request ends the connection, and nothing else.
func TestMalformed(t *testing.T) {
	n := start(t, Options{})
	be := binary.BigEndian
	cases := map[string][]byte{
		"negative size":         be.AppendUint32(nil, 0xffffffff),
		"size of a header less": {0, 0, 0, 7, 0, 3, 0, 1, 0, 0, 0},
		"huge size":             be.AppendUint32(nil, 0x7fffffff),
		"http":                  []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
		"tls":                   []byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
		"no client id":          {0, 0, 0, 8, 0, 3, 0, 1, 0, 0, 0, 1},
		"client id beyond end":  {0, 0, 0, 10, 0, 3, 0, 1, 0, 0, 0, 1, 0x7f, 0xff},
		"negative count":        frame(3, 1, 1, false, []byte{0xff, 0xff, 0xff, 0xfe}),
		"huge count":            frame(3, 1, 1, false, []byte{0x7f, 0xff, 0xff, 0xff}),
		"null name":             frame(3, 1, 1, false, []byte{0, 0, 0, 1, 0xff, 0xff}),
		"cut body":              frame(19, 2, 1, false, []byte{0, 0, 0, 1, 0, 1, 'x', 0}),
		"huge compact count":    frame(3, 12, 1, true, []byte{0xff, 0xff, 0xff, 0xff, 0x0f}),
	}
	for name, bytes := range cases {
		t.Run(name, func(t *testing.T) {
			p := n.dial()
			p.t = t
			p.write(bytes)
			p.closed()
		})
	}
	eventually(t, "all of them are counted", func() bool { return n.s.Stats().Malformed == int64(len(cases)) })
	call1[*kmsg.MetadataResponse](n.dial(), at(kmsg.NewPtrMetadataRequest(), 12))
}

// TestFrameAtLimit: socket.request.max.bytes itself is allowed, in pieces too.
func TestFrameAtLimit(t *testing.T) {
	n := start(t, Options{}, "socket.request.max.bytes=3000000")
	p := n.dial()
	body := at(kmsg.NewPtrMetadataRequest(), 12).AppendTo(nil)
	f := frame(3, 12, 1, true, append(body, make([]byte, 3000000-len(body)-15)...)) // behind the body: tolerated, as by Kafka
	if len(f) != 3000004 {
		t.Fatalf("a frame of %d bytes", len(f)-4)
	}
	p.write(f[:1000])
	p.write(f[1000:1500000])
	p.write(f[1500000:])
	if corr, _ := p.read(); corr != 1 {
		t.Errorf("correlation id %d", corr)
	}
	eventually(t, "the memory of the request is given back", func() bool { return n.s.Stats().RequestMemory == 0 })
	p.write(binary.BigEndian.AppendUint32(nil, 3000001))
	p.closed()
}

// TestTricklingPeer (trap 3): peers that announce megabytes and send next to nothing cost a bounded part of it, and are closed.
func TestTricklingPeer(t *testing.T) {
	n := start(t, Options{FrameTimeout: 200 * time.Millisecond}, "queued.max.request.bytes=20000000", "socket.request.max.bytes=5000000")
	before := heap()
	var small []*peer
	for range 60 {
		n.dial().write(append(binary.BigEndian.AppendUint32(nil, 5_000_000), 0, 3))
		p := n.dial()
		p.write(append(binary.BigEndian.AppendUint32(nil, 10_000), 0, 3))
		small = append(small, p)
	}
	for _, p := range small {
		p.closed()
	}
	if grown := int64(heap()) - int64(before); grown > 100<<20 {
		t.Errorf("the heap grew by %d bytes, 300 million were announced", grown)
	}
	if used := n.s.Stats().RequestMemory; used > 20_000_000 {
		t.Errorf("%d bytes of request memory", used)
	}
	call1[*kmsg.MetadataResponse](n.dial(), at(kmsg.NewPtrMetadataRequest(), 12))
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestDeafPeer: who asks and never reads is no longer listened to, and holds a bounded number of bytes.
func TestDeafPeer(t *testing.T) {
	n := start(t, Options{MaxWaiting: 200_000, MaxInFlight: 50})
	for i := range 20 {
		n.create(fmt.Sprintf("topic-with-a-long-name-%d", i), 20)
	}
	p := n.dial()
	_ = p.nc.(*net.TCPConn).SetReadBuffer(4096)
	req := frame(3, 12, 1, true, at(kmsg.NewPtrMetadataRequest(), 12).AppendTo(nil))
	sent := 0
	for sent < 1_000_000 {
		_ = p.nc.SetWriteDeadline(time.Now().Add(500 * time.Millisecond))
		if _, err := p.nc.Write(req); err != nil {
			break
		}
		sent++
	}
	if sent == 1_000_000 {
		t.Error("a million requests were taken from a peer that reads nothing")
	}
	n.s.mu.Lock()
	for c := range n.s.conns {
		c.mu.Lock()
		if len(c.queue) > 50 || c.waiting > 400_000 {
			t.Errorf("%d requests, %d bytes wait", len(c.queue), c.waiting)
		}
		c.mu.Unlock()
	}
	n.s.mu.Unlock()
	_ = p.nc.Close()
}

// TestOrder (trap 4): responses come in the order of the requests, whatever takes longest; a waiting fetch does not stop the reading of
// what comes behind it, so that a produce of the same connection ends its wait.
func TestOrder(t *testing.T) {
	n := start(t, Options{})
	id := n.create("t", 1)
	p := n.dial()
	poll := fetchFrom(12, "t", id, 0, 0)
	poll.MaxWaitMillis = 25_000
	metadata, put := at(kmsg.NewPtrMetadataRequest(), 12), produceTo(9, "t", id, 0, -1, records("x"))
	p.send(put)
	p.send(at(kmsg.NewPtrApiVersionsRequest(), 0))
	p.send(poll)
	p.send(metadata)
	receive[*kmsg.ProduceResponse](p, put, 1)
	receive[*kmsg.ApiVersionsResponse](p, at(kmsg.NewPtrApiVersionsRequest(), 0), 2)
	if got := receive[*kmsg.FetchResponse](p, poll, 3); len(got.Topics[0].Partitions[0].RecordBatches) == 0 {
		t.Error("the record of the first request is missing")
	}
	receive[*kmsg.MetadataResponse](p, metadata, 4)

	poll.Topics[0].Partitions[0].FetchOffset = 1
	p.send(poll)
	p.send(metadata)
	p.send(put)
	if got := receive[*kmsg.FetchResponse](p, poll, 5); len(got.Topics[0].Partitions[0].RecordBatches) == 0 {
		t.Error("the wait ended without the record that was produced behind it")
	}
	receive[*kmsg.MetadataResponse](p, metadata, 6)
	receive[*kmsg.ProduceResponse](p, put, 7)

	for i := range int32(500) { // many at once, of different kinds
		if i%3 == 0 {
			p.send(put)
		} else {
			p.send(metadata)
		}
	}
	for i := range int32(500) {
		if i%3 == 0 {
			receive[*kmsg.ProduceResponse](p, put, 8+i)
		} else {
			receive[*kmsg.MetadataResponse](p, metadata, 8+i)
		}
	}
}

// TestShutdown: what was taken is answered, a waiting fetch too, and nothing new is taken.
func TestShutdown(t *testing.T) {
	n := start(t, Options{})
	id := n.create("t", 1)
	p := n.dial()
	poll := fetchFrom(12, "t", id, 0, 0)
	poll.MaxWaitMillis = 25_000
	p.send(produceTo(9, "t", id, 0, -1, records("x")))
	receive[*kmsg.ProduceResponse](p, at(kmsg.NewPtrProduceRequest(), 9), 1)
	poll.Topics[0].Partitions[0].FetchOffset = 1
	p.send(poll)
	eventually(t, "the fetch is taken", func() bool { return n.s.Stats().Requests["Fetch"] > 0 })
	n.stop()
	receive[*kmsg.FetchResponse](p, poll, 2)
	p.closed()
	if _, err := net.Dial("tcp", n.addr); err == nil {
		t.Error("a connection is still accepted")
	}
}

// TestMaxConnections: beyond max.connections a connection is closed at once, and a closed one makes room.
func TestMaxConnections(t *testing.T) {
	n := start(t, Options{}, "max.connections=2")
	a, b := n.dial(), n.dial()
	call1[*kmsg.MetadataResponse](a, at(kmsg.NewPtrMetadataRequest(), 12))
	call1[*kmsg.MetadataResponse](b, at(kmsg.NewPtrMetadataRequest(), 12))
	n.dial().closed()
	_ = a.nc.Close()
	eventually(t, "the closed connection is forgotten", func() bool { return n.s.Stats().Connections == 1 })
	call1[*kmsg.MetadataResponse](n.dial(), at(kmsg.NewPtrMetadataRequest(), 12))
	if s := n.s.Stats(); s.Refused != 1 || s.Accepted != 3 {
		t.Errorf("%+v", s)
	}
}
