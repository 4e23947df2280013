// Package metadata is the cluster's metadata as one deterministic state machine: topics, partitions with leaders and epochs, broker
// registrations, dynamic configuration, blocks of producer ids and the deleted topics that some disk may still hold.
//
// The guarantee: State is a function of the commands applied to it and their Raft indexes, of nothing else. No clock, no randomness, no map
// order: equal index means equal Hash on every node. A command that cannot be carried out is an answer (Result.Err), not a failure, and
// changes nothing but the index. A command applied twice under the same id (proposer incarnation, sequence) answers twice and acts once,
// also across snapshot and restart.
//
// API: a Proposer encodes commands (package metapb has their vocabulary); State.Apply applies an entry; State.Image is the immutable
// picture that everyone else reads, published by an atomic pointer and shared copy-on-write with the one before it; Snapshot and Restore
// carry the state; CommandJSON and SnapshotJSON render both for people. Apply, Snapshot, Restore and Hash belong to one goroutine.
package metadata

import (
	"errors"
	"fmt"
	"maps"
	"sync/atomic"

	"chronik.dev/chronik/broker/metapb"
)

// Image is the metadata after one applied entry. It and everything it points to never change.
type Image struct {
	Index          uint64 // Raft index of the last applied entry
	ClusterID      string // empty until the cluster is founded
	Topics         map[string]*Topic
	TopicsByID     map[[16]byte]*Topic
	Brokers        map[int32]*Broker
	BrokerConfigs  map[int32]map[string]string // -1: default of all brokers
	Deleted        map[[16]byte]*Deleted       // topics that wait for TopicDropped of some node
	NextProducerID int64
}

// Topic is a live topic. A re-created name is another topic with another id.
type Topic struct {
	Name       string
	ID         [16]byte
	Index      uint64 // Raft index of creation
	Internal   bool
	Configs    map[string]string // dynamic configuration, only what was set
	Partitions []Partition       // by number, at least one
}

// Partition is one partition of a topic.
type Partition struct {
	Index          uint64 // Raft index of creation
	Leader         int32  // -1: none
	LeaderEpoch    int32  // raised whenever the leader may write other bytes
	PartitionEpoch int32  // raised by every change of leader, ISR or replicas
	Replicas, ISR  []int32
}

// Broker is the newest registration of a node.
type Broker struct {
	NodeID       int32
	Incarnation  [16]byte
	Epoch        int64 // Raft index of this incarnation's first registration (KIP-631)
	Listeners    []Endpoint
	Rack         string
	Damaged      []DamagedRange // what this incarnation's recovery could not prove
	RegisteredMS int64          // the proposer's clock, for display
}

// Endpoint is one listener as clients reach it.
type Endpoint struct {
	Name, Host string
	Port       uint16
}

// DamagedRange is what a broker's recovery could not prove of a partition.
type DamagedRange struct {
	TopicID   [16]byte
	Partition int32
	ProvenEnd int64 // every offset below it is proven
	Corrupt   bool  // proven corrupt; otherwise undecided
}

// Deleted is a deleted topic that some replica may still have on its disk.
type Deleted struct {
	Name       string
	ID         [16]byte
	Created    uint64 // Raft index of creation
	Index      uint64 // Raft index of deletion
	Partitions int32
	Waiting    []int32 // nodes that have not reported the synced drop, sorted
}

// Result is what applying a command answered.
type Result struct {
	Index           uint64 // Raft index at which the command took effect (of the first application, if Duplicate)
	Err             error  // *Error: refused, nothing changed; or ErrUnsupported: the node must stop
	Duplicate       bool   // the command had been applied before; the answer is the first one's
	Topic           *Topic // CreateTopic, CreatePartitions, AlterConfigs of a topic; nil if deleted since, for a duplicate
	BrokerEpoch     int64  // RegisterBroker
	FirstProducerID int64  // AllocateProducerIds: first of the block
}

// State is the state machine. Image may be called from any goroutine, everything else from one.
type State struct {
	image     atomic.Pointer[Image]
	collision map[string]string // topic name with '.' as '_' → topic name
	dedup     table
}

// New returns the state before the first command.
func New() *State {
	s := &State{collision: map[string]string{}}
	s.image.Store(&Image{
		Topics: map[string]*Topic{}, TopicsByID: map[[16]byte]*Topic{}, Brokers: map[int32]*Broker{},
		BrokerConfigs: map[int32]map[string]string{}, Deleted: map[[16]byte]*Deleted{},
	})
	return s
}

// Image returns the picture after the last applied entry; never nil.
func (s *State) Image() *Image { return s.image.Load() }

