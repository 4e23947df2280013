package crashtest

import (
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"chronik.dev/chronik/broker/batch"
	"chronik.dev/chronik/broker/datadir"
	"chronik.dev/chronik/broker/partition"
	"chronik.dev/chronik/broker/raftlog"
	"chronik.dev/chronik/broker/recovery"
	"chronik.dev/chronik/broker/vfs"
	"chronik.dev/chronik/broker/wal"
)

// root is the data directory on every disk of this programme.
const root = "/node"

// setup is how the nodes of one world are configured. It is drawn from the seed.
type setup struct {
	seed        uint64
	segmentSize int64
	firstSize   int64
	spares      int
	groupBytes  int
	buffered    bool
	tailLimit   int64
	idle        time.Duration
	partition   partition.Config
	plant       plant
	release     bool // boot as a repair does: what was held for a stopped partition is read back
}

func draw(seed uint64) setup {
	rng := rand.New(rand.NewPCG(seed, 11))
	s := setup{
		seed: seed, segmentSize: 64 << 10, firstSize: int64(4+rng.IntN(5)) * 4096, spares: rng.IntN(3) - 1, groupBytes: 1 << (11 + rng.IntN(8)),
		buffered: rng.IntN(3) == 0, tailLimit: 16 << (10 + rng.IntN(5)), idle: time.Duration(rng.IntN(2)-1) * time.Nanosecond,
		partition: partition.DefaultConfig(),
	}
	if s.idle == 0 {
		s.idle = time.Microsecond
	}
	s.partition.SegmentBytes = 2048 << rng.IntN(5)
	s.partition.IndexIntervalBytes = 512 << rng.IntN(4)
	s.partition.RetentionBytes = int64(s.partition.SegmentBytes) * int64(2+rng.IntN(20))
	return s
}

// vary draws other settings of the journal for the next start: a restart may bring any.
func (s setup) vary(rng *rand.Rand) setup {
	o := draw(rng.Uint64())
	s.segmentSize, s.firstSize, s.spares, s.groupBytes, s.buffered = 64<<10<<rng.IntN(2), o.firstSize, o.spares, o.groupBytes, o.buffered
	s.tailLimit, s.idle = o.tailLimit, o.idle
	return s
}

// node is the storage core of one broker: Raft log, journal, partitions.
type node struct {
	disk        *vfs.Mem
	dir         *datadir.Dir
	raft        *raftlog.Storage
	env         *partition.Env
	log         *wal.Log
	logs        []*partition.Log
	checkpoints *partition.Checkpointer
	setup       setup
	report      *recovery.Report
	raftReport  *raftlog.Report // nil after founding
}

// clock counts milliseconds for all worlds; only its steps matter.
var clock atomic.Int64

func now() int64 { return 1_700_000_000_000 + clock.Add(1) }

func (n *node) now() int64 { return now() }

// generations draws numbers that do not repeat.
func generations(seed uint64) func() uint64 {
	var mu sync.Mutex
	rng := rand.New(rand.NewPCG(seed, uint64(clock.Add(1))))
	return func() uint64 {
		mu.Lock()
		defer mu.Unlock()
		return rng.Uint64()
	}
}

// start boots a node as the broker does: identity and lock, Raft state, journal and partitions.
func start(disk *vfs.Mem, s setup, topics map[[16]byte]string) (_ *node, err error) {
	n := &node{disk: disk, setup: s}
	fsys := s.plant.disk(disk)
	n.dir, err = datadir.Open(fsys, root, datadir.Options{NodeID: 1, Now: func() time.Time { return time.UnixMilli(now()) }, Rand: rand.NewChaCha8([32]byte{1})})
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			n.halt()
		}
	}()
	id := n.dir.Identity()
	random := generations(s.seed)
	raft := raftlog.Options{
		FS: fsys, Dir: n.dir.Path(datadir.RaftDir), DirID: id.DirectoryID, SegmentSize: s.segmentSize, Buffered: s.buffered,
		Now: func() time.Time { return time.UnixMilli(now()) }, Rand: random,
		Evidence: func(f wal.Finding) error {
			_, err := datadir.EvidenceRange(fsys, root, fmt.Sprintf("%s@%d", filepath.Base(f.File), f.Offset), f.File, f.Offset, f.Length)
			return err
		},
	}
	n.env = &partition.Env{Now: now, Pool: partition.NewPool(s.tailLimit)}
	boot := recovery.Options{
		FS: fsys, Dir: root, DirID: id.DirectoryID, Founding: !id.Founded, Env: n.env, Report: n.dir.Report, Release: s.release,
		Wal: wal.Options{
			FS: fsys, DirID: id.DirectoryID, Kind: wal.Journal, SegmentSize: s.segmentSize, FirstSegmentSize: s.firstSize, Spares: s.spares,
			GroupBytes: s.groupBytes, Buffered: s.buffered, Idle: s.idle, Now: func() time.Time { return time.UnixMilli(now()) }, Rand: random,
		},
		Topic:  func(id [16]byte) (string, bool) { name, ok := topics[id]; return name, ok },
		Config: s.config,
	}
	if id.Founded {
		n.raft, n.raftReport, err = raftlog.Open(raft)
	} else if err = n.dir.StartOver(); err == nil {
		n.raft, err = raftlog.Create(raft, raftlog.Founding{ConfState: &raftpb.ConfState{Voters: []uint64{1}}, Data: []byte("founding")})
	}
	if err != nil {
		return nil, err
	}
	res, err := recovery.Boot(boot)
	if err != nil {
		return nil, err
	}
	n.log, n.logs, n.checkpoints, n.report = res.Log, res.Partitions, res.Checkpointer, res.Report
	n.env.Journal = s.plant.journal(n.env.Journal)
	return n, n.dir.Founded()
}

