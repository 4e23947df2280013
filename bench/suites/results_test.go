package main

import (
	"maps"
	"strings"
	"testing"
)

// TestReadGoTest: outcomes of leaves, and a test that never ended has failed.
func TestReadGoTest(t *testing.T) {
	const out = `{"Action":"start","Package":"m"}
{"Action":"run","Package":"m","Test":"TestA"}
{"Action":"run","Package":"m","Test":"TestA/one"}
{"Action":"output","Package":"m","Test":"TestA/one","Output":"hello\n"}
{"Action":"pass","Package":"m","Test":"TestA/one"}
{"Action":"pass","Package":"m","Test":"TestA"}
{"Action":"run","Package":"m/sub","Test":"TestB"}
{"Action":"skip","Package":"m/sub","Test":"TestB"}
{"Action":"run","Package":"m","Test":"TestHangs"}
panic: no JSON
{"Action":"fail","Package":"m"}`
	var log strings.Builder
	got := results{}
	if err := readGoTest(strings.NewReader(out), "m", &log, got); err != nil {
		t.Fatal(err)
	}
	want := results{"TestA/one": passed, "sub.TestB": skipped, "TestHangs": failed}
	if got := got.leaves(); !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if log.String() != "hello\npanic: no JSON\n" {
		t.Errorf("log %q", log.String())
	}
}

func TestReadVerdicts(t *testing.T) {
	got := readVerdicts([]byte("PASS a/b\nFAIL c: PASS d\nnoise PASS e\nFAILED test_x.py::test_y[1] - AssertionError\nERROR test_x.py::test_z\nSKIPPED [3] x.py:38: why\nx.py::test_s SKIPPED (why) [1%]\n"))
	want := results{"a/b": passed, "c": failed, "test_x.py::test_y[1]": failed, "test_x.py::test_z": failed, "x.py::test_s": skipped}
	if !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
