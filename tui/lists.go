package tui

import (
	"strings"

	"chronik.dev/chronik/broker/admin"
)

// topicsScreen lists topics, or the partitions of one.
type topicsScreen struct {
	view
	topics, partitions *list
	topic              string // whose partitions; empty: the topics
}

func newTopicList() *list {
	return &list{columns: []column{
		{title: "TOPIC", sort: "name", text: true}, {title: "PARTITIONS", sort: "partitions", drop: 4}, {title: "STOPPED", sort: "stopped", drop: 5},
		{title: "RECORDS", sort: "records", drop: 3}, {title: "SIZE", sort: "size"}, {title: "IN", sort: "in", drop: 1}, {title: "OUT", sort: "out", drop: 2},
	}}
}

func newPartitionList() *list {
	return &list{columns: []column{
		{title: "PARTITION", sort: "partition", text: true}, {title: "START", drop: 3}, {title: "WATERMARK", sort: "records", drop: 1},
		{title: "END", sort: "end", drop: 2}, {title: "SIZE", sort: "size"}, {title: "EPOCH", sort: "epoch", drop: 4}, {title: "STATE", sort: "state", text: true},
	}}
}

// Render draws the screen in w cells and h lines.
func (s topicsScreen) Render(w, h int) []line {
	last := s.history.Last
	if s.topic != "" {
		return s.parts(last.Partitions, w, h)
	}
	page := last.Topics
	if page == nil {
		return waiting(s.view)
	}
	var cells [][]span
	for i := range page.Items {
		t := &page.Items[i]
		stopped := say(dim, "0")
		if t.Stopped > 0 {
			stopped = say(bad, "%s !!", count(t.Stopped))
		}
		in, out := none, none
		if t.Rates != nil {
			in, out = size(t.Rates.ProducedBytes)+"/s", size(t.Rates.FetchedBytes)+"/s"
		}
		cells = append(cells, []span{
			say(plain, "%s", t.Name), say(plain, "%s", count(t.Partitions)), stopped, say(plain, "%s", count(t.Records)),
			say(strong, "%s", size(t.SizeBytes)), say(first, "%s", in), say(second, "%s", out),
		})
	}
	s.topics.clamp(page.Total)
	return append([]line{caption("TOPICS", page.Total, page.All, s.topics.filter)}, s.topics.rows(s.theme, cells, page.Offset, w, h-1)...)
}

func (s topicsScreen) parts(page *admin.Page[admin.Partition], w, h int) []line {
	if page == nil || s.history.Last.Topic != s.topic {
		return waiting(s.view)
	}
	var cells [][]span
	for i := range page.Items {
		p := &page.Items[i]
		state := say(good, "online")
		if p.Stopped != "" {
			state = say(bad, "stopped !! %s", p.Stopped)
		}
		cells = append(cells, []span{
			say(plain, "%d", p.Partition), say(plain, "%s", offset(p.LogStart)), say(plain, "%s", offset(p.HighWatermark)), say(plain, "%s", offset(p.LogEnd)),
			say(strong, "%s", size(p.SizeBytes)), say(plain, "%s", offset(int64(p.LeaderEpoch))), state,
		})
	}
	s.partitions.clamp(page.Total)
	title := caption("TOPIC "+s.topic, page.Total, page.All, s.partitions.filter)
	out := append([]line{title}, s.partitions.rows(s.theme, cells, page.Offset, w, h-1)...)
	at := s.partitions.cursor - page.Offset
	if at >= 0 && at < len(page.Items) && page.Items[at].Stopped != "" && h > 6 {
		p := &page.Items[at]
		below := append([]line{nil}, remark(admin.Remark{Level: admin.Bad, Text: p.Stopped, Next: p.Command}, w)...)
		out = append(cut(out, h-len(below)), below...)
	}
	return out
}

func offset(n int64) string {
	if n < 0 {
		return none
	}
	return count(n)
}

// caption is the title of a list, with how much of it the filter leaves.
func caption(title string, total, all int, filter string) line {
	l := section(title, say(dim, "  %s", count(total)))
	if filter != "" {
		l = append(l, say(dim, " of %s match ", count(all)), say(strong, "%s", filter))
	}
	return l
}

