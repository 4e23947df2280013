package raftdump

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"chronik.dev/chronik/broker/datadir"
	"chronik.dev/chronik/broker/metadata"
	"chronik.dev/chronik/broker/metapb"
	"chronik.dev/chronik/broker/raftlog"
	"chronik.dev/chronik/broker/vfs"
)

const root = "/data"

// lab is a member whose history a test writes, in memory and the same in every run.
type lab struct {
	t      testing.TB
	fs     *vfs.Mem
	id     datadir.Identity
	log    *raftlog.Storage
	meta   *metadata.State
	conf   *raftpb.ConfState
	prop   *metadata.Proposer
	rng    *rand.Rand
	hard   *raftpb.HardState
	last   uint64
	topics int
	saved  map[string]map[string][]byte // copies of files
}

// reader makes rand an io.Reader.
type reader struct{ *rand.Rand }

func (r reader) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(r.Uint32())
	}
	return len(p), nil
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newLab(t testing.TB) *lab {
	t.Helper()
	l := &lab{t: t, fs: vfs.NewMem(1), rng: rand.New(rand.NewPCG(1, 2)), meta: metadata.New(), saved: map[string]map[string][]byte{}}
	dir, err := datadir.Open(l.fs, root, datadir.Options{NodeID: 1, ClusterID: "lab", Rand: reader{l.rng}, Now: l.now})
	must(t, err)
	l.id = dir.Identity()
	must(t, dir.Close())
	l.prop = metadata.NewProposer([16]byte{1})
	return l
}

func (l *lab) now() time.Time { return time.UnixMilli(1_700_000_000_000) }

func (l *lab) options() raftlog.Options {
	return raftlog.Options{FS: l.fs, Dir: filepath.Join(root, datadir.RaftDir), DirID: l.id.DirectoryID, SegmentSize: 64 << 10, Buffered: true,
		Now: l.now, Rand: l.rng.Uint64}
}

// found begins a group whose voters are this member, unless it is told otherwise, and others.
func (l *lab) found(withoutMe bool, others ...uint64) {
	l.t.Helper()
	l.stop()
	l.conf, l.meta, l.topics = &raftpb.ConfState{Voters: others}, metadata.New(), 0
	if !withoutMe {
		l.conf.Voters = append([]uint64{l.id.MemberID}, others...)
	}
	l.meta.Apply(raftlog.FoundingIndex, nil)
	data, err := l.meta.Snapshot()
	must(l.t, err)
	l.log, err = raftlog.Create(l.options(), raftlog.Founding{ConfState: l.conf, Data: data})
	must(l.t, err)
	l.last, l.hard = raftlog.FoundingIndex, &raftpb.HardState{Term: new(uint64(1)), Vote: new(uint64(0)), Commit: new(uint64(1))}
}

// entry makes an entry of a line of a script.
func (l *lab) entry(line string) *raftpb.Entry {
	l.t.Helper()
	word, rest, _ := strings.Cut(line, " ")
	e := &raftpb.Entry{}
	command := func(m proto.Message) {
		data, err := l.prop.Encode(l.now().UnixMilli(), m)
		must(l.t, err)
		e.Data = data
	}
	switch word {
	case "empty":
	case "init":
		command(&metapb.InitCluster{ClusterId: rest})
	case "broker":
		command(&metapb.RegisterBroker{NodeId: 1, Incarnation: make([]byte, 16)})
	case "topic":
		l.topics++
		id := make([]byte, 16)
		binary.BigEndian.PutUint64(id, uint64(l.topics))
		command(&metapb.CreateTopic{Name: rest, Id: id, Partitions: []*metapb.Assignment{{Replicas: []int32{1}}}})
	case "conf-v1": // add-learner ID or remove ID
		what, id, _ := strings.Cut(rest, " ")
		node, err := strconv.ParseUint(id, 16, 64)
		must(l.t, err)
		kinds := map[string]raftpb.ConfChangeType{"add-learner": raftpb.ConfChangeAddLearnerNode, "remove": raftpb.ConfChangeRemoveNode}
		c := &raftpb.ConfChange{Type: kinds[what].Enum(), NodeId: &node}
		e.Type = raftpb.EntryConfChange.Enum()
		e.Data, err = proto.Marshal(c)
		must(l.t, err)
	case "conf-v2": // steps as raft writes them: v10 l11 r12
		steps, err := raftpb.ConfChangesFromString(rest)
		must(l.t, err)
		e.Type = raftpb.EntryConfChangeV2.Enum()
		e.Data, err = proto.Marshal(&raftpb.ConfChangeV2{Changes: steps})
		must(l.t, err)
	case "raw", "raw-conf":
		var err error
		e.Data, err = hex.DecodeString(rest)
		must(l.t, err)
		if word == "raw-conf" {
			e.Type = raftpb.EntryConfChange.Enum()
		}
	default:
		l.t.Fatalf("no entry: %s", line)
	}
	return e
}

