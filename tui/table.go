package tui

import (
	"strings"

	"github.com/charmbracelet/x/ansi"

	"chronik.dev/chronik/tui/live"
)

// column is a column of a table.
type column struct {
	title string
	sort  string // the node's name for it; empty = cannot be sorted by
	text  bool   // to the left; numbers are to the right
	drop  int    // the higher, the sooner it goes where there is no room; 0 stays
}

// list is what the user chose in a list: what the node filters, sorts and cuts, and where the cursor is.
type list struct {
	columns []column
	filter  string
	sort    int // column
	down    bool
	cursor  int  // among all rows that the filter leaves
	total   int  // of them, as far as known
	still   bool // no row is chosen: the list is only printed
}

const (
	chunk = 250 // rows that the window onto a list moves by
	ahead = 2 * chunk
)

// query is what to ask the node for.
func (l *list) query() *live.Query {
	q := &live.Query{Filter: l.filter, Sort: l.columns[l.sort].sort, Offset: max(0, l.cursor/chunk-1) * chunk, Limit: ahead + chunk}
	if l.down {
		q.Sort = "-" + q.Sort
	}
	return q
}

// next sorts by the next column; numbers begin with the largest.
func (l *list) next() {
	for {
		l.sort = (l.sort + 1) % len(l.columns)
		if l.columns[l.sort].sort != "" {
			break
		}
	}
	l.down, l.cursor = !l.columns[l.sort].text, 0
}

// move moves the cursor and says whether other rows are needed for that.
func (l *list) move(by int) bool {
	before := max(0, l.cursor/chunk-1)
	l.cursor = max(0, min(l.cursor+by, l.total-1))
	return before != max(0, l.cursor/chunk-1)
}

// clamp takes note of how many rows there are.
func (l *list) clamp(total int) {
	l.total = total
	l.cursor = max(0, min(l.cursor, total-1))
}

// rows draws a table of w cells and h lines with its header: cells from offset on are there, the cursor's row is among the lines.
func (l *list) rows(t Theme, cells [][]span, offset, w, h int) []line {
	if h < 1 || len(l.columns) == 0 {
		return nil
	}
	top := min(max(0, l.cursor-(h-2)/2), max(0, l.total-(h-1)))
	var shown [][]span
	for i := top; i < min(l.total, top+h-1); i++ {
		if at := i - offset; at >= 0 && at < len(cells) {
			shown = append(shown, cells[at])
		} else {
			shown = append(shown, []span{{t.glyphs().more, dim}})
		}
	}
	widths, keep := l.layout(shown, w-2)
	out := []line{l.header(t, widths, keep)}
	for i, row := range shown {
		here := top+i == l.cursor && !l.still
		mark := span{"  ", plain}
		if here {
			mark = span{t.glyphs().cursor + " ", chosen}
		}
		ln := line{mark}
		for c, cell := range row {
			if c >= len(keep) || !keep[c] {
				continue
			}
			if here && cell.role != bad && cell.role != warn {
				cell.role = chosen
			}
			ln = append(ln, l.place(t, cell, widths[c], c, here)...)
		}
		out = append(out, ln.trimmed())
	}
	return out
}

// trimmed leaves out the gap behind the last column.
func (l line) trimmed() line {
	if n := len(l) - 1; n > 0 && strings.TrimSpace(l[n].text) == "" {
		return l[:n]
	}
	return l
}

func (l *list) place(t Theme, cell span, width, c int, here bool) line {
	between := span{"  ", plain}
	fill := span{strings.Repeat(" ", max(0, width-ansi.StringWidth(cell.text))), plain}
	if here {
		between.role, fill.role = chosen, chosen
	}
	if ansi.StringWidth(cell.text) > width {
		cell.text, fill.text = ansi.Truncate(cell.text, width, t.glyphs().more), ""
	}
	if l.columns[c].text {
		return line{cell, fill, between}
	}
	return line{fill, cell, between}
}

func (l *list) header(t Theme, widths []int, keep []bool) line {
	out := line{span{"  ", plain}}
	for c, col := range l.columns {
		if !keep[c] {
			continue
		}
		title := col.title
		r := dim
		if c == l.sort && col.sort != "" {
			r = strong
			if l.down {
				title += t.glyphs().down
			} else {
				title += t.glyphs().up
			}
		}
		out = append(out, l.place(t, span{title, r}, widths[c], c, false)...)
	}
	return out.trimmed()
}

// layout gives each column the width of its content. Where there is no room, columns go in the order of their drop; a text at the end gets
// what is left, at least a little; what is left over otherwise goes to the name.
func (l *list) layout(rows [][]span, w int) (widths []int, keep []bool) {
	widths, keep = make([]int, len(l.columns)), make([]bool, len(l.columns))
	for c := range l.columns {
		keep[c] = true
		widths[c] = ansi.StringWidth(l.columns[c].title)
		if l.columns[c].sort != "" {
			widths[c]++ // the sign of the order
		}
		for _, r := range rows {
			if len(r) > 1 && c < len(r) {
				widths[c] = max(widths[c], ansi.StringWidth(r[c].text))
			}
		}
	}
	const least = 16 // of a text at the end
	last := len(l.columns) - 1
	natural := widths[last]
	if l.columns[last].text {
		widths[last] = min(natural, least)
	}
	total := func() (n int) {
		for c := range widths {
			if keep[c] {
				n += widths[c] + 2
			}
		}
		return n - 2
	}
	for total() > w {
		worst := 0
		for c := range l.columns {
			if keep[c] && l.columns[c].drop > l.columns[worst].drop {
				worst = c
			}
		}
		if worst == 0 {
			widths[0] = max(8, widths[0]-(total()-w)) // the name gives way last
			break
		}
		keep[worst] = false
	}
	rest := max(0, w-total())
	if l.columns[last].text && keep[last] {
		widths[last] = min(natural, widths[last]+rest)
		rest = max(0, w-total())
	}
	if !l.columns[last].text || widths[last] >= natural {
		widths[0] += min(rest, 24)
	}
	return widths, keep
}
