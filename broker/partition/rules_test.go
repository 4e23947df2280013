package partition

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"chronik.dev/chronik/broker/batch"
	"chronik.dev/chronik/broker/vfs"
)

func TestProducerSequences(t *testing.T) {
	type send struct {
		n, pid int
		epoch  int16
		seq    int32
		want   error
		base   int64 // of the answer
	}
	for name, sends := range map[string][]send{
		"in order, a duplicate of each of the last five": {
			{1, 1, 0, 0, nil, 0}, {2, 1, 0, 1, nil, 1}, {1, 1, 0, 3, nil, 3}, {1, 1, 0, 4, nil, 4}, {1, 1, 0, 5, nil, 5}, {1, 1, 0, 6, nil, 6},
			{2, 1, 0, 1, nil, 1}, {1, 1, 0, 6, nil, 6}, {1, 1, 0, 0, ErrOutOfOrderSequence, -1},
		},
		"a gap": {{1, 1, 0, 0, nil, 0}, {1, 1, 0, 2, ErrOutOfOrderSequence, -1}, {1, 1, 0, 1, nil, 1}},
		"an old epoch is fenced, a new one begins at 0": {
			{1, 1, 3, 0, nil, 0}, {1, 1, 2, 0, ErrInvalidProducerEpoch, -1}, {1, 1, 4, 1, ErrOutOfOrderSequence, -1}, {1, 1, 4, 0, nil, 1},
			{1, 1, 3, 1, ErrInvalidProducerEpoch, -1}, {1, 1, 4, 1, nil, 2},
		},
		"an unknown producer may start anywhere": {{1, 1, 5, 77, nil, 0}, {1, 1, 5, 78, nil, 1}, {1, 2, 0, 0, nil, 2}},
		"sequences wrap":                         {{2, 1, 0, math.MaxInt32 - 1, nil, 0}, {1, 1, 0, 0, nil, 2}, {1, 1, 0, 1, nil, 3}},
		"a batch over the wrap":                  {{3, 1, 0, math.MaxInt32 - 1, nil, 0}, {1, 1, 0, 1, nil, 3}, {3, 1, 0, math.MaxInt32 - 1, nil, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			l := r.create(DefaultConfig())
			for i, s := range sends {
				a, err := r.append(l, produce(s.n, "v", int64(s.pid), s.epoch, s.seq, r.now))
				if !errors.Is(err, s.want) || a.Base != s.base {
					t.Fatalf("send %d: base %d, %v; want %d, %v", i, a.Base, err, s.base, s.want)
				}
			}
		})
	}
}

func TestIdleProducerIsNotFenced(t *testing.T) {
	r := newRig(t)
	cfg := DefaultConfig()
	cfg.ProducerExpiryMs = 1000
	l := r.create(cfg)
	for seq := range int32(3) {
		r.must(l, produce(1, "v", 1, 0, seq, r.now))
	}
	r.now += 999
	l.Roll(r.now)
	if len(l.Producers()) != 1 {
		t.Fatal("forgotten too early")
	}
	r.now++
	l.Roll(r.now)
	if len(l.Producers()) != 0 {
		t.Fatal("not forgotten")
	}
	if a := r.must(l, produce(1, "v", 1, 0, 3, r.now)); a.Base != 3 {
		t.Fatalf("%+v", a)
	}
}

func TestDuplicateOfBatchInFlight(t *testing.T) {
	r := newRig(t)
	r.connect(&fakeJournal{})
	l := r.create(DefaultConfig())
	r.journal.sync(-1, nil)
	var got []answer
	done := func(a Appended, err error) { got = append(got, answer{a, err}) }
	raw := produce(2, "v", 1, 0, 0, r.now)
	l.Append(raw, AppendInfo{}, done)
	l.Append(produce(1, "w", 1, 0, 2, r.now), AppendInfo{}, done)
	l.Append(raw, AppendInfo{}, done)
	if len(got) != 0 || l.HighWatermark() != 0 || l.LogEnd() != 3 {
		t.Fatalf("answered before the sync: %v", got)
	}
	if out, err := l.Read(ReadRequest{Offset: 0, UpTo: math.MaxInt64, MaxBytes: 1000, AtLeastOne: true}); err != nil || out != nil {
		t.Fatalf("read %d bytes before the sync, %v", len(out), err)
	}
	r.journal.sync(1, nil)
	if len(got) != 2 || got[0].Base != 0 || got[0].Duplicate || got[1].Base != 0 || got[1].Last != 1 || !got[1].Duplicate {
		t.Fatalf("%+v", got)
	}
	r.journal.sync(-1, nil)
	l.Append(raw, AppendInfo{}, done)
	if len(got) != 4 || got[2].Base != 2 || !got[3].Duplicate || got[3].err != nil {
		t.Fatalf("%+v", got)
	}
}

