package wal

import (
	"errors"
	"fmt"
	"time"

	"chronik.dev/chronik/broker/planted"
)

// queue is what waits for the committer. Two of them take turns, so that nothing is allocated once they have grown.
type queue struct {
	frames   []Frame
	requests []request
	bytes    int
	since    time.Time // when the first of them came
}

// request is one Append. Its frames are the next in the queue.
type request struct {
	frames int
	bytes  int // of payload
	done   func(error)
	note   Note
	noted  bool
	mark   bool
}

// Append enqueues frames in call order, sets their LSNs and returns the last. They go into one group. It never blocks on I/O. The payloads
// must stay unchanged until done; the frames slice may be reused at once. done is called once, in the order of LSNs, from the committer,
// after the sync or with the error, perhaps before Append returns: it must not block, and may call Append. ErrNoSpace means that these frames were not written and the
// log goes on; any other error is final.
func (l *Log) Append(frames []Frame, done func(error)) LSN {
	return l.append(frames, request{done: done})
}

// AppendSync appends frames with a note in their group's head and waits until they are durable; with mark also until a marker block behind them
// is durable, which makes damage to them provable.
func (l *Log) AppendSync(frames []Frame, note Note, mark bool) (LSN, error) {
	result := make(chan error, 1)
	lsn := l.append(frames, request{done: func(err error) { result <- err }, note: note, noted: true, mark: mark})
	return lsn, <-result
}

func (l *Log) append(frames []Frame, r request) LSN {
	r.frames = len(frames)
	for i := range frames {
		if len(frames[i].Payload) > MaxPayload {
			go r.done(fmt.Errorf("append to journal: payload of %d bytes; at most %d", len(frames[i].Payload), MaxPayload))
			return 0
		}
		r.bytes += len(frames[i].Payload)
	}
	if len(frames) == 0 {
		go r.done(errors.New("append to journal: no frames"))
		return 0
	}
	l.mu.Lock()
	if l.closing {
		l.mu.Unlock()
		go r.done(ErrClosed)
		return 0
	}
	for i := range frames {
		frames[i].LSN = l.next
		l.next++
	}
	last := l.next - 1
	l.queue.frames = append(l.queue.frames, frames...)
	l.queue.requests = append(l.queue.requests, r)
	l.queue.bytes += r.bytes
	first := len(l.queue.requests) == 1
	if first {
		l.queue.since = time.Now()
	}
	l.mu.Unlock()
	l.queued.Add(int64(r.bytes))
	if first {
		select {
		case l.wake <- struct{}{}:
		default:
		}
	}
	return last
}

// commit is the committer: the one goroutine that writes the active segment. While it syncs, the next group queues up.
func (l *Log) commit() {
	defer close(l.done)
	var mine queue
	idle := time.NewTimer(time.Hour)
	idle.Stop()
	for {
		select {
		case <-l.wake:
			idle.Stop()
		case <-idle.C:
			l.idleMarker()
			continue
		case <-l.quit:
			l.drain(&mine)
			l.finish()
			return
		}
		l.drain(&mine)
		if l.unmarked && l.o.Idle >= 0 {
			idle.Reset(l.o.Idle)
		}
	}
}

// drain writes all that waits.
func (l *Log) drain(mine *queue) {
	for {
		l.mu.Lock()
		l.queue, *mine = *mine, l.queue
		err := l.err
		l.mu.Unlock()
		if len(mine.requests) == 0 {
			l.waitsSince = time.Time{}
			return
		}
		l.waitsSince = mine.since
		frames, requests := mine.frames, mine.requests
		for len(requests) > 0 {
			n, count := l.take(requests)
			if planted.Is(planted.AckBeforeSync) {
				l.answer(requests[:n], err)
				time.Sleep(5 * time.Millisecond) // a slow disk: a kill finds something acknowledged and not written
			}
			if err == nil {
				err = l.group(frames[:count], requests[:n])
			}
			l.answer(requests[:n], err)
			if errors.Is(err, ErrNoSpace) {
				err = nil
			}
			frames, requests = frames[count:], requests[n:]
		}
		l.queued.Add(-int64(mine.bytes))
		if l.waiters.Load() > 0 && !l.Full() { // what waited for its group counted too
			l.mu.Lock()
			l.madeRoom()
			l.mu.Unlock()
		}
		clear(mine.frames)
		clear(mine.requests)
		mine.frames, mine.requests, mine.bytes = mine.frames[:0], mine.requests[:0], 0
	}
}

