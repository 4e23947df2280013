package partition

import "fmt"

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

// synced is the journal's callback: everything up to the ticket's LSN is durable, or the journal failed. It runs on the committer.
func (t *ticket) synced(err error) {
	l := t.log
	for _, c := range t.chunks {
		c.release()
	}
	if err != nil {
		l.finish(fmt.Errorf("%s: %w: the journal failed: %w", l.name, ErrStopped, err))
		if t.settle != nil {
			t.settle(err)
		}
		return
	}
	var one [1]completion
	l.mu.Lock()
	l.syncedLSN = t.lsn
	if t.apply != nil {
		t.apply()
	}
	if t.end > l.synced {
		l.synced = t.end
	}
	ready := l.advance(one[:0])
	l.cond.Broadcast()
	l.mu.Unlock()
	if l.env.Pool.over.Load() {
		l.env.Pool.poke()
	}
	if t.settle != nil {
		t.settle(nil)
	}
	ready.run()
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
		ready = append(ready, completion{t.done, t.result, nil})
		n++
	}
	clear(l.pending[:n])
	l.pending = l.pending[n:]
	l.wake()
	return ready
}

// waitSynced waits until everything of this partition up to lsn is durable or the log ended.
func (l *Log) waitSynced() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for lsn := l.enqueued; l.syncedLSN < lsn; l.cond.Wait() {
		if l.failed != nil {
			return l.failed
		}
	}
	return nil
}
