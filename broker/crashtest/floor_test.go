package crashtest

import (
	"errors"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"chronik.dev/chronik/broker/vfs"
)

// The fast floors: one component alone on its disk, where a crash state costs microseconds, so that at a crash point every subset of what is not
// synced can be tried. A history drives the component; at its calls to the disk the states are enumerated, and each is recovered as a boot does it,
// judged against what was acknowledged at that moment, and recovered once more from what the first recovery left durable.

// sparse is the weight of a run without -crash.for: few states, at few crash points.
const sparse = 16

// exhaustive is the number of units (512-byte fragments, sizes, changes of names) up to which every subset is tried.
const exhaustive = 14

// promise is what a component had acknowledged, and what it was asked, at one moment. Judge recovers a disk, judges it, and says what is there now:
// a second recovery must say the same.
type promise interface {
	// key tells promises of one history apart.
	key() uint64
	// read looks and judges, and changes nothing. seen differs for disks from which a recovery would do different things.
	read(fsys vfs.FS, rough bool) (seen string, err error)
	// judge recovers. rough says that a sector was torn inside or stale bytes came up, which a verdict may call undecided. again is what a recovery before
	// it has said, if there was one: nothing new may be found then. random draws names that do not repeat.
	judge(fsys vfs.FS, disk *vfs.Mem, rough bool, again string) (found string, err error)
}

// component is a history of one component through several lives.
type component interface {
	// live starts on fsys, which is disk with its faults, and works until the life's work is done, or until an error says that it has stopped.
	live(fsys vfs.FS, disk *vfs.Mem, rng *rand.Rand) error
	// stop ends the life cleanly.
	stop() error
	// halt ends what a life left running; nothing reaches the disk any more.
	halt()
	// now returns what is promised at this moment, and calls copy while nothing can change.
	now(copy func()) promise
}

// floorCounts is what one floor has judged.
type floorCounts struct {
	states, repeated                         atomic.Int64 // images of the history's disk that were judged, no two of them alike; those that were left out for being alike
	subsets, windows, torn, stale, named     atomic.Int64 // crash points by how they were enumerated; images with a torn sector, with stale bytes; prefixes, omissions, single units
	recovered                                atomic.Int64 // of states: those that were recovered too; the others were read and judged
	inner, again, failing, points, histories atomic.Int64 // states inside recovery; second recoveries; recoveries with an error of the disk; crash points; histories
	faults                                   [len(faultNames)]atomic.Int64
	nanos                                    atomic.Int64
}

// total is the number of states: disks from which a recovery ran and was judged.
func (c *floorCounts) total() int64 { return c.states.Load() + c.inner.Load() + c.again.Load() }

func (c *floorCounts) String() string {
	var f strings.Builder
	for i, name := range faultNames {
		fmt.Fprintf(&f, ", %d %s", c.faults[i].Load(), name)
	}
	return fmt.Sprintf("%d states: %d crashes, no two alike (%d repetitions left out; %d with a torn sector, %d with stale bytes, %d prefixes, omissions and single units), of which %d were recovered too, %d inside recovery, %d second recoveries; "+
		"%d recoveries met an error of the disk; %d crash points with every subset, %d with every subset of %d or fewer of their units; %d histories%s; %.0f states per CPU second",
		c.total(), c.states.Load(), c.repeated.Load(), c.torn.Load(), c.stale.Load(), c.named.Load(), c.recovered.Load(), c.inner.Load(), c.again.Load(), c.failing.Load(),
		c.subsets.Load(), c.windows.Load(), exhaustive, c.histories.Load(), f.String(), float64(c.total())/(float64(c.nanos.Load()+1)/1e9))
}

// fields are the counts by name, for the results file.
func (c *floorCounts) fields() map[string]int64 {
	out := map[string]int64{
		"crashes, no two alike": c.states.Load(), "of them recovered too": c.recovered.Load(), "with a torn sector": c.torn.Load(), "with stale bytes": c.stale.Load(),
		"prefixes, omissions, single units": c.named.Load(), "inside recovery": c.inner.Load(), "second recoveries": c.again.Load(),
		"recoveries that met an error of the disk": c.failing.Load(), "crash points with every subset of up to 14 units": c.subsets.Load(),
		"crash points with every subset of some of their units": c.windows.Load(), "histories": c.histories.Load(), "repetitions left out, not counted": c.repeated.Load(),
	}
	for i, name := range faultNames {
		out["histories "+name] = c.faults[i].Load()
	}
	return out
}

// The faults of a history, in the order of faultNames.
const (
	noFault = iota
	syncStillDirty
	syncCleanButLost
	syncReverted
	fullDisk
	writeError
	shortWrite
)

