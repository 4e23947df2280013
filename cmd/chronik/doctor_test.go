package main

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"

	"chronik.dev/chronik/walinspect"
)

// cmdHeal asks doctor what is wrong with a directory, which must be CODE first, and does only what the tools print, until doctor says to serve
// it. What is lost on the way is left in $LOST: the lines of the plans that were applied.
func cmdHeal(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: heal DIR CODE")
	}
	dir, code := args[0], args[1]
	var lost []string
	for step := 0; ; step++ {
		_ = ts.Exec("chronik", "doctor", dir) // the exit code says how bad it is
		text := ts.ReadFile("stdout")
		if step == 0 && !strings.Contains(text, "\n1. "+code+" (") {
			ts.Fatalf("doctor does not say %s first:\n%s%s", code, text, ts.ReadFile("stderr"))
		}
		next := after(text, "next: ")
		ts.Logf("step %d: %s", step+1, next)
		if strings.HasPrefix(next, "chronik serve --data-dir ") {
			break
		}
		if step == 6 {
			ts.Fatalf("it goes on for ever; the last diagnosis:\n%s", text)
		}
		out := chronikLine(ts, next)
		do := after(out, "To do it: ")
		if do == "" {
			ts.Fatalf("%q leads to no plan:\n%s", next, out)
		}
		ts.Logf("        %s", do)
		for _, line := range strings.Split(out, "\n") {
			if strings.Contains(line, "acknowledged: ") {
				lost = append(lost, strings.TrimSpace(line))
			}
		}
		chronikLine(ts, do)
	}
	ts.Setenv("LOST", strings.Join(lost, "; "))
}

// after returns the rest of the line behind a prefix.
func after(text, prefix string) string {
	_, rest, ok := strings.Cut(text, prefix)
	if !ok {
		return ""
	}
	line, _, _ := strings.Cut(rest, "\n")
	return line
}

// chronikLine runs a command as the tools print it and returns its stdout; it must succeed.
func chronikLine(ts *testscript.TestScript, line string) string {
	words := strings.Fields(line)
	if len(words) < 2 || words[0] != "chronik" {
		ts.Fatalf("%q is no command of chronik", line)
	}
	if err := ts.Exec("chronik", words[1:]...); err != nil {
		ts.Fatalf("%s: %v\n%s%s", line, err, ts.ReadFile("stdout"), ts.ReadFile("stderr"))
	}
	return ts.ReadFile("stdout")
}

// TestNextCommands parses the command of every cause of doctor, and of wal verify, with the tree of commands: it exists and takes these flags.
func TestNextCommands(t *testing.T) {
	root := newRoot(&app{in: strings.NewReader(""), out: &bytes.Buffer{}, err: &bytes.Buffer{}})
	lines := walinspect.NextCommands()
	if len(lines) < 9 {
		t.Fatalf("only %d commands: %q", len(lines), lines)
	}
	for _, line := range lines {
		words := strings.Fields(line)
		if words[0] != filepath.Base(root.Use) {
			t.Errorf("%q is no command of %s", line, root.Use)
			continue
		}
		cmd, rest, err := root.Find(words[1:])
		if err != nil || !cmd.Runnable() || cmd.HasSubCommands() {
			t.Errorf("%q: no such command (%v)", line, err)
			continue
		}
		if err := parses(cmd, rest); err != nil {
			t.Errorf("%q: %v", line, err)
		}
	}
}

// parses says whether a command takes these flags and arguments.
func parses(cmd *cobra.Command, rest []string) error {
	if err := cmd.ParseFlags(rest); err != nil {
		return err
	}
	if err := cmd.ValidateArgs(cmd.Flags().Args()); err != nil {
		return err
	}
	return cmd.ValidateRequiredFlags()
}
