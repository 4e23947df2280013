package partition

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"

	"chronik.dev/chronik/broker/allocation"
)

// golden returns the bytes of the fenced hex block under a heading of a format page.
func golden(t *testing.T, page, heading string) []byte {
	t.Helper()
	text, err := os.ReadFile("../../docs/format/" + page)
	if err != nil {
		t.Fatal(err)
	}
	_, after, ok := strings.Cut(string(text), "## "+heading+"\n")
	_, after, ok2 := strings.Cut(after, "```hex\n")
	block, _, ok3 := strings.Cut(after, "```")
	if !ok || !ok2 || !ok3 {
		t.Fatalf("%s: no hex under %q", page, heading)
	}
	b, err := hex.DecodeString(strings.Join(strings.Fields(block), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// dump renders bytes as the pages have them.
func dump(b []byte) string {
	var s strings.Builder
	for at := 0; at < len(b); at += 16 {
		fmt.Fprintf(&s, "% x\n", b[at:min(len(b), at+16)])
	}
	return s.String()
}

func sampleCheckpoint() Checkpoint {
	return Checkpoint{LSN: 0x0102, Time: 1_700_000_000_000, Partitions: []State{
		{
			Identity: Identity{Topic: "t", ID: [16]byte{1, 2, 3}, Partition: 4, RaftIndex: 5}, Dir: "t-4", LSN: 0x0103,
			LogStart: 10, End: 30, HighWatermark: 30, Epoch: 2,
			Segments:  []SegmentState{{Base: 0, Size: 700, Shape: Rolled{IndexInterval: 4096, IndexBytes: 10 << 20}}, {Base: 20, Size: 350, Shape: Rolled{IndexInterval: 512, IndexBytes: 1 << 20}}},
			Epochs:    []EpochEntry{{Epoch: 1, Start: 10}, {Epoch: 2, Start: 25}},
			Producers: []ProducerState{{ID: 9, Batches: []BatchEntry{{Epoch: 1, FirstSequence: 0, LastSequence: 4, FirstOffset: 25, LastOffset: 29, Time: 1_700_000_000_000}}}},
		},
		{Identity: Identity{Topic: "u", ID: [16]byte{4}}, Dir: "u-0", LSN: 7, Held: 99, HeldFile: "evidence/held.u-0", HeldReason: "gap"},
	}}
}

func TestGoldenCheckpoint(t *testing.T) {
	c := sampleCheckpoint()
	want := golden(t, "checkpoint.md", "Golden body")
	if got := c.Marshal(); !bytes.Equal(got, want) {
		t.Fatalf("encoded:\n%s", dump(got))
	}
	got, err := UnmarshalCheckpoint(want)
	if err != nil || !reflect.DeepEqual(*got, c) {
		t.Fatalf("decoded %+v, %v", got, err)
	}
	for n := range want {
		if _, err := UnmarshalCheckpoint(want[:n]); !errors.Is(err, ErrCheckpoint) {
			t.Fatalf("%d bytes: %v", n, err)
		}
	}
	if _, err := UnmarshalCheckpoint(append(want, 0)); !errors.Is(err, ErrCheckpoint) {
		t.Fatal(err)
	}
}

func TestGoldenPayloads(t *testing.T) {
	rolled := Rolled{IndexInterval: 4096, IndexBytes: 10 << 20}
	cut := CutAt{Base: 20, Size: 350}
	replaced := Replaced{Base: 20, OldSize: 700, OldCRC: 0x01020304, NewSize: 350, NewCRC: 0x05060708}
	block := TailBlock{Base: 20, Pos: 4096, Bytes: []byte("tail")}
	for _, c := range []struct {
		heading string
		bytes   []byte
		decode  func([]byte) (any, error)
		want    any
	}{
		{"Rolled", rolled.Marshal(), func(b []byte) (any, error) { return ParseRolled(b) }, rolled},
		{"Truncated", cut.Marshal(), func(b []byte) (any, error) { return ParseCutAt(b) }, cut},
		{"Replaced", replaced.Marshal(), func(b []byte) (any, error) { return ParseReplaced(b) }, replaced},
		{"TailBlock", block.Marshal(), func(b []byte) (any, error) { return ParseTailBlock(b) }, block},
	} {
		want := golden(t, "journal-frames.md", c.heading)
		if !bytes.Equal(c.bytes, want) {
			t.Errorf("%s encodes as\n%s", c.heading, dump(c.bytes))
			continue
		}
		got, err := c.decode(want)
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s decodes as %+v, %v", c.heading, got, err)
		}
		for n := range len(want) {
			if c.heading == "TailBlock" && n > tailBlockHeader {
				break // any length of bytes is good
			}
			if _, err := c.decode(want[:n]); !errors.Is(err, ErrPayload) {
				t.Errorf("%s, %d bytes: %v", c.heading, n, err)
			}
		}
		if _, err := c.decode(append([]byte{2}, want[1:]...)); !errors.Is(err, ErrPayload) {
			t.Errorf("%s of version 2: %v", c.heading, err)
		}
	}
}

func FuzzCheckpoint(f *testing.F) {
	c := sampleCheckpoint()
	f.Add(c.Marshal())
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		var c *Checkpoint
		var err error
		allocation.Bounded(t, len(b), 64<<10, func() { c, err = UnmarshalCheckpoint(b) })
		if err != nil {
			if !errors.Is(err, ErrCheckpoint) {
				t.Fatal(err)
			}
			return
		}
		if again := c.Marshal(); !bytes.Equal(again, b) {
			t.Fatalf("another encoding:\n%s", dump(again))
		}
	})
}

func FuzzPayload(f *testing.F) {
	f.Add(uint8(0), Rolled{1, 2}.Marshal())
	f.Add(uint8(1), Replaced{1, 2, 3, 4, 5}.Marshal())
	f.Add(uint8(2), TailBlock{0, 4096, []byte{1}}.Marshal())
	f.Add(uint8(3), CutAt{}.Marshal())
	f.Fuzz(func(t *testing.T, kind uint8, b []byte) {
		var again []byte
		var err error
		switch kind % 4 {
		case 0:
			var v Rolled
			v, err = ParseRolled(b)
			again = v.Marshal()
		case 1:
			var v Replaced
			v, err = ParseReplaced(b)
			again = v.Marshal()
		case 2:
			var v CutAt
			v, err = ParseCutAt(b)
			again = v.Marshal()
		default:
			var v TailBlock
			v, err = ParseTailBlock(b)
			again = v.Marshal()
		}
		if err == nil && !bytes.Equal(again, b) || err != nil && !errors.Is(err, ErrPayload) {
			t.Fatalf("%x: %v", b, err)
		}
	})
}

// TestLongReason: a partition may stop for an error of any length.
func TestLongReason(t *testing.T) {
	st := EmptyState(rigID, DefaultConfig())
	st.Held, st.HeldFile, st.HeldReason = 9, "evidence/held", strings.Repeat("x", 70_000)
	c, err := UnmarshalCheckpoint((&Checkpoint{LSN: 9, Partitions: []State{st, st}}).Marshal())
	if err != nil || len(c.Partitions) != 2 || len(c.Partitions[0].HeldReason) != 65_535 {
		t.Fatal(err)
	}
}
