package admin

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"chronik.dev/chronik/broker/datadir"
	"chronik.dev/chronik/broker/recovery"
)

// fake is a node with two partitions, one of them stopped, and a group.
type fake struct {
	health  Health
	err     error
	traffic Traffic
}

func (f *fake) Health() Health           { return f.health }
func (f *fake) Report() *recovery.Report { return &recovery.Report{Directory: "d", Frames: 7} }

func (f *fake) Partitions() []Partition {
	return []Partition{
		{Topic: "a", Partition: 0, LogEnd: 10, HighWatermark: 9, SizeBytes: 100, Traffic: f.traffic},
		{Topic: "a", Partition: 1, Stopped: "corrupt", Command: "chronik wal verify d"},
		{Topic: "b", Partition: 0, HighWatermark: 1, SizeBytes: 900},
	}
}

func (f *fake) Groups() ([]Group, error) {
	at := []GroupPartition{{Topic: "a", Committed: 2, End: 9, Lag: 7}, {Topic: "b", Committed: 1, End: 1}}
	return []Group{{Name: "g", State: "Stable", Partitions: at}, {Name: "h", State: "Empty"}}, f.err
}

func (f *fake) Snapshot() Snapshot {
	latency := Histogram{Bounds: []float64{0.001, 0.01}, Counts: []uint64{3, 2, 1}, Sum: 0.5}
	return Snapshot{
		NodeID: 7, ClusterID: "c", Directory: "d", StartedAt: 1000, RecoverySeconds: 0.25,
		Requests: []Request{{API: "Fetch"}, {API: "Produce", Count: 42, Latency: latency}}, Traffic: f.traffic,
		Journal:    Journal{Syncs: 6, SyncLatency: latency, QueueLatency: latency},
		Checkpoint: Checkpoint{Millis: time.Now().UnixMilli(), Total: 2},
		Raft:       Raft{State: "leader", Term: 3}, Incidents: map[string]int{"undecided": 1},
	}
}

// teller is a process that replays.
type teller struct{}

func (teller) Boot() Boot { return Boot{Stage: "replay", Done: 50, Total: 100, InStage: 5} }

func (teller) Incidents(limit int) (Ledger, error) {
	return Ledger{Incidents: []datadir.Incident{{ID: "inc-1", Class: datadir.Torn}}}, nil
}

// start serves on a free port and returns a function that gets a path.
func start(t *testing.T) (*Server, func(path string) (int, string)) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	events := NewEvents(slog.NewTextHandler(io.Discard, nil))
	slog.New(events).With("who", "me").Info("hello there", "n", 1, "text", "a b")
	s := New(Options{Version: "v1", Process: teller{}, Events: events})
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		if err := s.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s, func(path string) (int, string) {
		t.Helper()
		resp, err := http.Get("http://" + l.Addr().String() + path)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(body)
	}
}

