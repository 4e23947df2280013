package crashtest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"

	"chronik.dev/chronik/broker/batch"
	"chronik.dev/chronik/broker/partition"
)

// producer is an idempotent producer of one partition: it sends again what was not acknowledged.
type producer struct {
	pid   int64
	next  int32       // sequence
	sent  []*event    // not acknowledged, oldest first
	reset atomic.Bool // a batch was refused for want of space: its producer begins anew
}

// worker drives one node with seeded requests and keeps the model.
type worker struct {
	rng   *rand.Rand
	model *model
	raft  *raftModel
	node  *node
	// faulty says that the disk fails on purpose: an error is no finding, it leaves what was asked unanswered.
	faulty bool
	// core says that there is no Raft state: no request for it is made.
	core bool
	// full says that the disk is or was full in this life: requests may be refused, and the life may end with any error.
	full atomic.Bool

	open     []*client
	retained int64  // times that retention moved a log start
	expired  int64  // producers forgotten for being idle
	cleaned  int64  // times that the cleaner made a log smaller, at least
	ids      uint64 // producer ids drawn
	bytes    int
}

// client is the driver's side of one partition.
type client struct {
	h     *history
	log   *partition.Log
	prod  *producer
	epoch int32 // leader epoch, as metadata would know it
}

// attach connects the driver with a node that has just booted from the disk of an older one.
func (w *worker) attach(n *node) error {
	w.node = n
	logs := n.byID()
	old := w.open
	w.open = nil
	for _, c := range old {
		if c.log = logs[c.h.id.ID]; c.log == nil {
			continue
		}
		w.open = append(w.open, c)
		w.beginEpoch(c)
		for _, e := range c.prod.pending(w.model) {
			w.send(c, e)
		}
	}
	return nil
}

// step makes one random request.
func (w *worker) step() error {
	if !w.core && w.rng.IntN(8) == 0 {
		return w.raftStep()
	}
	if len(w.open) == 0 || len(w.open) < 5 && w.rng.IntN(40) == 0 {
		return w.create()
	}
	c := w.open[w.rng.IntN(len(w.open))]
	if compacts(c.h.id.Topic) && w.rng.IntN(12) == 0 {
		return w.compact(c)
	}
	switch n := w.rng.IntN(100); {
	case n < 70:
		return w.burst(c)
	case n < 76:
		return c.log.Flush()
	case n < 80:
		c.log.Roll(w.node.now())
		return nil
	case n < 84:
		return w.deleteRecords(c)
	case n < 87:
		return w.truncate(c)
	case n < 90:
		w.beginEpoch(c)
		return nil
	case n < 91:
		return w.drop(c)
	case n < 93:
		return w.retain(c)
	case n < 94 && w.rng.IntN(4) == 0:
		w.fill()
		return nil
	case n < 95:
		w.reconfigure(c)
		return nil
	case n < 96:
		return w.model.wait(0)
	case n < 98:
		return w.expire(c)
	}
	return w.node.checkpoints.Run()
}

// fill leaves little room on the disk, or makes room again.
func (w *worker) fill() {
	if w.full.Swap(true) && w.rng.IntN(2) == 0 {
		w.node.disk.SetLimit(0)
		return
	}
	w.node.disk.SetLimit(1 << 40)
	free, err := w.node.disk.Free(root)
	if err == nil {
		w.node.disk.SetLimit(1<<40 - free + w.rng.Int64N(128<<10))
	}
}

func (w *worker) create() error {
	h := &history{newest: map[byte]uint32{}, id: partition.Identity{Topic: []string{"t0", "t1", "c0"}[w.rng.IntN(3)], Partition: int32(w.rng.IntN(2)), RaftIndex: w.raft.settled.commit}}
	for i := range h.id.ID {
		h.id.ID[i] = byte(w.rng.Uint32())
	}
	for _, c := range w.open {
		if c.h.id.Topic == h.id.Topic && c.h.id.Partition == h.id.Partition {
			return nil
		}
	}
	w.model.mu.Lock()
	w.model.histories = append(w.model.histories, h)
	h.flight = append(h.flight, &event{kind: evCreate})
	w.model.mu.Unlock()
	log, err := partition.Create(w.node.env, h.id, w.node.setup.config(h.id.Topic))
	if err != nil {
		return err
	}
	w.node.logs = append(w.node.logs, log)
	c := &client{h: h, log: log, prod: w.newProducer()}
	w.open = append(w.open, c)
	w.beginEpoch(c)
	return nil
}

