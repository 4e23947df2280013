package tui

import (
	"fmt"
	"strings"
	uni "unicode"

	"github.com/charmbracelet/x/ansi"
)

// span is text of one look. Its text is clean: no control characters.
type span struct {
	text string
	role role
}

// line is one line of a frame.
type line []span

// say makes a clean span.
func say(r role, format string, a ...any) span {
	text := format
	if len(a) > 0 {
		text = fmt.Sprintf(format, a...)
	}
	return span{clean(text), r}
}

// clean replaces what could move the cursor, change colours or hide text.
func clean(s string) string {
	for _, r := range s {
		if dirty(r) {
			return strings.Map(func(r rune) rune {
				switch {
				case r == '\n' || r == '\t':
					return ' '
				case dirty(r):
					return '?'
				}
				return r
			}, s)
		}
	}
	return s
}

func dirty(r rune) bool {
	return r < ' ' || r >= 0x7f && (uni.Is(uni.C, r) || uni.Is(uni.Zl, r) || uni.Is(uni.Zp, r) || uni.Is(uni.M, r) || r == uni.ReplacementChar)
}

func (l line) width() (n int) {
	for _, s := range l {
		n += ansi.StringWidth(s.text)
	}
	return n
}

// clip cuts a line at w cells; what is cut ends in the sign for more.
func (l line) clip(w int, more string) line {
	if l.width() <= w {
		return l
	}
	if w <= 0 {
		return nil
	}
	var out line
	for _, s := range l {
		if n := ansi.StringWidth(s.text); n < w {
			out, w = append(out, s), w-n
			continue
		}
		return append(out, span{ansi.Truncate(s.text, w-1, "") + more, s.role}).exactly(out.width() + w)
	}
	return out
}

// exactly shortens a line whose last character was too wide for its place.
func (l line) exactly(w int) line {
	for len(l) > 0 && l.width() > w {
		last := &l[len(l)-1]
		last.text = ansi.Truncate(last.text, ansi.StringWidth(last.text)-1, "")
		if last.text == "" {
			l = l[:len(l)-1]
		}
	}
	return l
}

// pad fills a line up to w cells.
func (l line) pad(w int) line {
	if n := w - l.width(); n > 0 {
		return append(l[:len(l):len(l)], span{strings.Repeat(" ", n), plain})
	}
	return l
}

// join puts two lines at the ends of w cells; the right one goes if there is no room.
func join(left, right line, w int, more string) line {
	room := w - left.width() - right.width()
	if room < 1 {
		return left.clip(w, more)
	}
	return append(left.pad(w-right.width()), right...)
}

// render writes lines as a frame of exactly h lines, none wider than w, or of as many as there are if h is 0.
func (t Theme) render(lines []line, w, h int) string {
	var b strings.Builder
	n := len(lines)
	if h > 0 {
		n = h
	}
	for i := range n {
		if i > 0 {
			b.WriteByte('\n')
		}
		if i >= len(lines) {
			continue
		}
		l := lines[i]
		if t.ascii {
			l = onlyASCII(l)
		}
		var row strings.Builder
		for _, s := range l.clip(w, t.glyphs().more) {
			row.WriteString(t.paint(s))
		}
		if h == 0 {
			b.WriteString(strings.TrimRight(row.String(), " "))
		} else {
			b.WriteString(row.String())
		}
	}
	return b.String()
}

// onlyASCII replaces whatever a name from outside brings in.
func onlyASCII(l line) line {
	out := make(line, len(l))
	for i, s := range l {
		out[i] = span{strings.Map(func(r rune) rune {
			if r > '~' {
				return '?'
			}
			return r
		}, s.text), s.role}
	}
	return out
}

// wrap breaks a sentence into lines of w cells at most.
func wrap(text string, w int) []string {
	var out []string
	row := ""
	for _, word := range strings.Fields(clean(text)) {
		for ansi.StringWidth(word) > w && w > 0 { // a word that is wider than a line
			if row != "" {
				out, row = append(out, row), ""
			}
			part := ansi.Truncate(word, w, "")
			if part == "" {
				break
			}
			out, word = append(out, part), word[len(part):]
		}
		switch {
		case row == "":
			row = word
		case ansi.StringWidth(row)+1+ansi.StringWidth(word) <= w:
			row += " " + word
		default:
			out, row = append(out, row), word
		}
	}
	if row != "" {
		out = append(out, row)
	}
	return out
}

// beside puts columns of lines next to each other, with a gap of two cells.
func beside(left, right []line, leftWidth int, more string) []line {
	out := make([]line, max(len(left), len(right)))
	for i := range out {
		var l line
		if i < len(left) {
			l = left[i].clip(leftWidth, more)
		}
		if i < len(right) {
			l = append(l.pad(leftWidth+2), right[i]...)
		}
		out[i] = l
	}
	return out
}
