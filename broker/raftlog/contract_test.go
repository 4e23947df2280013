package raftlog

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"chronik.dev/chronik/broker/vfs"
	"chronik.dev/chronik/broker/wal"
)

var (
	contractFrom      = flag.Uint64("contract.from", 1, "first shard of TestStorageContract")
	contractSequences = flag.Int("contract.sequences", 1000, "sequences of TestStorageContract, if -contract.for is not given")
	contractFor       = flag.Duration("contract.for", 0, "go on for this long")
)

// shardSize is the number of sequences that one seed of rapid gives.
const shardSize = 1000

// TestStorageContract does the same on a Storage and on raft's own storage in memory, and compares all that raft can see of both, errors
// included, after every step; then the power is cut in a copy of the disk, which must open as exactly what had been saved.
//
// At length, in shards of 1000 sequences, so that a run can go on where another ended (results: docs/results/raft-storage.md):
//
//	go test ./broker/raftlog -run TestStorageContract -contract.from=1 -contract.sequences=2000000 -timeout=0 -v
func TestStorageContract(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(1000))                      // many small disks, short lives
	raft.SetLogger(&raft.DefaultLogger{Logger: log.New(io.Discard, "", 0)}) // what MemoryStorage says before it panics
	defer raft.ResetDefaultLogger()
	var n tally
	begin, shard := time.Now(), *contractFrom
	size, sequences := shardSize, *contractSequences
	if testing.Short() { // rapid makes a fifth then
		size, sequences = size/5, min(sequences, size/5)
	}
	for ; *contractFor > 0 && time.Since(begin) < *contractFor || *contractFor == 0 && n.sequences < sequences; shard++ {
		for name, value := range map[string]any{"rapid.seed": shard << 32, "rapid.checks": shardSize, "rapid.nofailfile": true, "rapid.shrinktime": "5s"} {
			if err := flag.Set(name, fmt.Sprint(value)); err != nil {
				t.Fatal(err)
			}
		}
		before := n
		rapid.Check(t, n.sequence)
		if n.sequences-before.sequences < size {
			t.Fatalf("shard %d: %d sequences; the time limit of go test ends rapid early: use -timeout=0", shard, n.sequences-before.sequences)
		}
		if testing.Verbose() && (shard+1-*contractFrom)%100 == 0 {
			fmt.Printf("shards %d to %d: %s; %.0f sequences/s\n", *contractFrom, shard, n, float64(n.sequences)/time.Since(begin).Seconds())
		}
	}
	t.Logf("shards %d to %d: %s", *contractFrom, shard-1, n)
	if n.entries*3 < n.sequences || n.ops[opConflict]*4 < n.sequences || n.compactions*20 < n.sequences || n.ops[opInstall]*8 < n.sequences {
		t.Errorf("the sequences mean little: %s", n)
	}
}

// op is a kind of step.
type op int

const (
	opAppend op = iota
	opConflict
	opVote
	opCommit
	opInstall
	opCreate
	opRefused // by both: out of date, past the end, a gap; or a compacted suffix, which both ignore
	opRestart // after a clean stop
	opCrash   // and go on with what a power cut or a kill left
	opKinds
)

var opNames = [opKinds]string{"appends", "conflicts", "votes", "commits", "installed snapshots", "created snapshots", "refusals", "restarts", "crashes"}

// tally counts what was done.
type tally struct {
	sequences, steps, entries, compactions, states, opened int
	ops                                                    [opKinds]int
}

func (n tally) String() string {
	var b strings.Builder
	per := float64(max(n.sequences, 1))
	fmt.Fprintf(&b, "%d sequences of %.1f steps, %d crash states, %d of them opened for writing; per sequence: %.1f entries, %.2f compactions", n.sequences, float64(n.steps)/per, n.states, n.opened,
		float64(n.entries)/per, float64(n.compactions)/per)
	for i, name := range opNames {
		fmt.Fprintf(&b, ", %.2f %s", float64(n.ops[i])/per, name)
	}
	return b.String()
}

