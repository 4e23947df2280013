package wal

import (
	"slices"
	"testing"

	"chronik.dev/chronik/broker/vfs"
)

// tailCase is damage to the last group of a log whose node was killed. The group has three frames, of partitions 0, 1 and 0, in its second,
// third and fourth KiB.
type tailCase struct {
	name    string
	kind    Kind
	growing bool
	marker  bool
	harm    func(data, stale []byte, at int) // of the file; the group starts at at
	verdict Verdict                          // Notice: no finding
	kept    int                              // of the group's frames
	blind   bool
}

func garble(from int) func(data, stale []byte, at int) {
	return func(data, _ []byte, at int) { data[at+from] ^= 0x40 }
}

func stale(from, to int) func(data, stale []byte, at int) {
	return func(data, stale []byte, at int) { copy(data[at+from:at+to], stale[at+from:at+to]) }
}

func zeroed(from, to int) func(data, stale []byte, at int) {
	return func(data, _ []byte, at int) { clear(data[at+from : at+to]) }
}

func both(a, b func(data, stale []byte, at int)) func(data, stale []byte, at int) {
	return func(data, stale []byte, at int) { a(data, stale, at); b(data, stale, at) }
}

var tailCases = []tailCase{
	{name: "nothing", harm: garbleNone, verdict: Notice, kept: 3},
	{name: "a stale sector", harm: stale(1024, 1536), verdict: Torn},
	{name: "all but one sector stale", harm: both(stale(0, 2048), stale(2560, 8192)), verdict: Torn},
	{name: "only the trailer there", harm: stale(0, 7680), verdict: Torn},
	{name: "everything stale", harm: stale(0, 8192), verdict: Notice},
	{name: "a bit of the first frame", harm: garble(1500), verdict: Undecided, kept: 1},
	{name: "a bit of the second frame", harm: garble(3500), verdict: Undecided, kept: 2},
	{name: "a bit of the third frame", harm: garble(5200), verdict: Undecided, kept: 2},
	{name: "a bit of the padding", harm: garble(7000), verdict: Undecided, kept: 3},
	{name: "a bit of the head", harm: garble(20), verdict: Undecided, kept: 3},
	{name: "head and trailer", harm: both(zeroed(0, 512), zeroed(7680, 8192)), verdict: Undecided, kept: 0, blind: true},
	{name: "stale and garbled", harm: both(stale(7168, 7680), garble(5200)), verdict: Undecided, kept: 2},
	{name: "all zeroed", harm: zeroed(0, 8192), verdict: Undecided, blind: true},
	{name: "growing, a zeroed sector", growing: true, harm: zeroed(1024, 1536), verdict: Torn},
	{name: "growing, a bit", growing: true, harm: garble(1500), verdict: Undecided, kept: 1},
	{name: "behind it a marker", marker: true, harm: garble(1500), verdict: Corrupt, kept: 2},
	{name: "stale, behind it a marker", marker: true, harm: stale(0, 8192), verdict: Corrupt, blind: true},
	{name: "raft, a bit", kind: Raft, harm: garble(1500), verdict: Torn},
	{name: "raft, all zeroed", kind: Raft, harm: zeroed(0, 8192), verdict: Torn},
	{name: "raft, a bit, behind it a marker", kind: Raft, marker: true, harm: garble(1500), verdict: Corrupt, kept: 2},
}

func garbleNone(_, _ []byte, _ int) {}

func TestVerdicts(t *testing.T) {
	for _, c := range tailCases {
		t.Run(c.name, func(t *testing.T) { testTail(t, c) })
	}
}

func testTail(t *testing.T, c tailCase) {
	m := vfs.NewMem(4)
	o := testOptions(m, "/wal", 4)
	o.Kind = max(c.kind, Journal)
	if !c.growing {
		o.Spares = 1
	}
	l, err := Create(o)
	must(t, err)
	if !c.growing {
		waitSpare(l)
		for l.active.growing {
			appendAll(t, l, testFrame(3, int64(l.Next()), 4000))
		}
	}
	base := appendAll(t, l, testFrame(3, 900, 100))
	name := l.active.file.name
	at := int(l.active.pos) * BlockSize
	before := readFile(t, m, name)
	frames := []Frame{testFrame(0, 10, 1900), testFrame(1, 10, 1900), testFrame(0, 11, 1900)}
	l.maint.Lock() // the keeper could store a manifest that promises the group
	_, err = l.AppendSync(frames, Note{}, c.marker)
	must(t, err)
	m = m.Kill()
	l.maint.Unlock()
	must(t, l.Close())
	data := readFile(t, m, name)
	before = append(before, make([]byte, len(data)-len(before))...)
	c.harm(data, before, at)
	must(t, m.SetBytes(name, data))
	o.FS = m

	inv, got := readAll(t, inspectOptions(o))
	if inv.Worst() != c.verdict {
		t.Fatalf("verdict %s, want %s; findings %+v", inv.Worst(), c.verdict, inv.Findings)
	}
	got = got[slices.IndexFunc(got, func(f Frame) bool { return f.LSN == base })+1:]
	if len(got) != c.kept {
		t.Fatalf("kept %v, want %d frames; findings %+v", lsns(got), c.kept, inv.Findings)
	}
	checkLost(t, c, inv, base)
	l, err = Resume(o, inv, CutNote{Incident: "i"})
	must(t, err)
	last := appendAll(t, l, testFrame(1, 50, 10))
	must(t, l.Close())
	inv, after := readAll(t, inspectOptions(o))
	if c.verdict != Corrupt {
		wantClean(t, inv)
	} else if inv.Worst() != Corrupt || len(inv.Findings) != 1 {
		t.Fatalf("after Resume: %+v", inv.Findings)
	}
	after = after[slices.IndexFunc(after, func(f Frame) bool { return f.LSN == base })+1:]
	if want := append(lsns(got), last); !slices.Equal(lsns(after), want) {
		t.Fatalf("after Resume %v, want %v", lsns(after), want)
	}
	if last <= base+3 && c.verdict != Notice {
		t.Fatalf("LSN %d was used before", last)
	}
}

// checkLost checks that each frame of the group was kept or is named as lost, unless nothing can name it.
func checkLost(t *testing.T, c tailCase, inv *Inventory, base LSN) {
	t.Helper()
	named := map[LSN]bool{}
	blind := false
	for _, f := range inv.Findings {
		blind = blind || f.Incomplete
		for _, id := range f.Lost {
			named[id.LSN] = true
		}
	}
	if c.verdict == Undecided || c.verdict == Corrupt {
		if blind != c.blind {
			t.Fatalf("incomplete %v, want %v: %+v", blind, c.blind, inv.Findings)
		}
		if len(named)+c.kept != 3 && !c.blind {
			t.Fatalf("%d named, %d kept: %+v", len(named), c.kept, inv.Findings)
		}
	}
	for lsn := range named {
		if lsn <= base {
			t.Fatalf("LSN %d is named as lost", lsn)
		}
	}
}
