// Command damage damages small data directories of chronik, of etcd's and hashicorp's write-ahead logs, of pebble and of Apache Kafka, one fault at a
// time, starts each system on what is left, reads everything back, and prints a table in Markdown of what became of the faults.
//
// The idea: one data set, one catalogue of faults and one judge for all; every entry was acknowledged by a system that had been asked to sync. The
// guarantee: a system is used as its documentation says, recovery included, and is judged by what it serves: an acknowledged entry that is not
// served, and of which nothing is said, is a silent loss. Each start is in a child process with a time limit. Exit code 1: chronik loses or alters
// anything silently, crashes, hangs, or drops entries without naming each.
//
//	cd bench/damage && go run . [--systems chronik,kafka] [--flips 3000] [--sectors 600]
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// tally counts outcomes of one system in one state.
type tally struct {
	system, state string
	size, files   int
	counts        map[string]map[outcome]int
	examples      map[outcome]string
	silent        int // chronik: faults of which wal verify says nothing
	took          time.Duration
}

func newTally(system, state string, m image) *tally {
	t := &tally{system: system, state: state, files: len(m), counts: map[string]map[outcome]int{}, examples: map[outcome]string{}}
	for _, data := range m {
		t.size += len(data)
	}
	return t
}

func (t *tally) add(f *fault, a answer) {
	if t.counts[f.class] == nil {
		t.counts[f.class] = map[outcome]int{}
	}
	t.counts[f.class][a.Outcome]++
	if t.examples[a.Outcome] == "" && a.Text != "" {
		text, _, _ := strings.Cut(a.Text, "\n")
		t.examples[a.Outcome] = fmt.Sprintf("%s: %.240s", f, text)
	}
	if a.Verify == "" {
		t.silent++
	}
}

func (t *tally) of(o outcome) (n int) {
	for _, c := range t.counts {
		n += c[o]
	}
	return n
}

type options struct {
	flips, sectors, perClass int
	seed                     uint64
	dir, kafka, states       string
	port                     int
	patience                 time.Duration
	verbose                  bool
}

func main() {
	if len(os.Args) == 3 && os.Args[1] == "worker" {
		if err := serve(os.Args[2]); err != nil {
			fatal(err)
		}
		return
	}
	var o options
	systems := flag.String("systems", "chronik,etcd WAL,hashicorp/raft-wal,pebble,Apache Kafka", "which, by comma")
	flag.IntVar(&o.flips, "flips", 3000, "bits flipped per system and state, spread over all written bytes; 0 = one in every byte")
	flag.IntVar(&o.sectors, "sectors", 600, "faults of each kind of sector fault; 0 = every sector")
	flag.IntVar(&o.perClass, "kafka-faults", 60, "faults of each class for Apache Kafka, all in one start, one partition each")
	flag.Uint64Var(&o.seed, "seed", 1, "seed of bits and places")
	flag.StringVar(&o.dir, "dir", "", "scratch directory; default a new one in /dev/shm, else in the temporary directory")
	flag.StringVar(&o.kafka, "kafka", "../../../shared/anchors/kafka", "the script that runs Apache Kafka")
	flag.StringVar(&o.states, "kafka-states", "killed,closed", "how Apache Kafka is ended before the damage")
	flag.IntVar(&o.port, "port", 33100, "port of Apache Kafka's broker; its controller is on this + 1001")
	flag.DurationVar(&o.patience, "patience", 20*time.Second, "a start that takes longer hangs")
	flag.BoolVar(&o.verbose, "v", false, "one line per fault, on stderr")
	flag.Parse()
	if err := run(strings.Split(*systems, ","), o); err != nil {
		fatal(err)
	}
}

func fatal(err error) {
	fmt.Fprintln(os.Stderr, "damage: FAILED:", err)
	os.Exit(1)
}

