package consensus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"chronik.dev/chronik/broker/metadata"
	"chronik.dev/chronik/broker/raftlog"
)

const (
	maxProposal  = 4 << 20 // bytes of one command
	manySegments = 8       // of the log at start, from which on a snapshot is taken
)

// Node is a running member of the metadata group.
type Node struct {
	o       Options
	logger  *slog.Logger
	storage *raftlog.Storage
	report  *raftlog.Report // nil after founding

	proposals chan *proposal
	messages  chan *raftpb.Message
	hashes    chan chan [2]uint64
	stop      chan struct{}
	stopOnce  sync.Once
	done      chan struct{} // the goroutine has ended
	failed    chan struct{}
	caughtUp  chan struct{} // everything known at start is applied (group of one: and this node leads)
	failure   atomic.Pointer[error]
	status    atomic.Pointer[Status]

	loop // the goroutine's own
}

// Start opens or founds the state in Dir, restores the state machine from the newest snapshot and starts the node's goroutine. It returns
// when everything that is known to be committed is applied; a group of one then leads, and everything durable is applied. Errors:
// raftlog.ErrMissing, *raftlog.DamageError, or that of ctx.
func Start(ctx context.Context, o Options) (*Node, error) {
	if o.MemberID == 0 {
		return nil, errors.New("start metadata group: the Raft member id is 0; the data directory's identity is not set")
	}
	o.fill()
	n := &Node{
		o: o, logger: o.Logger,
		proposals: make(chan *proposal), messages: make(chan *raftpb.Message, 256), hashes: make(chan chan [2]uint64),
		stop: make(chan struct{}), done: make(chan struct{}), failed: make(chan struct{}), caughtUp: make(chan struct{}),
	}
	if err := n.open(); err != nil {
		return nil, err
	}
	if err := n.restore(); err != nil {
		return nil, errors.Join(err, n.storage.Close())
	}
	go n.run()
	select {
	case <-n.caughtUp:
		return n, nil
	case <-n.failed:
		<-n.done
		return nil, n.Err()
	case <-ctx.Done():
		return nil, errors.Join(fmt.Errorf("start metadata group: %w", ctx.Err()), n.Stop())
	}
}

// fill sets defaults.
func (o *Options) fill() {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.SnapshotEntries == 0 {
		o.SnapshotEntries = 10_000
	}
	if o.SnapshotBytes == 0 {
		o.SnapshotBytes = 4 << 20
	}
	if o.Tick == 0 {
		o.Tick = 100 * time.Millisecond
	}
	if len(o.Voters) == 0 {
		o.Voters = []uint64{o.MemberID}
	}
	o.Log.FS, o.Log.Dir, o.Log.DirID, o.Log.Logger = o.FS, o.Dir, o.DirID, o.Logger
}

// open opens or founds the storage.
func (n *Node) open() (err error) {
	if !n.o.Found {
		n.storage, n.report, err = raftlog.Open(n.o.Log)
		return err
	}
	if res := n.o.StateMachine.Apply(raftlog.FoundingIndex, nil); res.Err != nil {
		return fmt.Errorf("found metadata group: %w", res.Err)
	}
	data, err := n.o.StateMachine.Snapshot()
	if err != nil {
		return fmt.Errorf("found metadata group: %w", err)
	}
	n.storage, err = raftlog.Create(n.o.Log, raftlog.Founding{ConfState: &raftpb.ConfState{Voters: n.o.Voters}, Data: data})
	return err
}

