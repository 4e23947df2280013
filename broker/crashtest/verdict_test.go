package crashtest

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"chronik.dev/chronik/broker/datadir"
	"chronik.dev/chronik/broker/vfs"
	"chronik.dev/chronik/broker/wal"
	"chronik.dev/chronik/raftdump"
	"chronik.dev/chronik/walinspect"
)

// The programme of verdicts: is an interrupted write ever called corrupt, is the loss of something acknowledged ever called an interrupted write?
//
// At a crash point of a working node the disk is copied as a power loss leaves it, and then damaged in one sector of the journal or Raft's log:
// where a write was under way, so that nothing in it was acknowledged, or where none was. Which sectors those are is known from the disk: the
// ones that differ between nothing and everything of what is not durable. `wal verify` gives its verdict on each image. What it takes for no worse than
// torn must boot, with everything that was acknowledged; what is worse must have a reason that lies before the write.
//
// Not among the damages are sectors that a device put back to what they were before a sync that it answered, and zeros where the file never had
// anything else: no reader can tell these from an interrupted write. docs/format/wal.md says so.

// class is what was done to an image beside the power loss.
type class int

const (
	lossOnly  class = iota // nothing
	inWrite                // damage to what was being written
	elsewhere              // damage to what was durable
)

var classNames = [...]string{"power loss only", "and damage to the write under way", "and damage to what was durable"}

// verdicts counts images by class and verdict.
type verdicts struct {
	n      [3][5]atomic.Int64 // last index: notice, torn, undecided, corrupt, I/O error or unknown version
	booted atomic.Int64
}

var verdictOrder = []wal.Verdict{wal.Notice, wal.Torn, wal.Undecided, wal.Corrupt}

func (v *verdicts) add(c class, worst wal.Verdict) {
	i := slices.Index(verdictOrder, worst)
	if i < 0 {
		i = len(verdictOrder)
	}
	v.n[c][i].Add(1)
}

func (v *verdicts) total() (n int64) {
	for c := range v.n {
		for i := range v.n[c] {
			n += v.n[c][i].Load()
		}
	}
	return n
}

func (v *verdicts) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d crash images, %d booted and compared", v.total(), v.booted.Load())
	for c := range v.n {
		n := &v.n[c]
		fmt.Fprintf(&b, "\n%s: %d clean, %d torn, %d undecided, %d corrupt, %d other", classNames[c], n[0].Load(), n[1].Load(), n[2].Load(), n[3].Load(), n[4].Load())
	}
	return b.String()
}

// examiner judges images of one world.
type examiner struct {
	counts *verdicts
	say    func(disk *vfs.Mem) (wal.Verdict, string, error) // the verdict under test
}

// verdictOf is the gravest verdict of `wal verify` on a directory, with its reason.
func verdictOf(disk *vfs.Mem) (worst wal.Verdict, why string, err error) {
	target, err := walinspect.Open(walinspect.Options{FS: disk, Path: root})
	if errors.Is(err, walinspect.ErrUnknown) {
		return wal.Notice, "", nil // before the identity: nothing is there
	}
	if err != nil {
		return "", "", err
	}
	worst = wal.Notice
	_, err = target.Verify(walinspect.Default, func(f *walinspect.Finding) error {
		if slices.Contains(meaningless, raftdump.Rule(f.Reason)) || slices.Index(gravity, f.Verdict) <= slices.Index(gravity, worst) {
			return nil
		}
		worst, why = f.Verdict, fmt.Sprintf("%s byte %d, %d bytes: %s: %s: %s", f.File, f.Offset, f.Length, f.Record, f.Reason, f.Evidence)
		return nil
	})
	return worst, why, err
}

var gravity = []wal.Verdict{wal.Notice, wal.Torn, wal.Undecided, wal.Corrupt, wal.IOError, wal.UnknownVersion}

// spot is one sector of a segment of the journal or of Raft's log.
type spot struct {
	file    string
	sector  int
	growing bool
}