func TestWhileRecovering(t *testing.T) {
	_, get := start(t)
	if code, _ := get("/healthz"); code != 200 {
		t.Errorf("/healthz: %d", code)
	}
	for _, path := range []string{"/readyz", "/admin/v1/report", "/admin/v1/topics", "/admin/v1/groups", "/admin/v1/partitions", "/admin/v1/raft"} {
		if code, body := get(path); code != 503 || !strings.Contains(body, "recovered") {
			t.Errorf("%s: %d %q", path, code, body)
		}
	}
	for path, want := range map[string]string{
		"/admin/v1/overview":  `"text":"Recovering: replaying the journal, 75 % done, about 5 s left."`,
		"/admin/v1/incidents": `"id":"inc-1"`,
		"/admin/v1/events":    `"message":"hello there","detail":"who=me n=1 text=\"a b\""`,
		"/admin/v1/history":   `"data":[]`,
	} {
		if code, body := get(path); code != 200 || !strings.Contains(body, want) {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	if code, body := get("/metrics"); code != 200 || !strings.Contains(body, "chronik_node_ready 0\n") {
		t.Errorf("/metrics: %d %s", code, body)
	}
}

func TestHealth(t *testing.T) {
	s, get := start(t)
	for _, c := range []struct {
		health       Health
		live, ready  int
		readyAnswers string
	}{
		{Health{Live: true, Ready: true}, 200, 200, "ok\n"},
		{Health{Live: true, Reasons: []string{"a", "b"}}, 200, 503, "a\nb\n"},
		{Health{Ready: true, Reasons: []string{"the journal failed"}}, 503, 503, "the journal failed\n"},
		{Health{}, 503, 503, "not ready\n"},
	} {
		s.Attach(&fake{health: c.health})
		if code, _ := get("/healthz"); code != c.live {
			t.Errorf("%+v: /healthz %d, want %d", c.health, code, c.live)
		}
		if code, body := get("/readyz"); code != c.ready || body != c.readyAnswers {
			t.Errorf("%+v: /readyz %d %q, want %d %q", c.health, code, body, c.ready, c.readyAnswers)
		}
	}
}

func TestMetrics(t *testing.T) {
	s, get := start(t)
	s.Attach(&fake{health: Health{Live: true, Ready: true}, traffic: Traffic{5, 500, 3, 300}})
	code, body := get("/metrics")
	if code != 200 {
		t.Fatalf("%d %s", code, body)
	}
	for _, line := range []string{
		`chronik_build_info{version="v1"} 1`,
		`chronik_node_info{cluster_id="c",node_id="7"} 1`,
		`chronik_kafka_requests_total{api="Produce"} 42`,
		`chronik_kafka_requests_total{api="Fetch"} 0`,
		`chronik_journal_sync_duration_seconds_bucket{le="0.001"} 3`,
		`chronik_journal_sync_duration_seconds_bucket{le="0.01"} 5`,
		`chronik_journal_sync_duration_seconds_bucket{le="+Inf"} 6`,
		`chronik_journal_sync_duration_seconds_sum 0.5`,
		`chronik_kafka_request_duration_seconds_bucket{api="Produce",le="0.01"} 5`,
		`chronik_kafka_request_duration_seconds_count{api="Produce"} 6`,
		`chronik_journal_queue_duration_seconds_count 6`,
		`chronik_produced_records_total 5`, `chronik_produced_bytes_total 500`, `chronik_fetched_records_total 3`, `chronik_fetched_bytes_total 300`,
		`chronik_topic_produced_records_total{topic="a"} 5`, `chronik_topic_produced_bytes_total{topic="a"} 500`,
		`chronik_topic_fetched_records_total{topic="a"} 3`, `chronik_topic_fetched_bytes_total{topic="b"} 0`,
		`chronik_consumer_groups{state="Stable"} 1`, `chronik_consumer_group_lag_records{group="g",topic="a"} 7`,
		`chronik_partitions{state="online"} 2`,
		`chronik_partitions{state="stopped"} 1`,
		`chronik_partition_stopped{partition="1",topic="a"} 1`,
		`chronik_log_end_offset{partition="0",topic="a"} 10`,
		`chronik_raft_is_leader 1`,
		`chronik_incidents_total{class="undecided"} 1`,
		`chronik_recovery_duration_seconds 0.25`,
	} {
		if !strings.Contains(body, line+"\n") {
			t.Errorf("/metrics lacks %s", line)
		}
	}
	problems, err := promlint.New(strings.NewReader(body)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("promlint: %s: %s", p.Metric, p.Text)
	}
}

// TestCollectorConsistent gathers twice, as the registry's own checks see duplicates and wrong label counts.
func TestCollectorConsistent(t *testing.T) {
	s := New(Options{})
	s.Attach(&fake{})
	t.Cleanup(s.StopSampling)
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(&collector{server: s})
	for range 2 {
		if _, err := registry.Gather(); err != nil {
			t.Error(err)
		}
	}
}

func TestJSON(t *testing.T) {
	s, get := start(t)
	s.Attach(&fake{health: Health{Live: true, Ready: true}})
	for path, kind := range map[string]string{
		"/admin/v1/report": "chronik/recovery-report", "/admin/v1/incidents": "chronik/incidents", "/admin/v1/partitions": "chronik/partitions",
		"/admin/v1/raft": "chronik/raft", "/admin/v1/overview": "chronik/overview", "/admin/v1/topics?sort=-size": "chronik/topics",
		"/admin/v1/groups": "chronik/groups", "/admin/v1/groups?group=g": "chronik/groups", "/admin/v1/history?since=5": "chronik/history",
	} {
		code, body := get(path)
		var e struct {
			Kind    string
			Version int
			Data    json.RawMessage
		}
		if err := json.Unmarshal([]byte(body), &e); err != nil || code != 200 || e.Kind != kind || e.Version != 1 || len(e.Data) < 3 {
			t.Errorf("%s: %d %s (%v)", path, code, body, err)
		}
	}
	if _, body := get("/admin/v1/partitions"); !strings.Contains(body, `"stopped":"corrupt","command":"chronik wal verify d"`) {
		t.Errorf("a stopped partition must name its command: %s", body)
	}
	s.Attach(&fake{err: errors.New("still loading")})
	for path, want := range map[string]int{
		"/admin/v1/groups": 503, "/admin/v1/topics?sort=colour": 400, "/admin/v1/topics?limit=-1": 400, "/admin/v1/history?since=x": 400,
	} {
		if code, body := get(path); code != want {
			t.Errorf("%s: %d %s, want %d", path, code, body, want)
		}
	}
	if code, _ := get("/admin/v1/nothing"); code != 404 {
		t.Errorf("unknown path: %d", code)
	}
	if code, body := get("/"); code != 200 || !strings.Contains(body, "/metrics") {
		t.Errorf("index: %d %s", code, body)
	}
}

func TestReadOnly(t *testing.T) {
	s := New(Options{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = s.Serve(l) }()
	defer func() { _ = s.Shutdown(context.Background()) }()
	resp, err := http.Post("http://"+l.Addr().String()+"/readyz", "text/plain", strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", resp.StatusCode)
	}
}

// TestProfiles: a node that is slow to start can be profiled too.
func TestProfiles(t *testing.T) {
	_, get := start(t)
	for path, want := range map[string]string{"/debug/pprof/": "goroutine", "/debug/pprof/goroutine?debug=1": "broker/admin", "/debug/pprof/heap": ""} {
		if code, body := get(path); code != 200 || len(body) == 0 || !strings.Contains(body, want) {
			t.Errorf("%s: %d, %d bytes without %q", path, code, len(body), want)
		}
	}
}

// TestConnectionLimit: whoever holds many connections to the listener takes a bounded number of the process's descriptors, and the next is
// served as soon as one of them is closed.
func TestConnectionLimit(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := New(Options{Process: teller{}})
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Shutdown(context.Background()) })
	ask := func() net.Conn {
		t.Helper()
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		if _, err := io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		return c
	}
	answered := func(c net.Conn, within time.Duration) bool {
		_ = c.SetReadDeadline(time.Now().Add(within))
		n, err := c.Read(make([]byte, 1))
		return n == 1 && err == nil
	}
	var held []net.Conn
	for range maxConnections {
		held = append(held, ask())
	}
	for i, c := range held {
		if !answered(c, 20*time.Second) {
			t.Fatalf("connection %d of %d was not answered", i, maxConnections)
		}
	}
	next := ask()
	if answered(next, 200*time.Millisecond) {
		t.Fatalf("connection %d was served beside %d others", maxConnections+1, maxConnections)
	}
	_ = held[0].Close()
	if !answered(next, 20*time.Second) {
		t.Fatal("no connection was served after one had been closed")
	}
}