// twin is a Storage and its twin in memory.
type twin struct {
	*rapid.T
	n       *tally
	rng     *rand.Rand
	disk    *vfs.Mem
	s       *Storage
	mem     *raft.MemoryStorage
	durable uint64 // commit index that a crash leaves: a Ready that only moves it writes nothing
	conf    *raftpb.ConfState
}

// sequence founds a log and does one sequence of steps.
func (n *tally) sequence(t *rapid.T) {
	seed := rapid.Uint64().Draw(t, "disk")
	w := &twin{T: t, n: n, rng: rand.New(rand.NewPCG(seed, 7)), disk: vfs.NewMem(seed), mem: raft.NewMemoryStorage(), durable: FoundingIndex, conf: testConf}
	var err error
	w.s, err = Create(smallOptions(w.disk), founding())
	w.try(err)
	defer func() { w.s.Close() }() //nolint:errcheck // its goroutines; the sequence has judged it
	w.try(w.mem.ApplySnapshot(&raftpb.Snapshot{Data: []byte("founded"), Metadata: &raftpb.SnapshotMetadata{ConfState: testConf, Index: new(uint64(1)), Term: new(uint64(1))}}))
	w.try(w.mem.SetHardState(hard(1, 0, 1)))
	n.sequences++
	for range 3 + w.pick(6) {
		n.steps++
		w.step()
		w.same(w.s, "now")
		w.crashed()
	}
}

func (w *twin) pick(n int) int { return rapid.IntRange(0, n-1).Draw(w.T, "pick") }

func (w *twin) try(err error) {
	w.Helper()
	if err != nil {
		w.Fatalf("%v", err)
	}
}

// smallOptions makes segments small, so that they fill and are freed.
func smallOptions(disk *vfs.Mem) Options {
	o := testOptions(disk)
	o.firstSegment = 4 * wal.BlockSize
	return o
}

func (w *twin) open(disk *vfs.Mem) (*Storage, *Report) {
	s, report, err := Open(smallOptions(disk))
	w.try(err)
	return s, report
}

func (w *twin) hard() *raftpb.HardState {
	h, _, err := w.mem.InitialState()
	w.try(err)
	return h
}

func (w *twin) bounds() (base, last, snap uint64) {
	first, err := w.mem.FirstIndex()
	w.try(err)
	last, err = w.mem.LastIndex()
	w.try(err)
	s, err := w.mem.Snapshot()
	w.try(err)
	return first - 1, last, s.GetMetadata().GetIndex()
}

func (w *twin) term(index uint64) uint64 {
	term, err := w.mem.Term(index)
	w.try(err)
	return term
}

// step does one thing; one that is not possible now becomes an append.
func (w *twin) step() {
	_, last, snap := w.bounds()
	commit := w.hard().GetCommit()
	kind := [...]op{opAppend, opAppend, opAppend, opConflict, opConflict, opCreate, opCreate, opCreate, opInstall, opVote, opCommit, opRefused, opRestart, opCrash}[w.rng.IntN(14)]
	if kind == opConflict && last == commit || kind == opCreate && commit == snap {
		kind = opAppend
	}
	w.n.ops[kind]++
	switch kind {
	case opAppend, opConflict, opVote, opCommit:
		w.ready(kind)
	case opInstall:
		w.install()
	case opCreate:
		w.create(snap + 1 + uint64(w.pick(int(commit-snap))))
	case opRefused:
		w.refused()
	case opRestart:
		w.try(w.s.Close())
		w.durable = commit
		w.s, _ = w.open(w.disk)
	case opCrash:
		left := w.disk.Kill()
		if w.pick(3) > 0 {
			left = w.disk.CrashClone(w.rng)
		}
		w.goOn(left)
	}
}

// goOn leaves the storage for what a crash left of it.
func (w *twin) goOn(left *vfs.Mem) {
	w.s.Close() //nolint:errcheck // its goroutines, on the disk that is given up
	w.disk = left
	w.s, _ = w.open(w.disk)
	h := w.hard()
	w.try(w.mem.SetHardState(hard(h.GetTerm(), h.GetVote(), w.durable)))
}