// save writes one Ready: entries from index on in a term, with HardState; a commit of 0 is all of them.
func (l *lab) save(index, term, vote, commit uint64, entries ...*raftpb.Entry) error {
	for i, e := range entries {
		e.Index, e.Term = new(index+uint64(i)), &term
	}
	if len(entries) > 0 {
		l.last = index + uint64(len(entries)) - 1
	}
	if commit == 0 {
		commit = l.last
	}
	l.hard = &raftpb.HardState{Term: &term, Vote: &vote, Commit: &commit}
	return l.log.Save(raft.Ready{HardState: proto.CloneOf(l.hard), Entries: entries})
}

// applyTo applies the log's entries up to an index, as a node does.
func (l *lab) applyTo(index uint64) {
	l.t.Helper()
	from := l.meta.Image().Index + 1
	if from > index {
		return
	}
	entries, err := l.log.Entries(from, index+1, 1<<40)
	must(l.t, err)
	var mine []*stored
	for _, e := range entries {
		mine = append(mine, &stored{LogEntry: raftlog.LogEntry{Index: e.GetIndex(), Type: e.GetType(), Data: e.GetData()}, status: Committed})
	}
	must(l.t, apply(l.meta, mine))
	l.conf, err = follow(l.conf, mine)
	must(l.t, err)
}

// snapshot takes one at an index.
func (l *lab) snapshot(index uint64) {
	l.t.Helper()
	l.applyTo(index)
	data, err := l.meta.Snapshot()
	must(l.t, err)
	must(l.t, l.log.CreateSnapshot(index, l.conf, data))
}

func (l *lab) stop() {
	l.t.Helper()
	if l.log != nil {
		must(l.t, l.log.Close())
	}
	l.log = nil
}

func (l *lab) restart() {
	l.t.Helper()
	l.stop()
	var err error
	l.log, _, err = raftlog.Open(l.options())
	must(l.t, err)
}

func (l *lab) path(name string) string { return filepath.Join(root, name) }

// keep remembers the content of files whose name contains part.
func (l *lab) keep(as, part string) {
	l.saved[as] = map[string][]byte{}
	for _, name := range l.fs.Files() {
		if strings.Contains(name, part) {
			b, err := l.fs.Bytes(name)
			must(l.t, err)
			l.saved[as][name] = b
		}
	}
}

// putBack makes files what they were when they were kept.
func (l *lab) putBack(as string) {
	l.t.Helper()
	for name, b := range l.saved[as] {
		if ok, err := vfs.Exists(l.fs, name); err == nil && !ok {
			must(l.t, vfs.WriteFile(l.fs, name, b))
		}
		must(l.t, l.fs.SetBytes(name, b))
	}
}

func (l *lab) dir() *Dir {
	l.t.Helper()
	d, err := Open(Options{FS: l.fs, Path: root})
	must(l.t, err)
	return d
}

// reference is a small directory with everything in it: two snapshots, entries of every kind behind, before and between them, an overwritten
// suffix, and a clean stop.
func reference(t testing.TB) *lab {
	t.Helper()
	l := newLab(t)
	l.found(false)
	me := l.id.MemberID
	must(t, l.save(2, 2, me, 1, l.entry("empty"), l.entry("init lab"), l.entry("broker"), l.entry("topic a")))
	l.snapshot(4)
	must(t, l.save(6, 2, me, 5, l.entry("topic b"), l.entry("topic lost")))
	must(t, l.save(7, 3, me, 6, l.entry("empty"), l.entry("topic c"), l.entry("conf-v1 add-learner b2")))
	l.snapshot(9)
	must(t, l.save(10, 3, me, 9, l.entry("conf-v2 r178"), l.entry("topic d")))
	l.stop()
	return l
}

func text(f *Finding) string {
	lost := ""
	if f.Lost != "" {
		lost = "; lost: " + f.Lost
	}
	return fmt.Sprintf("%s: %s byte %d, %d bytes: %s: %s\n  %s%s", f.Verdict, strings.TrimPrefix(f.File, root+"/"), f.Offset, f.Length, f.Record, f.Reason, f.Evidence, lost)
}