// halt ends a node whose power is gone: nothing that it still does reaches the disk.
func (n *node) halt() {
	n.disk.PowerOff()
	if n.raft != nil {
		_ = n.raft.Close()
	}
	if n.log != nil {
		_ = n.log.Close()
	}
	if n.env != nil {
		n.env.Pool.Close()
	}
}

// stop ends a node cleanly.
func (n *node) stop() error {
	var errs []error
	for _, l := range n.logs {
		errs = append(errs, l.Close())
	}
	errs = append(errs, n.checkpoints.Run())
	if n.raft != nil {
		errs = append(errs, n.raft.Close())
	}
	errs = append(errs, n.log.Close())
	if n.dir != nil {
		errs = append(errs, n.dir.Close())
	}
	n.env.Pool.Close()
	return errors.Join(errs...)
}

func (n *node) byID() map[[16]byte]*partition.Log {
	out := map[[16]byte]*partition.Log{}
	for _, l := range n.logs {
		out[l.Identity().ID] = l
	}
	return out
}

// contents reads everything that clients can see, through the same calls.
func (n *node) contents() (map[[16]byte]*seen, error) {
	out := map[[16]byte]*seen{}
	for _, l := range n.logs {
		s, err := content(l)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", l.Name(), err)
		}
		out[l.Identity().ID] = s
	}
	return out, nil
}

func content(l *partition.Log) (*seen, error) {
	s := &seen{start: l.LogStart(), end: l.LogEnd(), epoch: l.LeaderEpoch(), producers: map[int64]int32{}}
	if compacts(l.Identity().Topic) {
		s.records = map[int64]keyed{}
	}
	if hw := l.HighWatermark(); hw != s.end {
		return nil, fmt.Errorf("high watermark %d, log end %d", hw, s.end)
	}
	for at := s.start; at < s.end; {
		data, err := l.Read(partition.ReadRequest{Offset: at, UpTo: math.MaxInt64, MaxBytes: 1 << 20, AtLeastOne: true})
		if err != nil {
			return nil, err
		}
		if len(data) == 0 && s.records != nil { // cleaned up to the end
			break
		}
		if len(data) == 0 {
			return nil, fmt.Errorf("nothing at offset %d below the log end %d", at, s.end)
		}
		err = batch.Each(data, func(h batch.Header, raw []byte) error {
			if _, err := batch.CheckStored(raw); err != nil {
				return fmt.Errorf("offset %d: %w", h.BaseOffset, err)
			}
			r := record{base: h.BaseOffset, count: h.Count, crc: h.CRC, epoch: h.LeaderEpoch, pid: h.ProducerID, seq: -1}
			if r.pid >= 0 {
				r.seq = h.LastSequence()
			}
			s.batches = append(s.batches, r)
			if s.records != nil {
				if err := batch.Records(raw, 1<<20, func(k batch.Record) error {
					s.records[k.Offset] = keyed{k.Key[0], crc32.ChecksumIEEE(k.Value)}
					return nil
				}); err != nil {
					return err
				}
			}
			at = h.LastOffset() + 1
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	for _, p := range l.Producers() {
		s.producers[p.ID] = p.LastSequence
	}
	return s, nil
}
