package consensus

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"chronik.dev/chronik/broker/metadata"
	"chronik.dev/chronik/broker/metapb"
	"chronik.dev/chronik/broker/raftlog"
	"chronik.dev/chronik/broker/vfs"
)

const testDir = "data/raft"

func testOptions(fs vfs.FS, found bool) Options {
	return Options{
		FS: fs, Dir: testDir, DirID: [16]byte{9}, MemberID: 0xa1, Found: found, StateMachine: metadata.New(),
		Log: raftlog.Options{SegmentSize: 64 << 10, Buffered: true},
	}
}

func mustStart(t testing.TB, o Options) *Node {
	t.Helper()
	n, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func mustStop(t testing.TB, n *Node) {
	t.Helper()
	if err := n.Stop(); err != nil {
		t.Fatal(err)
	}
}

func encode(t testing.TB, p *metadata.Proposer, body proto.Message) []byte {
	t.Helper()
	data, err := p.Encode(1000, body)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func mustPropose(t testing.TB, n *Node, data []byte) metadata.Result {
	t.Helper()
	r, err := n.Propose(t.Context(), data)
	if err != nil {
		t.Fatal(err)
	}
	if r.Err != nil {
		t.Fatal(r.Err)
	}
	return r
}

func hash(t testing.TB, n *Node) string {
	t.Helper()
	index, h, err := n.StateHash(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%d:%x", index, h)
}

func TestGroupOfOne(t *testing.T) {
	disk := vfs.NewMem(1)
	o := testOptions(disk, true)
	n := mustStart(t, o)
	if st := n.Status(); st.Leader != o.MemberID || st.Applied == 0 || fmt.Sprint(st.ConfState.GetVoters()) != "[161]" {
		t.Fatalf("started as %+v", st)
	}
	p := metadata.NewProposer([16]byte{1})
	mustPropose(t, n, encode(t, p, &metapb.RegisterBroker{NodeId: 7, Incarnation: make([]byte, 16)}))
	create := encode(t, p, &metapb.CreateTopic{Name: "t", Id: []byte("0123456789abcdef"), Partitions: []*metapb.Assignment{{Replicas: []int32{7}}}})
	r := mustPropose(t, n, create)
	if st := n.Status(); r.Index != st.Applied || r.Topic == nil || st.Commit != st.Applied || st.LastIndex != st.Applied {
		t.Fatalf("created %+v, status %+v", r, st)
	}
	if r, err := n.Propose(t.Context(), encode(t, p, &metapb.DeleteTopic{Id: make([]byte, 16)})); err != nil || !errors.Is(r.Err, metadata.ErrUnknownTopic) {
		t.Fatalf("a refusal is an answer: %+v, %v", r, err)
	}
	if r, err := n.Propose(t.Context(), create); err != nil || !r.Duplicate {
		t.Fatalf("repeated: %+v, %v", r, err)
	}
	was, state := n.Status(), hash(t, n)
	mustStop(t, n)
	if _, err := n.Propose(t.Context(), create); !errors.Is(err, ErrStopped) {
		t.Fatalf("stopped: %v", err)
	}
	report, err := raftlog.Inspect(raftlog.Options{FS: disk, Dir: testDir, DirID: o.DirID})
	if err != nil || report.Term != was.Term || report.Vote != was.Vote || report.Commit != was.Commit || report.Last != was.LastIndex || report.First != was.FirstIndex {
		t.Fatalf("left %+v, %v; was %+v", report, err, was)
	}

	o = testOptions(disk, false)
	n = mustStart(t, o)
	st := n.Status()
	if st.Term != was.Term+1 || st.Applied != was.Applied+1 || st.Leader != o.MemberID || st.ConfState.Equivalent(was.ConfState) != nil {
		t.Fatalf("restarted as %+v, was %+v", st, was)
	}
	if again := o.StateMachine.(*metadata.State); again.Image().Topics["t"] == nil {
		t.Fatal("the topic is gone")
	} else if old := strings.Split(state, ":"); strings.HasSuffix(hash(t, n), old[1]) {
		t.Fatal("another index, the same hash")
	}
	if r, err := n.Propose(t.Context(), create); err != nil || !r.Duplicate {
		t.Fatalf("repeated after a restart: %+v, %v", r, err)
	}
	mustStop(t, n)
}

// TestKill cuts the power at random moments while four clients propose. Whatever is left starts, and holds every answered proposal and none that
// was never made.
func TestKill(t *testing.T) {
	type moment struct {
		disk     *vfs.Mem
		answered int64
	}
	for seed := range uint64(3) {
		disk := vfs.NewMem(seed)
		rng := rand.New(rand.NewPCG(seed, 4))
		o := testOptions(disk, true)
		o.SnapshotEntries = 7
		n := mustStart(t, o)
		var answered, proposed atomic.Int64
		var moments []moment
		var mu sync.Mutex
		disk.SetHook(func(vfs.Op) {
			mu.Lock()
			defer mu.Unlock()
			if before := answered.Load(); rng.IntN(8) == 0 {
				moments = append(moments, moment{disk.CrashClone(rng), before})
			}
		})
		var wg sync.WaitGroup
		for client := range byte(4) {
			wg.Go(func() {
				p := metadata.NewProposer([16]byte{1, client}) // of its own: another's commands cannot overtake its own
				for range 15 {
					proposed.Add(1)
					if r, err := n.Propose(context.Background(), encode(t, p, &metapb.AllocateProducerIds{Count: 1})); err != nil || r.Err != nil {
						t.Errorf("propose: %v, %v", err, r.Err)
					}
					answered.Add(1)
				}
			})
		}
		wg.Wait()
		mustStop(t, n)
		disk.SetHook(nil)
		moments = append(moments, moment{disk, answered.Load()})
		for i, m := range moments {
			o := testOptions(m.disk, false)
			n := mustStart(t, o)
			if got := o.StateMachine.(*metadata.State).Image().NextProducerID; got < m.answered || got > proposed.Load() {
				t.Fatalf("seed %d, crash %d of %d: %d blocks, %d were answered, %d proposed", seed, i, len(moments), got, m.answered, proposed.Load())
			}
			mustStop(t, n)
		}
		t.Logf("seed %d: %d crashes", seed, len(moments))
	}
}

func TestSnapshots(t *testing.T) {
	disk := vfs.NewMem(1)
	o := testOptions(disk, true)
	o.SnapshotEntries = 10
	n := mustStart(t, o)
	p := metadata.NewProposer([16]byte{1})
	for range 35 {
		mustPropose(t, n, encode(t, p, &metapb.AllocateProducerIds{Count: 10}))
	}
	st := n.Status()
	if st.Snapshots != 3 || st.FirstIndex != 22 || st.SnapshotIndex != 31 {
		t.Fatalf("after 36 entries: %+v", st)
	}
	want := o.StateMachine.(*metadata.State).Image()
	mustStop(t, n)
	o = testOptions(disk, false)
	n = mustStart(t, o)
	if got := o.StateMachine.(*metadata.State).Image(); got.NextProducerID != want.NextProducerID || got.Index != want.Index+1 {
		t.Fatalf("restored %+v, want %+v", got, want)
	}
	if n.Report() == nil || len(n.Report().Snapshots) != 2 {
		t.Fatalf("report %+v", n.Report())
	}
	mustStop(t, n)
}

// TestSnapshotWithoutRoom: a snapshot that finds no room, or no descriptor, is taken later; the group goes on.
func TestSnapshotWithoutRoom(t *testing.T) {
	for _, cause := range []error{syscall.ENOSPC, syscall.EMFILE} {
		synctest.Test(t, func(t *testing.T) {
			mem := vfs.NewMem(1)
			disk := vfs.NewFaulty(mem)
			o := testOptions(disk, true)
			o.SnapshotEntries = 10
			n := mustStart(t, o)
			p := metadata.NewProposer([16]byte{1})
			put := func(times int) {
				t.Helper()
				for range times {
					mustPropose(t, n, encode(t, p, &metapb.AllocateProducerIds{Count: 10}))
				}
			}
			disk.Inject(vfs.Fault{Op: vfs.OpCreate, Match: "/snapshots/", Times: -1, Err: cause})
			put(25)
			if st := n.Status(); st.Snapshots != 0 {
				t.Errorf("%+v", st)
			}
			disk.Clear()
			time.Sleep(snapshotRetry)
			put(1)
			if st := n.Status(); st.Snapshots != 1 || st.SnapshotIndex < 27 {
				t.Errorf("with room again: %+v", st)
			}
			want := o.StateMachine.(*metadata.State).Image().NextProducerID
			mustStop(t, n)
			o = testOptions(mem, false)
			n = mustStart(t, o)
			if got := o.StateMachine.(*metadata.State).Image().NextProducerID; got != want {
				t.Errorf("restored %d, want %d", got, want)
			}
			mustStop(t, n)
		})
	}
}

// TestRestarts starts again and again: each start adds a segment, and snapshots keep their number down.
func TestRestarts(t *testing.T) {
	disk := vfs.NewMem(1)
	mustStop(t, mustStart(t, testOptions(disk, true)))
	for i := range 40 {
		n := mustStart(t, testOptions(disk, false))
		if got := n.Report().Segments; got > 2*manySegments {
			t.Fatalf("start %d: %d segments", i, got)
		}
		mustStop(t, n)
	}
}

// TestIdle lets an hour pass: nothing touches the disk.
func TestIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		counted := vfs.NewFaulty(vfs.NewMem(1))
		n := mustStart(t, testOptions(counted, true))
		mustPropose(t, n, encode(t, metadata.NewProposer([16]byte{1}), &metapb.AllocateProducerIds{Count: 10}))
		time.Sleep(time.Second) // whatever the log does in the background
		synctest.Wait()
		calls := counted.Count(0)
		time.Sleep(time.Hour)
		synctest.Wait()
		if got := counted.Count(0); got != calls {
			t.Errorf("%d calls in an idle hour", got-calls)
		}
		mustStop(t, n)
	})
}

