package partition

import (
	"errors"
	"fmt"
	"math"

	"chronik.dev/chronik/broker/batch"
	"chronik.dev/chronik/broker/planted"
	"chronik.dev/chronik/broker/wal"
)

// AppendInfo says on whose behalf an append is made.
type AppendInfo struct {
	LeaderEpoch int32 // epoch of the leader that appends; older than the partition's is refused
	Internal    bool  // the node itself: may write internal topics and control batches, and never waits for tail memory
}

// Appended is the answer to an append.
type Appended struct {
	Base, Last int64 // offsets of the first and the last record
	AppendTime int64 // ms, with LogAppendTime; else -1
	LogStart   int64
	Duplicate  bool // the batch was appended before; Base and Last are those of the original
}

// Append checks, numbers and journals the batches in records, which the caller may reuse after the return. done is called exactly once:
// with an error at once, on the caller's goroutine (*RecordError, or one of the package's errors), or on the journal's committer after
// the sync and after the high watermark passed the last record. It must not block, and not append unless Internal. Append waits while
// the node's tail memory is used up.
func (l *Log) Append(records []byte, info AppendInfo, done func(Appended, error)) {
	if err := l.append(records, info, done); err != nil {
		done(Appended{Base: -1, Last: -1, AppendTime: -1, LogStart: l.LogStart()}, err)
	}
}

// incoming is one batch of an append.
type incoming struct {
	batch.Header
	raw []byte
}

func (l *Log) append(records []byte, info AppendInfo, done func(Appended, error)) error {
	cfg := l.cfg.Load()
	now := l.env.Now()
	var one [1]incoming
	batches, err := l.inspect(one[:0], records, cfg, info, now)
	if err != nil {
		return err
	}
	if !info.Internal {
		if err := l.env.Pool.wait(); err != nil {
			return fmt.Errorf("append to %s: %w", l.name, err)
		}
	}
	t := &ticket{result: Appended{AppendTime: -1}, done: done}
	var frames [4]wal.Frame

	l.mu.Lock()
	dup, err := l.admit(batches, info)
	if err != nil {
		l.mu.Unlock()
		return err
	}
	if dup != nil {
		ready := l.answerDuplicate(t, *dup)
		l.mu.Unlock()
		ready.run()
		return nil
	}
	if !info.Internal {
		t.bytes = len(records)
	}
	l.place(frames[:0], batches, cfg, info.LeaderEpoch, now, t)
	l.mu.Unlock()
	return nil
}

// inspect checks everything about the batches that needs no lock.
func (l *Log) inspect(out []incoming, records []byte, cfg *Config, info AppendInfo, now int64) ([]incoming, error) {
	if cfg.Internal && !info.Internal {
		return nil, fmt.Errorf("append to %s: %w", l.name, ErrInternalTopic)
	}
	for pos := 0; pos < len(records); {
		refuse := func(err error, format string, a ...any) error {
			return &RecordError{Err: err, Message: fmt.Sprintf(format, a...), Batch: len(out)}
		}
		h, err := batch.Parse(records[pos:])
		if err != nil || h.Size() > len(records)-pos {
			return nil, refuse(ErrCorruptMessage, "byte %d: a batch of %d bytes in %d: %v", pos, h.Size(), len(records)-pos, err)
		}
		raw := records[pos : pos+h.Size()]
		if h, err = batch.Check(raw); err != nil {
			return nil, refuse(batchError(err), "byte %d: %v", pos, err)
		}
		pos += len(raw)
		switch {
		case len(raw) > min(cfg.MaxMessageBytes, wal.MaxPayload):
			return nil, refuse(ErrRecordTooLarge, "%d bytes, the limit is %d", len(raw), min(cfg.MaxMessageBytes, wal.MaxPayload))
		case (h.IsControl() || h.IsTransactional()) && !info.Internal:
			return nil, refuse(ErrInvalidRecord, "control and transactional batches are written by the broker alone")
		case h.ProducerID >= 0 && (h.BaseSequence < 0 || h.ProducerEpoch < 0):
			return nil, refuse(ErrInvalidRecord, "producer %d, epoch %d, sequence %d", h.ProducerID, h.ProducerEpoch, h.BaseSequence)
		}
		if !info.Internal {
			if err := inspectRecords(&h, raw, cfg, now); err != nil {
				err.Batch = len(out)
				return nil, err
			}
		}
		if !cfg.LogAppendTime && h.MaxTimestamp != -1 && h.MaxTimestamp-now > cfg.TimestampAfterMs {
			return nil, refuse(ErrInvalidTimestamp, "timestamp %d is %d ms ahead, the limit is %d", h.MaxTimestamp, h.MaxTimestamp-now, cfg.TimestampAfterMs)
		}
		out = append(out, incoming{h, raw})
	}
	if len(out) == 0 {
		return nil, &RecordError{Err: ErrInvalidRecord, Message: "no batch in the payload"}
	}
	return out, nil
}

