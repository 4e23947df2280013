package main

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"chronik.dev/chronik/walinspect"
)

// cmdHeal asks doctor what is wrong with a directory, which must be CODE first, and does only what the tools print, until doctor says to serve
// it. What is lost on the way is left in $LOST: the lines of the plans that were applied, and what doctor says that the start will lose.
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
			for _, l := range regexp.MustCompile(`(?m)^ +lost: +(\S+) offsets (\d+)-(\d+)$`).FindAllStringSubmatch(text, -1) {
				lost = append(lost, fmt.Sprintf("%s: %s to %s", l[1], l[2], l[3]))
			}
			break
		}
		if step == 6 {
			ts.Fatalf("it goes on for ever; the last diagnosis:\n%s", text)
		}
		out := chronikLine(ts, next)
		if strings.HasPrefix(next, "chronik repair apply ") {
			continue // that was it
		}
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
	n, _ := strconv.Atoi(ts.Getenv("HEALED")) // not set: none yet
	ts.Setenv("HEALED", strconv.Itoa(n+1))
}

// cmdHealed fails if fewer incidents than COUNT were healed so far.
func cmdHealed(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	if n, _ := strconv.Atoi(ts.Getenv("HEALED")); n < want {
		ts.Fatalf("only %d incidents", n)
	}
}

var (
	knownLoss   = regexp.MustCompile(`orders-0: (?:\d+ records, )?(\d+) to (\d+)`)
	unknownLoss = regexp.MustCompile(`orders-0: records from (\d+) on`)
)

// cmdBalance reads all of orders-0 and draws the balance: what is there and what $LOST says make up what was sent, N records. Where it was said that
// the number of lost ones is unknown, they must begin where it was said.
func cmdBalance(ts *testscript.TestScript, _ bool, args []string) {
	sent, err := strconv.Atoi(args[0])
	ts.Check(err)
	client, err := kadm.NewOptClient(kgo.SeedBrokers(ts.Getenv("KAFKA")))
	ts.Check(err)
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), clientTimeout)
	defer cancel()
	ends, err := client.ListEndOffsets(ctx, "orders")
	ts.Check(err)
	end, ok := ends.Lookup("orders", 0)
	if !ok || end.Err != nil {
		ts.Fatalf("orders-0 is not served: %v", end.Err)
	}
	cmdConsume(ts, false, []string{"orders", strconv.FormatInt(end.Offset, 10)})
	lost := 0
	for _, m := range knownLoss.FindAllStringSubmatch(ts.Getenv("LOST"), -1) {
		first, _ := strconv.Atoi(m[1])
		last, _ := strconv.Atoi(m[2])
		lost += last - first + 1
	}
	if m := unknownLoss.FindStringSubmatch(ts.Getenv("LOST")); m != nil && m[1] == strconv.FormatInt(end.Offset, 10) {
		lost = sent - int(end.Offset)
	}
	if int(end.Offset)+lost != sent {
		ts.Fatalf("%d of %d records are there, and it was said that these are lost: %s", end.Offset, sent, ts.Getenv("LOST"))
	}
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
	if len(lines) < 8 {
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
