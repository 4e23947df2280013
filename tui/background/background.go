// Package background tells lipgloss the terminal's background before anything can ask the terminal for it.
//
// The idea: bubbletea v1 asks for the background colour in an init function, that is, in every program that merely links it. Each
// subcommand would write escape codes to the terminal and wait up to five seconds for a terminal that does not answer (a serial console,
// a pipe through script(1), some CI). Go initialises packages in the order of their import paths as soon as their imports are ready, so
// `chronik.dev/...`, which sorts before `github.com/charmbracelet/bubbletea`, answers the question first: dark, or light where the
// environment says so.
//
// The guarantee: a program that imports this package, in whatever order, writes nothing to a terminal and reads nothing from it while it
// is initialised. The test holds that on a raw pseudo-terminal that never replies.
//
// The API: import it for its effect. Dark repeats what it decided.
package background

import (
	"os"
	"strconv"
	"strings"

	"github.com/charmbracelet/lipgloss"
)

func init() {
	lipgloss.SetHasDarkBackground(Dark(os.Getenv))
}

// Dark reports whether to draw for a dark background: the last field of COLORFGBG (an ANSI colour number that rxvt, Konsole and others
// set: 7 and 9 to 15 are light, 8 is dark grey) if there is one, else true. It asks no terminal.
func Dark(getenv func(string) string) bool {
	fields := strings.Split(getenv("COLORFGBG"), ";")
	n, err := strconv.Atoi(fields[len(fields)-1])
	if err != nil || n < 0 || n > 15 {
		return true
	}
	return n < 7 || n == 8
}
