package admin

import (
	"fmt"
	"math"
	"net/url"
	"strings"
	"testing"
	"time"
)

// TestVerdict: the first remark is the verdict, a sentence, the gravest one.
func TestVerdict(t *testing.T) {
	serving := func(change func(*Overview)) *Overview {
		o := &Overview{State: Serving, Health: Health{Live: true, Ready: true}, Node: &Snapshot{DiskFree: 90, DiskTotal: 100}, DiskFullIn: -1,
			Partitions: PartitionCount{Online: 3}}
		change(o)
		return o
	}
	for _, c := range []struct {
		name   string
		o      *Overview
		groups []GroupRow
		newest *Sample
		level  Level
		want   string
	}{
		{"healthy", serving(func(*Overview) {}), nil, nil, Fine, "3 partitions serve"},
		{"empty", serving(func(o *Overview) { o.Partitions.Online = 0 }), nil, nil, Fine, "no topic yet"},
		{"stopped", serving(func(o *Overview) { o.Partitions = PartitionCount{1, 2, []string{"a-0"}} }), nil, &Sample{SyncP99: 1}, Bad, "2 of 3 partitions are stopped by damage and serve nothing: a-0 and 1 more."},
		{"failed", serving(func(o *Overview) { o.State, o.Health = Failed, Health{Reasons: []string{"the disk died"}} }), nil, nil, Bad, "The node has failed: the disk died."},
		{"waiting", serving(func(o *Overview) { o.State, o.Health.Reasons = Waiting, []string{"the node is starting"} }), nil, nil, Warn, "The node is starting."},
		{"full soon", serving(func(o *Overview) { o.DiskFullIn = 1800 }), nil, nil, Bad, "full in about 30 min at"},
		{"full tomorrow", serving(func(o *Overview) { o.DiskFullIn = 7200 }), nil, nil, Warn, "full in about 2 h 0 min at"},
		{"full never", serving(func(o *Overview) { o.DiskFullIn = 1e12 }), nil, nil, Fine, "Healthy"},
		{"almost full", serving(func(o *Overview) { o.Node.DiskFree = 1 }), nil, nil, Bad, "1.0 % are free"},
		{"journal", serving(func(o *Overview) { o.Node.Journal = Journal{LiveBytes: 95, MaxBytes: 100} }), nil, nil, Warn, "95 % of its cap"},
		{"slow disk", serving(func(*Overview) {}), nil, &Sample{SyncP99: 0.25}, Warn, "takes 250 ms"},
		{"behind", serving(func(*Overview) {}), []GroupRow{{Name: "g", Lag: 5000, Trend: Behind}}, nil, Warn, "Group g falls behind: it is 5000 records behind."},
		{"catches up", serving(func(*Overview) {}), []GroupRow{{Name: "g", Lag: 5000, Trend: KeepsUp}}, nil, Fine, "Healthy"},
		{"incident", serving(func(o *Overview) { o.Node.Incidents = map[string]int{"torn": 1} }), nil, nil, Fine, "Healthy"},
		{"raft", &Overview{State: Recovering, Health: Health{Live: true}, Boot: &Boot{Stage: "raft"}}, nil, nil, Note, "Starting"},
		{"survey", &Overview{State: Recovering, Health: Health{Live: true}, Boot: &Boot{Stage: "survey", Percent: 20, ETASeconds: 7.2}}, nil, nil, Note, "reading the journal, 20 % done, about 8 s left."},
	} {
		got := judge(c.o, c.groups, c.newest, "next")
		if got[0].Level != c.level || !strings.Contains(got[0].Text, c.want) {
			t.Errorf("%s: %+v, want %s %q", c.name, got, c.level, c.want)
		}
		for _, r := range got {
			if !strings.HasSuffix(r.Text, ".") {
				t.Errorf("%s: no sentence: %q", c.name, r.Text)
			}
		}
	}
}

