package admin

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Page is a part of a list, filtered and sorted at the node.
type Page[T any] struct {
	Items  []T `json:"items"`
	Offset int `json:"offset"` // of the first item among those that the filter left
	Total  int `json:"total"`  // that the filter left
	All    int `json:"all"`    // without the filter
}

// Limits of a page.
const (
	defaultLimit = 100
	maxLimit     = 10_000
)

// column is what a list can be sorted by: text, or a number.
type column[T any] struct {
	text   func(*T) string
	number func(*T) float64
}

// page cuts a page out of a list: filter (a part of the name, without regard to case), sort (a column, with - in front descending), offset, limit.
// The order of equals is that of the names.
func page[T any](items []T, q url.Values, name func(*T) string, columns map[string]column[T], usual string) (*Page[T], error) {
	p := &Page[T]{Items: []T{}, All: len(items)}
	filter := strings.ToLower(q.Get("filter"))
	for i := range items {
		if strings.Contains(strings.ToLower(name(&items[i])), filter) {
			p.Items = append(p.Items, items[i])
		}
	}
	p.Total = len(p.Items)
	key := cmp.Or(q.Get("sort"), usual)
	by, down := strings.CutPrefix(key, "-")
	c, known := columns[by]
	if !known && by != "name" {
		return nil, badQuery("sort=%s: there is no such column; use name, %s, or one of them with - in front for descending", key, strings.Join(names(columns), ", "))
	}
	slices.SortStableFunc(p.Items, func(a, b T) int {
		order := 0
		switch {
		case c.number != nil:
			order = cmp.Compare(c.number(&a), c.number(&b))
		case c.text != nil:
			order = cmp.Compare(c.text(&a), c.text(&b))
		default:
			order = cmp.Compare(name(&a), name(&b))
		}
		if down {
			order = -order
		}
		return order
	})
	limit := defaultLimit
	for key, v := range map[string]*int{"offset": &p.Offset, "limit": &limit} {
		if text := q.Get(key); text != "" {
			n, err := strconv.Atoi(text)
			if err != nil || n < 0 {
				return nil, badQuery("%s=%s is no number from 0 on", key, text)
			}
			*v = n
		}
	}
	p.Offset = min(p.Offset, p.Total)
	p.Items = p.Items[p.Offset:min(p.Total, p.Offset+min(limit, maxLimit))]
	return p, nil
}

