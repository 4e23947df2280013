package vfs

import (
	"bytes"
	"errors"
	"os"
	"testing"
)

// statesDisk has a durable file, overwritten, another that grows, and a rename, all pending.
func statesDisk(t *testing.T) *Mem {
	t.Helper()
	m := NewMem(1)
	write := func(name string, data []byte, off int64, sync bool) {
		f, err := m.OpenFile(name, os.O_CREATE|os.O_RDWR)
		if err == nil {
			_, err = f.WriteAt(data, off)
		}
		if err == nil && sync {
			err = errors.Join(f.Sync(), m.SyncDir("/"))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	write("/a", bytes.Repeat([]byte("a"), 2000), 0, true)
	write("/a", bytes.Repeat([]byte("b"), 1000), 0, false)
	write("/b", bytes.Repeat([]byte("c"), 600), 0, false)
	if err := m.Rename("/a", "/c"); err != nil {
		t.Fatal(err)
	}
	return m
}

// TestStates: the images are those of EachCrash, each subset once, and Sum tells them apart as their content does.
func TestStates(t *testing.T) {
	m := statesDisk(t)
	content := func(m *Mem) string {
		var b bytes.Buffer
		for _, name := range m.Files() {
			data, err := m.Bytes(name)
			if err != nil {
				t.Fatal(err)
			}
			b.WriteString(name)
			b.Write(data)
		}
		return b.String()
	}
	want := map[string]bool{}
	if _, err := m.EachCrash(14, func(c *Mem) error { want[content(c)] = true; return nil }); err != nil {
		t.Fatal(err)
	}
	s := m.States()
	if s.Units() != 7 { // two fragments and the size and two fragments, the new name, the rename
		t.Fatalf("%d units", s.Units())
	}
	got, sums := map[string]uint64{}, map[uint64]bool{}
	for set := range 1 << s.Units() {
		c := s.Image(func(i int) bool { return set>>i&1 == 1 }, Rough{})
		text, sum := content(c), s.Sum(c)
		if known, ok := got[text]; ok && known != sum {
			t.Fatalf("set %b: the same content, another sum", set)
		}
		if !want[text] {
			t.Fatalf("set %b: no crash leaves this", set)
		}
		got[text], sums[sum] = sum, true
	}
	if len(got) != len(want) || len(sums) != len(got) {
		t.Errorf("%d contents with %d sums, want %d", len(got), len(sums), len(want))
	}
	if !s.Same(m.States()) {
		t.Error("the states of the same moment are not the same")
	}
	if err := m.SyncFS("/"); err != nil || s.Same(m.States()) {
		t.Error("after a sync they are the same", err)
	}
}

// TestStatesIdle: zeros behind zeros are no unit, and those that come over something are.
func TestStatesIdle(t *testing.T) {
	m := NewMem(1)
	f, err := m.OpenFile("/f", os.O_CREATE|os.O_RDWR)
	if err == nil {
		_, err = f.WriteAt(append([]byte("x"), make([]byte, 16<<10-1)...), 0)
	}
	if err = errors.Join(err, m.SyncDir("/")); err != nil {
		t.Fatal(err)
	}
	if n := m.States().Units(); n != 2 { // size and first fragment
		t.Errorf("%d units", n)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(make([]byte, 1024), 0); err != nil {
		t.Fatal(err)
	}
	if n := m.States().Units(); n != 1 {
		t.Errorf("%d units of zeros over one that is not", n)
	}
}

// TestStatesRough: a torn fragment is half written; where a lost fragment of a file that grew was, stale bytes are.
func TestStatesRough(t *testing.T) {
	m := NewMem(1)
	f, err := m.OpenFile("/f", os.O_CREATE|os.O_RDWR)
	if err == nil {
		_, err = f.WriteAt(bytes.Repeat([]byte("n"), 1024), 0)
	}
	if err = errors.Join(err, m.SyncDir("/")); err != nil {
		t.Fatal(err)
	}
	s := m.States()
	for _, c := range []struct {
		keep  [3]bool
		rough Rough
		want  string
	}{
		{[3]bool{true, true, true}, Rough{Torn: 3, Bytes: 10}, string(bytes.Repeat([]byte("n"), 522)) + string(make([]byte, 502))},
		{[3]bool{true, true, false}, Rough{Stale: bytes.Repeat([]byte("s"), Fragment)}, string(bytes.Repeat([]byte("n"), 512)) + string(bytes.Repeat([]byte("s"), 512))},
		{[3]bool{false, true, false}, Rough{Stale: bytes.Repeat([]byte("s"), Fragment)}, ""},
	} {
		got, err := s.Image(func(i int) bool { return c.keep[i] }, c.rough).Bytes("/f")
		if err != nil || string(got) != c.want {
			t.Errorf("%+v: %q, %v", c, got, err)
		}
	}
	if !s.Fragment(1) || s.Fragment(0) {
		t.Error("the size is the first unit, and no fragment")
	}
}
