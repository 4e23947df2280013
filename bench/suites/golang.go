package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// copyModule copies a Go module out of the module cache, where nothing can be written, and returns its version.
func (w *work) copyModule(path, to string) (version string, err error) {
	version, err = w.command(w.root, []string{"GOFLAGS=-mod=mod"}, "go", "list", "-m", "-f", "{{.Version}}", path)
	if err != nil || version == "" { // not one of ours
		version = "latest"
	}
	scratch := filepath.Join(w.dir, "mod")
	if err := os.MkdirAll(scratch, 0o755); err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(scratch, "go.mod"), []byte("module scratch\n"), 0o644); err != nil {
		return "", err
	}
	out, err := w.command(scratch, nil, "go", "mod", "download", "-json", path+"@"+version)
	if err != nil {
		return "", err
	}
	dir := ""
	for _, line := range strings.Split(out, "\n") {
		line = strings.Trim(strings.TrimSpace(line), ",")
		if v, ok := strings.CutPrefix(line, `"Dir": `); ok {
			dir = strings.Trim(v, `"`)
		}
		if v, ok := strings.CutPrefix(line, `"Version": `); ok {
			version = strings.Trim(v, `"`)
		}
	}
	if dir == "" {
		return "", fmt.Errorf("go mod download %s says no directory: %s", path, out)
	}
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		return "", err
	}
	return version, filepath.WalkDir(to, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Chmod(path, 0o755)
	})
}

// buildTests compiles the tests before a broker runs: what is measured and what has a deadline is not the compiler.
func (w *work) buildTests(dir string, packages ...string) error {
	_, err := w.command(dir, []string{"GOFLAGS=-mod=mod -trimpath"}, "go", append([]string{"test", "-count=1", "-vet=off", "-run=^$"}, packages...)...)
	return err
}

func prepareKgo(w *work) (string, error) {
	dir := filepath.Join(w.dir, "kgo")
	version, err := w.copyModule("github.com/twmb/franz-go", dir)
	if err != nil {
		return "", err
	}
	return version, w.buildTests(dir, "./pkg/kgo")
}

// runKgo runs pkg/kgo as franz-go's CI does against a Kafka of one node. Its test of transactions runs apart, and not for long: a broker that refuses
// transactional producers makes it wait for ever.
func runKgo(w *work, broker string, log *os.File) (results, error) {
	dir := filepath.Join(w.dir, "kgo")
	env := []string{"GOFLAGS=-mod=mod -trimpath", "KGO_SEEDS=" + address, "KGO_TEST_RF=1", "KGO_TEST_STABLE_FETCH=true", "KGO_LOG_LEVEL=none",
		fmt.Sprintf("KGO_TEST_RECORDS=%d", w.records)}
	got, err := goTests(dir, "github.com/twmb/franz-go", log, env, "-timeout=9m", "-skip=^TestTxnEtl$", "./pkg/kgo")
	if err != nil {
		return nil, err
	}
	env = append(env, "KGO_TEST_RECORDS=5000")
	txn, err := goTests(dir, "github.com/twmb/franz-go", log, env, "-timeout=2m", "-run=^TestTxnEtl$", "./pkg/kgo")
	for name, outcome := range txn {
		got[name] = outcome
	}
	return got, err
}

// kafkaGoPackages are those whose tests speak with a broker.
var kafkaGoPackages = []string{".", "./compress", "./topics", "./sasl"}

func prepareKafkaGo(w *work) (string, error) {
	dir := filepath.Join(w.dir, "kafka-go")
	version, err := w.copyModule("github.com/segmentio/kafka-go", dir)
	if err != nil {
		return "", err
	}
	return version, w.buildTests(dir, kafkaGoPackages...)
}

// runKafkaGo runs kafka-go's tests as its CI does, without the race detector. Three of them panic in a helper of
// theirs (getOffsets, on a group without a logger) before they ask any broker, and take the process with them, so they run apart.
func runKafkaGo(w *work, broker string, log *os.File) (results, error) {
	const root = "github.com/segmentio/kafka-go"
	const panics = "^TestReaderConsumerGroup$/^(consumer_group_commits_on_close|verify_offset_committed|verify_offset_committed_when_using_interval_committer)$"
	dir := filepath.Join(w.dir, "kafka-go")
	env := []string{"GOFLAGS=-mod=mod -trimpath", "KAFKA_VERSION=4.3.0", "KAFKA_SKIP_NETTEST=1"}
	got, err := goTests(dir, root, log, env, append([]string{"-timeout=9m", "-skip=" + panics}, kafkaGoPackages...)...)
	if err != nil {
		return nil, err
	}
	apart, err := goTests(dir, root, log, env, "-timeout=2m", "-run="+panics, ".")
	for name, outcome := range apart {
		got[name] = outcome
	}
	return got, err
}

// prepareKadm: the tests of pkg/kadm need no broker and say nothing about one, so a programme of ours calls kadm instead.
func prepareKadm(w *work) (string, error) {
	version, err := w.command(w.root, nil, "go", "list", "-m", "-f", "{{.Version}}", "github.com/twmb/franz-go/pkg/kadm")
	if err != nil {
		return "", err
	}
	_, err = w.command(w.root, nil, "go", "build", "-o", filepath.Join(w.dir, "kadm"), "./bench/suites/kadm")
	return version + " (our calls)", err
}

func runKadm(w *work, broker string, log *os.File) (results, error) {
	return verdicts(log, w.root, 3*time.Minute, nil, filepath.Join(w.dir, "kadm"), address)
}
