package coordinator

import (
	"container/heap"
	"sync"
	"time"

	"chronik.dev/chronik/broker/batch"
	"chronik.dev/chronik/broker/group"
	"chronik.dev/chronik/broker/planted"
)

// shard is the groups of one partition of __consumer_offsets.
type shard struct {
	c         *Coordinator
	partition int32

	mu      sync.Mutex // guards the queue and the state
	queue   []func()
	busy    bool          // a goroutine works the queue off
	state   group.Code    // None = active, LoadInProgress, NotCoordinator = stopped or failed to load
	failure error         // why it could not be loaded
	loading chan struct{} // closed when load returned
	halt    chan struct{} // closed to end load

	// Touched only by the goroutine that works the queue off.
	groups    map[string]*entry
	deadlines deadlines
	timer     *time.Timer
	tokens    group.Token
	joins     map[group.Token]func(group.JoinResult)
	syncs     map[group.Token]func(group.SyncResult)
	expiry    int64 // next look for expired offsets
}

// entry is a group with the deadline that is in the heap for it, 0 = none.
type entry struct {
	*group.Group
	scheduled int64
}

func newShard(c *Coordinator, partition int32) *shard {
	return &shard{c: c, partition: partition, state: group.LoadInProgress, loading: make(chan struct{}), halt: make(chan struct{}),
		groups: map[string]*entry{}, joins: map[group.Token]func(group.JoinResult){}, syncs: map[group.Token]func(group.SyncResult){}}
}

// status returns the code with which requests are refused, None if they are not, and why loading failed.
func (s *shard) status() (group.Code, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state, s.failure
}

// run queues fn, or calls refuse with the reason.
func (s *shard) run(fn func(*shard), refuse func(group.Code)) {
	s.mu.Lock()
	code := s.state
	if code == group.None {
		s.push(func() { fn(s) })
	}
	s.mu.Unlock()
	if code != group.None {
		refuse(code)
	}
}

// push queues f; the caller holds mu.
func (s *shard) push(f func()) {
	s.queue = append(s.queue, f)
	if !s.busy {
		s.busy = true
		go s.work()
	}
}

