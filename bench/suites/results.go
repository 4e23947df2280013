package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"time"
)

// results are outcomes by the name of the test.
type results map[string]string

const (
	passed  = "passed"
	failed  = "failed"
	skipped = "skipped"
	never   = "not run"
)

func (r results) count(outcome string) (n int) {
	for _, o := range r {
		if o == outcome {
			n++
		}
	}
	return n
}

func (r results) String() string {
	return fmt.Sprintf("%d passed, %d failed, %d skipped", r.count(passed), r.count(failed), r.count(skipped))
}

// leaves removes tests that only hold other tests: what they say, those say.
func (r results) leaves() results {
	parents := map[string]bool{}
	for name := range r {
		for i, c := range name {
			if c == '/' {
				parents[name[:i]] = true
			}
		}
	}
	out := results{}
	for name, outcome := range r {
		if !parents[name] {
			out[name] = outcome
		}
	}
	return out
}

// goTest is one line of `go test -json`.
type goTest struct{ Action, Package, Test, Output string }

// readGoTest reads the outcomes of a run of `go test -json` and copies its output to log. A test that began and did not end, because it hung or
// another one took the process with it, has failed. Names are those of the tests, without the package of the module's root.
func readGoTest(r io.Reader, root string, log io.Writer, got results) error {
	lines := bufio.NewReaderSize(r, 1<<20)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var e goTest
			if json.Unmarshal(line, &e) != nil {
				_, _ = log.Write(line)
				continue
			}
			name := strings.TrimPrefix(strings.TrimPrefix(e.Package, root), "/")
			if name != "" {
				name += "."
			}
			name += e.Test
			switch {
			case e.Action == "output":
				_, _ = io.WriteString(log, e.Output)
			case e.Test == "":
			case e.Action == "run":
				got[name] = failed
			case e.Action == "pass":
				got[name] = passed
			case e.Action == "skip":
				got[name] = skipped
			}
		}
		if err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
	}
}

// goTests runs go test in a copy of a module. Failing tests are no error.
func goTests(dir, root string, log *os.File, env []string, args ...string) (results, error) {
	c := exec.Command("go", append([]string{"test", "-json", "-count=1", "-p=1", "-vet=off"}, args...)...)
	c.Dir, c.Env, c.Stderr = dir, append(os.Environ(), env...), log
	out, err := c.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.Start(); err != nil {
		return nil, err
	}
	got := results{}
	if err := readGoTest(out, root, log, got); err != nil {
		return nil, err
	}
	err = c.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return nil, err
	}
	if len(got) == 0 {
		return nil, errors.New("go test ran no test")
	}
	return got.leaves(), nil
}

// verdict is a line of our own programmes and of pytest's summary: an outcome and a name, and perhaps why. outcome is one of pytest -v, which
// names what was skipped too.
var (
	verdict = regexp.MustCompile(`(?m)^(PASS|FAIL|PASSED|FAILED|ERROR) ([^ \n]+)`)
	outcome = regexp.MustCompile(`(?m)^([^ \n]+::[^ \n]+) +(PASSED|FAILED|ERROR|SKIPPED)\b`)
)

// readVerdicts reads such lines.
func readVerdicts(out []byte) results {
	got := results{}
	for _, m := range outcome.FindAllSubmatch(out, -1) {
		got[string(m[1])] = map[byte]string{'P': passed, 'F': failed, 'E': failed, 'S': skipped}[m[2][0]]
	}
	for _, m := range verdict.FindAllSubmatch(out, -1) {
		name := strings.TrimSuffix(string(m[2]), ":")
		if got[name] = failed; m[1][0] == 'P' {
			got[name] = passed
		}
	}
	return got
}

// verdicts runs a programme that prints such lines, for limit at most.
func verdicts(log *os.File, dir string, limit time.Duration, env []string, name string, args ...string) (results, error) {
	c := exec.Command("timeout", append([]string{"--kill-after=10", fmt.Sprintf("%.0f", limit.Seconds()), name}, args...)...)
	c.Dir, c.Env = dir, append(os.Environ(), env...)
	var out bytes.Buffer
	c.Stdout, c.Stderr = io.MultiWriter(&out, log), log
	err := c.Run()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() == 124) {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	got := readVerdicts(out.Bytes())
	if len(got) == 0 {
		return nil, fmt.Errorf("%s printed no outcome", name)
	}
	return got, nil
}

// lines makes the run function of a script of ours, which gets the broker's address.
func lines(script string) func(*work, string, *os.File) (results, error) {
	return func(w *work, broker string, log *os.File) (results, error) {
		env := []string{"ANCHORS=" + w.anchors, "CACHE=" + w.cache, "WORK=" + w.dir}
		return verdicts(log, w.root, 10*time.Minute, env, script, address)
	}
}
