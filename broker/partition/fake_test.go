package partition

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"testing"

	"chronik.dev/chronik/broker/batch"
	"chronik.dev/chronik/broker/vfs"
	"chronik.dev/chronik/broker/wal"
)

// fakeJournal is a journal in memory whose syncs the test decides.
type fakeJournal struct {
	mu     sync.Mutex
	next   wal.LSN
	synced wal.LSN
	auto   bool // sync at once, from another goroutine
	wait   sync.WaitGroup
	queue  []fakeEntry
	frames []wal.Frame // durable
	freed  wal.LSN
}

type fakeEntry struct {
	frames []wal.Frame
	done   func(error)
	last   wal.LSN
}

func (j *fakeJournal) Append(frames []wal.Frame, done func(error)) wal.LSN {
	j.mu.Lock()
	defer j.mu.Unlock()
	e := fakeEntry{done: done}
	for _, f := range frames {
		j.next++
		f.LSN = j.next
		e.frames = append(e.frames, f)
	}
	e.last = j.next
	j.queue = append(j.queue, e)
	if j.auto {
		j.wait.Add(1)
		go func() { defer j.wait.Done(); j.sync(1, nil) }()
	}
	return j.next
}

func (j *fakeJournal) Synced() wal.LSN { j.mu.Lock(); defer j.mu.Unlock(); return j.synced }

func (j *fakeJournal) FreeBelow(lsn wal.LSN) error { j.freed = lsn; return nil }

var fakeOrder sync.Mutex // callbacks come in LSN order

// sync makes n waiting appends durable, or fails them; -1 = all.
func (j *fakeJournal) sync(n int, err error) {
	fakeOrder.Lock()
	defer fakeOrder.Unlock()
	for ; n != 0; n-- {
		j.mu.Lock()
		if len(j.queue) == 0 {
			j.mu.Unlock()
			return
		}
		e := j.queue[0]
		j.queue = j.queue[1:]
		if err == nil {
			for _, f := range e.frames {
				f.Payload = bytes.Clone(f.Payload)
				j.frames = append(j.frames, f)
			}
			j.synced = e.last
		}
		j.mu.Unlock()
		e.done(err)
	}
}

// rig is one partition on a disk in memory.
type rig struct {
	t       testing.TB
	fs      *vfs.Mem
	journal *fakeJournal
	env     *Env
	now     int64
	saved   map[string][]byte
}

var rigID = Identity{Topic: "t", ID: [16]byte{7, 7, 7}, Partition: 0, RaftIndex: 5}

func newRig(t testing.TB) *rig {
	r := &rig{t: t, fs: vfs.NewMem(1), now: 1_700_000_000_000, saved: map[string][]byte{}}
	if err := vfs.MkdirAll(r.fs, "/data/topics"); err != nil {
		t.Fatal(err)
	}
	r.connect(&fakeJournal{auto: true})
	return r
}

func (r *rig) connect(j *fakeJournal) {
	r.journal = j
	pool := NewPool(0)
	r.t.Cleanup(pool.Close)
	r.env = &Env{FS: r.fs, Dir: "/data/topics", Journal: j, Pool: pool, Now: func() int64 { return r.now }}
}