// entriesFrom invents entries, of the term, or the first of them of the one that the entry before has.
func (w *twin) entriesFrom(index, before, term uint64) []*raftpb.Entry {
	var entries []*raftpb.Entry
	for range 1 + w.pick(4) {
		e := &raftpb.Entry{Index: new(index), Term: new(term)}
		if before < term && w.pick(3) == 0 {
			e.Term = new(before)
		}
		before = e.GetTerm()
		if size := []int{0, 1, 9, 40, 300, 2500}[w.pick(6)]; size > 0 {
			e.Data = make([]byte, size)
			e.Data[0], e.Data[size-1] = byte(w.rng.Uint32()), 1
		}
		if w.pick(8) == 7 {
			e.Type = raftpb.EntryType(1 + w.pick(2)).Enum()
		}
		entries = append(entries, e)
		index++
	}
	w.n.entries += len(entries)
	return entries
}

// ready saves what raft may ask for without a snapshot.
func (w *twin) ready(kind op) {
	h := w.hard()
	term, vote, commit := h.GetTerm(), h.GetVote(), h.GetCommit()
	_, last, _ := w.bounds()
	var rd raft.Ready
	switch kind {
	case opConflict: // another leader's entries in place of ours
		term, vote = term+1, uint64(w.pick(3))
		from := commit + 1 + uint64(w.pick(int(last-commit)))
		rd.Entries = w.entriesFrom(from, w.term(from-1), term)
	case opVote:
		if w.pick(2) == 0 {
			term++
		}
		vote = uint64(w.pick(3))
	case opAppend:
		if w.pick(4) == 3 {
			term, vote = term+1, uint64(w.pick(3))
		}
		rd.Entries = w.entriesFrom(last+1, w.term(last), term)
	}
	if n := len(rd.Entries); n > 0 {
		last = rd.Entries[n-1].GetIndex()
	}
	commit += uint64(w.pick(int(last-commit) + 1))
	if w.rng.IntN(2) == 0 {
		commit = max(commit, last-min(last, 1))
	}
	if kind != opAppend || w.pick(4) > 0 || term != h.GetTerm() {
		rd.HardState = hard(term, vote, commit)
	}
	w.save(rd)
}

// install saves a snapshot from a leader, sometimes with entries behind it.
func (w *twin) install() {
	h := w.hard()
	_, _, snap := w.bounds()
	term, vote, index := h.GetTerm(), h.GetVote(), max(snap, h.GetCommit())+1+uint64(w.pick(6))
	if w.pick(2) == 0 {
		term, vote = term+1, 0
	}
	w.conf = &raftpb.ConfState{Voters: []uint64{1, 2, 3}[:1+w.pick(3)], Learners: []uint64{7}[:w.pick(2)], AutoLeave: new(false)}
	rd := raft.Ready{HardState: hard(term, vote, index), Snapshot: &raftpb.Snapshot{Data: fmt.Append(nil, "state at ", index),
		Metadata: &raftpb.SnapshotMetadata{ConfState: w.conf, Index: &index, Term: &term}}}
	if w.pick(3) == 2 {
		rd.Entries = w.entriesFrom(index+1, term, term)
	}
	w.save(rd)
}

// save saves on both sides.
func (w *twin) save(rd raft.Ready) {
	h := w.hard()
	if !raft.IsEmptySnap(rd.Snapshot) {
		w.try(w.mem.ApplySnapshot(rd.Snapshot))
	}
	w.try(w.mem.Append(rd.Entries))
	if rd.HardState != nil {
		w.try(w.mem.SetHardState(rd.HardState))
	}
	var entries strings.Builder
	for _, e := range rd.Entries {
		fmt.Fprintf(&entries, " %d:%d (%d bytes)", e.GetTerm(), e.GetIndex(), len(e.GetData()))
	}
	w.Logf("save %v, snapshot %v, entries%s", rd.HardState, rd.Snapshot.GetMetadata(), &entries)
	if err := w.s.Save(rd); err != nil {
		w.Fatalf("save: %v", err)
	}
	if now := w.hard(); len(rd.Entries) > 0 || !raft.IsEmptySnap(rd.Snapshot) || now.GetTerm() != h.GetTerm() || now.GetVote() != h.GetVote() {
		w.durable = now.GetCommit()
	}
}

