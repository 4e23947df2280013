package repair

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.etcd.io/raft/v3/raftpb"

	"chronik.dev/chronik/broker/datadir"
	"chronik.dev/chronik/broker/raftlog"
	"chronik.dev/chronik/broker/vfs"
	"chronik.dev/chronik/raftdump"
	"chronik.dev/chronik/walinspect"
)

// raftNode is a killed node with two topics of its own, and what its raft/ was before the second was created.
func raftNode(t *testing.T) (left *vfs.Mem, early map[string][]byte, all []string) {
	t.Helper()
	n := startNode(t, vfs.NewMem(1))
	n.create("a", 1)
	n.produce("a", 0, 3, "a")
	n.stop()
	early = raftFiles(t, n.fs)
	n = startNode(t, n.fs)
	n.create("b", 2, "retention.ms=1000000")
	n.produce("b", 1, 4, "b")
	n.stop()
	n = startNode(t, n.fs)
	n.produce("a", 0, 1, "a") // in its third leader epoch
	all = n.read("b", 1)
	return n.kill(), early, all
}

func raftFiles(t *testing.T, fs *vfs.Mem) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	for _, name := range fs.Files() {
		if strings.HasPrefix(name, filepath.Join(root, datadir.RaftDir)+"/") {
			b, err := fs.Bytes(name)
			must(t, err)
			files[name] = b
		}
	}
	return files
}

func putRaft(t *testing.T, fs *vfs.Mem, files map[string][]byte, match string) {
	t.Helper()
	for name, b := range files {
		if strings.Contains(name, match) {
			must(t, fs.SetBytes(name, b))
		}
	}
}

func raftReport(t *testing.T, fs vfs.FS) *raftlog.Report {
	t.Helper()
	info, err := datadir.Inspect(fs, root)
	must(t, err)
	r, err := raftlog.Inspect(raftlog.Options{FS: fs, Dir: filepath.Join(root, datadir.RaftDir), DirID: info.Identity.DirectoryID})
	must(t, err)
	return r
}

// seenTerm is the highest term that anything in raft/ names.
func seenTerm(t *testing.T, fs vfs.FS) uint64 {
	t.Helper()
	if there, err := vfs.Exists(fs, root+"/raft"); err != nil || !there {
		return 0
	}
	h, err := (&raftdump.Dir{FS: fs, Path: filepath.Join(root, datadir.RaftDir), Root: root}).HardState()
	must(t, err)
	return h.LastTerm
}

// raftDamage is one way to stop a node by its raft/, and what the repair must say of it.
type raftDamage struct {
	name   string
	damage func(*vfs.Mem)
	lost   int64
	keeps  bool // the log stays
	says   string
}

