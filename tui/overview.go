package tui

import (
	"fmt"
	"math"
	"strings"

	"chronik.dev/chronik/broker/admin"
	"chronik.dev/chronik/tui/live"
)

// overview is the first screen: the order of facts is that in which an operator needs them.
type overview struct {
	view
	whole bool // no height is given: everything is shown
}

// figure is one row of a block with a chart.
type figure struct {
	name   string
	now    [2]string // two values of this moment
	series live.Series
	peak   string
	role   role
}

// Render draws the screen in w cells and h lines.
func (o overview) Render(w, h int) []line {
	if o.node() == nil {
		if o.view.overview() != nil {
			return recoveryScreen{view: o.view}.Render(w, h)
		}
		return nil
	}
	if w >= 132 && h >= 30 && !o.whole {
		return o.wide(w, h)
	}
	figures, latencies := o.traffic(), o.latencies()
	rest := [][]line{o.remarks(w), o.state(), nil, nil, o.headroom(w), o.groups(w), o.topics(w), o.events(w)}
	fixed := 0
	for i, limit := range []int{4, 9, 0, 0, 9, 4, 0, 3} { // what a small window grants each
		if n := min(len(rest[i]), limit); n > 0 {
			fixed += n + 1
		}
	}
	tall := 1
	if o.whole {
		rest[2], rest[3] = o.charts("THROUGHPUT", figures, w, 1), o.charts("LATENCY", latencies, w, 1)
		return stack(1000, rest...)
	}
	if spare := h - fixed - 2 - len(figures) - 2 - len(latencies); spare > 0 {
		tall = 1 + min(5, spare/(len(figures)+len(latencies)))
	}
	rest[2], rest[3] = o.charts("THROUGHPUT", figures, w, tall), o.charts("LATENCY", latencies, w, tall)
	return o.fit(rest, h)
}

// fit cuts the lists at the end so that each has its share of the lines.
func (o overview) fit(blocks [][]line, h int) []line {
	used := 0
	for _, b := range blocks[:5] {
		if len(b) > 0 {
			used += len(b) + 1
		}
	}
	lists := blocks[5:]
	for i := range lists {
		left := len(lists) - i
		n := max(2, (h-used)/left-1)
		if used+2 > h {
			n = 0
		}
		lists[i] = cut(lists[i], min(n, max(0, h-used)))
		if len(lists[i]) > 0 {
			used += len(lists[i]) + 1
		}
	}
	return stack(h, blocks...)
}

// wide draws two columns.
func (o overview) wide(w, h int) []line {
	leftWidth := w * 11 / 20
	rightWidth := w - leftWidth - 2
	figures, latencies := o.traffic(), o.latencies()
	head := stack(h, o.remarks(w), o.state())
	body := h - len(head) - 1
	tall := max(1, min(9, (body-3)/(len(figures)+len(latencies))))
	left := stack(body, o.charts("THROUGHPUT", figures, leftWidth, tall), o.charts("LATENCY", latencies, leftWidth, tall))
	room := body - len(o.headroom(rightWidth)) - 1
	groups, topics, events := o.groups(rightWidth), o.topics(rightWidth), o.events(rightWidth)
	third := max(2, room/3-1)
	groups, topics = cut(groups, third), cut(topics, third)
	events = cut(events, room-len(groups)-len(topics)-2)
	right := stack(body, o.headroom(rightWidth), groups, topics, events)
	return append(append(head, nil), beside(left, right, leftWidth, o.theme.glyphs().more)...)
}

// remarks are those below the verdict.
func (o overview) remarks(w int) []line {
	var out []line
	all := o.view.overview().Remarks
	for i := 1; i < len(all) && i < 4; i++ {
		out = append(out, remark(all[i], w)...)
	}
	return out
}

// state is partitions and Raft in words.
func (o overview) state() []line {
	all, n := o.view.overview(), o.node()
	dot := " " + o.theme.glyphs().dot + " "
	parts := line{say(strong, "%s", count(all.Partitions.Online)), say(plain, " online%s", dot)}
	stopped := plain
	if all.Partitions.Stopped > 0 {
		stopped = bad
	}
	parts = append(parts, say(stopped, "%s stopped", count(all.Partitions.Stopped)), say(plain, "%s%s topics", dot, count(all.Topics)))
	raft := []span{say(strong, "%s", n.Raft.State), say(plain, "%sterm %s%scommit %s%sapplied %s", dot, count(n.Raft.Term), dot, count(n.Raft.Commit), dot, count(n.Raft.Applied))}
	return []line{field("partitions", labelWidth, parts...), field("raft", labelWidth, raft...)}
}