var faultNames = [...]string{"without a fault", "with a failed fsync whose writes stay dirty", "clean but lost", "reverted", "with ENOSPC", "with EIO", "with a short write"}

// faulty plans the fault of a history.
func faulty(kind int, rng *rand.Rand) (f vfs.Fault) {
	f.Skip = rng.IntN(60)
	switch kind {
	case syncStillDirty, syncCleanButLost, syncReverted:
		f.Op, f.Sync = vfs.OpSync, vfs.SyncFailure(kind-syncStillDirty)
		if rng.IntN(2) == 0 {
			f.Op = vfs.OpWrite // a synchronous write is a sync too
			f.Short = vfs.Fragment * rng.IntN(18)
		}
	case fullDisk:
		f.Op, f.Err, f.Short = vfs.OpWrite, errFull, vfs.Fragment*rng.IntN(18)
	case writeError:
		f.Op = []vfs.OpKind{vfs.OpWrite, vfs.OpWrite, vfs.OpTruncate, vfs.OpRename, vfs.OpCreate, vfs.OpSyncDir, vfs.OpRemove}[rng.IntN(7)]
		f.Skip /= 3
	case shortWrite:
		f.Op, f.Short = vfs.OpWrite, 1+rng.IntN(9000)
	}
	return f
}

// floorRun is one history with its states.
type floorRun struct {
	c      component
	plant  plant
	counts *floorCounts
	weight int // states per crash point to aim at

	mu     sync.Mutex // guards what follows: a component may have goroutines of its own
	rng    *rand.Rand
	seen   map[uint64]struct{}
	failed error
	disk   *vfs.Mem // of the first failure
	rough  bool     // the history itself left part of a sector

	last    *vfs.States // of the last moment, with the promise's key
	lastKey uint64
}

// floorLives is how many lives a history has.
const floorLives = 3

// runFloor runs the history of one seed.
func runFloor(seed uint64, build func(seed uint64, p plant) component, p plant, counts *floorCounts, weight int) (*floorRun, error) {
	r := &floorRun{plant: p, counts: counts, weight: weight, rng: rand.New(rand.NewPCG(seed, 51)), seen: map[uint64]struct{}{}, c: build(seed, p)}
	rng := rand.New(rand.NewPCG(seed, 52))
	kind, when := noFault, rng.IntN(floorLives)
	if seed%2 == 0 {
		kind = rng.IntN(len(faultNames))
	}
	counts.histories.Add(1)
	counts.faults[kind].Add(1)
	began := time.Now()
	defer func() { counts.nanos.Add(int64(time.Since(began))) }()
	disk := vfs.NewMem(seed)
	for life := range floorLives {
		fsys := vfs.NewFaulty(p.disk(disk))
		if kind != noFault && life == when {
			f := faulty(kind, rng)
			r.rough = f.Short%vfs.Fragment != 0
			fsys.Inject(f)
		}
		next, err := r.life(fsys, disk, rng)
		if err != nil && (kind == noFault || life != when || r.failed != nil) {
			return r, err
		}
		disk = next
	}
	return r, nil
}

// life lives once and returns the disk that its end leaves.
func (r *floorRun) life(fsys vfs.FS, disk *vfs.Mem, rng *rand.Rand) (*vfs.Mem, error) {
	disk.SetHook(func(op vfs.Op) { r.point(disk, op.String()) })
	err := r.c.live(fsys, disk, rng)
	r.point(disk, "the end of a life")
	if err == nil && rng.IntN(3) == 0 {
		err = r.c.stop()
		r.point(disk, "a clean stop")
	}
	disk.SetHook(nil)
	var next *vfs.Mem
	r.c.now(func() {
		disk.PowerOff()
		if next = disk.Kill(); rng.IntN(2) == 0 {
			next = disk.CrashClone(rng)
		}
	})
	r.c.halt()
	next.SetLimit(0)
	r.mu.Lock()
	defer r.mu.Unlock()
	return next, errors.Join(r.failed, err)
}

// point enumerates the states of one moment.
func (r *floorRun) point(disk *vfs.Mem, at string) {
	var states *vfs.States
	promised := r.c.now(func() { states = disk.States() })
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failed != nil {
		return
	}
	n := states.Units()
	if key := promised.key(); !states.Same(r.last) || key != r.lastKey {
		r.last, r.lastKey = states, key
	} else {
		return
	}
	if r.weight == sparse && r.rng.IntN(30) != 0 {
		return
	}
	if size := 1 << min(n, exhaustive); n <= exhaustive && size > r.weight && r.rng.IntN(size/r.weight+1) != 0 {
		return
	}
	r.counts.points.Add(1)
	e := &enumeration{floorRun: r, states: states, promise: promised, at: at, kinds: map[string]struct{}{}}
	if err := e.all(n); err != nil {
		r.failed = fmt.Errorf("a power loss at %s: %w", at, err)
	}
}

