package walinspect

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"chronik.dev/chronik/broker/wal"
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

// TestRulesAreBroken: the script test breaks every rule of this package but one, which needs a writer that is wrong: TestBrokenChain of broker/wal breaks it.
func TestRulesAreBroken(t *testing.T) {
	script, err := os.ReadFile("../cmd/chronik/testdata/script/rules.txt")
	must(t, err)
	for _, r := range rules {
		if !strings.Contains(string(script), "rule:     "+r.Code+"$'") && r.Code != "journal-chain" {
			t.Errorf("nothing breaks %s", r.Code)
		}
	}
	if code := ruleOf(&Finding{File: "wal/00000000000000000001.wal", Record: "group", Verdict: wal.Corrupt, Reason: string(wal.ReasonChain)}); code != "journal-chain" {
		t.Errorf("a broken chain breaks %q", code)
	}
}
