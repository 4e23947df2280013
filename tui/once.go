package tui

import (
	"strings"

	"chronik.dev/chronik/tui/live"
)

// onceWant asks for more than a screen has room for.
func (m *Model) onceWant() live.Want {
	w := m.want()
	for _, q := range []*live.Query{w.Topics, w.Partitions, w.Groups, w.Events} {
		if q != nil && m.screen != overviewID {
			q.Limit = 10_000
		}
	}
	return w
}

// plainText is a screen as text: no colours, no padding, as long as it has to be.
func (m *Model) plainText(width int) string {
	m.theme.color = false
	lines := append([]line{m.header(width)}, m.verdict(width)...)
	lines = append(lines, nil)
	if m.screen == overviewID {
		lines = append(lines, overview{view: m.view, whole: true}.Render(width, 1000)...)
	} else {
		for _, l := range []*list{m.apis, m.topics, m.partitions, m.groups, m.offsets, m.incidents, m.events} {
			l.still = true
		}
		lines = append(lines, m.body(width, 20_000)...)
	}
	for len(lines) > 0 && len(lines[len(lines)-1]) == 0 {
		lines = lines[:len(lines)-1]
	}
	return strings.TrimRight(m.theme.render(lines, width, 0), "\n") + "\n"
}
