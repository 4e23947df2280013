package segment

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"chronik.dev/chronik/broker/batch"
	"chronik.dev/chronik/broker/vfs"
)

// loadDir copies a partition directory of testdata into memory and returns the sums of all its files.
func loadDir(t testing.TB, dir string) (*vfs.Mem, map[string][]byte, []Sum) {
	t.Helper()
	m := vfs.NewMem(1)
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]byte{}
	s, err := OpenSums(m, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		b, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		putFile(t, m, f.Name(), b)
		all[f.Name()] = b
		k, base, ok := ParseName(f.Name())
		if !ok {
			t.Fatal(f.Name())
		}
		s.Add(k, base, 0, b)
	}
	if err := s.Write(); err != nil {
		t.Fatal(err)
	}
	return m, all, s.Entries()
}

func putFile(t testing.TB, m *vfs.Mem, name string, b []byte) {
	t.Helper()
	f, err := m.OpenFile(name, os.O_CREATE|os.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(b, 0); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// examine runs everything that looks at a directory, or only what looks at the file of that name.
func examine(t testing.TB, m *vfs.Mem, all map[string][]byte, sums []Sum, of string) (verify, check []Finding) {
	t.Helper()
	for name := range all {
		if k, base, _ := ParseName(name); k == Log && (of == "" || strings.HasPrefix(of, name[:baseNameLen])) {
			if _, err := Verify(m, "", base, VerifyOptions{Size: -1, Deep: true, Exact: true}, func(f Finding) { verify = append(verify, f) }); err != nil {
				t.Fatal(err)
			}
		}
	}
	whole := func(k Kind, base int64) int64 {
		if name := k.Name(base); of == "" || of == name {
			return int64(len(all[name]))
		}
		return -1
	}
	if err := CheckSums(m, "", sums, whole, func(f Finding) { check = append(check, f) }); err != nil {
		t.Fatal(err)
	}
	return verify, check
}

// encloses says whether a finding is about that byte.
func encloses(found []Finding, name string, at int) bool {
	for _, f := range found {
		if f.File == name && int64(at) >= f.Offset && int64(at) < f.Offset+f.Length {
			return true
		}
	}
	return false
}

// slack are the bytes of a log that no CRC of Kafka's covers: base offset and leader epoch of each batch. Only chronik.sums guards them.
func slack(t testing.TB, log []byte) map[int]bool {
	t.Helper()
	free := map[int]bool{}
	pos := 0
	if err := batch.Each(log, func(h batch.Header, _ []byte) error {
		for _, i := range []int{0, 1, 2, 3, 4, 5, 6, 7, 12, 13, 14, 15} {
			free[pos+i] = true
		}
		pos += h.Size()
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return free
}

// TestFlipsAreFound flips every byte of every file of a partition directory three ways. With chronik.sums all are found in the right place;
// without it, in .log and the indexes, all but the declared slack. Without CHRONIK_LONG it takes every third byte.
func TestFlipsAreFound(t *testing.T) {
	m, all, sums := loadDir(t, "testdata/kafka/small-zstd-0")
	if v, c := examine(t, m, all, sums, ""); len(v)+len(c) > 0 {
		t.Fatalf("a clean directory: %+v %+v", v, c)
	}
	flips := 0
	for name, b := range all {
		k, _, _ := ParseName(name)
		free := map[int]bool{}
		if k == Log {
			free = slack(t, b)
		}
		step := 3
		if os.Getenv("CHRONIK_LONG") != "" {
			step = 1
		}
		for i := flips % step; i < len(b); i += step {
			for _, x := range []byte{0x01, 0x80, 0xff} {
				b[i] ^= x
				if err := m.SetBytes(name, b); err != nil {
					t.Fatal(err)
				}
				verify, check := examine(t, m, all, sums, name)
				if !encloses(check, name, i) {
					t.Errorf("%s byte %d ^ %02x: chronik.sums does not tell: %+v", name, i, x, check)
				}
				guarded := (k == Log || k == Index || k == TimeIndex) && !free[i]
				if guarded && !encloses(verify, name, i) {
					t.Errorf("%s byte %d ^ %02x: Verify does not tell: %+v", name, i, x, verify)
				}
				b[i] ^= x
				flips++
			}
		}
		if err := m.SetBytes(name, b); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d flips", flips)
}

// TestCutsAreFound cuts every file at every length.
func TestCutsAreFound(t *testing.T) {
	m, all, sums := loadDir(t, "testdata/kafka/small-lz4-0")
	for name, b := range all {
		for n := 0; n < len(b); n += 1 + len(b)/200 {
			if err := m.SetBytes(name, b[:n]); err != nil {
				t.Fatal(err)
			}
			if _, check := examine(t, m, all, sums, name); len(check) == 0 {
				t.Errorf("%s cut at %d: chronik.sums does not tell", name, n)
			}
		}
		if err := m.SetBytes(name, b); err != nil {
			t.Fatal(err)
		}
	}
}

// TestGoesOnPastDamage destroys random batches: exactly those are listed, with their offsets, and every other batch is seen.
func TestGoesOnPastDamage(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	for round := range 60 {
		m := vfs.NewMem(1)
		s, err := Create(m, "", 0, Options{})
		if err != nil {
			t.Fatal(err)
		}
		want := &model{}
		for range 40 {
			raw := makeBatch(t, batch.None, want.next(), 1+rng.IntN(3), 1000, rng.IntN(600))
			want.add(raw)
		}
		log := want.bytes()
		if err := s.Append(log); err != nil {
			t.Fatal(err)
		}
		if err := s.Seal(); err != nil {
			t.Fatal(err)
		}
		lost := map[int64]bool{} // base offsets
		for range 1 + rng.IntN(5) {
			i := rng.IntN(len(want.heads))
			_, pos := want.find(want.heads[i].BaseOffset)
			size := want.heads[i].Size()
			switch rng.IntN(3) {
			case 0: // a byte under the CRC
				log[int(pos)+21+rng.IntN(size-21)] ^= 0x40
			case 1: // the length
				log[pos+10] ^= 0x55
			default: // all of it
				clear(log[pos : int(pos)+size])
			}
			lost[want.heads[i].BaseOffset] = true
		}
		if err := m.SetBytes(Log.Name(0), log); err != nil {
			t.Fatal(err)
		}
		checkDamage(t, m, want, lost, round)
	}
}

func checkDamage(t *testing.T, m *vfs.Mem, want *model, lost map[int64]bool, round int) {
	t.Helper()
	seen := map[int64]bool{}
	missing := map[int64]bool{}
	var findings []Finding
	_, err := Verify(m, "", 0, VerifyOptions{Size: -1, Deep: true, Exact: true, Batch: func(_ int64, h batch.Header, _ []byte) error {
		seen[h.BaseOffset] = true
		return nil
	}}, func(f Finding) {
		findings = append(findings, f)
		for o := f.First; o <= f.Last; o++ {
			missing[o] = true
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, h := range want.heads {
		last := i == len(want.heads)-1 && lost[h.BaseOffset]
		switch {
		case seen[h.BaseOffset] == lost[h.BaseOffset]:
			t.Errorf("round %d: batch at %d: seen %v, destroyed %v", round, h.BaseOffset, seen[h.BaseOffset], lost[h.BaseOffset])
		case !last && missing[h.BaseOffset] != lost[h.BaseOffset]:
			t.Errorf("round %d: offset %d: reported missing %v, destroyed %v", round, h.BaseOffset, missing[h.BaseOffset], lost[h.BaseOffset])
		}
	}
	for _, f := range findings {
		if f.File != Log.Name(0) {
			t.Errorf("round %d: an index is blamed for damage of the log: %+v", round, f)
		}
	}
}

// TestUnreadableRange reads on behind a range that fails with EIO.
func TestUnreadableRange(t *testing.T) {
	want := &model{}
	for range 400 {
		want.add(makeBatch(t, batch.None, want.next(), 1, 1000, 1000))
	}
	log := want.bytes()
	w := &window{f: broken{log, 100_000, 104_096}, end: int64(len(log))}
	var findings []Finding
	v := &verifier{o: VerifyOptions{}, report: func(f Finding) { findings = append(findings, f) }, log: "log"}
	if err := v.walk(w); err != nil {
		t.Fatal(err)
	}
	if len(findings) == 0 || findings[0].Reason != IOError {
		t.Fatalf("findings %+v", findings)
	}
	lost := int64(0)
	for _, f := range findings {
		lost += f.Last - f.First + 1
	}
	if v.sum.Batches+lost != 400 || lost > 10 {
		t.Errorf("%d batches read, %d lost, findings %+v", v.sum.Batches, lost, findings)
	}
}

// broken is a file whose bytes [from, to) cannot be read.
type broken struct {
	b        []byte
	from, to int64
}

func (f broken) ReadAt(p []byte, off int64) (int, error) {
	n := copy(p, f.b[off:])
	if off < f.to && off+int64(n) > f.from {
		return int(max(f.from-off, 0)), os.ErrInvalid
	}
	return n, nil
}
