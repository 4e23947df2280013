package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"chronik.dev/chronik/broker/vfs"
)

// calls has, for every command, arguments with which it does something: DIR is a data directory, NEW a name that is not there, PLAN a plan for DIR,
// ID a repair's id. Those that talk to a broker get an address where nobody listens. TestEveryCommand holds it against the tree of commands.
var calls = map[string][]string{
	"cluster describe": {""}, "cluster status": {""},
	"config describe": {"cluster"}, "config list": {""}, "config set": {"topic orders retention.ms=1"}, "config show": {""}, "config unset": {"topic orders retention.ms"},
	"consume": {"orders --until-end"}, "produce": {"orders value"},
	"doctor": {"DIR", "DIR/wal"}, "exit-codes": {""}, "packaging": {"NEW"}, "version": {""}, "top": {"--once --admin 127.0.0.1:1"},
	"group delete": {"billing --yes"}, "group describe": {"billing"}, "group export": {""}, "group import": {"PLAN"}, "group list": {""},
	"group reset-offsets": {"billing --topic orders --to end"},
	"log reindex":         {"--dir DIR", "--dir DIR --apply"}, "log verify": {"DIR"},
	"raft dump": {"DIR"}, "raft hardstate": {"DIR"}, "raft hardstate repair": {"--dir DIR", "--dir DIR --apply"}, "raft verify": {"DIR"},
	"raft snapshot dump": {"DIR"}, "raft snapshot list": {"DIR"}, "raft snapshot verify": {"DIR"},
	"repair apply": {"--dir DIR PLAN"}, "repair plan": {"--dir DIR", "--dir DIR --apply"}, "repair status": {"--dir DIR"}, "repair undo": {"--dir DIR ID"},
	"serve":                {"--data-dir DIR --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 --peer-listen 127.0.0.1:0"},
	"topic add-partitions": {"orders --to 9"}, "topic alter": {"orders --set retention.ms=1"}, "topic create": {"orders"}, "topic delete": {"orders --yes"},
	"topic describe": {"orders"}, "topic list": {""},
	"wal dump": {"DIR", "DIR --records"}, "wal scan": {"DIR"}, "wal stats": {"DIR"}, "wal verify": {"DIR", "DIR --deep", "DIR/wal"},
	"wal replay":   {"DIR --to-dir NEW", "DIR --to 127.0.0.1:1"},
	"wal truncate": {"--dir DIR", "--dir DIR --at 2 --apply --accept-loss unknown", "--dir DIR --partition orders-0 --offset 1 --apply"},
}

// call is a command with one of its rows of arguments.
type call struct {
	cmd  *cobra.Command
	args []string
}

// onDir says whether a command works on a data directory.
func (c *call) onDir() bool {
	return c.cmd.Name() == "serve" || c.cmd.Flags().Lookup("dir") != nil || c.cmd.Flags().Lookup("live") != nil || strings.HasPrefix(c.cmd.CommandPath(), "chronik wal ")
}

// everyCall lists the calls of all commands of the tree; one that is not in the table is an error.
func everyCall(t *testing.T, dir, plan string) (out []call) {
	t.Helper()
	seen := map[string]bool{}
	var walk func(*cobra.Command)
	walk = func(cmd *cobra.Command) {
		for _, child := range cmd.Commands() {
			walk(child)
		}
		name := strings.TrimPrefix(cmd.CommandPath(), "chronik ")
		rows := calls[name]
		if seen[name] = true; len(rows) == 0 && (!cmd.HasSubCommands() || cmd.Flags().Lookup("live") != nil) {
			t.Errorf("%s has no row in the table of this test", cmd.CommandPath())
		}
		for i, row := range rows {
			c := call{cmd, strings.Fields(name)}
			for _, word := range strings.Fields(row) {
				word = strings.Replace(word, "DIR", dir, 1)
				word = strings.Replace(word, "NEW", filepath.Join(t.TempDir(), fmt.Sprint("new", i)), 1)
				c.args = append(c.args, strings.NewReplacer("PLAN", plan, "ID", "20261125T133205Z-3f9a01bc").Replace(word))
			}
			if cmd.Flags().Lookup("bootstrap") != nil {
				c.args = append(c.args, "--bootstrap", "127.0.0.1:1")
			}
			out = append(out, c)
		}
	}
	walk(newRoot(&app{in: strings.NewReader(""), out: io.Discard, err: io.Discard}))
	for name := range calls {
		if !seen[name] {
			t.Errorf("there is no command %s", name)
		}
	}
	return out
}

// piped runs a call without a terminal.
func (c *call) piped(t *testing.T, more ...string) (code int, out string) {
	t.Helper()
	cmd := exec.Command("chronik", append(c.args, more...)...)
	var got bytes.Buffer
	cmd.Stdout, cmd.Stderr = &got, &got
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if bytes.ContainsRune(got.Bytes(), 0x1b) {
		t.Errorf("%v writes escape codes into a pipe: %q", c.args, got.String())
	}
	return cmd.ProcessState.ExitCode(), got.String()
}

// stoppedDir is the directory of a node that was killed with records in its journal, and a plan that would cut it.
func stoppedDir(t *testing.T) (dir, plan string) {
	t.Helper()
	chronik, kafka, _, dir, kill := startNode(t)
	traffic(t, kafka)
	kill()
	plan = filepath.Join(t.TempDir(), "plan.json")
	if out, err := exec.Command(chronik, "wal", "truncate", "--dir", dir, "--at", "5", "--plan-out", plan).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return dir, plan
}

// TestEveryCommandOnARunningNode holds the lock of a directory as a running node does, and runs every command: one that works on a directory ends with
// exit code 5, or reads with --live; and not one byte below the directory changes. `repair status` reads only what no node writes, and needs neither.
func TestEveryCommandOnARunningNode(t *testing.T) {
	if testing.Short() {
		t.Skip("starts each command once or twice, which the race detector makes ten times slower")
	}
	dir, plan := stoppedDir(t)
	lock, err := vfs.OS.Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	before := dirHash(t, dir)
	for _, c := range everyCall(t, dir, plan) {
		code, out := c.piped(t)
		if want := exitRunning; c.onDir() && c.cmd.CommandPath() != "chronik repair status" && (code != want || !strings.Contains(out, "stop ")) {
			t.Errorf("%v: exit %d, want %d:\n%s", c.args, code, want, out)
		}
		if c.cmd.Flags().Lookup("live") != nil {
			if code, out := c.piped(t, "--live"); code != exitClean {
				t.Errorf("%v --live: exit %d:\n%s", c.args, code, out)
			}
		}
		if dirHash(t, dir) != before {
			t.Fatalf("%v changed the directory", c.args)
		}
	}
}

// dirHash is the SHA-256 of names, sizes and contents below a directory.
func dirHash(t *testing.T, dir string) string {
	t.Helper()
	h := sha256.New()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fmt.Fprintln(h, path, d.IsDir())
		if d.IsDir() {
			return nil
		}
		content, err := os.ReadFile(path)
		fmt.Fprintln(h, len(content))
		h.Write(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}