// work runs what is queued until nothing is.
func (s *shard) work() {
	for {
		s.mu.Lock()
		batch := s.queue
		s.queue = nil
		if len(batch) == 0 {
			s.busy = false
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
		for _, f := range batch {
			f()
		}
	}
}

// stop refuses new requests, lets the queued ones finish and answers everything that waits.
func (s *shard) stop() {
	s.mu.Lock()
	s.state = group.NotCoordinator
	done := make(chan struct{})
	close(s.halt)
	s.push(func() {
		defer close(done)
		if s.timer != nil {
			s.timer.Stop()
		}
		for _, e := range s.groups {
			s.answer(e.Kill(group.NotCoordinator))
		}
		s.groups, s.deadlines = map[string]*entry{}, nil
	})
	s.mu.Unlock()
	<-s.loading
	<-done
}

// get returns a group, nil if there is none.
func (s *shard) get(name string) *entry { return s.groups[name] }

// getOrCreate returns a group with the limits in force.
func (s *shard) getOrCreate(name string) *entry {
	cfg := s.c.o.Config()
	settings := group.Settings{InitialRebalanceDelay: cfg.GroupInitialRebalanceDelayMs(), MaxSize: cfg.GroupMaxSize()}
	e := s.groups[name]
	if e == nil {
		e = &entry{Group: group.New(name, s.c.now(), settings)}
		s.groups[name] = e
	}
	e.SetSettings(settings)
	return e
}

// settle follows every step of a group: answers, writes, deadlines, and forgets a group that never came to be.
func (s *shard) settle(e *entry, effects group.Effects) {
	for {
		s.answer(effects)
		for _, p := range effects.Persist {
			s.persist(e, p)
		}
		at, ok := e.NextDeadline()
		if now := s.c.now(); ok && at <= now && e.State() != group.Dead {
			effects = e.Tick(now)
			continue
		}
		break
	}
	if e.Removable() && e.Generation() == 0 && s.groups[e.ID()] == e {
		delete(s.groups, e.ID())
	}
	s.schedule(e)
}

// answer calls the callbacks of requests that waited.
func (s *shard) answer(effects group.Effects) {
	for _, r := range effects.Joined {
		done := s.joins[r.Token]
		delete(s.joins, r.Token)
		done(r.Result)
	}
	for _, r := range effects.Synced {
		done := s.syncs[r.Token]
		delete(s.syncs, r.Token)
		done(r.Result)
	}
}

// persist writes a group's metadata and reports it to the group.
func (s *shard) persist(e *entry, p group.Persist) {
	report := func(code group.Code) {
		if code == tooLarge {
			code = unknownServerError
		}
		s.settle(e, e.Persisted(s.c.now(), p.Ticket, code))
	}
	key, err := group.AppendKey(nil, group.Key{Kind: group.MetadataKey, Group: e.ID()})
	if err == nil {
		var value []byte
		if value, err = group.AppendMetadata(nil, p.Metadata); err == nil {
			s.write([]record{{key, value}}, report)
			return
		}
	}
	s.c.o.Logger.Error("group metadata cannot be written", "group", e.ID(), "error", err)
	s.mu.Lock()
	s.push(func() { report(unknownServerError) })
	s.mu.Unlock()
}

const unknownServerError group.Code = -1

// record is one record to write; a nil value is a tombstone.
type record struct{ key, value []byte }

// write appends records as one batch. done is called later on the shard's goroutine, also after stop, with None once they are synced.
func (s *shard) write(records []record, done func(group.Code)) {
	now := s.c.now()
	b := batch.NewBuilder(batch.None)
	for _, r := range records {
		b.Append(now, r.key, r.value, nil)
	}
	later := func(code group.Code) {
		s.mu.Lock()
		s.push(func() { done(code) })
		s.mu.Unlock()
	}
	raw, err := b.Bytes(0, -1, -1, -1, -1)
	if err != nil || len(raw) > s.c.o.Config().MessageMaxBytes() {
		s.c.o.Logger.Error("a batch for __consumer_offsets is too large; raise message.max.bytes", "partition", s.partition,
			"bytes", len(raw), "records", len(records))
		later(tooLarge)
		return
	}
	if planted.Is(planted.AnswerBeforeAppend) {
		later(group.None)
		later = func(group.Code) {}
	}
	s.c.o.Store.Append(s.partition, raw, func(err error) {
		if err != nil {
			s.c.o.Logger.Warn("append to __consumer_offsets failed", "partition", s.partition, "error", err)
			later(group.NotAvailable)
			return
		}
		later(group.None)
	})
}

// tooLarge marks a write that no retry helps; what is answered depends on the request.
const tooLarge group.Code = 10 // MESSAGE_TOO_LARGE

// Deadlines.

// schedule makes sure that the shard wakes up for the group's next deadline.
func (s *shard) schedule(e *entry) {
	at, ok := e.NextDeadline()
	if !ok || e.State() == group.Dead || e.scheduled != 0 && e.scheduled <= at {
		return
	}
	e.scheduled = at
	heap.Push(&s.deadlines, deadline{at, e})
	s.arm()
}

// arm sets the timer for the earliest deadline.
func (s *shard) arm() {
	at := s.expiry
	if len(s.deadlines) > 0 && s.deadlines[0].at < at {
		at = s.deadlines[0].at
	}
	wait := time.Duration(max(at-s.c.now(), 0)) * time.Millisecond
	if s.timer == nil {
		s.timer = time.AfterFunc(wait, func() { s.run((*shard).tick, func(group.Code) {}) })
		return
	}
	s.timer.Reset(wait)
}

// tick handles the deadlines that have passed.
func (s *shard) tick() {
	now := s.c.now()
	for len(s.deadlines) > 0 && s.deadlines[0].at <= now {
		d := heap.Pop(&s.deadlines).(deadline)
		if d.e.scheduled != d.at || s.groups[d.e.ID()] != d.e {
			continue // an earlier deadline took its place, or the group is gone
		}
		d.e.scheduled = 0
		s.settle(d.e, group.Effects{})
	}
	if now >= s.expiry {
		s.expire(now)
	}
	s.arm()
}

type deadline struct {
	at int64
	e  *entry
}

// deadlines is a heap, the earliest first.
type deadlines []deadline

func (d deadlines) Len() int           { return len(d) }
func (d deadlines) Less(i, j int) bool { return d[i].at < d[j].at }
func (d deadlines) Swap(i, j int)      { d[i], d[j] = d[j], d[i] }

// Push is for container/heap.
func (d *deadlines) Push(x any) { *d = append(*d, x.(deadline)) }

// Pop is for container/heap.
func (d *deadlines) Pop() any {
	last := len(*d) - 1
	x := (*d)[last]
	*d = (*d)[:last]
	return x
}
