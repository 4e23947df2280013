package main

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
)

// consumption prints records until something ends it.
type consumption struct {
	o      *consumeOptions
	topic  string
	next   map[int32]bounds // at is the next offset to come
	end    map[int32]int64  // when it began
	print  func(*kgo.Record) error
	flush  func() error
	outage *outage

	printed int64
	reason  string // why it ended

	mu       sync.Mutex
	assigned map[int32]bool // by the group; nil until it says, and without one
}

// consumed closes the document of `consume`.
type consumed struct {
	Records int64  `json:"records"`
	Ended   string `json:"ended"` // count, end, timeout, interrupt or failure
}

func (c *consumption) sum() *consumed { return &consumed{c.printed, c.reason} }

// run polls until it is enough. opts and address make a client of its own: that of the session keeps to the session's timeout.
func (c *consumption) run(ctx context.Context, address string, opts []kgo.Opt, where place) error {
	if c.enough() {
		return nil
	}
	s, err := c.client(ctx, address, opts, where)
	if err != nil {
		return err
	}
	defer s.CloseAllowingRebalance()
	for {
		most := 10000
		if c.o.count > 0 {
			most = int(min(c.o.count-c.printed, int64(most)))
		}
		polled, cancel := context.WithCancel(ctx)
		if c.o.idle > 0 {
			cancel()
			polled, cancel = context.WithTimeout(ctx, c.o.idle)
		}
		fetches := s.PollRecords(polled, most)
		idle := polled.Err() != nil
		cancel()
		if err := c.takeAll(ctx, s, fetches); err != nil {
			c.reason = "failure"
			return err
		}
		s.AllowRebalance()
		switch {
		case c.enough():
			return nil
		case ctx.Err() != nil:
			c.reason = "interrupt"
			return nil
		case idle && fetches.NumRecords() == 0:
			c.reason = "timeout"
			return c.timedOut(address)
		}
	}
}

func (c *consumption) client(ctx context.Context, address string, opts []kgo.Opt, where place) (*kgo.Client, error) {
	if c.o.group != "" {
		opts = append(opts, kgo.ConsumerGroup(c.o.group), kgo.ConsumeTopics(c.topic), kgo.ConsumeResetOffset(where.kgoOffset()), kgo.DisableAutoCommit(),
			kgo.BlockRebalanceOnPoll(), kgo.OnPartitionsAssigned(c.onAssigned), kgo.OnPartitionsRevoked(c.onRevoked), kgo.OnPartitionsLost(c.onRevoked))
	} else {
		begin := map[int32]kgo.Offset{}
		for p, b := range c.next {
			begin[p] = kgo.NewOffset().At(b.at)
		}
		opts = append(opts, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{c.topic: begin}),
			kgo.ConsumeResetOffset(kgo.NoResetOffset())) // a gap is an error, nothing is skipped in silence
	}
	s, err := c.o.connect(ctx, opts...)
	if err != nil {
		return nil, err
	}
	s.cancel() // polls have bounds of their own
	return s.Client, nil
}

func (c *consumption) onAssigned(_ context.Context, _ *kgo.Client, topics map[string][]int32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.assigned == nil {
		c.assigned = map[int32]bool{}
	}
	for _, p := range topics[c.topic] {
		c.assigned[p] = true
	}
}

func (c *consumption) onRevoked(_ context.Context, _ *kgo.Client, topics map[string][]int32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range topics[c.topic] {
		delete(c.assigned, p)
	}
}

// takeAll prints what a poll brought, hands it on, and then commits it.
func (c *consumption) takeAll(ctx context.Context, s *kgo.Client, fetches kgo.Fetches) error {
	for _, e := range fetches.Errors() {
		if !errors.Is(e.Err, context.DeadlineExceeded) && !errors.Is(e.Err, context.Canceled) {
			return fmt.Errorf("cannot read %s-%d: %w", e.Topic, e.Partition, e.Err)
		}
	}
	var done []*kgo.Record
	for it := fetches.RecordIter(); !it.Done(); {
		r := it.Next()
		if c.o.untilEnd && r.Offset >= c.end[r.Partition] {
			continue // written after it began
		}
		b := c.next[r.Partition]
		b.at = r.Offset + 1
		c.next[r.Partition] = b
		done = append(done, r)
		if r.Attrs.IsControl() {
			continue // the marker of a transaction
		}
		if err := c.print(r); err != nil {
			return err
		}
		c.printed++
	}
	if err := c.flush(); err != nil {
		return err
	}
	if c.o.group == "" || len(done) == 0 {
		return nil
	}
	commit, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.o.timeout)
	defer cancel()
	if err := s.CommitRecords(commit, done...); err != nil {
		return fmt.Errorf("cannot commit for group %s: %w; the records that were printed last will be read again", c.o.group, err)
	}
	return nil
}

// enough says whether --count or --until-end is reached.
func (c *consumption) enough() bool {
	switch {
	case c.o.count > 0 && c.printed >= c.o.count:
		c.reason = "count"
	case c.o.untilEnd && len(c.behind()) == 0:
		c.reason = "end"
	}
	return c.reason != ""
}

// behind are the partitions of ours that are not at their end.
func (c *consumption) behind() []partition {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []partition
	for p, end := range c.end {
		if c.next[p].at < end && (c.assigned == nil || c.assigned[p]) {
			all = append(all, partition{c.topic, p})
		}
	}
	return all
}

func (c *consumption) timedOut(address string) error {
	if c.o.count == 0 && !c.o.untilEnd {
		return nil // the time was the end that was asked for
	}
	what := fmt.Sprintf("%s of %d", counted(c.printed, "record"), c.o.count)
	if c.o.untilEnd {
		what = "not at the end of " + firstFew(c.behind())
	}
	cause := "no record"
	if down := c.outage.current(); down != "" {
		cause = down + ", and no record"
	}
	return &exitError{code: exitTimeout, err: fmt.Errorf("%s came from %s within %v: %s; look at the broker's log, or wait longer with --timeout",
		cause, address, c.o.idle, what)}
}
