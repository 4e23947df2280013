package datadir

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"time"

	"chronik.dev/chronik/broker/allocation"
	"chronik.dev/chronik/broker/vfs"
)

func incidents(t testing.TB, fsys vfs.FS) (ids []string, bad []BadLine) {
	t.Helper()
	bad, err := ReadIncidents(fsys, "/data", func(i Incident) { ids = append(ids, i.ID) })
	must(t, err)
	return ids, bad
}

func TestLedger(t *testing.T) {
	m := vfs.NewMem(1)
	if ids, bad := incidents(t, m); ids != nil || bad != nil {
		t.Fatal(ids, bad)
	}
	d := open(t, m, 1)
	first := Incident{Class: Corrupt, File: "wal/3", Offset: 8192, Length: 4096, Topic: "t", Partition: 2, FirstOffset: 5, LastOffset: 9,
		Reason: "group CRC differs", Message: "damaged", Next: "chronik wal verify"}
	id, err := d.Report(first)
	must(t, err)
	again := first
	again.Message = "other words"
	id2, err := d.Report(again)
	must(t, err)
	if id != "inc-1" || id2 != "inc-1" {
		t.Fatal(id, id2)
	}
	other := first
	other.Partition = 3
	other.Message = strings.Repeat("long\x00", 20000)
	_, err = d.Report(other)
	must(t, err)
	must(t, d.Close())

	// A torn last line, then a new process.
	b, err := m.Bytes("/data/incidents.jsonl")
	must(t, err)
	must(t, m.SetBytes("/data/incidents.jsonl", append(b, `{"id":"inc-3","ti`...)))
	d = open(t, m, 1)
	if same, err := d.Report(again); err != nil || same != "inc-1" {
		t.Fatal(same, err)
	}
	if id3, err := d.Report(Incident{Class: Stopped, Topic: "t", Message: "m"}); err != nil || id3 != "inc-3" {
		t.Fatal(id3, err)
	}
	ids, bad := incidents(t, m)
	if fmt.Sprint(ids) != "[inc-1 inc-2 inc-3]" || len(bad) != 1 || bad[0].Offset != int64(len(b)) {
		t.Fatal(ids, bad)
	}
	var got Incident
	_, err = ReadIncidents(m, "/data", func(i Incident) {
		if i.ID == "inc-1" {
			got = i
		}
	})
	must(t, err)
	first.ID, first.Time = "inc-1", time.Unix(1_800_000_000, 0).UTC()
	if got != first {
		t.Fatalf("%+v", got)
	}
	must(t, m.Flip("/data/incidents.jsonl", 30, 1))
	if ids, bad := incidents(t, m); len(ids) != 2 || len(bad) != 2 || bad[0].Reason != "CRC differs" {
		t.Fatal(ids, bad)
	}
	must(t, m.SetBytes("/data/incidents.jsonl", append(bytes.Repeat([]byte("x"), 200_000), "\n\n{}\n"...)))
	if ids, bad := incidents(t, m); ids != nil || len(bad) != 2 || bad[0].Length != 200_001 {
		t.Fatal(ids, bad)
	}
}

func TestLedgerAfterFailure(t *testing.T) {
	for _, fault := range []vfs.Fault{{Op: vfs.OpWrite, Short: 20, Err: syscall.ENOSPC}, {Op: vfs.OpSync}} {
		m := vfs.NewMem(1)
		f := vfs.NewFaulty(m)
		d := open(t, f, 1)
		_, err := d.Report(Incident{Class: Torn, Message: "one"})
		must(t, err)
		f.Inject(fault)
		if _, err := d.Report(Incident{Class: Undecided, Message: "two"}); !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EIO) {
			t.Fatal(err)
		}
		_, err = d.Report(Incident{Class: Corrupt, Message: "three"})
		must(t, err)
		n := 0
		_, err = ReadIncidents(m.CrashMode(rand.New(rand.NewPCG(1, 1)), vfs.None), "/data", func(i Incident) {
			if i.Message == "one" || i.Message == "three" {
				n++
			}
		})
		must(t, err)
		if n != 2 {
			t.Fatalf("%d incidents after the failure", n)
		}
	}
}

