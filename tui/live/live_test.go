package live

import (
	"bytes"
	"context"
	"encoding/json"
	"math"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"
	"time"

	"chronik.dev/chronik/broker/admin"
)

// TestNoTerminal keeps the promise that the data layer does not know a terminal.
func TestNoTerminal(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(out), "bubbletea") || strings.Contains(string(out), "lipgloss") {
		t.Error("package live depends on the terminal")
	}
}

// said makes an answer at a second, of a process that started at another, with a counter in its newest sample.
func said(second, started int64, count uint64) *Snapshot {
	return &Snapshot{
		At:       time.Unix(second, 0),
		Overview: &admin.Overview{Time: second * 1000, Node: &admin.Snapshot{StartedAt: started, Requests: []admin.Request{{API: "Fetch", Count: count}}}},
		Samples:  []admin.Sample{{Time: second * 1000, Traffic: admin.Traffic{ProducedBytes: count}, ProduceP99: -1}},
	}
}

// TestHistory: rates are differences within one process, a hole of the node or a restart is a gap, and the last answer stays with its age.
func TestHistory(t *testing.T) {
	var h History
	if _, known := h.Age(); known || h.Down() || len(h.APIs()) != 0 {
		t.Error("something is known before the first answer")
	}
	for _, s := range []*Snapshot{said(100, 1, 10), said(102, 1, 30), said(104, 1, 70)} {
		h.Add(s)
	}
	if a := h.APIs(); len(a) != 1 || a[0].Rate != 20 {
		t.Errorf("%+v", a)
	}
	h.Add(&Snapshot{At: time.Unix(106, 0), Err: "refused"})
	h.Add(&Snapshot{At: time.Unix(118, 0), Err: "refused"})
	if age, known := h.Age(); !known || age != 14*time.Second || !h.Down() {
		t.Errorf("age %v", age)
	}
	rate := h.Rate(func(p *admin.Sample) uint64 { return p.Traffic.ProducedBytes })
	if last := rate.Last(); !math.IsNaN(last) {
		t.Errorf("the newest value of a node that is down is %v", last)
	}
	h.Add(said(120, 2, 5)) // a new process
	if a := h.APIs(); !math.IsNaN(a[0].Rate) {
		t.Errorf("a rate over a restart: %+v", a)
	}
	h.Add(said(122, 2, 9))
	rate = h.Rate(func(p *admin.Sample) uint64 { return p.Traffic.ProducedBytes })
	tail := rate[len(rate)-12:]
	want := []float64{math.NaN(), 10, 20}
	for range 8 {
		want = append(want, math.NaN())
	}
	want = append(want, 2)
	for i := range want {
		if tail[i] != want[i] && !(math.IsNaN(tail[i]) && math.IsNaN(want[i])) {
			t.Fatalf("rates %v, want %v", tail, want)
		}
	}
	h.Add(said(140, 2, 99))
	if rate := h.Rate(func(p *admin.Sample) uint64 { return p.Traffic.ProducedBytes }); !math.IsNaN(rate.Last()) || !math.IsNaN(rate[len(rate)-5]) {
		t.Errorf("a rate over 18 seconds without a sample: %v", rate[len(rate)-12:])
	}
	if g := h.Gauge(func(p *admin.Sample) float64 { return p.ProduceP99 }); g.Max() != 0 || !math.IsNaN(g.Last()) {
		t.Errorf("what was not measured is a gap: %v", g.Last())
	}
	if got := (Series{1, 5, math.NaN(), math.NaN(), 2, math.NaN()}).Fit(3); got[0] != 5 || !math.IsNaN(got[1]) || got[2] != 2 {
		t.Errorf("fitted: %v", got)
	}
}

