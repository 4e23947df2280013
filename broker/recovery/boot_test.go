package recovery

import (
	"slices"
	"testing"

	"chronik.dev/chronik/broker/vfs"
)

func TestBootAfterCrash(t *testing.T) {
	for _, mode := range []vfs.Mode{vfs.None, vfs.All, vfs.Random, vfs.ByFile} {
		n := newNode(t)
		a := n.create("a", 1)
		n.produce(a, 20, "one-")
		n.checkpoint()
		n.produce(a, 15, "two-")
		b := n.create("b", 2)
		n.produce(b, 5, "b-")
		if err := a.Flush(); err != nil {
			t.Fatal(err)
		}
		wantA, wantB := n.read(a), n.read(b)
		for range 3 {
			n.crash(mode)
			if err := n.boot(false); err != nil {
				t.Fatal(err)
			}
			if got := n.read(n.logs["a-0"]); !slices.Equal(got, wantA) {
				t.Fatalf("mode %v: a holds %v, want %v", mode, got, wantA)
			}
			if got := n.read(n.logs["b-0"]); !slices.Equal(got, wantB) {
				t.Fatalf("mode %v: b holds %v, want %v", mode, got, wantB)
			}
			if w := n.result.Report.Worst(); w != "notice" && w != "torn" {
				text, _ := n.result.Report.JSON()
				t.Fatalf("%s", text)
			}
		}
		n.produce(n.logs["b-0"], 1, "more-")
		n.checkpoint()
	}
}

func TestDropAndRecreate(t *testing.T) {
	n := newNode(t)
	old := n.create("t", 1)
	n.produce(old, 5, "old-")
	n.checkpoint()
	dir, err := old.Drop(9)
	if err != nil {
		t.Fatal(err)
	}
	n.result.Checkpointer.Removed(dir)
	fresh := n.create("t", 2)
	n.produce(fresh, 2, "new-")
	want := n.read(fresh)
	for _, mode := range []vfs.Mode{vfs.None, vfs.Random, vfs.All} {
		n.crash(mode)
		if err := n.boot(false); err != nil {
			t.Fatal(err)
		}
		if len(n.result.Partitions) != 1 || n.result.Partitions[0].Identity().ID != [16]byte{2} {
			text, _ := n.result.Report.JSON()
			t.Fatalf("mode %v: %d partitions %s", mode, len(n.result.Partitions), text)
		}
		if got := n.read(n.logs["t-0"]); !slices.Equal(got, want) {
			t.Fatalf("mode %v: %v, want %v", mode, got, want)
		}
	}
	n.checkpoint()
	infos, err := n.fs.ReadDir(root + "/topics")
	if err != nil || len(infos) != 1 || infos[0].Name() != "t-0" {
		t.Fatal(infos, err)
	}
	if err := n.boot(false); err != nil { // as after kill -9
		t.Fatal(err)
	}
	if got := n.read(n.logs["t-0"]); !slices.Equal(got, want) {
		t.Fatalf("%v, want %v", got, want)
	}
}

func TestCleanStop(t *testing.T) {
	n := newNode(t)
	a := n.create("a", 1)
	n.produce(a, 30, "v")
	want := n.read(a)
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	n.checkpoint()
	if err := n.result.Log.Close(); err != nil {
		t.Fatal(err)
	}
	n.crash(vfs.None)
	r, err := Check(CheckOptions{FS: n.fs, Dir: root, DirID: [16]byte{1}})
	if err != nil || r.Worst() != "notice" || len(r.Partitions) > 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	if err := n.boot(false); err != nil {
		t.Fatal(err)
	}
	if n.result.Report.Frames != 0 || !n.result.Report.Journal.Clean {
		t.Fatalf("%+v", n.result.Report)
	}
	if got := n.read(n.logs["a-0"]); !slices.Equal(got, want) {
		t.Fatalf("%v, want %v", got, want)
	}
}
