package raftlog

import (
	"math"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// same compares what raft can see of a storage with the twin in memory.
func (w *twin) same(s *Storage, when string) {
	h, conf, err := s.InitialState()
	wantHard, wantConf, wantErr := w.mem.InitialState()
	if err != wantErr || !sameHard(h, wantHard) || !proto.Equal(conf, wantConf) {
		w.Fatalf("%s: InitialState %v, %v, %v; want %v, %v, %v", when, h, conf, err, wantHard, wantConf, wantErr)
	}
	first, err := s.FirstIndex()
	wantFirst, wantErr := w.mem.FirstIndex()
	if first != wantFirst || err != wantErr {
		w.Fatalf("%s: FirstIndex %d, %v; want %d, %v", when, first, err, wantFirst, wantErr)
	}
	last, err := s.LastIndex()
	wantLast, wantErr := w.mem.LastIndex()
	if last != wantLast || err != wantErr {
		w.Fatalf("%s: LastIndex %d, %v; want %d, %v", when, last, err, wantLast, wantErr)
	}
	for i := max(first, 2) - 2; i <= last+2; i++ {
		term, err := s.Term(i)
		if want, wantErr := w.mem.Term(i); term != want || err != wantErr {
			w.Fatalf("%s: Term(%d) %d, %v; want %d, %v", when, i, term, err, want, wantErr)
		}
	}
	snap, err := s.Snapshot()
	if want, wantErr := w.mem.Snapshot(); err != wantErr || !proto.Equal(snap, want) {
		w.Fatalf("%s: Snapshot %v, %v; want %v, %v", when, snap, err, want, wantErr)
	}
	w.sameEntries(s, when, first, last)
}

// sameEntries compares the whole log, its edges, and some ranges with limits on the byte.
func (w *twin) sameEntries(s *Storage, when string, first, last uint64) {
	w.entries(s, when, first, last+1, math.MaxUint64)
	w.entries(s, when, first-1, last+1, math.MaxUint64) // compacted
	w.entries(s, when, first, last+2, math.MaxUint64)   // past the end
	w.entries(s, when, last+1, last+1, 0)               // empty
	for range 3 {
		lo := first + w.rng.Uint64N(last-first+2)
		hi := lo + w.rng.Uint64N(last+1-lo+1)
		limit := w.rng.Uint64N(700)
		if part, err := w.mem.Entries(lo, hi, math.MaxUint64); err == nil { // just enough for some of them, or one byte less
			for _, e := range part[:w.rng.IntN(len(part)+1)] {
				limit += uint64(proto.Size(e))
			}
			limit -= min(limit, w.rng.Uint64N(700))
		}
		w.entries(s, when, lo, hi, limit)
	}
}

func (w *twin) entries(s *Storage, when string, lo, hi, limit uint64) {
	var want []*raftpb.Entry
	var wantErr error
	if err := panicked(func() { want, wantErr = w.mem.Entries(lo, hi, limit) }); err != nil {
		wantErr = err
	}
	got, err := s.Entries(lo, hi, limit)
	if err != wantErr || len(got) != len(want) {
		w.Fatalf("%s: Entries(%d, %d, %d): %d of them, %v; want %d, %v", when, lo, hi, limit, len(got), err, len(want), wantErr)
	}
	for i := range got {
		if got[i] != want[i] && !proto.Equal(got[i], want[i]) {
			w.Fatalf("%s: Entries(%d, %d, %d): %v, want %v", when, lo, hi, limit, got[i], want[i])
		}
	}
	if cap(got) > len(got) {
		w.Fatalf("%s: an append to what Entries returned would overwrite the log", when)
	}
}

func sameHard(a, b *raftpb.HardState) bool {
	return a.GetTerm() == b.GetTerm() && a.GetVote() == b.GetVote() && a.GetCommit() == b.GetCommit()
}
