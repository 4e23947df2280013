package tui

import (
	"cmp"
	"math"
	"slices"
	"strings"

	"chronik.dev/chronik/tui/live"
)

// nodeScreen is the process and what it is asked.
type nodeScreen struct {
	view
	list *list
}

func newAPIList() *list {
	return &list{columns: []column{
		{title: "API", sort: "name", text: true}, {title: "REQUESTS", sort: "count"}, {title: "NOW", sort: "rate", drop: 1},
		{title: "P50", sort: "p50", drop: 3}, {title: "P99", sort: "p99", drop: 2},
	}, sort: 1, down: true}
}

// Render draws the screen in w cells and h lines.
func (s nodeScreen) Render(w, h int) []line {
	n := s.node()
	if n == nil {
		return nil
	}
	top := s.facts(w)
	rows := s.apis()
	cells := make([][]span, 0, len(rows))
	for _, a := range rows {
		cells = append(cells, []span{
			say(plain, "%s", a.API), say(strong, "%s", count(a.Count)), say(plain, "%s/s", number(a.Rate)),
			say(plain, "%s", s.theme.short(a.P50)), say(plain, "%s", s.theme.short(a.P99)),
		})
	}
	s.list.clamp(len(cells))
	head := section("REQUESTS", say(dim, "  from a request read to its answer written, in the last seconds"))
	if h < len(top)+5 {
		top = cut(top, max(0, h-5))
	}
	return stack(h, top, append([]line{head}, s.list.rows(s.theme, cells, 0, w, max(2, h-len(top)-2))...))
}

func (s nodeScreen) facts(w int) []line {
	o, n := s.overview(), s.node()
	dot := " " + s.theme.glyphs().dot + " "
	p := o.Process
	cpu := none
	if seconds := s.between(); seconds > 0 && p.CPUSeconds >= 0 {
		cpu = number(100*(p.CPUSeconds-s.history.Before.Overview.Process.CPUSeconds)/seconds) + " %"
	}
	all := func(parts ...string) string { return strings.Join(parts, dot) }
	return []line{
		section("NODE " + count(n.NodeID)),
		field("version", labelWidth, say(plain, "%s", o.Version)),
		field("cluster", labelWidth, say(plain, "%s", n.ClusterID)),
		field("kafka", labelWidth, say(plain, "%s", n.Kafka)),
		field("directory", labelWidth, say(plain, "%s", n.Directory)).clip(w, s.theme.glyphs().more),
		field("running", labelWidth, say(plain, "%s", all(long(float64(o.Time-n.StartedAt)/1000), "recovery took "+s.theme.short(n.RecoverySeconds)))),
		field("process", labelWidth, say(plain, "%s", all(size(p.ResidentBytes)+" resident", size(p.HeapBytes)+" heap", "CPU "+cpu))),
		field("holds", labelWidth, say(plain, "%s", all(count(p.OpenFiles)+" files", count(p.Goroutines)+" goroutines"))),
		field("connections", labelWidth, say(plain, "%s", all(count(n.Connections)+" open", count(n.ConnectionsTotal)+" accepted", count(n.Refused)+" refused",
			count(n.Malformed)+" malformed"))),
		field("in work", labelWidth, say(plain, "%s", all(size(n.RequestMemory)+" of requests", size(n.FetchMemory)+" of fetches", count(n.FetchSessions)+" fetch sessions"))),
	}
}

// between is the seconds between the last two answers, 0 if there are no two.
func (s nodeScreen) between() float64 {
	if s.history.Before == nil || s.history.Before.Overview == nil {
		return 0
	}
	return float64(s.history.Last.Overview.Time-s.history.Before.Overview.Time) / 1000
}

// apis filters and sorts here: the table is short and comes with every answer.
func (s nodeScreen) apis() []live.API {
	all := slices.DeleteFunc(s.history.APIs(), func(a live.API) bool {
		return !strings.Contains(strings.ToLower(a.API), strings.ToLower(s.list.filter))
	})
	known := func(f float64) float64 {
		if math.IsNaN(f) {
			return -1
		}
		return f
	}
	slices.SortStableFunc(all, func(a, b live.API) int {
		order := 0
		switch s.list.columns[s.list.sort].sort {
		case "name":
			order = cmp.Compare(a.API, b.API)
		case "count":
			order = cmp.Compare(a.Count, b.Count)
		case "rate":
			order = cmp.Compare(known(a.Rate), known(b.Rate))
		case "p50":
			order = cmp.Compare(known(a.P50), known(b.P50))
		case "p99":
			order = cmp.Compare(known(a.P99), known(b.P99))
		}
		if s.list.down {
			return -order
		}
		return order
	})
	return all
}