func (r *rig) create(cfg Config) *Log {
	r.t.Helper()
	l, err := Create(r.env, rigID, cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	return l
}

// produce builds a batch of n records with values v-0, v-1, ...
func produce(n int, v string, pid int64, epoch int16, seq int32, ts int64) []byte {
	b := batch.NewBuilder(batch.None)
	for i := range n {
		b.Append(ts, []byte("k"), fmt.Appendf(nil, "%s-%d", v, i), nil)
	}
	raw, err := b.Bytes(0, -1, pid, epoch, seq)
	if err != nil {
		panic(err)
	}
	return raw
}

type answer struct {
	Appended
	err error
}

// append appends and waits for the answer.
func (r *rig) append(l *Log, raw []byte) (Appended, error) {
	got := make(chan answer, 1)
	l.Append(raw, AppendInfo{LeaderEpoch: max(l.LeaderEpoch(), 0)}, func(a Appended, err error) { got <- answer{a, err} })
	a := <-got
	return a.Appended, a.err
}

func (r *rig) must(l *Log, raw []byte) Appended {
	r.t.Helper()
	a, err := r.append(l, raw)
	if err != nil {
		r.t.Fatal(err)
	}
	return a
}

// values reads the whole log and returns "offset:value" of every record.
func values(t testing.TB, l *Log) []string {
	t.Helper()
	var out []string
	at := l.LogStart()
	for at < l.HighWatermark() {
		raw, err := l.Read(ReadRequest{Offset: at, UpTo: l.HighWatermark(), MaxBytes: 1000, AtLeastOne: true})
		if err != nil {
			t.Fatal(err)
		}
		if len(raw) == 0 && l.Config().Compact { // cleaned up to the end
			return out
		}
		if len(raw) == 0 {
			for _, s := range l.segs {
				n, err := s.NextOffset()
				t.Logf("segment %d, size %d, next %d %v; flushed %d", s.BaseOffset(), s.Size(), n, err, l.flushed)
			}
			t.Fatalf("nothing at %d of [%d, %d)", at, l.LogStart(), l.HighWatermark())
		}
		err = batch.Each(raw, func(h batch.Header, one []byte) error {
			if _, err := batch.CheckStored(one); err != nil {
				return err
			}
			at = h.LastOffset() + 1
			return batch.Records(one, 1<<20, func(rec batch.Record) error {
				if rec.Offset >= l.LogStart() {
					out = append(out, fmt.Sprintf("%d:%s", rec.Offset, rec.Value))
				}
				return nil
			})
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// reopen replays what the journal holds over a State, as a boot would, and opens the log with a new journal.
func (r *rig) reopen(st State, cfg Config) (*Log, *Replay) {
	r.t.Helper()
	frames := r.journal.frames
	synced := r.journal.synced
	r.connect(&fakeJournal{auto: true, next: synced, synced: synced, frames: frames})
	rp, err := r.replay(st, cfg, frames)
	if err != nil {
		r.t.Fatal(err)
	}
	l, err := rp.Open(synced)
	if err != nil {
		r.t.Fatal(err)
	}
	return l, rp
}

func (r *rig) replay(st State, cfg Config, frames []wal.Frame) (*Replay, error) {
	opened := wal.LSN(0)
	opt := ReplayOptions{Save: func(name, file string, offset, length int64) (string, error) {
		b, err := vfs.ReadFile(r.fs, file, 1<<30)
		if err != nil {
			return "", err
		}
		r.saved[name] = b[offset : offset+length]
		return "evidence/" + name, nil
	}}
	for _, f := range frames {
		if f.LSN <= st.LSN {
			continue
		}
		switch f.Type {
		case wal.Opened:
			opened = f.LSN
			st = State{Identity: rigID, Dir: DirName(rigID.Topic, rigID.Partition)}
		case wal.Truncated:
			at, err := ParseCutAt(f.Payload)
			if err != nil {
				return nil, err
			}
			opt.Truncations = append(opt.Truncations, Truncation{LSN: f.LSN, To: f.First, At: &at})
			if opened == 0 && f.First < st.End && (opt.CutLSN == 0 || f.First <= opt.CutTo) {
				opt.CutTo, opt.CutLSN = f.First, f.LSN
			}
		case wal.Replaced:
			v, err := ParseReplaced(f.Payload)
			if err != nil {
				return nil, err
			}
			opt.Replaced = append(opt.Replaced, v)
		}
	}
	rp, err := NewReplay(r.env, st, opened, cfg, opt)
	if err != nil {
		return nil, err
	}
	for i := range frames {
		if err := rp.Apply(&frames[i], r.now, false); err != nil {
			return rp, err
		}
	}
	return rp, rp.Finish()
}

var errDisk = errors.New("disk on fire")
