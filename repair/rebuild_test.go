package repair

import (
	"fmt"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"testing"

	"chronik.dev/chronik/broker/datadir"
	"chronik.dev/chronik/broker/recovery"
	"chronik.dev/chronik/broker/vfs"
	"chronik.dev/chronik/broker/wal"
)

// wrecks are the losses of what a node keeps once, or of all copies of it.
var wrecks = map[string]func(t testing.TB, m *vfs.Mem){
	"newest segment": func(t testing.TB, m *vfs.Mem) { must(t, m.Remove(newest(t, m))) },
	"all segments":   func(t testing.TB, m *vfs.Mem) { remove(t, m, segments(m, datadir.WalDir)...) },
	"checkpoint":     func(t testing.TB, m *vfs.Mem) { flipBoth(t, m, "wal/checkpoint") },
	"no checkpoint":  func(t testing.TB, m *vfs.Mem) { remove(t, m, root+"/wal/checkpoint.0", root+"/wal/checkpoint.1") },
	"identity":       func(t testing.TB, m *vfs.Mem) { flipBoth(t, m, "identity") },
	"no identity":    func(t testing.TB, m *vfs.Mem) { remove(t, m, root+"/identity.0", root+"/identity.1") },
	"manifest":       func(t testing.TB, m *vfs.Mem) { flipBoth(t, m, "wal/manifest") },
	"Raft manifest":  func(t testing.TB, m *vfs.Mem) { flipBoth(t, m, "raft/manifest") },
	"wal":            func(t testing.TB, m *vfs.Mem) { must(t, vfs.RemoveAll(m, root+"/wal")) },
	"wal and identity": func(t testing.TB, m *vfs.Mem) {
		must(t, vfs.RemoveAll(m, root+"/wal"))
		flipBoth(t, m, "identity")
	},
	"checkpoint and newest segment": func(t testing.TB, m *vfs.Mem) {
		flipBoth(t, m, "wal/checkpoint")
		must(t, m.Remove(newest(t, m)))
	},
	"checkpoint and manifest": func(t testing.TB, m *vfs.Mem) {
		flipBoth(t, m, "wal/checkpoint")
		flipBoth(t, m, "wal/manifest")
	},
	"another node's wal": func(t testing.TB, m *vfs.Mem) {
		other := otherNode(t)
		must(t, vfs.RemoveAll(m, root+"/wal"))
		must(t, m.Mkdir(root+"/wal"))
		for _, name := range other.Files() {
			if rel, ok := strings.CutPrefix(name, root+"/wal/"); ok {
				b, err := other.Bytes(name)
				must(t, err)
				must(t, vfs.WriteFile(m, path.Join(root, "wal", rel), b))
			}
		}
	},
	"another node's identity": func(t testing.TB, m *vfs.Mem) {
		other := otherNode(t)
		for _, name := range []string{root + "/identity.0", root + "/identity.1"} {
			b, err := other.Bytes(name)
			must(t, err)
			must(t, m.SetBytes(name, b))
		}
	},
}

func otherNode(t testing.TB) *vfs.Mem {
	n := startNode(t, vfs.NewMem(2))
	n.create("t", 1)
	n.produce("t", 0, 5, "other")
	return n.kill()
}

// newest is the newest segment of the journal; a prepared one may lie behind it.
func newest(t testing.TB, m *vfs.Mem) string {
	inv, err := wal.Inspect(wal.InspectOptions{FS: m, Dir: root + "/wal", Kind: wal.Journal}, nil)
	must(t, err)
	return inv.Segments[len(inv.Segments)-1].File
}

func segments(m *vfs.Mem, dir string) (out []string) {
	for _, name := range m.Files() {
		if strings.HasPrefix(name, path.Join(root, dir)+"/0") && strings.HasSuffix(name, ".wal") {
			out = append(out, name)
		}
	}
	return out
}

func remove(t testing.TB, m *vfs.Mem, names ...string) {
	t.Helper()
	for _, name := range names {
		must(t, m.Remove(name))
	}
}

func flipBoth(t testing.TB, m *vfs.Mem, base string) {
	t.Helper()
	for _, c := range []string{".0", ".1"} {
		must(t, m.Flip(path.Join(root, base+c), 60, 1))
	}
}

