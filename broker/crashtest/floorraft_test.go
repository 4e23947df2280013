package crashtest

import (
	"fmt"
	"hash/maphash"
	"io/fs"
	"math/rand/v2"
	"strconv"
	"sync"

	"errors"

	"go.etcd.io/raft/v3/raftpb"

	"chronik.dev/chronik/broker/raftlog"
	"chronik.dev/chronik/broker/vfs"
	"chronik.dev/chronik/broker/wal"
)

// raftFloor is Raft's log, both HardState copies and the snapshots.
type raftFloor struct {
	setup  setup
	worker *worker
	log    *raftlog.Storage

	mu      sync.Mutex
	founded bool
}

const raftDir = "/raft"

func newRaftState(seed uint64, _ plant) component {
	return &raftFloor{setup: draw(seed), worker: &worker{rng: rand.New(rand.NewPCG(seed, 53)), raft: &raftModel{settled: founded()}}}
}

func raftOptions(fsys vfs.FS, buffered bool) raftlog.Options {
	return raftlog.Options{FS: fsys, Dir: raftDir, DirID: journalID, SegmentSize: 64 << 10, Buffered: buffered, Now: floorTime, Rand: uniqueRandom}
}

func (f *raftFloor) live(fsys vfs.FS, disk *vfs.Mem, rng *rand.Rand) (err error) {
	f.setup = f.setup.vary(rng)
	if f.log, err = f.open(fsys, disk); err != nil {
		return err
	}
	f.worker.node = &node{raft: f.log}
	for range 6 {
		if err := f.worker.raftStep(); err != nil {
			return err
		}
	}
	return nil
}

func (f *raftFloor) open(fsys vfs.FS, disk *vfs.Mem) (*raftlog.Storage, error) {
	if !f.founded {
		if err := vfs.RemoveAll(disk, raftDir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		l, err := raftlog.Create(raftOptions(fsys, f.setup.buffered), raftlog.Founding{ConfState: &raftpb.ConfState{Voters: []uint64{1}}, Data: []byte("founding")})
		f.mu.Lock()
		defer f.mu.Unlock()
		f.founded = err == nil
		return l, err
	}
	l, _, err := raftlog.Open(raftOptions(fsys, f.setup.buffered))
	if err != nil {
		return nil, err
	}
	got, err := readRaft(l)
	if err == nil {
		err = f.worker.raft.now().explain(got)
	}
	m := f.worker.raft
	m.mu.Lock()
	defer m.mu.Unlock()
	m.settled, m.next = got, nil
	return l, err
}

func (f *raftFloor) stop() error {
	l := f.log
	f.log = nil
	return l.Close()
}

func (f *raftFloor) halt() {
	if f.log != nil {
		_ = f.log.Close()
		f.log = nil
	}
}

func (f *raftFloor) now(copy func()) promise {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.worker.raft.mu.Lock()
	defer f.worker.raft.mu.Unlock()
	copy()
	return &raftPromise{founded: f.founded, moment: raftMoment{f.worker.raft.settled, f.worker.raft.next}, buffered: f.setup.buffered, version: f.worker.raft.saves}
}

// digest is short and differs for states that differ.
func (s *raftState) digest() string {
	var h maphash.Hash
	h.SetSeed(digestSeed)
	for _, e := range s.entries {
		h.WriteString(e.data)
		h.WriteByte(byte(e.term))
	}
	b := make([]byte, 0, 100)
	for _, x := range []uint64{s.term, s.vote, s.commit, s.snap, s.last(), h.Sum64()} {
		b = append(strconv.AppendUint(b, x, 10), ' ')
	}
	return string(append(b, s.conf...))
}

var digestSeed = maphash.MakeSeed()

func (p *raftPromise) key() uint64 {
	k := uint64(p.version)
	if p.moment.next != nil {
		k += 1 << 40
	}
	return k
}

type raftPromise struct {
	founded, buffered bool
	version           int // of the state that is settled
	moment            raftMoment
}

func (p *raftPromise) read(fsys vfs.FS, _ bool) (string, error) {
	l, report, err := raftlog.View(raftOptions(fsys, p.buffered))
	if err != nil && !p.founded {
		return "nothing", nil
	}
	if err != nil {
		return "", err
	}
	got, err := readRaft(l)
	if err == nil {
		err = p.moment.explain(got)
	}
	b := []byte(got.digest())
	for _, f := range report.Findings {
		b = append(strconv.AppendInt(append(b, f.Verdict...), f.Offset, 10), f.Reason...)
	}
	for _, c := range report.HardStateCopies {
		b = append(b, c.State...)
	}
	return string(append(b, byte(len(report.Notices)), byte(len(report.Cut)), byte(len(report.Snapshots)))), err
}

func (p *raftPromise) judge(fsys vfs.FS, disk *vfs.Mem, _ bool, again string) (string, error) {
	l, report, err := raftlog.Open(raftOptions(fsys, p.buffered))
	if err != nil {
		if !p.founded {
			return "nothing", nil // the owner is founding: it starts over
		}
		return "", err
	}
	defer func() {
		disk.PowerOff()
		_ = l.Close()
	}()
	if again != "" && again != "nothing" && len(report.Cut) > 0 {
		return "", fmt.Errorf("it found something new: %+v", report.Cut)
	}
	for i := range report.Findings {
		if v := report.Findings[i].Verdict; v != wal.Notice && v != wal.Torn {
			return "", fmt.Errorf("verdict %s: %+v", v, report.Findings[i])
		}
	}
	got, err := readRaft(l)
	if err == nil {
		err = p.moment.explain(got)
	}
	return got.digest(), err
}
