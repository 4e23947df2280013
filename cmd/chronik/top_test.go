package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"chronik.dev/chronik/tui/live"
)

// runningNode starts chronik serve on an empty directory and returns its addresses.
func runningNode(t *testing.T) (chronik, kafka, admin string) {
	t.Helper()
	chronik, kafka, admin, _, _ = startNode(t)
	return chronik, kafka, admin
}

// startNode is runningNode with the node's directory, and a function that ends it with SIGKILL before the test's end does.
func startNode(t *testing.T) (chronik, kafka, admin, dir string, kill func()) {
	t.Helper()
	chronik, err := exec.LookPath("chronik")
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir() + "/data"
	cmd := exec.Command(chronik, "serve", "--data-dir", dir, "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--peer-listen", "127.0.0.1:0",
		"--set", "chronik.journal.segment.bytes=1048576", "--set", "chronik.journal.max.bytes=8388608")
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill = sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	t.Cleanup(kill)
	for lines := bufio.NewScanner(stderr); lines.Scan(); {
		if m := readyLine.FindStringSubmatch(lines.Text()); m != nil {
			go func() { _, _ = io.Copy(io.Discard, stderr) }()
			return chronik, m[1], m[2], dir, kill
		}
	}
	t.Fatal("the node ended before it was ready")
	return "", "", "", "", nil
}