// lives are what a node did before the loss: all of it in the journal, part of it in partition files, all of it there, several segments and topics.
var lives = map[string]func(t testing.TB) (m *vfs.Mem, all map[int32][]string){
	"killed": func(t testing.TB) (*vfs.Mem, map[int32][]string) {
		n := startNode(t, vfs.NewMem(1))
		n.create("t", 2)
		n.produce("t", 0, 70, "v") // more than one segment
		n.produce("t", 1, 3, "w")
		all := map[int32][]string{0: n.read("t", 0), 1: n.read("t", 1)}
		return n.kill(), all
	},
	"stopped": func(t testing.TB) (*vfs.Mem, map[int32][]string) {
		n := startNode(t, vfs.NewMem(1))
		n.create("t", 2, "segment.bytes=1048576")
		n.large = 400_000 // more than one segment of the partition
		n.produce("t", 0, 7, "v")
		n.large = 0
		all := map[int32][]string{0: n.read("t", 0), 1: {}}
		n.stop()
		return n.fs, all
	},
	"stopped, then killed": func(t testing.TB) (*vfs.Mem, map[int32][]string) {
		n := startNode(t, vfs.NewMem(1))
		n.create("t", 2, "segment.bytes=1048576")
		n.large = 400_000 // more than one segment of the partition
		n.produce("t", 0, 7, "v")
		n.large = 0
		n.stop()
		n = startNode(t, n.fs)
		n.produce("t", 0, 70, "x")
		n.produce("t", 1, 2, "w")
		n.produce("t", 0, 3, "y")
		all := map[int32][]string{0: n.read("t", 0), 1: n.read("t", 1)}
		return n.kill(), all
	},
}

// TestRebuild: after each loss a plan leads to a node that serves every record but those that the plan names. Where it cannot tell how many there were, it
// says from which offset on; nothing that it does not name is missing, and no record is another one.
func TestRebuild(t *testing.T) {
	for life, live := range lives {
		for name, wreck := range wrecks {
			t.Run(life+"/"+name, func(t *testing.T) {
				m, all := live(t)
				before, err := datadir.Inspect(m, root)
				must(t, err)
				wreck(t, m)
				if name != "manifest" && name != "Raft manifest" || life != "stopped" {
					if found := verify(t, m); len(found) == 0 {
						t.Fatal("the damage is not seen")
					}
				}
				p, n := repaired(t, m, Mend)
				if id := n.b.Identity(); id != before.Identity {
					t.Fatalf("the identity is %+v, it was %+v", id, before.Identity)
				}
				for number, want := range all {
					got := n.read("t", number)
					served := n.log("t", number).LogEnd()
					if !slices.Equal(got, want[:min(len(got), len(want))]) {
						t.Fatalf("t-%d: %v is served, %v was sent", number, got, want)
					}
					if lost := int64(len(want)) - served; lost > 0 && !said(p, number, served, lost) {
						t.Fatalf("t-%d: %d records from offset %d on are lost, and the plan says %+v", number, lost, served, p.Loss)
					}
					n.produce("t", number, 2, "after")
				}
				for _, l := range p.Loss {
					if l.Topic == "t" && l.Count > 0 && l.First < n.log("t", l.Partition).LogStart() {
						t.Fatalf("the plan says %+v", l)
					}
				}
				t.Logf("loss %s, %d lines: %v", LossText(p.LossTotal), len(p.Loss), p.Summary)
				mustVerify(t, n.kill())
			})
		}
	}
}

// said reports whether the plan says that a partition lost n records from an offset on.
func said(p *Plan, number int32, from, n int64) bool {
	for _, l := range p.Loss {
		if l.Topic == "t" && l.Partition == number && l.First == from && (l.Count == n || l.Count == LossUnknown) {
			return true
		}
	}
	return false
}

// TestRenewedJournal: the LSNs of a journal that was begun anew are above those of the lost one, twice.
func TestRenewedJournal(t *testing.T) {
	n := startNode(t, vfs.NewMem(1))
	n.create("t", 1)
	n.produce("t", 0, 3, "v")
	m, last := n.kill(), wal.LSN(0)
	for round := range 2 {
		inv, err := wal.Inspect(wal.InspectOptions{FS: m, Dir: root + "/wal", Kind: wal.Journal}, nil)
		must(t, err)
		if inv.First <= last {
			t.Fatalf("round %d: LSN %d after %d", round, inv.First, last)
		}
		last = inv.Highest
		must(t, vfs.RemoveAll(m, root+"/wal"))
		_, n := repaired(t, m, Mend)
		n.produce("t", 0, 3, fmt.Sprint(round))
		m = n.kill()
	}
}

