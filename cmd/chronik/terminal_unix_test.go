//go:build unix

package main

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/creack/pty"
	"golang.org/x/term"
)

// TestTerminal runs chronik on a raw pseudo-terminal that never replies: it must print its line, no escape codes, and not wait for an answer.
func TestTerminal(t *testing.T) {
	chronik, err := exec.LookPath("chronik")
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"version"}, {"help"}, {"wal", "verify", "--help"}} {
		master, slave, err := pty.Open()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := term.MakeRaw(int(slave.Fd())); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(chronik, args...)
		cmd.Env = append(os.Environ(), "TERM=xterm-256color")
		cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		_ = slave.Close()
		var got bytes.Buffer
		_, _ = io.Copy(&got, master) // ends with EIO when the child closed the other side
		if err := cmd.Wait(); err != nil {
			t.Errorf("%v: %v", args, err)
		}
		_ = master.Close()
		if !strings.Contains(got.String(), "chronik") || strings.ContainsRune(got.String(), 0x1b) {
			t.Errorf("%v on a terminal: %q", args, got.String())
		}
	}
}
