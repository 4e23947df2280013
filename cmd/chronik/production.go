package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"sort"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"chronik.dev/chronik/cmd/chronik/recordtext"
)

// production sends records and keeps count of what became of each.
type production struct {
	o       *produceOptions
	session *session
	headers []kgo.RecordHeader
	have    int32 // partitions of the topic, 0 = unknown

	mu       sync.Mutex
	sum      produced
	parts    map[int32]*producedPartition
	sent     int64 // handed to the client
	answered int64 // of those, acknowledged or failed
	stopped  bool  // by a failure
}

// lineRead is one step of the input.
type lineRead struct {
	record *kgo.Record
	line   int64
	err    error
}

// drainFor is how long lines behind a failure are counted, if the input does not end.
const drainFor = 2 * time.Second

// run sends everything, or up to the first failure or the interrupt that ends reading. It returns when every record has an answer, or none
// came for the timeout; a second interrupt, after release, ends the process.
func (p *production) run(reading context.Context, release func(), in recordSource) {
	p.parts = map[int32]*producedPartition{}
	sending, giveUp := context.WithCancel(context.WithoutCancel(reading))
	defer giveUp()
	go p.watch(sending, giveUp)
	lines := make(chan lineRead, 256)
	go readLines(reading, in, lines)
	var drained <-chan time.Time
	gaveUp := sending.Done()
	for more := true; more; {
		select {
		case l, ok := <-lines:
			if !ok {
				more = false
			} else if p.take(sending, l) && drained == nil {
				drained = time.After(drainFor)
			}
		case <-drained:
			p.mu.Lock()
			p.sum.NotSentMore, more = true, false
			p.mu.Unlock()
		case <-gaveUp:
			p.mu.Lock()
			p.stopped, gaveUp = true, nil
			p.mu.Unlock()
			drained = time.After(drainFor)
		case <-reading.Done():
			p.fail(0, context.Canceled, 0)
			more = false
		}
	}
	release()
	_ = p.session.Flush(sending) // what it did not get through is counted as unknown
}

// readLines feeds the input into a channel, so that an interrupt is not missed while a terminal or a pipe has nothing to say.
func readLines(ctx context.Context, in recordSource, lines chan<- lineRead) {
	defer close(lines)
	for {
		record, err := in.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		l := lineRead{record, in.Line(), err}
		var unreadable *recordtext.LineError
		final := err != nil && (!errors.As(err, &unreadable) || !in.GoesOn())
		if unreadable == nil && err != nil {
			l.line = math.MaxInt64 // the input itself failed
		}
		select {
		case lines <- l:
		case <-ctx.Done():
			return
		}
		if final {
			return
		}
	}
}

// take sends one line, or counts it; it says whether nothing is sent any more.
func (p *production) take(ctx context.Context, l lineRead) (stopped bool) {
	p.mu.Lock()
	if l.line != math.MaxInt64 {
		p.sum.Read++
	}
	stopped = p.stopped
	if stopped {
		p.sum.NotSent++
	}
	p.mu.Unlock()
	switch {
	case stopped:
		return true
	case l.err != nil:
		unreadable := int64(1)
		if l.line == math.MaxInt64 {
			unreadable = 0
		}
		p.fail(l.line, l.err, unreadable)
		return !p.o.keepGoing
	}
	r := l.record
	r.Headers = append(r.Headers, p.headers...)
	if r.Key == nil && p.o.key != "" {
		r.Key = []byte(p.o.key)
	}
	if p.o.partition >= 0 {
		r.Partition = p.o.partition
	} else if p.o.ignorePartitions {
		r.Partition = recordtext.AnyPartition
	}
	if p.have > 0 && r.Partition >= p.have {
		p.fail(l.line, &recordtext.LineError{Line: l.line, Reason: fmt.Errorf("the topic has no partition %d, only 0 to %d", r.Partition, p.have-1)}, 1)
		return !p.o.keepGoing
	}
	p.mu.Lock()
	p.sent++
	p.mu.Unlock()
	p.session.Produce(ctx, r, func(r *kgo.Record, err error) { p.answer(ctx, l.line, r, err) })
	return false
}

// answer counts what became of a record that was sent.
func (p *production) answer(ctx context.Context, line int64, r *kgo.Record, err error) {
	if err != nil && ctx.Err() != nil {
		return // given up: nobody knows what became of it
	}
	p.mu.Lock()
	p.answered++
	if err == nil {
		if p.o.acks == "0" {
			r.Offset = -1
		}
		p.sum.Acknowledged++
		part := p.parts[r.Partition]
		if part == nil {
			part = &producedPartition{Partition: r.Partition, First: r.Offset}
			p.parts[r.Partition] = part
		}
		part.Records++
		part.First, part.Last = min(part.First, r.Offset), max(part.Last, r.Offset)
	}
	p.mu.Unlock()
	if err != nil {
		p.fail(line, err, 1)
	}
}

// fail counts failures and keeps the first; line 0 is none in particular. Without --keep-going nothing is sent after it.
func (p *production) fail(line int64, err error, count int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sum.Failed += count
	p.stopped = p.stopped || !p.o.keepGoing
	if first := p.sum.FirstFailure; first == nil || line > 0 && (first.Line == 0 || line < first.Line) {
		p.sum.FirstFailure = &producedFailure{Line: line, Error: p.session.explained(err).Error(), err: err}
	}
}

// watch gives up when records wait and none was answered for the whole timeout: the client itself would go on trying to keep their order.
func (p *production) watch(ctx context.Context, giveUp context.CancelFunc) {
	var last int64
	since := time.Now()
	tick := time.NewTicker(min(p.o.timeout, time.Second) / 4)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			p.mu.Lock()
			waiting, answered := p.sent > p.answered, p.answered
			p.mu.Unlock()
			if !waiting || answered != last {
				last, since = answered, now
			} else if now.Sub(since) > p.o.timeout+p.o.timeout/4 {
				p.fail(0, context.DeadlineExceeded, 0)
				giveUp()
				return
			}
		}
	}
}

// result is the count so far.
func (p *production) result() *produced {
	p.mu.Lock()
	defer p.mu.Unlock()
	sum := p.sum
	sum.Unknown = p.sent - p.answered
	sum.Partitions = []producedPartition{}
	for _, part := range p.parts {
		sum.Partitions = append(sum.Partitions, *part)
	}
	sort.Slice(sum.Partitions, func(i, j int) bool { return sum.Partitions[i].Partition < sum.Partitions[j].Partition })
	return &sum
}
