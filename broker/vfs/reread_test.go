package vfs

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// TestReread: a read that failed is tried again, as often as there are pauses, and its last answer counts.
func TestReread(t *testing.T) {
	name := filepath.Join(t.TempDir(), "x")
	if err := os.WriteFile(name, []byte("hello"), 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for failures, want := range []error{nil, nil, nil, syscall.EIO, syscall.EIO} {
		calls, buf := 0, make([]byte, 5)
		n, err := reread(name, func() (int, error) {
			if calls++; calls <= failures {
				return 0, &os.PathError{Op: "read", Path: name, Err: syscall.EIO}
			}
			return f.ReadAt(buf, 0)
		})
		if !errors.Is(err, want) || want == nil && (n != 5 || string(buf) != "hello" || calls != failures+1) {
			t.Errorf("after %d failures: %d bytes, %q, %v in %d calls", failures, n, buf, err, calls)
		}
	}
}
