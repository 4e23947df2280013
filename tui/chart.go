package tui

import (
	"math"
	"strings"

	"chronik.dev/chronik/tui/live"
)

// bars draws a series as h rows of w cells, up to top. The newest value is at the right.
func (t Theme) bars(s live.Series, w, h int, top float64) []string {
	levels := t.glyphs().levels
	values := s.Fit(w)
	rows := make([]strings.Builder, h)
	for range max(0, w-len(values)) {
		for i := range rows {
			rows[i].WriteByte(' ')
		}
	}
	for _, v := range values {
		steps := -1 // a gap
		if !math.IsNaN(v) {
			steps = 0
			if top > 0 {
				steps = int(math.Round(math.Min(v/top, 1) * float64(h*len(levels))))
			}
		}
		for i := range rows {
			below := (h - 1 - i) * len(levels) // steps that the rows below this one take
			switch {
			case steps < 0, i < h-1 && steps <= below:
				rows[i].WriteByte(' ')
			default:
				rows[i].WriteRune(levels[min(max(steps-below, 1), len(levels))-1])
			}
		}
	}
	out := make([]string, h)
	for i := range rows {
		out[i] = rows[i].String()
	}
	return out
}

// meter draws a share from 0 to 1 as a bar of w cells.
func (t Theme) meter(share float64, w int, r role) line {
	if math.IsNaN(share) {
		share = 0
	}
	n := int(math.Round(math.Max(0, math.Min(share, 1)) * float64(w)))
	if share > 0 && n == 0 {
		n = 1
	}
	n = min(n, max(w, 0))
	return line{span{strings.Repeat(t.glyphs().full, n), r}, span{strings.Repeat(t.glyphs().empty, max(0, w-n)), dim}}
}

// pressure is the look of a share that should stay low.
func pressure(share float64) role {
	switch {
	case share >= 0.98:
		return bad
	case share >= 0.9:
		return warn
	}
	return good
}
