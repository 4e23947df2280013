package crashtest

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"

	"chronik.dev/chronik/broker/partition"
	"chronik.dev/chronik/broker/recovery"
	"chronik.dev/chronik/broker/vfs"
	"chronik.dev/chronik/broker/wal"
)

// partFloor is partition files, checkpoint and journal together, without identity and Raft state: what recovery.Boot puts together. It works with
// the whole node's requests and its model, on small files.
type partFloor struct {
	setup  setup
	worker *worker
	node   *node

	mu      sync.Mutex
	founded bool
}

func newPartitions(seed uint64, p plant) component {
	s := draw(seed)
	s.plant = plant{onQueue: p.onQueue}
	s.partition.SegmentBytes = 1024 << (seed % 3)
	s.partition.IndexIntervalBytes = 512
	f := &partFloor{setup: s}
	f.worker = &worker{rng: rand.New(rand.NewPCG(seed, 54)), model: newModel(), raft: &raftModel{settled: founded()}, core: true}
	return f
}

func (f *partFloor) live(fsys vfs.FS, disk *vfs.Mem, rng *rand.Rand) error {
	f.setup = f.setup.vary(rng)
	f.setup.segmentSize, f.setup.firstSize, f.setup.tailLimit = 64<<10, 4*wal.BlockSize, 16<<10
	w := f.worker
	if !f.founded { // the owner starts over
		if err := vfs.RemoveAll(disk, root); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := errors.Join(disk.Mkdir(root), disk.SyncDir("/")); err != nil {
			return err
		}
		w.model.histories, w.open = nil, nil
	}
	n, err := startCore(fsys, disk, f.setup, !f.founded, false)
	if err != nil {
		return err
	}
	f.node, w.faulty = n, fsys != vfs.FS(disk)
	w.full.Store(false)
	f.mu.Lock()
	f.founded = true
	f.mu.Unlock()
	got, err := n.contents()
	if err == nil {
		err = w.model.settle(got)
	}
	if err == nil {
		err = w.attach(n)
	}
	for i := 0; i < 12 && err == nil; i++ {
		if err = w.step(); err == nil {
			w.model.mu.Lock()
			err = w.model.failed
			w.model.mu.Unlock()
		}
	}
	if err == nil {
		return w.model.wait(0)
	}
	return err
}

func (f *partFloor) stop() error {
	n := f.node
	f.node = nil
	return n.stop()
}

func (f *partFloor) halt() {
	if f.node != nil {
		f.node.halt()
		f.node = nil
	}
	m := f.worker.model
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failed, m.stopped = nil, nil // the next life finds out what is left
}

func (f *partFloor) now(copy func()) promise {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := &partPromise{founded: f.founded, setup: f.setup}
	p.parts = f.worker.model.now(copy)
	return p
}

// partPromise is what was promised of all partitions.
type partPromise struct {
	founded bool
	setup   setup
	parts   moment
	reports [2]string // of the last two recoveries
}

func (p *partPromise) key() uint64 {
	k := uint64(17)
	for i := range p.parts {
		h := &p.parts[i]
		for _, x := range []int64{h.settled.start, h.settled.end, int64(len(h.settled.batches)), int64(len(h.flight))} {
			k = (k ^ uint64(x)) * 0x100000001b3
		}
	}
	return k
}

// startCore boots without identity and Raft state.
func startCore(fsys vfs.FS, disk *vfs.Mem, s setup, founding, still bool) (*node, error) {
	n := &node{disk: disk, setup: s, env: &partition.Env{Now: now, Pool: partition.NewPool(s.tailLimit)}}
	res, err := recovery.Boot(recovery.Options{
		FS: fsys, Dir: root, DirID: journalID, Founding: founding, Env: n.env, Config: s.config,
		Wal: wal.Options{
			SegmentSize: s.segmentSize, FirstSegmentSize: s.firstSize, Spares: s.spares, GroupBytes: s.groupBytes, Buffered: s.buffered, Idle: s.idle,
			Still: still, Now: floorTime, Rand: uniqueRandom,
		},
	})
	if err != nil {
		n.env.Pool.Close()
		return nil, err
	}
	n.log, n.logs, n.checkpoints, n.report = res.Log, res.Partitions, res.Checkpointer, res.Report
	n.env.Journal = s.plant.journal(n.env.Journal)
	return n, nil
}

// read is the read-only check: its verdict, and what of each partition a boot would serve.
func (p *partPromise) read(fsys vfs.FS, rough bool) (string, error) {
	var b []byte
	report, err := recovery.Check(recovery.CheckOptions{
		FS: fsys, Dir: root, DirID: journalID, Config: p.setup.config,
		Partition: func(o recovery.Outcome) {
			b = strconv.AppendInt(append(b, o.Status...), o.LogStart, 10)
			b = append(strconv.AppendInt(append(b, ' '), o.End, 10), o.Files.ID[:4]...)
		},
	})
	if err != nil && !p.founded {
		return "nothing", nil // the owner is founding: it starts over
	}
	if err == nil {
		err = p.verdict(report, rough)
	}
	if err != nil {
		return "", err
	}
	for i := range report.Findings {
		f := &report.Findings[i]
		b = append(strconv.AppendInt(append(b, f.Verdict...), f.Offset, 10), f.Reason...)
	}
	for i := range report.Partitions {
		for _, f := range report.Partitions[i].Findings {
			b = strconv.AppendInt(append(b, f.Kind...), f.Offset, 10)
		}
	}
	return string(b), nil
}

// verdict is what a power loss may be called.
func (p *partPromise) verdict(r *recovery.Report, rough bool) error {
	if worst := r.Worst(); worst != wal.Notice && worst != wal.Torn && !(rough && worst == wal.Undecided) {
		return fmt.Errorf("verdict %s after a power loss: %s", worst, text(r))
	}
	return nil
}

func (p *partPromise) judge(fsys vfs.FS, disk *vfs.Mem, rough bool, again string) (string, error) {
	n, err := startCore(fsys, disk, p.setup, false, true)
	if err != nil {
		if !p.founded {
			return "nothing", nil
		}
		return "", err
	}
	defer n.halt()
	p.reports = [2]string{p.reports[1], text(n.report)}
	if err := p.verdict(n.report, rough); err != nil {
		return "", err
	}
	if again != "" && again != "nothing" && n.report.Worst() != wal.Notice {
		return "", fmt.Errorf("it found something new: %s", text(n.report))
	}
	got, err := n.contents()
	if err != nil {
		return "", err
	}
	known := map[[16]byte]bool{}
	for i := range p.parts {
		h := &p.parts[i]
		known[h.id.ID] = true
		if _, _, err := h.explain(got[h.id.ID]); err != nil && !(rough && (again != "" || n.report.Worst() == wal.Undecided)) {
			return "", err // where a group is undecided its intact frames are kept, in part, and the next recovery has only what this one leaves
		}
	}
	var b []byte
	for _, id := range slices.SortedFunc(maps.Keys(got), func(a, b [16]byte) int { return slices.Compare(a[:], b[:]) }) {
		if !known[id] {
			return "", fmt.Errorf("partition of topic id %x was never created", id)
		}
		s := got[id]
		if rough && s.end == 0 {
			continue // the group that created it is undecided: the directory may be left, and go
		}
		b = append(b, id[:4]...)
		for _, x := range []int64{s.start, s.end, int64(len(s.batches)), int64(len(s.producers))} {
			b = strconv.AppendInt(append(b, ' '), x, 10)
		}
	}
	return string(b), nil
}