const labelWidth = 12

// traffic is what clients write and read.
func (o overview) traffic() []figure {
	rate := func(name string, records, bytes func(*admin.Sample) uint64, r role) figure {
		s := o.history.Rate(bytes)
		return figure{name, [2]string{rated(number(latest(o.history.Rate(records))), " rec/s"), rated(size(latest(s)), "/s")}, s, size(s.Max()) + "/s", r}
	}
	return []figure{
		rate("produced", func(p *admin.Sample) uint64 { return p.Traffic.ProducedRecords }, func(p *admin.Sample) uint64 { return p.Traffic.ProducedBytes }, first),
		rate("fetched", func(p *admin.Sample) uint64 { return p.Traffic.FetchedRecords }, func(p *admin.Sample) uint64 { return p.Traffic.FetchedBytes }, second),
	}
}

// rated gives a value that is known its unit.
func rated(value, unit string) string {
	if value == none {
		return none
	}
	return value + unit
}

// latencies are how long producers wait, and how long the disk takes of that.
func (o overview) latencies() []figure {
	of := func(name string, p50, p99 func(*admin.Sample) float64, r role) figure {
		slow := o.history.Gauge(p99)
		return figure{name, [2]string{o.theme.short(latest(o.history.Gauge(p50))), o.theme.short(latest(slow))}, slow, o.theme.short(zeroIsNone(slow.Max())), r}
	}
	return []figure{
		of("produce", func(p *admin.Sample) float64 { return p.ProduceP50 }, func(p *admin.Sample) float64 { return p.ProduceP99 }, first),
		of("disk sync", func(p *admin.Sample) float64 { return p.SyncP50 }, func(p *admin.Sample) float64 { return p.SyncP99 }, second),
	}
}

func zeroIsNone(f float64) float64 {
	if f == 0 {
		return math.NaN()
	}
	return f
}

// charts draws figures with charts of tall rows.
func (o overview) charts(title string, figures []figure, w, tall int) []line {
	titles := [2]string{"records", "bytes"}
	note := "last 10 minutes"
	if title == "LATENCY" {
		titles, note = [2]string{"p50", "p99"}, "p99, last 10 minutes"
	}
	const name, value, peak = 11, 14, 13
	chart := w - 1 - name - 2*value - 2 - peak
	header := line{span{" ", plain}, say(head, "%s", title)}.pad(1 + name)
	header = append(header, right(dim, value, titles[0]), right(dim, value, titles[1]), span{"  ", plain})
	if chart >= 10 {
		header = append(header, line{say(dim, "%s", note)}.clip(chart, o.theme.glyphs().more).pad(chart)...)
		header = append(header, right(dim, peak, "peak"))
	}
	out := []line{header}
	for _, f := range figures {
		rows := make([]string, tall)
		if chart >= 10 {
			rows = o.theme.bars(f.series, chart, tall, f.series.Max())
		}
		for i := range tall {
			l := line{span{strings.Repeat(" ", 1+name+2*value+2), plain}}
			if i == 0 {
				l = line{span{" ", plain}, say(plain, "%s", f.name)}.pad(1 + name)
				l = append(l, right(strong, value, f.now[0]), right(strong, value, f.now[1]), span{"  ", plain})
			}
			if chart >= 10 {
				l = append(l, span{rows[i], f.role})
				if i == 0 {
					l = append(l, right(dim, peak, f.peak))
				}
			}
			out = append(out, l)
		}
	}
	return out
}

// headroom is what can run full.
func (o overview) headroom(w int) []line {
	n := o.node()
	bar := max(6, min(24, w-64))
	of := func(name string, share float64, text string) line {
		l := line{span{" ", plain}, say(plain, "%s", name)}.pad(labelWidth)
		l = append(l, o.theme.meter(share, bar, pressure(share))...)
		return append(l, say(plain, "  %s", text))
	}
	out := []line{section("HEADROOM")}
	if n.DiskTotal > 0 && n.DiskFree >= 0 {
		text := size(n.DiskFree) + " free of " + size(n.DiskTotal)
		if in := o.view.overview().DiskFullIn; in >= 0 && in < 3e8 {
			text += ", full in " + long(in)
		}
		out = append(out, of("disk", 1-float64(n.DiskFree)/float64(n.DiskTotal), text))
	}
	journal := size(n.Journal.LiveBytes) + " to replay"
	share := 0.0
	if n.Journal.MaxBytes > 0 {
		share = float64(n.Journal.LiveBytes) / float64(n.Journal.MaxBytes)
		journal += ", cap " + size(n.Journal.MaxBytes)
	}
	out = append(out, of("journal", share, journal))
	if n.TailLimit > 0 {
		out = append(out, of("tail", float64(n.TailBytes)/float64(n.TailLimit), size(n.TailBytes)+" in memory of "+size(n.TailLimit)))
	}
	return out
}

