package wal

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// harmed inspects and says what is wrong with the answer: a frame that is gone without a report, or a frame that nobody wrote.
func harmed(o Options, clean []Frame) (inv *Inventory, err error) {
	got := map[LSN]bool{}
	inv, err = Inspect(inspectOptions(o), func(g *Group) error {
		for _, f := range g.Frames {
			if !bytes.Equal(f.Payload, testPayload(f.Partition, f.First, len(f.Payload))) {
				return fmt.Errorf("LSN %d: invented", f.LSN)
			}
			got[f.LSN] = true
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	gone := 0
	for _, f := range clean {
		if !got[f.LSN] {
			gone++
		}
	}
	if gone > 0 && (inv.Clean || !reportsLoss(inv)) {
		return inv, fmt.Errorf("%d frames are gone; findings %+v", gone, inv.Findings)
	}
	return inv, nil
}

func reportsLoss(inv *Inventory) bool {
	for _, f := range inv.Findings {
		if f.Loses() && (f.Verdict == Corrupt || f.Verdict == Undecided) {
			return true
		}
	}
	return false
}

// TestSectors zeroes, duplicates and swaps sectors.
func TestSectors(t *testing.T) {
	m, o := fixtureDir(t, Journal)
	names, _ := files(t, m)
	_, clean := readAll(t, inspectOptions(o))
	rng := rand.New(rand.NewPCG(9, 9))
	harmless := 0
	for _, name := range names {
		data := readFile(t, m, name)
		if len(data) < 2*SectorSize {
			continue
		}
		n := len(data) / SectorSize
		for s := range n {
			if !*flipAll && rng.IntN(6) > 0 {
				continue
			}
			a := int64(s) * SectorSize
			b := int64(rng.IntN(n)) * SectorSize
			sa, sb := data[a:a+SectorSize], data[b:b+SectorSize]
			for how, put := range map[string][]byte{"zero": make([]byte, SectorSize), "duplicate": sb, "swap": sb} {
				if bytes.Equal(sa, put) {
					continue
				}
				writeAt(t, m, name, a, put)
				if how == "swap" {
					writeAt(t, m, name, b, sa)
				}
				inv, err := harmed(o, clean)
				if err == nil && how == "zero" && len(inv.Findings) == 0 {
					harmless++ // part of a marker in a growing file: its other sectors say the same
				} else if err != nil || !covers(inv, name, a) {
					t.Errorf("%s %s sector %d (and %d): %v: %+v", how, name, s, b/SectorSize, err, inv.Findings)
				}
				writeAt(t, m, name, a, sa)
				writeAt(t, m, name, b, sb)
			}
		}
	}
	if harmless > 20 {
		t.Errorf("%d zeroed sectors are called harmless", harmless)
	}
}

// TestFiles cuts, deletes and rolls back files.
func TestFiles(t *testing.T) {
	m, o := fixtureDir(t, Journal)
	names, _ := files(t, m)
	_, clean := readAll(t, inspectOptions(o))
	rng := rand.New(rand.NewPCG(10, 9))
	for _, name := range names {
		data := readFile(t, m, name)
		for range 12 {
			cut := rng.IntN(len(data))
			must(t, m.SetBytes(name, data[:cut]))
			inv, err := harmed(o, clean)
			if err != nil || name != "/wal/reserve" && len(inv.Findings) == 0 {
				t.Errorf("%s cut to %d of %d: %v, %d findings", name, cut, len(data), err, len(inv.Findings))
			}
		}
		must(t, m.Remove(name))
		inv, err := harmed(o, clean)
		if err != nil || name != "/wal/reserve" && len(inv.Findings) == 0 {
			t.Errorf("%s deleted: %v, no finding", name, err)
		}
		writeAt(t, m, name, 0, data)
		for _, other := range names {
			if content := readFile(t, m, other); !bytes.Equal(content, data) && parallel(other, name) {
				must(t, m.SetBytes(name, content))
				if inv, err := harmed(o, clean); err != nil || len(inv.Findings) == 0 {
					t.Errorf("%s replaced by %s: %v, no finding", name, other, err)
				}
			}
		}
		must(t, m.SetBytes(name, data))
	}
	if inv, _ := readAll(t, inspectOptions(o)); !inv.Clean {
		t.Fatal("not restored")
	}
}

func parallel(a, b string) bool { return len(a) == len(b) }

// TestRollback puts back, one by one, the files of an earlier moment.
func TestRollback(t *testing.T) {
	m, o := fixtureDir(t, Journal)
	inv, _ := readAll(t, inspectOptions(o))
	old := m.Kill()
	l, err := Resume(o, inv, CutNote{})
	must(t, err)
	for i := range 30 {
		appendAll(t, l, testFrame(2, int64(1000+i), 900))
	}
	waitSpare(l)
	must(t, l.Close())
	_, clean := readAll(t, inspectOptions(o))
	names, _ := files(t, m)
	for _, name := range names {
		now := readFile(t, m, name)
		before, err := old.Bytes(name)
		if err != nil || bytes.Equal(before, now) {
			continue
		}
		must(t, m.SetBytes(name, before))
		inv, err := harmed(o, clean)
		if err != nil || len(inv.Findings) == 0 && !strings.HasPrefix(name, "/wal/manifest") {
			t.Errorf("%s rolled back: %v, no finding", name, err)
		}
		must(t, m.SetBytes(name, now))
	}
}

// TestManyFaults damages several places at once: nothing is invented, and every frame that is gone is covered by a finding.
func TestManyFaults(t *testing.T) {
	m, o := fixtureDir(t, Journal)
	names, _ := files(t, m)
	_, clean := readAll(t, inspectOptions(o))
	rng := rand.New(rand.NewPCG(20, 9))
	for range 150 {
		restore := map[string][]byte{}
		for range 1 + rng.IntN(50) {
			name := names[rng.IntN(len(names))]
			if strings.HasPrefix(name, "/wal/manifest") {
				continue
			}
			data := readFile(t, m, name)
			if restore[name] == nil {
				restore[name] = data
			}
			at := rng.IntN(len(data))
			writeAt(t, m, name, int64(at), []byte{data[at] ^ byte(1+rng.IntN(255))})
		}
		if _, err := harmed(o, clean); err != nil {
			t.Error(err)
		}
		for name, data := range restore {
			must(t, m.SetBytes(name, data))
		}
	}
}
