//go:build unix

package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/creack/pty"
	"github.com/rogpeppe/go-internal/testscript"
)

// cmdTyped runs chronik on a terminal, types TEXT when it is asked, and wants CODE: typed CODE TEXT ARGS... What the terminal shows is in
// the file "screen".
func cmdTyped(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 3 {
		ts.Fatalf("usage: typed CODE TEXT ARGS...")
	}
	chronik, err := exec.LookPath("chronik")
	ts.Check(err)
	master, slave, err := pty.Open()
	ts.Check(err)
	cmd := exec.Command(chronik, args[2:]...)
	cmd.Env = append(os.Environ(), "CHRONIKD_BOOTSTRAP="+ts.Getenv("KAFKA"))
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	ts.Check(cmd.Start())
	ts.Check(slave.Close())
	var screen bytes.Buffer
	buffer, answered := make([]byte, 4096), false
	for {
		n, err := master.Read(buffer)
		screen.Write(buffer[:n])
		if !answered && strings.Contains(screen.String(), "anything else to stop: ") {
			answered = true
			_, werr := io.WriteString(master, args[1]+"\n")
			ts.Check(werr)
		}
		if err != nil {
			break // EIO when the child closed the other side
		}
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
		ts.Check(err)
	}
	ts.Check(master.Close())
	ts.Check(os.WriteFile(ts.MkAbs("screen"), bytes.ReplaceAll(screen.Bytes(), []byte("\r"), nil), 0o644))
	code := "0"
	if exit != nil {
		code = strings.TrimPrefix(exit.String(), "exit status ")
	}
	if code != args[0] {
		ts.Fatalf("%v on a terminal: exit %s, want %s\n%s", args[2:], code, args[0], screen.String())
	}
}

// TestTyped runs the scripts that need a terminal.
func TestTyped(t *testing.T) {
	params := scriptParams("testdata/typed")
	params.Cmds["typed"] = cmdTyped
	testscript.Run(t, params)
}