// enumeration is the states of one crash point.
type enumeration struct {
	*floorRun
	states  *vfs.States
	promise promise
	at      string
	kinds   map[string]struct{} // what was seen
}

// all tries every subset of n units, or of a part of them while the rest is kept, lost or mixed, then what else a power loss may do.
func (e *enumeration) all(n int) error {
	if n <= exhaustive {
		e.counts.subsets.Add(1)
		for set := range uint64(1) << n {
			if err := e.try(func(i int) bool { return set>>i&1 == 1 }, vfs.Rough{}, func() string { return fmt.Sprintf("%d units, subset %b", n, set) }); err != nil {
				return err
			}
		}
	} else if err := e.window(n); err != nil {
		return err
	}
	return e.variants(n)
}

// window tries all subsets of some of many units; and each prefix, each omission, each unit alone.
func (e *enumeration) window(n int) error {
	e.counts.windows.Add(1)
	part := bits.Len(uint(e.weight)) + e.rng.IntN(2)
	if e.rng.IntN(16) == 0 {
		part = 9 + e.rng.IntN(exhaustive-8)
	}
	bit := make([]int, n) // one more than the bit of a unit in the set
	for i, u := range e.rng.Perm(n)[:part] {
		bit[u] = i + 1
	}
	rest := make([]bool, n)
	for i := range rest {
		rest[i] = e.rng.Float64() < []float64{0, 1, 0.5}[part%3]
	}
	for set := range uint64(1) << part {
		keep := func(i int) bool {
			if bit[i] > 0 {
				return set>>(bit[i]-1)&1 == 1
			}
			return rest[i]
		}
		if err := e.try(keep, vfs.Rough{}, func() string { return fmt.Sprintf("%d of %d units, subset %b", part, n, set) }); err != nil {
			return err
		}
	}
	for _, u := range e.rng.Perm(n)[:min(n, exhaustive)] {
		for how, keep := range []func(int) bool{func(i int) bool { return i <= u }, func(i int) bool { return i != u }, func(i int) bool { return i == u }} {
			e.counts.named.Add(1)
			if err := e.try(keep, vfs.Rough{}, func() string { return fmt.Sprintf("%s unit %d of %d", []string{"up to", "all but", "only"}[how], u, n) }); err != nil {
				return err
			}
		}
	}
	return nil
}

// variants tries torn sectors and stale bytes.
func (e *enumeration) variants(n int) error {
	if n == 0 {
		return nil
	}
	random := func() func(int) bool {
		p := e.rng.Float64()
		set := make([]bool, n)
		for i := range set {
			set[i] = e.rng.Float64() < p
		}
		return func(i int) bool { return set[i] }
	}
	for _, u := range e.rng.Perm(n)[:min(n, exhaustive)] {
		if !e.states.Fragment(u) {
			continue
		}
		for range 2 {
			keep, cut := random(), 1+e.rng.IntN(vfs.Fragment-1)
			e.counts.torn.Add(1)
			if err := e.try(func(i int) bool { return i == u || keep(i) }, vfs.Rough{Torn: u + 1, Bytes: cut}, func() string { return fmt.Sprintf("unit %d torn at byte %d", u, cut) }); err != nil {
				return err
			}
		}
	}
	for range 8 {
		stale := make([]byte, vfs.Fragment)
		for i := range stale {
			stale[i] = byte(e.rng.Uint32())
		}
		e.counts.stale.Add(1)
		if err := e.try(random(), vfs.Rough{Stale: stale}, func() string { return "stale bytes where nothing is kept" }); err != nil {
			return err
		}
	}
	return nil
}

// try judges one image.
func (e *enumeration) try(keep func(int) bool, rough vfs.Rough, what func() string) error {
	image := e.states.Image(keep, rough)
	image.SetLimit(0)
	key := e.states.Sum(image) + e.promise.key()*0x9e3779b97f4a7c15
	if _, known := e.seen[key]; known {
		e.counts.repeated.Add(1)
		return nil
	}
	e.seen[key] = struct{}{}
	e.counts.states.Add(1)
	bent := e.rough || rough.Torn > 0 || rough.Stale != nil
	seen, err := e.promise.read(image, bent)
	if err == nil && e.fresh(seen) {
		e.counts.recovered.Add(1)
		err = e.recover(image, bent, 0)
	}
	if err != nil {
		if e.disk == nil {
			e.disk = e.states.Image(keep, rough)
		}
		return fmt.Errorf("%s: %w", what(), err)
	}
	return nil
}

