package replay

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"chronik.dev/chronik/broker/batch"
)

const (
	// maxInFlight is how many batches of a partition may be sent and not yet in the resume file: as many as a broker remembers of a producer
	// (KIP-98), so that it knows every one of them again.
	maxInFlight = 5
	maxRequest  = 1 << 20  // bytes of batches in one request, beyond the first
	maxPending  = 16 << 20 // bytes of batches read and not yet answered
	retryPause  = 200 * time.Millisecond
	maxStrange  = 5 // times that a sequence may be out of order before that is believed
)

// item is one batch on its way.
type item struct {
	lane        *lane
	raw         []byte
	first, last int64 // source offsets
	count       int32
	sequence    int32 // once stamped
	stamped     bool
	again       bool // it was sent before, by this process
}

// lane is one partition on its way. Invariant: the batches that were ever sent and are not in the resume file are the first maxInFlight
// after its Next there, at most.
type lane struct {
	src     *sourcePart
	content *content
	state   laneState

	queue      []*item // to send, in order
	inflight   []*item // sent, in order
	addr       string  // where to
	back       []*item // to send again, in order, when inflight is empty
	failed     bool    // something of inflight failed: the rest goes back too
	unrecorded int     // answered and not in the resume file
	sequence   int32   // of the next batch that is stamped
	horizon    int64   // the target's end when it was last asked: what is answered below it was there already
	resumed    int     // batches that an earlier process may have sent
	strange    int
	retryAt    time.Time
	why        error // of the last failure
}

// engine sends what the reader gives it. One goroutine owns it; connections, the recorder and the refresher answer through channels.
type engine struct {
	target   *target
	lanes    []*lane
	state    *progressState
	resume   *resumeFile
	in       <-chan *item
	inClosed bool
	rate     float64 // bytes/s; 0: no limit
	timeout  time.Duration
	progress func(bytes int64)

	answers    chan answer
	recorded   chan recordResult
	refreshed  chan viewResult
	conns      map[string]*conn
	pending    int64
	dirty      bool
	recording  bool
	refreshing bool
	stale      bool // leaders must be asked for again
	turn       int
	tokens     float64
	filled     time.Time
	lastAck    time.Time
	lastErr    error
}

type viewResult struct {
	view view
	err  error
}

type recordResult struct {
	err     error
	covered map[*lane]int
}

// run sends everything, until the reader is done and everything is answered and recorded.
func (e *engine) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	e.answers, e.recorded, e.refreshed = make(chan answer), make(chan recordResult, 1), make(chan viewResult, 1)
	e.conns = map[string]*conn{}
	e.filled, e.lastAck = time.Now(), time.Now()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	err := e.loop(ctx, tick)
	if e.recording { // the file is written to: nobody else may
		r := <-e.recorded
		err = errors.Join(err, r.err)
	}
	return err
}

