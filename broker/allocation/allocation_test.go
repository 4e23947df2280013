package allocation

import "testing"

var kept []byte

// TestBounded lets a decoder believe a length.
func TestBounded(t *testing.T) {
	probe := &recorder{TB: t}
	Bounded(probe, 100, 64<<10, func() { kept = make([]byte, 1<<20) })
	if !probe.failed {
		t.Error("a mebibyte for a hundred bytes is let through")
	}
	probe.failed = false
	Bounded(probe, 100<<10, 64<<10, func() { kept = make([]byte, 1<<20) })
	if probe.failed {
		t.Error("ten times the input is refused")
	}
}

type recorder struct {
	testing.TB
	failed bool
}

func (r *recorder) Helper()               {}
func (r *recorder) Errorf(string, ...any) { r.failed = true }
