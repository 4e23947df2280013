package partition

import (
	"cmp"
	"math/bits"
	"slices"
	"sync"
	"sync/atomic"
)

// DefaultTailLimit is the memory that all tails of a node may hold.
const DefaultTailLimit = 64 << 20

const (
	minChunk = 4 << 10
	maxChunk = 256 << 10 // a larger batch gets a chunk of its own size
)

// Pool bounds the memory of all tails of a node and owns the one goroutine that writes synced chunks to the partition files.
//
// Above half of the limit the flusher writes the chunks of the partitions with the oldest data until a quarter is left in memory. At the
// limit appends wait, before they take any lock; appends of the node itself (AppendInfo.Internal) never wait.
type Pool struct {
	limit   int64
	free    [8]sync.Pool // chunk buffers by size class: 4 KiB << n
	kick    chan struct{}
	stop    chan struct{}
	stopped chan struct{}
	stamps  atomic.Int64 // ages of chunks
	over    atomic.Bool  // used is above half of the limit

	mu      sync.Mutex
	room    sync.Cond // on mu: used fell, noSpace changed, or the pool closed
	used    int64
	noSpace bool // the last flush ran into a full disk
	closed  bool
	logs    map[*Log]struct{}
}

// NewPool starts a pool of limit bytes (0 = DefaultTailLimit). Close stops it.
func NewPool(limit int64) *Pool {
	if limit <= 0 {
		limit = DefaultTailLimit
	}
	p := &Pool{
		limit: limit, kick: make(chan struct{}, 1), stop: make(chan struct{}), stopped: make(chan struct{}), logs: map[*Log]struct{}{},
	}
	p.room.L = &p.mu
	go p.flusher()
	return p
}

// Used returns the bytes that tails hold.
func (p *Pool) Used() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.used
}

// Limit returns the bytes that tails may hold.
func (p *Pool) Limit() int64 { return p.limit }

// Close stops the flusher after the write in hand. Appends no longer wait.
func (p *Pool) Close() {
	p.mu.Lock()
	if !p.closed {
		p.closed = true
		close(p.stop)
		p.room.Broadcast()
	}
	p.mu.Unlock()
	<-p.stopped
}

func (p *Pool) add(l *Log) {
	p.mu.Lock()
	p.logs[l] = struct{}{}
	p.mu.Unlock()
}

func (p *Pool) remove(l *Log) {
	p.mu.Lock()
	delete(p.logs, l)
	p.mu.Unlock()
}

// wait blocks while the pool is full; ErrNoSpace if it is full because the disk is.
func (p *Pool) wait() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.used >= p.limit && !p.closed {
		if p.noSpace {
			p.poke() // try again: somebody may have made room
			return ErrNoSpace
		}
		p.poke()
		p.room.Wait()
	}
	return nil
}

// poke wakes the flusher.
func (p *Pool) poke() {
	select {
	case p.kick <- struct{}{}:
	default:
	}
}

// all returns the registered logs.
func (p *Pool) all() []*Log {
	p.mu.Lock()
	defer p.mu.Unlock()
	logs := make([]*Log, 0, len(p.logs))
	for l := range p.logs {
		logs = append(logs, l)
	}
	return logs
}

// take returns a buffer of at least size bytes with length 0.
func (p *Pool) take(size int) []byte {
	class := sizeClass(size)
	var b []byte
	if class < len(p.free) {
		if v := p.free[class].Get(); v != nil {
			b = *v.(*[]byte)
		} else {
			b = make([]byte, 0, minChunk<<class)
		}
	} else {
		b = make([]byte, 0, size)
	}
	p.mu.Lock()
	p.used += int64(cap(b))
	p.over.Store(p.used > p.limit/2)
	p.mu.Unlock()
	return b
}

// give takes a buffer back.
func (p *Pool) give(b []byte) {
	p.mu.Lock()
	p.used -= int64(cap(b))
	p.over.Store(p.used > p.limit/2)
	p.room.Broadcast()
	p.mu.Unlock()
	if class := sizeClass(cap(b)); class < len(p.free) && cap(b) == minChunk<<class {
		b = b[:0]
		p.free[class].Put(&b)
	}
}

func sizeClass(size int) int {
	if size <= minChunk {
		return 0
	}
	return bits.Len(uint(size-1)) - bits.Len(uint(minChunk-1))
}

func (p *Pool) flusher() {
	defer close(p.stopped)
	for {
		select {
		case <-p.stop:
			return
		case <-p.kick:
		}
		if p.over.Load() {
			p.relieve()
		}
	}
}

// relieve flushes the partitions with the oldest data until a quarter of the limit is left in memory.
func (p *Pool) relieve() {
	type candidate struct {
		log *Log
		age int64
	}
	var old []candidate
	for _, l := range p.all() {
		if age, ok := l.oldest(); ok {
			old = append(old, candidate{l, age})
		}
	}
	slices.SortFunc(old, func(a, b candidate) int { return cmp.Compare(a.age, b.age) })
	noSpace := false
	for _, c := range old {
		if p.Used() <= p.limit/4 {
			break
		}
		select {
		case <-p.stop:
			return
		default:
		}
		noSpace = isNoSpace(c.log.Flush()) || noSpace
	}
	p.mu.Lock()
	p.noSpace = noSpace
	p.room.Broadcast()
	p.mu.Unlock()
}

// chunk is a piece of a tail: whole batches, back to back, of one segment.
type chunk struct {
	pool    *Pool
	refs    atomic.Int32 // the tail, every journal frame in flight, every reader
	age     int64        // order of creation over all tails of the pool
	buf     []byte       // grows in place up to its capacity; bytes once there never change
	batches []span
	full    bool  // no batch is added
	flushed int   // batches already written to the file
	segment int64 // base offset of the segment that they belong to
}

// span is one batch in a chunk.
type span struct {
	base, last int64 // offsets
	maxTime    int64 // max timestamp, ms
	from, to   int   // bytes in buf
}

func (p *Pool) newChunk(size int) *chunk {
	c := &chunk{pool: p, buf: p.take(size), age: p.stamps.Add(1)}
	c.refs.Store(1)
	return c
}

func (c *chunk) hold() { c.refs.Add(1) }

func (c *chunk) release() {
	if c.refs.Add(-1) == 0 {
		c.pool.give(c.buf)
		c.buf = nil
	}
}

func (c *chunk) room() int { return cap(c.buf) - len(c.buf) }

// end is the offset after the last batch.
func (c *chunk) end() int64 { return c.batches[len(c.batches)-1].last + 1 }
