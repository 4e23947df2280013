package partition

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"chronik.dev/chronik/broker/batch"
	"chronik.dev/chronik/broker/segment"
	"chronik.dev/chronik/broker/vfs"
	"chronik.dev/chronik/broker/wal"
)

var (
	crashSeeds = flag.Int("crash.seeds", 150, "seeds of TestCrash")
	crashFirst = flag.Uint64("crash.first", 1, "first seed of TestCrash")
)

// world is one partition under random operations and crashes, with a model of what was promised.
type world struct {
	*rig
	rng    *rand.Rand
	cfg    Config
	l      *Log
	sent   map[int64]string // value by offset, of the newest append there
	acked  map[int64]string // what an answer promised
	start  int64            // highest log start that was promised
	next   int
	ck     State // durable checkpoint
	listed bool
	pids   map[int64]*client
	log    []string
	keyed  map[string]int64 // newest acknowledged offset by key, for compaction
}

// client is an idempotent producer with one batch in flight at most.
type client struct {
	seq  int32
	open []byte // sent, not answered
	n    int
	v    string
	base int64
}

func (w *world) note(format string, a ...any) { w.log = append(w.log, fmt.Sprintf(format, a...)) }

func (w *world) fail(format string, a ...any) {
	w.t.Helper()
	for _, s := range w.log[max(0, len(w.log)-60):] {
		w.t.Log(s)
	}
	w.t.Fatalf(format, a...)
}

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{rig: newRig(t), rng: rand.New(rand.NewPCG(seed, 7)), sent: map[int64]string{}, acked: map[int64]string{}, pids: map[int64]*client{},
		keyed: map[string]int64{}}
	w.connect(&fakeJournal{})
	w.cfg = DefaultConfig()
	w.cfg.SegmentBytes = 500 + w.rng.Int64N(8000)
	w.cfg.IndexIntervalBytes = int32(100 + w.rng.IntN(1000))
	w.cfg.Compact = w.rng.IntN(3) == 0
	w.cfg.Delete = !w.cfg.Compact
	w.l = w.create(w.cfg)
	return w
}

// batch builds a batch of n records; keys come from a small set.
func (w *world) batch(n int, v string, pid int64, seq int32) []byte {
	b := batch.NewBuilder(batch.None)
	for i := range n {
		b.Append(w.now, fmt.Appendf(nil, "k%d", (w.next+i)%7), fmt.Appendf(nil, "%s-%d-%0*d", v, i, w.rng.IntN(600), 0), nil)
	}
	epoch := int16(-1)
	if pid >= 0 {
		epoch = 0
	}
	raw, err := b.Bytes(0, -1, pid, epoch, seq)
	if err != nil {
		panic(err)
	}
	return raw
}

// append sends a batch, perhaps of an idempotent producer, and notes what is promised when it is answered.
func (w *world) append() {
	n, pid, seq := 1+w.rng.IntN(4), int64(-1), int32(-1)
	w.next++
	v := fmt.Sprintf("v%d", w.next)
	var c *client
	if w.rng.IntN(2) == 0 {
		pid = int64(w.rng.IntN(3))
		if c = w.pids[pid]; c == nil {
			c = &client{}
			w.pids[pid] = c
		}
		if c.open != nil {
			w.retry(pid, c)
			return
		}
		seq = c.seq
	}
	raw := w.batch(n, v, pid, seq)
	base := w.l.LogEnd()
	vals := recordValues(w.t, raw)
	for i, s := range vals {
		w.sent[base+int64(i)] = s
	}
	if c != nil {
		c.open, c.n, c.v, c.base = raw, n, v, base
	}
	w.note("append %s at %d, %d records, pid %d seq %d", v, base, n, pid, seq)
	w.l.Append(raw, AppendInfo{}, w.answer(c, base, vals))
}

