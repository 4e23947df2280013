package broker

import (
	"log/slog"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kerr"
)

// space refuses produce while the disk is nearly full, so that what was accepted still fits into its partition files, metadata can change, records
// can be deleted, and the next start has room to recover. Looking costs a system call, once per lookEvery bytes.
type space struct {
	dir     string
	free    func() (int64, error) // bytes free on the disk
	pending func() int64          // bytes that were accepted and still need room in partition files
	reserve int64                 // bytes that stay free
	logger  *slog.Logger

	unseen atomic.Int64 // bytes accepted since the last look
	low    atomic.Bool
}

// lookEvery is how many bytes may be accepted between two looks at the disk.
const lookEvery = 1 << 20

// reserveOf is how much of a disk stays free: what is configured, and at most a sixteenth of a small disk. total -1 is unknown.
func reserveOf(configured, total int64) int64 {
	if total >= 0 {
		return min(configured, total/16)
	}
	return configured
}

// admit says whether n more bytes may be accepted.
func (s *space) admit(n int) error {
	if s.unseen.Add(int64(n)) >= lookEvery || s.low.Load() {
		s.look()
	}
	if s.low.Load() {
		return fail(kerr.KafkaStorageError, "the disk of %s is full but for %d bytes that are kept for recovery (chronik.disk.reserve.bytes): delete records or topics, "+
			"or make the disk larger", s.dir, s.reserve)
	}
	return nil
}

func (s *space) look() {
	s.unseen.Store(0)
	free, err := s.free()
	if err != nil {
		return // the writes themselves will say what is wrong
	}
	pending := s.pending()
	low := free < s.reserve+pending
	if s.low.Swap(low) == low {
		return
	}
	if low {
		s.logger.Error("the disk is full: produce is refused until there is room; delete records or topics, or make the disk larger",
			"directory", s.dir, "free", free, "kept", s.reserve, "not yet in partition files", pending)
		return
	}
	s.logger.Info("the disk has room again: produce is accepted", "directory", s.dir, "free", free)
}
