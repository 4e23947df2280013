package crashtest

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"chronik.dev/chronik/broker/datadir"
	"chronik.dev/chronik/broker/partition"
	"chronik.dev/chronik/broker/recovery"
	"chronik.dev/chronik/broker/vfs"
	"chronik.dev/chronik/broker/wal"
)

// counts is what a run has done. All worlds share one.
type counts struct {
	seeds, lives, steps, acks, saves      atomic.Int64
	states, inner, again, torn, cleanings atomic.Int64
	expired                               atomic.Int64 // producers forgotten for being idle
	full, retained, cleaned               atomic.Int64 // lives that ended on a full disk; moves of a log start by retention; logs made smaller by the cleaner
}

func (c *counts) String() string {
	return fmt.Sprintf("%d crash states (%d inside recovery, %d after it, %d with a torn write); %d seeds, %d lives of a node, %d clean stops, %d ends on a full disk, %d moves by retention, %d cleaned logs, %d producers expired, %d requests, %d acknowledged, %d Raft saves",
		c.states.Load(), c.inner.Load(), c.again.Load(), c.torn.Load(), c.seeds.Load(), c.lives.Load(), c.cleanings.Load(), c.full.Load(), c.retained.Load(), c.cleaned.Load(), c.expired.Load(), c.steps.Load(),
		c.acks.Load(), c.saves.Load())
}

// fields are the counts by name, for the results file.
func (c *counts) fields() map[string]int64 {
	return map[string]int64{
		"states inside recovery": c.inner.Load(), "second recoveries": c.again.Load(), "states with a torn write": c.torn.Load(), "histories": c.seeds.Load(),
		"lives of a node": c.lives.Load(), "clean stops": c.cleanings.Load(), "lives that ended on a full disk": c.full.Load(), "requests": c.steps.Load(),
		"acknowledged": c.acks.Load(), "Raft saves": c.saves.Load(), "cleaned logs": c.cleaned.Load(), "producers expired": c.expired.Load(), "moves of a log start by retention": c.retained.Load(),
	}
}

// world is one seed: a node on a disk in memory through several lives, and the judge of every disk that a crash could have left.
type world struct {
	setup   setup
	counts  *counts
	density int // of 1000 calls to the disk, how many are crash points

	mu  sync.Mutex // guards rng
	rng *rand.Rand

	disk   *vfs.Mem
	worker *worker
	images *examiner // judges the crash points instead of boots; nil: boots do
	failed *vfs.Mem  // the disk of the first failure
	where  string
}

// run lives one seed. The error says what was lost, invented or not idempotent.
func run(s setup, c *counts, steps, lives, density int) (*world, error) {
	return runWith(s, c, steps, lives, density, nil)
}

// runWith is run with another judge of crash points.
func runWith(s setup, c *counts, steps, lives, density int, images *examiner) (*world, error) {
	w := &world{images: images, setup: s, counts: c, density: density, rng: rand.New(rand.NewPCG(s.seed, 21)), disk: vfs.NewMem(s.seed)}
	w.worker = &worker{rng: rand.New(rand.NewPCG(s.seed, 22)), model: newModel(), raft: &raftModel{settled: founded()}}
	c.seeds.Add(1)
	for range lives {
		if err := w.live(steps); err != nil {
			return w, err
		}
	}
	return w, nil
}