// Apply applies the entry at a Raft index above every one before. Empty data (Raft's own entries) only moves the index. An error that is
// ErrUnsupported means that a newer version wrote the command: nothing was applied and the node must stop, or it would diverge.
func (s *State) Apply(index uint64, data []byte) Result {
	next := *s.image.Load()
	next.Index = index
	if len(data) == 0 {
		s.image.Store(&next)
		return Result{Index: index}
	}
	var c metapb.Command
	if err := metapb.Unmarshal(data, &c, metapb.MaxCommand); err != nil {
		if errors.Is(err, metapb.ErrFormat) {
			return Result{Index: index, Err: unsupported("metadata command at index %d: %v", index, err)}
		}
		s.image.Store(&next)
		return Result{Index: index, Err: refuse(metapb.Verdict_INVALID_COMMAND, "metadata command: %v", err)}
	}
	if c.Body == nil {
		s.image.Store(&next)
		return Result{Index: index, Err: refuse(metapb.Verdict_INVALID_COMMAND, "metadata command without a body")}
	}
	id, ok := id16(c.Proposer)
	if !ok || c.Sequence == 0 {
		s.image.Store(&next)
		return Result{Index: index, Err: refuse(metapb.Verdict_INVALID_COMMAND, "metadata command without a proposer's id and sequence")}
	}
	if known, stale := s.dedup.find(id, c.Sequence); known != nil {
		s.image.Store(&next)
		return s.repeat(&next, known)
	} else if stale {
		s.image.Store(&next)
		return Result{Index: index, Err: refuse(metapb.Verdict_STALE_COMMAND,
			"metadata command %d of proposer %x is older than the last %d answers that are kept; read the metadata to see what became of it", c.Sequence, id, window)}
	}
	change := edit{Image: &next, index: index, timeMS: c.TimeMs, state: s}
	res := change.apply(&c)
	res.Index = index
	if res.Err != nil { // refused: whatever the edit had begun is forgotten
		next = *s.image.Load()
		next.Index = index
	} else if change.commit != nil {
		change.commit()
	}
	s.dedup.remember(id, outcome(c.Sequence, res))
	s.image.Store(&next)
	return res
}

// edit is one command on its way: a shallow copy of the image whose maps are cloned before they are written.
type edit struct {
	*Image
	index  uint64
	timeMS int64
	state  *State
	commit func() // changes outside the image, done when the command is accepted
}

// apply carries out a command.
func (e *edit) apply(c *metapb.Command) Result {
	switch b := c.Body.(type) {
	case *metapb.Command_InitCluster:
		return e.initCluster(b.InitCluster)
	case *metapb.Command_CreateTopic:
		return e.createTopic(b.CreateTopic)
	case *metapb.Command_DeleteTopic:
		return e.deleteTopic(b.DeleteTopic)
	case *metapb.Command_CreatePartitions:
		return e.createPartitions(b.CreatePartitions)
	case *metapb.Command_AlterConfigs:
		return e.alterConfigs(b.AlterConfigs)
	case *metapb.Command_RegisterBroker:
		return e.registerBroker(b.RegisterBroker)
	case *metapb.Command_AllocateProducerIds:
		return e.allocateProducerIDs(b.AllocateProducerIds)
	case *metapb.Command_TopicDropped:
		return e.topicDropped(b.TopicDropped)
	}
	return failed(metapb.Verdict_INVALID_COMMAND, "metadata command of unknown kind %T", c.Body)
}

// setTopic replaces or adds a topic.
func (e *edit) setTopic(t *Topic) {
	e.Topics, e.TopicsByID = maps.Clone(e.Topics), maps.Clone(e.TopicsByID)
	e.Topics[t.Name], e.TopicsByID[t.ID] = t, t
}

func (e *edit) initCluster(c *metapb.InitCluster) Result {
	switch {
	case c.ClusterId == "" || len(c.ClusterId) > maxClusterID:
		return failed(metapb.Verdict_INVALID_COMMAND, "cluster id of %d bytes: 1 to %d are allowed", len(c.ClusterId), maxClusterID)
	case e.ClusterID != "" && e.ClusterID != c.ClusterId:
		return failed(metapb.Verdict_CONFLICT, "the cluster is already named %s", e.ClusterID)
	}
	e.ClusterID = c.ClusterId
	return Result{}
}

func (e *edit) allocateProducerIDs(c *metapb.AllocateProducerIds) Result {
	if c.Count == 0 || c.Count > maxProducerBlock {
		return failed(metapb.Verdict_INVALID_COMMAND, "block of %d producer ids: 1 to %d are allowed", c.Count, maxProducerBlock)
	}
	first := e.NextProducerID
	if first+int64(c.Count) < first {
		return failed(metapb.Verdict_LIMIT_EXCEEDED, "producer ids are used up")
	}
	e.NextProducerID = first + int64(c.Count)
	return Result{FirstProducerID: first}
}

// id16 returns a 16-byte id.
func id16(b []byte) (id [16]byte, ok bool) {
	ok = len(b) == len(id)
	copy(id[:], b)
	return id, ok
}

// failed is a refusal as a Result.
func failed(v metapb.Verdict, format string, args ...any) Result {
	return Result{Err: refuse(v, format, args...)}
}

// refuse builds the error of a refusal.
func refuse(v metapb.Verdict, format string, args ...any) *Error {
	return &Error{Verdict: v, Message: fmt.Sprintf(format, args...)}
}
