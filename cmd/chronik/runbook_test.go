package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestRunbooks runs every runbook of docs/recovery, and the session of the README, as it is written. A section (##) with a ```console block is a test:
//
//	<!-- script            hidden lines of testscript, as in testdata/script: what happened before, and what happens meanwhile
//	...
//	-->
//	```console
//	$ chronik wal verify chronik-data     # exit 3       a command and its exit code; 0 if nothing is said
//	corrupt: raft/hardstate.0 byte 0, …                  what it prints: these lines in this order, perhaps others between; … is any text
//	```
//
// `$ chronik serve --data-dir DIR` without an exit code starts the node in the background; the script says `shutdown` or `crash`.
func TestRunbooks(t *testing.T) {
	if testing.Short() {
		t.Skip("many starts of a node, which the race detector makes ten times slower; other scripts start and kill nodes too")
	}
	pages, err := filepath.Glob("../../docs/recovery/*.md")
	if err != nil || len(pages) == 0 {
		t.Fatal("no pages", err)
	}
	pages = append(pages, "../../README.md")
	dir := t.TempDir()
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for title, script := range runbooks(string(text)) {
			name := strings.TrimSuffix(filepath.Base(page), ".md") + "-" + strings.Trim(regexp.MustCompile(`[^a-z0-9]+`).ReplaceAllString(strings.ToLower(title), "-"), "-")
			if err := os.WriteFile(filepath.Join(dir, name+".txt"), []byte(script), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	p := scriptParams(dir)
	p.Cmds["prints"] = cmdPrints
	testscript.Run(t, p)
}

var (
	section = regexp.MustCompile(`(?m)^## `)
	block   = regexp.MustCompile("(?s)<!-- script\n(.*?)-->|```console\n(.*?)```")
	exits   = regexp.MustCompile(`^(.*?)\s+# exit (\d+)$`)
	serve   = regexp.MustCompile(`^chronik serve --data-dir (\S+)$`)
)

// runbooks turns the sections of a page that have commands into scripts, by their titles.
func runbooks(page string) map[string]string {
	out := map[string]string{}
	for _, text := range section.Split(page, -1)[1:] {
		title, body, _ := strings.Cut(text, "\n")
		if !strings.Contains(body, "```console\n") {
			continue
		}
		var script strings.Builder
		for _, m := range block.FindAllStringSubmatch(body, -1) {
			script.WriteString(m[1])
			for _, line := range strings.Split(strings.TrimSuffix(m[2], "\n"), "\n") {
				step(&script, line)
			}
		}
		out[title] = script.String()
	}
	return out
}

// step writes one line of a console block.
func step(script *strings.Builder, line string) {
	command, isCommand := strings.CutPrefix(line, "$ ")
	switch {
	case strings.TrimSpace(line) == "" || strings.TrimSpace(line) == "…":
	case !isCommand:
		fmt.Fprintf(script, "prints '%s'\n", strings.ReplaceAll(line, "'", "''"))
	default:
		code := "0"
		m := exits.FindStringSubmatch(command)
		if m != nil {
			command, code = m[1], m[2]
		}
		if s := serve.FindStringSubmatch(command); s != nil && m == nil {
			fmt.Fprintf(script, "start %s\n", s[1])
			return
		}
		if args, ours := strings.CutPrefix(command, "chronik "); ours {
			if strings.HasPrefix(args, "serve ") {
				args += " --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 --peer-listen 127.0.0.1:0"
			}
			fmt.Fprintf(script, "exits %s %s\nprints\n", code, args)
			return
		}
		fmt.Fprintf(script, "exec %s\nprints\n", command)
	}
}

// cmdPrints looks for a line in what the last command printed, behind the line that was found before it; without a line it begins anew.
func cmdPrints(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) == 0 {
		ts.Setenv("PRINTED", ts.ReadFile("stdout")+ts.ReadFile("stderr"))
		return
	}
	pattern := "^" + strings.ReplaceAll(regexp.QuoteMeta(args[0]), "…", ".*") + `\s*$`
	lines := strings.Split(ts.Getenv("PRINTED"), "\n")
	for i, line := range lines {
		if regexp.MustCompile(pattern).MatchString(line) {
			ts.Setenv("PRINTED", strings.Join(lines[i+1:], "\n"))
			return
		}
	}
	ts.Fatalf("not printed, or not here: %s\nleft:\n%s", args[0], strings.Join(lines, "\n"))
}