// batchError is the package's error for one of package batch.
func batchError(err error) error {
	var e *batch.Error
	if errors.As(err, &e) {
		switch e.Reason {
		case batch.BadCodec:
			return fmt.Errorf("%w: %w", ErrUnsupportedCodec, err)
		case batch.TooLarge:
			return fmt.Errorf("%w: %w", ErrRecordTooLarge, err)
		}
	}
	return fmt.Errorf("%w: %w", ErrCorruptMessage, err)
}

// inspectRecords decodes the records, so that nothing is accepted that no consumer could read and that verify would call damaged, and applies
// the topic's rules about single records. A wrong max timestamp is set right, in h too.
func inspectRecords(h *batch.Header, raw []byte, cfg *Config, now int64) *RecordError {
	old := !cfg.LogAppendTime && cfg.TimestampBeforeMs < math.MaxInt64
	var noKey, tooOld []int
	err := batch.Bounded(raw, cfg.decompressLimit(), func(limit int) (err error) {
		if *h, err = batch.MendTimestamp(raw, limit); err != nil || !cfg.Compact && !old {
			return err
		}
		i := 0
		return batch.Records(raw, limit, func(r batch.Record) error {
			if cfg.Compact && r.Key == nil {
				noKey = append(noKey, i)
			}
			if old && r.Timestamp != -1 && now-r.Timestamp > cfg.TimestampBeforeMs {
				tooOld = append(tooOld, i)
			}
			i++
			return nil
		})
	})
	switch {
	case err != nil:
		return &RecordError{Err: batchError(err), Message: err.Error()}
	case noKey != nil:
		return &RecordError{Err: ErrInvalidRecord, Message: "a compacted topic accepts no record without a key", Records: noKey}
	case tooOld != nil:
		return &RecordError{Err: ErrInvalidTimestamp, Message: "older than message.timestamp.before.max.ms", Records: tooOld}
	}
	return nil
}

// admit checks what depends on the log's state; it returns the original of a duplicate. mu is held, nothing changes.
func (l *Log) admit(batches []incoming, info AppendInfo) (*BatchEntry, error) {
	if err := l.admits(); err != nil {
		return nil, err
	}
	if info.LeaderEpoch < l.epoch && !planted.Is(planted.IgnoreEpoch) {
		return nil, fmt.Errorf("append to %s with leader epoch %d, the newest is %d: %w", l.name, info.LeaderEpoch, l.epoch, ErrFencedLeaderEpoch)
	}
	var ahead map[int64]sequence // producers with several batches in this payload
	for i := range batches {
		h := &batches[i].Header
		if h.ProducerID < 0 {
			continue
		}
		if e, ok := l.producers.duplicate(h); ok {
			return &e, nil
		}
		at, ok := ahead[h.ProducerID]
		if !ok {
			at = l.producers.now(h.ProducerID)
		}
		if err := at.check(h); err != nil {
			return nil, fmt.Errorf("append to %s: %w", l.name, err)
		}
		if len(batches) > 1 {
			if ahead == nil {
				ahead = map[int64]sequence{}
			}
			ahead[h.ProducerID] = sequence{known: true, epoch: h.ProducerEpoch, last: h.LastSequence()}
		}
	}
	return nil, nil
}

// answerDuplicate answers a repeated batch when its original is, or was. mu is held.
func (l *Log) answerDuplicate(t *ticket, e BatchEntry) completions {
	t.log, t.end = l, e.LastOffset+1
	t.result.Base, t.result.Last, t.result.Duplicate = e.FirstOffset, e.LastOffset, true
	if t.end <= l.highWatermark {
		t.result.LogStart = l.logStart
		return completions{{t.done, t.result, nil}}
	}
	at := len(l.pending)
	for at > 0 && l.pending[at-1].end > t.end {
		at--
	}
	l.pending = append(l.pending, nil)
	copy(l.pending[at+1:], l.pending[at:])
	l.pending[at] = t
	return nil
}