// restore brings the state machine to the newest snapshot and makes raft's own node.
func (n *Node) restore() error {
	snap, err := n.storage.Snapshot()
	if err != nil {
		return err
	}
	if err := n.o.StateMachine.Restore(snap.GetData()); err != nil {
		return fmt.Errorf("start metadata group: snapshot at index %d: %w", snap.GetMetadata().GetIndex(), err)
	}
	hard, conf, err := n.storage.InitialState()
	if err != nil {
		return err
	}
	n.loop = loop{
		applied: snap.GetMetadata().GetIndex(), conf: conf, waiting: map[uint64]*proposal{},
		taken: snap.GetMetadata().GetIndex(), target: hard.GetCommit(),
		due:   n.report != nil && n.report.Segments >= manySegments,
		alone: len(conf.GetVoters()) == 1 && conf.GetVoters()[0] == n.o.MemberID && len(conf.GetLearners()) == 0,
	}
	if !n.alone && n.o.Transport == nil {
		return fmt.Errorf("start metadata group: its voters are %x and this is member %x, which cannot reach anyone; "+
			"do identity and raft/ belong to the same data directory?", conf.GetVoters(), n.o.MemberID)
	}
	n.raw, err = raft.NewRawNode(&raft.Config{
		ID: n.o.MemberID, ElectionTick: 5, HeartbeatTick: 1, Storage: n.storage, Applied: n.applied,
		PreVote: true, CheckQuorum: true, StepDownOnRemoval: true, DisableProposalForwarding: true, ReadOnlyOption: raft.ReadOnlySafe,
		MaxSizePerMsg: 1 << 20, MaxInflightMsgs: 256, MaxInflightBytes: 16 << 20, MaxUncommittedEntriesSize: 64 << 20, MaxCommittedSizePerReady: 4 << 20,
		Logger: raftLogger{n.logger},
	})
	if err != nil {
		return fmt.Errorf("start metadata group: %w", err)
	}
	return nil
}

// Report says what opening the state found; nil after founding.
func (n *Node) Report() *raftlog.Report { return n.report }

// Status returns the group as of the last Ready. It never waits.
func (n *Node) Status() Status { return *n.status.Load() }

// StateHash returns the applied index and the hash of the state there; equal index means equal hash on every member.
func (n *Node) StateHash(ctx context.Context) (index, hash uint64, err error) {
	answer := make(chan [2]uint64, 1)
	select {
	case n.hashes <- answer:
		pair := <-answer
		return pair[0], pair[1], nil
	case <-n.done:
		return 0, 0, n.reason()
	case <-ctx.Done():
		return 0, 0, ctx.Err()
	}
}

// Step hands over a message of another member. It does not block: when the node is behind, the message is dropped, as Raft allows.
func (n *Node) Step(m *raftpb.Message) {
	select {
	case n.messages <- m:
	default:
	}
}

// Stop ends the goroutine and closes the log. Calling it twice is allowed.
func (n *Node) Stop() error {
	n.stopOnce.Do(func() { close(n.stop) })
	<-n.done
	return n.Err()
}

// Failed is closed when the node stopped by itself; Err then says why.
func (n *Node) Failed() <-chan struct{} { return n.failed }

// Err returns the reason of Failed, or of a failed clean stop; nil otherwise.
func (n *Node) Err() error {
	if p := n.failure.Load(); p != nil {
		return *p
	}
	return nil
}

// reason is what a caller hears after the goroutine has ended.
func (n *Node) reason() error {
	if err := n.Err(); err != nil {
		return fmt.Errorf("the metadata group failed on this node: %w", err)
	}
	return ErrStopped
}

// fail records the first reason and tells everyone.
func (n *Node) fail(err error) {
	if n.failure.CompareAndSwap(nil, &err) {
		n.logger.Error("metadata group failed; the node must stop", "error", err)
		close(n.failed)
	}
}

// run is the node's goroutine.
func (n *Node) run() {
	defer close(n.done)
	defer func() {
		if p := recover(); p != nil { // raft panics where its invariants are broken
			n.fail(fmt.Errorf("raft stopped: %v\n%s", p, debug.Stack()))
		}
	}()
	n.serve()
	if err := n.storage.Close(); err != nil && n.Err() == nil {
		n.failure.Store(&err)
	}
}

// propose is Propose.
func (n *Node) propose(ctx context.Context, data []byte) (metadata.Result, error) {
	if len(data) == 0 {
		return metadata.Result{}, errors.New("propose: empty command")
	}
	if len(data) > maxProposal {
		return metadata.Result{}, fmt.Errorf("propose: command of %d bytes, at most %d are allowed", len(data), maxProposal)
	}
	p := &proposal{ctx: ctx, data: data, answer: make(chan answer, 1)}
	select {
	case n.proposals <- p:
	case <-n.done:
		return metadata.Result{}, n.reason()
	case <-ctx.Done():
		return metadata.Result{}, ctx.Err()
	}
	select {
	case a := <-p.answer:
		return a.result, a.err
	case <-ctx.Done():
		return metadata.Result{}, ctx.Err()
	case <-n.done:
		select {
		case a := <-p.answer:
			return a.result, a.err
		default:
			return metadata.Result{}, n.reason()
		}
	}
}
