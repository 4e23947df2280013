package kafka

import (
	"container/list"
	"context"
	"sync"
)

// budget is an amount of memory that many connections share. Who finds it spent waits, first come first served. Nobody may wait while
// holding a part of the same budget, except for the rest of a frame (see conn.frame, which gives up after a time).
type budget struct {
	mu      sync.Mutex
	limit   int64 // 0 = unbounded
	used    int64
	waiting list.List // of *waiter
}

type waiter struct {
	n, held int64
	done    chan struct{}
}

// try takes n bytes if they are there and nobody waits for them.
func (b *budget) try(n int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.waiting.Len() > 0 || !b.fits(n, 0) {
		return false
	}
	b.used += n
	return true
}

// fits lets the only holder take more than there is, so that a large request is slow and not impossible.
func (b *budget) fits(n, held int64) bool {
	return b.limit == 0 || b.used+n <= b.limit || b.used == held
}

// take waits until n bytes are there for someone who holds so much already.
func (b *budget) take(ctx context.Context, n, held int64) error {
	b.mu.Lock()
	if b.waiting.Len() == 0 && b.fits(n, held) {
		b.used += n
		b.mu.Unlock()
		return nil
	}
	w := &waiter{n: n, held: held, done: make(chan struct{})}
	e := b.waiting.PushBack(w)
	b.mu.Unlock()
	select {
	case <-w.done:
		return nil
	case <-ctx.Done():
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-w.done: // granted meanwhile
		b.used -= n
	default:
		b.waiting.Remove(e)
	}
	b.grant()
	return ctx.Err()
}

// adjust changes what a holder holds by n without waiting: what is already there counts, also beyond the limit.
func (b *budget) adjust(n int64) {
	if n == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.used += n
	b.grant()
}

func (b *budget) grant() {
	for e := b.waiting.Front(); e != nil; e = b.waiting.Front() {
		w := e.Value.(*waiter)
		if !b.fits(w.n, w.held) {
			return
		}
		b.used += w.n
		b.waiting.Remove(e)
		close(w.done)
	}
}

// halfSpent says whether more than half is taken.
func (b *budget) halfSpent() bool { return b.inUse() > b.limit/2 }

// inUse returns the bytes taken.
func (b *budget) inUse() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.used
}