func TestEvidence(t *testing.T) {
	m := vfs.NewMem(1)
	d := open(t, m, 1)
	for i, want := range []struct{ data, path string }{
		{"torn", "evidence/wal_3@8192"}, {"torn", "evidence/wal_3@8192"}, {"other", "evidence/wal_3@8192.2"},
		{"torn", "evidence/wal_3@8192"}, {"other", "evidence/wal_3@8192.2"}, {"", "evidence/wal_3@8192.3"},
	} {
		path, err := d.Evidence("wal/3@8192", []byte(want.data))
		must(t, err)
		if path != want.path {
			t.Fatalf("%d: %s", i, path)
		}
		if b, err := m.Bytes("/data/" + path); err != nil || string(b) != want.data {
			t.Fatal(string(b), err)
		}
	}
	big := make([]byte, 3<<20+5)
	rand.NewChaCha8([32]byte{}).Read(big)
	must(t, vfs.WriteFile(m, "/data/big", big))
	for range 2 {
		path, err := EvidenceRange(m, "/data", "big", "/data/big", 3, 1<<40)
		must(t, err)
		if b, err := m.Bytes("/data/" + path); err != nil || !bytes.Equal(b, big[3:]) || path != "evidence/big" {
			t.Fatal(path, len(b), err)
		}
	}
	f := vfs.NewFaulty(m)
	f.Inject(vfs.Fault{Op: vfs.OpRead, Match: "big", Skip: 2})
	if _, err := EvidenceRange(f, "/data", "unreadable", "/data/big", 0, 1<<40); !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
}

// TestCrashWhileKeeping crashes at every point of saving evidence and of quarantine, and does it again: one copy of the evidence, nothing lost.
// (A rename between directories of which only one side was durable shows the stray file twice.)
func TestCrashWhileKeeping(t *testing.T) {
	data := bytes.Repeat([]byte("evidence"), 300)
	states := 0
	run := func(m *vfs.Mem) error {
		path, err := Evidence(m, "/data", "e", data)
		if err != nil || path != "evidence/e" {
			return fmt.Errorf("evidence in %q: %w", path, err)
		}
		if there, err := vfs.Exists(m, "/data/topics/stray"); err != nil || !there {
			return err
		}
		_, err = Quarantine(m, "/data", "topics/stray", "not a partition", time.Unix(1, 0))
		return err
	}
	for seed := range uint64(30) {
		m := vfs.NewMem(seed)
		must(t, vfs.MkdirAll(m, "/data/topics/stray"))
		must(t, vfs.WriteFile(m, "/data/topics/stray/file", data))
		m.SetHook(func(op vfs.Op) {
			for range 5 {
				states++
				c := m.CrashClone(nil)
				if err := run(c); err != nil {
					t.Fatalf("seed %d: crash at %s: %v\n%s", seed, op, err, c)
				}
				c = c.CrashMode(rand.New(rand.NewPCG(seed, 1)), vfs.None)
				copies, moved := 0, 0
				for _, name := range c.Files() {
					b, err := c.Bytes(name)
					must(t, err)
					if strings.HasPrefix(name, "/data/evidence/e") && !strings.HasSuffix(name, vfs.TempSuffix) && bytes.Equal(b, data) {
						copies++
					}
					if strings.HasPrefix(name, "/data/quarantine/topics_stray") && strings.HasSuffix(name, "/file") && bytes.Equal(b, data) {
						moved++
					}
				}
				if copies != 1 || moved < 1 {
					t.Fatalf("seed %d: crash at %s: %d copies of the evidence, %d of the stray file\n%s", seed, op, copies, moved, c)
				}
			}
		})
		must(t, run(m))
	}
	t.Logf("%d crash states", states)
}

func TestQuarantine(t *testing.T) {
	m := vfs.NewMem(1)
	d := open(t, m, 1)
	for _, want := range []string{"quarantine/stray", "quarantine/stray.2"} {
		must(t, vfs.WriteFile(m, "/data/stray", []byte("bytes")))
		path, err := d.Quarantine("stray", "nobody knows it")
		must(t, err)
		if path != want {
			t.Fatal(path)
		}
		b, err := m.Bytes("/data/" + path + ".why.json")
		must(t, err)
		var note sidecar
		must(t, json.Unmarshal(b, &note))
		if note.From != "stray" || note.Why != "nobody knows it" || note.Size != 5 {
			t.Fatalf("%+v", note)
		}
	}
	for _, name := range []string{"../outside", "/data/stray", "missing"} {
		if _, err := d.Quarantine(name, "x"); err == nil {
			t.Fatalf("%s moved", name)
		}
	}
}

func FuzzLedgerLine(f *testing.F) {
	line, err := Incident{ID: "inc-1", Class: Torn, Message: "m"}.line()
	must(f, err)
	f.Add(line[:len(line)-1])
	f.Add([]byte(`{"crc":"00000000"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var i Incident
		var reason string
		allocation.Bounded(t, len(data), 64<<10, func() { i, reason = parse(data) })
		if reason == "" && i.key() == "" {
			t.Fatal("no key")
		}
		allocation.Bounded(t, len(data), 64<<10, func() { _, _ = decodeIdentity(data) })
	})
}
