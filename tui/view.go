package tui

import (
	"math"
	"time"

	"chronik.dev/chronik/broker/admin"
	"chronik.dev/chronik/tui/live"
)

// view is what every screen draws from.
type view struct {
	history *live.History
	theme   Theme
	zone    *time.Location
	address string
}

// node is the newest figures, nil while none are known.
func (v view) node() *admin.Snapshot {
	if o := v.overview(); o != nil {
		return o.Node
	}
	return nil
}

// overview is the newest overview, nil before the first answer.
func (v view) overview() *admin.Overview {
	if v.history.Last == nil {
		return nil
	}
	return v.history.Last.Overview
}

// section is a part of a screen: a title and what is below it.
func section(title string, rest ...span) line {
	return append(line{span{" ", plain}, say(head, "%s", title)}, rest...)
}

// field is a label of a fixed width before a value.
func field(label string, width int, value ...span) line {
	return append(line{span{" ", plain}, say(dim, "%s", label)}.pad(width+1), value...)
}

// stack puts blocks on top of each other with an empty line between them, as far as h allows: first the empty lines go, then lines at the end.
func stack(h int, blocks ...[]line) []line {
	rows, shown := 0, 0
	for _, b := range blocks {
		if len(b) > 0 {
			rows, shown = rows+len(b), shown+1
		}
	}
	gaps := max(0, min(shown-1, h-rows))
	var out []line
	for _, b := range blocks {
		if len(b) == 0 {
			continue
		}
		if len(out) > 0 && gaps > 0 {
			out, gaps = append(out, nil), gaps-1
		}
		out = append(out, b...)
	}
	if len(out) > h {
		out = out[:max(h, 0)]
	}
	return out
}

// cut leaves the first n lines.
func cut(lines []line, n int) []line {
	return lines[:max(0, min(len(lines), n))]
}

// right puts text at the right of a place of w cells.
func right(r role, w int, text string) span {
	s := say(r, "%s", text)
	for n := w - (line{s}).width(); n > 0; n-- {
		s.text = " " + s.text
	}
	return s
}

// latest is the newest value of a series; where nothing was measured in the last seconds it is NaN.
func latest(s live.Series) float64 {
	for i := len(s) - 1; i >= max(0, len(s)-2); i-- {
		if !math.IsNaN(s[i]) {
			return s[i]
		}
	}
	return math.NaN()
}