func TestRefusals(t *testing.T) {
	r := newRig(t)
	cfg := DefaultConfig()
	cfg.MaxMessageBytes = 500
	l := r.create(cfg)
	good := produce(1, "v", -1, -1, -1, r.now)
	damaged := slices.Clone(good)
	damaged[len(damaged)-1]++
	control := batch.NewBuilder(batch.None)
	control.SetFlags(batch.FlagControl)
	control.Append(r.now, []byte{0, 0, 0, 1}, []byte{0, 0, 0, 0, 0, 0}, nil)
	marker, err := control.Bytes(0, 0, 1, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		raw  []byte
		want error
	}{
		"nothing":       {nil, ErrInvalidRecord},
		"short":         {good[:40], ErrCorruptMessage},
		"cut":           {good[:len(good)-1], ErrCorruptMessage},
		"CRC":           {damaged, ErrCorruptMessage},
		"second batch":  {slices.Concat(good, damaged), ErrCorruptMessage},
		"too large":     {produce(60, "v", -1, -1, -1, r.now), ErrRecordTooLarge},
		"control batch": {marker, ErrInvalidRecord},
		"future":        {produce(1, "v", -1, -1, -1, r.now+3600*1000+1), ErrInvalidTimestamp},
		"no sequence":   {produce(1, "v", 1, 0, -1, r.now), ErrInvalidRecord},
	} {
		a, err := r.append(l, c.raw)
		if !errors.Is(err, c.want) || a.Base != -1 {
			t.Errorf("%s: %+v, %v", name, a, err)
		}
	}
	if l.LogEnd() != 0 {
		t.Fatal("a refused batch got an offset")
	}
	a := r.must(l, slices.Concat(good, good, good))
	if a.Base != 0 || a.Last != 2 || l.HighWatermark() != 3 {
		t.Fatalf("several batches: %+v", a)
	}
	cfg.Internal = true
	l.SetConfig(cfg)
	if _, err := r.append(l, good); !errors.Is(err, ErrInternalTopic) {
		t.Fatal(err)
	}
}

func TestCompactedTopicNeedsKeys(t *testing.T) {
	r := newRig(t)
	cfg := DefaultConfig()
	cfg.Compact = true
	l := r.create(cfg)
	b := batch.NewBuilder(batch.Gzip)
	b.Append(r.now, []byte("k"), nil, nil)
	b.Append(r.now, nil, []byte("v"), nil)
	raw, err := b.Bytes(0, 0, -1, -1, -1)
	if err != nil {
		t.Fatal(err)
	}
	_, err = r.append(l, raw)
	var refused *RecordError
	if !errors.As(err, &refused) || !errors.Is(err, ErrInvalidRecord) || !slices.Equal(refused.Records, []int{1}) {
		t.Fatalf("%v", err)
	}
}

func TestLogAppendTime(t *testing.T) {
	r := newRig(t)
	cfg := DefaultConfig()
	cfg.LogAppendTime = true
	l := r.create(cfg)
	if a := r.must(l, produce(2, "v", -1, -1, -1, 5)); a.AppendTime != r.now {
		t.Fatalf("%+v", a)
	}
	if off, ts, epoch, err := l.OffsetForTime(6); off != 0 || ts != r.now || epoch != 0 || err != nil {
		t.Fatal(off, ts, epoch, err)
	}
}

