package crashtest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"chronik.dev/chronik/broker/statefile"
	"chronik.dev/chronik/broker/vfs"
	"chronik.dev/chronik/broker/wal"
)

// journal is the journal alone through several lives. Each frame says in its content which LSN it is.
type journal struct {
	setup setup
	plant plant
	log   *wal.Log

	mu      sync.Mutex
	created bool
	kept    []wal.LSN // acknowledged, or there at the last start, in order
	flight  []wal.LSN // asked for, in order
	freed   wal.LSN   // what is below may be gone
}

const journalDir = "/wal"

var journalID = [16]byte{7}

func newJournal(seed uint64, p plant) component { return &journal{setup: draw(seed), plant: p} }

// lsnFrame is the frame of an LSN.
func lsnFrame(lsn wal.LSN, rng *rand.Rand) wal.Frame {
	size := rng.IntN(300)
	switch rng.IntN(16) {
	case 0:
		size = 3000 + rng.IntN(3000)
	case 1:
		size = 60 << 10 // larger than a segment
	}
	payload := make([]byte, 8+size)
	binary.LittleEndian.PutUint64(payload, uint64(lsn))
	fillFrom(payload[8:], uint64(lsn))
	return wal.Frame{Type: wal.Batch, ID: [16]byte{byte(lsn % 3)}, Partition: int32(lsn % 2), First: int64(lsn), Last: int64(lsn), Payload: payload}
}

// fillFrom fills b with bytes that follow from a number.
func fillFrom(b []byte, x uint64) {
	for i := range b {
		x = x*6364136223846793005 + 1442695040888963407
		b[i] = byte(x >> 56)
	}
}

// drawn makes generations that do not repeat in this process.
var drawn atomic.Uint64

