// Package broker assembles one node and has its verbs: what a client can ask for, without a wire format.
//
// The idea: Open locks the data directory, brings Raft's metadata and the journal back, replays the journal into the partition logs and
// says what it found (package recovery); SetListeners registers the broker through Raft, which raises the leader epoch of every partition
// it leads, so that one (epoch, offset) never has two contents; from then on the verbs work. Every change of metadata is a Raft command;
// after each one reconcile brings the open partition logs in line with the state that the command left.
//
// The guarantee: what Append, DeleteRecords or a group's commit acknowledged is synced. A failure of the disk that leaves this in doubt
// ends the node: Failed is closed, nothing more is acknowledged.
//
// The API: Open, SetListeners, the verbs, Close. Every verb's error is an *Error with a Kafka error code.
package broker

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"chronik.dev/chronik/broker/config"
	"chronik.dev/chronik/broker/consensus"
	"chronik.dev/chronik/broker/coordinator"
	"chronik.dev/chronik/broker/datadir"
	"chronik.dev/chronik/broker/metadata"
	"chronik.dev/chronik/broker/metapb"
	"chronik.dev/chronik/broker/partition"
	"chronik.dev/chronik/broker/raftlog"
	"chronik.dev/chronik/broker/recovery"
	"chronik.dev/chronik/broker/vfs"
	"chronik.dev/chronik/broker/wal"
)

// Options say what to run. All fields are required, except Progress.
type Options struct {
	DataDir string
	Config  *config.Config
	FS      vfs.FS
	Logger  *slog.Logger
	Version string // of the binary
	// OpenFiles is how many descriptors the partitions' files may hold; 0 is three sixteenths of the process's limit, which is most of the quarter
	// that connections never get.
	OpenFiles int
	// Progress is told how far boot recovery is, often.
	Progress func(recovery.Progress)
}

// Broker is one running node.
type Broker struct {
	fs      vfs.FS
	logger  *slog.Logger
	version string
	started time.Time
	nodeID  int32

	openFiles int // descriptors for files of partitions

	static *config.Config
	cfg    atomic.Pointer[config.Config]

	dir       *datadir.Dir
	state     *metadata.State
	raft      *consensus.Node
	proposer  *metadata.Proposer
	proposing chan struct{} // holds a value while a command is on its way
	process   [16]byte      // incarnation

	journal      *wal.Log
	space        *space
	env          *partition.Env
	checkpointer *partition.Checkpointer
	report       *recovery.Report
	recovered    recoveredRaft
	groups       *coordinator.Coordinator
	producerIDs  producerIDs

	reconcileMu sync.Mutex
	logsMu      sync.RWMutex
	logs        map[slot]*partition.Log
	listed      []*partition.Log  // logs in order, made when somebody asks; nil after a change of logs
	stopped     map[slot]string   // partitions that recovery stopped, and why
	dropped     partition.Traffic // of partitions that are no longer here
	again       atomic.Bool       // a partition could not be made or dropped

	clock            *partition.Clock
	recoverySeconds  float64
	progress         func(recovery.Progress)
	liveAtCheckpoint atomic.Int64
	checkpointCount  atomic.Uint64
	incidentsMu      sync.Mutex
	incidents        map[string]int

	listeners atomic.Pointer[[]metadata.Endpoint]
	ready     atomic.Bool

	background sync.WaitGroup
	quit       chan struct{}
	draining   context.Context // ends with Drain
	drain      context.CancelFunc
	failOnce   sync.Once
	failed     chan struct{}
	failure    error
	closeOnce  sync.Once
	closeErr   error
}

// recoveredRaft is what the disk held of Raft when the node started, before it campaigned.
type recoveredRaft struct {
	Founded                       bool
	Term, Vote, Commit, LastIndex uint64
	ConfState                     string
}