// take says how many requests, with how many frames, go into the next group.
func (l *Log) take(requests []request) (n, frames int) {
	bytes := 0
	for i := range requests {
		r := &requests[i]
		if i > 0 && (bytes+r.bytes > l.o.GroupBytes || r.noted || r.mark) {
			break
		}
		n, frames, bytes = n+1, frames+r.frames, bytes+r.bytes+r.frames*(entrySize+frameHead)
		if r.noted || r.mark {
			break
		}
	}
	return n, frames
}

func (l *Log) answer(requests []request, err error) {
	for i := range requests {
		if done := requests[i].done; done != nil {
			requests[i].done = nil
			done(err)
		}
	}
}

// group writes one group and makes it durable. An error other than ErrNoSpace has poisoned the log.
func (l *Log) group(frames []Frame, requests []request) error {
	err := l.writeGroup(frames, requests[0].note, requests[0].noted, 0)
	if err == nil && requests[0].mark {
		err = l.syncMarker()
	}
	if err != nil && !errors.Is(err, ErrNoSpace) {
		l.poison(err)
		err = l.Err()
	}
	return err
}

func (l *Log) writeGroup(frames []Frame, note Note, noted bool, flags uint16) error {
	body := framesBody(frames, min(len(l.ranges.group), maxRanges))
	if err := l.makeRoom(bodyBlocks(body), len(frames)); err != nil {
		return err
	}
	s := l.active
	h := s.head(l)
	h.FirstLSN, h.Flags = frames[0].LSN, flags
	if noted {
		h.Note = note
	}
	buf := l.enc.data(&h, frames, l.ranges.group)
	start := time.Now()
	if err := s.file.put(buf, s.pos); err != nil {
		return fmt.Errorf("write %d bytes at %d of segment %s: %w", len(buf), int64(s.pos)*BlockSize, s.file.name, err)
	}
	l.stats.syncs.Add(1)
	l.stats.sync.add(time.Since(start))
	if !l.waitsSince.IsZero() {
		l.stats.queue.add(start.Sub(l.waitsSince))
	}
	l.stats.groups.Add(1)
	l.stats.frames.Add(uint64(len(frames)))
	l.stats.bytes.Add(uint64(len(buf)))
	l.note = h.Note
	l.chain = groupSum(buf)
	l.enc.release()
	l.ranges.beginGroup()
	for i := range frames {
		l.ranges.add(&frames[i])
	}
	s.pos += h.Blocks
	s.groups++
	s.last = h.LastLSN()
	l.lastLSN, l.syncedLSN, l.nextWritten, l.unmarked = s.last, s.last, s.last+1, true
	l.synced.Store(uint64(s.last))
	l.mu.Lock()
	v := &l.live[len(l.live)-1]
	v.last, v.bytes = s.last, int64(s.pos)*BlockSize
	l.account()
	l.mu.Unlock()
	return nil
}

// markerBlock makes a marker for the segment's next block.
func (l *Log) markerBlock() []byte {
	h := l.active.head(l)
	return l.enc.marker(&h)
}

// syncMarker makes a marker behind the last group durable.
func (l *Log) syncMarker() error {
	s := l.active
	if err := s.file.put(l.markerBlock(), s.pos); err != nil {
		return fmt.Errorf("write marker at %d of segment %s: %w", int64(s.pos)*BlockSize, s.file.name, err)
	}
	l.marked()
	return nil
}

// idleMarker writes a marker without a sync: what it promises is durable already.
func (l *Log) idleMarker() {
	s := l.active
	if !l.unmarked || l.Err() != nil {
		return
	}
	if err := s.file.mark(l.markerBlock(), s.pos); err != nil {
		l.poison(fmt.Errorf("write marker at %d of segment %s: %w", int64(s.pos)*BlockSize, s.file.name, err))
		return
	}
	l.marked()
}

func (l *Log) marked() {
	l.active.pos++
	l.unmarked = false
	l.stats.markers.Add(1)
}

// finish seals the active segment at Close.
func (l *Log) finish() {
	s := l.active
	if l.Err() != nil {
		s.file.close()
		return
	}
	if err := l.seal(s, nil, nil, 0); err != nil {
		l.poison(err)
	}
}
