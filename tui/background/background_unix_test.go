//go:build unix

package background_test

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/charmbracelet/lipgloss"
	"github.com/creack/pty"
	"golang.org/x/term"

	"chronik.dev/chronik/tui/background"
)

// child is what the re-executed test binary prints: it links bubbletea and this package, as chronik does.
const child = "child of TestSilentTerminal"

func TestMain(m *testing.M) {
	if os.Getenv("CHRONIKD_BACKGROUND_CHILD") != "" {
		_ = tea.KeyEnter // bubbletea is linked, not run
		_, _ = os.Stdout.WriteString(child)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// TestSilentTerminal runs a program that links bubbletea on a raw pseudo-terminal that never replies: it must print its own bytes only.
// Without package background it prints two queries first and waits for the answers.
func TestSilentTerminal(t *testing.T) {
	master, slave, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = master.Close() }()
	if _, err := term.MakeRaw(int(slave.Fd())); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "CHRONIKD_BACKGROUND_CHILD=1", "TERM=xterm-256color", "CI=")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true} // in the foreground: termenv asks nothing otherwise
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = slave.Close()
	var got bytes.Buffer
	read := make(chan struct{})
	go func() {
		_, _ = io.Copy(&got, master) // ends with EIO when the child has closed the other side
		close(read)
	}()
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-read:
	case <-time.After(time.Minute):
		t.Fatal("the terminal stayed open after the program ended")
	}
	if got.String() != child {
		t.Errorf("a program that links bubbletea printed %q; want %q and no escape codes", got.String(), child)
	}
}

func TestDark(t *testing.T) {
	for value, want := range map[string]bool{"": true, "15;0": true, "0;15": false, "0;default;15": false, "0;7": false, "15;8": true, "x": true, "0;99": true} {
		if got := background.Dark(func(string) string { return value }); got != want {
			t.Errorf("COLORFGBG=%q: dark = %v, want %v", value, got, want)
		}
	}
	if !lipgloss.HasDarkBackground() && os.Getenv("COLORFGBG") == "" {
		t.Error("lipgloss was not told")
	}
}