// Open locks the data directory and recovers it, or founds it if it is missing or empty. Errors name the place and the next step; those of
// a directory that another process holds wrap datadir.ErrLocked.
func Open(ctx context.Context, o Options) (*Broker, error) {
	b := &Broker{
		fs: o.FS, logger: o.Logger, version: o.Version, started: time.Now(), static: o.Config, state: metadata.New(),
		logs: map[slot]*partition.Log{}, stopped: map[slot]string{}, incidents: map[string]int{}, quit: make(chan struct{}), failed: make(chan struct{}),
		openFiles: o.OpenFiles,
	}
	if b.openFiles == 0 {
		b.openFiles = 4096 // where there is no limit of the process
		if n := vfs.MaxDescriptors(); n > 0 {
			b.openFiles = n / 16 * 3
		}
	}
	b.draining, b.drain = context.WithCancel(context.Background())
	b.cfg.Store(o.Config)
	b.progress = o.Progress
	_, _ = rand.Read(b.process[:]) // never fails, see crypto/rand
	b.proposer, b.proposing = metadata.NewProposer(b.process), make(chan struct{}, 1)
	dir, err := datadir.Open(o.FS, o.DataDir, datadir.Options{NodeID: o.Config.NodeID()})
	if err != nil {
		return nil, err
	}
	b.dir, b.nodeID = dir, dir.Identity().NodeID
	if err := b.recover(ctx); err != nil {
		return nil, errors.Join(err, b.abandon())
	}
	total, err := vfs.DiskSize(o.DataDir)
	if err != nil {
		total = -1 // unknown
	}
	b.space = &space{dir: o.DataDir, free: func() (int64, error) { return o.FS.Free(o.DataDir) }, pending: b.env.Pool.Used,
		reserve: reserveOf(o.Config.DiskReserveBytes(), total), logger: b.logger}
	b.startBackground()
	return b, nil
}

// recover brings back Raft's state, then the partitions.
func (b *Broker) recover(ctx context.Context) error {
	founding := !b.dir.Identity().Founded
	if founding {
		if err := b.dir.StartOver(); err != nil {
			return err
		}
	}
	if err := b.openRaft(ctx, founding); err != nil {
		return err
	}
	if founding {
		data, err := b.proposer.Encode(time.Now().UnixMilli(), &metapb.InitCluster{ClusterId: b.dir.Identity().ClusterID})
		if err != nil {
			return err
		}
		if r, err := b.raft.Propose(ctx, data); err != nil || r.Err != nil {
			return fmt.Errorf("found the cluster: %w", errors.Join(err, r.Err))
		}
	}
	b.applyConfigs(b.Image())
	if err := b.openLogs(founding); err != nil {
		return err
	}
	if founding {
		return b.dir.Founded()
	}
	return nil
}

func (b *Broker) openRaft(ctx context.Context, founding bool) error {
	id := b.dir.Identity()
	node, err := consensus.Start(ctx, consensus.Options{
		FS: b.fs, Dir: b.dir.Path(datadir.RaftDir), DirID: id.DirectoryID, MemberID: id.MemberID, Found: founding,
		StateMachine: b.state, Logger: b.logger, Log: raftlog.Options{Evidence: b.saveRaftTail},
	})
	if errors.Is(err, raftlog.ErrMissing) {
		err = fmt.Errorf("%w; restore it, or run chronik repair plan --dir %s", err, datadir.Quote(b.dir.Path()))
	}
	if err != nil {
		return fmt.Errorf("metadata group: %w", err)
	}
	b.raft = node
	b.recovered.Founded = founding
	if r := node.Report(); r != nil {
		b.recovered = recoveredRaft{Term: r.Term, Vote: r.Vote, Commit: r.Commit, LastIndex: r.Last, ConfState: confState(node.Status())}
	}
	return nil
}