// point makes images of one crash point and judges them.
func (x *examiner) point(w *world, op vfs.Op, rng *rand.Rand) error {
	j := &judge{world: w, rng: rng, topics: w.topics(), at: op.String()}
	var image, none, all *vfs.Mem
	j.parts = w.worker.model.now(func() {
		j.raft = w.worker.raft.now()
		none, all = w.disk.CrashMode(rng, vfs.None), w.disk.CrashMode(rng, vfs.All)
		image = w.disk.CrashClone(rng)
	})
	if info, err := datadir.Inspect(image, root); err != nil || !info.Identity.Founded {
		return nil
	}
	writing, durable, err := spots(none, all)
	if err != nil {
		return err
	}
	if err := x.judge(j, image.Kill(), lossOnly, "nothing"); err != nil {
		return err
	}
	for range min(2, len(writing)) {
		disk := image.Kill()
		text, err := hit(disk, writing[rng.IntN(len(writing))], rng, true)
		if err == nil && text != "" {
			err = x.judge(j, disk, inWrite, text)
		}
		if err != nil {
			return err
		}
	}
	for i := range 3 {
		log := durable[rng.IntN(len(durable))]
		if len(log) == 0 {
			continue
		}
		at := rng.IntN(len(log))
		if i > 0 {
			at = len(log) - 1 - rng.IntN(min(len(log), 24)) // near the end
		}
		disk := image.Kill()
		text, err := hit(disk, log[at], rng, false)
		if err == nil && text != "" {
			err = x.judge(j, disk, elsewhere, text)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// spots lists the sectors in which a write was under way, and those that are durable and not empty, of each log in the order of its files.
func spots(none, all *vfs.Mem) (writing []spot, durable [2][]spot, err error) {
	for log, dir := range []string{datadir.WalDir, datadir.RaftDir} {
		kind := []wal.Kind{wal.Journal, wal.Raft}[log]
		inv, err := wal.Inspect(wal.InspectOptions{FS: all, Dir: filepath.Join(root, dir), Kind: kind}, nil)
		if err != nil {
			return nil, durable, err
		}
		for i := range inv.Segments {
			name := inv.Segments[i].File
			was, _ := none.Bytes(name) // a new file is not there
			now, err := all.Bytes(name)
			if err != nil {
				continue
			}
			for s := range len(now) / wal.SectorSize {
				from, to := s*wal.SectorSize, (s+1)*wal.SectorSize
				at := spot{name, s, inv.Segments[i].Growing}
				switch {
				case to > len(was) || !bytes.Equal(was[from:to], now[from:to]):
					writing = append(writing, at)
				case !empty(now[from:to]) && int64(from) < inv.Segments[i].End:
					durable[log] = append(durable[log], at)
				}
			}
		}
	}
	return writing, durable, nil
}

func empty(b []byte) bool { return !slices.ContainsFunc(b, func(b byte) bool { return b != 0 }) }

// hit damages a sector, if it is there and the damage is one that a reader can know; writing says that it was under way.
func hit(disk *vfs.Mem, at spot, rng *rand.Rand, writing bool) (string, error) {
	data, err := disk.Bytes(at.file)
	from := at.sector * wal.SectorSize
	if err != nil || from+wal.SectorSize > len(data) {
		return "", nil // the power loss took it
	}
	data = bytes.Clone(data)
	sector := data[from : from+wal.SectorSize]
	was := bytes.Clone(sector)
	kind := rng.IntN(4)
	what := [...]string{"a bit flipped", "garbage", "another sector", "zeros"}[kind]
	switch kind {
	case 0:
		sector[rng.IntN(len(sector))] ^= 1 << rng.IntN(8)
	case 1:
		for i := range sector {
			sector[i] = byte(rng.Uint32())
		}
	case 2:
		other := rng.IntN(len(data)/wal.SectorSize) * wal.SectorSize
		copy(sector, data[other:other+wal.SectorSize])
	case 3:
		clear(sector)
	}
	if bytes.Equal(sector, was) || at.growing && !writing && empty(sector) {
		return "", nil
	}
	return fmt.Sprintf("%s in sector %d of %s", what, at.sector, at.file), disk.SetBytes(at.file, data)
}

// judge compares a verdict with the truth.
func (x *examiner) judge(j *judge, disk *vfs.Mem, c class, damage string) error {
	worst, why, err := x.say(disk)
	if err == nil {
		x.counts.add(c, worst)
		err = x.rightly(j, disk, c, worst, why)
	}
	if err != nil {
		return j.world.blame(disk, fmt.Sprintf("a power loss at %s; %s", j.at, damage), err)
	}
	return nil
}

func (x *examiner) rightly(j *judge, disk *vfs.Mem, c class, worst wal.Verdict, why string) error {
	switch {
	case worst == wal.Notice || worst == wal.Torn:
		if c != elsewhere && j.intn(8) != 0 {
			return nil
		}
		if err := x.boot(j, disk.Kill()); err != nil {
			return fmt.Errorf("an acknowledged loss is called %s: %w", worst, err)
		}
	case c == lossOnly || c == inWrite && worst != wal.Undecided:
		return fmt.Errorf("what was not acknowledged is called %s: %s", worst, why)
	}
	return nil
}

// boot starts a node on an image and looks for everything that was acknowledged.
func (x *examiner) boot(j *judge, disk *vfs.Mem) error {
	x.counts.booted.Add(1)
	disk.SetLimit(0)
	n, err := start(disk, j.world.setup, j.topics)
	if err != nil {
		return err
	}
	defer n.halt()
	got, err := n.contents()
	if err != nil {
		return err
	}
	return j.compare(n, got)
}

// TestTornOrCorrupt judges images of seeds on all processors. At length:
//
//	go test ./broker/crashtest -run TestTornOrCorrupt -crash.for=20m -crash.floor=100000 -timeout=0 -v
func TestTornOrCorrupt(t *testing.T) {
	var v verdicts
	begin := time.Now()
	eachSeed(t, "TestTornOrCorrupt", func(seed uint64) (*world, error) {
		return runVerdicts(draw(seed), &examiner{&v, verdictOf})
	})
	t.Logf("%s\n%.0f images/s", &v, float64(v.total())/time.Since(begin).Seconds())
	if n := v.total(); n < *flagFloor {
		t.Errorf("%d crash images, the floor is %d", n, *flagFloor)
	}
	for c, wanted := range [][]int{{0, 1}, {1, 2}, {2, 3}} {
		for _, i := range wanted {
			if v.n[c][i].Load() == 0 && *flagSeeds > 1 {
				t.Errorf("%s: no image is %s: the programme lost its power", classNames[c], verdictOrder[i])
			}
		}
	}
}

func runVerdicts(s setup, x *examiner) (*world, error) {
	var c counts
	return runWith(s, &c, steps, lives, *flagRate, x)
}

// TestPlantedVerdicts: a tool that gives the wrong verdict, and a node that acknowledges too early, are found.
func TestPlantedVerdicts(t *testing.T) {
	as := func(from []wal.Verdict, to wal.Verdict) func(*vfs.Mem) (wal.Verdict, string, error) {
		return func(disk *vfs.Mem) (wal.Verdict, string, error) {
			worst, why, err := verdictOf(disk)
			if slices.Contains(from, worst) {
				worst = to
			}
			return worst, why, err
		}
	}
	for _, p := range []struct {
		name, want string
		say        func(*vfs.Mem) (wal.Verdict, string, error)
		plant      plant
	}{
		{"every damage is called torn", "an acknowledged loss is called torn", as([]wal.Verdict{wal.Undecided, wal.Corrupt}, wal.Torn), plant{}},
		{"no damage is seen", "an acknowledged loss is called notice", as([]wal.Verdict{wal.Torn, wal.Undecided, wal.Corrupt}, wal.Notice), plant{}},
		{"an interrupted write is called corrupt", "what was not acknowledged is called corrupt", as([]wal.Verdict{wal.Torn}, wal.Corrupt), plant{}},
		{"the undecided is called corrupt", "what was not acknowledged is called corrupt", as([]wal.Verdict{wal.Undecided}, wal.Corrupt), plant{}},
		{plants[0].name, "", verdictOf, plants[0]}, // in whatever way: as a loss, or as a promise that the journal does not keep
	} {
		t.Run(strings.ReplaceAll(p.name, " ", "-"), func(t *testing.T) {
			t.Parallel()
			var v verdicts
			for seed := uint64(1); seed <= 60; seed++ {
				s := draw(seed)
				s.plant = p.plant
				if _, err := runVerdicts(s, &examiner{&v, p.say}); err != nil {
					if !strings.Contains(err.Error(), p.want) {
						t.Fatalf("found, but not as %q: %v", p.want, err)
					}
					t.Logf("found after %d images, seed %d: %.300s", v.total(), seed, err)
					return
				}
			}
			t.Errorf("not found in %d images", v.total())
		})
	}
}
