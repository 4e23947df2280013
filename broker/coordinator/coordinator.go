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
// responses at every version; Unload, TopicsDeleted, Close.
package coordinator

import (
	"log/slog"
	"time"

	"chronik.dev/chronik/broker/config"
	"github.com/twmb/franz-go/pkg/kmsg"
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
type Coordinator struct{ o Options }

// New returns a coordinator that runs no partition yet.
func New(o Options) *Coordinator { return &Coordinator{o: o} }

// Load begins to run a partition of __consumer_offsets: it reads the log in the background and answers from then on. A partition that is
// running already stays as it is.
func (c *Coordinator) Load(partition int32) {}

// Unload stops a partition: its waiting members get NOT_COORDINATOR. Returns when nothing of it is left.
func (c *Coordinator) Unload(partition int32) {}

// Close unloads everything.
func (c *Coordinator) Close() {}

// Loaded says whether every partition given to Load has been read.
func (c *Coordinator) Loaded() bool { return true }

// Partition returns the partition of __consumer_offsets that a group belongs to, among count.
func Partition(group string, count int32) int32 { return 0 }

// TopicsDeleted removes the offsets of deleted topics from every group, with tombstones.
func (c *Coordinator) TopicsDeleted(names []string) {}

// JoinGroup answers JoinGroup v0-9; the answer may take until the group's rebalance ends.
func (c *Coordinator) JoinGroup(from Client, req *kmsg.JoinGroupRequest, done func(*kmsg.JoinGroupResponse)) {
}

// SyncGroup answers SyncGroup v0-5; the answer may take until the leader's assignment is synced.
func (c *Coordinator) SyncGroup(req *kmsg.SyncGroupRequest, done func(*kmsg.SyncGroupResponse)) {}

// Heartbeat answers Heartbeat v0-4.
func (c *Coordinator) Heartbeat(req *kmsg.HeartbeatRequest, done func(*kmsg.HeartbeatResponse)) {}

// LeaveGroup answers LeaveGroup v0-5.
func (c *Coordinator) LeaveGroup(req *kmsg.LeaveGroupRequest, done func(*kmsg.LeaveGroupResponse)) {}

// OffsetCommit answers OffsetCommit v2-10, after the sync. Unknown topics and partitions are refused one by one.
func (c *Coordinator) OffsetCommit(req *kmsg.OffsetCommitRequest, done func(*kmsg.OffsetCommitResponse)) {
}

// OffsetFetch answers OffsetFetch v1-10, also for several groups of different partitions.
func (c *Coordinator) OffsetFetch(req *kmsg.OffsetFetchRequest, done func(*kmsg.OffsetFetchResponse)) {
}

// OffsetDelete answers OffsetDelete v0, after the sync of the tombstones.
func (c *Coordinator) OffsetDelete(req *kmsg.OffsetDeleteRequest, done func(*kmsg.OffsetDeleteResponse)) {
}

// DescribeGroups answers DescribeGroups v0-6. AuthorizedOperations are the caller's to fill in.
func (c *Coordinator) DescribeGroups(req *kmsg.DescribeGroupsRequest, done func(*kmsg.DescribeGroupsResponse)) {
}

// ListGroups answers ListGroups v0-5.
func (c *Coordinator) ListGroups(req *kmsg.ListGroupsRequest, done func(*kmsg.ListGroupsResponse)) {
}

// DeleteGroups answers DeleteGroups v0-2, after the sync of the tombstones.
func (c *Coordinator) DeleteGroups(req *kmsg.DeleteGroupsRequest, done func(*kmsg.DeleteGroupsResponse)) {
}