// raftDamages are such ways for raftNode's directory.
func raftDamages(t *testing.T, left *vfs.Mem, early map[string][]byte) []raftDamage {
	segment := ""
	for name := range raftFiles(t, left) {
		if strings.HasSuffix(name, "000000002.wal") {
			segment = name
		}
	}
	return []raftDamage{
		{"both copies damaged", func(m *vfs.Mem) {
			must(t, m.Flip(root+"/raft/hardstate.0", 60, 1))
			must(t, m.Flip(root+"/raft/hardstate.1", 70, 1))
		}, 0, true, "log and snapshots stay"},
		{"both copies gone", func(m *vfs.Mem) {
			must(t, m.Remove(root+"/raft/hardstate.0"))
			must(t, m.Remove(root+"/raft/hardstate.1"))
		}, 0, true, "log and snapshots stay"},
		{"both copies rolled back", func(m *vfs.Mem) { putRaft(t, m, early, "hardstate") }, 0, true, "log and snapshots stay"},
		{"a segment is lost", func(m *vfs.Mem) { must(t, m.Remove(segment)) }, 3, false, "topic b "},
		{"the only snapshot is torn", func(m *vfs.Mem) {
			for name, b := range raftFiles(t, m) {
				if strings.HasSuffix(name, ".snap") {
					must(t, m.SetBytes(name, b[:60]))
				}
			}
		}, 0, false, "of the founding and"},
		{"both manifests damaged", func(m *vfs.Mem) {
			must(t, m.Flip(root+"/raft/manifest.0", 60, 1))
			must(t, m.Flip(root+"/raft/manifest.1", 70, 1))
		}, 0, true, "the manifest of raft/ is made anew"},
		{"all of raft/ is from before", func(m *vfs.Mem) {
			for name := range raftFiles(t, m) {
				must(t, m.Remove(name))
			}
			for name, b := range early {
				must(t, vfs.WriteFile(m, name, b))
			}
		}, 3, false, "topic b "},
		{"all of raft/ is gone", func(m *vfs.Mem) { must(t, vfs.RemoveAll(m, root+"/raft")) }, LossUnknown, false, "topic b "},
		{"all but HardState is gone", func(m *vfs.Mem) {
			for name := range raftFiles(t, m) {
				if !strings.Contains(name, "hardstate") {
					must(t, m.Remove(name))
				}
			}
		}, LossUnknown, false, "topic b "},
		{"raft/ is another directory's", func(m *vfs.Mem) {
			must(t, vfs.RemoveAll(m, root+"/raft"))
			must(t, vfs.MkdirAll(m, root+"/raft/snapshots"))
			n := startNode(t, vfs.NewMem(2))
			n.create("c", 1)
			for name, b := range raftFiles(t, n.kill()) {
				must(t, vfs.WriteFile(m, name, b))
			}
		}, LossUnknown, false, "raft/ is of directory "},
		{"raft/ and the checkpoint are gone", func(m *vfs.Mem) {
			must(t, vfs.RemoveAll(m, root+"/raft"))
			must(t, m.Remove(root+"/wal/checkpoint.0"))
			must(t, m.Remove(root+"/wal/checkpoint.1"))
		}, LossUnknown, false, "topic b "},
	}
}

// TestHardState damages raft/ in every way that stops a node. After the repair the node starts, has every topic and record, and what is lost was
// said before.
func TestHardState(t *testing.T) {
	left, early, all := raftNode(t)
	n := startNode(t, left.Kill())
	ids := n.b.Image().NextProducerID
	n.kill()
	for _, c := range raftDamages(t, left, early) {
		t.Run(c.name, func(t *testing.T) {
			m := left.Kill()
			c.damage(m)
			verb := HardState
			if strings.HasSuffix(c.name, "the checkpoint are gone") {
				verb = Mend
			}
			term := seenTerm(t, m)
			p, n := repaired(t, m, verb)
			if p.LossTotal != c.lost || (len(p.NeedsAccept) > 0) != (c.lost != 0) {
				t.Errorf("the plan loses %d entries (%+v), needs %q; %d expected", p.LossTotal, p.Loss, p.NeedsAccept, c.lost)
			}
			text := strings.Join(p.Summary, "\n")
			if !strings.Contains(text, c.says) || strings.Contains(text, "a snapshot at index") == c.keeps {
				t.Errorf("the plan says\n%s", text)
			}
			if r := n.b.Raft(); c.says != "the manifest of raft/ is made anew" && (r.Recovered.Term <= term || r.Recovered.Vote != 0) || r.Term <= r.Recovered.Term {
				t.Errorf("started with %+v; the highest term seen was %d", r.Recovered, term)
			}
			if next := n.b.Image().NextProducerID; c.lost != 0 && next <= ids {
				t.Errorf("producer ids go on at %d, and were given out up to %d", next, ids)
			}
			if got := n.read("b", 1); !slices.Equal(got, all) {
				t.Errorf("%d records of b are served, %d expected", len(got), len(all))
			}
			n.serves()
		})
	}
}

// serves checks that a repaired node has both topics and goes on with them.
func (n *node) serves() {
	n.t.Helper()
	for _, topic := range []string{"a", "b"} {
		if in, at := n.b.Image().Topics[topic].Partitions[0].LeaderEpoch, n.log(topic, 0).LeaderEpoch(); in != at {
			n.t.Errorf("%s: leader epoch %d in the metadata, %d in the log: clients would be fenced", topic, in, at)
		}
	}
	n.produce("b", 0, 2, "after")
	n.produce("a", 0, 2, "after")
	m := n.kill()
	mustVerify(n.t, m)
	n = startNode(n.t, m)
	if got := n.read("b", 0); len(got) != 4 {
		n.t.Errorf("%d records of b-0 after a restart, 4 expected", len(got))
	}
	if image := n.b.Image(); len(image.Topics) != 2 {
		n.t.Errorf("topics %v", image.Topics)
	}
}

