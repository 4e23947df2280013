package main

import (
	"io"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// TestHelp holds every command to the form of help: one line of purpose, an example that the command accepts, and what it changes.
func TestHelp(t *testing.T) {
	root := newRoot(&app{in: strings.NewReader(""), out: io.Discard, err: io.Discard})
	var walk func(*cobra.Command)
	walk = func(cmd *cobra.Command) {
		for _, child := range cmd.Commands() {
			walk(child)
		}
		if cmd == root || cmd.Hidden || cmd.IsAdditionalHelpTopicCommand() {
			return
		}
		if cmd.Short == "" || strings.HasSuffix(cmd.Short, ".") {
			t.Errorf("%s: its purpose is %q", cmd.CommandPath(), cmd.Short)
		}
		if cmd.HasParent() && cmd.Parent() == root && cmd.GroupID == "" {
			t.Errorf("%s is in no group of the help", cmd.CommandPath())
		}
		if cmd.HasSubCommands() {
			return
		}
		if !strings.Contains(cmd.Long, string(readOnly)) && !strings.Contains(cmd.Long, "\n\nChanges ") {
			t.Errorf("%s does not say what it changes", cmd.CommandPath())
		}
		testExamples(t, cmd)
	}
	walk(root)
}

// testExamples finds the command of every example line and lets it judge flags and arguments.
func testExamples(t *testing.T, cmd *cobra.Command) {
	t.Helper()
	own := false
	for _, line := range strings.Split(cmd.Example, "\n") {
		for _, part := range strings.Split(line, "|") {
			part, _, _ = strings.Cut(part, " >")
			part, _, _ = strings.Cut(part, " <")
			words := shellWords(part)
			if len(words) == 0 || words[0] != "chronik" {
				continue
			}
			root := newRoot(&app{in: strings.NewReader(""), out: io.Discard, err: io.Discard})
			found, rest, err := root.Find(words[1:])
			if err != nil {
				t.Errorf("%s: example %q: %v", cmd.CommandPath(), part, err)
				continue
			}
			own = own || found.CommandPath() == cmd.CommandPath()
			if err := found.ParseFlags(rest); err != nil {
				t.Errorf("%s: example %q: %v", cmd.CommandPath(), part, err)
			} else if err := found.ValidateArgs(found.Flags().Args()); err != nil {
				t.Errorf("%s: example %q: %v", cmd.CommandPath(), part, err)
			}
		}
	}
	if !own {
		t.Errorf("%s has no example of itself", cmd.CommandPath())
	}
}

// shellWords splits at blanks outside of single quotes.
func shellWords(line string) []string {
	var words []string
	for i, part := range strings.Split(line, "'") {
		if i%2 == 1 {
			words = append(words, part)
		} else {
			words = append(words, strings.Fields(part)...)
		}
	}
	return words
}
