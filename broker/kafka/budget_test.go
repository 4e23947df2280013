package kafka

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
)

// TestBudget: who waits is served in order; the only holder may take more than there is; who gives up leaves no trace.
func TestBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := budget{limit: 10}
		ctx := t.Context()
		if err := b.take(ctx, 25, 0); err != nil {
			t.Fatal(err)
		}
		if b.try(1) {
			t.Error("1 of a spent budget")
		}
		given, giveUp := context.WithCancel(ctx)
		var order []int
		var mu sync.Mutex
		var wg sync.WaitGroup
		for i, n := range []int64{6, 4, 6} {
			wg.Go(func() {
				who := ctx
				if i == 1 {
					who = given
				}
				err := b.take(who, n, 0)
				mu.Lock()
				defer mu.Unlock()
				if i == 1 {
					if !errors.Is(err, context.Canceled) {
						t.Errorf("gave up: %v", err)
					}
					return
				}
				order = append(order, i)
			})
			synctest.Wait()
		}
		giveUp()
		synctest.Wait()
		b.adjust(-25)
		synctest.Wait()
		if b.inUse() != 6 || b.try(1) {
			t.Errorf("%d in use while 6 more are waited for", b.inUse())
		}
		b.adjust(-6)
		wg.Wait()
		b.adjust(-6)
		if b.inUse() != 0 || len(order) != 2 || order[0] != 0 {
			t.Errorf("%d in use, order %v", b.inUse(), order)
		}
		if err := b.take(ctx, 5, 0); err != nil {
			t.Fatal(err)
		}
		if err := b.take(ctx, 50, 5); err != nil || b.inUse() != 55 {
			t.Errorf("the only holder wants the rest of its frame: %v, %d", err, b.inUse())
		}
		none := budget{}
		if !none.try(1<<60) || none.take(ctx, 1, 0) != nil {
			t.Error("a budget of 0 is no bound")
		}
	})
}