func TestTrend(t *testing.T) {
	for _, c := range []struct {
		lag               int64
		consumed, arrived float64
		want              Trend
	}{{0, 0, 5, CaughtUp}, {5, 0, 0, Still}, {5, 100, 95, KeepsUp}, {5, 95, 100, KeepsUp}, {5, 100, 80, CatchingUp}, {5, 80, 100, Behind}} {
		g := GroupRow{Lag: c.lag, Consumed: &c.consumed, Arrived: &c.arrived}
		if got := g.trend(); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
	if got := (&GroupRow{Lag: 1}).trend(); got != NotKnown {
		t.Error(got)
	}
}

func TestEstimate(t *testing.T) {
	for _, c := range []struct {
		boot         Boot
		percent, eta float64
	}{
		{Boot{Stage: "raft", InStage: 1}, 0, -1},
		{Boot{Stage: "survey", Total: 100, InStage: 1}, 0, -1},
		{Boot{Stage: "survey", Done: 50, Total: 100, InStage: 1}, 25, 3}, // 50 more, then 100 again
		{Boot{Stage: "replay", Done: 50, Total: 100, InStage: 2}, 75, 2},
		{Boot{Stage: "open"}, 100, -1},
	} {
		b := c.boot
		if b.Estimate(); b.Percent != c.percent || b.ETASeconds != c.eta {
			t.Errorf("%+v: %v %%, %v s, want %v %% and %v s", c.boot, b.Percent, b.ETASeconds, c.percent, c.eta)
		}
	}
}

func TestHistogram(t *testing.T) {
	h := Histogram{Bounds: []float64{1, 2, 4}, Counts: []uint64{0, 10, 10, 0}}
	for q, want := range map[float64]float64{0.25: 1.5, 0.5: 2, 0.75: 3, 1: 4} {
		if got := h.Quantile(q); math.Abs(got-want) > 1e-9 {
			t.Errorf("quantile %v: %v, want %v", q, got, want)
		}
	}
	above := Histogram{Bounds: h.Bounds, Counts: []uint64{0, 10, 10, 180}}
	if got := above.Since(h); got.Count() != 180 || got.Quantile(0.5) != 4 {
		t.Errorf("since: %+v", got)
	}
	if got := h.Since(above); got.Count() != 20 {
		t.Errorf("after a restart all counts: %+v", got)
	}
	if !math.IsNaN((Histogram{}).Quantile(0.5)) {
		t.Error("a quantile of nothing")
	}
}

// TestHistory: the ring holds ten minutes, each sample has the quantiles of its own interval, and the disk's end is seen coming.
func TestHistory(t *testing.T) {
	var h history
	bounds, counts := []float64{1, 2}, []uint64{0, 0, 0}
	at := time.UnixMilli(0)
	for i := range SampleCount + 10 {
		counts[i%2] += 5
		s := Snapshot{DiskFree: int64(10_000 - 10*i), Requests: []Request{{API: "Produce", Latency: Histogram{Bounds: bounds, Counts: append([]uint64(nil), counts...)}}}}
		h.take(at.Add(time.Duration(i)*SampleEvery), &s)
	}
	all := h.since(-1)
	if len(all) != SampleCount || all[0].Time != 10*SampleEvery.Milliseconds() {
		t.Fatalf("%d samples from %d on", len(all), all[0].Time)
	}
	if a, b := all[100], all[101]; a.ProduceP99 >= 1 || b.ProduceP99 <= 1 || a.SyncP99 != -1 {
		t.Errorf("quantiles of the intervals: %+v, %+v", a, b)
	}
	if n := len(h.since(all[SampleCount-3].Time)); n != 2 {
		t.Errorf("%d samples after the last but two", n)
	}
	if got := h.secondsToFull(); got != 6900.0/5 { // 10 bytes each 2 s
		t.Errorf("full in %v s", got)
	}
}

func TestMarks(t *testing.T) {
	m := marks{keep: 2}
	at := time.Unix(100, 0)
	if _, ok := m.rate(at, "t", [4]uint64{}); ok {
		t.Error("a rate without a mark")
	}
	m.take(at, map[string][4]uint64{"t": {10, 100}})
	if r, ok := m.rate(at.Add(5*time.Second), "t", [4]uint64{20, 200}); !ok || r != [4]float64{2, 20} {
		t.Errorf("%v %v", r, ok)
	}
	m.take(at.Add(10*time.Second), map[string][4]uint64{"t": {20, 200}})
	if r, ok := m.rate(at.Add(20*time.Second), "t", [4]uint64{50, 100}); !ok || r != [4]float64{2, 0} {
		t.Errorf("over the older mark: %v %v", r, ok)
	}
	if _, ok := m.rate(at.Add(10500*time.Millisecond), "new", [4]uint64{}); ok {
		t.Error("a rate of a name without a mark")
	}
}

func TestPage(t *testing.T) {
	var all []Topic
	for i := range 20 {
		all = append(all, Topic{Name: fmt.Sprintf("Topic-%02d", i), Records: int64(i % 3)})
	}
	for query, want := range map[string]string{
		"":                             "20/20 Topic-00..Topic-19",
		"filter=tOPIC-1":               "10/20 Topic-10..Topic-19",
		"sort=-name&limit=2":           "20/20 Topic-19..Topic-18",
		"sort=-records&limit=2":        "20/20 Topic-02..Topic-05",
		"sort=records&offset=6":        "20/20 Topic-18..Topic-17",
		"offset=30":                    "20/20 -",
		"filter=nothing&sort=name":     "0/20 -",
		"filter=topic&offset=19":       "20/20 Topic-19..Topic-19",
		"filter=topic-0&sort=-records": "10/20 Topic-02..Topic-09",
	} {
		q, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		p, err := page(all, q, func(t *Topic) string { return t.Name }, topicColumns, "name")
		if err != nil {
			t.Fatal(err)
		}
		got := fmt.Sprintf("%d/%d -", p.Total, p.All)
		if n := len(p.Items); n > 0 {
			got = fmt.Sprintf("%d/%d %s..%s", p.Total, p.All, p.Items[0].Name, p.Items[n-1].Name)
		}
		if got != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
}
