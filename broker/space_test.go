package broker

import (
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
)

// TestSpace: produce is refused while the disk cannot hold what was accepted and the reserve, and accepted again when there is room.
func TestSpace(t *testing.T) {
	var text strings.Builder
	free, pending, looks := int64(100<<20), int64(0), 0
	s := &space{dir: "/d", free: func() (int64, error) { looks++; return free, nil }, pending: func() int64 { return pending }, reserve: 10 << 20,
		logger: slog.New(slog.NewTextHandler(&text, nil))}
	for range 2 * lookEvery / 1024 {
		if err := s.admit(1024); err != nil {
			t.Fatal(err)
		}
	}
	if looks != 2 {
		t.Errorf("looked %d times for %d bytes", looks, 2*lookEvery)
	}
	pending = 91 << 20
	var refused *Error
	if err := s.admit(lookEvery); !errors.As(err, &refused) || refused.Code != kerr.KafkaStorageError.Code || !strings.Contains(err.Error(), "chronik.disk.reserve.bytes") {
		t.Errorf("with no room for what is pending: %v", err)
	}
	if err := s.admit(1); err == nil {
		t.Error("a small one was accepted")
	}
	pending = 90 << 20
	if err := s.admit(1); err != nil {
		t.Errorf("with room again: %v", err)
	}
	if n := strings.Count(text.String(), "\n"); n != 2 {
		t.Errorf("%d log lines:\n%s", n, &text)
	}
	s.free = func() (int64, error) { return 0, errors.New("statfs") }
	if err := s.admit(lookEvery); err != nil {
		t.Errorf("a disk that cannot be asked: %v", err)
	}
}

func TestReserve(t *testing.T) {
	for _, c := range []struct{ configured, total, want int64 }{{64, 16 * 100, 64}, {64, 16 * 10, 10}, {64, -1, 64}, {0, 1 << 40, 0}} {
		if got := reserveOf(c.configured, c.total); got != c.want {
			t.Errorf("reserve %d on %d: %d, want %d", c.configured, c.total, got, c.want)
		}
	}
}
