package datadir

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"chronik.dev/chronik/broker/statefile"
	"chronik.dev/chronik/broker/vfs"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantIs(t testing.TB, err, target error, text string) {
	t.Helper()
	if !errors.Is(err, target) || !strings.Contains(err.Error(), text) {
		t.Fatalf("got %v, want %v with %q", err, target, text)
	}
}

func options(node int32) Options {
	return Options{NodeID: node, Now: func() time.Time { return time.Unix(1_800_000_000, 0) }, Rand: rand.NewChaCha8([32]byte{1})}
}

func open(t testing.TB, fsys vfs.FS, node int32) *Dir {
	t.Helper()
	d, err := Open(fsys, "/data", options(node))
	must(t, err)
	return d
}

func TestGoldenIdentity(t *testing.T) {
	doc, err := os.ReadFile("../../docs/format/identity.md")
	must(t, err)
	_, rest, _ := strings.Cut(string(doc), "```hex\n")
	text, _, _ := strings.Cut(rest, "```")
	golden, err := hex.DecodeString(strings.Join(strings.Fields(text), ""))
	must(t, err)
	id := Identity{ClusterID: "5L6g3nShT-eMCtK--X86sw", NodeID: 1, MemberID: 0x0807060504030201, Founded: true}
	for i := range id.DirectoryID {
		id.DirectoryID[i] = byte(0x10 + i)
	}
	if enc := id.encode(); !bytes.Equal(enc, golden) {
		t.Fatalf("the page differs from the code:\n%x", enc)
	}
	got, err := decodeIdentity(golden)
	must(t, err)
	if got != id {
		t.Fatalf("%+v", got)
	}
	for at, b := range map[int]byte{0: 3, 1: 9, 2: 1, 7: 0x80} {
		bad := bytes.Clone(golden)
		bad[at] = b
		if _, err := decodeIdentity(bad); err == nil {
			t.Errorf("byte %d = %d accepted", at, b)
		}
	}
	for n := range golden {
		if _, err := decodeIdentity(golden[:n]); err == nil {
			t.Errorf("%d bytes accepted", n)
		}
	}
	text2, err := json.Marshal(id)
	must(t, err)
	if !strings.Contains(string(text2), `"directoryId":"101112131415161718191a1b1c1d1e1f"`) {
		t.Fatal(string(text2))
	}
}

func TestOpen(t *testing.T) {
	m := vfs.NewMem(1)
	d := open(t, m, 7)
	id := d.Identity()
	if id.NodeID != 7 || id.MemberID == 0 || len(id.ClusterID) != 22 || id.Founded {
		t.Fatalf("%+v", id)
	}
	if _, err := Open(m, "/data", options(7)); !errors.Is(err, ErrLocked) {
		t.Fatal(err)
	}
	info, err := Inspect(m, "/data")
	must(t, err)
	if !info.Running || info.Identity != id {
		t.Fatalf("%+v", info)
	}
	must(t, m.Mkdir(d.Path(WalDir)))
	if !info.Founding {
		t.Fatal("it is not said that the directory is still being founded")
	}
	must(t, d.StartOver())
	must(t, m.Mkdir(d.Path(WalDir)))
	must(t, vfs.MkdirAll(m, d.Path(TopicsDir, "a-0"))) // an old identity was put back
	wantIs(t, d.StartOver(), ErrNoIdentity, "a-0")
	if there, err := vfs.Exists(m, d.Path(WalDir)); err != nil || !there {
		t.Fatal("the journal is gone", err)
	}
	must(t, m.Remove(d.Path(TopicsDir, "a-0")))
	must(t, d.Founded())
	must(t, d.Founded())
	if err := d.StartOver(); err == nil {
		t.Fatal("started over in a founded directory")
	}
	must(t, d.Close())
	d = open(t, m, -1)
	id.Founded = true
	if d.Identity() != id {
		t.Fatalf("%+v, was %+v", d.Identity(), id)
	}
	must(t, d.Close())
	_, err = Open(m, "/data", options(8))
	wantIs(t, err, ErrOtherNode, "node.id 7, not 8")
	o := options(7)
	o.ClusterID = "another"
	_, err = Open(m, "/data", o)
	wantIs(t, err, ErrOtherCluster, "another")
	if running, err := Running(m, "/data"); running || err != nil {
		t.Fatal("a failed Open kept the lock")
	}
}

