// Command suites runs the test suites of Kafka clients against Apache Kafka and against one chronik node on the same machine, and compares them test
// by test.
//
// The idea: what passes on Kafka must pass on chronik, and who says so is not us. Where a client's tests cannot be had from a registry, or need no
// broker, a programme of ours takes their place and says so. The guarantee: every difference is printed by name, with its reason if reasons.go knows
// one, and a difference without one is the exit code 1. The API is the command line:
//
//	go run ./bench/suites [-brokers kafka,chronik] [-suites kgo,kadm,...] [-records N] [-logs DIR [-resume]] >docs/results/suites.md
//
// Both brokers listen on 127.0.0.1:9092, one after the other, because kafka-go's tests know no other address; nothing else may listen there.
// Everything is installed by name from the registries: Go modules, PyPI, npm, Debian; Kafka comes from the anchors.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

const address = "127.0.0.1:9092"

// work is where a run keeps its things.
type work struct {
	root    string // of the repository
	dir     string // scratch, removed at the end
	logs    string
	cache   string // what was installed
	anchors string // the script that runs Kafka
	records int    // of the large tests of kgo
	resume  bool
	chronik string // the binary
}

// suite is one client's tests.
type suite struct {
	name    string
	prepare func(w *work) (version string, err error)
	run     func(w *work, broker string, log *os.File) (results, error)
	version string
	got     map[string]results // by broker
}

func suites() []*suite {
	return []*suite{
		{name: "kgo", prepare: prepareKgo, run: runKgo},
		{name: "kadm", prepare: prepareKadm, run: runKadm},
		{name: "kafka-go", prepare: prepareKafkaGo, run: runKafkaGo},
		{name: "kafka-python", prepare: preparePython, run: runPython},
		{name: "kafkajs", prepare: prepareJS, run: runJS},
		{name: "kcat", prepare: prepareKcat, run: lines("bench/suites/kcat.sh")},
		{name: "java", prepare: prepareJava, run: lines("bench/suites/java.sh")},
	}
}

func main() {
	brokers := flag.String("brokers", "kafka,chronik", "which brokers, in this order")
	only := flag.String("suites", "kgo,kadm,kafka-go,kafka-python,kafkajs,kcat,java", "which suites, in this order")
	records := flag.Int("records", 50_000, "records of kgo's large tests (KGO_TEST_RECORDS; its own default is 500,000)")
	logs := flag.String("logs", "", "directory for the suites' output and outcomes (default: removed)")
	resume := flag.Bool("resume", false, "do not run again what -logs has the outcomes of")
	flag.Parse()
	ok, err := run(&work{records: *records, logs: *logs, resume: *resume}, strings.Split(*brokers, ","), strings.Split(*only, ","))
	if err != nil {
		fmt.Fprintln(os.Stderr, "suites:", err)
		os.Exit(2)
	}
	if !ok {
		os.Exit(1)
	}
}

func run(w *work, brokers, only []string) (ok bool, err error) {
	if err := w.open(); err != nil {
		return false, err
	}
	defer os.RemoveAll(w.dir)
	chosen, err := w.choose(only)
	if err != nil {
		return false, err
	}
	for _, b := range brokers {
		if err := w.against(b, chosen); err != nil {
			return false, err
		}
	}
	return report(os.Stdout, brokers, chosen, w.records), nil
}

// choose finds the suites of these names and installs them.
func (w *work) choose(only []string) ([]*suite, error) {
	var chosen []*suite
	for _, name := range only {
		found := false
		for _, s := range suites() {
			if s.name != name {
				continue
			}
			found = true
			fmt.Fprintf(os.Stderr, "%s: installing\n", s.name)
			var err error
			if s.version, err = s.prepare(w); err != nil {
				return nil, fmt.Errorf("%s cannot be had: %w", s.name, err)
			}
			s.got = map[string]results{}
			chosen = append(chosen, s)
		}
		if !found {
			return nil, fmt.Errorf("no suite %q", name)
		}
	}
	return chosen, nil
}

// open makes the directories and builds chronik.
func (w *work) open() (err error) {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return fmt.Errorf("go env GOMOD: %w", err)
	}
	w.root = filepath.Dir(strings.TrimSpace(string(out)))
	if w.dir, err = os.MkdirTemp("", "suites"); err != nil {
		return err
	}
	if w.logs == "" {
		w.logs = w.dir
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return err
	}
	w.cache = filepath.Join(cache, "chronik-suites")
	for _, dir := range []string{w.logs, w.cache} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	if w.logs, err = filepath.Abs(w.logs); err != nil {
		return err
	}
	w.anchors = os.Getenv("CHRONIK_ANCHORS")
	if w.anchors == "" {
		w.anchors = filepath.Join(w.root, "..", "shared", "anchors")
	}
	w.chronik = filepath.Join(w.dir, "chronik")
	_, err = w.command(w.root, nil, "go", "build", "-o", w.chronik, "./cmd/chronik")
	return err
}

// against runs the suites against one broker.
func (w *work) against(broker string, chosen []*suite) error {
	var open []*suite
	for _, s := range chosen {
		data, err := os.ReadFile(w.outcomes(s, broker))
		var got results
		if err != nil || !w.resume || json.Unmarshal(data, &got) != nil {
			open = append(open, s)
			continue
		}
		s.got[broker] = got
	}
	if len(open) == 0 {
		return nil
	}
	b, err := w.start(broker)
	if err != nil {
		return fmt.Errorf("start %s: %w", broker, err)
	}
	defer b.stop()
	for _, s := range open {
		if err := w.one(s, broker); err != nil {
			return err
		}
	}
	return nil
}

// outcomes is the file that a suite's outcomes go to.
func (w *work) outcomes(s *suite, broker string) string {
	return filepath.Join(w.logs, s.name+"-"+broker+".json")
}

// one runs one suite against one broker.
func (w *work) one(s *suite, broker string) error {
	log, err := os.Create(filepath.Join(w.logs, s.name+"-"+broker+".log"))
	if err != nil {
		return err
	}
	began := time.Now()
	got, err := s.run(w, broker, log)
	_ = log.Close()
	if err != nil {
		return fmt.Errorf("%s against %s: %w (%s)", s.name, broker, err, log.Name())
	}
	s.got[broker] = got
	fmt.Fprintf(os.Stderr, "%s against %s: %s in %.0f s\n", s.name, broker, got, time.Since(began).Seconds())
	data, err := json.Marshal(got)
	if err != nil {
		return err
	}
	return os.WriteFile(w.outcomes(s, broker), data, 0o644)
}

// command runs a command to its end and returns what it printed.
func (w *work) command(dir string, env []string, name string, args ...string) (string, error) {
	c := exec.Command(name, args...)
	c.Dir, c.Env = dir, append(os.Environ(), env...)
	out, err := c.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out)), nil
}
