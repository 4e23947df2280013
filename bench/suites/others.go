package main

import (
	"os"
	"path/filepath"
	"time"
)

// preparePython gets the tests out of kafka-python's source distribution. That leaves out test/service.py, which the fixtures import and which for a
// broker that runs already does nothing: service.py of ours stands in.
func preparePython(w *work) (string, error) {
	dir, venv := filepath.Join(w.dir, "kafka-python"), filepath.Join(w.cache, "py")
	if _, err := os.Stat(filepath.Join(venv, "bin", "pytest")); err != nil {
		if _, err := w.command(w.root, nil, "python3", "-m", "venv", venv); err != nil {
			return "", err
		}
		if _, err := w.command(w.root, nil, filepath.Join(venv, "bin", "pip"), "-q", "install", "kafka-python", "pytest", "pytest-mock", "pytest-timeout", "py",
			"lz4", "python-snappy", "zstandard", "crc32c"); err != nil {
			return "", err
		}
	}
	version, err := w.command(w.root, nil, filepath.Join(venv, "bin", "python"), "-c", "import kafka; print(kafka.__version__)")
	if err != nil {
		return "", err
	}
	sdist := filepath.Join(w.cache, "kafka_python-"+version+".tar.gz")
	if _, err := os.Stat(sdist); err != nil {
		if _, err := w.command(w.root, nil, filepath.Join(venv, "bin", "pip"), "-q", "download", "--no-deps", "--no-binary", ":all:", "-d", w.cache,
			"kafka-python=="+version); err != nil {
			return "", err
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	// The broker is node 1, not node 0.
	if _, err := w.command(dir, nil, "sh", "-c", `tar xzf "$0" --strip-components=1 && mkdir none && touch test/__init__.py &&
		sed -i 's/\[\[0\], \[0\]\]/[[1], [1]]/' test/integration/test_admin_integration.py`, sdist); err != nil {
		return "", err
	}
	service, err := os.ReadFile(filepath.Join(w.root, "bench", "suites", "service.py"))
	if err != nil {
		return "", err
	}
	return version, os.WriteFile(filepath.Join(dir, "test", "service.py"), service, 0o644)
}

// runPython runs the tests that need a broker, against the one that runs.
func runPython(w *work, broker string, log *os.File) (results, error) {
	dir := filepath.Join(w.dir, "kafka-python")
	env := []string{"KAFKA_URI=kafka://" + address, "KAFKA_VERSION=4.3.0", "KAFKA_ROOT=" + filepath.Join(dir, "none"), "PYTHONPATH=" + dir}
	return verdicts(log, dir, 20*time.Minute, env, filepath.Join(w.cache, "py", "bin", "python"), "-m", "pytest", "test/integration", "-rA", "-v",
		"--timeout=300", "--timeout-method=signal", "--show-capture=no", "-p", "no:cacheprovider")
}

// prepareJS: kafkajs's package holds no tests, and its repository is in no registry, so a programme of ours uses it.
func prepareJS(w *work) (string, error) {
	dir := filepath.Join(w.cache, "js")
	if _, err := os.Stat(filepath.Join(dir, "node_modules", "kafkajs")); err != nil {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return "", err
		}
		if _, err := w.command(dir, nil, "sh", "-c", "npm init -y >/dev/null && npm install --silent kafkajs"); err != nil {
			return "", err
		}
	}
	version, err := w.command(dir, nil, "node", "-p", "require('kafkajs/package.json').version")
	return version + " (our programme)", err
}

func runJS(w *work, broker string, log *os.File) (results, error) {
	env := []string{"NODE_PATH=" + filepath.Join(w.cache, "js", "node_modules")}
	return verdicts(log, w.root, 5*time.Minute, env, "node", "bench/suites/kafkajs.cjs", address)
}

func prepareKcat(w *work) (string, error) {
	return w.command(w.root, nil, "bash", "-c", `command -v kcat >/dev/null || { apt-get update -qq && apt-get install -y -qq kcat; } >/dev/null
		kcat -V | sed -n 's/^Version \([0-9.]*\).*\(librdkafka [0-9.]*\).*/\1, \2 (our invocations)/p'`)
}

func prepareJava(w *work) (string, error) {
	_, err := w.command(w.root, nil, filepath.Join(w.anchors, "kafka"), "install")
	return "4.3.1 (our invocations)", err
}