func TestRefusals(t *testing.T) {
	m := vfs.NewMem(1)
	must(t, vfs.MkdirAll(m, "/kafka"))
	must(t, vfs.WriteFile(m, "/kafka/meta.properties", nil))
	_, err := Open(m, "/kafka", options(1))
	wantIs(t, err, ErrForeign, "meta.properties")
	_, err = Inspect(m, "/kafka")
	wantIs(t, err, ErrMissing, "--data-dir")
	_, err = Inspect(m, "/nowhere")
	wantIs(t, err, fs.ErrNotExist, "inspect")

	must(t, vfs.MkdirAll(m, "/lost/wal"))
	for _, f := range []func() error{
		func() error { _, err := Open(m, "/lost", options(1)); return err },
		func() error { _, err := Inspect(m, "/lost"); return err },
	} {
		wantIs(t, f(), ErrNoIdentity, "backup")
	}

	must(t, vfs.MkdirAll(m, "/data"))
	must(t, vfs.WriteFile(m, "/data/x.tmp", nil))
	must(t, vfs.MkdirAll(m, "/data/lost+found"))
	d := open(t, m, 1)
	must(t, m.Mkdir(d.Path(WalDir)))
	must(t, d.Close())
	must(t, m.Flip("/data/identity.0", 50, 1))
	must(t, m.Flip("/data/identity.1", 50, 1))
	before := fmt.Sprint(m)
	_, err = Open(m, "/data", options(1))
	wantIs(t, err, ErrNoIdentity, "body CRC differs")
	if fmt.Sprint(m) != before {
		t.Fatal("a refused Open changed the directory")
	}

	next, err := statefile.Create(m, "/next", identityKind, FormatVersion+1, [16]byte{}, []byte("?"))
	must(t, err)
	for i, name := range statefile.Names("/next") {
		b, err := m.Bytes(name)
		must(t, err)
		must(t, m.SetBytes(fmt.Sprintf("/data/identity.%d", i), b))
	}
	var unknown *statefile.VersionError
	if _, err := Open(m, "/data", options(1)); !errors.As(err, &unknown) {
		t.Fatal(err)
	}
	if _, err := Inspect(m, "/data"); !errors.As(err, &unknown) || next.Seq() != 1 {
		t.Fatal(err)
	}
}

// TestInspectChangesNothing runs the read-only functions on a disk on which every changing call fails.
func TestInspectChangesNothing(t *testing.T) {
	m := vfs.NewMem(1)
	d := open(t, m, 1)
	_, err := d.Report(Incident{Class: Torn, Message: "m"})
	must(t, err)
	must(t, d.Close())
	f := vfs.NewFaulty(m)
	for _, op := range []vfs.OpKind{vfs.OpCreate, vfs.OpWrite, vfs.OpTruncate, vfs.OpSync, vfs.OpMkdir, vfs.OpRemove, vfs.OpRename, vfs.OpSyncDir, vfs.OpSyncFS} {
		f.Inject(vfs.Fault{Op: op, Times: -1})
	}
	info, err := Inspect(f, "/data")
	must(t, err)
	if info.Running || len(info.Unknown) != 0 {
		t.Fatalf("%+v", info)
	}
	n := 0
	bad, err := ReadIncidents(f, "/data", func(Incident) { n++ })
	must(t, err)
	if n != 1 || len(bad) != 0 {
		t.Fatal(n, bad)
	}
}

func TestRandomSourceFails(t *testing.T) {
	o := options(1)
	for _, r := range []io.Reader{bytes.NewReader(make([]byte, 4000)), strings.NewReader("x")} {
		o.Rand = r
		if _, err := Open(vfs.NewMem(1), "/data", o); err == nil {
			t.Fatal("an identity of zeros")
		}
	}
	o = options(1)
	o.ClusterID = "-mine"
	d, err := Open(vfs.NewMem(1), "/data", o)
	must(t, err)
	if d.Identity().ClusterID != "-mine" {
		t.Fatal(d.Identity())
	}
}

// TestCrashWhileFounding crashes at every point of the first start: the next one always succeeds, and a founded directory keeps its identity.
func TestCrashWhileFounding(t *testing.T) {
	states := 0
	for seed := range uint64(20) {
		m := vfs.NewMem(seed)
		rng := rand.New(rand.NewPCG(seed, 1))
		var founded *Identity
		check := func(op vfs.Op) {
			for range 10 {
				states++
				c := m.CrashClone(rng)
				d, err := Open(c, "/data", Options{NodeID: 1})
				if err != nil {
					t.Fatalf("seed %d: crash at %s: %v\n%s", seed, op, err, c)
				}
				if founded != nil && d.Identity() != *founded {
					t.Fatalf("seed %d: identity %+v, was %+v", seed, d.Identity(), *founded)
				}
				if !d.Identity().Founded {
					must(t, d.StartOver())
				}
				must(t, d.Close())
			}
		}
		m.SetHook(check)
		d := open(t, m, 1)
		must(t, vfs.MkdirAll(m, d.Path(WalDir)))
		must(t, d.Founded())
		id := d.Identity()
		founded = &id
		must(t, vfs.WriteFile(m, filepath.Join(d.Path(WalDir), "x"), []byte("y")))
		_, err := d.Report(Incident{Class: Torn, Message: "m"})
		must(t, err)
	}
	t.Logf("%d crash states", states)
}