// waiting stands where an answer has not come yet, and says so if there will be none.
func waiting(v view) []line {
	text := "Asking the node."
	if v.node() == nil && v.overview() != nil {
		text = "Not known while the node starts. Recovery is on screen 6."
	} else if v.history.Last.Failed != "" {
		text = v.history.Last.Failed
	}
	return []line{nil, {say(dim, "  %s", text)}}
}

// groupsScreen lists groups, or where one stands.
type groupsScreen struct {
	view
	groups, offsets *list
	group           string
}

func newGroupList() *list {
	return &list{columns: []column{
		{title: "GROUP", sort: "name", text: true}, {title: "STATE", sort: "state", text: true, drop: 3}, {title: "MEMBERS", sort: "members", drop: 5},
		{title: "PARTITIONS", drop: 6}, {title: "LAG", sort: "lag"}, {title: "READS", sort: "consumed", drop: 2}, {title: "ARRIVE", drop: 4},
		{title: "CAUGHT UP", sort: "drain", text: true, drop: 1},
	}, sort: 4, down: true}
}

func newOffsetList() *list {
	return &list{columns: []column{
		{title: "PARTITION", sort: "name", text: true}, {title: "COMMITTED", drop: 2}, {title: "WATERMARK", drop: 1}, {title: "LAG"},
		{title: "READ BY", text: true, drop: 3},
	}}
}

// Render draws the screen in w cells and h lines.
func (s groupsScreen) Render(w, h int) []line {
	if s.group != "" {
		return s.one(w, h)
	}
	page := s.history.Last.Groups
	if page == nil {
		return waiting(s.view)
	}
	var cells [][]span
	for i := range page.Items {
		g := &page.Items[i]
		lag := say(strong, "%s", count(g.Lag))
		cells = append(cells, []span{
			say(plain, "%s", g.Name), say(plain, "%s", g.State), say(plain, "%s", count(g.Members)), say(plain, "%s", count(g.Partitions)),
			lag, say(second, "%s", perSecond(g.Consumed)), say(first, "%s", perSecond(g.Arrived)), drain(g),
		})
	}
	s.groups.clamp(page.Total)
	return append([]line{caption("CONSUMER GROUPS", page.Total, page.All, s.groups.filter)}, s.groups.rows(s.theme, cells, page.Offset, w, h-1)...)
}

func (s groupsScreen) one(w, h int) []line {
	g := s.history.Last.Group
	if g == nil || g.Name != s.group {
		return waiting(s.view)
	}
	dot := " " + s.theme.glyphs().dot + " "
	out := []line{
		section("GROUP "+g.Name, say(dim, "  %s%s%s %s", g.State, dot, g.Type, g.Protocol)),
		field("lag", labelWidth, say(strong, "%s records", count(g.Lag()))),
	}
	reader := map[string]string{}
	for _, m := range g.Members {
		for _, p := range m.Partitions {
			reader[p] = m.Client + " " + m.Host
		}
		if len(out) < 2+max(1, h/4) {
			out = append(out, field("member", labelWidth, say(plain, "%s", m.Client), say(dim, " %s%s%s%s%s", m.Host, dot, partitionsOf(len(m.Partitions)), dot, m.ID)).clip(w, s.theme.glyphs().more))
		}
	}
	out = append(out, nil)
	var cells [][]span
	for _, p := range g.Partitions {
		name := p.Topic + "-" + offset(int64(p.Partition))
		if !strings.Contains(strings.ToLower(name), strings.ToLower(s.offsets.filter)) {
			continue
		}
		cells = append(cells, []span{
			say(plain, "%s", name), say(plain, "%s", offset(p.Committed)), say(plain, "%s", offset(p.End)), say(strong, "%s", count(p.Lag)),
			say(dim, "%s", reader[p.Topic+"-"+itoa(p.Partition)]),
		})
	}
	s.offsets.clamp(len(cells))
	return append(out, s.offsets.rows(s.theme, cells, 0, w, h-len(out))...)
}
