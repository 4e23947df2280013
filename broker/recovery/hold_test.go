package recovery

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"

	"chronik.dev/chronik/broker/allocation"
	"chronik.dev/chronik/broker/partition"
	"chronik.dev/chronik/broker/vfs"
	"chronik.dev/chronik/broker/wal"
)

func TestGoldenHeldFrame(t *testing.T) {
	text, err := os.ReadFile("../../docs/format/journal-frames.md")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(text), "Golden file of one frame:")
	_, after, _ = strings.Cut(after, "```hex\n")
	block, _, _ := strings.Cut(after, "```")
	want, err := hex.DecodeString(strings.Join(strings.Fields(block), ""))
	if err != nil {
		t.Fatal(err)
	}
	f := wal.Frame{LSN: 7, Type: wal.LogStart, ID: [16]byte{1, 2}, Partition: 3, Epoch: 4, First: 9, Payload: []byte{}}
	if got := AppendHeld([]byte(heldMagic), &f); !bytes.Equal(got, want) {
		t.Fatalf("% x", got)
	}
	var got []wal.Frame
	if err := ReadHeld(want, func(f wal.Frame) error { got = append(got, f); return nil }); err != nil || !reflect.DeepEqual(got, []wal.Frame{f}) {
		t.Fatalf("%+v, %v", got, err)
	}
	for i := range want {
		damaged := bytes.Clone(want)
		damaged[i] ^= 1
		if ReadHeld(damaged, func(wal.Frame) error { return nil }) == nil {
			t.Fatalf("byte %d flipped unnoticed", i)
		}
		if i > len(heldMagic) && ReadHeld(want[:i], func(wal.Frame) error { return nil }) == nil {
			t.Fatalf("cut at %d unnoticed", i)
		}
	}
}

func FuzzHeld(f *testing.F) {
	frame := wal.Frame{LSN: 7, Type: wal.Batch, Payload: []byte("payload")}
	f.Add(AppendHeld([]byte(heldMagic), &frame))
	f.Fuzz(func(t *testing.T, b []byte) {
		again := []byte(heldMagic)
		allocation.Bounded(t, len(b), 64<<10, func() { _ = ReadHeld(b, func(wal.Frame) error { return nil }) })
		if ReadHeld(b, func(f wal.Frame) error { again = AppendHeld(again, &f); return nil }) == nil && !bytes.Equal(again, b) {
			t.Fatalf("%x reads as %x", b, again)
		}
	})
}

// TestRunningPartitionStops lets a file write fail under a live node: the partition alone stops, the checkpoint copies its frames out of the
// journal, and they are all there.
func TestRunningPartitionStops(t *testing.T) {
	n := newNode(t)
	disk := vfs.NewFaulty(n.fs)
	n.disk = disk
	if err := n.result.Log.Close(); err != nil {
		t.Fatal(err)
	}
	if err := n.boot(false); err != nil {
		t.Fatal(err)
	}
	a, b := n.create("a", 1), n.create("b", 2)
	n.produce(a, 3, "one-")
	n.produce(b, 3, "b-")
	n.checkpoint()
	n.produce(a, 4, "two-")
	n.produce(b, 1, "b-")
	disk.Inject(vfs.Fault{Op: vfs.OpWrite, Match: "a-0/00000000000000000000.log"})
	n.checkpoint()
	if !errors.Is(a.Stopped(), partition.ErrStopped) || b.Stopped() != nil {
		t.Fatal(a.Stopped(), b.Stopped())
	}
	var held partition.State
	for _, st := range n.result.Checkpointer.Last().Partitions {
		if st.Topic == "a" {
			held = st
		}
	}
	if held.Held == 0 || held.End != 6 {
		t.Fatalf("%+v", held)
	}
	data, err := n.fs.Bytes(root + "/" + held.HeldFile)
	if err != nil {
		t.Fatal(err)
	}
	end := held.End
	if err := ReadHeld(data, func(f wal.Frame) error {
		if f.Type == wal.Batch {
			if f.First != end {
				t.Errorf("offset %d, want %d", f.First, end)
			}
			end = f.Last + 1
		}
		return nil
	}); err != nil || end != 14 {
		t.Fatal(end, err)
	}
	n.crash(vfs.None)
	n.disk = nil
	if err := n.boot(false); err != nil {
		t.Fatal(err)
	}
	if len(n.result.Stopped) != 1 || n.logs["a-0"] != nil || len(n.read(n.logs["b-0"])) != 8 {
		t.Fatalf("%+v", n.result.Stopped)
	}
}

// TestStopsBeforeItIsListed lets the first write to a partition's files fail: it does not hold the journal either, and a repair reads all of it back.
func TestStopsBeforeItIsListed(t *testing.T) {
	n := newNode(t)
	disk := vfs.NewFaulty(n.fs)
	n.disk = disk
	if err := n.result.Log.Close(); err != nil {
		t.Fatal(err)
	}
	if err := n.boot(false); err != nil {
		t.Fatal(err)
	}
	a, b := n.create("a", 1), n.create("b", 2)
	n.produce(a, 3, "one-")
	want := n.read(a)
	disk.Inject(vfs.Fault{Op: vfs.OpWrite, Match: "a-0/00000000000000000000.log"})
	for range 3 {
		n.produce(b, 40, "b-")
		n.checkpoint()
	}
	if ck := n.result.Checkpointer.Last(); a.Stopped() == nil || ck.LSN != n.result.Log.Synced() {
		t.Fatalf("stopped: %v; the journal is held at LSN %d of %d", a.Stopped(), ck.LSN, n.result.Log.Synced())
	}
	n.crash(vfs.None)
	n.disk = nil
	if err := n.boot(false); err != nil {
		t.Fatal(err)
	}
	if len(n.result.Stopped) != 1 || n.logs["a-0"] != nil {
		t.Fatalf("%+v", n.result.Stopped)
	}
	n.crash(vfs.None)
	n.release = true
	if err := n.boot(false); err != nil {
		t.Fatal(err)
	}
	if got := n.read(n.logs["a-0"]); !slices.Equal(got, want) {
		t.Fatalf("%v, want %v", got, want)
	}
}

// TestFullDiskHoldsTheJournal lets one partition's files have no space at a checkpoint: the journal keeps what they lack.
func TestFullDiskHoldsTheJournal(t *testing.T) {
	n := newNode(t)
	disk := vfs.NewFaulty(n.fs)
	n.disk = disk
	if err := n.result.Log.Close(); err != nil {
		t.Fatal(err)
	}
	if err := n.boot(false); err != nil {
		t.Fatal(err)
	}
	a, b := n.create("a", 1), n.create("b", 2)
	n.produce(a, 3, "one-")
	n.checkpoint()
	n.produce(a, 4, "two-")
	disk.Inject(vfs.Fault{Op: vfs.OpWrite, Match: "a-0/00000000000000000000.log", Err: syscall.ENOSPC, Times: -1})
	for range 4 {
		n.produce(b, 40, "b-")
		n.checkpoint()
	}
	if a.Stopped() != nil {
		t.Fatal(a.Stopped())
	}
	want := n.read(a)
	n.crash(vfs.None)
	n.disk = nil
	if err := n.boot(false); err != nil {
		t.Fatal(err)
	}
	if got := n.read(n.logs["a-0"]); len(got) != 14 || !slices.Equal(got, want) {
		t.Fatalf("%v, want %v", got, want)
	}
}