// draw answers whether a call to the disk is a crash point, with a generator for it. Writes of journal and Raft log are the most telling.
func (w *world) draw(op vfs.Op) *rand.Rand {
	density := w.density
	if op.Kind == vfs.OpWrite && (strings.Contains(op.Name, "/wal/") || strings.Contains(op.Name, "/raft/")) {
		density *= 4 // a write in flight
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.rng.IntN(1000) >= density {
		return nil
	}
	return rand.New(rand.NewPCG(w.rng.Uint64(), 1))
}

// live boots the node, works, and ends the life by a power loss, a kill or a clean stop.
func (w *world) live(steps int) error {
	w.counts.lives.Add(1)
	model, raft := w.worker.model, w.worker.raft
	if w.worker.rng.IntN(2) == 0 {
		w.setup = w.setup.vary(w.worker.rng)
	}
	w.disk.SetHook(w.crashPoint)
	n, err := start(w.disk, w.setup, w.topics())
	if err != nil {
		return w.blame(w.disk, "boot", err)
	}
	got, err := n.contents()
	if err == nil {
		err = w.settle(n, got)
	}
	if err == nil {
		err = w.worker.attach(n)
	}
	for i := 0; i < steps && err == nil; i++ {
		w.counts.steps.Add(1)
		if err = w.worker.step(); err != nil && w.worker.full.Load() {
			break // the node says why it cannot go on; what it acknowledged must be there all the same
		}
		model.mu.Lock()
		if model.failed != nil {
			err = model.failed
		}
		model.mu.Unlock()
	}
	end := w.worker.rng.IntN(4)
	if err != nil && w.worker.full.Load() && model.failed == nil {
		end, err = 1+w.worker.rng.IntN(3), nil
		w.counts.full.Add(1)
	}
	if err != nil {
		n.halt()
		return w.blame(w.disk, "work", err)
	}
	w.disk.SetHook(nil)
	w.disk.SetLimit(0)
	var next *vfs.Mem
	switch end {
	case 0:
		if err := n.stop(); err != nil {
			return w.blame(w.disk, "clean stop", err)
		}
		w.counts.cleanings.Add(1)
		next = w.disk
		if err := w.checkClean(); err != nil {
			return w.blame(w.disk, "after a clean stop", err)
		}
	case 1:
		w.disk.PowerOff() // first: what is acknowledged from here on was on the disk before
		next = w.disk.Kill()
		n.halt()
	default:
		w.disk.PowerOff()
		next = w.disk.CrashClone(w.worker.rng)
		n.halt()
	}
	w.counts.acks.Add(int64(model.acks))
	w.counts.retained.Add(w.worker.retained)
	w.counts.cleaned.Add(w.worker.cleaned)
	w.counts.expired.Add(w.worker.expired)
	w.worker.retained, w.worker.cleaned, w.worker.expired = 0, 0, 0
	w.counts.saves.Add(int64(raft.saves))
	model.acks, model.stopped, raft.saves = 0, nil, 0
	w.disk = next
	w.disk.SetLimit(0)
	w.worker.full.Store(false)
	return nil
}

// checkClean says whether the disk of a stopped node is in order.
func (w *world) checkClean() error {
	report, err := w.check(w.disk)
	if err == nil && report.Worst() != wal.Notice {
		err = fmt.Errorf("the report is not clean: %s", text(report))
	}
	if found := w.findings(w.disk); err == nil && len(found) > 0 {
		err = fmt.Errorf("wal verify --deep: %s", strings.Join(found, "; "))
	}
	return err
}

// settle makes what survived the truth of the next life.
func (w *world) settle(n *node, got map[[16]byte]*seen) error {
	if err := w.worker.model.settle(got); err != nil {
		return err
	}
	state, err := readRaft(n.raft)
	if err == nil {
		err = w.worker.raft.now().explain(state)
	}
	w.worker.raft.settled, w.worker.raft.next = state, nil
	return err
}

// topics is what metadata knows: every topic that was ever created.
func (w *world) topics() map[[16]byte]string {
	m := w.worker.model
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make(map[[16]byte]string, len(m.histories))
	for _, h := range m.histories {
		out[h.id.ID] = h.id.Topic
	}
	return out
}

// crashPoint is the hook of the living node's disk: now and then it judges what a power loss or a kill here would leave.
func (w *world) crashPoint(op vfs.Op) {
	rng := w.draw(op)
	if rng == nil {
		return
	}
	if w.images != nil {
		if err := w.images.point(w, op, rng); err != nil {
			w.worker.model.fail(err)
		}
		return
	}
	j := &judge{world: w, rng: rng, topics: w.topics(), at: op.String()}
	var disk *vfs.Mem
	j.parts = w.worker.model.now(func() {
		j.raft = w.worker.raft.now()
		if rng.IntN(4) == 0 {
			j.at, disk = "a kill at "+j.at, w.disk.Kill() // what is not synced can go in a power loss inside the recovery
			return
		}
		j.at, disk = "a power loss at "+j.at, w.disk.CrashClone(rng)
	})
	if err := j.verdict(disk, 0); err != nil {
		w.worker.model.fail(err)
	}
}

// blame keeps the disk of the first failure.
func (w *world) blame(disk *vfs.Mem, where string, err error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.failed == nil {
		w.failed, w.where = disk.Kill(), where
	}
	return fmt.Errorf("%s: %w", where, err)
}

// judge decides about one crash: what must be there, what may be.
type judge struct {
	world  *world
	topics map[[16]byte]string
	at     string
	parts  moment
	raft   raftMoment

	mu  sync.Mutex // guards rng and err
	rng *rand.Rand
	err error
}

func (j *judge) intn(n int) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.rng.IntN(n)
}