func (w *worker) newProducer() *producer {
	w.ids++
	return &producer{pid: int64(w.ids)}
}

// burst appends a few batches without waiting.
func (w *worker) burst(c *client) error {
	for range 1 + w.rng.IntN(4) {
		idempotent := w.rng.IntN(2) == 0
		if idempotent && len(c.prod.pending(w.model)) >= 4 {
			if err := w.model.wait(0); err != nil {
				return err
			}
		}
		if err := w.model.wait(12); err != nil {
			return err
		}
		e, err := w.newBatch(c, idempotent)
		if err != nil {
			return err
		}
		w.send(c, e)
	}
	return nil
}

// pending drops what was acknowledged from the list of a producer.
func (p *producer) pending(m *model) []*event {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	for n < len(p.sent) && p.sent[n].done {
		n++
	}
	p.sent = p.sent[n:]
	return p.sent
}

// newBatch builds a batch whose content no other batch has.
func (w *worker) newBatch(c *client, idempotent bool) (*event, error) {
	b := batch.NewBuilder(batch.None)
	if c.prod.reset.Load() {
		c.prod = w.newProducer()
	}
	count := 1 + w.rng.IntN(4)
	size := 1 + w.rng.IntN(200)
	switch w.rng.IntN(12) {
	case 0:
		size = 3000 + w.rng.IntN(3000)
	case 1:
		count = 40
	}
	for range count {
		value := make([]byte, 8+size)
		for i := range value {
			value[i] = byte(w.rng.Uint32())
		}
		var key []byte
		if compacts(c.h.id.Topic) {
			key = []byte{byte(w.rng.IntN(keys))}
		}
		b.Append(w.node.now(), key, value, nil)
	}
	e := &event{kind: evAppend, rec: record{count: int32(count), pid: -1, seq: -1}}
	pid, epoch, seq := int64(-1), int16(-1), int32(-1)
	if idempotent {
		pid, epoch, seq = c.prod.pid, 0, c.prod.next
		c.prod.next += int32(count)
		e.rec.pid, e.rec.seq = pid, c.prod.next-1
	}
	raw, err := b.Bytes(0, 0, pid, epoch, seq)
	if err != nil {
		return nil, err
	}
	h, err := batch.Check(raw)
	if err != nil {
		return nil, err
	}
	e.rec.crc, e.raw = h.CRC, raw
	if compacts(c.h.id.Topic) {
		records, err := keyedOf(raw)
		if err != nil {
			return nil, err
		}
		w.model.mu.Lock()
		c.h.learn(h.CRC, records)
		w.model.mu.Unlock()
	}
	w.bytes += len(raw)
	if idempotent {
		c.prod.sent = append(c.prod.sent, e)
	}
	return e, nil
}

// send appends a batch and notes the answer when it comes. After a restart the batch may be there already: then it is a duplicate.
func (w *worker) send(c *client, e *event) {
	h, m := c.h, w.model
	again := *e // an attempt of its own: the one before may be in the log, under an older epoch
	again.rec.epoch = c.epoch
	m.ask(h, &again)
	c.log.Append(e.raw, partition.AppendInfo{LeaderEpoch: c.epoch}, func(a partition.Appended, err error) {
		switch {
		case err != nil && w.faulty:
			m.fail(err)
		case w.full.Load() && (errors.Is(err, partition.ErrNoSpace) || errors.Is(err, partition.ErrOutOfOrderSequence)): // or one behind a refused one
			m.refuse(h, &again)
			c.prod.reset.Store(true)
		case errors.Is(err, partition.ErrStopped), errors.Is(err, partition.ErrDeleted), errors.Is(err, partition.ErrClosed):
			m.stop(err) // no answer: the event stays in flight
		case err != nil:
			m.refuse(h, &again)
			m.fail(fmt.Errorf("%s: %s: %w", name(h), e, err))
		case a.Duplicate:
			m.refuse(h, &again)
			w.checkDuplicate(h, e, a)
		default:
			m.ack(h, &again)
			m.mu.Lock()
			e.done = true
			last := h.settled.batches[len(h.settled.batches)-1]
			m.mu.Unlock()
			if a.Last != a.Base+int64(e.rec.count)-1 || last.base < a.Base {
				m.fail(fmt.Errorf("%s: %s was acknowledged at %d to %d", name(h), e, a.Base, a.Last))
			}
		}
	})
}

