package raftlog

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"chronik.dev/chronik/broker/allocation"
)

var testID = [16]byte{0xd0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}

func testSnapFile() snapFile {
	return snapFile{install: true, baseIndex: 5, baseTerm: 2, synced: 77, snapshot: &raftpb.Snapshot{Data: []byte("state of the machine"),
		Metadata: &raftpb.SnapshotMetadata{Index: new(uint64(9)), Term: new(uint64(3)), ConfState: &raftpb.ConfState{Voters: []uint64{1, 2}, Learners: []uint64{3}, AutoLeave: new(false)}}}}
}

// golden returns the bytes of a fenced hex block of the format page, which follows the line `fixture: name`.
func golden(t *testing.T, name string) []byte {
	t.Helper()
	page, err := os.ReadFile("../../docs/format/raftlog.md")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile("(?s)fixture: " + name + "\n\n```\n(.*?)```").FindSubmatch(page)
	if m == nil {
		t.Fatalf("docs/format/raftlog.md has no fixture %q", name)
	}
	var digits strings.Builder
	for line := range strings.Lines(string(m[1])) {
		_, line, _ = strings.Cut(line, " ")
		digits.WriteString(strings.Join(strings.Fields(line), ""))
	}
	b, err := hex.DecodeString(digits.String())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestSnapshotFileFormat(t *testing.T) {
	want := golden(t, "snapshot")
	got, err := encodeSnap(testID, testSnapFile())
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("encoded %v:\n%s\nthe page has\n%s", err, hex.Dump(got), hex.Dump(want))
	}
	s, err := decodeSnap(testID, want)
	if err != nil || !s.install || s.baseIndex != 5 || s.baseTerm != 2 || s.synced != 77 || !proto.Equal(s.snapshot, testSnapFile().snapshot) {
		t.Fatalf("decoded %+v, %v", s, err)
	}
	for i := range want {
		for bit := range 8 {
			bad := bytes.Clone(want)
			bad[i] ^= 1 << bit
			if _, err := decodeSnap(testID, bad); err == nil {
				t.Fatalf("bit %d of byte %d: accepted", bit, i)
			} else if version := i == snapOffVersion || i == snapOffVersion+1; errors.Is(err, ErrVersion) != version {
				t.Fatalf("bit %d of byte %d: %v", bit, i, err)
			}
		}
	}
	for n := range want {
		if _, err := decodeSnap(testID, want[:n]); err == nil {
			t.Fatalf("cut to %d bytes: accepted", n)
		}
	}
	if _, err := decodeSnap([16]byte{1}, want); err == nil {
		t.Fatal("a snapshot of another directory is accepted")
	}
}

func TestHardStateFormat(t *testing.T) {
	want := golden(t, "hardstate")
	h := &raftpb.HardState{Term: new(uint64(7)), Vote: new(uint64(0xabcdef)), Commit: new(uint64(41))}
	if got := encodeHard(h, 55); !bytes.Equal(got, want) {
		t.Fatalf("encoded\n%s\nthe page has\n%s", hex.Dump(got), hex.Dump(want))
	}
	got, synced, err := decodeHard(want)
	if err != nil || synced != 55 || !proto.Equal(got, h) {
		t.Fatalf("decoded %v, %d, %v", got, synced, err)
	}
}

func TestSnapshotNames(t *testing.T) {
	for _, x := range []struct {
		name        string
		index, term uint64
		ok          bool
	}{
		{snapName(9, 3), 9, 3, true}, {snapName(1<<63, 1<<64-1), 1 << 63, 1<<64 - 1, true}, {"10-2.snap", 10, 2, true},
		{"a-2.snap", 0, 0, false}, {"10.snap", 0, 0, false}, {snapName(9, 3) + ".tmp", 0, 0, false}, {"99999999999999999999999-1.snap", 0, 0, false},
	} {
		if index, term, ok := parseSnapName(x.name); ok != x.ok || ok && (index != x.index || term != x.term) {
			t.Errorf("%s: %d, %d, %v", x.name, index, term, ok)
		}
	}
}

func FuzzDecodeSnap(f *testing.F) {
	b, err := encodeSnap(testID, testSnapFile())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, data []byte) {
		var s snapFile
		var err error
		allocation.Bounded(t, len(data), 64<<10, func() { s, err = decodeSnap(testID, data) })
		if err == nil {
			if _, err := encodeSnap(testID, s); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func FuzzDecodeHard(f *testing.F) {
	f.Add(encodeHard(&raftpb.HardState{Term: new(uint64(7)), Vote: new(uint64(1)), Commit: new(uint64(41))}, 55))
	f.Fuzz(func(t *testing.T, data []byte) {
		var h *raftpb.HardState
		var synced uint64
		var err error
		allocation.Bounded(t, len(data), 64<<10, func() { h, synced, err = decodeHard(data) })
		if err == nil && !bytes.Equal(encodeHard(h, synced), data) {
			t.Fatalf("%x decoded and encoded is another", data)
		}
	})
}