// verdict boots a disk and compares; depth counts crashes inside recovery.
func (j *judge) verdict(disk *vfs.Mem, depth int) error {
	c := j.world.counts
	c.states.Add(1)
	if depth > 0 {
		c.inner.Add(1)
	}
	disk.SetLimit(0)
	before := disk.Kill()
	if err := j.boot(disk, depth); err != nil {
		return j.world.blame(before, fmt.Sprintf("%s, crash inside recovery %d times", j.at, depth), err)
	}
	return nil
}

func (j *judge) boot(disk *vfs.Mem, depth int) error {
	readOnly := j.intn(8) == 0
	var checked *recovery.Report
	var rows map[string]int64
	if readOnly && depth == 0 {
		var err error
		if checked, err = j.world.check(disk); err != nil && !errors.Is(err, errFounding) {
			return fmt.Errorf("read-only check: %w", err)
		}
		if checked != nil {
			if rows, err = counted(disk); err != nil {
				return fmt.Errorf("wal stats: %w", err)
			}
		}
	}
	if depth < 2 {
		var left atomic.Int64 // recovery has goroutines of its own
		left.Store(int64(2 - depth))
		disk.SetHook(func(op vfs.Op) {
			if left.Load() > 0 && j.intn(25) == 0 && left.Add(-1) >= 0 {
				j.inside(disk, depth)
			}
		})
	}
	n, err := start(disk, j.world.setup, j.topics)
	disk.SetHook(nil)
	if err != nil {
		return fmt.Errorf("boot: %w", err)
	}
	defer n.halt()
	if err := j.inspect(n, checked); err != nil {
		return err
	}
	got, err := n.contents()
	if err != nil {
		return err
	}
	if err := j.compare(n, got); err != nil {
		return err
	}
	if rows != nil {
		if err := compareCounts(n, got, rows); err != nil {
			return err
		}
	}
	return j.twice(n, disk, got)
}

// inside judges a crash in the middle of a recovery by the same measure.
func (j *judge) inside(disk *vfs.Mem, depth int) {
	j.mu.Lock()
	clone := disk.CrashClone(j.rng)
	j.mu.Unlock()
	if err := j.verdict(clone, depth+1); err != nil {
		j.mu.Lock()
		j.err = errors.Join(j.err, err)
		j.mu.Unlock()
	}
}

// inspect reads the report: a power loss leaves torn writes at most.
func (j *judge) inspect(n *node, checked *recovery.Report) error {
	j.mu.Lock()
	err := j.err
	j.mu.Unlock()
	if err != nil {
		return err
	}
	worst := n.report.Worst()
	if worst == wal.Torn {
		j.world.counts.torn.Add(1)
	}
	if worst != wal.Notice && worst != wal.Torn {
		return fmt.Errorf("verdict %s after a power loss: %s", worst, text(n.report))
	}
	if checked != nil && checked.Worst() != worst {
		return fmt.Errorf("the read-only check says %s, boot says %s: %s", checked.Worst(), worst, text(checked))
	}
	for i := range n.report.Partitions {
		p := &n.report.Partitions[i]
		for _, f := range p.Findings {
			if f.Kind != partition.Rewritten && f.Kind != partition.Cut && f.Kind != partition.BlockFixed {
				return fmt.Errorf("%s: finding %s after a power loss: %s", p.Name(), f.Kind, f.Message)
			}
		}
	}
	return nil
}

