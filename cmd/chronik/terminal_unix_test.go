//go:build unix

package main

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// silent is a program on a raw pseudo-terminal that never replies.
type silent struct {
	cmd    *exec.Cmd
	master *os.File
	ended  chan struct{}

	mu  sync.Mutex
	got bytes.Buffer
}

// onSilentTerminal starts chronik there.
func onSilentTerminal(t *testing.T, args ...string) *silent {
	t.Helper()
	chronik, err := exec.LookPath("chronik")
	if err != nil {
		t.Fatal(err)
	}
	master, slave, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = master.Close() })
	if err := pty.Setsize(master, &pty.Winsize{Rows: 24, Cols: 80}); err != nil {
		t.Fatal(err)
	}
	if _, err := term.MakeRaw(int(slave.Fd())); err != nil {
		t.Fatal(err)
	}
	s := &silent{cmd: exec.Command(chronik, args...), master: master, ended: make(chan struct{})}
	s.cmd.Env = append(os.Environ(), "TERM=xterm-256color", "COLORFGBG=")
	s.cmd.Stdin, s.cmd.Stdout, s.cmd.Stderr = slave, slave, slave
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = slave.Close()
	go func() {
		defer close(s.ended)
		_, _ = io.Copy(s, master) // ends with EIO when the child closed the other side
	}()
	return s
}

// Write takes in what the program prints.
func (s *silent) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.got.Write(p)
}

func (s *silent) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.got.String()
}

// finish waits for its end.
func (s *silent) finish() (string, error) {
	<-s.ended
	err := s.cmd.Wait()
	return s.text(), err
}

// every lists all commands, each with --help.
func every(cmd *cobra.Command, path ...string) [][]string {
	all := [][]string{append(append([]string{}, path...), "--help")}
	for _, child := range cmd.Commands() {
		all = append(all, every(child, append(append([]string{}, path...), child.Name())...)...)
	}
	return all
}

// TestTerminal runs every command on a raw pseudo-terminal that never replies: it must print its lines, no escape codes, and not wait for an
// answer; so must those that print data.
func TestTerminal(t *testing.T) {
	a := &app{in: strings.NewReader(""), out: io.Discard, err: io.Discard}
	for _, args := range append(every(newRoot(a)), []string{"version"}, []string{"help"}) {
		got, err := onSilentTerminal(t, args...).finish()
		if err != nil {
			t.Errorf("%v: %v", args, err)
		}
		if !strings.Contains(got, "chronik") || strings.ContainsRune(got, 0x1b) {
			t.Errorf("%v on a terminal: %q", args, got)
		}
	}
	got, _ := onSilentTerminal(t, "top", "--once", "--admin", "127.0.0.1:1").finish()
	if !strings.Contains(got, "no answer from the admin endpoint") || strings.ContainsRune(got, 0x1b) {
		t.Errorf("top --once on a terminal: %q", got)
	}
}

// TestEveryCommandOnASilentTerminal: every command that ends by itself does so there too, with its data, and without an escape code.
func TestEveryCommandOnASilentTerminal(t *testing.T) {
	if testing.Short() {
		t.Skip("starts each command once, which the race detector makes ten times slower")
	}
	dir, plan := stoppedDir(t)
	for _, c := range everyCall(t, dir, plan) {
		if c.cmd.Name() == "serve" {
			continue
		}
		quiet := c.cmd.Name() == "packaging"
		if got, _ := onSilentTerminal(t, c.args...).finish(); (got == "") != quiet || strings.ContainsRune(got, 0x1b) {
			t.Errorf("%v on a terminal: %q", c.args, got)
		}
	}
}

// TestTopOnSilentTerminal: the dashboard draws on a terminal that never replies, asks it nothing, shows what the node says, takes keys, and
// leaves the terminal as it was. It starts although nobody answers.
func TestTopOnSilentTerminal(t *testing.T) {
	_, _, admin := runningNode(t)
	for _, c := range []struct{ address, want string }{{admin, "Healthy and empty"}, {"127.0.0.1:1", "connection refused"}} {
		s := onSilentTerminal(t, "top", "--admin", c.address)
		shows := func(text string) {
			t.Helper()
			for end := time.Now().Add(time.Minute); !strings.Contains(s.text(), text); time.Sleep(20 * time.Millisecond) {
				if time.Now().After(end) {
					t.Fatalf("top never showed %q: %q", text, s.text())
				}
			}
		}
		shows(c.want)
		if _, err := s.master.WriteString("?"); err != nil {
			t.Fatal(err)
		}
		shows("No key changes the cluster")
		if _, err := s.master.WriteString("qq"); err != nil {
			t.Fatal(err)
		}
		got, err := s.finish()
		if err != nil {
			t.Errorf("top ends with %v", err)
		}
		for _, question := range []string{"\x1b[6n", "\x1b[c", "\x1b[0c", "\x1b[>", "\x1b]10;?", "\x1b]11;?", "\x1b[?u", "\x1b[5n"} {
			if strings.Contains(got, question) {
				t.Errorf("top asks the terminal %q", question)
			}
		}
		if !strings.Contains(got, "\x1b[?1049h") || !strings.Contains(got, "\x1b[?1049l") || !strings.Contains(got, "\x1b[?25h") {
			t.Error("top does not leave the terminal as it was")
		}
	}
}
