package statefile

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"chronik.dev/chronik/broker/allocation"
	"chronik.dev/chronik/broker/vfs"
)

var (
	kind = [4]byte{'T', 'E', 'S', 'T'}
	id   = [16]byte{1, 2, 3}
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func create(t testing.TB, fsys vfs.FS, body string) *File {
	t.Helper()
	f, err := Create(fsys, "/s", kind, 1, id, []byte(body))
	must(t, err)
	return f
}

func load(t testing.TB, fsys vfs.FS) *File {
	t.Helper()
	f, err := Load(fsys, "/s", kind, 1, id)
	must(t, err)
	return f
}

func want(t testing.TB, f *File, body string, seq uint64) {
	t.Helper()
	if string(f.Body()) != body || f.Seq() != seq {
		t.Fatalf("state %.40q sequence %d, want %.40q %d", f.Body(), f.Seq(), body, seq)
	}
}

func TestGolden(t *testing.T) {
	doc, err := os.ReadFile("../../docs/format/statefile.md")
	must(t, err)
	_, rest, _ := strings.Cut(string(doc), "```hex\n")
	text, _, _ := strings.Cut(rest, "```")
	golden, err := hex.DecodeString(strings.Join(strings.Fields(text), ""))
	must(t, err)
	h := header{kind: [4]byte{'G', 'O', 'L', 'D'}, version: 3, seq: 7}
	for i := range h.id {
		h.id[i] = byte(i)
	}
	if enc := encode(h, []byte("state\n")); !bytes.Equal(enc, golden) {
		t.Fatalf("the page differs from the code:\n%x", enc)
	}
	got, body, bad := decode(golden, h)
	if bad != nil || got != h || string(body) != "state\n" {
		t.Fatalf("decoded %+v %q %v", got, body, bad)
	}
}

func TestStoreAndLoad(t *testing.T) {
	m := vfs.NewMem(1)
	_, err := Load(m, "/s", kind, 1, id)
	if !errors.Is(err, ErrMissing) {
		t.Fatal(err)
	}
	f := create(t, m, "one")
	want(t, f, "one", 1)
	if _, err := Create(m, "/s", kind, 1, id, nil); !errors.Is(err, fs.ErrExist) {
		t.Fatal(err)
	}
	for i, body := range []string{"a longer second state", "", strings.Repeat("x", 5000), "end"} {
		must(t, f.Store([]byte(body)))
		want(t, f, body, uint64(i+2))
		want(t, load(t, m), body, uint64(i+2))
		must(t, f.Mend())
	}
	for _, c := range load(t, m).Copies() {
		if c.State != OK || c.Seq != 5 {
			t.Fatal(c)
		}
	}
	if f, err := Load(m, "/s", kind, 1, [16]byte{}); err != nil || f.Seq() != 5 {
		t.Fatal(err)
	}
}

// TestDamage damages copy 0, or both, and looks at the verdict.
func TestDamage(t *testing.T) {
	base := func() *vfs.Mem {
		m := vfs.NewMem(1)
		f := create(t, m, "one")
		must(t, f.Store([]byte("two")))
		return m
	}
	reencode := func(change func(*header)) func(m *vfs.Mem, name string) error {
		return func(m *vfs.Mem, name string) error {
			h := header{kind: kind, version: 1, seq: 9, id: id}
			change(&h)
			return m.SetBytes(name, encode(h, []byte("other")))
		}
	}
	flip := func(at int64) func(m *vfs.Mem, name string) error {
		return func(m *vfs.Mem, name string) error { return m.Flip(name, at, 4) }
	}
	for _, tt := range []struct {
		name   string
		damage func(m *vfs.Mem, name string) error
		state  State
		reason Reason
		offset int64
	}{
		{"gone", func(m *vfs.Mem, name string) error { return m.Remove(name) }, Missing, "", 0},
		{"empty", func(m *vfs.Mem, name string) error { return m.SetBytes(name, nil) }, Corrupt, ReasonShort, 0},
		{"zeros", func(m *vfs.Mem, name string) error { return m.SetBytes(name, make([]byte, 51)) }, Corrupt, ReasonMagic, 0},
		{"header", flip(20), Corrupt, ReasonHeaderCRC, 44},
		{"kind rot", flip(8), Corrupt, ReasonHeaderCRC, 44},
		{"version rot", flip(6), UnknownVersion, ReasonVersion, 6},
		{"body", flip(49), Corrupt, ReasonBodyCRC, 48},
		{"longer", func(m *vfs.Mem, name string) error {
			b, err := m.Bytes(name)
			return errors.Join(err, m.SetBytes(name, append(b, 0)))
		}, Corrupt, ReasonLength, 12},
		{"other kind", reencode(func(h *header) { h.kind[0] = 'X' }), Corrupt, ReasonKind, 8},
		{"other directory", reencode(func(h *header) { h.id[0] = 9 }), Corrupt, ReasonDirectory, 24},
	} {
		for i := range 2 {
			m := base()
			names := Names("/s")
			must(t, tt.damage(m, names[i]))
			f := load(t, m)
			want(t, f, "two", 2)
			if c := f.Copies()[i]; c.State != tt.state || c.Reason != tt.reason || c.Offset != tt.offset {
				t.Errorf("%s: %+v", tt.name, c)
			}
			must(t, f.Mend())
			want(t, load(t, m), "two", 2)
			if c := load(t, m).Copies()[i]; c.State != OK || c.Seq != 2 {
				t.Errorf("%s, mended: %s", tt.name, c)
			}
			must(t, tt.damage(m, names[0]))
			must(t, tt.damage(m, names[1]))
			_, err := Load(m, "/s", kind, 1, id)
			var bad *BadError
			var unknown *VersionError
			switch {
			case tt.state == Missing && errors.Is(err, ErrMissing):
			case tt.state == UnknownVersion && errors.As(err, &unknown):
			case errors.As(err, &bad) && bad.Copies[1].Reason == tt.reason:
			default:
				t.Errorf("%s, both: %v", tt.name, err)
			}
		}
	}
}

func TestUnknownVersion(t *testing.T) {
	for _, body := range []bool{true, false} {
		m := vfs.NewMem(1)
		create(t, m, "one")
		next := encode(header{kind: kind, version: 2, seq: 9, id: id}, []byte("two"))
		if !body {
			next = encode(header{kind: kind, version: 1, seq: 9, id: id}, []byte("two"))
			next[offVersion] = 2
			resum(next)
		}
		must(t, m.SetBytes("/s.0", next)) // an upgrade that crashed between the copies
		_, err := Load(m, "/s", kind, 1, id)
		var unknown *VersionError
		if !errors.As(err, &unknown) || unknown.Version != 2 || !strings.Contains(err.Error(), "unknown format version 2") {
			t.Fatal(err)
		}
	}
}

func TestContradiction(t *testing.T) {
	m := vfs.NewMem(1)
	create(t, m, "one")
	must(t, m.SetBytes("/s.1", encode(header{kind: kind, version: 1, seq: 1, id: id}, []byte("two"))))
	_, err := Load(m, "/s", kind, 1, id)
	var bad *BadError
	if !errors.As(err, &bad) || bad.Copies[0].Reason != ReasonContradicted {
		t.Fatal(err)
	}
}

func TestEveryFlipIsSeen(t *testing.T) {
	m := vfs.NewMem(1)
	create(t, m, "the whole state")
	data, err := m.Bytes("/s.0")
	must(t, err)
	for at := range data {
		for bit := range 8 {
			must(t, m.Flip("/s.0", int64(at), 1<<bit))
			f := load(t, m)
			if f.Copies()[0].State == OK {
				t.Fatalf("flip of bit %d in byte %d is not seen", bit, at)
			}
			want(t, f, "the whole state", 1)
			must(t, m.Flip("/s.0", int64(at), 1<<bit))
		}
	}
}

func TestIOErrors(t *testing.T) {
	m := vfs.NewMem(1)
	create(t, m, "one")
	d := vfs.NewFaulty(m)
	d.Inject(vfs.Fault{Op: vfs.OpRead, Match: "/s.0", Times: 2})
	f := load(t, d)
	want(t, f, "one", 1)
	if c := f.Copies()[0]; c.State != IOError {
		t.Fatal(c)
	}
	d.Inject(vfs.Fault{Op: vfs.OpRead, Match: "/s.1"})
	_, err := Load(d, "/s", kind, 1, id)
	var bad *BadError
	if !errors.As(err, &bad) || !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	// A store that failed is never tried again.
	f = load(t, d)
	must(t, f.Mend())
	d.Inject(vfs.Fault{Op: vfs.OpSync, Skip: 1})
	if err := f.Store([]byte("two")); !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	if err := errors.Join(f.Store([]byte("three")), f.Mend()); !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	want(t, load(t, d), "two", 2)
	if err := load(t, d).Store(make([]byte, MaxBody+1)); err == nil {
		t.Fatal("larger than the limit")
	}
}

// TestNoRoom: a store for which there was no room, or no descriptor, may be repeated, with another state too. At no crash on the way is there
// anything but one of the states.
func TestNoRoom(t *testing.T) {
	for _, fault := range []vfs.Fault{
		{Op: vfs.OpCreate, Err: syscall.EMFILE}, {Op: vfs.OpWrite, Err: syscall.ENOSPC}, {Op: vfs.OpWrite, Short: 60, Err: syscall.ENOSPC},
		{Op: vfs.OpTruncate, Err: syscall.EDQUOT}, {Op: vfs.OpOpen, Err: syscall.ENFILE},
	} {
		for _, name := range Names("/s") {
			m := vfs.NewMem(1)
			create(t, m, strings.Repeat("old", 100))
			d := vfs.NewFaulty(m)
			f := load(t, m)
			f.fsys, fault.Match = d, name
			d.Inject(fault)
			var bad error
			m.SetHook(func(op vfs.Op) {
				for i := range 8 {
					c, err := Load(m.CrashMode(rand.New(rand.NewPCG(uint64(i), uint64(op.Off))), vfs.Mode(i)), "/s", kind, 1, id)
					if err != nil {
						bad = errors.Join(bad, fmt.Errorf("crash at %s: %w", op, err))
					} else if body := string(c.Body()); body != strings.Repeat("old", 100) && body != "two" && body != "three" {
						bad = errors.Join(bad, fmt.Errorf("crash at %s: state %.20q", op, body))
					}
				}
			})
			if err := f.Store([]byte("two")); !vfs.NoRoom(err) {
				t.Errorf("%s of %s: %v", fault.Op, name, err)
			}
			if err := errors.Join(f.Store([]byte("three")), bad); err != nil {
				t.Errorf("after %s of %s: %v", fault.Op, name, err)
			}
			m.SetHook(nil)
			g := load(t, m)
			if c := g.Copies(); string(g.Body()) != "three" || c[0].State != OK || c[1].State != OK || c[0].Seq != c[1].Seq || f.Seq() != g.Seq() {
				t.Errorf("after %s of %s: %.20q, %v", fault.Op, name, g.Body(), c)
			}
		}
	}
	// A sync that fails is never for want of room.
	m := vfs.NewMem(1)
	create(t, m, "one")
	d := vfs.NewFaulty(m)
	f := load(t, d)
	must(t, f.Mend())
	d.Inject(vfs.Fault{Op: vfs.OpSync, Err: syscall.ENOSPC, Sync: vfs.CleanButLost})
	if err := f.Store([]byte("two")); !errors.Is(err, syscall.ENOSPC) || vfs.NoRoom(err) {
		t.Fatal(err)
	}
	if err := f.Store([]byte("three")); !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
}

// TestCrash takes every disk that a power loss or a kill at every point of Store and Mend can leave, and a second crash in the Mend and the Store
// that follow.
func TestCrash(t *testing.T) {
	states := 0
	for _, tt := range []struct {
		name     string
		old, new string
		damage   int // copy that is bad before Store; -1 none
	}{
		{"same size", "old state", "new state", -1},
		{"grows", "old", strings.Repeat("new", 3000), -1},
		{"shrinks", strings.Repeat("old", 3000), "new", -1},
		{"first bad", "old state", "new state", 0},
		{"second bad", strings.Repeat("old", 200), strings.Repeat("new", 300), 1},
	} {
		m := vfs.NewMem(1)
		create(t, m, "before")
		must(t, load(t, m).Store([]byte(tt.old)))
		if tt.damage >= 0 {
			must(t, m.Flip(Names("/s")[tt.damage], 50, 1))
		}
		f := load(t, m)
		stored := false
		crash := func(op vfs.Op) {
			check := func(c *vfs.Mem) error {
				states++
				return afterCrash(c, tt.old, tt.new, stored)
			}
			done, err := m.EachCrash(14, check)
			err = errors.Join(err, check(m.Kill())) // what was not synced is read, and can still go
			rng := rand.New(rand.NewPCG(uint64(states), 1))
			for range 200 {
				if err == nil && !done {
					err = check(m.CrashMode(rng, vfs.Mode(rng.IntN(8)))) // Torn too: a CRC sees what is torn inside a sector
				}
			}
			if err != nil {
				t.Errorf("%s: crash at %s: %v", tt.name, op, err)
			}
		}
		m.SetHook(crash)
		must(t, f.Store([]byte(tt.new)))
		stored = true
		crash(vfs.Op{})
	}
	t.Logf("%d crash states", states)
	if states < 800 {
		t.Fatalf("only %d crash states", states)
	}
}

// afterCrash loads, mends with a crash at every point of that, and stores again.
func afterCrash(c *vfs.Mem, old, new string, stored bool) error {
	f, err := Load(c, "/s", kind, 1, id)
	if err != nil {
		return err
	}
	body := string(f.Body())
	if body != new && (stored || body != old) {
		return fmt.Errorf("state %.20q after crash", body)
	}
	may := []string{body, old, new} // a power loss in Mend can still take what a kill left unsynced
	var inner error
	c.SetHook(func(op vfs.Op) {
		for _, mode := range []vfs.Mode{vfs.None, vfs.Random, vfs.Random, vfs.Torn, vfs.All} {
			g, err := Load(c.CrashMode(rand.New(rand.NewPCG(uint64(mode), uint64(op.Off))), mode), "/s", kind, 1, id)
			if err == nil && !slices.Contains(may, string(g.Body())) {
				err = fmt.Errorf("state %.20q, before %.20q", g.Body(), body)
			}
			if err != nil {
				inner = errors.Join(inner, fmt.Errorf("crash at %s after the first: %w", op, err))
			}
		}
	})
	if err := errors.Join(f.Mend(), inner); err != nil {
		return err
	}
	for _, copy := range f.Copies() {
		if copy.State != OK || copy.Seq != f.Seq() {
			return fmt.Errorf("after Mend: %s", copy)
		}
	}
	may = []string{body, "more"}
	return errors.Join(f.Store([]byte("more")), inner)
}

func resum(b []byte) {
	binary.LittleEndian.PutUint32(b[offHeaderCRC:], crc32.Checksum(b[:offHeaderCRC], castagnoli))
}

func FuzzDecode(f *testing.F) {
	h := header{kind: kind, version: 1, seq: 3, id: id}
	f.Add(encode(h, []byte("body")))
	f.Add(encode(h, nil))
	f.Add([]byte("CHSF"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var got header
		var body []byte
		var bad *damage
		allocation.Bounded(t, len(data), 64<<10, func() { got, body, bad = decode(data, header{kind: kind, version: 1}) })
		if bad != nil {
			if bad.offset > int64(len(data)) || bad.reason == "" {
				t.Fatalf("%+v", bad)
			}
			return
		}
		if !bytes.Equal(encode(got, body), data) {
			t.Fatal("a valid file is encoded otherwise")
		}
	})
}