func (e *engine) loop(ctx context.Context, tick *time.Ticker) error {
	for !e.finished() {
		e.fill(ctx)
		if err := e.record(); err != nil {
			return err
		}
		in := e.in
		if e.pending >= maxPending || e.inClosed {
			in = nil
		}
		var err error
		select {
		case it, ok := <-in:
			if !ok {
				e.inClosed = true
				break
			}
			it.lane.queue = append(it.lane.queue, it)
			e.pending += int64(len(it.raw))
		case a := <-e.answers:
			err = e.answered(a)
		case r := <-e.recorded:
			err = e.noteRecorded(r)
		case r := <-e.refreshed:
			e.refreshing, e.stale = false, r.err != nil || !r.view.whole
			if r.err != nil {
				e.lastErr = r.err
			} else {
				e.target.use(r.view, e.lanes)
			}
		case <-tick.C:
			err = e.watch(ctx)
		case <-ctx.Done():
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (e *engine) finished() bool {
	return e.inClosed && e.pending == 0 && !e.dirty && !e.recording
}

// ready says whether a lane may send its next batch.
func (l *lane) ready(now time.Time) bool {
	return len(l.queue) > 0 && !l.failed && len(l.inflight)+l.unrecorded < maxInFlight && !now.Before(l.retryAt)
}

// fill hands requests to the connections while there is something to send and room.
func (e *engine) fill(ctx context.Context) {
	now := time.Now()
	if e.rate > 0 {
		e.tokens = min(e.tokens+now.Sub(e.filled).Seconds()*e.rate, max(e.rate/4, 64<<10))
	}
	e.filled = now
	for _, addr := range e.target.view.addresses {
		for {
			c := e.conns[addr]
			if c != nil && len(c.inflight) >= maxInFlight {
				break
			}
			r := e.build(addr, now)
			if r == nil {
				break
			}
			if c == nil {
				c = dial(ctx, addr, e.answers)
				e.conns[addr] = c
			}
			c.inflight = append(c.inflight, r)
			c.out <- r // has room for maxInFlight
		}
	}
}

// build makes a request for one broker: one batch of every partition that may send; nil if there is none.
func (e *engine) build(addr string, now time.Time) *request {
	var r *request
	size := 0
	n := len(e.lanes)
	for k := range n {
		l := e.lanes[(e.turn+k)%n]
		if !l.ready(now) || e.target.leader(l) != addr || len(l.inflight) > 0 && l.addr != addr {
			continue // or the leader has changed: what is on the way to the old one is answered first
		}
		it := l.queue[0]
		if r != nil && size+len(it.raw) > maxRequest || e.rate > 0 && e.tokens <= 0 {
			e.turn = (e.turn + k) % n
			break
		}
		l.queue = l.queue[1:]
		l.stamp(it, e.state.Producer.ID, e.state.Producer.Epoch)
		l.inflight, l.addr = append(l.inflight, it), addr
		size += len(it.raw)
		e.tokens -= float64(len(it.raw))
		if r == nil {
			r = &request{sent: now}
		}
		r.items = append(r.items, it)
	}
	return r
}

// stamp gives a batch its producer and sequence, once: sent again, it is the same batch.
func (l *lane) stamp(it *item, id int64, epoch int16) {
	if it.stamped {
		it.again = true
		return
	}
	it.stamped, it.sequence = true, l.sequence
	l.sequence = nextSequence(l.sequence, it.count)
	batch.SetProducer(it.raw, id, epoch, it.sequence)
}

// nextSequence is the sequence after count records; 0 follows 2^31-1.
func nextSequence(seq, count int32) int32 { return int32((int64(seq) + int64(count)) & math.MaxInt32) }

// answered takes the answer to a connection's oldest request, or its end.
func (e *engine) answered(a answer) error {
	c := a.conn
	if e.conns[c.addr] != c {
		return nil // given up already
	}
	if a.err != nil {
		e.drop(c, a.err)
		return nil
	}
	if len(c.inflight) == 0 {
		e.drop(c, errors.New("a response that nothing was asked for"))
		return nil
	}
	r := c.inflight[0]
	c.inflight = c.inflight[1:]
	for _, it := range r.items {
		base, err := a.of(it)
		if err := e.settle(it, base, err); err != nil {
			return err
		}
	}
	return nil
}

// drop gives up a connection: whether its requests were carried out is open, so they go out again.
func (e *engine) drop(c *conn, why error) {
	c.end()
	delete(e.conns, c.addr)
	for _, r := range c.inflight {
		for _, it := range r.items {
			e.fail(it, why)
		}
	}
	e.stale, e.lastErr = true, why
}

// settle takes the answer to one batch.
func (e *engine) settle(it *item, base int64, err error) error {
	l := it.lane
	duplicate := errors.Is(err, kerr.DuplicateSequenceNumber)
	switch {
	case (err == nil || duplicate) && !l.failed:
		e.acknowledge(it, base, duplicate)
	case err == nil || duplicate || l.failed:
		e.fail(it, l.why) // one before it failed: all of them again, in order
	case errors.Is(err, kerr.OutOfOrderSequenceNumber) && l.strange < maxStrange:
		l.strange++
		e.fail(it, err)
	case kerr.IsRetriable(err):
		e.fail(it, err)
		e.stale = true
	default:
		return e.fatal(it, err)
	}
	return nil
}

// fatal words an answer that sending again does not change.
func (e *engine) fatal(it *item, err error) error {
	l := it.lane
	hint := "the replay can go on where it stopped once that is mended: run the same command again"
	switch {
	case errors.Is(err, kerr.MessageTooLarge):
		hint = fmt.Sprintf("the batch has %d bytes: raise max.message.bytes of topic %s, then run the same command again", len(it.raw), l.state.Target)
	case errors.Is(err, kerr.InvalidTimestamp):
		hint = fmt.Sprintf("raise message.timestamp.before.max.ms of topic %s, then run the same command again", l.state.Target)
	case errors.Is(err, kerr.OutOfOrderSequenceNumber), errors.Is(err, kerr.InvalidProducerEpoch), errors.Is(err, kerr.UnknownProducerID):
		hint = "the target has forgotten what this replay sent; compare its records with the source before a new replay"
	}
	return fmt.Errorf("%s-%d offsets %d-%d to %s-%d: the target answers %w; %s",
		l.state.Topic, l.state.Partition, it.first, it.last, l.state.Target, l.state.Partition, err, hint)
}

// fail puts a batch back; when nothing of its partition is on the way any more, all that was goes out again.
func (e *engine) fail(it *item, why error) {
	l := it.lane
	l.failed, l.why, e.lastErr = true, why, why
	l.inflight = l.inflight[1:]
	l.back = append(l.back, it)
	if len(l.inflight) == 0 {
		l.queue = append(l.back, l.queue...)
		l.back, l.failed = nil, false
		l.retryAt = time.Now().Add(retryPause)
	}
}

// acknowledge takes note of a batch that the target holds.
func (e *engine) acknowledge(it *item, base int64, duplicate bool) {
	l, s := it.lane, &it.lane.state
	l.inflight = l.inflight[1:]
	if duplicate || (it.again || l.resumed > 0) && base >= 0 && base < l.horizon {
		s.Duplicates++
	}
	l.resumed = max(0, l.resumed-1)
	l.strange = 0
	s.Next, s.Sequence = it.last+1, nextSequence(it.sequence, it.count)
	s.Batches++
	s.Records += int64(it.count)
	s.Bytes += int64(len(it.raw))
	if base >= 0 {
		if s.First < 0 {
			s.First = base
		}
		s.End = base + int64(it.count)
	}
	l.unrecorded++
	e.dirty, e.lastAck = true, time.Now()
	e.pending -= int64(len(it.raw))
	e.progress(int64(len(it.raw)))
}

// record begins to write what was answered into the resume file, unless that is under way.
func (e *engine) record() error {
	if !e.dirty || e.recording {
		return nil
	}
	covered := map[*lane]int{}
	for i, l := range e.lanes {
		e.state.Lanes[i] = l.state
		if l.unrecorded > 0 {
			covered[l] = l.unrecorded
		}
	}
	body, err := e.state.encode()
	if err != nil {
		return err
	}
	e.recording, e.dirty = true, false
	go func() { e.recorded <- recordResult{err: e.resume.store(body), covered: covered} }()
	return nil
}

func (e *engine) noteRecorded(r recordResult) error {
	e.recording = false
	for l, n := range r.covered {
		l.unrecorded -= n
	}
	return r.err
}

// watch asks for leaders again where that is due, and ends a replay that gets nowhere.
func (e *engine) watch(ctx context.Context) error {
	if e.stale && !e.refreshing {
		e.refreshing = true
		topics := targetsOf(e.lanes)
		go func() {
			pause := time.NewTimer(retryPause)
			defer pause.Stop()
			select {
			case <-pause.C:
			case <-ctx.Done():
			}
			v, err := e.target.look(ctx, topics)
			e.refreshed <- viewResult{v, err}
		}()
	}
	now := time.Now()
	for _, c := range e.conns {
		if len(c.inflight) > 0 && now.Sub(c.inflight[0].sent) > 2*ackTimeoutMs*time.Millisecond {
			e.drop(c, fmt.Errorf("broker %s: no answer for a minute", c.addr))
		}
	}
	if e.pending == 0 || e.rate > 0 && e.tokens <= 0 {
		e.lastAck = now // nothing to be answered
	}
	if now.Sub(e.lastAck) < e.timeout {
		return nil
	}
	cause := ErrStalled
	if e.stale || e.refreshing {
		cause = ErrUnreachable
	}
	return fmt.Errorf("%w for %v: %v; run the same command again to go on where this one stopped", cause, e.timeout, e.lastErr)
}
