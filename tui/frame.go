package tui

import (
	"fmt"
	"strings"

	"chronik.dev/chronik/broker/admin"
	"chronik.dev/chronik/tui/live"
)

// View implements tea.Model: a frame of exactly the window's size.
func (m *Model) View() string {
	if m.w <= 0 || m.h <= 0 {
		return ""
	}
	return m.theme.render(m.frame(m.w, m.h), m.w, m.h)
}

// frame draws header, screen and footer in w cells and h lines.
func (m *Model) frame(w, h int) []line {
	top := append([]line{m.header(w)}, m.verdict(w)...)
	if h < 10 {
		top = cut(top, 2)
	}
	top = append(top, m.tabs(w), line{span{strings.Repeat(m.theme.glyphs().rule, max(w, 0)), dim}})
	room := h - len(top) - 1
	var body []line
	switch {
	case m.help:
		body = m.helpLines(w)
	case m.history.Last == nil:
		body = []line{nil, {say(dim, "  Asking the admin endpoint at %s each 2 s until it answers.", m.address)}}
	default:
		body = m.body(w, max(0, room))
	}
	body = cut(body, room)
	for len(body) < room {
		body = append(body, nil)
	}
	return cut(append(append(top, body...), m.footer(w)), h)
}

// body draws the screen.
func (m *Model) body(w, h int) []line {
	switch m.screen {
	case nodeID:
		if m.node() == nil {
			return waiting(m.view)
		}
		return nodeScreen{m.view, m.apis}.Render(w, h)
	case topicsID:
		return topicsScreen{m.view, m.topics, m.partitions, m.topic}.Render(w, h)
	case groupsID:
		return groupsScreen{m.view, m.groups, m.offsets, m.group}.Render(w, h)
	case raftID:
		return raftScreen{m.view}.Render(w, h)
	case recoveryID:
		s := recoveryScreen{m.view, m.incidents}
		if i := m.openIncident(); i != nil {
			return s.incident(i, w, h)
		}
		return s.Render(w, h)
	case eventsID:
		return eventsScreen{m.view, m.events, m.event}.Render(w, h)
	}
	return overview{view: m.view}.Render(w, h)
}

// header says who is watched and whether it is live; what has no room goes, from the least.
func (m *Model) header(w int) line {
	dot := " " + m.theme.glyphs().dot + " "
	parts := []line{{span{" ", plain}, say(strong, "chronik top")}}
	if n := m.node(); n != nil {
		parts = append(parts, line{say(plain, "  node %d", n.NodeID)})
	}
	parts = append(parts, line{say(dim, "  %s", m.address)})
	if o := m.view.overview(); o != nil {
		if o.Node != nil {
			parts = append(parts, line{say(dim, "%sup %s", dot, long(float64(o.Time-o.Node.StartedAt)/1000))})
		}
		if o.Version != "" {
			parts = append(parts, line{say(dim, "%s%s", dot, o.Version)})
		}
	}
	right := line{m.liveness(), span{" ", plain}}
	if !m.history.Now.IsZero() {
		if timed := append(line{say(dim, "%s  ", m.clock(m.history.Now.UnixMilli()))}, right...); timed.width() < w/2 {
			right = timed
		}
	}
	var left line
	for _, p := range parts {
		if len(left) > 0 && left.width()+p.width()+right.width() >= w {
			break
		}
		left = append(left, p...)
	}
	return join(left, right, w, m.theme.glyphs().more)
}

// liveness says how fresh the picture is.
func (m *Model) liveness() span {
	age, known := m.history.Age()
	switch {
	case m.paused:
		return say(warn, "paused")
	case m.history.Down() && known:
		return say(bad, "no answer for %s", long(age.Seconds()))
	case m.history.Down():
		return say(bad, "no answer")
	case !known:
		return say(dim, "asking")
	case m.view.overview().State != admin.Serving:
		return say(warn, "%s", m.view.overview().State)
	}
	return say(good, "live")
}

// verdict is the sentence that comes first, and what to do next.
func (m *Model) verdict(w int) []line {
	r := Verdict(m.history, m.address)
	r.Text = strings.ReplaceAll(r.Text, "\x00", m.stampOfLast())
	return cut(remark(r, w), 3)
}

func (m *Model) stampOfLast() string {
	if m.history.Last == nil {
		return ""
	}
	return m.stamp(m.history.Last.At.UnixMilli())
}