// fresh says whether to recover: where nothing of the kind was seen at this crash point, and now and then where it was.
func (e *enumeration) fresh(seen string) bool {
	if _, known := e.kinds[seen]; known {
		return e.rng.IntN(32) == 0
	}
	e.kinds[seen] = struct{}{}
	return true
}

// recover judges a recovery of an image, some with a crash or an error of the disk inside, and a second one of what it leaves.
func (e *enumeration) recover(image *vfs.Mem, rough bool, depth int) error {
	var fsys vfs.FS = image
	if e.plant.onRecovery != nil {
		fsys = e.plant.onRecovery(image)
	}
	var inner error
	switch draw := e.rng.IntN(64); {
	case draw == 0 && depth < 2:
		left := 2
		image.SetHook(func(op vfs.Op) {
			if left > 0 && inner == nil && e.rng.IntN(4) == 0 {
				left--
				e.counts.inner.Add(1)
				if err := e.recover(image.CrashClone(e.rng), rough, depth+1); err != nil {
					inner = fmt.Errorf("and inside recovery at %s: %w", op, err)
				}
			}
		})
	case draw == 1 && depth < 2 && !e.holds():
		return e.failing(image, rough, depth)
	}
	found, err := e.promise.judge(fsys, image, rough, "")
	image.SetHook(nil)
	if err = errors.Join(inner, err); err != nil {
		return err
	}
	e.counts.again.Add(1)
	left := image.CrashMode(e.rng, []vfs.Mode{vfs.None, vfs.None, vfs.Random, vfs.All}[e.rng.IntN(4)])
	again, err := e.promise.judge(left, left, rough, found)
	if err == nil && again != found {
		err = fmt.Errorf("now %.300q, the first time %.300q", again, found)
		if p, ok := e.promise.(*partPromise); ok {
			err = fmt.Errorf("%w\n%s\n%s", err, p.reports[0], p.reports[1])
		}
	}
	if err != nil {
		return fmt.Errorf("second recovery: %w", err)
	}
	return nil
}

// holds says that a recovery which meets an error of the disk may stop a part and hold its frames for a repair: TestFaults judges that.
func (e *enumeration) holds() bool {
	_, partitions := e.promise.(*partPromise)
	return partitions
}

// failing recovers on a disk that fails once: the recovery may fail, and the next one must find everything.
func (e *enumeration) failing(image *vfs.Mem, rough bool, depth int) error {
	e.counts.failing.Add(1)
	bad := vfs.NewFaulty(image)
	f := vfs.Fault{Op: []vfs.OpKind{vfs.OpRead, vfs.OpWrite, vfs.OpSync, vfs.OpSyncDir, vfs.OpRename, vfs.OpCreate}[e.rng.IntN(6)], Skip: e.rng.IntN(12),
		Sync: vfs.SyncFailure(e.rng.IntN(3)), Short: vfs.Fragment * e.rng.IntN(9)}
	bad.Inject(f)
	_, failure := e.promise.judge(bad, image, true, "")
	left := image.CrashMode(e.rng, vfs.CrashModes[e.rng.IntN(len(vfs.CrashModes))])
	e.counts.inner.Add(1)
	if err := e.recover(left, rough, depth+1); err != nil {
		return fmt.Errorf("after a recovery that met %s %d (%v): %w", f.Op, f.Skip, failure, err)
	}
	return nil
}

// floors are the fast floors by name.
var floors = []struct {
	name   string
	build  func(seed uint64, p plant) component
	weight int
}{
	{"state files", newStateFiles, 512},
	{"journal", newJournal, 64},
	{"Raft state", newRaftState, 64},
	{"partitions", newPartitions, 32},
}

// TestFloors runs the fast floors, one after the other, each for its share.
func TestFloors(t *testing.T) {
	debug.SetGCPercent(2000) // small disks, short lives
	var total int64
	for i := range floors {
		f := &floors[i]
		t.Run(strings.ReplaceAll(f.name, " ", "-"), func(t *testing.T) {
			var c floorCounts
			weight := f.weight
			if *flagFor == 0 {
				weight = sparse
			}
			begin := time.Now()
			next := eachSeed(t, "TestFloors/"+strings.ReplaceAll(f.name, " ", "-"), func(seed uint64) (*world, error) {
				r, err := runFloor(seed, f.build, plant{}, &c, weight)
				return &world{failed: r.disk, where: f.name}, err
			})
			t.Logf("%s: %s", f.name, &c)
			total += c.total()
			result{f.name, *flagFrom, next, time.Since(begin).Seconds(), c.total(), c.fields()}.record(t)
		})
	}
	t.Logf("%d crash states in all", total)
	if total < *flagFloor {
		t.Errorf("%d crash states, the floor is %d", total, *flagFloor)
	}
}