// TestRebuildCheckpoint: after random work, with topics that come and go, records deleted, segments rolled, stops and a kill, a directory without its
// checkpoint comes to the same records as the same directory with it, but for a log start that nothing else tells.
func TestRebuildCheckpoint(t *testing.T) {
	logs, visible := 0, 0
	for seed := range uint64(12) {
		rng := rand.New(rand.NewPCG(seed, 7))
		n := startNode(t, vfs.NewMem(seed))
		topics := []string{"a", "b"}
		for _, name := range topics {
			n.create(name, 2, "segment.bytes=1048576")
		}
		for step := range 25 {
			name, number := topics[rng.IntN(2)], int32(rng.IntN(2))
			switch rng.IntN(9) {
			case 0:
				n.stop()
				n = startNode(t, n.fs)
			case 1:
				l := n.log(name, number)
				upTo, done := l.LogStart()+rng.Int64N(l.HighWatermark()-l.LogStart()+1), make(chan error, 1)
				n.b.DeleteRecords(t.Context(), l, upTo, func(_ int64, err error) { done <- err })
				must(t, <-done)
			case 2:
				if rng.IntN(3) == 0 {
					must(t, n.b.DeleteTopic(t.Context(), n.b.Image().Topics[name].ID))
					n.create(name, 2, "segment.bytes=1048576")
				}
			case 3:
				n.large = 300_000
				n.produce(name, number, 3, fmt.Sprint("big", step))
				n.large = 0
			default:
				n.produce(name, number, 1+rng.IntN(4), fmt.Sprint("s", step))
			}
		}
		with := n.kill()
		without := with.Kill()
		flipBoth(t, without, "wal/checkpoint")
		p, n := repaired(t, without, Mend)
		m := startNode(t, with)
		if len(p.Loss) > 0 {
			t.Fatalf("seed %d: %+v %v %v", seed, p.Loss, p.Summary, with.Files())
		}
		for _, name := range topics {
			for number := range int32(2) {
				a, b := m.log(name, number), n.log(name, number)
				want, got := m.read(name, number), n.read(name, number)
				if back := a.LogStart() - b.LogStart(); back > 0 && back <= int64(len(got)) {
					visible++ // deleted up to the end before a stop: the epochs, which tell the log start, are then empty
					got = got[back:]
				}
				logs++
				if a.LogStart() < b.LogStart() || a.LogEnd() != b.LogEnd() || !slices.Equal(want, got) {
					t.Fatalf("seed %d: %s-%d is [%d, %d) with the checkpoint, [%d, %d) without: %v", seed, name, number, a.LogStart(), a.LogEnd(), b.LogStart(), b.LogEnd(), p.Summary)
				}
			}
		}
		n.stop()
		m.stop()
	}
	if visible*20 > logs {
		t.Fatalf("in %d of %d logs deleted records are visible again", visible, logs)
	}
}

// TestRolledBackCheckpoint: both copies of the checkpoint are put back from before the journal was freed. A node that believed them would cut off the
// partition files what only the newer one knew. It refuses, and a plan makes the checkpoint anew with every record.
func TestRolledBackCheckpoint(t *testing.T) {
	n := startNode(t, vfs.NewMem(1))
	n.create("t", 1)
	n.produce("t", 0, 5, "v")
	n.stop()
	names := []string{root + "/wal/checkpoint.0", root + "/wal/checkpoint.1"}
	var old [][]byte
	for _, name := range names {
		b, err := n.fs.Bytes(name)
		must(t, err)
		old = append(old, slices.Clone(b))
	}
	n = startNode(t, n.fs)
	n.produce("t", 0, 70, "w")
	n.create("u", 1)
	n.produce("u", 0, 3, "u")
	n.stop()
	n = startNode(t, n.fs)
	n.produce("t", 0, 3, "x")
	all, other := n.read("t", 0), n.read("u", 0)
	m := n.kill()
	for i, name := range names {
		must(t, m.SetBytes(name, old[i]))
	}
	_, err := recovery.Check(recovery.CheckOptions{FS: m, Dir: root})
	wantIs(t, err, recovery.ErrNoCheckpoint, "put back from before")
	p, n := repaired(t, m, Mend)
	if len(p.Loss) > 0 || !slices.Equal(n.read("t", 0), all) || !slices.Equal(n.read("u", 0), other) {
		t.Fatalf("%d of %d and %d of %d records: %+v", len(n.read("t", 0)), len(all), len(n.read("u", 0)), len(other), p.Loss)
	}
}
