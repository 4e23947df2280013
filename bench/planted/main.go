// Command planted shows that the tests find bugs: it builds them with the bugs of package broker/planted in them, and for each bug runs what must
// fail. It prints which test caught it, after how long and with what words, and the score; it fails if a bug survives, or if a test fails without one.
//
//	go run ./bench/planted              # all of them
//	go run ./bench/planted --bug one_copy -v
//
// To plant another: add its name to broker/planted and the wrong line to the code, under planted.Is; then a row to the list here.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/olekukonko/tablewriter"
)

// variable of the environment that chooses the bug.
const variable = "CHRONIK_PLANTED"

// limit is how long one run may take.
const limit = 4 * time.Minute

func main() {
	bug := flag.String("bug", "", "only this one")
	verbose := flag.Bool("v", false, "print what the tests print")
	parallel := flag.Int("p", runtime.GOMAXPROCS(0), "runs at the same time")
	flag.Parse()
	list := plantings
	if *bug != "" {
		list = slices.DeleteFunc(slices.Clone(list), func(p planting) bool { return string(p.bug) != *bug })
	}
	if err := run(list, *parallel, *verbose); err != nil {
		fmt.Fprintln(os.Stderr, "planted:", err)
		os.Exit(1)
	}
}

// outcome is what came of one run.
type outcome struct {
	planting
	control bool // no bug was active
	failed  bool // a test failed
	broken  string
	test    string // that failed first
	words   string // of it
	took    time.Duration
	output  string
}

func run(list []planting, parallel int, verbose bool) error {
	work, err := os.MkdirTemp("", "planted-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	begin := time.Now()
	if err := build(work, list); err != nil {
		return err
	}
	if err := sound(work); err != nil {
		return err
	}
	built := time.Since(begin)
	var runs []outcome
	for _, p := range list {
		if !slices.ContainsFunc(runs, func(o outcome) bool { return o.control && o.catcher.same(p.catcher) }) {
			runs = append(runs, outcome{planting: p, control: true})
		}
		runs = append(runs, outcome{planting: p})
	}
	var group sync.WaitGroup
	next := make(chan *outcome)
	for range parallel {
		group.Go(func() {
			for o := range next {
				o.do(work)
				if verbose {
					fmt.Printf("=== %s, control: %v\n%s\n", o.bug, o.control, o.output)
				}
			}
		})
	}
	for i := range runs {
		next <- &runs[i]
	}
	close(next)
	group.Wait()
	return report(runs, built, time.Since(begin))
}

// build makes the test binaries, and the programmes, with the bugs in them.
func build(work string, list []planting) error {
	args := []string{"test", "-c", "-tags", "planted", "-o", work + "/"}
	for _, p := range list {
		if name := "./" + p.catcher.dir; p.catcher.program == nil && !slices.Contains(args, name) {
			args = append(args, name)
		}
	}
	commands := [][]string{args}
	if slices.ContainsFunc(list, func(p planting) bool { return p.catcher.program != nil }) {
		commands = append(commands, []string{"build", "-tags", "planted", "-o", filepath.Join(work, "chronik"), "./cmd/chronik"},
			[]string{"build", "-o", filepath.Join(work, "killcheck"), "./bench/killcheck"})
	}
	for _, args := range commands {
		if args[len(args)-1] == work+"/" {
			continue // no test
		}
		cmd := exec.Command("go", args...)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, out)
		}
	}
	return nil
}

// sound makes sure that a production build has no bug in it: nothing there reads the variable that chooses one.
func sound(work string) error {
	name := filepath.Join(work, "sound")
	if out, err := exec.Command("go", "build", "-o", name, "./cmd/chronik").CombinedOutput(); err != nil {
		return fmt.Errorf("go build ./cmd/chronik: %w\n%s", err, out)
	}
	program, err := os.ReadFile(name)
	if err == nil && bytes.Contains(program, []byte(variable)) {
		err = fmt.Errorf("a build without the tag knows %s", variable)
	}
	return err
}