// place copies the batches into the tail, numbers them, and hands them to the journal with the frames they bring. mu is held.
func (l *Log) place(frames []wal.Frame, batches []incoming, cfg *Config, epoch int32, now int64, t *ticket) {
	if epoch > l.epoch {
		l.epoch = epoch
	}
	t.shapes, t.base, t.before = true, l.end, l.active
	t.result.Base = l.end
	if l.owesOpened {
		l.owesOpened, t.opened = false, true
		frames = l.openedFrames(frames)
	}
	if cfg.LogAppendTime {
		t.result.AppendTime = now
	}
	if n := len(l.epochs); n == 0 || l.epochs[n-1].Epoch < l.epoch {
		l.epochs = addEpoch(l.epochs, l.epoch, l.end)
		frames = append(frames, l.frame(wal.EpochBegun, l.end, 0, nil))
	}
	for i := range batches {
		h := &batches[i].Header
		if l.active.mustRoll(h, l.end, cfg) {
			frames = append(frames, l.beginRoll(cfg, t))
		} else if l.tailBlock != nil && !planted.Is(planted.TailBlockUnsaved) {
			frames = append(frames, l.takeTailBlock(t))
		}
		raw, c := l.copyIn(batches[i].raw, h, now, cfg)
		t.keep(c)
		base, last := l.end, l.end+int64(h.LastOffsetDelta)
		c.batches = append(c.batches, span{base: base, last: last, maxTime: h.MaxTimestamp, from: len(c.buf) - len(raw), to: len(c.buf)})
		l.active.grow(int64(len(raw)), h)
		l.producers.add(h, base, now, l.synced)
		l.end = last + 1
		frames = append(frames, l.frame(wal.Batch, base, last, raw))
	}
	t.result.Last, t.end = l.end-1, l.end
	l.pending = append(l.pending, t)
	l.enqueue(frames, t)
}

// copyIn copies one batch into the tail and patches it there: base offset, leader epoch and, where the topic says so, the append time.
func (l *Log) copyIn(raw []byte, h *batch.Header, now int64, cfg *Config) ([]byte, *chunk) {
	var c *chunk
	if n := len(l.tail); n > 0 && !l.tail[n-1].full && l.tail[n-1].room() >= len(raw) && l.tail[n-1].segment == l.active.base {
		c = l.tail[n-1]
	} else {
		size := minChunk
		if n > 0 {
			size = min(2*cap(l.tail[n-1].buf), maxChunk)
		}
		c = l.env.Pool.newChunk(max(size, len(raw)))
		c.segment = l.active.base
		l.tail = append(l.tail, c)
	}
	at := len(c.buf)
	c.buf = append(c.buf, raw...)
	mine := c.buf[at:len(c.buf):len(c.buf)]
	batch.SetBaseOffset(mine, l.end)
	batch.SetLeaderEpoch(mine, l.epoch)
	if cfg.LogAppendTime {
		batch.SetAppendTime(mine, now)
		h.MaxTimestamp = now
	}
	return mine, c
}

// mustRoll applies LogSegment.shouldRoll: the segment is full by bytes, by the time between its first batch and this one, by its
// indexes, or because relative offsets end at 2^31-1. An empty segment is never rolled.
func (s *shape) mustRoll(h *batch.Header, end int64, cfg *Config) bool {
	if s.size == 0 {
		return false
	}
	full := s.size+int64(h.Size()) > cfg.SegmentBytes
	old := s.firstTime >= 0 && h.MaxTimestamp-s.firstTime > cfg.SegmentMs
	indexed := s.entries >= int64(s.choices.IndexBytes)/12-1
	return full || old || indexed || end+int64(h.LastOffsetDelta)-s.base > math.MaxInt32
}

// grow counts a batch in.
func (s *shape) grow(size int64, h *batch.Header) {
	if s.size == 0 || s.firstTime < 0 {
		s.firstTime = h.MaxTimestamp
	}
	if s.sinceIndex > int64(s.choices.IndexInterval) {
		s.entries++
		s.sinceIndex = 0
	}
	s.size += size
	s.sinceIndex += size
}

// beginRoll makes the frame that begins a new segment at the log's end. mu is held.
func (l *Log) beginRoll(cfg *Config, t *ticket) wal.Frame {
	r := roll{base: l.end, choices: cfg.choices(), snapshot: l.producers.state(l.end), ticket: t}
	l.rolls = append(l.rolls, r)
	l.active = shape{base: l.end, firstTime: -1, choices: r.choices}
	if l.tailBlock != nil {
		t.tailBlock, l.tailBlock = l.tailBlock, nil // the next bytes go to a new file
	}
	return l.frame(wal.Rolled, l.end, 0, r.choices.Marshal())
}

// takeTailBlock makes the frame that saves the partial last block before it is rewritten. mu is held.
func (l *Log) takeTailBlock(t *ticket) wal.Frame {
	f := l.frame(wal.TailBlock, l.tailBase, 0, l.tailBlock)
	t.tailBlock, l.tailBlock = l.tailBlock, nil
	return f
}

// keep holds a chunk until the journal let go of it.
func (t *ticket) keep(c *chunk) {
	if n := len(t.chunks); n > 0 && t.chunks[n-1] == c {
		return
	}
	c.hold()
	t.chunks = append(t.chunks, c)
}

// isNoSpace says whether an error is a full disk.
func isNoSpace(err error) bool { return errors.Is(err, ErrNoSpace) }