func run(systems []string, o options) (err error) {
	if o.dir == "" {
		base := "/dev/shm"
		if _, err := os.Stat(base); err != nil {
			base = ""
		}
		if o.dir, err = os.MkdirTemp(base, "damage"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(o.dir)) }()
	}
	var all []*tally
	for _, name := range systems {
		var got []*tally
		switch s := stores[name]; {
		case s != nil:
			got, err = try(name, s, o)
		case name == "Apache Kafka":
			got, err = tryKafka(o)
		default:
			err = fmt.Errorf("no system %q; there are %v and Apache Kafka", name, names())
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		all = append(all, got...)
	}
	print(all)
	for _, t := range all {
		if n := t.of(lost) + t.of(wrong) + t.of(logged) + t.of(crashed) + t.of(hung); t.system == "chronik" && n > 0 {
			return fmt.Errorf("chronik, %s: %d faults were silent, lost entries without naming them, or ended badly", t.state, n)
		}
	}
	return nil
}

func names() (out []string) {
	for name := range stores {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// try runs the catalogue on one system, killed and closed.
func try(name string, s store, o options) ([]*tally, error) {
	half, killed, closed, err := prepare(s, filepath.Join(o.dir, "build"))
	if err != nil {
		return nil, err
	}
	var out []*tally
	for _, st := range []struct {
		name string
		m    image
	}{{"killed", killed}, {"closed", closed}} {
		t := newTally(name, st.name, st.m)
		if err := t.run(st.m, half, o); err != nil {
			return nil, err
		}
		out = append(out, t)
	}
	return out, nil
}

func (t *tally) run(m, half image, o options) error {
	began := time.Now()
	dir := filepath.Join(o.dir, "case")
	c, err := startChild(t.system)
	if err != nil {
		return err
	}
	defer func() { c.end() }()
	if err := m.write(dir, nil); err != nil {
		return err
	}
	a, alive := c.ask(dir, o.patience)
	if a.Outcome != harmless {
		return fmt.Errorf("%s, undamaged: %s: %s", t.state, a.Outcome, a.Text)
	}
	for _, f := range catalogue(m, half, o.flips, o.sectors, o.seed) {
		if !alive {
			c.end()
			if c, err = startChild(t.system); err != nil {
				return err
			}
		}
		if err := m.write(dir, f); err != nil {
			return err
		}
		a, alive = c.ask(dir, o.patience)
		t.add(f, a)
		if o.verbose {
			fmt.Fprintf(os.Stderr, "%s, %s: %s: %s: %.300s [%s]\n", t.system, t.state, f, a.Outcome, a.Text, a.Verify)
		}
	}
	t.took = time.Since(began)
	return nil
}

// print writes the tables.
func print(all []*tally) {
	head, line := "| system | faults |", "|---|---|"
	for _, o := range outcomes {
		head += fmt.Sprintf(" %s |", o)
		line += "---|"
	}
	fmt.Println("All faults together:\n\n" + head + "\n" + line)
	for _, t := range all {
		row(fmt.Sprintf("%s, %s", t.system, t.state), t.counts)
	}
	fmt.Println("\nBy class of fault:\n\n" + strings.Replace(head, "| faults", "| fault | faults", 1) + "\n" + line + "---|")
	for _, t := range all {
		for _, class := range classes {
			if c := t.counts[class]; c != nil {
				row(fmt.Sprintf("%s, %s | %s", t.system, t.state, class), map[string]map[outcome]int{class: c})
			}
		}
	}
	fmt.Println()
	for _, t := range all {
		fmt.Printf("%s, %s: %d bytes in %d files, %d entries, %.0f s", t.system, t.state, t.size, t.files, entries, t.took.Seconds())
		if t.system == "chronik" {
			fmt.Printf("; `wal verify --deep` said nothing of %d faults, all of them without effect on what is served: %t", t.silent, t.silent == t.of(harmless))
		}
		fmt.Println()
	}
	fmt.Println("\nFirst example of each outcome:")
	for _, t := range all {
		for _, o := range outcomes {
			if e := t.examples[o]; e != "" {
				fmt.Printf("- %s, %s, %s: `%s`\n", t.system, t.state, o, strings.ReplaceAll(e, "`", "'"))
			}
		}
	}
}

func row(name string, counts map[string]map[outcome]int) {
	sum, cells := 0, ""
	for _, o := range outcomes {
		n := 0
		for _, c := range counts {
			n += c[o]
		}
		sum += n
		cells += fmt.Sprintf(" %d |", n)
	}
	fmt.Printf("| %s | %d |%s\n", name, sum, cells)
}
