package crashtest

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"chronik.dev/chronik/broker/datadir"
	"chronik.dev/chronik/broker/statefile"
	"chronik.dev/chronik/broker/vfs"
	"chronik.dev/chronik/broker/wal"
	"chronik.dev/chronik/walinspect"
)

var (
	flagExhaustive = flag.Bool("reference.all", false, "damage every byte, sector and file of the reference directory, not a sample")
	flagBytes      = flag.Int("reference.bytes", 256<<10, "largest reference directory")
	flagWorlds     = flag.Int("reference.worlds", 12, "random workloads whose directories must be without a finding")
)

// reference is the directory of a node that worked, crashed and was stopped, of at most -reference.bytes, with every kind of file in it.
type reference struct {
	*world
	older *vfs.Mem // the same directory after an earlier clean stop
	files []string
	data  map[string][]byte
	want  map[[16]byte]*seen // what it serves
}

// kinds must all be in the reference directory; each is a part of a path.
var kinds = []string{
	"/identity.0", "/identity.1", "/incidents.jsonl", "/wal/0", "/wal/manifest.0", "/wal/manifest.1", "/wal/checkpoint.0", "/wal/checkpoint.1", "/wal/reserve",
	"/raft/0", "/raft/manifest.0", "/raft/hardstate.0", "/raft/hardstate.1", "/raft/snapshots/", ".log", ".index", ".timeindex", ".snapshot",
	"/leader-epoch-checkpoint", "/partition.metadata", "/chronik.sums", "/evidence/", "/quarantine/",
}

