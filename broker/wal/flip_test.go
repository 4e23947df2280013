package wal

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"chronik.dev/chronik/broker/vfs"
)

var flipFrom = flag.String("flip.from", "", "flip files from this name on")

var flipAll = flag.Bool("flip.all", false, "flip every byte of the reference directory, not a sample")

// fixtureDir writes a reference directory: growing, prewritten, recycled, full, resumed, cut and closed segments, markers, spares, a reserve.
func fixtureDir(t testing.TB, kind Kind) (*vfs.Mem, Options) {
	t.Helper()
	m := vfs.NewMem(11)
	o := testOptions(m, "/wal", 11)
	o.Kind, o.Spares, o.Rand = kind, 1, nil
	l, err := Create(o)
	must(t, err)
	offset := int64(0)
	write := func(l *Log, n int) {
		for i := range n {
			waitSpare(l)
			_, err := l.AppendSync([]Frame{testFrame(int32(i%3), offset, 300+i*90%5000), testFrame(5, offset, 40)}, Note{uint64(i)}, i%5 == 0)
			must(t, err)
			offset++
		}
	}
	write(l, 24)
	must(t, l.FreeBelow(l.Synced()-16))
	write(l, 10)
	m2 := m.CrashMode(rand.New(rand.NewPCG(1, 1)), vfs.All) // kill -9: the last group is accepted and moved
	must(t, l.Close())
	o.FS = m2
	inv, _ := readAll(t, inspectOptions(o))
	l, err = Resume(o, inv, CutNote{Incident: "i-1"})
	must(t, err)
	write(l, 6)
	must(t, l.Close())
	inv, _ = readAll(t, inspectOptions(o))
	wantClean(t, inv)
	return m2, o
}

// waitSpare lets the keeper finish, so that the layout is always the same.
func waitSpare(l *Log) {
	for l.spareCount() < l.o.Spares {
		l.kick()
		time.Sleep(100 * time.Microsecond)
	}
	l.maint.Lock()
	defer l.maint.Unlock()
}

func readFile(t testing.TB, m *vfs.Mem, name string) []byte {
	t.Helper()
	b, err := vfs.ReadFile(m, name, 64<<20)
	must(t, err)
	return b
}

func writeAt(t testing.TB, m *vfs.Mem, name string, off int64, b []byte) {
	t.Helper()
	f, err := m.OpenFile(name, os.O_RDWR|os.O_CREATE)
	must(t, err)
	_, err = f.WriteAt(b, off)
	must(t, err)
	must(t, f.Close())
}

func files(t testing.TB, m *vfs.Mem) (names []string, total int64) {
	t.Helper()
	infos, err := m.ReadDir("/wal")
	must(t, err)
	for _, i := range infos {
		names = append(names, filepath.Join("/wal", i.Name()))
		total += i.Size()
	}
	return names, total
}

// covers says whether a finding names the byte.
func covers(inv *Inventory, file string, at int64) bool {
	return slices.ContainsFunc(inv.Findings, func(f Finding) bool {
		return f.File == file && (f.Offset <= at && at < f.Offset+f.Length || f.Record == "manifest copy")
	})
}

func TestFlips(t *testing.T) {
	for _, kind := range []Kind{Journal, Raft} {
		m, o := fixtureDir(t, kind)
		names, total := files(t, m)
		t.Logf("%s: %d files, %d bytes", kind, len(names), total)
		if total > 300<<10 {
			t.Fatalf("the reference directory has %d bytes", total)
		}
		_, clean := readAll(t, inspectOptions(o))
		rng := rand.New(rand.NewPCG(3, uint64(kind)))
		n, missed := 0, 0
		step := int64(600)
		for _, name := range names {
			if filepath.Base(name) < *flipFrom {
				continue
			}
			data := readFile(t, m, name)
			for at := int64(0); at < int64(len(data)); at++ {
				if !*flipAll && at%step != 0 && rng.Int64N(step) != 0 {
					continue
				}
				for _, x := range []byte{0x01, 0x80, 0xff} {
					if !*flipAll && rng.IntN(3) > 0 {
						continue
					}
					n++
					writeAt(t, m, name, at, []byte{data[at] ^ x})
					if err := checkFlip(o, name, at, clean); err != nil && missed < 20 {
						missed++
						t.Errorf("%s %s byte %d ^ %#x: %v", kind, name, at, x, err)
					}
				}
				writeAt(t, m, name, at, data[at:at+1])
			}
		}
		t.Logf("%d flips", n)
	}
}

func checkFlip(o Options, name string, at int64, clean []Frame) error {
	got := map[LSN]bool{}
	inv, err := Inspect(inspectOptions(o), func(g *Group) error {
		for _, f := range g.Frames {
			if string(f.Payload) != string(testPayload(f.Partition, f.First, len(f.Payload))) {
				return fmt.Errorf("LSN %d: invented", f.LSN)
			}
			got[f.LSN] = true
		}
		return nil
	})
	if err != nil {
		return err
	}
	if !covers(inv, name, at) {
		return fmt.Errorf("not reported; findings %+v", inv.Findings)
	}
	lost := map[LSN]bool{}
	blind := false
	var ranges []Identity
	for _, f := range inv.Findings {
		blind = blind || f.Incomplete
		for _, id := range f.Lost {
			if lost[id.LSN] = true; id.LSN == 0 {
				ranges = append(ranges, id)
			}
		}
	}
	for _, f := range clean {
		named := slices.ContainsFunc(ranges, func(id Identity) bool {
			return id.ID == f.ID && id.Partition == f.Partition && id.First <= f.First && f.Last <= id.Last
		})
		if !got[f.LSN] && !lost[f.LSN] && !named && !blind {
			return fmt.Errorf("LSN %d is neither read nor reported lost: %+v", f.LSN, inv.Findings)
		}
		if got[f.LSN] && lost[f.LSN] {
			return fmt.Errorf("LSN %d is read and reported lost", f.LSN)
		}
	}
	if len(lost) > 1 {
		return fmt.Errorf("one flip lost %d frames: %+v", len(lost), inv.Findings)
	}
	return nil
}