// create takes a snapshot and compacts up to the one before it on both sides.
func (w *twin) create(index uint64) {
	base, _, old := w.bounds()
	data := fmt.Append(nil, "state at ", index)
	var conf *raftpb.ConfState
	if w.pick(2) == 1 {
		w.conf = &raftpb.ConfState{Voters: []uint64{1, 2, 3}[:1+w.pick(3)], AutoLeave: new(false)}
		conf = w.conf
	}
	_, err := w.mem.CreateSnapshot(index, conf, data)
	w.try(err)
	if old > base {
		w.try(w.mem.Compact(old))
		w.n.compactions++
	}
	w.Logf("create snapshot at %d", index)
	w.try(w.s.CreateSnapshot(index, proto.CloneOf(conf), data))
	w.durable = max(w.durable, index)
}

// refused asks both sides for what neither does. What MemoryStorage panics at is an error here; after one of Save the node must start again.
func (w *twin) refused() {
	base, last, snap := w.bounds()
	h := w.hard()
	old := &raftpb.Snapshot{Metadata: &raftpb.SnapshotMetadata{ConfState: testConf, Index: new(max(snap-uint64(w.pick(2)), 1)), Term: new(uint64(1))}}
	var want, got error
	switch w.pick(5) {
	case 0:
		index := snap - uint64(w.pick(2))
		_, want = w.mem.CreateSnapshot(index, testConf, nil)
		got = w.s.CreateSnapshot(index, testConf, nil)
	case 1:
		want = panicked(func() { w.mem.CreateSnapshot(last+1, testConf, nil) }) //nolint:errcheck // it panics
		got = w.s.CreateSnapshot(last+1, testConf, nil)
	case 2:
		want = w.mem.ApplySnapshot(old)
		got = w.s.Save(raft.Ready{Snapshot: old})
	case 3:
		gap := w.entriesFrom(last+2+uint64(w.pick(2)), h.GetTerm(), h.GetTerm())
		want = panicked(func() { w.mem.Append(gap) }) //nolint:errcheck // it panics
		got = w.s.Save(raft.Ready{Entries: gap})
	case 4:
		var compacted []*raftpb.Entry
		for i := max(base, 1) - uint64(w.pick(2)); i <= base; i++ {
			compacted = append(compacted, &raftpb.Entry{Index: new(i), Term: new(uint64(1))})
		}
		w.save(raft.Ready{Entries: compacted, HardState: hard(h.GetTerm()+1, 1, h.GetCommit())})
		return
	}
	if want == nil || !errors.Is(got, want) {
		w.Fatalf("%v, want %v", got, want)
	}
	if w.s.failed != nil {
		w.goOn(w.disk.Kill())
	}
}

// panicked calls f, which panics where Storage answers ErrUnavailable.
func panicked(f func()) (err error) {
	defer func() {
		if recover() != nil {
			err = raft.ErrUnavailable
		}
	}()
	f()
	return nil
}

// crashed looks at a copy of the disk as a power cut would leave it now: all that was saved must be there, and nothing else. Of eight copies one
// is opened for writing, too, as those are that a sequence goes on with; the others are only read and judged, as Open reads them.
func (w *twin) crashed() {
	w.n.states++
	left := w.disk.CrashClone(w.rng)
	r, err := read(smallOptions(left))
	w.try(err)
	if len(r.report.Cut) > 0 {
		w.Fatalf("a write that had returned would be cut: %+v", r.report.Cut)
	}
	h := w.hard()
	w.try(w.mem.SetHardState(hard(h.GetTerm(), h.GetVote(), w.durable)))
	w.same(&Storage{log: r.log, hard: r.hard, snapshot: r.kept[len(r.kept)-1].snapshot}, "read after a power cut")
	if w.rng.IntN(8) == 0 {
		w.n.opened++
		s, _ := w.open(left)
		w.same(s, "opened after a power cut")
		w.try(s.Close())
	}
	w.try(w.mem.SetHardState(h))
}
