package tui

import (
	"io"

	"github.com/charmbracelet/lipgloss"
	"github.com/muesli/termenv"

	"chronik.dev/chronik/broker/admin"
)

// Theme is how a frame looks. The zero value is Mono.
type Theme struct {
	color bool
	ascii bool
}

// The themes.
var (
	Color = Theme{color: true} // the sixteen colours of ANSI
	Mono  = Theme{}            // no escape codes in any line: NO_COLOR
)

// ASCII returns the theme with no other characters than those of ASCII.
func (t Theme) ASCII() Theme {
	t.ascii = true
	return t
}

// role is what a span means; the theme says how that looks.
type role int

const (
	plain  role = iota
	dim         // labels, units
	strong      // what matters
	head        // titles of sections
	good
	warn
	bad
	first  // charts
	second // charts of the other kind
	chosen // the row under the cursor
	roles
)

// styles are made once per program: lipgloss is not asked per span.
var styles = func() (s [roles]lipgloss.Style) {
	r := lipgloss.NewRenderer(io.Discard)
	r.SetColorProfile(termenv.ANSI)
	for i := range s {
		s[i] = r.NewStyle()
	}
	color := func(i role, c string) { s[i] = s[i].Foreground(lipgloss.Color(c)) }
	s[dim] = s[dim].Faint(true)
	s[strong], s[chosen] = s[strong].Bold(true), s[chosen].Bold(true).Reverse(true)
	s[head] = s[head].Bold(true)
	color(head, "6")
	color(good, "2")
	color(warn, "3")
	color(bad, "1")
	s[warn], s[bad] = s[warn].Bold(true), s[bad].Bold(true)
	color(first, "4")
	color(second, "5")
	return s
}()

// paint renders a span.
func (t Theme) paint(s span) string {
	if !t.color || s.role == plain || s.text == "" {
		return s.text
	}
	return styles[s.role].Render(s.text)
}

// glyphs are the characters that are not letters.
type glyphs struct {
	rule, dot, full, empty, cursor, more, up, down, micro string
	levels                                                []rune // of a bar, from zero to full
}

var (
	unicode = glyphs{
		rule: "─", dot: "·", full: "█", empty: "░", cursor: "▸", more: "…", up: "↑", down: "↓", micro: "µ",
		levels: []rune("▁▂▃▄▅▆▇█"),
	}
	ascii = glyphs{
		rule: "-", dot: "|", full: "#", empty: ".", cursor: ">", more: "~", up: "^", down: "v", micro: "u",
		levels: []rune("_.:-=+*#"),
	}
)

func (t Theme) glyphs() *glyphs {
	if t.ascii {
		return &ascii
	}
	return &unicode
}

// sign is a level without colour.
func sign(l admin.Level) (string, role) {
	switch l {
	case admin.Bad:
		return "[!!]", bad
	case admin.Warn:
		return "[!]", warn
	case admin.Note:
		return "[i]", strong
	}
	return "[ok]", good
}