// TestFailedSync breaks the disk: the proposal fails, the node says why and never answers again.
func TestFailedSync(t *testing.T) {
	faulty := vfs.NewFaulty(vfs.NewMem(1))
	n := mustStart(t, testOptions(faulty, true))
	faulty.PowerOffAfter(0)
	data := encode(t, metadata.NewProposer([16]byte{1}), &metapb.AllocateProducerIds{Count: 10})
	if _, err := n.Propose(t.Context(), data); !errors.Is(err, vfs.ErrPowerOff) {
		t.Fatalf("propose: %v", err)
	}
	<-n.Failed()
	faulty.Clear()
	if _, err := n.Propose(t.Context(), data); !errors.Is(err, vfs.ErrPowerOff) {
		t.Fatalf("propose again: %v", err)
	}
	if err := n.Stop(); !errors.Is(err, vfs.ErrPowerOff) {
		t.Fatalf("stop: %v", err)
	}
}

// TestNewerCommand meets a command of a newer version: skipping it would diverge, so the node stops.
func TestNewerCommand(t *testing.T) {
	n := mustStart(t, testOptions(vfs.NewMem(1), true))
	if _, err := n.Propose(t.Context(), []byte("\x08\x02")); !errors.Is(err, metadata.ErrUnsupported) {
		t.Fatalf("propose: %v", err)
	}
	<-n.Failed()
	if err := n.Stop(); !errors.Is(err, metadata.ErrUnsupported) {
		t.Fatalf("stop: %v", err)
	}
}

func TestStartRefuses(t *testing.T) {
	if _, err := Start(t.Context(), testOptions(vfs.NewMem(1), false)); !errors.Is(err, raftlog.ErrMissing) {
		t.Fatalf("empty directory: %v", err)
	}
	o := testOptions(vfs.NewMem(1), true)
	o.MemberID = 0
	if _, err := Start(t.Context(), o); err == nil {
		t.Fatal("member id 0 is accepted")
	}
	disk := vfs.NewMem(1)
	n := mustStart(t, testOptions(disk, true))
	if _, err := n.Propose(t.Context(), nil); err == nil {
		t.Fatal("an empty command is accepted")
	}
	if _, err := n.Propose(t.Context(), make([]byte, maxProposal+1)); err == nil {
		t.Fatal("a huge command is accepted")
	}
	mustStop(t, n)
	o = testOptions(disk, false)
	o.MemberID++
	if _, err := Start(t.Context(), o); err == nil || !strings.Contains(err.Error(), "belong") {
		t.Fatalf("another member's directory: %v", err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Start(gone, testOptions(disk, false)); err != nil && !errors.Is(err, context.Canceled) {
		t.Fatalf("start without time: %v", err)
	}
}