// checkDuplicate makes sure that the answer to a repeated batch names the original.
func (w *worker) checkDuplicate(h *history, e *event, a partition.Appended) {
	w.model.mu.Lock()
	defer w.model.mu.Unlock()
	e.done = true
	for _, r := range h.settled.batches {
		if r.crc == e.rec.crc && r.pid == e.rec.pid && r.base == a.Base && r.end() == a.Last+1 {
			return
		}
	}
	if w.model.failed == nil {
		w.model.failed = fmt.Errorf("%s: %s was called a duplicate of offset %d, and is not", name(h), e, a.Base)
	}
}

// current is the partition's state when nothing is in flight.
func (w *worker) current(c *client) (state, error) {
	if err := w.model.wait(0); err != nil {
		return state{}, err
	}
	w.model.mu.Lock()
	defer w.model.mu.Unlock()
	s := c.h.settled
	for _, e := range c.h.flight {
		s = s.apply(e, false)
	}
	return s, nil
}

func (w *worker) deleteRecords(c *client) error {
	s, err := w.current(c)
	if err != nil || s.end == s.start {
		return err
	}
	return w.deleteBelow(c, s.start+w.rng.Int64N(s.end-s.start+1))
}

func (w *worker) deleteBelow(c *client, to int64) error {
	e := &event{kind: evDelete, to: to}
	w.model.ask(c.h, e)
	answer := make(chan error, 1)
	c.log.DeleteRecords(e.to, func(_ int64, err error) {
		switch {
		case err == nil:
			w.model.ack(c.h, e)
		case errors.Is(err, partition.ErrNoSpace):
			w.model.refuse(c.h, e)
		}
		answer <- err
	})
	return <-answer
}

// retain runs retention by size, and asks for the same log start again to hear when it is durable.
func (w *worker) retain(c *client) error {
	retains := func(on bool) {
		w.model.mu.Lock()
		defer w.model.mu.Unlock()
		c.h.retains = on
	}
	retains(true)
	to := c.log.Retain(w.node.now(), false)
	if to < 0 {
		retains(false)
		return nil
	}
	w.retained++
	w.model.ask(c.h, &event{kind: evDelete, to: to})
	retains(false)
	return w.deleteBelow(c, to)
}

// truncate cuts at a batch boundary, as a follower does. Producers start anew after it.
func (w *worker) truncate(c *client) error {
	s, err := w.current(c)
	if err != nil || len(s.batches) == 0 {
		return err
	}
	r := s.batches[len(s.batches)-1-w.rng.IntN(min(4, len(s.batches)))]
	if r.base < s.start {
		return nil
	}
	e := &event{kind: evTruncate, to: r.base}
	w.model.mu.Lock()
	c.h.truncated = true
	w.model.mu.Unlock()
	w.model.ask(c.h, e)
	if err := c.log.Truncate(e.to); err != nil {
		return err
	}
	w.model.ack(c.h, e)
	c.prod = w.newProducer()
	return nil
}

// beginEpoch is what a change of leader does; metadata never forgets an epoch, so none begins twice.
func (w *worker) beginEpoch(c *client) {
	c.epoch++
	c.log.BeginEpoch(c.epoch)
}

func (w *worker) drop(c *client) error {
	if err := w.model.wait(0); err != nil {
		return err
	}
	e := &event{kind: evDrop}
	w.model.ask(c.h, e)
	dir, err := c.log.Drop(w.raft.settled.commit)
	if err != nil {
		return err
	}
	w.model.ack(c.h, e)
	w.node.checkpoints.Removed(dir)
	w.open = slices.DeleteFunc(w.open, func(o *client) bool { return o == c })
	w.node.logs = slices.DeleteFunc(w.node.logs, func(l *partition.Log) bool { return l == c.log })
	return nil
}
