package partition

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"chronik.dev/chronik/broker/vfs"
	"chronik.dev/chronik/broker/wal"
)

// refuses connects a rig to a journal whose syncs the test decides and makes a log whose first checkpoint is durable.
func (r *rig) refuses(cfg Config) (*Log, State) {
	r.t.Helper()
	r.connect(&fakeJournal{})
	l := r.create(cfg)
	l.Append(produce(2, "a", -1, -1, -1, r.now), AppendInfo{}, func(Appended, error) {})
	r.journal.sync(-1, nil)
	st, ok, err := l.Checkpoint(r.journal.Synced())
	if err != nil || !ok {
		r.t.Fatal(ok, err)
	}
	if err := l.Checkpointed(); err != nil {
		r.t.Fatal(err)
	}
	return l, st
}

// truncate truncates while the journal answers everything with an error or nil.
func (r *rig) truncate(l *Log, to int64, answer error) error {
	done := make(chan error, 1)
	go func() { done <- l.Truncate(to) }()
	for {
		select {
		case err := <-done:
			return err
		default:
			r.journal.sync(1, answer)
		}
	}
}

// TestDeleteRecordsBehindARefusedAppend: the journal refuses an append and takes the log start that was asked for behind it. It moves now, and in a replay.
func TestDeleteRecordsBehindARefusedAppend(t *testing.T) {
	r := newRig(t)
	l, st := r.refuses(DefaultConfig())
	refused, moved := make(chan error, 1), make(chan int64, 1)
	l.Append(produce(1, "b", -1, -1, -1, r.now), AppendInfo{}, func(_ Appended, err error) { refused <- err })
	l.DeleteRecords(1, func(start int64, err error) {
		if err != nil {
			t.Error(err)
		}
		moved <- start
	})
	r.journal.sync(1, wal.ErrNoSpace)
	r.journal.sync(1, nil)
	if err := <-refused; !errors.Is(err, ErrNoSpace) {
		t.Fatal(err)
	}
	if start := <-moved; start != 1 || l.LogStart() != 1 {
		t.Fatalf("answered %d, the log start is %d", start, l.LogStart())
	}
	if again, _ := r.reopen(st, DefaultConfig()); again.LogStart() != 1 {
		t.Fatalf("after a restart the log start is %d", again.LogStart())
	}
}

// TestTruncationRefused: a truncation that the journal has no space for leaves the log as it was, and open.
func TestTruncationRefused(t *testing.T) {
	r := newRig(t)
	l, _ := r.refuses(DefaultConfig())
	if err := r.truncate(l, 0, wal.ErrNoSpace); !errors.Is(err, wal.ErrNoSpace) {
		t.Fatal(err)
	}
	got := make(chan error, 1)
	l.Append(produce(1, "b", -1, -1, -1, r.now), AppendInfo{}, func(_ Appended, err error) { got <- err })
	r.journal.sync(-1, nil)
	if err := <-got; err != nil {
		t.Fatal(err)
	}
	if v := values(t, l); !slices.Equal(v, []string{"0:a-0", "1:a-1", "2:b-0"}) {
		t.Fatal(v)
	}
	if err := r.truncate(l, 0, nil); err != nil || l.LogEnd() != 0 {
		t.Fatal(l.LogEnd(), err)
	}
}

// TestTruncateBehindARefusedBlock: the journal refused the frame that must come before a write to the last block, so the files cannot hold all
// that is synced. A truncation then waits for the next try, and loses nothing.
func TestTruncateBehindARefusedBlock(t *testing.T) {
	r := newRig(t)
	l, _ := r.refuses(DefaultConfig())
	send := func(v string) { l.Append(produce(1, v, -1, -1, -1, r.now), AppendInfo{}, func(Appended, error) {}) }
	send("b")
	r.journal.sync(-1, nil)
	send("c") // in flight: the checkpoint sends the block by itself
	if _, ok, err := l.Checkpoint(r.journal.Synced()); err != nil || !ok {
		t.Fatal(ok, err)
	}
	r.journal.sync(1, nil)            // c
	r.journal.sync(1, wal.ErrNoSpace) // the block
	if err := r.truncate(l, 3, nil); !errors.Is(err, ErrNoSpace) {
		t.Fatalf("log end %d, %v", l.LogEnd(), err)
	}
	if v := values(t, l); !slices.Equal(v, []string{"0:a-0", "1:a-1", "2:b-0", "3:c-0"}) {
		t.Fatal(v)
	}
	r.journal.sync(-1, nil)
	if err := r.truncate(l, 3, nil); err != nil {
		t.Fatal(err)
	}
	if v := values(t, l); !slices.Equal(v, []string{"0:a-0", "1:a-1", "2:b-0"}) || l.LogEnd() != 3 {
		t.Fatal(v, l.LogEnd())
	}
}

