package main

import (
	"bytes"
	"fmt"
	"strings"
)

// The data set of every system: entries 0 to entries-1, written four at a time; each four are acknowledged before the next are sent.
const (
	entries = 320
	group   = 4
)

// value is entry i: it can be told from every other, and its length varies from 60 to 360 bytes.
func value(i int) []byte {
	head := fmt.Sprintf("entry %d of the data set: ", i)
	return []byte(head + strings.Repeat(string(rune('a'+i%26)), 40+(i*67)%300))
}

// seen is what a system shows after its start on a damaged directory.
type seen struct {
	values     map[int][]byte
	unreadable map[int]string // entries whose reading gives an error, which it is
	named      map[int]string // entries that are not served and that its report names as lost
	reports    []string       // everything else that it says about damage: log lines, findings
	verify     string         // chronik only: what `wal verify` said first; empty: clean
}

func newSeen() *seen {
	return &seen{values: map[int][]byte{}, unreadable: map[int]string{}, named: map[int]string{}}
}

// outcome is what became of one fault; the names are the columns of the table.
type outcome string

const (
	harmless outcome = "all there, nothing said"
	healed   outcome = "all there, reported"
	named    outcome = "missing, each named"
	refused  outcome = "refused to start"
	logged   outcome = "missing, a log line only"
	lost     outcome = "SILENT LOSS"
	wrong    outcome = "SILENT WRONG BYTES"
	crashed  outcome = "crash"
	hung     outcome = "hang"
)

var outcomes = []outcome{harmless, healed, named, refused, logged, lost, wrong, crashed, hung}

// judge says what a start shows, and an example of it.
func (s *seen) judge() (outcome, string) {
	for i, v := range s.values {
		if i < 0 || i >= entries || !bytes.Equal(v, value(i)) {
			return wrong, fmt.Sprintf("entry %d is read as %.60q", i, v)
		}
	}
	missing, silent, example := 0, 0, ""
	for i := range entries {
		if _, ok := s.values[i]; ok {
			continue
		}
		missing++
		switch {
		case s.unreadable[i] != "":
			example = s.unreadable[i]
		case s.named[i] != "":
			example = s.named[i]
		default:
			silent++
		}
	}
	switch {
	case silent > 0 && len(s.reports) > 0:
		return logged, fmt.Sprintf("%d of %d entries are gone, and it says: %s", silent, entries, s.reports[0])
	case silent > 0:
		return lost, fmt.Sprintf("%d of %d entries are gone", silent, entries)
	case missing > 0:
		return named, example
	case len(s.reports) > 0:
		return healed, s.reports[0]
	}
	return harmless, ""
}