// groups are those that are furthest behind.
func (o overview) groups(w int) []line {
	all := o.view.overview().Groups
	title := section("GROUPS BY LAG", say(dim, "  %s in all, %s records behind", count(all.Total), count(all.Lag)))
	if all.Error != "" {
		return []line{section("GROUPS BY LAG", say(warn, "  %s", all.Error))}
	}
	out := []line{title}
	page := o.history.Last.Groups
	if page == nil {
		return out
	}
	for i := range page.Items {
		g := &page.Items[i]
		l := line{span{" ", plain}, say(plain, "%s", g.Name)}.clip(max(12, w-56), o.theme.glyphs().more).pad(max(12, w-56))
		l = append(l, right(strong, 14, count(g.Lag)), right(plain, 14, perSecond(g.Consumed)), span{"  ", plain}, drain(g))
		out = append(out, l)
	}
	return out
}

func perSecond(f *float64) string {
	if f == nil {
		return none
	}
	return number(*f) + "/s"
}

// drain says where a group's lag goes.
func drain(g *admin.GroupRow) span {
	switch g.Trend {
	case admin.CaughtUp:
		return say(good, "%s", g.Trend)
	case admin.CatchingUp:
		return say(plain, "in %s", long(g.Drain))
	case admin.KeepsUp:
		if g.Arrived != nil && *g.Arrived > 0 {
			return say(plain, "keeps up, %s behind", long(float64(g.Lag) / *g.Arrived))
		}
	case admin.NotKnown:
		return say(dim, "not known yet")
	case admin.Behind, admin.Still:
		return say(warn, "%s", g.Trend)
	}
	return say(plain, "%s", g.Trend)
}

// topics are the busiest.
func (o overview) topics(w int) []line {
	page := o.history.Last.Topics
	if page == nil || len(page.Items) == 0 {
		return nil
	}
	out := []line{section("TOPICS BY SIZE")}
	for i := range page.Items {
		t := &page.Items[i]
		rates := none
		if t.Rates != nil {
			rates = size(t.Rates.ProducedBytes) + "/s in"
		}
		l := line{span{" ", plain}, say(plain, "%s", t.Name)}.clip(max(12, w-56), o.theme.glyphs().more).pad(max(12, w-56))
		out = append(out, append(l, right(strong, 14, size(t.SizeBytes)), right(plain, 16, rates), say(dim, "  %s", partitionsOf(t.Partitions))))
	}
	return out
}

func partitionsOf(n int) string {
	if n == 1 {
		return "1 partition"
	}
	return fmt.Sprintf("%s partitions", count(n))
}

// events are the newest.
func (o overview) events(w int) []line {
	page := o.history.Last.Events
	if page == nil || len(page.Items) == 0 {
		return nil
	}
	out := []line{section("EVENTS")}
	for i := range page.Items {
		e := &page.Items[i]
		s, r := sign(levelOf(e.Level))
		if s == "[ok]" {
			s, r = "", plain
		}
		l := line{span{" ", plain}, say(dim, "%s ", o.stamp(e.Time))}
		if s != "" {
			l = append(l, span{s + " ", r})
		}
		out = append(out, append(l, say(plain, "%s ", e.Message), say(dim, "%s", e.Detail)).clip(w, o.theme.glyphs().more))
	}
	return out
}

// levelOf maps a level of the log.
func levelOf(level string) admin.Level {
	switch level {
	case "ERROR":
		return admin.Bad
	case "WARN":
		return admin.Warn
	}
	return admin.Fine
}

// remark draws a sentence with its sign, and what to do next below it.
func remark(r admin.Remark, w int) []line {
	s, look := sign(r.Level)
	indent := len(s) + 2
	var out []line
	for i, text := range wrap(r.Text, w-indent-1) {
		l := line{span{" ", plain}, span{s, look}}
		if i > 0 {
			l = nil
		}
		body := plain
		if r.Level == admin.Bad {
			body = strong
		}
		out = append(out, append(l.pad(indent+1), say(body, "%s", text)))
	}
	if r.Next != "" {
		out = append(out, append(line{}.pad(indent+1), say(dim, "next: "), say(strong, "%s", r.Next)))
	}
	return out
}
