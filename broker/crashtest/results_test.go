package crashtest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"testing"
)

var flagResults = flag.String("crash.results", "", "file to which a run adds a line with what it counted; TestResults adds the lines up")

// result is one run of one programme, as a line of the results file.
type result struct {
	Programme string           `json:"programme"`
	From      uint64           `json:"from"` // first seed
	Next      uint64           `json:"next"` // first seed that it did not run: where to go on
	Seconds   float64          `json:"seconds"`
	States    int64            `json:"states"` // disks from which a recovery was judged
	Counted   map[string]int64 `json:"counted"`
}

// record adds a line to the results file, if there is one.
func (r result) record(t *testing.T) {
	t.Helper()
	if *flagResults == "" || t.Failed() {
		return
	}
	f, err := os.OpenFile(*flagResults, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	line, err := json.Marshal(r)
	if err == nil {
		_, err = f.Write(append(line, '\n'))
	}
	if err != nil {
		t.Error(err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}

// sumUp adds up the lines of a results file by programme. Two runs that share a seed count as an error: it would count twice.
func sumUp(data []byte) (sums map[string]*result, total int64, err error) {
	sums = map[string]*result{}
	type span struct{ from, next uint64 }
	spans := map[string][]span{}
	lines := bufio.NewScanner(bytes.NewReader(data))
	for n := 1; lines.Scan(); n++ {
		var r result
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return nil, 0, fmt.Errorf("line %d: %w", n, err)
		}
		for _, s := range spans[r.Programme] {
			if r.From < s.next && s.from < r.Next {
				return nil, 0, fmt.Errorf("line %d: %s: seeds %d to %d were counted before", n, r.Programme, max(r.From, s.from), min(r.Next, s.next)-1)
			}
		}
		spans[r.Programme] = append(spans[r.Programme], span{r.From, r.Next})
		sum := sums[r.Programme]
		if sum == nil {
			sum = &result{Programme: r.Programme, From: r.From, Counted: map[string]int64{}}
			sums[r.Programme] = sum
		}
		sum.From, sum.Next = min(sum.From, r.From), max(sum.Next, r.Next)
		sum.Seconds += r.Seconds
		sum.States += r.States
		total += r.States
		for k, v := range r.Counted {
			sum.Counted[k] += v
		}
	}
	return sums, total, lines.Err()
}

// TestResults prints the sums of -crash.results.
func TestResults(t *testing.T) {
	if *flagResults == "" {
		t.Skip("no -crash.results")
	}
	data, err := os.ReadFile(*flagResults)
	if err != nil {
		t.Fatal(err)
	}
	sums, total, err := sumUp(data)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("%d crash states in runs without a failure\n", total)
	for _, name := range slices.Sorted(maps.Keys(sums)) {
		r := sums[name]
		fmt.Printf("\n%s: %d states in %.0f s of two or fewer processors, seeds up to %d\n", name, r.States, r.Seconds, r.Next-1)
		for _, k := range slices.Sorted(maps.Keys(r.Counted)) {
			fmt.Printf("  %12d %s\n", r.Counted[k], k)
		}
	}
	if total < *flagFloor {
		t.Errorf("%d crash states, the floor is %d", total, *flagFloor)
	}
}

// TestSumUp adds up lines, and refuses seeds that would count twice.
func TestSumUp(t *testing.T) {
	lines := func(spans ...uint64) (out []byte) {
		for i := 0; i < len(spans); i += 2 {
			b, err := json.Marshal(result{Programme: "p", From: spans[i], Next: spans[i+1], States: 5, Counted: map[string]int64{"k": 2}})
			if err != nil {
				t.Fatal(err)
			}
			out = append(append(out, b...), '\n')
		}
		return out
	}
	sums, total, err := sumUp(lines(1, 5, 9, 12, 5, 9))
	if err != nil || total != 15 || sums["p"].Counted["k"] != 6 || sums["p"].Next != 12 {
		t.Errorf("%v, %d, %v", sums["p"], total, err)
	}
	if _, _, err := sumUp(lines(1, 5, 4, 6)); err == nil {
		t.Error("a seed was counted twice")
	}
}