func TestEpochs(t *testing.T) {
	r := newRig(t)
	l := r.create(DefaultConfig())
	appendAt := func(epoch int32) error {
		got := make(chan error, 1)
		l.Append(produce(2, "v", -1, -1, -1, r.now), AppendInfo{LeaderEpoch: epoch}, func(_ Appended, err error) { got <- err })
		return <-got
	}
	for _, e := range []int32{1, 1, 3} {
		if err := appendAt(e); err != nil {
			t.Fatal(err)
		}
	}
	l.BeginEpoch(5)
	if err := appendAt(3); !errors.Is(err, ErrFencedLeaderEpoch) {
		t.Fatal(err)
	}
	check := func(l *Log) {
		t.Helper()
		for _, c := range []struct {
			ask, found int32
			end        int64
		}{{0, 0, 0}, {1, 1, 4}, {2, 1, 4}, {3, 3, 6}, {4, 3, 6}, {5, 5, 6}, {6, -1, -1}, {-1, -1, -1}} {
			if found, end := l.EpochEnd(c.ask); found != c.found || end != c.end {
				t.Errorf("epoch %d: %d ends at %d, want %d at %d", c.ask, found, end, c.found, c.end)
			}
		}
	}
	check(l)
	if l.EpochAt(3) != 1 || l.EpochAt(4) != 3 {
		t.Fatal(l.EpochAt(3), l.EpochAt(4))
	}
	r.journal.wait.Wait()
	l2, _ := r.reopen(State{}, DefaultConfig())
	l2.BeginEpoch(5)
	check(l2)
}

func TestReadBounds(t *testing.T) {
	for _, flushed := range []bool{false, true} {
		r := newRig(t)
		l := r.create(DefaultConfig())
		size := 0
		for i := range 5 {
			raw := produce(2, fmt.Sprint("v", i), -1, -1, -1, r.now)
			size = len(raw)
			r.must(l, raw)
		}
		if flushed {
			if err := l.Flush(); err != nil {
				t.Fatal(err)
			}
		}
		l.DeleteRecords(3, func(start int64, err error) {
			if start != 3 || err != nil {
				t.Error(start, err)
			}
		})
		r.journal.wait.Wait()
		for _, c := range []struct {
			at, upTo int64
			max      int
			one      bool
			want     int // batches
			err      error
		}{
			{2, 10, 1 << 20, true, 0, ErrOffsetOutOfRange}, {11, 20, 1 << 20, true, 0, ErrOffsetOutOfRange}, {10, 20, 1 << 20, true, 0, nil},
			{3, 10, 1 << 20, true, 4, nil}, {3, 10, 1, true, 1, nil}, {3, 10, 1, false, 0, nil}, {5, 10, 2*size + 1, true, 2, nil},
			{4, 7, 1 << 20, true, 1, nil}, {4, 5, 1 << 20, true, 0, nil}, {9, 10, size, false, 1, nil},
		} {
			out, err := l.Read(ReadRequest{Offset: c.at, UpTo: c.upTo, MaxBytes: c.max, AtLeastOne: c.one})
			if len(out) != c.want*size || !errors.Is(err, c.err) {
				t.Errorf("flushed %v, read %+v: %d bytes (%d a batch), %v", flushed, c, len(out), size, err)
			}
		}
	}
}

