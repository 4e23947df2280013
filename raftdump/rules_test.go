package raftdump

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestRulesAreDocumented compares the list of rules with the table of docs/recovery/raft.md, and makes sure that a transcript breaks each of them.
func TestRulesAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../docs/recovery/raft.md")
	must(t, err)
	var documented []string
	for _, m := range regexp.MustCompile("(?m)^\\| `(raft-[a-z-]+)` \\|").FindAllStringSubmatch(string(page), -1) {
		documented = append(documented, m[1])
	}
	var broken strings.Builder
	names, err := filepath.Glob("testdata/transcripts/*")
	must(t, err)
	for _, name := range names {
		b, err := os.ReadFile(name)
		must(t, err)
		broken.Write(b)
	}
	for _, r := range Rules {
		if !slices.Contains(documented, string(r)) {
			t.Errorf("docs/recovery/raft.md does not explain %s", r)
		}
		if r != RuleStart && !strings.Contains(broken.String(), ": "+string(r)+"\n") {
			t.Errorf("no transcript breaks %s", r)
		}
	}
	if len(documented) != len(Rules) {
		t.Errorf("docs/recovery/raft.md explains %d rules, there are %d", len(documented), len(Rules))
	}
}
