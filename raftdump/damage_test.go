package raftdump

import (
	"flag"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"chronik.dev/chronik/broker/raftlog"
	"chronik.dev/chronik/broker/vfs"
	"chronik.dev/chronik/broker/wal"
)

var flipStride = flag.Int("flip.stride", 97, "TestFlips flips every nth byte; 1 flips all of them")

// slack says whether docs/format/wal.md lets a flip there go unreported: the content of the reserve is read only with deep.
func slack(name string) bool { return filepath.Base(name) == "reserve" }

// covers says whether a finding is about a byte of a file.
func covers(f *Finding, name string, off int64) bool {
	return f.File == name && f.Offset <= off && off < f.Offset+f.Length
}

// TestFlips flips each byte of each file of raft/ with three masks: each flip is reported with its file and a range that holds the byte, nothing
// else is called damaged, and the verdict is grave exactly if a node would refuse to start, or lost something.
func TestFlips(t *testing.T) {
	l := reference(t)
	clean := map[string][]byte{}
	for _, name := range l.fs.Files() {
		if strings.HasPrefix(name, root+"/raft/") {
			b, err := l.fs.Bytes(name)
			must(t, err)
			clean[name] = b
		}
	}
	d := l.dir()
	if _, found, err := d.Verify(true); err != nil || len(found) > 0 {
		t.Fatalf("clean: %v, %v", found, err)
	}
	flips, bytes, grave := 0, 0, 0
	for name, content := range clean {
		if slack(name) {
			continue
		}
		stride := *flipStride
		if len(content) < 4096 {
			stride = 1
		}
		bytes += len(content)
		for off := 0; off < len(content); off += stride {
			for _, mask := range []byte{0x01, 0x80, 0xFF} {
				must(t, l.fs.Flip(name, int64(off), mask))
				sum, found, err := d.Verify(false)
				must(t, err)
				flips++
				if bad := misreported(l, sum, found, name, int64(off)); bad != "" {
					var all []string
					for i := range found {
						all = append(all, text(&found[i]))
					}
					t.Fatalf("%s byte %d, mask %02x: %s\n%s", name, off, mask, bad, strings.Join(all, "\n"))
				}
				if slices.ContainsFunc(found, func(f Finding) bool { return f.Verdict != wal.Notice }) {
					grave++
				}
				must(t, l.fs.Flip(name, int64(off), mask))
			}
		}
	}
	if grave == 0 || grave == flips {
		t.Errorf("%d of %d flips graver than a notice", grave, flips)
	}
	t.Logf("%d flips in %d bytes, each reported; %d graver than a notice", flips, bytes, grave)
}

// misreported says what is wrong with the findings about one flipped byte; empty if nothing is.
func misreported(l *lab, sum *Verification, found []Finding, name string, off int64) string {
	at := false
	for i := range found {
		f := &found[i]
		at = at || covers(f, name, off)
		if f.File != name && f.Reason != string(RuleSnapshotLost) && f.Reason != string(RuleCommit) {
			return "a finding about " + f.File
		}
		if f.Reason == "" || f.Record == "" || f.Evidence == "" {
			return fmt.Sprintf("an empty field in %+v", f)
		}
	}
	if !at {
		return "not reported at its place"
	}
	report, err := raftlog.Inspect(l.dir().options())
	refused := err != nil || report.Damage != nil
	grave := slices.ContainsFunc(found, func(f Finding) bool { return f.Verdict != wal.Notice && f.Verdict != wal.Torn })
	if refused && !grave {
		return "a node refuses to start, and there are only notices"
	}
	if !refused && sum.Hash == "" {
		return "a node starts, and the state could not be recomputed"
	}
	return ""
}