func TestSearchByTime(t *testing.T) {
	r := newRig(t)
	l := r.create(DefaultConfig())
	if off, ts, epoch, err := l.OffsetForTime(0); off != -1 || ts != -1 || epoch != -1 || err != nil {
		t.Fatal(off, ts, epoch, err)
	}
	if ts, off, _, err := l.MaxTimestamp(); off != -1 || ts != -1 || err != nil {
		t.Fatal(off, ts, err)
	}
	for i, ts := range []int64{100, 300, 200, 300, 150} {
		r.must(l, produce(2, "v", -1, -1, -1, ts))
		if i == 1 {
			if err := l.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	for ask, want := range map[int64]int64{0: 0, 100: 0, 101: 2, 300: 2, 301: -1} {
		if off, _, _, err := l.OffsetForTime(ask); off != want || err != nil {
			t.Errorf("time %d: %d, %v; want %d", ask, off, err, want)
		}
	}
	if ts, off, _, err := l.MaxTimestamp(); ts != 300 || off != 2 || err != nil {
		t.Fatal(ts, off, err)
	}
}

func TestRetention(t *testing.T) {
	r := newRig(t)
	cfg := DefaultConfig()
	cfg.SegmentBytes, cfg.RetentionMs, cfg.RetentionBytes = 400, 1000, -1
	l := r.create(cfg)
	for range 12 {
		r.must(l, produce(2, "v", -1, -1, -1, r.now))
		r.now += 100
	}
	checkpoint := func() State {
		t.Helper()
		st, ok, err := l.Checkpoint(0)
		if err = errors.Join(err, l.Checkpointed()); err != nil || !ok {
			t.Fatal(ok, err)
		}
		return st
	}
	n := len(checkpoint().Segments)
	if start := l.Retain(r.now, false); start != -1 {
		t.Fatal("retention by time ran although the clock is not trusted")
	}
	start := l.Retain(r.now+300, true)
	r.journal.wait.Wait()
	if start <= 0 || l.LogStart() != start {
		t.Fatal(start, l.LogStart())
	}
	if names := logFiles(t, r.fs); len(names) != n {
		t.Fatalf("deleted before the checkpoint: %v", names)
	}
	st := checkpoint()
	if names := logFiles(t, r.fs); len(names) != len(st.Segments) || st.Segments[0].Base > start || len(names) >= n {
		t.Fatalf("%v, %+v", names, st.Segments)
	}
	cfg.RetentionMs, cfg.RetentionBytes = -1, 500
	l.SetConfig(cfg)
	l.Retain(r.now, true)
	r.journal.wait.Wait()
	if checkpoint(); l.Size() < 500 || l.Size() > 900 {
		t.Fatal(l.Size())
	}
	cfg.RetentionMs = 10
	l.SetConfig(cfg)
	r.now += 10000
	for range 3 { // rolls the active segment, which is all expired, then removes it
		l.Retain(r.now, true)
		r.journal.wait.Wait()
		checkpoint()
	}
	if l.LogStart() != l.LogEnd() || l.Size() != 0 {
		t.Fatalf("[%d, %d), %d bytes", l.LogStart(), l.LogEnd(), l.Size())
	}
	if a := r.must(l, produce(1, "v", -1, -1, -1, r.now)); a.Base != 24 {
		t.Fatalf("%+v", a)
	}
}

func logFiles(t *testing.T, fsys vfs.FS) []string {
	t.Helper()
	infos, err := fsys.ReadDir("/data/topics/t-0")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, i := range infos {
		if len(i.Name()) == 24 && i.Name()[20:] == ".log" {
			out = append(out, i.Name())
		}
	}
	return out
}

func TestClock(t *testing.T) {
	c := NewClock(1000)
	day := int64(24 * 3600 * 1000)
	at := time.Now()
	look := func(now int64, passed time.Duration, steady bool, jumped time.Duration) {
		t.Helper()
		at = at.Add(passed)
		if s, j := c.Look(now, at); s != steady || j != jumped {
			t.Fatalf("at %d: steady %v, jumped %v; want %v, %v", now, s, j, steady, jumped)
		}
	}
	look(2000, 0, true, 0)
	look(2000+day, 24*time.Hour, true, 0)
	look(2000+3*day, time.Hour, false, 47*time.Hour)
	look(2000+3*day+day/2, 12*time.Hour, false, 0)
	look(2000+4*day, 12*time.Hour, true, 0)
	look(2000+2*day, time.Hour, false, -49*time.Hour)
	c.Trust()
	look(2000+2*day, time.Second, true, 0)
}

func TestEpochAfterDeletedRecords(t *testing.T) {
	got := addEpoch(cutEpochs([]EpochEntry{{Epoch: 0, Start: 0}, {Epoch: 1, Start: 3}}, 5, 6), 2, 5)
	if !slices.Equal(got, []EpochEntry{{Epoch: 2, Start: 5}}) {
		t.Fatalf("%v", got)
	}
}
