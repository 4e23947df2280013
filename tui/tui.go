// Package tui draws `chronik top`: one node, live, in a terminal.
//
// The idea: package live asks and remembers; this package draws what it knows. There is one bubbletea model (Model); screens are plain structs
// with Render(w, h) that return lines of spans and know nothing of bubbletea. A round of answers arrives as one message per tick, so Update does
// no I/O and a frame never mixes two rounds.
//
// The guarantee: a frame has exactly the window's lines and no line is wider than the window, whatever the node says; text from outside cannot
// carry escape codes. Colour, one of the sixteen of ANSI, is never the only sign. When the node is down the last values stay, with their age.
//
// The API: Run for a terminal, Once for everything else; Theme chooses colours and glyphs.
package tui

import (
	"context"
	"fmt"
	"io"
	"os"

	tea "github.com/charmbracelet/bubbletea"

	_ "chronik.dev/chronik/tui/background" // before bubbletea is linked: see its package comment
	"chronik.dev/chronik/tui/live"
)

// Options say what to show.
type Options struct {
	Source  live.Source
	Address string // of the admin endpoint, for the header and for commands to copy
	Theme   Theme
	Screen  string // where to begin; empty = the first
}

// Run shows the dashboard until the user leaves it or ctx ends. in and out are the terminal.
func Run(ctx context.Context, o Options, in, out *os.File) error {
	m, err := NewModel(ctx, o)
	if err != nil {
		return err
	}
	m.clipboard = out
	p := tea.NewProgram(m, tea.WithAltScreen(), tea.WithInput(in), tea.WithOutput(out), tea.WithContext(ctx), tea.WithoutSignalHandler())
	if _, err := p.Run(); err != nil && ctx.Err() == nil {
		return fmt.Errorf("dashboard: %w", err)
	}
	return nil
}

// Once asks once and prints a screen as plain text, as long as it has to be and width columns wide. The snapshot is returned in any case.
func Once(ctx context.Context, o Options, w io.Writer, width int) (*live.Snapshot, error) {
	m, err := NewModel(ctx, o)
	if err != nil {
		return nil, err
	}
	s := o.Source.Poll(ctx, m.onceWant())
	if s.Err != "" {
		return s, nil
	}
	m.history.Add(s)
	_, err = io.WriteString(w, m.plainText(width))
	return s, err
}

// Screens are the names that Options.Screen takes.
func Screens() []string {
	var names []string
	for i := range screenNames {
		names = append(names, screenNames[i].key)
	}
	return names
}
