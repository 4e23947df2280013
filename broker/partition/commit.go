package partition

import (
	"errors"
	"fmt"

	"chronik.dev/chronik/broker/wal"
)

// completion is a callback that is due, run outside every lock.
type completion struct {
	done   func(Appended, error)
	result Appended
	err    error
}

type completions []completion

func (c completions) run() {
	for _, r := range c {
		r.done(r.result, r.err)
	}
}

// synced is the journal's callback: everything up to the ticket's LSN is durable, or its frames were refused for want of space, or the
// journal failed. It runs on the committer.
func (t *ticket) synced(err error) {
	l := t.log
	for _, c := range t.chunks {
		c.release()
	}
	if err != nil && !errors.Is(err, wal.ErrNoSpace) {
		l.finish(fmt.Errorf("%s: %w: %w: %w", l.name, ErrStopped, errJournal, err))
		if t.settle != nil {
			t.settle(err)
		}
		return
	}
	var one [1]completion
	ready := completions(one[:0])
	l.mu.Lock()
	l.syncedLSN = t.lsn
	if err == nil {
		l.durableLSN = t.lsn
	}
	switch {
	case err != nil:
		err = fmt.Errorf("%s: %w: %w", l.name, ErrNoSpace, err)
		ready = l.takeBack(t, err)
	case t.apply != nil:
		t.apply() // it stands, whatever appends before it were taken back: replay applies its frame too
	case t.generation == l.generation:
		l.isOpened = l.isOpened || t.opened
		l.synced = max(l.synced, t.end)
		ready = l.advance(ready)
	}
	l.cond.Broadcast()
	l.mu.Unlock()
	if l.env.Pool.over.Load() {
		l.env.Pool.poke()
	}
	if t.settle != nil {
		t.settle(err)
	}
	ready.run()
}

// takeBack undoes an append whose frames the journal refused, and all appends behind it, which would leave a gap. Their frames may still
// become durable: replay passes over them, because they follow a gap that no damage explains. mu is held.
func (l *Log) takeBack(t *ticket, why error) (ready completions) {
	if t.opened {
		l.owesOpened = true
	}
	if t.tailBlock != nil {
		l.tailBlock = t.tailBlock
	}
	if t.generation != l.generation || !t.shapes {
		return nil // taken back already, or nothing to undo
	}
	l.generation++
	n := len(l.pending)
	for n > 0 && l.pending[n-1].end > t.base {
		n--
	}
	for _, p := range l.pending[n:] {
		ready = append(ready, completion{p.done, Appended{Base: -1, Last: -1, AppendTime: -1, LogStart: l.logStart}, why})
	}
	l.pending = l.pending[:n]
	l.dropTail(t.base)
	l.end, l.active = t.base, t.before
	l.producers.truncate(t.base)
	l.epochs = cutEpochs(l.epochs, l.logStart, t.base)
	for n := len(l.rolls); n > 0 && l.rolls[n-1].ticket.lsn >= t.lsn; n-- {
		l.rolls = l.rolls[:n-1]
	}
	return ready
}

// dropTail forgets the batches in memory at or above an offset. mu is held.
func (l *Log) dropTail(from int64) {
	for n := len(l.tail); n > 0; n-- {
		c := l.tail[n-1]
		for len(c.batches) > 0 && c.batches[len(c.batches)-1].base >= from {
			c.batches = c.batches[:len(c.batches)-1]
			c.full = true // its bytes are no longer back to back
		}
		if len(c.batches) > c.flushed {
			return
		}
		l.tail = l.tail[:n-1]
		c.release()
	}
}

// advance moves the high watermark to what is synced and not held back, and returns the callbacks that are due. mu is held.
func (l *Log) advance(ready completions) completions {
	hw := min(l.synced, l.hold)
	if hw <= l.highWatermark {
		return ready
	}
	l.highWatermark = hw
	n := 0
	for n < len(l.pending) && l.pending[n].end <= hw {
		t := l.pending[n]
		t.result.LogStart = l.logStart
		if t.bytes > 0 {
			l.producedRecords += uint64(t.end - t.base)
			l.producedBytes += uint64(t.bytes)
		}
		ready = append(ready, completion{t.done, t.result, nil})
		n++
	}
	clear(l.pending[:n])
	l.pending = l.pending[n:]
	l.wake()
	return ready
}