// saveRaftTail keeps the bytes of a torn end of Raft's log before it is cut, and notes it in the ledger.
func (b *Broker) saveRaftTail(f wal.Finding) error {
	name := fmt.Sprintf("raft-%s-%d", filepath.Base(f.File), f.Offset)
	saved, err := datadir.EvidenceRange(b.fs, b.dir.Path(), name, f.File, f.Offset, f.Length)
	if err != nil {
		return err
	}
	_, err = b.dir.Report(datadir.Incident{
		Class: datadir.Torn, File: filepath.Join(datadir.RaftDir, filepath.Base(f.File)), Offset: f.Offset, Length: f.Length,
		FirstLSN: uint64(f.FirstLSN), LastLSN: uint64(f.LastLSN), Reason: string(f.Reason), Evidence: saved,
		Message: "the torn end of Raft's log was cut: " + f.Evidence, Next: b.verifyCommand(),
	})
	return err
}

// confState renders the voters of a group.
func confState(s consensus.Status) string {
	if s.ConfState == nil {
		return ""
	}
	return fmt.Sprintf("voters %v learners %v", s.ConfState.GetVoters(), s.ConfState.GetLearners())
}

// SetListeners registers this process as the broker under the addresses that clients shall use, then serves: the leader epoch of every
// partition that it leads rises, __consumer_offsets begins to load. Called once.
func (b *Broker) SetListeners(ctx context.Context, endpoints []metadata.Endpoint) error {
	command := &metapb.RegisterBroker{NodeId: b.nodeID, Incarnation: b.process[:], Damaged: b.damaged()}
	for _, e := range endpoints {
		command.Listeners = append(command.Listeners, &metapb.Endpoint{Name: e.Name, Host: e.Host, Port: uint32(e.Port)})
	}
	if _, err := b.propose(ctx, command); err != nil {
		return fmt.Errorf("register broker %d: %w", b.nodeID, errors.Join(err, ctx.Err()))
	}
	b.listeners.Store(&endpoints)
	b.ready.Store(true)
	return nil
}

// NodeID returns the operator's number of this node.
func (b *Broker) NodeID() int32 { return b.nodeID }

// Identity returns the identity of the data directory. It does not change while the node is open.
func (b *Broker) Identity() datadir.Identity { return b.dir.Identity() }

// ClusterID returns the cluster's id, as Kafka writes it.
func (b *Broker) ClusterID() string { return b.dir.Identity().ClusterID }

// Image returns the metadata as of the last applied command; it never changes.
func (b *Broker) Image() *metadata.Image { return b.state.Image() }

// Listeners returns the addresses given to SetListeners.
func (b *Broker) Listeners() []metadata.Endpoint {
	if l := b.listeners.Load(); l != nil {
		return *l
	}
	return nil
}

// Groups returns the group coordinator.
func (b *Broker) Groups() *coordinator.Coordinator { return b.groups }

// Report returns what boot recovery found.
func (b *Broker) Report() *recovery.Report { return b.report }

// Failed is closed when the node stopped itself because a disk failed; Err says why.
func (b *Broker) Failed() <-chan struct{} { return b.failed }

// Err returns the reason of Failed, nil while the node works.
func (b *Broker) Err() error {
	select {
	case <-b.failed:
		return b.failure
	default:
		return nil
	}
}

// fail stops acknowledging for a reason that only a restart can mend.
func (b *Broker) fail(err error) {
	b.failOnce.Do(func() {
		b.failure = err
		b.ready.Store(false)
		b.logger.Error("the node stops", "cause", err)
		close(b.failed)
	})
}

// roomTimeout bounds how long a producer waits for the journal to fall below its cap.
const roomTimeout = 30 * time.Second

// waitRoom waits while the journal is at its cap, which a checkpoint ends; a node that drains waits for nothing.
func (b *Broker) waitRoom() error {
	if !b.journal.Full() {
		return nil
	}
	ctx, cancel := context.WithTimeout(b.draining, roomTimeout)
	defer cancel()
	err := b.journal.WaitRoom(ctx)
	switch {
	case err == nil:
		return nil
	case b.draining.Err() != nil:
		return fail(kerr.RequestTimedOut, "the node is stopping, and the journal is at chronik.journal.max.bytes")
	}
	return fail(kerr.RequestTimedOut, "the journal is at chronik.journal.max.bytes and no checkpoint made room: %v", err)
}