// TestWholeFiles deletes, empties, cuts and duplicates each file of raft/, and puts back what it was at each earlier moment: what is not reported
// leaves the member with the term, vote and state that it had.
func TestWholeFiles(t *testing.T) {
	l := reference(t)
	l.keep("now", root+"/raft/")
	before, _, err := l.dir().Verify(true)
	must(t, err)
	check := func(what string) {
		t.Helper()
		after, found, err := l.dir().Verify(true)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if len(found) == 0 && *after != *before {
			t.Errorf("%s: nothing is reported, and %+v became %+v", what, before, after)
		}
		if len(found) == 0 && !strings.Contains(what, "reserve") {
			t.Errorf("%s: nothing is reported", what)
		}
		grave := slices.ContainsFunc(found, func(f Finding) bool { return f.Grave() || f.Verdict == wal.UnknownVersion })
		o := l.options()
		o.FS = l.fs.Kill()
		log, _, err := raftlog.Open(o)
		if refused := err != nil; refused != grave {
			t.Errorf("%s: a member starts: %v; %v", what, err, found)
		}
		if err == nil {
			must(t, log.Close())
		}
		for _, name := range l.fs.Files() { // what was added goes
			if _, ours := l.saved["now"][name]; !ours && strings.HasPrefix(name, root+"/raft/") {
				must(t, l.fs.Remove(name))
			}
		}
		l.putBack("now")
	}
	for name, content := range l.saved["now"] {
		must(t, l.fs.Remove(name))
		check("deleted " + name)
		for _, size := range []int{0, 1, len(content) / 2, len(content) - 1} {
			must(t, l.fs.SetBytes(name, content[:size]))
			check(fmt.Sprintf("%s cut to %d bytes", name, size))
		}
		must(t, l.fs.SetBytes(name, append(slices.Clone(content), 0)))
		check(name + " with a byte more")
		must(t, vfs.WriteFile(l.fs, name+".copy", content))
		check("a copy of " + name)
		for other, foreign := range l.saved["now"] {
			if other != name && string(foreign) != string(content) {
				must(t, l.fs.SetBytes(name, foreign))
				check(fmt.Sprintf("%s with the content of %s", name, other))
			}
		}
	}
	names := slices.Sorted(maps.Keys(l.saved["now"]))
	for i, a := range names {
		for _, b := range names[i+1:] {
			must(t, l.fs.Remove(a))
			must(t, l.fs.Remove(b))
			check(fmt.Sprintf("deleted %s and %s", a, b))
			for _, name := range []string{a, b} {
				must(t, l.fs.Flip(name, int64(len(l.saved["now"][name])/2), 0x10))
			}
			check(fmt.Sprintf("a bit of %s and of %s", a, b))
		}
	}
}

// TestOldSnapshots puts both snapshots back from before segments of the log were freed: the gap behind them is found, and so does the node.
func TestOldSnapshots(t *testing.T) {
	l := newLab(t)
	l.found(false)
	for i := uint64(2); i < 100; i++ {
		e := l.entry(fmt.Sprintf("topic t%d", i))
		if i%2 == 0 {
			e = l.entry("raw " + strings.Repeat("ff", 6000))
		}
		must(t, l.save(i, 2, l.id.MemberID, i, e))
		if i%20 == 0 {
			l.snapshot(i)
		}
		if i == 40 {
			l.keep("old", "/snapshots/")
		}
	}
	l.stop()
	if _, found, err := l.dir().Verify(true); err != nil || slices.ContainsFunc(found, func(f Finding) bool { return f.Reason != string(RuleEntry) }) {
		t.Fatalf("before: %v, %v", found, err)
	}
	for _, name := range l.fs.Files() {
		if strings.Contains(name, "/snapshots/") {
			must(t, l.fs.Remove(name))
		}
	}
	l.putBack("old")
	_, found, err := l.dir().Verify(true)
	must(t, err)
	if !slices.ContainsFunc(found, func(f Finding) bool { return f.Reason == string(RuleGap) && f.Grave() && f.Lost != "" }) {
		t.Fatalf("no gap is found: %v", found)
	}
	if report, err := raftlog.Inspect(l.options()); err != nil || report.Damage == nil {
		t.Fatalf("a node starts on it: %v, %+v", err, report)
	}
}