// TestKeeps: what was not asked again stays, but not over a restart.
func TestKeeps(t *testing.T) {
	var h History
	with := said(100, 1, 1)
	with.Groups = &admin.Page[admin.GroupRow]{Total: 7}
	h.Add(with)
	if h.Add(said(102, 1, 1)); h.Last.Groups == nil || h.Last.Groups.Total != 7 {
		t.Error("an answer to another question took the groups away")
	}
	if h.Add(said(104, 2, 1)); h.Last.Groups != nil {
		t.Error("groups of another process")
	}
}

// TestHTTP: one round asks what is wanted and nothing else, a recovering node's missing lists are no error, and every other failure is told.
func TestHTTP(t *testing.T) {
	asked := map[string]string{}
	answers := map[string]string{
		"/admin/v1/overview": `{"kind":"chronik/overview","version":1,"data":{"time":5,"state":"serving"}}`,
		"/admin/v1/history":  `{"kind":"chronik/history","version":1,"data":[{"time":3}]}`,
		"/admin/v1/topics":   `{"kind":"chronik/topics","version":1,"data":{"items":[{"topic":"t"}],"total":1}}`,
	}
	asks := make(chan [2]string, 10)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asks <- [2]string{r.URL.Path, r.URL.RawQuery}
		switch body, ok := answers[r.URL.Path]; {
		case ok:
			_, _ = w.Write([]byte(body))
		case r.URL.Path == "/admin/v1/groups":
			w.WriteHeader(http.StatusServiceUnavailable)
		default:
			http.Error(w, "no such thing", http.StatusTeapot)
		}
	}))
	defer server.Close()
	h := NewHTTP(strings.TrimPrefix(server.URL, "http://"))
	s := h.Poll(context.Background(), Want{After: 2, Topics: &Query{Filter: "x y", Sort: "-size", Offset: 10, Limit: 5}, Groups: &Query{}})
	close(asks)
	for a := range asks {
		asked[a[0]] = a[1]
	}
	if s.Err != "" || s.Failed != "" || s.Topics.Items[0].Name != "t" || s.Samples[0].Time != 3 || s.Groups != nil || s.Overview.State != admin.Serving {
		t.Errorf("%+v", s)
	}
	if len(asked) != 4 || asked["/admin/v1/topics"] != "filter=x+y&limit=5&offset=10&sort=-size" || asked["/admin/v1/history"] != "since=2" {
		t.Errorf("asked %v", asked)
	}
	asks = make(chan [2]string, 10)
	if s := h.Poll(context.Background(), Want{Events: &Query{}}); s.Err != "" || !strings.Contains(s.Failed, "no such thing") {
		t.Errorf("%+v", s)
	}
	answers["/admin/v1/overview"] = `<html>`
	if s := h.Poll(context.Background(), Want{}); !strings.Contains(s.Err, "is no admin endpoint of chronik") {
		t.Errorf("%+v", s)
	}
	server.Close()
	if s := h.Poll(context.Background(), Want{}); s.Err != "connection refused" {
		t.Errorf("%+v", s)
	}
}

// TestRecording: what was recorded plays back the same, and then stays.
func TestRecording(t *testing.T) {
	var to bytes.Buffer
	r := &Recorder{Source: &Recording{Snapshots: []*Snapshot{said(1, 1, 1), {At: time.Unix(2, 0), Err: "down"}}}, To: &to}
	var want []*Snapshot
	for range 2 {
		want = append(want, r.Poll(context.Background(), Want{}))
	}
	played, err := ReadRecording(&to)
	if err != nil || r.Err != nil {
		t.Fatal(err, r.Err)
	}
	for i := range 3 {
		got, err1 := json.Marshal(played.Poll(context.Background(), Want{}))
		exp, err2 := json.Marshal(want[min(i, 1)])
		if err1 != nil || err2 != nil || string(got) != string(exp) {
			t.Errorf("%d: %s, want %s", i, got, exp)
		}
	}
	for _, bad := range []string{"", "{", "\n\n"} {
		if _, err := ReadRecording(strings.NewReader(bad)); err == nil {
			t.Errorf("%q is no recording", bad)
		}
	}
}
