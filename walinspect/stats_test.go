package walinspect

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"testing"

	"chronik.dev/chronik/broker/batch"
	"chronik.dev/chronik/broker/segment"
	"chronik.dev/chronik/broker/vfs"
	"chronik.dev/chronik/broker/wal"
)

// TestDistinct counts exactly as far as it promises, and beyond that within five standard errors.
func TestDistinct(t *testing.T) {
	for _, n := range []int64{0, 1, 127, 128, 129, 1000, 5000, 100_000, 2_000_000} {
		var d distinct
		key := make([]byte, 8)
		for repeat := range 2 {
			for i := range n {
				binary.BigEndian.PutUint64(key, uint64(i))
				d.add(key)
			}
			got, estimated := d.count()
			if estimated != (n > maxExact) || !estimated && got != n || math.Abs(float64(got-n)) > 0.115*float64(n) {
				t.Errorf("%d keys, seen %d times: %d, estimated %v", n, repeat+1, got, estimated)
			}
		}
	}
}

// TestTimeline: nothing gets lost when the buckets widen, to either side, and the busiest stretch is found.
func TestTimeline(t *testing.T) {
	for name, times := range map[string][]int64{
		"one":      {5000},
		"rising":   {1000, 2000, 100_000, 100_001, 100_900, 5_000_000},
		"falling":  {math.MaxInt64, 1 << 50, 1 << 40, 1700000000000, 1000, 999, 0},
		"no times": {-1, -1},
	} {
		var l timeline
		want := int64(0)
		for _, ms := range times {
			l.add(ms, 10)
			if ms >= 0 {
				want++
			}
		}
		records := int64(0)
		for _, b := range l.buckets {
			records += b.records
			if b.bytes != 10*b.records {
				t.Errorf("%s: %+v", name, b)
			}
		}
		peak := l.peak()
		if records != want || (peak == nil) != (want == 0) {
			t.Errorf("%s: %d records of %d, peak %+v", name, records, want, peak)
		}
	}
	var l timeline
	for i := range int64(40) {
		l.add(i*1000, 1)
	}
	for range 9 {
		l.add(7500, 1)
	}
	if p := l.peak(); p.Time != 7000 || p.Duration != 1000 || p.RecordsPerSecond != 10 || p.BytesPerSecond != 10 {
		t.Errorf("the busiest second: %+v", p)
	}
	l.add(100_000, 1) // seconds 0 to 100 need buckets of two
	if p := l.peak(); p.Time != 6000 || p.Duration != 2000 || p.RecordsPerSecond != 5.5 {
		t.Errorf("the busiest two seconds: %+v", p)
	}
}

// sent is a batch of a producer; kind -1 is data of two records, 0 an abort, 1 a commit.
func sent(t *testing.T, base, producer int64, kind int16, codec batch.Codec) []byte {
	t.Helper()
	b := batch.NewBuilder(codec)
	b.SetFlags(batch.FlagTransactional)
	if kind >= 0 {
		b.SetFlags(batch.FlagTransactional | batch.FlagControl)
		b.Append(2000, binary.BigEndian.AppendUint16([]byte{0, 0}, uint16(kind)), []byte{0, 0, 0, 0, 0, 0}, nil)
	} else {
		b.Append(1000, []byte("k"), make([]byte, 600), []batch.RecordHeader{{Key: "h"}})
		b.Append(3500, nil, nil, nil)
	}
	raw, err := b.Bytes(base, 0, producer, 0, 0)
	must(t, err)
	return raw
}

// count runs Stats.
func count(t *testing.T, fs vfs.FS, path string, o StatsOptions) ([]TopicStats, *StatsSummary) {
	t.Helper()
	target, err := Open(Options{FS: fs, Path: path})
	must(t, err)
	var rows []TopicStats
	sum, err := target.Stats(o, func(s *TopicStats) error {
		rows = append(rows, *s)
		return nil
	})
	must(t, err)
	return rows, sum
}