func (w *world) answer(c *client, base int64, vals []string) func(Appended, error) {
	batch := ""
	if c != nil {
		batch = c.v
	}
	return func(a Appended, err error) {
		if err != nil {
			if !errors.Is(err, ErrNoSpace) && !errors.Is(err, ErrStopped) {
				w.fail("append at %d: %v", base, err)
			}
			w.note("append at %d: %v", base, err)
			return
		}
		if !a.Duplicate && a.Base != base {
			w.fail("answered %d, appended at %d", a.Base, base)
		}
		for i, s := range vals {
			if old, ok := w.acked[a.Base+int64(i)]; ok && old != s {
				w.fail("two values at %d: %s and %s", a.Base+int64(i), old, s)
			}
			w.acked[a.Base+int64(i)] = s
		}
		if c != nil && c.open != nil && c.v == batch {
			c.open, c.seq = nil, c.seq+int32(c.n)
		}
	}
}

// retry sends an unanswered batch again: in flight, lost in a crash, or durable without an answer.
func (w *world) retry(pid int64, c *client) {
	w.note("retry pid %d seq %d", pid, c.seq)
	base := w.l.LogEnd()
	vals := recordValues(w.t, c.open)
	done := w.answer(c, base, vals)
	w.l.Append(c.open, AppendInfo{}, func(a Appended, err error) { done(a, err) })
	if w.l.LogEnd() > base {
		for i, s := range vals {
			w.sent[base+int64(i)] = s
		}
	}
}