var (
	failed = regexp.MustCompile(`(?m)^ *--- FAIL: (\S+)`)
	place  = regexp.MustCompile(`^[a-z_]+_test\.go:\d+:\s*`)
	lost   = regexp.MustCompile(`"(lost|invented)":[1-9]\d*`)
)

// do runs one catcher.
func (o *outcome) do(work string) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	c := o.catcher
	args := append([]string{"-test.run", c.test, "-test.failfast", "-test.timeout", limit.String()}, c.args...)
	name := filepath.Join(work, filepath.Base(c.dir)+".test")
	if c.program != nil {
		name, args = filepath.Join(work, c.dir), c.program(work)
	}
	cmd := exec.CommandContext(ctx, name, args...)
	if c.program == nil {
		cmd.Dir = c.dir
	}
	cmd.Env = append(os.Environ(), variable+"=")
	if !o.control {
		cmd.Env[len(cmd.Env)-1] += string(o.bug)
	}
	begin := time.Now()
	out, err := cmd.CombinedOutput()
	o.took, o.output, o.failed = time.Since(begin), string(out), err != nil
	m := failed.FindAllStringSubmatchIndex(o.output, -1)
	switch {
	case m != nil:
		last := m[len(m)-1]
		o.test, o.words = o.output[last[2]:last[3]], words(o.output[last[1]:])
	case c.program != nil:
		o.test, o.words = c.test, lost.FindString(o.output)
	case strings.Contains(o.output, "panic: test timed out"):
		o.broken = fmt.Sprintf("%s %s took more than %v", name, c.test, limit)
	case o.failed && strings.Contains(o.output, "panic: "):
		o.test, o.words = c.test, words(o.output[strings.Index(o.output, "panic: "):])
	case o.failed || strings.Contains(o.output, "no tests to run"):
		o.broken = fmt.Sprintf("%s ran no test: %v: %s", name, err, o.output)
	}
}

// words are the first words of a failure, without the place in the code.
func words(s string) string {
	for _, line := range strings.Split(s, "\n") {
		line = place.ReplaceAllString(strings.TrimSpace(line), "")
		if line != "" && line != "\"\"" && !strings.HasPrefix(line, "(") {
			return line
		}
	}
	return ""
}

// report prints the table and the score.
func report(runs []outcome, built, all time.Duration) error {
	caught, total, passed := 0, 0, 0
	var bad []string
	table := tablewriter.NewWriter(os.Stdout)
	table.Header("bug", "caught by", "after", "with the words")
	for _, o := range runs {
		switch {
		case o.broken != "":
			bad = append(bad, o.broken)
		case o.control && o.failed:
			bad = append(bad, fmt.Sprintf("%s fails without a bug:\n%s", o.catcher, tail(o.output)))
		case o.control:
			passed++
		}
		if o.control {
			continue
		}
		total++
		by, after := o.catcher.String(), fmt.Sprintf("%.1f s", o.took.Seconds())
		if o.failed && o.broken == "" {
			caught++
			if o.test != "" && o.catcher.program == nil {
				by = o.catcher.dir + " " + o.test
			}
		} else {
			bad = append(bad, fmt.Sprintf("%s survives %s", o.bug, o.catcher))
			by, after = "NOTHING: "+by, "-"
		}
		if err := table.Append(string(o.bug), by, after, short(o.words, 70)); err != nil {
			return err
		}
	}
	if err := table.Render(); err != nil {
		return err
	}
	fmt.Printf("%d of %d planted bugs caught; %d tests pass without a bug; %.0f s to build, %.0f s in all\n", caught, total, passed, built.Seconds(), all.Seconds())
	if len(bad) > 0 {
		return fmt.Errorf("%s", strings.Join(bad, "\n"))
	}
	return nil
}

// short cuts a text.
func short(s string, n int) string {
	if len(s) > n {
		return s[:n-1] + "…"
	}
	return s
}

// tail is the end of an output.
func tail(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-30):], "\n")
}