// TestStatsOfKafka counts a log directory of Apache Kafka's: two topics, codecs, transactions that end in each way, a directory that is
// being deleted.
func TestStatsOfKafka(t *testing.T) {
	fs := kafkaFixture(t, 18, true)
	for dir, batches := range map[string][][]byte{
		"/kafka/paid-3": {sent(t, 0, 7, -1, batch.Zstd), sent(t, 2, 8, -1, batch.None), sent(t, 4, 9, -1, batch.Zstd), sent(t, 6, 7, 1, batch.None), sent(t, 7, 8, 0, batch.None)},
		"/kafka/gone-0.0123456789abcdef0123456789abcdef-delete": {sent(t, 0, 1, -1, batch.None)},
	} {
		must(t, vfs.MkdirAll(fs, dir))
		s, err := segment.Create(fs, dir, 0, segment.Options{IndexIntervalBytes: 4096})
		must(t, err)
		for _, raw := range batches {
			must(t, s.Append(raw))
		}
		must(t, errors.Join(s.Seal(), s.Close()))
	}
	rows, sum := count(t, fs, "/kafka", StatsOptions{})
	if len(rows) != 2 || rows[0].Topic != "orders" || rows[1].Topic != "paid" || sum.Verdict != wal.Notice || sum.Records != 24 || sum.Partitions != 2 || sum.Topics != 2 {
		t.Fatalf("%+v %+v", rows, sum)
	}
	o, p := &rows[0], &rows[1]
	if o.Records != 18 || o.Batches != 6 || o.Keys != (Keys{Distinct: 18}) || o.FirstTime != 1000 || o.LastTime != 1017 || o.RecordsPerSecond != 18 {
		t.Errorf("orders: %+v", o)
	}
	zstd := slices.IndexFunc(p.Codecs, func(c CodecStats) bool { return c.Codec == "zstd" })
	switch {
	case p.Records != 6, p.Batches != 5, p.Keys != (Keys{Null: 3, Distinct: 1}), p.NullValue != 3, p.Headers != 3, p.Idempotent != 3,
		p.Transactions != (Transactions{Batches: 3, Records: 6, Committed: 1, Aborted: 1, Open: 1}), p.ValueSize != (Sizes{600, 600, 600}),
		p.RecordsPerSecond != 2.4, p.FirstTime != 1000, p.LastTime != 3500:
		t.Errorf("paid: %+v", p)
	case len(p.Codecs) != 2 || zstd < 0 || p.Codecs[zstd].Batches != 2 || p.Codecs[zstd].Ratio() < 3 || p.Codecs[1-zstd].Ratio() != 1:
		t.Errorf("codecs: %+v", p.Codecs)
	}
	if rows, _ = count(t, fs, "/kafka", StatsOptions{Topic: "paid", Partitions: true}); len(rows) != 1 || rows[0].Name() != "paid-3" {
		t.Errorf("one topic: %+v", rows)
	}
	if rows, sum = count(t, fs, "/kafka/orders-0/"+segment.Log.Name(9), StatsOptions{}); len(rows) != 1 || rows[0].Records != 9 || sum.Kind != LogFile {
		t.Errorf("one segment: %+v", rows)
	}
}

// TestStatsGoesOnPastDamage: what is damaged is left out and decides the verdict, and so are records that do not decode.
func TestStatsGoesOnPastDamage(t *testing.T) {
	for name, c := range map[string]struct {
		recovered int64
		clean     bool
		want      wal.Verdict
	}{"after a clean stop": {18, true, wal.Corrupt}, "past the recovery point": {0, false, wal.Undecided}} {
		fs := kafkaFixture(t, c.recovered, c.clean)
		must(t, fs.Flip(filepath.Join("/kafka/orders-0", segment.Log.Name(9)), 80, 1))
		rows, sum := count(t, fs, "/kafka", StatsOptions{})
		if len(rows) != 1 || rows[0].Records != 15 || sum.Verdict != c.want || sum.Findings[c.want] != 1 || sum.Next != "chronik wal verify /kafka" {
			t.Errorf("%s: %+v %+v", name, rows, sum)
		}
	}
	fs := kafkaFixture(t, 18, true)
	s, err := segment.Create(fs, "/kafka/orders-0", 18, segment.Options{IndexIntervalBytes: 100})
	must(t, err)
	raw := logBatch(t, 18)
	raw[batch.HeaderSize] = 0x7f // the length of the first record
	batch.SetProducer(raw, -1, -1, -1)
	must(t, errors.Join(s.Append(raw), s.Seal(), s.Close()))
	if _, sum := count(t, fs, "/kafka", StatsOptions{}); sum.Verdict != wal.Corrupt || sum.Records != 18 || sum.Batches != 7 {
		t.Errorf("a record of a wrong length: %+v", sum)
	}
}

// TestStatsMemory: what a row keeps does not grow with what it counts.
func TestStatsMemory(t *testing.T) {
	row := &tally{places: map[int32]struct{}{}, producers: map[producerPlace]*lastSeen{}}
	for i := range int64(maxProducers + 10) {
		raw := sent(t, 2*i, i, -1, batch.None)
		h, err := batch.Check(raw)
		must(t, err)
		must(t, row.add(0, &h, raw, 0))
		row.record(&batch.Record{Key: []byte(fmt.Sprint(i)), Timestamp: i * 1e6}, 1)
	}
	if s := row.finish(); len(row.producers) != maxProducers || !s.Transactions.AtLeast || s.Transactions.Open != maxProducers || len(row.keys.exact) != 0 {
		t.Errorf("%d producers, %+v", len(row.producers), s.Transactions)
	}
}