func names[T any](columns map[string]column[T]) []string {
	var all []string
	for name := range columns {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}

// Rates are per second over the last 10 to 20 seconds.
type Rates struct {
	ProducedRecords float64 `json:"produced_records"`
	ProducedBytes   float64 `json:"produced_bytes"`
	FetchedRecords  float64 `json:"fetched_records"`
	FetchedBytes    float64 `json:"fetched_bytes"`
}

// Topic is the sum of a topic's partitions on this node.
type Topic struct {
	Name       string  `json:"topic"`
	ID         string  `json:"topic_id"`
	Internal   bool    `json:"internal"`
	Partitions int     `json:"partitions"`
	Stopped    int     `json:"stopped"` // partitions that damage stopped
	Records    int64   `json:"records"` // offsets from log start to high watermark
	SizeBytes  int64   `json:"size_bytes"`
	Traffic    Traffic `json:"traffic"`
	Rates      *Rates  `json:"rates,omitempty"` // nil in the first seconds
}

func (t *Traffic) counters() [4]uint64 {
	return [4]uint64{t.ProducedRecords, t.ProducedBytes, t.FetchedRecords, t.FetchedBytes}
}

// topicsOf adds partitions up to topics, by name. all is by topic.
func topicsOf(all []Partition) []Topic {
	var out []Topic
	for i := range all {
		p := &all[i]
		if len(out) == 0 || out[len(out)-1].Name != p.Topic {
			out = append(out, Topic{Name: p.Topic, ID: p.TopicID, Internal: p.Internal})
		}
		t := &out[len(out)-1]
		t.Partitions++
		if p.Stopped != "" {
			t.Stopped++
			continue
		}
		t.Records += max(0, p.HighWatermark-p.LogStart)
		t.SizeBytes += p.SizeBytes
		t.Traffic.add(p.Traffic)
	}
	return out
}

var topicColumns = map[string]column[Topic]{
	"partitions": {number: func(t *Topic) float64 { return float64(t.Partitions) }},
	"stopped":    {number: func(t *Topic) float64 { return float64(t.Stopped) }},
	"records":    {number: func(t *Topic) float64 { return float64(t.Records) }},
	"size":       {number: func(t *Topic) float64 { return float64(t.SizeBytes) }},
	"in":         {number: func(t *Topic) float64 { return t.rate().ProducedBytes }},
	"out":        {number: func(t *Topic) float64 { return t.rate().FetchedBytes }},
}

func (t *Topic) rate() Rates {
	if t.Rates == nil {
		return Rates{}
	}
	return *t.Rates
}

// topicPage answers /admin/v1/topics.
func (s *Server) topicPage(n Source, q url.Values) (any, error) {
	now := time.Now()
	all := topicsOf(n.Partitions())
	for i := range all {
		t := &all[i]
		if r, ok := s.topicMarks.rate(now, t.Name, t.Traffic.counters()); ok {
			t.Rates = &Rates{r[0], r[1], r[2], r[3]}
		}
	}
	return page(all, q, func(t *Topic) string { return t.Name }, topicColumns, "name")
}

var partitionColumns = map[string]column[Partition]{
	"partition": {number: func(p *Partition) float64 { return float64(p.Partition) }},
	"size":      {number: func(p *Partition) float64 { return float64(p.SizeBytes) }},
	"records":   {number: func(p *Partition) float64 { return float64(p.HighWatermark - p.LogStart) }},
	"end":       {number: func(p *Partition) float64 { return float64(p.LogEnd) }},
	"epoch":     {number: func(p *Partition) float64 { return float64(p.LeaderEpoch) }},
	"state":     {text: func(p *Partition) string { return p.Stopped }},
}

// partitionPage answers /admin/v1/partitions; topic=NAME leaves those of one topic.
func partitionPage(n Source, q url.Values) (any, error) {
	all := n.Partitions()
	if topic := q.Get("topic"); topic != "" {
		all = slices.DeleteFunc(all, func(p Partition) bool { return p.Topic != topic })
	}
	// Names sort with the number padded, so that t-10 comes after t-9.
	name := func(p *Partition) string { return fmt.Sprintf("%s-%06d", p.Topic, p.Partition) }
	if f := q.Get("filter"); f != "" {
		all = slices.DeleteFunc(all, func(p Partition) bool {
			return !strings.Contains(strings.ToLower(fmt.Sprintf("%s-%d", p.Topic, p.Partition)), strings.ToLower(f))
		})
		q.Del("filter")
	}
	return page(all, q, name, partitionColumns, "name")
}

// GroupRow is a group with what its partitions add up to.
type GroupRow struct {
	Name       string   `json:"group"`
	State      string   `json:"state"`
	Members    int      `json:"members"`
	Partitions int      `json:"partitions"`
	Lag        int64    `json:"lag"`                // records
	Consumed   *float64 `json:"consumed,omitempty"` // committed records per second over the last minute; nil in the first seconds
	Arrived    *float64 `json:"arrived,omitempty"`  // records that came to its partitions per second
	Drain      float64  `json:"drain_seconds"`      // until it has caught up at these rates; 0 = it has, -1 = unknown or never
	Trend      Trend    `json:"trend"`
}

// Trend says where a group's lag goes.
type Trend string

// The trends. Rates that differ by less than a tenth are even: commits come in steps.
const (
	CaughtUp   Trend = "caught up"    // no lag
	KeepsUp    Trend = "keeps up"     // reads as fast as records arrive
	CatchingUp Trend = "catching up"  // reads faster
	Behind     Trend = "falls behind" // reads more slowly
	Still      Trend = "stands still" // reads nothing
	NotKnown   Trend = "not known"    // no rates yet
)

// trend compares the two rates.
func (g *GroupRow) trend() Trend {
	switch {
	case g.Lag == 0:
		return CaughtUp
	case g.Consumed == nil:
		return NotKnown
	case *g.Consumed == 0:
		return Still
	}
	switch margin := max(*g.Consumed, *g.Arrived) / 10; {
	case *g.Consumed-*g.Arrived > margin:
		return CatchingUp
	case *g.Arrived-*g.Consumed > margin:
		return Behind
	}
	return KeepsUp
}

// counters are of committed offsets and of high watermarks.
func (g *Group) counters() (c [4]uint64) {
	for _, p := range g.Partitions {
		if p.End >= 0 {
			c[0] += uint64(max(p.Committed, 0))
			c[1] += uint64(p.End)
		}
	}
	return c
}

var groupColumns = map[string]column[GroupRow]{
	"state":    {text: func(g *GroupRow) string { return g.State }},
	"members":  {number: func(g *GroupRow) float64 { return float64(g.Members) }},
	"lag":      {number: func(g *GroupRow) float64 { return float64(g.Lag) }},
	"consumed": {number: func(g *GroupRow) float64 { return value(g.Consumed) }},
	"drain":    {number: func(g *GroupRow) float64 { return g.Drain }},
}

func value(f *float64) float64 {
	if f == nil {
		return 0
	}
	return *f
}

func (s *Server) groupRows(all []Group) []GroupRow {
	now := time.Now()
	rows := make([]GroupRow, 0, len(all))
	for i := range all {
		g := &all[i]
		row := GroupRow{Name: g.Name, State: g.State, Members: len(g.Members), Partitions: len(g.Partitions), Lag: g.Lag(), Drain: -1}
		if r, ok := s.groupMarks.rate(now, g.Name, g.counters()); ok {
			row.Consumed, row.Arrived = &r[0], &r[1]
		}
		switch row.Trend = row.trend(); row.Trend {
		case CaughtUp:
			row.Drain = 0
		case CatchingUp:
			row.Drain = float64(row.Lag) / (*row.Consumed - *row.Arrived)
		}
		rows = append(rows, row)
	}
	return rows
}

// groupPage answers /admin/v1/groups; group=NAME answers one group whole.
func (s *Server) groupPage(n Source, q url.Values) (any, error) {
	all, err := n.Groups()
	if err != nil {
		return nil, &statusError{http.StatusServiceUnavailable, err.Error()}
	}
	if name := q.Get("group"); name != "" {
		for i := range all {
			if all[i].Name == name {
				return &all[i], nil
			}
		}
		return nil, &statusError{http.StatusNotFound, fmt.Sprintf("there is no group %q", name)}
	}
	return page(s.groupRows(all), q, func(g *GroupRow) string { return g.Name }, groupColumns, "-lag")
}