// TestHardStateSound has nothing to repair.
func TestHardStateSound(t *testing.T) {
	left, _, _ := raftNode(t)
	if _, err := New(Options{FS: left, Dir: root, Verb: "raft hardstate repair"}, HardState); !errors.Is(err, ErrNothing) {
		t.Fatalf("a sound directory: %v", err)
	}
	must(t, left.Flip(root+"/raft/hardstate.0", 60, 1))
	if _, err := New(Options{FS: left, Dir: root, Verb: "raft hardstate repair"}, HardState); !errors.Is(err, ErrNothing) {
		t.Fatalf("one good copy: %v", err)
	}
	if r := raftReport(t, left); r.Damage != nil {
		t.Fatal(r.Damage)
	}
}

// TestHardStateOfSeveral refuses: a member that forgot its vote could elect a second leader.
func TestHardStateOfSeveral(t *testing.T) {
	left, _, _ := raftNode(t)
	info, err := datadir.Inspect(left, root)
	must(t, err)
	dir := &raftdump.Dir{FS: left, Path: filepath.Join(root, datadir.RaftDir), Root: root}
	r, err := dir.Remains()
	must(t, err)
	data, err := r.State.Snapshot()
	must(t, err)
	snap := &raftpb.Snapshot{Data: data, Metadata: &raftpb.SnapshotMetadata{
		ConfState: &raftpb.ConfState{Voters: []uint64{info.Identity.MemberID, 7}}, Index: new(r.Last), Term: new(r.Term)}}
	must(t, raftlog.Rebuild(r.Options, snap, &raftpb.HardState{Term: new(r.Term), Vote: new(uint64(7)), Commit: new(r.Last)}, 9))
	if r := raftReport(t, left); r.Damage != nil || r.Vote != 7 {
		t.Fatalf("the group of two: %+v", r)
	}
	must(t, left.Flip(root+"/raft/hardstate.0", 60, 1))
	must(t, left.Flip(root+"/raft/hardstate.1", 60, 1))
	old := treeHash(t, left)
	_, err = New(Options{FS: left, Dir: root, Verb: "raft hardstate repair"}, HardState)
	wantIs(t, err, ErrRefused, "rejoin as a learner")
	if treeHash(t, left) != old {
		t.Fatal("a refusal changed the directory")
	}
	must(t, raftlog.Rebuild(r.Options, snap, &raftpb.HardState{Term: new(r.Term), Vote: new(uint64(7)), Commit: new(r.Last)}, 9))
	for name := range raftFiles(t, left) { // what is left voted for a member that nothing else names
		if !strings.Contains(name, "hardstate") {
			must(t, left.Remove(name))
		}
	}
	_, err = New(Options{FS: left, Dir: root, Verb: "raft hardstate repair"}, HardState)
	wantIs(t, err, ErrRefused, "rejoin as a learner")
}

// TestOneVerdict checks that `wal verify` on a data directory and `raft verify` say the same of Raft's state.
func TestOneVerdict(t *testing.T) {
	left, early, _ := raftNode(t)
	said := func(m *vfs.Mem, path string) (out []string) {
		target, err := walinspect.Open(walinspect.Options{FS: m, Path: path})
		must(t, err)
		_, err = target.Verify(walinspect.Deep, func(f *walinspect.Finding) error {
			if strings.HasPrefix(f.File, datadir.RaftDir+"/") || strings.HasPrefix(f.Reason, "raft-") {
				out = append(out, fmt.Sprintf("%+v", *f))
			}
			return nil
		})
		must(t, err)
		return out
	}
	for name := range early {
		m := left.Kill()
		must(t, m.Flip(name, int64(len(early[name])/2), 0x10))
		for other, b := range early {
			if other > name {
				must(t, vfs.WriteFile(m, other, b))
			}
		}
		whole, alone := said(m, root), said(m, filepath.Join(root, datadir.RaftDir))
		if len(alone) == 0 && !strings.HasSuffix(name, "reserve") || !slices.Equal(whole, alone) {
			t.Errorf("%s: wal verify says\n%s\nraft verify says\n%s", name, strings.Join(whole, "\n"), strings.Join(alone, "\n"))
		}
	}
}
