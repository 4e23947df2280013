package partition

import (
	"fmt"
	"sync"
	"time"

	"chronik.dev/chronik/broker/segment"
	"chronik.dev/chronik/broker/wal"
)

// DeleteRecords moves the log start up to an offset (-1 = the high watermark). done is called once: with the log start when the frame is
// synced, or at once with ErrOffsetOutOfRange. The files of segments below it leave the disk after the next checkpoint.
func (l *Log) DeleteRecords(upTo int64, done func(logStart int64, err error)) {
	l.mu.Lock()
	if upTo == -1 {
		upTo = l.highWatermark
	}
	err := l.admits()
	if err == nil && (upTo < 0 || upTo > l.highWatermark) {
		err = fmt.Errorf("delete records of %s below %d, the high watermark is %d: %w", l.name, upTo, l.highWatermark, ErrOffsetOutOfRange)
	}
	if err != nil || upTo <= l.logStart {
		start := l.logStart
		l.mu.Unlock()
		done(start, err)
		return
	}
	l.moveStart(upTo, func(err error) {
		if err != nil {
			done(-1, err)
			return
		}
		done(l.LogStart(), nil)
	})
	l.mu.Unlock()
}

// moveStart journals a new log start and applies it when synced. mu is held.
func (l *Log) moveStart(to int64, settle func(error)) {
	l.enqueue([]wal.Frame{l.frame(wal.LogStart, to, 0, nil)}, &ticket{settle: settle, apply: func() {
		l.logStart = max(l.logStart, to)
		l.epochs = cutEpochs(l.epochs, l.logStart, l.end+1)
		l.wake()
	}})
}

// Clock watches for a wall clock that jumps, because retention by time must not delete what a wrong clock calls old.
//
// After a jump of more than a day, since the last look or since the time that a restart found in the checkpoint, retention by time pauses
// until the clock ran without another jump for a day, or until Trust is called.
type Clock struct {
	mu      sync.Mutex
	last    int64 // wall clock of the last look, ms; 0 = none
	mono    time.Time
	resume  time.Duration // of steady running still needed
	started bool
}

const (
	clockJump   = 24 * time.Hour
	clockSteady = 24 * time.Hour
)

// NewClock starts from the newest time found on disk, in ms (0 = none).
func NewClock(last int64) *Clock { return &Clock{last: last} }

// Trust ends a pause: an operator looked at the clock.
func (c *Clock) Trust() { c.mu.Lock(); defer c.mu.Unlock(); c.resume = 0 }

// Look reports whether retention by time may run at now (ms) and, once per jump, by how much the clock jumped. mono is a monotonic
// reading; time that passed on it is no jump.
func (c *Clock) Look(now int64, mono time.Time) (steady bool, jumped time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var passed time.Duration
	if c.started {
		passed = mono.Sub(c.mono)
	}
	if c.last != 0 {
		moved := time.Duration(now-c.last) * time.Millisecond
		if jump := moved - passed; jump > clockJump || jump < -clockJump {
			jumped, c.resume = jump, clockSteady
		}
	}
	if jumped == 0 {
		c.resume = max(0, c.resume-passed)
	}
	c.last, c.mono, c.started = now, mono, true
	return c.resume == 0, jumped
}

// Retain applies retention.bytes, and retention.ms if the clock can be trusted: segments whose records are all too old, or too many, go
// by a journalled move of the log start. It returns the log start that it asked for, or -1. An internal topic and one that is only
// compacted keep everything.
func (l *Log) Retain(now int64, byTime bool) int64 {
	cfg := l.cfg.Load()
	if !cfg.Delete || cfg.Internal {
		return -1
	}
	l.learnTimes(cfg, now, byTime)
	l.io.Lock()
	defer l.io.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.admits() != nil {
		return -1
	}
	total := l.sizeLocked()
	start := int64(-1)
	for i, s := range l.segs {
		if s.BaseOffset() == l.active.base || i == len(l.segs)-1 {
			break // the active segment, or one that the files have not rolled yet
		}
		next := l.segs[i+1].BaseOffset()
		big := cfg.RetentionBytes >= 0 && total-s.Size() >= cfg.RetentionBytes
		if next > l.highWatermark || !big && !cfg.expired(s, now, byTime) {
			break
		}
		total -= s.Size()
		start = next
	}
	if active := l.segs[len(l.segs)-1]; active.BaseOffset() == l.active.base && l.active.size > 0 && l.flushed == l.end &&
		(start == l.active.base || len(l.segs) == 1) && cfg.expired(active, now, byTime) {
		l.rollNow(cfg) // Kafka rolls an active segment that is all expired; the next pass deletes it
	}
	if start <= l.logStart {
		return -1
	}
	l.moveStart(start, nil)
	return start
}

// learnTimes has the segments that Retain will ask for their newest time read what that takes, before
// the locks that writers need.
func (l *Log) learnTimes(cfg *Config, now int64, byTime bool) {
	l.files.RLock()
	defer l.files.RUnlock()
	l.mu.Lock()
	segs, err := l.segs, l.admits()
	l.mu.Unlock()
	if err != nil {
		return
	}
	for _, s := range segs {
		if !cfg.expired(s, now, byTime) {
			return
		}
	}
}

// expired says whether every record of a segment is older than retention.ms. A segment that cannot be read is not.
func (c *Config) expired(s *segment.Segment, now int64, byTime bool) bool {
	if !byTime || c.RetentionMs < 0 {
		return false
	}
	newest, _, err := s.MaxTimestamp()
	return err == nil && newest >= 0 && now-newest > c.RetentionMs
}