// traffic produces to two topics, reads one as a group that commits half of it, and leaves.
func traffic(t *testing.T, kafka string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), clientTimeout)
	defer cancel()
	client, err := kgo.NewClient(kgo.SeedBrokers(kafka), kgo.AllowAutoTopicCreation(), kgo.ConsumeTopics("orders"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for i := range 60 {
		topic := "orders"
		if i%3 == 0 {
			topic = "payments"
		}
		if err := client.ProduceSync(ctx, &kgo.Record{Topic: topic, Value: []byte(strings.Repeat("x", 10*i))}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	for got := 0; got < 40; {
		f := client.PollFetches(ctx)
		if err := f.Err(); err != nil {
			t.Fatal(err)
		}
		got += f.NumRecords()
	}
	offsets := kadm.Offsets{}
	offsets.Add(kadm.Offset{Topic: "orders", Partition: 0, At: 17})
	if err := kadm.NewClient(client).CommitAllOffsets(ctx, "billing", offsets); err != nil {
		t.Fatal(err)
	}
}

// metricsOf reads /metrics: series to value.
func metricsOf(t *testing.T, admin string) map[string]float64 {
	t.Helper()
	resp, err := http.Get("http://" + admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		t.Fatal(err)
	}
	all := map[string]float64{}
	for _, l := range strings.Split(string(body), "\n") {
		if at := strings.LastIndexByte(l, ' '); at > 0 && l[0] != '#' {
			v, err := strconv.ParseFloat(l[at+1:], 64)
			if err != nil {
				t.Fatal(err)
			}
			all[l[:at]] = v
		}
	}
	return all
}

// settled reads /metrics until two readings in a row agree on every counter of chronik: the clients are gone, and so is what they left behind.
func settled(t *testing.T, admin string) map[string]float64 {
	t.Helper()
	for before := metricsOf(t, admin); ; {
		time.Sleep(100 * time.Millisecond)
		now := metricsOf(t, admin)
		same := true
		for name, v := range now {
			if strings.HasPrefix(name, "chronik_") && (strings.Contains(name, "_total") || strings.Contains(name, "_count") || strings.HasPrefix(name, "chronik_kafka_connections")) {
				same = same && before[name] == v
			}
		}
		if same {
			return now
		}
		before = now
	}
}

// TestTopEqualsMetrics: the numbers of `chronik top` are those of /metrics, in JSON and in text, on a real node with real traffic.
func TestTopEqualsMetrics(t *testing.T) {
	chronik, kafka, admin := runningNode(t)
	traffic(t, kafka)
	want := settled(t, admin)
	if want["chronik_produced_records_total"] != 60 || want[`chronik_consumer_group_lag_records{group="billing",topic="orders"}`] != 23 {
		t.Fatalf("the traffic is not in /metrics: %v", want)
	}
	out, err := exec.Command(chronik, "top", "--admin", admin, "-o", "json").Output()
	if err != nil {
		t.Fatal(err)
	}
	var document struct {
		Kind string
		Data live.Snapshot
	}
	if err := json.Unmarshal(out, &document); err != nil || document.Kind != "chronik/top" {
		t.Fatalf("%s: %v", out, err)
	}
	s := &document.Data
	n := s.Overview.Node
	got := map[string]float64{
		"chronik_produced_records_total": float64(n.Traffic.ProducedRecords), "chronik_produced_bytes_total": float64(n.Traffic.ProducedBytes),
		"chronik_fetched_records_total": float64(n.Traffic.FetchedRecords), "chronik_fetched_bytes_total": float64(n.Traffic.FetchedBytes),
		"chronik_kafka_connections": float64(n.Connections), "chronik_kafka_connections_accepted_total": float64(n.ConnectionsTotal),
		"chronik_journal_syncs_total": float64(n.Journal.Syncs), "chronik_journal_bytes_total": float64(n.Journal.Bytes), "chronik_journal_live_bytes": float64(n.Journal.LiveBytes),
		"chronik_journal_frames_total": float64(n.Journal.Frames), "chronik_journal_synced_lsn": float64(n.Journal.SyncedLSN),
		"chronik_journal_sync_duration_seconds_count": float64(n.Journal.SyncLatency.Count()), "chronik_journal_sync_duration_seconds_sum": n.Journal.SyncLatency.Sum,
		"chronik_journal_queue_duration_seconds_count": float64(n.Journal.QueueLatency.Count()), "chronik_tail_memory_bytes": float64(n.TailBytes),
		"chronik_disk_size_bytes": float64(n.DiskTotal), "chronik_node_start_time_seconds": float64(n.StartedAt) / 1000,
		"chronik_recovery_duration_seconds": n.RecoverySeconds, "chronik_checkpoints_total": float64(n.Checkpoint.Total),
		"chronik_raft_term": float64(n.Raft.Term), "chronik_raft_commit_index": float64(n.Raft.Commit), "chronik_raft_applied_index": float64(n.Raft.Applied),
		"chronik_raft_last_index": float64(n.Raft.LastIndex), `chronik_partitions{state="online"}`: float64(s.Overview.Partitions.Online),
		`chronik_partitions{state="stopped"}`:                                float64(s.Overview.Partitions.Stopped),
		`chronik_consumer_group_lag_records{group="billing",topic="orders"}`: float64(s.Groups.Items[0].Lag),
		`chronik_consumer_groups{state="` + s.Groups.Items[0].State + `"}`:   float64(s.Overview.Groups.Total),
	}
	for _, r := range n.Requests {
		got[fmt.Sprintf("chronik_kafka_requests_total{api=%q}", r.API)] = float64(r.Count)
		got[fmt.Sprintf("chronik_kafka_request_duration_seconds_count{api=%q}", r.API)] = float64(r.Latency.Count())
		got[fmt.Sprintf("chronik_kafka_request_duration_seconds_sum{api=%q}", r.API)] = r.Latency.Sum
	}
	for _, topic := range s.Topics.Items {
		got[fmt.Sprintf("chronik_topic_produced_records_total{topic=%q}", topic.Name)] = float64(topic.Traffic.ProducedRecords)
		got[fmt.Sprintf("chronik_topic_fetched_bytes_total{topic=%q}", topic.Name)] = float64(topic.Traffic.FetchedBytes)
	}
	if len(got) < 45 {
		t.Errorf("only %d figures are compared", len(got))
	}
	for name, v := range got {
		if w, there := want[name]; !there || w != v {
			t.Errorf("%s: top says %v, /metrics says %v (%v)", name, v, w, there)
		}
	}
	textEqualsMetrics(t, chronik, admin, want)
}

// textEqualsMetrics does the same for what people read.
func textEqualsMetrics(t *testing.T, chronik, admin string, want map[string]float64) {
	t.Helper()
	screen := func(name string) string {
		out, err := exec.Command(chronik, "top", "--admin", admin, "--screen", name).Output() // no terminal: as with --once
		if err != nil {
			t.Fatal(err)
		}
		if strings.ContainsRune(string(out), 0x1b) {
			t.Errorf("escape codes in a pipe: %q", out)
		}
		return strings.Join(strings.Fields(string(out)), " ")
	}
	overview := screen("overview")
	for _, text := range []string{
		fmt.Sprintf("partitions %.0f online · %.0f stopped", want[`chronik_partitions{state="online"}`], want[`chronik_partitions{state="stopped"}`]),
		fmt.Sprintf("term %.0f · commit %.0f · applied %.0f", want["chronik_raft_term"], want["chronik_raft_commit_index"], want["chronik_raft_applied_index"]),
		fmt.Sprintf("1 in all, %.0f records behind", want[`chronik_consumer_group_lag_records{group="billing",topic="orders"}`]),
	} {
		if !strings.Contains(overview, text) {
			t.Errorf("%q is not in %s", text, overview)
		}
	}
	for api, column := range map[string]string{"Produce": "Produce", "Fetch": "Fetch", "Metadata": "Metadata"} {
		if text := fmt.Sprintf(" %s %.0f ", column, want[fmt.Sprintf("chronik_kafka_requests_total{api=%q}", api)]); !strings.Contains(screen("node"), text) {
			t.Errorf("%q is not on the screen of the node", text)
		}
	}
	if text := fmt.Sprintf("durable LSN %.0f ", want["chronik_journal_synced_lsn"]); !strings.Contains(screen("recovery"), text) {
		t.Errorf("%q is not on the screen of the recovery", text)
	}
	if text := fmt.Sprintf(" orders 1 0 %.0f ", want[`chronik_log_high_watermark{partition="0",topic="orders"}`]); !strings.Contains(screen("topics"), text) {
		t.Errorf("%q is not on the screen of topics", text)
	}
}
