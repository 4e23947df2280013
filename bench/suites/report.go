package main

import (
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// report prints the table and every difference, and says whether each has a reason. Of one broker alone, what failed on it must have one.
func report(out io.Writer, brokers []string, all []*suite, records int) bool {
	var names []string
	for _, s := range all {
		names = append(names, s.name)
	}
	fmt.Fprintf(out, "# Clients' own test suites\n\nPrinted by `go run ./bench/suites -brokers %s -suites %s -records %d`. A test that holds only other tests is not counted.\n\n",
		strings.Join(brokers, ","), strings.Join(names, ","), records)
	head, rule := "| suite | version | tests |", "|---|---|---|"
	for _, b := range brokers {
		head += " " + b + ": passed / failed / skipped |"
		rule += "---|"
	}
	fmt.Fprintf(out, "%s\n%s\n", head, rule)
	for _, s := range all {
		row := fmt.Sprintf("| %s | %s | %d |", s.name, s.version, len(s.names(brokers)))
		for _, b := range brokers {
			g := s.got[b]
			row += fmt.Sprintf(" %d / %d / %d |", g.count(passed), g.count(failed), g.count(skipped))
		}
		fmt.Fprintln(out, row)
	}
	if len(brokers) == 2 {
		fine := differences(out, brokers[0], brokers[1], all)
		failedOnBoth(out, brokers, all)
		return fine
	}
	return failures(out, brokers[0], all)
}

// names are the tests that any broker saw.
func (s *suite) names(brokers []string) []string {
	seen := map[string]bool{}
	for _, b := range brokers {
		for name := range s.got[b] {
			seen[name] = true
		}
	}
	return slices.Sorted(maps.Keys(seen))
}

func (s *suite) outcome(broker, name string) string {
	if o, ok := s.got[broker][name]; ok {
		return o
	}
	return never
}

// differences prints the tests whose outcome is not the same on both brokers.
func differences(out io.Writer, a, b string, all []*suite) bool {
	fmt.Fprintf(out, "\n## Differences\n\n| suite | test | %s | %s | why |\n|---|---|---|---|---|\n", a, b)
	n, open := 0, 0
	for _, s := range all {
		for _, name := range s.names([]string{a, b}) {
			oa, ob := s.outcome(a, name), s.outcome(b, name)
			if oa == ob {
				continue
			}
			why := reasonFor(s.name, name, oa, ob)
			n++
			if why == "" {
				open++
				why = "**not explained**"
			}
			fmt.Fprintf(out, "| %s | %s | %s | %s | %s |\n", s.name, name, oa, ob, why)
		}
	}
	fmt.Fprintf(out, "\n%d differences, %d of them without a reason.\n", n, open)
	return open == 0
}

// failedOnBoth prints the tests that fail on whatever broker.
func failedOnBoth(out io.Writer, brokers []string, all []*suite) {
	fmt.Fprintf(out, "\n## Failed on both\n\n")
	for _, s := range all {
		var names []string
		for _, name := range s.names(brokers) {
			if s.outcome(brokers[0], name) == failed && s.outcome(brokers[1], name) == failed {
				names = append(names, name)
			}
		}
		if len(names) > 0 {
			fmt.Fprintf(out, "- %s: %s\n", s.name, strings.Join(names, ", "))
		}
	}
}

// failures prints what failed on a broker, and why.
func failures(out io.Writer, broker string, all []*suite) bool {
	fmt.Fprintf(out, "\n## Failed\n\n| suite | test | why |\n|---|---|---|\n")
	fine := true
	for _, s := range all {
		for _, name := range s.names([]string{broker}) {
			if s.got[broker][name] != failed {
				continue
			}
			why := reasonFor(s.name, name, passed, failed)
			if why == "" {
				fine, why = false, "**not explained**"
			}
			fmt.Fprintf(out, "| %s | %s | %s |\n", s.name, name, why)
		}
	}
	return fine
}

// reason explains differences.
type reason struct {
	suite string
	test  *regexp.Regexp
	why   string
}

// reasonFor returns why a test's outcomes differ, or "". Only what chronik does not do has a reason.
func reasonFor(suite, test, first, second string) string {
	if first == failed && second == passed {
		return "passes here only"
	}
	for _, r := range reasons {
		if r.suite == suite && r.test.MatchString(test) {
			return r.why
		}
	}
	return ""
}