// newReference lives seeds until one leaves what a reference needs.
func newReference(t *testing.T) *reference {
	t.Helper()
	var why string
	for seed := *flagFrom; seed < *flagFrom+200; seed++ {
		s := draw(seed)
		s.segmentSize, s.firstSize, s.spares = wal.MinSegmentSize, 4*wal.BlockSize, -1
		s.partition.SegmentBytes, s.partition.IndexIntervalBytes = 4096, 512
		var c counts
		w, err := run(s, &c, 25, 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		r := &reference{world: w}
		for lives := 0; lives < 12 && err == nil; lives++ {
			before := c.cleanings.Load()
			if lives == 3 {
				err = w.stray()
			}
			if err == nil {
				err = w.live(25)
			}
			if err == nil && c.cleanings.Load() > before {
				if why = r.take(); why == "" && r.older != nil {
					return r
				}
				r.older = w.disk.Kill()
			}
		}
		if err != nil {
			w.keep(t)
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
	t.Fatalf("no seed leaves a reference directory; the last: %s", why)
	return nil
}

// stray puts files of nobody into the directory, and bytes that an interrupted write leaves behind a partition log.
func (w *world) stray() error {
	for _, name := range w.disk.Files() {
		if strings.HasSuffix(name, ".log") && !strings.Contains(name, "/c0-") { // nothing is written behind a cleaned file
			data, err := w.disk.Bytes(name)
			if err != nil {
				return err
			}
			if err := w.disk.SetBytes(name, append(bytes.Clone(data), "behind the end"...)); err != nil {
				return err
			}
			break
		}
	}
	f, err := w.disk.OpenFile(filepath.Join(root, datadir.WalDir, "stranger"), os.O_CREATE|os.O_RDWR)
	if err != nil {
		return err
	}
	_, err = f.WriteAt([]byte("not one of ours"), 0)
	return errors.Join(err, f.Close())
}

// take looks at the disk and says what it lacks.
func (r *reference) take() string {
	r.files, r.data = r.disk.Files(), map[string][]byte{}
	total := 0
	for _, name := range r.files {
		data, err := r.disk.Bytes(name)
		if err != nil {
			return err.Error()
		}
		r.data[name] = bytes.Clone(data)
		total += len(data)
	}
	if total > *flagBytes {
		return fmt.Sprintf("%d bytes", total)
	}
	all := strings.Join(r.files, "\n")
	for _, kind := range kinds {
		if !strings.Contains(all, kind) {
			return "no " + kind
		}
	}
	n, err := start(r.disk.Kill(), r.setup, r.topics())
	if err != nil {
		return err.Error()
	}
	defer n.halt()
	if r.want, err = n.contents(); err != nil {
		return err.Error()
	}
	return ""
}

// slack says whether docs/format/ declares that damage to the file's content need not show.
func slack(name string) bool {
	return strings.HasSuffix(name, vfs.TempSuffix) || strings.HasPrefix(name, filepath.Join(root, datadir.EvidenceDir)) ||
		strings.HasPrefix(name, filepath.Join(root, datadir.QuarantineDir))
}

// about returns the finding that names the file and encloses the byte; at < 0 is the file as a whole.
func about(found []walinspect.Finding, name string, at int64) *walinspect.Finding {
	rel := strings.TrimPrefix(name, root+"/")
	for i := range found {
		f := &found[i]
		if f.File == rel && (at < 0 || f.Offset <= at && at < f.Offset+f.Length) && f.Record != "" && f.Reason != "" && f.Evidence != "" && f.Next != "" {
			return f
		}
	}
	return nil
}

// damage is one fault of the programme: what is done to a file, and which byte of it a finding must enclose (-1: the file).
type damage struct {
	name string
	at   int64
	text string
	data []byte // the file's new content; nil: it is removed
}

var digits = regexp.MustCompile("[0-9]+")

// class is the damage without its numbers, to count likes.
func (d *damage) class() string {
	return digits.ReplaceAllString(filepath.Base(d.name)+": "+d.text, "N")
}

// each runs judge on every damage that list yields, each on a copy of the disk, on all processors.
func (r *reference) each(t *testing.T, list func(yield func(damage) bool), judge func(*vfs.Mem, *damage) string) {
	t.Helper()
	work := make(chan damage, 64)
	var count, bad atomic.Int64
	var group sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		group.Go(func() {
			disk := r.disk.Kill()
			for d := range work {
				err := r.put(disk, &d)
				why := ""
				if err != nil {
					why = err.Error()
				} else {
					why = judge(disk, &d)
				}
				if why != "" && bad.Add(1) <= 20 {
					t.Errorf("%s %s: %s", d.name, d.text, why)
				}
				if _, ours := r.data[d.name]; d.data == nil || !ours {
					disk = r.disk.Kill()
				} else if err := disk.SetBytes(d.name, r.data[d.name]); err != nil {
					t.Error(err)
				}
				count.Add(1)
			}
		})
	}
	list(func(d damage) bool { work <- d; return bad.Load() < 1000 })
	close(work)
	group.Wait()
	total := 0
	for _, data := range r.data {
		total += len(data)
	}
	t.Logf("%d faults in %d files of %d bytes, %d not reported as they must be", count.Load(), len(r.files), total, bad.Load())
}

func (r *reference) put(disk *vfs.Mem, d *damage) error {
	if d.data == nil {
		return disk.Remove(d.name)
	}
	if _, ours := r.data[d.name]; !ours {
		return vfs.WriteFile(disk, d.name, d.data)
	}
	return disk.SetBytes(d.name, d.data)
}

// TestReferenceFlips changes byte after byte by each of three masks: a finding must name the file and enclose the byte.
func TestReferenceFlips(t *testing.T) {
	r := newReference(t)
	if found, err := verify(r.disk, root); err != nil || len(found) > 0 {
		t.Fatalf("before any damage: %+v %v", found, err)
	}
	stride := 1999
	if *flagExhaustive {
		stride = 1
	}
	r.each(t, func(yield func(damage) bool) {
		for _, name := range r.files {
			if slack(name) {
				continue
			}
			n := 0
			for at := range r.data[name] {
				for _, mask := range []byte{0x01, 0x80, 0xff} {
					version := strings.Contains(name, "/manifest.") && at >= 4 && at < 8 // it decides before anything else
					generation := strings.HasSuffix(name, ".wal") && at >= 16 && at < 24 // it is in the checks of all sectors
					if n++; (n+len(name)*31)%stride != 0 && !version && !generation {
						continue
					}
					data := bytes.Clone(r.data[name])
					data[at] ^= mask
					if !yield(damage{name, int64(at), fmt.Sprintf("byte %d xor %02x", at, mask), data}) {
						return
					}
				}
			}
		}
	}, func(disk *vfs.Mem, d *damage) string {
		path := root
		if filepath.Base(d.name) == "reserve" {
			path = filepath.Dir(d.name) // only the reader of its directory looks at it, so the rest need not be read again
		}
		found, err := verify(disk, path)
		switch {
		case err != nil:
			return err.Error()
		case about(found, d.name, d.at) == nil:
			return fmt.Sprintf("no finding names the file and encloses the byte: %s", brief(found))
		}
		return r.bit(found, d)
	})
}

// unguarded are the files without a checksum: what must be in them follows from other files, or is zeros.
var unguarded = []string{".index", ".timeindex", "incidents.jsonl", "reserve"}

// bit says whether --bitflip names the one bit that was flipped, and no other.
func (r *reference) bit(found []walinspect.Finding, d *damage) string {
	mask := d.data[d.at] ^ r.data[d.name][d.at]
	if bits.OnesCount8(mask) != 1 {
		return ""
	}
	named := false
	for i := range found {
		b := found[i].Bitflip
		if b == nil || found[i].File != strings.TrimPrefix(d.name, root+"/") {
			continue
		}
		if b.Byte != d.at || byte(1)<<b.Bit != mask || b.Was != b.Read^mask {
			return fmt.Sprintf("--bitflip says %v", b)
		}
		named = true
	}
	if strings.HasSuffix(d.name, ".snapshot") && d.at < 2 {
		return "" // Kafka's version of a producer snapshot: its CRC covers what follows, and chronik.sums may not hold the file
	}
	if !named && !slices.ContainsFunc(unguarded, func(end string) bool { return strings.HasSuffix(d.name, end) }) {
		return "--bitflip does not name the bit"
	}
	return ""
}

func brief(found []walinspect.Finding) string {
	var b strings.Builder
	for _, f := range found[:min(len(found), 4)] {
		fmt.Fprintf(&b, "[%s %s %d+%d %s %s: %s] ", f.Verdict, f.File, f.Offset, f.Length, f.Record, f.Reason, f.Evidence)
	}
	return b.String()
}

// sectors yields a file with each sector zeroed, copied over the next one, and swapped with the next one.
func (r *reference) sectors(name string, yield func(damage) bool) bool {
	was := r.data[name]
	for from := 0; from < len(was); from += wal.SectorSize {
		to := min(from+wal.SectorSize, len(was))
		zero := bytes.Clone(was)
		clear(zero[from:to])
		if !bytes.Equal(zero, was) && !yield(damage{name, -1, fmt.Sprintf("sector at %d zeroed", from), zero}) {
			return false
		}
		if to-from < wal.SectorSize || len(was)-to < wal.SectorSize {
			continue
		}
		twice, swapped := bytes.Clone(was), bytes.Clone(was)
		copy(twice[to:to+wal.SectorSize], was[from:to])
		copy(swapped[from:to], was[to:to+wal.SectorSize])
		copy(swapped[to:to+wal.SectorSize], was[from:to])
		if bytes.Equal(twice, was) {
			continue
		}
		if !yield(damage{name, -1, fmt.Sprintf("sector at %d copied over the next", from), twice}) ||
			!yield(damage{name, -1, fmt.Sprintf("sector at %d swapped with the next", from), swapped}) {
			return false
		}
	}
	return true
}

// whole yields a file removed, cut at sectors and inside them, and replaced by its older copy.
func (r *reference) whole(name string, yield func(damage) bool) bool {
	was := r.data[name]
	if !yield(damage{name, -1, "removed", nil}) {
		return false
	}
	for at := 0; at < len(was); at += wal.SectorSize {
		for _, size := range []int{at, at + 1, at + 300} {
			if size < len(was) && !yield(damage{name, -1, fmt.Sprintf("cut to %d bytes", size), append([]byte{}, was[:size]...)}) {
				return false
			}
		}
	}
	if old, err := r.older.Bytes(name); err == nil && !bytes.Equal(old, was) {
		return yield(damage{name, -1, "replaced by an older copy", append([]byte{}, old...)})
	}
	return true
}

// twins yields copies of a file under other names that its kind can have: the next numbers, the last one, other directories, the other small states.
func (r *reference) twins(name string, yield func(damage) bool) bool {
	dir, file := filepath.Split(name)
	names := map[string]bool{}
	if number := leading.FindString(file); number != "" && !strings.Contains(name, datadir.QuarantineDir) {
		n, _ := strconv.ParseUint(number, 10, 64)
		for _, m := range []uint64{n - 1, n + 1, n + 2, n + 1000, 0} {
			if m < 1<<62 {
				names[dir+fmt.Sprintf("%020d", m)+file[len(number):]] = true
			}
		}
	}
	if strings.HasSuffix(name, ".wal") {
		names[dir+"spare-0123456789abcdef.wal"] = true
	}
	for _, other := range r.files {
		elsewhere, theirs := filepath.Split(other)
		_, state := statefile.Base(file)
		_, both := statefile.Base(theirs)
		if state && both && theirs != file || theirs == file && elsewhere != dir || // over the file of another
			strings.Contains(dir, "/topics/") && strings.Contains(elsewhere, "/topics/") && filepath.Ext(theirs) == filepath.Ext(file) {
			names[elsewhere+file], names[other] = true, true
		}
	}
	for to := range names {
		if was, there := r.data[to]; to == name || slack(to) || there && bytes.Equal(was, r.data[name]) {
			continue
		}
		if !yield(damage{to, -1, "a copy of " + strings.TrimPrefix(name, root+"/"), append([]byte{}, r.data[name]...)}) {
			return false
		}
	}
	return true
}

var leading = regexp.MustCompile("^[0-9]{20}")

// TestReferenceSectorsAndFiles damages whole sectors and whole files: it is reported, or a node boots and serves the same records.
func TestReferenceSectorsAndFiles(t *testing.T) {
	r := newReference(t)
	var harmless sync.Map
	rng := rand.New(rand.NewPCG(*flagFrom, 51))
	r.each(t, func(yield func(damage) bool) {
		sample := func(d damage) bool {
			if !*flagExhaustive && d.data != nil && !strings.HasPrefix(d.text, "replaced") && rng.IntN(25) != 0 && (!strings.HasPrefix(d.text, "a copy") || rng.IntN(4) != 0) {
				return true
			}
			return yield(d)
		}
		for _, name := range r.files {
			if !slack(name) && (!r.sectors(name, sample) || !r.whole(name, sample) || !r.twins(name, sample)) {
				return
			}
		}
	}, func(disk *vfs.Mem, d *damage) string {
		found, err := verify(disk, root)
		if err == nil && len(found) > 0 {
			if strings.HasPrefix(d.text, "a copy of ") && about(found, d.name, -1) == nil {
				return "the findings do not name the copy: " + brief(found)
			}
			return ""
		}
		if err != nil && !errors.Is(err, walinspect.ErrUnknown) {
			return err.Error()
		}
		if why := r.serves(disk); why != "" {
			return "silent, and a node does not serve the same: " + why
		}
		n, _ := harmless.LoadOrStore(d.class(), &atomic.Int64{})
		n.(*atomic.Int64).Add(1)
		return ""
	})
	t.Log("silent and proven harmless:")
	harmless.Range(func(k, n any) bool { t.Logf("%5d %s", n.(*atomic.Int64).Load(), k); return true })
}

// serves boots a copy of a disk and compares what it serves; empty: the same.
func (r *reference) serves(disk *vfs.Mem) string {
	n, err := start(disk.Kill(), r.setup, r.topics())
	if err != nil {
		return err.Error()
	}
	defer n.halt()
	got, err := n.contents()
	if err != nil {
		return err.Error()
	}
	return different(r.want, got)
}

// TestReferenceClean runs random workloads, each to a clean stop: nothing may be reported of what they leave.
func TestReferenceClean(t *testing.T) {
	var c counts
	var group sync.WaitGroup
	var next atomic.Uint64
	for range runtime.GOMAXPROCS(0) {
		group.Go(func() {
			for !t.Failed() {
				n := next.Add(1) - 1
				if n >= uint64(*flagWorlds) {
					return
				}
				seed := *flagFrom + n + 1000
				var own counts
				w, err := run(draw(seed), &own, 40, 1, 0)
				for err == nil && own.cleanings.Load() == 0 { // live checks every clean stop
					err = w.live(40)
				}
				c.seeds.Add(1)
				c.lives.Add(own.lives.Load())
				c.cleanings.Add(own.cleanings.Load())
				c.acks.Add(own.acks.Load())
				if err != nil {
					t.Errorf("seed %d: %v", seed, err)
					w.keep(t)
				}
			}
		})
	}
	group.Wait()
	t.Logf("%d workloads, each to a clean stop: %d lives, %d clean stops, %d batches acknowledged", c.seeds.Load(), c.lives.Load(), c.cleanings.Load(), c.acks.Load())
}
