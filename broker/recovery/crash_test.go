package recovery

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"chronik.dev/chronik/broker/batch"
	"chronik.dev/chronik/broker/partition"
	"chronik.dev/chronik/broker/vfs"
	"chronik.dev/chronik/broker/wal"
)

var (
	crashSeeds = flag.Int("crash.seeds", 60, "seeds of TestCrash")
	crashFirst = flag.Uint64("crash.first", 1, "first seed of TestCrash")
)

// ledger is what clients sent and what they were promised, by partition and offset.
type ledger struct {
	mu    sync.Mutex
	sent  map[string]map[string]bool
	acked map[string]string
}

func at(name string, offset int64) string { return fmt.Sprintf("%s@%d", name, offset) }

// world is a node under random operations and power cuts.
type world struct {
	*node
	rng *rand.Rand
	ledger
	next int
	life int // counts power cuts; answers of an earlier life promise nothing
}

func (w *world) append(l *partition.Log) {
	n := 1 + w.rng.IntN(3)
	b := batch.NewBuilder(batch.None)
	var vals []string
	for range n {
		w.next++
		vals = append(vals, fmt.Sprintf("v%d", w.next))
		b.Append(w.now, nil, []byte(vals[len(vals)-1]+" "+strings.Repeat("x", w.rng.IntN(900))), nil)
	}
	raw, err := b.Bytes(0, 0, -1, -1, -1)
	if err != nil {
		w.t.Fatal(err)
	}
	base := l.LogEnd() // nobody else appends
	w.mu.Lock()
	life := w.life
	for i, v := range vals {
		k := at(l.Name(), base+int64(i))
		if w.sent[k] == nil {
			w.sent[k] = map[string]bool{}
		}
		w.sent[k][v] = true
	}
	w.mu.Unlock()
	l.Append(raw, partition.AppendInfo{LeaderEpoch: max(0, l.LeaderEpoch())}, func(a partition.Appended, err error) {
		if err != nil {
			return
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		for i, v := range vals {
			if life != w.life {
				return
			}
			w.acked[at(l.Name(), a.Base+int64(i))] = v
		}
	})
}

// verify compares every partition with the ledger.
func (w *world) verify(promised map[string]string) {
	w.t.Helper()
	got := map[string]string{}
	for name, l := range w.logs {
		for i, v := range w.read(l) {
			k := at(name, l.LogStart()+int64(i))
			got[k] = v
			if !w.sent[k][v] {
				w.t.Fatalf("invented: %s holds %s, sent were %v", k, v, w.sent[k])
			}
		}
	}
	for k, v := range promised {
		if got[k] != v {
			text, _ := w.result.Report.JSON()
			w.t.Fatalf("lost: %s was acknowledged as %s, is %q\n%s", k, v, got[k], text)
		}
	}
}

// powerCut takes the disk as a power loss leaves it, perhaps in the middle of recoveries too, and boots.
func (w *world) powerCut() {
	w.t.Helper()
	w.mu.Lock()
	promised := map[string]string{}
	for k, v := range w.acked {
		promised[k] = v
	}
	disk := w.fs.CrashClone(w.rng)
	w.life++
	w.mu.Unlock()
	w.fs.PowerOff() // ends the old journal
	w.now += 1000
	for w.rng.IntN(3) == 0 {
		f := vfs.NewFaulty(disk)
		f.PowerOffAfter(1 + w.rng.IntN(60))
		w.fs = disk
		w.disk = f
		err := w.boot(false)
		if err == nil && w.result.Log != nil {
			_ = w.result.Log.Close()
		} else if err != nil && !errors.Is(err, vfs.ErrPowerOff) {
			w.t.Fatal(err)
		}
		disk = disk.CrashClone(w.rng)
	}
	w.fs, w.disk = disk, nil
	if err := w.boot(false); err != nil {
		w.t.Fatal(err)
	}
	if v := w.result.Report.Worst(); v != wal.Notice && v != wal.Torn {
		text, _ := w.result.Report.JSON()
		w.t.Fatalf("a power cut is called %s:\n%s", v, text)
	}
	w.verify(promised)
}

func TestCrash(t *testing.T) {
	for seed := *crashFirst; seed < *crashFirst+uint64(*crashSeeds); seed++ {
		ok := t.Run(fmt.Sprint("seed-", seed), func(t *testing.T) {
			w := &world{node: newNode(t), rng: rand.New(rand.NewPCG(seed, 3))}
			w.sent, w.acked = map[string]map[string]bool{}, map[string]string{}
			for i := range byte(3) {
				w.create(fmt.Sprint("t", i), i+1)
			}
			for range 80 {
				l := w.logs[fmt.Sprintf("t%d-0", w.rng.IntN(3))]
				if l == nil {
					i := byte(w.rng.IntN(3))
					if name := fmt.Sprint("t", i); w.logs[name+"-0"] == nil {
						w.create(name, i+1)
					}
					continue
				}
				switch k := w.rng.IntN(30); {
				case k < 22:
					w.append(l)
				case k < 24:
					_ = l.Flush()
				case k < 26:
					w.checkpoint()
				case k < 27:
					l.Roll(w.now + 1<<40)
				case k < 28:
					w.powerCut()
				}
			}
			w.powerCut()
		})
		if !ok {
			return
		}
	}
}
