// Package coordinator runs the groups of this node: it keeps them in __consumer_offsets and answers the group APIs.
//
// The idea: a group belongs to the partition of __consumer_offsets that its name hashes to (Kafka's hash), and all groups of a partition
// form a shard. A shard is a queue of events worked off one at a time by a goroutine that exists only while there is something to do, so
// that nothing in it needs a lock and the journal's committer, which reports appends, never waits for a group. The rules of the protocol
// are package group, which has no clock, goroutine or disk.
//
// The guarantee: a commit is answered after its record is synced, and a fetch sees only such commits. Assignments leave only after the
// generation that they belong to is synced, so that members and generation survive a restart. A shard that is still loading answers
// COORDINATOR_LOAD_IN_PROGRESS, one that this node does not run NOT_COORDINATOR. Every callback is called exactly once.
//
// The API: New, Load for each partition of __consumer_offsets that this node leads, then one method per Kafka API with kmsg's requests and
// responses at every version; Unload, TopicsDeleted, Close. Callbacks run on the shard's goroutine and must not block.
package coordinator

import (
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"
	"unicode/utf16"

	"chronik.dev/chronik/broker/config"
	"chronik.dev/chronik/broker/group"
)

// Store is __consumer_offsets as the coordinator sees it.
type Store interface {
	// Append writes one record batch (base offset and leader epoch are the store's to set). It keeps the order of calls and calls done
	// exactly once, in that order, after the batch is synced or with the error; done does not block. The batch is the store's from now on.
	Append(partition int32, batch []byte, done func(error))
	// Read returns whole batches from offset on, at least one if there is any, about maxBytes long.
	Read(partition int32, offset int64, maxBytes int) ([]byte, error)
	// Bounds returns the log start and the high watermark.
	Bounds(partition int32) (start, end int64, err error)
	// Ready returns the partition count of __consumer_offsets; ok is false while the topic does not exist.
	Ready() (partitions int32, ok bool)
}

// Options are what a coordinator needs. All fields are required except Logger.
type Options struct {
	Store  Store
	Config func() *config.Config // the configuration in force
	// Topic resolves a topic's name, Name its id.
	Topic  func(name string) (id [16]byte, partitions int32, ok bool)
	Name   func(id [16]byte) (name string, ok bool)
	Now    func() time.Time // nil = time.Now
	Logger *slog.Logger     // nil = none
}

// Client is who sent a request, for member ids and DescribeGroups.
type Client struct {
	ID   string // client id of the request header
	Host string // as Kafka shows it: "/127.0.0.1"
}

// Coordinator runs the groups of this node. All methods are safe for concurrent use.
type Coordinator struct {
	o      Options
	mu     sync.Mutex
	shards map[int32]*shard
	closed bool
}

// New returns a coordinator that runs no partition yet.
func New(o Options) *Coordinator {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Coordinator{o: o, shards: map[int32]*shard{}}
}

// Load begins to run a partition of __consumer_offsets: it reads the log in the background and answers from then on. A partition that is
// running already stays as it is.
func (c *Coordinator) Load(partition int32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.shards[partition] != nil {
		return
	}
	s := newShard(c, partition)
	c.shards[partition] = s
	go s.load()
}

// Unload stops a partition: its waiting members get NOT_COORDINATOR. It returns when the partition is neither read nor written any more,
// except for appends that the store has not finished yet.
func (c *Coordinator) Unload(partition int32) {
	c.mu.Lock()
	s := c.shards[partition]
	delete(c.shards, partition)
	c.mu.Unlock()
	if s != nil {
		s.stop()
	}
}

// Close unloads everything, for good.
func (c *Coordinator) Close() {
	c.mu.Lock()
	c.closed = true
	all := c.shards
	c.shards = map[int32]*shard{}
	c.mu.Unlock()
	for _, s := range all {
		s.stop()
	}
}

// Loaded says whether every partition given to Load has been read, and returns the error of one that could not be: that one answers
// NOT_COORDINATOR until Unload and Load.
func (c *Coordinator) Loaded() (bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	done := true
	var failed error
	for _, s := range c.shards {
		code, err := s.status()
		done = done && code != group.LoadInProgress
		if err != nil {
			failed = err
		}
	}
	return done, failed
}

// Partition returns the partition of __consumer_offsets that a group belongs to, among count: Java's hash of the name, as Kafka does it.
func Partition(name string, count int32) int32 {
	var hash int32
	for _, unit := range utf16.Encode([]rune(name)) {
		hash = 31*hash + int32(unit)
	}
	return (hash & 0x7fffffff) % count
}

// shard returns the shard of a group, or the code that answers every request for it.
func (c *Coordinator) shard(name string) (*shard, group.Code) {
	count, ok := c.o.Store.Ready()
	if !ok || count <= 0 {
		return nil, group.NotAvailable
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.shards[Partition(name, count)]; s != nil {
		return s, group.None
	}
	return nil, group.NotCoordinator
}

// all returns every shard, in the order of partitions.
func (c *Coordinator) all() []*shard {
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []*shard
	for _, p := range slices.Sorted(maps.Keys(c.shards)) {
		list = append(list, c.shards[p])
	}
	return list
}

// on runs fn on the shard of a group once that is active, else refuse with the reason. Exactly one of the two is called.
func (c *Coordinator) on(name string, fn func(*shard), refuse func(group.Code)) {
	s, code := c.shard(name)
	if code != group.None {
		refuse(code)
		return
	}
	s.run(fn, refuse)
}

// now is the time in milliseconds since 1970.
func (c *Coordinator) now() int64 { return c.o.Now().UnixMilli() }
