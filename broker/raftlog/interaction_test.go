package raftlog

import (
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"unsafe"

	"github.com/cockroachdb/datadriven"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/rafttest"
	"google.golang.org/protobuf/proto"

	"chronik.dev/chronik/broker/vfs"
)

// A Storage compacts with every snapshot it takes, and never up to the newest: it keeps the log behind the snapshot before that one, so that
// either of the two starts a node. MemoryStorage compacts when it is told, up to where it is told. That shows in three of the transcripts.
var (
	// keptLonger compacts up to the newest snapshot. The entries that are still there would spare raft the snapshot that this transcript is about;
	// the test hides them.
	keptLonger = map[string]bool{"snapshot_succeed_via_app_resp.txt": true}
	// compactedSooner sends a second snapshot, of a later state: ours, and what the transcript says.
	compactedSooner = map[string][2]string{
		"confchange_v2_add_double_auto.txt":        {"[firstindex: 5, commit: 5]", "[firstindex: 3, commit: 5]"},
		"snapshot_succeed_via_app_resp_behind.txt": {"[firstindex: 12, commit: 12]", "[firstindex: 11, commit: 12]"},
	}
)

// TestInteraction runs raft's own transcripts of conversations between members, word by word, with a Storage under every member. After every
// command each member's disk loses power, and the member goes on with what is opened there.
func TestInteraction(t *testing.T) {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "go.etcd.io/raft/v3").Output()
	if err != nil {
		t.Fatalf("find the module of raft: %v", err)
	}
	transcripts, restarts := 0, 0
	datadriven.Walk(t, filepath.Join(strings.TrimSpace(string(dir)), "testdata"), func(t *testing.T, path string) {
		g := &group{t: t, rng: rand.New(rand.NewPCG(1, 1)), hide: keptLonger[filepath.Base(path)]}
		g.env = rafttest.NewInteractionEnv(&rafttest.InteractionOpts{OnConfig: g.configure, SetRandomizedElectionTimeout: setElectionTimeout})
		defer g.stop()
		transcripts++
		differs, seen := compactedSooner[filepath.Base(path)], 0
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			out := g.env.Handle(t, *d)
			for i, m := range g.members {
				g.env.Nodes[i].Storage = m
				m.powerCut()
				restarts++
			}
			if differs[0] != "" && strings.Contains(out, differs[0]) {
				out = strings.Replace(out, differs[0], differs[1], 1)
				seen++
			}
			return out
		})
		if differs[0] != "" && seen != 1 {
			t.Errorf("%q was seen %d times", differs[0], seen)
		}
	})
	t.Logf("%d transcripts, %d power cuts", transcripts, restarts)
	if transcripts < 28 {
		t.Errorf("%d transcripts; there were 28", transcripts)
	}
}

// group is a group whose members store with this package.
type group struct {
	t       *testing.T
	env     *rafttest.InteractionEnv
	rng     *rand.Rand
	hide    bool
	members []*member
}

// member puts a Storage under rafttest's interface, which writes the parts of a Ready one by one.
type member struct {
	*Storage
	g      *group
	index  int
	disk   *vfs.Mem
	began  bool   // a HardState was saved: a group is founded in term 1 here, and in none there
	hidden uint64 // entries up to here are compacted for raft
}

// configure founds a member where the one that rafttest has made begins, and gives it to raft.
func (g *group) configure(c *raft.Config) {
	base, conf := uint64(0), &raftpb.ConfState{}
	first, err := c.Storage.FirstIndex()
	g.try(err)
	base = first - 1
	term, err := c.Storage.Term(base)
	g.try(err)
	_, conf, err = c.Storage.InitialState()
	g.try(err)
	m := &member{g: g, index: len(g.members), disk: vfs.NewMem(c.ID)}
	m.Storage, err = create(smallOptions(m.disk), &raftpb.Snapshot{Metadata: &raftpb.SnapshotMetadata{ConfState: conf, Index: &base, Term: &term}})
	g.try(err)
	g.members = append(g.members, m)
	c.Storage = m
}

func (g *group) try(err error) {
	g.t.Helper()
	if err != nil {
		g.t.Fatal(err)
	}
}

func (g *group) stop() {
	for _, m := range g.members {
		g.try(m.Close())
	}
}