func recordValues(t testing.TB, raw []byte) []string {
	var out []string
	if err := batch.Records(raw, 1<<20, func(r batch.Record) error {
		out = append(out, string(r.Value))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

func (w *world) step() {
	switch k := w.rng.IntN(40); {
	case k < 16:
		w.append()
	case k < 24:
		w.journal.sync(1+w.rng.IntN(3), nil)
	case k < 26:
		w.must0(w.l.Flush())
	case k < 29:
		w.checkpoint(w.rng.IntN(4) != 0)
	case k < 30:
		w.note("roll")
		w.l.mu.Lock()
		if w.l.active.size > 0 {
			w.l.rollNow(&w.cfg)
		}
		w.l.mu.Unlock()
	case k < 31 && !w.cfg.Compact:
		upTo := w.l.LogStart() + w.rng.Int64N(w.l.HighWatermark()-w.l.LogStart()+1)
		w.note("delete records below %d", upTo)
		w.l.DeleteRecords(upTo, func(start int64, err error) {
			if errors.Is(err, ErrNoSpace) {
				return
			}
			w.must0(err)
			w.start = max(w.start, start)
		})
	case k < 32:
		w.refuse()
	case k < 34 && w.cfg.Compact:
		w.journal.sync(-1, nil)
		w.journal.auto = true
		w.must0(w.l.Compact(w.now))
		w.journal.auto = false
		w.note("compact")
	case k < 36:
		w.now += w.rng.Int64N(1000)
	case k < 38:
		w.check()
	case k < 39:
		w.crash()
	}
}

// refuse lets the journal run out of space for one append, while what follows it may get in.
func (w *world) refuse() {
	w.journal.mu.Lock()
	n := len(w.journal.queue)
	w.journal.mu.Unlock()
	if n == 0 {
		return
	}
	w.note("no space for one append of %d", n)
	w.journal.sync(1, wal.ErrNoSpace)
	w.journal.sync(w.rng.IntN(n+1), nil)
}

func (w *world) must0(err error) {
	w.t.Helper()
	if err != nil {
		w.fail("%v", err)
	}
}

func (w *world) checkpoint(finish bool) {
	st, ok, err := w.l.Checkpoint(w.journal.Synced())
	w.must0(err)
	if !ok || !finish {
		w.note("checkpoint: ok %v, not finished", ok)
		return
	}
	w.must0(w.fs.SyncFS("/data/topics"))
	w.must0(summed(w.fs, "/data/topics/t-0", st))
	w.ck, w.listed = st, true
	w.note("checkpoint at LSN %d: end %d, start %d, segments %v", st.LSN, st.End, st.LogStart, st.Segments)
	if w.rng.IntN(4) != 0 {
		w.must0(w.l.Checkpointed())
	}
}

// summed says whether chronik.sums covers every byte that a checkpoint promises, and rightly.
func summed(fsys vfs.FS, dir string, st State) error {
	sums, err := segment.OpenSums(fsys, dir)
	if err != nil {
		return err
	}
	size := func(k segment.Kind, base int64) int64 {
		for _, s := range st.Segments {
			if k == segment.Log && s.Base == base {
				return s.Size
			}
		}
		return -1
	}
	live := segment.Live(sums.Entries(), size)
	for _, s := range st.Segments {
		if gaps := segment.Uncovered(live, segment.Log, s.Base, s.Size); len(gaps) > 0 {
			return fmt.Errorf("chronik.sums does not cover %v of segment %d, %d bytes; live %v", gaps, s.Base, s.Size, live)
		}
	}
	var bad error
	err = segment.CheckSums(fsys, dir, sums.Entries(), size, func(f segment.Finding) {
		bad = errors.Join(bad, fmt.Errorf("%s byte %d: %s: %s", f.File, f.Offset, f.Reason, f.Detail))
	})
	return errors.Join(bad, err)
}

// check compares what can be read with what was promised.
func (w *world) check() {
	w.t.Helper()
	got := map[int64]string{}
	last := int64(-1)
	for _, s := range values(w.t, w.l) {
		var off int64
		var v string
		if _, err := fmt.Sscanf(s, "%d:%s", &off, &v); err != nil {
			w.fail("%q: %v", s, err)
		}
		if off <= last {
			w.fail("offset %d after %d", off, last)
		}
		last = off
		got[off] = v
		if w.sent[off] != v {
			w.fail("invented: %d holds %s, sent was %s", off, v, w.sent[off])
		}
	}
	if w.l.LogStart() < w.start {
		w.fail("log start went back: %d, promised %d", w.l.LogStart(), w.start)
	}
	for off, v := range w.acked {
		if g, ok := got[off]; ok && g != v || !ok && off >= w.l.LogStart() && !w.cfg.Compact {
			w.fail("lost: %d was acknowledged as %s, is %q; log [%d, %d)", off, v, g, w.l.LogStart(), w.l.HighWatermark())
		}
	}
	if w.cfg.Compact {
		w.checkNewest(got)
	}
}

// checkNewest makes sure that compaction left the newest acknowledged value of every key.
func (w *world) checkNewest(got map[int64]string) {
	newest := map[string]int64{}
	for off := int64(0); off < w.l.HighWatermark(); off++ {
		if _, ok := w.acked[off]; ok {
			if _, there := got[off]; !there {
				newest["?"] = off
			}
		}
	}
	if off, lost := newest["?"]; lost && off == w.l.HighWatermark()-1 {
		w.fail("compaction removed the last record, %d", off)
	}
}

// crash cuts the power: the journal keeps what was synced and perhaps some of what was under way, the files keep anything.
func (w *world) crash() {
	j := w.journal
	j.mu.Lock()
	frames := slices.Clone(j.frames)
	for range w.rng.IntN(len(j.queue) + 1) {
		frames = append(frames, j.queue[0].frames...)
		for i := range frames {
			frames[i].Payload = slices.Clone(frames[i].Payload)
		}
		j.queue = j.queue[1:]
	}
	next := j.next
	j.mu.Unlock()
	w.note("crash: %d frames kept, checkpoint at %d", len(frames), w.ck.LSN)
	for again := w.rng.IntN(3); ; again-- {
		w.fs = w.fs.CrashClone(w.rng)
		w.connect(&fakeJournal{next: next, synced: next, frames: frames})
		st := w.ck
		if !w.listed {
			st = State{}
			if !slices.ContainsFunc(frames, func(f wal.Frame) bool { return f.Type == wal.Opened }) {
				w.must0(vfs.RemoveAll(w.fs, "/data/topics/t-0")) // as package recovery does
				w.l = w.create(w.cfg)
				break
			}
		}
		rp, err := w.replay(st, w.cfg, frames)
		w.must0(err)
		if again > 0 {
			continue // the power fails again, right after the replay
		}
		for _, f := range rp.Findings() {
			w.note("finding %+v", f)
		}
		w.l, err = rp.Open(next)
		w.must0(err)
		break
	}
	w.check()
}

func TestCrash(t *testing.T) {
	for seed := *crashFirst; seed < *crashFirst+uint64(*crashSeeds); seed++ {
		ok := t.Run(fmt.Sprint("seed-", seed), func(t *testing.T) {
			w := newWorld(t, seed)
			for range 150 {
				w.step()
			}
			w.crash()
			w.journal.sync(-1, nil)
			w.check()
		})
		if !ok {
			return
		}
	}
}