// Verdict is the sentence on a node as the dashboard knows it: that of the node itself, or that it does not answer. A NUL in it stands for
// the time of the last answer.
func Verdict(h *live.History, address string) admin.Remark {
	age, known := h.Age()
	switch {
	case h.Down() && known:
		return admin.Remark{Level: admin.Bad, Text: fmt.Sprintf("No answer from %s for %s: %s. Below is what was true at \x00.", address, long(age.Seconds()), h.Err)}
	case h.Down():
		return admin.Remark{Level: admin.Bad, Text: fmt.Sprintf("No answer from %s: %s.", address, h.Err)}
	case !known:
		return admin.Remark{Level: admin.Note, Text: "Waiting for the first answer."}
	case len(h.Last.Overview.Remarks) == 0:
		return admin.Remark{Level: admin.Fine, Text: "The node answers."}
	}
	return h.Last.Overview.Remarks[0]
}

// tabs names the screens; the one that is shown is in brackets.
func (m *Model) tabs(w int) line {
	build := func(names bool) line {
		l := line{}
		for i := range screenNames {
			switch {
			case screenID(i) == m.screen:
				l = append(l, say(strong, "[%d %s]", i+1, screenNames[i].title))
			case names:
				l = append(l, say(dim, " %d %s ", i+1, screenNames[i].title))
			default:
				l = append(l, say(dim, " %d ", i+1))
			}
		}
		return l
	}
	if l := build(true); l.width() <= w {
		return l
	}
	return build(false)
}

// footer is what can be done, or what was just done.
func (m *Model) footer(w int) line {
	l := m.list()
	switch {
	case m.typing:
		return line{say(strong, " / "), say(plain, "%s", l.filter), say(chosen, " "), say(dim, "  enter keeps it, esc drops it")}
	case m.flash != "":
		return line{say(strong, " %s", m.flash)}.clip(w, m.theme.glyphs().more)
	}
	hints := []string{"? help", "q quit", "y copy command", "space pause"}
	if m.paused {
		hints[3] = "space go on"
	}
	switch {
	case m.topic != "" && m.screen == topicsID, m.group != "" && m.screen == groupsID, m.incident != "" && m.screen == recoveryID, m.event != nil && m.screen == eventsID:
		hints = append([]string{"esc back"}, hints...)
	case l != nil && m.screen != nodeID:
		hints = append([]string{"enter open"}, hints...)
	}
	if l != nil {
		hints = append(hints, "/ filter", "s sort", "S reverse")
	}
	out := line{}
	for _, h := range hints {
		key, what, _ := strings.Cut(h, " ")
		next := append(out[:len(out):len(out)], say(plain, " %s", key), say(dim, " %s ", what))
		if next.width() > w {
			break
		}
		out = next
	}
	return out
}

// helpLines explain keys and signs.
func (m *Model) helpLines(w int) []line {
	rows := []struct{ key, what string }{
		{"1 - 7, tab", "screens"}, {"up down, j k", "move; pgup pgdn, home end too"}, {"enter, esc", "open the row; go back"},
		{"/", "filter by a part of the name, at the node"}, {"s, S", "sort by the next column; the other way round"},
		{"space", "pause: the picture stays, the node goes on"}, {"y", "copy the command that shows the same"}, {"?, q", "this help; quit"},
	}
	out := []line{section("KEYS")}
	for _, r := range rows {
		out = append(out, line{span{" ", plain}, say(strong, "%s", r.key)}.pad(17).with(say(plain, "%s", r.what)))
	}
	out = append(out, nil, section("SIGNS"))
	for _, r := range []struct {
		level admin.Level
		what  string
	}{{admin.Fine, "all is well"}, {admin.Note, "worth knowing"}, {admin.Warn, "look at it today"}, {admin.Bad, "data is not served, or soon will not be"}} {
		s, look := sign(r.level)
		out = append(out, line{span{" ", plain}, span{s, look}}.pad(17).with(say(plain, "%s", r.what)))
	}
	return append(out, nil, line{say(dim, " Charts show ten minutes, the newest at the right. An empty place is a gap: no answer, or nothing to measure.")}.clip(w, m.theme.glyphs().more),
		line{say(dim, " No key changes the cluster.")})
}

func (l line) with(s ...span) line { return append(l, s...) }