// powerCut goes on with what a power cut leaves.
func (m *member) powerCut() {
	left := m.disk.CrashClone(m.g.rng)
	s, _, err := Open(smallOptions(left))
	m.g.try(err)
	if s.hard.GetTerm() != m.hard.GetTerm() || s.hard.GetVote() != m.hard.GetVote() || s.log.baseIndex != m.log.baseIndex || len(s.log.entries) != len(m.log.entries) {
		m.g.t.Fatalf("member %d after a power cut: %v and entries %d to %d; before: %v and entries %d to %d", m.index+1,
			s.hard, s.log.first(), s.log.last(), m.hard, m.log.first(), m.log.last())
	}
	for i, e := range m.log.entries {
		if got := s.log.entries[i]; got.GetTerm() != e.GetTerm() || got.GetType() != e.GetType() || string(got.GetData()) != string(e.GetData()) {
			m.g.t.Fatalf("member %d after a power cut: entry %v, before: %v", m.index+1, got, e)
		}
	}
	m.g.try(m.Close())
	m.Storage, m.disk = s, left
}

// InitialState implements raft.Storage.
func (m *member) InitialState() (*raftpb.HardState, *raftpb.ConfState, error) {
	h, conf, err := m.Storage.InitialState()
	if !m.began {
		h = nil
	}
	return h, conf, err
}

// SetHardState implements rafttest.Storage.
func (m *member) SetHardState(h *raftpb.HardState) error {
	m.began = true
	return m.Save(raft.Ready{HardState: h})
}

// ApplySnapshot implements rafttest.Storage.
func (m *member) ApplySnapshot(s *raftpb.Snapshot) error { return m.Save(raft.Ready{Snapshot: s}) }

// Append implements rafttest.Storage.
func (m *member) Append(entries []*raftpb.Entry) error { return m.Save(raft.Ready{Entries: entries}) }

// Snapshot is the state applied last, made durable first.
func (m *member) Snapshot() (*raftpb.Snapshot, error) {
	history := m.g.env.Nodes[m.index].History
	newest := history[len(history)-1]
	if err := m.take(newest); err != nil {
		return nil, err
	}
	s, err := m.Storage.Snapshot()
	if !proto.Equal(s.GetMetadata(), newest.GetMetadata()) || string(s.GetData()) != string(newest.GetData()) {
		m.g.t.Fatalf("member %d has snapshot %v, want %v", m.index+1, s, newest)
	}
	return s, err
}

// take makes a state durable that is newer than the newest snapshot.
func (m *member) take(s *raftpb.Snapshot) error {
	if s.GetMetadata().GetIndex() <= m.snapshot.GetMetadata().GetIndex() {
		return nil
	}
	return m.CreateSnapshot(s.GetMetadata().GetIndex(), s.GetMetadata().GetConfState(), s.GetData())
}

// Compact takes the two snapshots after which the log begins behind the first of them.
func (m *member) Compact(index uint64) error {
	history := m.g.env.Nodes[m.index].History
	for _, s := range history {
		if s.GetMetadata().GetIndex() == index {
			if err := m.take(s); err != nil {
				return err
			}
		}
	}
	if err := m.take(history[len(history)-1]); err != nil {
		return err
	}
	if m.g.hide {
		m.hidden = index
	}
	return nil
}

// FirstIndex implements raft.Storage.
func (m *member) FirstIndex() (uint64, error) {
	first, err := m.Storage.FirstIndex()
	return max(first, m.hidden+1), err
}

// Term implements raft.Storage.
func (m *member) Term(index uint64) (uint64, error) {
	if index < m.hidden {
		return 0, raft.ErrCompacted
	}
	return m.Storage.Term(index)
}

// Entries implements raft.Storage.
func (m *member) Entries(lo, hi, size uint64) ([]*raftpb.Entry, error) {
	if lo <= m.hidden {
		return nil, raft.ErrCompacted
	}
	return m.Storage.Entries(lo, hi, size)
}

// setElectionTimeout does what raft exports to its own tests only.
func setElectionTimeout(n *raft.RawNode, ticks int) {
	field := reflect.ValueOf(n).Elem().FieldByName("raft").Elem().FieldByName("randomizedElectionTimeout")
	*(*int)(unsafe.Pointer(field.UnsafeAddr())) = ticks
}
