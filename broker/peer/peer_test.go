package peer

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"chronik.dev/chronik/broker/peerpb"
)

var sample = Identity{NodeID: 7, ClusterID: "Zm9vYmFyYmF6cXV4", DirectoryID: [16]byte{1, 2, 15: 0xff}, MemberID: 1<<63 + 5, Founded: true, Version: "v1.2.3"}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() }) // mostly closed already
	return l
}

// count is how many connections are open.
func (s *Server) count() int {
	s.open.mu.Lock()
	defer s.open.mu.Unlock()
	return len(s.open.all)
}

// start serves until the test ends.
func start(t *testing.T) (s *Server, addr string) {
	t.Helper()
	s = New()
	l := listen(t)
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = s.Shutdown(ctx) // connections that a test left are cut
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return s, l.Addr().String()
}

func TestIdentify(t *testing.T) {
	s, addr := start(t)
	if _, err := Ask(t.Context(), addr); err == nil || !strings.Contains(err.Error(), "a chronik node is starting there") {
		t.Errorf("before Attach: %v", err)
	}
	s.Attach(sample)
	got, err := Ask(t.Context(), addr)
	if err != nil || got != sample {
		t.Errorf("got %+v, %v; want %+v", got, err, sample)
	}
	if want := "node 7 of cluster Zm9vYmFyYmF6cXV4 (directory 010200000000000000000000000000ff)"; got.String() != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestGarbage: bytes that are no gRPC end their connection and nothing else.
func TestGarbage(t *testing.T) {
	s, addr := start(t)
	s.Attach(sample)
	random := make([]byte, 64<<10)
	_, _ = rand.Read(random) // never fails, see crypto/rand
	const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	for name, text := range map[string]string{
		"random":       string(random),
		"http":         "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"kafka":        "\x00\x00\x00\x10\x00\x12\x00\x04\x00\x00\x00\x01\x00\x0fabcdefghijklmno",
		"long frame":   preface + "\xff\xff\xff\x04\x00\x00\x00\x00\x00" + string(random),
		"not settings": preface + "\x00\x00\x04\x08\x00\x00\x00\x00\x00\x00\x00\x00\x01",
	} {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(c, text)     // the other side may have closed already
		_ = c.SetReadDeadline(deadline(t)) // cannot fail on an open socket
		_, err = io.Copy(io.Discard, c)    // until the server closes
		if ne := net.Error(nil); errors.As(err, &ne) && ne.Timeout() {
			t.Errorf("%s: the connection stays open", name)
		}
		_ = c.Close()
		if _, err := Ask(t.Context(), addr); err != nil {
			t.Errorf("after %s: %v", name, err)
		}
	}
}

// deadline is far away: nothing is measured.
func deadline(t *testing.T) time.Time {
	if d, ok := t.Deadline(); ok && time.Until(d) < time.Minute {
		return d
	}
	return time.Now().Add(time.Minute)
}

// TestTooLong: a request of more than 64 KiB is refused.
func TestTooLong(t *testing.T) {
	s, addr := start(t)
	s.Attach(sample)
	conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	long := &peerpb.IdentifyResponse{Version: strings.Repeat("x", MaxMessage)} // an unknown field to the server
	err = conn.Invoke(t.Context(), peerpb.Peer_Identify_FullMethodName, long, &peerpb.IdentifyResponse{})
	if err == nil || !strings.Contains(err.Error(), "larger than max") {
		t.Errorf("got %v", err)
	}
	long.Version = "a newer node sends more"
	if err := conn.Invoke(t.Context(), peerpb.Peer_Identify_FullMethodName, long, &peerpb.IdentifyResponse{}); err != nil {
		t.Errorf("an unknown field: %v", err)
	}
}

// TestShutdown: a connection that never said anything does not hold up a stop.
func TestShutdown(t *testing.T) {
	s := New()
	l := listen(t)
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	s.Attach(sample)
	if _, err := Ask(t.Context(), l.Addr().String()); err != nil { // the connection before this one is accepted
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Shutdown(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Shutdown: %v", err)
	}
	if err := <-done; err != nil {
		t.Errorf("Serve: %v", err)
	}
	for until := deadline(t); s.count() != 0; time.Sleep(time.Millisecond) { // gRPC's goroutines close what they hold, each once more
		if time.Now().After(until) {
			t.Fatalf("%d connections are still open", s.count())
		}
	}
	if _, err := Ask(t.Context(), l.Addr().String()); err == nil {
		t.Error("the port still answers")
	}
}

// TestConnections: the one past the limit is closed, and there is room again when one goes.
func TestConnections(t *testing.T) {
	s, addr := start(t)
	s.Attach(sample)
	for range maxConnections {
		c, _ := net.Pipe()
		s.open.add(c)
	}
	if _, err := Ask(t.Context(), addr); err == nil {
		t.Error("one connection too many was taken")
	}
	s.open.mu.Lock()
	var one net.Conn
	for one = range s.open.all {
		break
	}
	s.open.mu.Unlock()
	s.open.remove(one)
	if _, err := Ask(t.Context(), addr); err != nil {
		t.Error(err)
	}
}

// TestAskStrangers: what is no chronik node is said to be none.
func TestAskStrangers(t *testing.T) {
	closed := listen(t)
	_ = closed.Close()
	if _, err := Ask(t.Context(), closed.Addr().String()); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("nobody there: %v", err)
	}
	talker := listen(t)
	go func() {
		for {
			c, err := talker.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, "220 mail.example ESMTP\r\n") // the client may be gone
			_ = c.Close()
		}
	}()
	if _, err := Ask(t.Context(), talker.Addr().String()); err == nil {
		t.Error("a mail server is a node")
	}
	mute := listen(t) // accepted by the kernel, never answered
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := Ask(ctx, mute.Addr().String()); err == nil {
		t.Error("silence is a node")
	}
	other := grpc.NewServer()
	l := listen(t)
	go func() { _ = other.Serve(l) }()
	defer other.Stop()
	if _, err := Ask(t.Context(), l.Addr().String()); err == nil || !strings.Contains(err.Error(), "Unimplemented") {
		t.Errorf("another gRPC server: %v", err)
	}
}

func TestParse(t *testing.T) {
	good := func() *peerpb.IdentifyResponse {
		return &peerpb.IdentifyResponse{NodeId: 1, ClusterId: "c", DirectoryId: strings.Repeat("0a", 16), MemberId: 1}
	}
	if _, err := parse(good()); err != nil {
		t.Error(err)
	}
	for want, change := range map[string]func(*peerpb.IdentifyResponse){
		"directory id": func(r *peerpb.IdentifyResponse) { r.DirectoryId = "0a" },
		"hexadecimal":  func(r *peerpb.IdentifyResponse) { r.DirectoryId = strings.Repeat("zz", 16) },
		"node id":      func(r *peerpb.IdentifyResponse) { r.NodeId = -1 },
		"cluster id":   func(r *peerpb.IdentifyResponse) { r.ClusterId = "" },
		"printable":    func(r *peerpb.IdentifyResponse) { r.ClusterId = "\x1b[2J" },
		"too long":     func(r *peerpb.IdentifyResponse) { r.ClusterId = strings.Repeat("c", 256) },
		"member id":    func(r *peerpb.IdentifyResponse) { r.MemberId = 0 },
		"version":      func(r *peerpb.IdentifyResponse) { r.Version = "\r" },
	} {
		r := good()
		change(r)
		if _, err := parse(r); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}