func uniqueRandom() uint64 {
	x := drawn.Add(1) * 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

func (j *journal) options(fsys vfs.FS) wal.Options {
	s := &j.setup
	return wal.Options{FS: fsys, Dir: journalDir, DirID: journalID, Kind: wal.Journal, SegmentSize: 64 << 10, FirstSegmentSize: 16 << 10, Spares: s.spares,
		GroupBytes: s.groupBytes, Buffered: s.buffered, Idle: s.idle, Now: floorTime, Rand: uniqueRandom}
}

func floorTime() time.Time { return time.UnixMilli(1_700_000_000_000) }

func (j *journal) live(fsys vfs.FS, disk *vfs.Mem, rng *rand.Rand) (err error) {
	j.setup = j.setup.vary(rng)
	if j.log, err = j.open(fsys, disk); err != nil {
		return err
	}
	for range 6 {
		if err := j.step(j.log, rng); err != nil {
			return err
		}
	}
	return nil
}

// open makes the journal, or reads and resumes what an earlier life left.
func (j *journal) open(fsys vfs.FS, disk *vfs.Mem) (*wal.Log, error) {
	j.mu.Lock()
	created, p := j.created, j.promise()
	j.mu.Unlock()
	if !created { // the owner starts over
		if err := vfs.RemoveAll(disk, journalDir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		l, err := wal.Create(j.options(fsys))
		j.mu.Lock()
		defer j.mu.Unlock()
		j.created = err == nil
		return l, err
	}
	inv, got, err := p.inspect(fsys, true)
	if err != nil {
		return nil, err
	}
	l, err := wal.Resume(j.options(fsys), inv, wal.CutNote{Incident: "life"})
	if err != nil {
		return nil, err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.kept, j.flight = got, nil
	return l, nil
}

func (j *journal) stop() error {
	l := j.log
	j.log = nil
	return l.Close()
}

func (j *journal) halt() {
	if j.log != nil {
		_ = j.log.Close()
		j.log = nil
	}
}

// step appends a few groups, up to three of them in flight, and frees now and then.
func (j *journal) step(l *wal.Log, rng *rand.Rand) error {
	var answers []chan error
	for range 1 + rng.IntN(3) {
		var frames []wal.Frame
		next := l.Next()
		for range 1 + rng.IntN(3) {
			frames = append(frames, lsnFrame(next, rng))
			next++
		}
		j.mu.Lock()
		for i := range frames {
			j.flight = append(j.flight, wal.LSN(frames[i].First))
		}
		j.mu.Unlock()
		if j.plant.early {
			j.ack(wal.LSN(frames[len(frames)-1].First))
		}
		last, answer := wal.LSN(frames[len(frames)-1].First), make(chan error, 1)
		answers = append(answers, answer)
		l.Append(frames, func(err error) {
			if err == nil && !j.plant.early {
				j.ack(last)
			}
			answer <- err
		})
	}
	var errs []error
	for _, a := range answers {
		errs = append(errs, <-a)
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if rng.IntN(4) == 0 {
		j.mu.Lock()
		to := j.freed
		if n := len(j.kept); n > 0 {
			to = max(to, j.kept[rng.IntN(n)])
		}
		j.freed = to
		j.mu.Unlock()
		return l.FreeBelow(to)
	}
	return nil
}

func (j *journal) ack(last wal.LSN) {
	j.mu.Lock()
	defer j.mu.Unlock()
	n := 0
	for n < len(j.flight) && j.flight[n] <= last {
		n++
	}
	j.kept, j.flight = append(slices.Clip(j.kept), j.flight[:n]...), j.flight[n:]
}

func (j *journal) now(copy func()) promise {
	j.mu.Lock()
	defer j.mu.Unlock()
	copy()
	return j.promise()
}

// promise copies what is promised. mu is held.
func (j *journal) promise() *journalPromise {
	return &journalPromise{created: j.created, options: j.options, kept: slices.Clip(j.kept), flight: slices.Clone(j.flight), freed: j.freed}
}

func (p *journalPromise) key() uint64 {
	return uint64(len(p.kept))<<32 + uint64(len(p.flight))<<8 + uint64(p.freed)<<20
}

type journalPromise struct {
	created      bool
	options      func(vfs.FS) wal.Options
	kept, flight []wal.LSN
	freed        wal.LSN
}

// inspect reads, and holds what is there against what was acknowledged.
func (p *journalPromise) inspect(fsys vfs.FS, rough bool) (*wal.Inventory, []wal.LSN, error) {
	got := make([]wal.LSN, 0, len(p.kept)+len(p.flight))
	inv, err := wal.Inspect(wal.InspectOptions{FS: fsys, Dir: journalDir, DirID: journalID, Kind: wal.Journal}, func(g *wal.Group) error {
		for i := range g.Frames {
			f := &g.Frames[i]
			if len(f.Payload) < 8 || f.First != int64(f.LSN) || binary.LittleEndian.Uint64(f.Payload) != uint64(f.LSN) {
				return fmt.Errorf("LSN %d holds a frame that was never written there", f.LSN)
			}
			got = append(got, f.LSN)
		}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	if worst := inv.Worst(); worst != wal.Notice && worst != wal.Torn && !(rough && worst == wal.Undecided) {
		for _, f := range inv.Findings {
			if f.Verdict == worst {
				return inv, nil, fmt.Errorf("verdict %s: %s byte %d: %s (%s): %s", worst, f.File, f.Offset, f.Record, f.Reason, f.Evidence)
			}
		}
	}
	return inv, got, p.explain(got)
}

// explain looks for what is lost and for what nobody wrote.
func (p *journalPromise) explain(got []wal.LSN) error {
	i, asked := 0, 0
	for _, lsn := range p.kept {
		for i < len(got) && got[i] < lsn && got[i] < p.freed {
			i++
		}
		if i < len(got) && got[i] == lsn {
			i++
		} else if lsn >= p.freed {
			return fmt.Errorf("LSN %d was acknowledged and is lost", lsn)
		}
	}
	for ; i < len(got); i++ {
		if got[i] < p.freed {
			continue // a file that was freed is back
		}
		for asked < len(p.flight) && p.flight[asked] < got[i] {
			asked++
		}
		if asked == len(p.flight) || p.flight[asked] != got[i] {
			return fmt.Errorf("LSN %d was never asked for, or is there twice", got[i])
		}
	}
	return nil
}

// digestOf is short and differs for lists that differ.
func digestOf(got []wal.LSN) string {
	var sum uint64
	for _, lsn := range got {
		sum = (sum ^ uint64(lsn)) * 0x100000001b3
	}
	return string(strconv.AppendUint(strconv.AppendUint(nil, uint64(len(got)), 10), sum, 16))
}

func (p *journalPromise) read(fsys vfs.FS, rough bool) (string, error) {
	inv, got, err := p.inspect(fsys, rough)
	if !p.created && (inv == nil || inv.Manifest[0].State != statefile.OK && inv.Manifest[1].State != statefile.OK) {
		return "nothing", nil
	}
	if err != nil {
		return "", err
	}
	b := []byte(digestOf(got))
	for _, f := range inv.Findings {
		b = append(strconv.AppendInt(append(b, f.Verdict...), f.Offset, 10), f.Reason...)
	}
	for _, x := range []int{len(inv.Segments), len(inv.Spares), int(inv.Highest)} {
		b = strconv.AppendInt(append(b, ' '), int64(x), 10)
	}
	return string(b), nil
}

func (p *journalPromise) judge(fsys vfs.FS, disk *vfs.Mem, rough bool, again string) (string, error) {
	inv, got, err := p.inspect(fsys, rough)
	if !p.created && (inv == nil || inv.Manifest[0].State != statefile.OK && inv.Manifest[1].State != statefile.OK) {
		return "nothing", nil // the owner is founding: it starts over
	}
	if err != nil {
		return "", err
	}
	if again != "" && again != "nothing" && !inv.Clean {
		return "", fmt.Errorf("it found something new: %+v", inv.Findings)
	}
	o := p.options(fsys)
	o.Still, o.Idle = true, -1
	l, err := wal.Resume(o, inv, wal.CutNote{Incident: "floor"})
	if err != nil {
		return "", err
	}
	next := l.Next()
	defer func() {
		disk.PowerOff()
		_ = l.Close()
	}()
	if len(got) > 0 && next <= got[len(got)-1] || next <= inv.Highest {
		return "", fmt.Errorf("the next LSN is %d, and %d was seen", next, inv.Highest)
	}
	return digestOf(got), nil
}
