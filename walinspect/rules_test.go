package walinspect

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"chronik.dev/chronik/raftdump"
)

// TestRules holds the table of docs/recovery/rules.md against the program's, and Raft's rules against docs/recovery/raft.md.
func TestRules(t *testing.T) {
	page, err := os.ReadFile("../docs/recovery/rules.md")
	must(t, err)
	raft, err := os.ReadFile("../docs/recovery/raft.md")
	must(t, err)
	var want []string
	for _, r := range Rules() {
		if slices.Contains(raftdump.Rules, raftdump.Rule(r.Code)) {
			if !strings.Contains(string(raft), "| `"+r.Code+"` |") {
				t.Errorf("raft.md does not explain %s", r.Code)
			}
			continue
		}
		want = append(want, fmt.Sprintf("| `%s` | %s |", r.Code, r.Holds))
	}
	if got := regexp.MustCompile("(?m)^\\| `.*$").FindAllString(string(page), -1); !slices.Equal(got, want) {
		t.Errorf("rules.md has\n%s\nthe program\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestRulesAreBroken: the script test breaks every rule of this package but one that only an interrupted recycling breaks and one that needs a forged
// chain; package wal's tests break these two.
func TestRulesAreBroken(t *testing.T) {
	script, err := os.ReadFile("../cmd/chronik/testdata/script/rules.txt")
	must(t, err)
	for _, r := range rules {
		if !strings.Contains(string(script), "rule:     "+r.Code+"$'") && !slices.Contains([]string{"journal-spares", "journal-chain", "segments-order"}, r.Code) {
			t.Errorf("nothing breaks %s", r.Code)
		}
	}
}