// compare finds acknowledged records that are lost and records that nobody sent.
func (j *judge) compare(n *node, got map[[16]byte]*seen) error {
	known := map[[16]byte]bool{}
	for i := range j.parts {
		h := &j.parts[i]
		known[h.id.ID] = true
		if _, _, err := h.explain(got[h.id.ID]); err != nil {
			return err
		}
	}
	for id := range got {
		if !known[id] {
			return fmt.Errorf("partition of topic id %x was never created", id)
		}
	}
	state, err := readRaft(n.raft)
	if err != nil {
		return err
	}
	return j.raft.explain(state)
}

// twice boots again, from what is durable after the first boot or from all of it: same content, and nothing new found.
func (j *judge) twice(n *node, disk *vfs.Mem, got map[[16]byte]*seen) error {
	first, err := readRaft(n.raft)
	if err != nil {
		return err
	}
	kill := j.intn(2) == 0
	var left *vfs.Mem
	if kill {
		left = disk.Kill()
	} else {
		j.mu.Lock()
		left = disk.CrashClone(j.rng)
		j.mu.Unlock()
	}
	j.world.counts.states.Add(1)
	j.world.counts.again.Add(1)
	s := j.world.setup
	if j.intn(4) == 0 {
		j.mu.Lock()
		s = s.vary(j.rng)
		j.mu.Unlock()
	}
	again, err := start(left, s, j.topics)
	if err != nil {
		return fmt.Errorf("second boot: %w", err)
	}
	defer again.halt()
	if again.raftReport == nil {
		return errors.New("the second boot found a directory that was never founded")
	}
	if again.report.Worst() != wal.Notice || len(again.raftReport.Cut) > 0 {
		return fmt.Errorf("the second boot found something new: %s", text(again.report))
	}
	second, err := again.contents()
	if err != nil {
		return fmt.Errorf("second boot: %w", err)
	}
	if d := different(got, second); d != "" {
		return fmt.Errorf("second boot: %s", d)
	}
	if err := j.compare(again, second); err != nil { // of a cleaned segment the old file may be back
		return fmt.Errorf("second boot: %w", err)
	}
	state, err := readRaft(again.raft)
	if err != nil {
		return err
	}
	if d := first.differs(state); d != "" {
		return fmt.Errorf("second boot: raft: %s", d)
	}
	for i := range again.report.Partitions {
		if p := &again.report.Partitions[i]; kill && len(p.Findings) > 0 {
			return fmt.Errorf("the second boot found something new: %s", text(again.report))
		}
	}
	return nil
}

// different compares what two boots served.
func different(a, b map[[16]byte]*seen) string {
	for id, x := range a {
		y := b[id]
		if y == nil {
			return fmt.Sprintf("topic id %x is gone", id[:4])
		}
		if x.start != y.start || x.end != y.end || x.epoch != y.epoch || x.records == nil && !slices.Equal(x.batches, y.batches) || !maps.Equal(x.producers, y.producers) {
			return fmt.Sprintf("topic id %x: [%d, %d) epoch %d, before [%d, %d) epoch %d, producers %v and %v", id[:4], y.start, y.end, y.epoch,
				x.start, x.end, x.epoch, y.producers, x.producers)
		}
	}
	if len(a) != len(b) {
		return "there is a new partition"
	}
	return ""
}

func text(r *recovery.Report) string {
	var b strings.Builder
	if err := r.WriteText(&b); err != nil {
		return err.Error()
	}
	return b.String()
}

// errFounding says that a disk is of a node that was not founded yet: there is nothing to check.
var errFounding = errors.New("not founded yet")

// check runs the read-only check on a disk and makes sure that it changed nothing.
func (w *world) check(disk *vfs.Mem) (*recovery.Report, error) {
	info, err := datadir.Inspect(disk, root)
	if err != nil || !info.Identity.Founded {
		return nil, errors.Join(errFounding, err)
	}
	pending, before := disk.Unsynced(), disk.String()
	topics := w.topics()
	report, err := recovery.Check(recovery.CheckOptions{
		FS: disk, Dir: root, DirID: info.Identity.DirectoryID, Config: w.setup.config,
		Topic: func(id [16]byte) (string, bool) { name, ok := topics[id]; return name, ok },
	})
	if err == nil && (disk.Unsynced() != pending || disk.String() != before) {
		err = errors.New("the read-only check changed the disk")
	}
	return report, err
}