// TestStopDuringACheckpoint: what a partition acknowledged until it stopped is copied, also behind the LSN that the checkpoint began with; and also
// if no checkpoint lists it yet.
func TestStopDuringACheckpoint(t *testing.T) {
	for _, listed := range []bool{true, false} {
		t.Run(fmt.Sprint("listed ", listed), func(t *testing.T) {
			r := newRig(t)
			var after, upTo wal.LSN
			r.env.Hold = func(_ Identity, a, u wal.LSN) (string, wal.LSN, error) {
				after, upTo = a, u
				return "evidence/held", u, nil
			}
			l := r.create(DefaultConfig())
			r.must(l, produce(1, "v", -1, -1, -1, r.now))
			r.journal.wait.Wait()
			var st State
			if listed {
				st, _, _ = l.Checkpoint(r.journal.Synced())
			}
			idle := r.journal.Synced()
			r.must(l, produce(1, "w", -1, -1, -1, r.now))
			r.journal.wait.Wait()
			l.Stop(errDisk)
			now, ok, err := l.Checkpoint(idle)
			if err != nil || !ok || now.Held != r.journal.Synced() || upTo != r.journal.Synced() || after != now.LSN || len(now.Segments) != 1 {
				t.Fatalf("%+v, %v, %v; held (%d, %d], synced %d", now, ok, err, after, upTo, r.journal.Synced())
			}
			if listed && now.LSN != st.LSN || !listed && now.LSN != 1 {
				t.Fatalf("LSN %d", now.LSN)
			}
			now.Held = 0 // as a repair reads the frames back
			again := &rig{t: t, fs: r.fs.Kill(), journal: r.journal, now: r.now, saved: map[string][]byte{}}
			l, _ = again.reopen(now, DefaultConfig())
			if v := values(t, l); !slices.Equal(v, []string{"0:v-0", "1:w-0"}) {
				t.Fatal(v)
			}
		})
	}
}

// TestOpenedRefused: a partition whose first frames the journal refused, and that nobody writes to, does not hold the journal: they are tried again.
func TestOpenedRefused(t *testing.T) {
	r := newRig(t)
	r.connect(&fakeJournal{})
	l := r.create(DefaultConfig())
	var before wal.LSN
	for range 3 {
		r.journal.sync(-1, wal.ErrNoSpace)
		st, ok, err := l.Checkpoint(r.journal.Synced())
		if ok || err != nil || st.LSN < before || before > 0 && st.LSN == before {
			t.Fatalf("the journal is held at LSN %d, before at %d; %v, %v", st.LSN, before, ok, err)
		}
		before = st.LSN
	}
	r.journal.sync(-1, nil)
	if st, ok, err := l.Checkpoint(r.journal.Synced()); !ok || err != nil || st.LSN != r.journal.Synced() {
		t.Fatalf("%+v, %v, %v", st, ok, err)
	}
	l.Append(produce(1, "a", -1, -1, -1, r.now), AppendInfo{}, func(_ Appended, err error) {
		if err != nil {
			t.Error(err)
		}
	})
	r.journal.sync(-1, nil)
	again, _ := r.reopen(State{}, DefaultConfig())
	if v := values(t, again); !slices.Equal(v, []string{"0:a-0"}) {
		t.Fatal(v)
	}
}

// TestDropAgain: a drop that the journal or the disk refused can be repeated, and once its frame is durable it holds no journal.
func TestDropAgain(t *testing.T) {
	r := newRig(t)
	disk := vfs.NewFaulty(r.fs)
	l, _ := r.refuses(DefaultConfig())
	r.env.FS = disk
	drop := func(answer error) error {
		done := make(chan error, 1)
		go func() { _, err := l.Drop(9); done <- err }()
		for {
			select {
			case err := <-done:
				return err
			default:
				r.journal.sync(1, answer)
			}
		}
	}
	if err := drop(wal.ErrNoSpace); !errors.Is(err, wal.ErrNoSpace) {
		t.Fatal(err)
	}
	if st, ok, err := l.Checkpoint(99); !ok || err != nil || st.LSN == 99 {
		t.Fatalf("no frame says that it is dropped, and it is left out: %+v, %v, %v", st, ok, err)
	}
	disk.Inject(vfs.Fault{Op: vfs.OpRename, Err: errDisk})
	if err := drop(nil); !errors.Is(err, errDisk) {
		t.Fatal(err)
	}
	if st, ok, err := l.Checkpoint(99); ok || err != nil || st.LSN != 99 {
		t.Fatalf("it holds the journal: %+v, %v, %v", st, ok, err)
	}
	if err := drop(nil); err != nil || len(r.env.Pool.all()) != 0 {
		t.Fatal(err)
	}
}
