package walinspect

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"chronik.dev/chronik/broker/batch"
	"chronik.dev/chronik/broker/segment"
	"chronik.dev/chronik/broker/vfs"
	"chronik.dev/chronik/broker/wal"
)

// logBatch encodes one batch of three records.
func logBatch(t *testing.T, base int64) []byte {
	t.Helper()
	b := batch.NewBuilder(batch.None)
	for i := range int64(3) {
		b.Append(1000+base+i, []byte(fmt.Sprint("key-", base+i)), []byte(fmt.Sprint("value-", base+i)), nil)
	}
	raw, err := b.Bytes(base, 0, batch.NoProducerID, -1, -1)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// kafkaFixture is a log directory as Apache Kafka leaves it: one partition of two segments, recovery point at recovered.
func kafkaFixture(t *testing.T, recovered int64, clean bool) *vfs.Mem {
	t.Helper()
	fs := vfs.NewMem(1)
	must(t, vfs.MkdirAll(fs, "/kafka/orders-0"))
	write := func(name, text string) { must(t, vfs.WriteFile(fs, filepath.Join("/kafka", name), []byte(text))) }
	write(kafkaMeta, "version=1\nnode.id=1\n")
	write(kafkaRecoveryPoints, fmt.Sprintf("0\n1\norders 0 %d\n", recovered))
	if clean {
		write(kafkaCleanShutdown, "{}")
	}
	write("orders-0/"+segment.EpochFileName, "0\n1\n0 0\n")
	write("orders-0/"+segment.MetaFileName, string(segment.EncodeMetadata([16]byte{1, 2, 3})))
	for _, base := range []int64{0, 9} {
		s, err := segment.Create(fs, "/kafka/orders-0", base, segment.Options{IndexIntervalBytes: 100})
		must(t, err)
		for i := range int64(3) {
			must(t, s.Append(logBatch(t, base+3*i)))
		}
		must(t, s.Seal())
		must(t, s.Close())
	}
	return fs
}

// verify runs Verify and returns its findings.
func verify(t *testing.T, fs vfs.FS, path string, level Level) ([]Finding, *Verification) {
	t.Helper()
	target, err := Open(Options{FS: fs, Path: path})
	must(t, err)
	var found []Finding
	sum, err := target.Verify(level, func(f *Finding) error {
		found = append(found, *f)
		return nil
	})
	must(t, err)
	return found, sum
}

func TestKafkaClean(t *testing.T) {
	for _, level := range []Level{Fast, Default, Deep} {
		for path, kind := range map[string]Kind{
			"/kafka": KafkaDir, "/kafka/orders-0": PartitionDir, "/kafka/orders-0/" + segment.Log.Name(9): LogFile,
		} {
			found, sum := verify(t, kafkaFixture(t, 18, true), path, level)
			if len(found) != 0 || sum.Verdict != wal.Notice || sum.Kind != kind || sum.Batches == 0 {
				t.Errorf("%s %s: %+v, findings %+v", path, level, sum, found)
			}
		}
	}
}

// slack says which single-byte changes of the fixture change nothing that the format lets a reader see: Kafka's CRC leaves out base offset
// and length, but both are compared with what follows; an index may point to any batch boundary at or below the offset, and a time index entry
// may be too large only where nothing contradicts it. The list names what remains.
func slack(name string, at int64) bool {
	switch filepath.Base(name) {
	case kafkaMeta, kafkaRecoveryPoints, kafkaCleanShutdown:
		return true // read for floors only; a wrong one changes a verdict, never a finding
	case segment.MetaFileName:
		return at >= 21 && at < 43 // the topic id itself, which nothing else in a Kafka directory repeats
	case segment.EpochFileName:
		return at == 6 // the start of the first epoch: retention moves it up in the middle of a batch
	}
	return false
}

// TestKafkaEveryFlip flips every byte of a log directory in three ways: each must be found, in its file, at its place.
func TestKafkaEveryFlip(t *testing.T) {
	fs := kafkaFixture(t, 18, true)
	missed := map[string]int{}
	flips := 0
	for _, name := range fs.Files() {
		content, err := fs.Bytes(name)
		must(t, err)
		for at := range int64(len(content)) {
			for _, mask := range []byte{0x01, 0x80, 0xff} {
				if slack(name, at) {
					continue
				}
				must(t, fs.Flip(name, at, mask))
				found, sum := verify(t, fs, "/kafka", Deep)
				must(t, fs.Flip(name, at, mask))
				flips++
				if !names(found, filepath.Base(name), at) && !(baseOffset(t, name, at) && len(found) > 0) {
					missed[filepath.Base(name)]++
					t.Logf("%s byte %d ^ %#x: %s %+v", name, at, mask, sum.Verdict, found)
				}
			}
		}
	}
	for name, n := range missed {
		t.Errorf("%s: %d flips of %d in all were not found", name, n, flips)
	}
	if flips < 2000 {
		t.Errorf("only %d flips", flips)
	}
}

// baseOffset says whether a byte is in a batch's base offset. No checksum covers it, so a change shows where it contradicts a neighbour.
func baseOffset(t *testing.T, name string, at int64) bool {
	kind, base, _ := segment.ParseName(filepath.Base(name))
	if kind != segment.Log {
		return false
	}
	pos := int64(0)
	for i := range int64(3) {
		if at >= pos && at < pos+8 {
			return true
		}
		pos += int64(len(logBatch(t, base+3*i)))
	}
	return false
}

// names says whether a finding is in the file and encloses the byte, or is about the file as a whole.
func names(found []Finding, file string, at int64) bool {
	for _, f := range found {
		if filepath.Base(f.File) == file && f.Evidence != "" && f.Next != "" && f.Reason != "" && (f.Length == 0 || at >= f.Offset && at < f.Offset+f.Length) {
			return true
		}
	}
	return false
}

// TestKafkaFloor holds the rule that damage below the recovery point is corrupt, and past it undecided.
func TestKafkaFloor(t *testing.T) {
	log := "/kafka/orders-0/" + segment.Log.Name(9)
	for _, c := range []struct {
		recovered int64
		clean     bool
		want      wal.Verdict
	}{{18, true, wal.Corrupt}, {18, false, wal.Corrupt}, {13, false, wal.Corrupt}, {12, false, wal.Undecided}, {0, false, wal.Undecided}} {
		fs := kafkaFixture(t, c.recovered, c.clean)
		size := int64(len(logBatch(t, 9)))
		must(t, fs.Flip(log, size+70, 0x01)) // in the batch of offsets 12-14
		for _, path := range []string{"/kafka", "/kafka/orders-0", log} {
			found, sum := verify(t, fs, path, Default)
			if len(found) == 0 || sum.Verdict != c.want || *found[0].FirstOffset != 12 || *found[0].LastOffset != 14 {
				t.Errorf("recovery point %d, clean %v, %s: %s %+v", c.recovered, c.clean, path, sum.Verdict, found)
			}
		}
	}
}

// TestKafkaManyFaults damages every second batch: all are listed, none is invented.
func TestKafkaManyFaults(t *testing.T) {
	fs := kafkaFixture(t, 18, false)
	size := int64(len(logBatch(t, 0)))
	for _, base := range []int64{0, 9} {
		must(t, fs.Flip("/kafka/orders-0/"+segment.Log.Name(base), 65, 0x01))
		must(t, fs.Flip("/kafka/orders-0/"+segment.Log.Name(base), 2*size+65, 0x01))
	}
	found, _ := verify(t, fs, "/kafka", Fast)
	var got []string
	for _, f := range found {
		got = append(got, fmt.Sprintf("%d-%d", *f.FirstOffset, *f.LastOffset))
	}
	if want := "0-2 6-8 9-11 15-17"; strings.Join(got, " ") != want {
		t.Errorf("found %v, want %s", got, want)
	}
}

func TestKafkaBadRecoveryPoints(t *testing.T) {
	for _, text := range []string{"", "1\n0\n", "0\n2\norders 0 5\n", "0\n1\norders 0\n", "0\n1\norders 0 -5\n", "0\nx\n"} {
		fs := kafkaFixture(t, 18, false)
		must(t, fs.SetBytes("/kafka/"+kafkaRecoveryPoints, []byte(text)))
		found, sum := verify(t, fs, "/kafka", Default)
		if len(found) != 1 || found[0].File != kafkaRecoveryPoints || sum.Verdict != wal.Corrupt {
			t.Errorf("%q: %s %+v", text, sum.Verdict, found)
		}
	}
}

// TestReadOnly holds the promise that nothing is ever written.
func TestReadOnly(t *testing.T) {
	fs := kafkaFixture(t, 18, false)
	fs.SetHook(func(op vfs.Op) { t.Errorf("the tools did %v", op) }) // sees changing calls only
	for _, level := range []Level{Fast, Default, Deep} {
		verify(t, fs, "/kafka", level)
	}
	target, err := Open(Options{FS: fs, Path: "/kafka"})
	must(t, err)
	if _, err := target.Dump(&Filter{Records: true}, func(*Item) error { return nil }); err != nil {
		t.Error(err)
	}
	if _, err := target.Scan(func(*Entry) error { return nil }); err != nil {
		t.Error(err)
	}
	r := newReadOnly(fs, nil)
	for _, err := range []error{r.Mkdir("/x"), r.Remove("/kafka"), r.Rename("/kafka", "/x"), r.SyncDir("/"), r.SyncFS("/")} {
		if err == nil {
			t.Error("a change was let through")
		}
	}
}

func TestUnknownPath(t *testing.T) {
	fs := vfs.NewMem(1)
	must(t, vfs.MkdirAll(fs, "/x/y"))
	must(t, vfs.WriteFile(fs, "/x/file.txt", []byte("text")))
	for _, path := range []string{"/x", "/x/y", "/x/file.txt"} {
		if _, err := Open(Options{FS: fs, Path: path}); !errors.Is(err, ErrUnknown) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestDumpKafka(t *testing.T) {
	fs := kafkaFixture(t, 18, true)
	size := int64(len(logBatch(t, 0)))
	must(t, fs.Flip("/kafka/orders-0/"+segment.Log.Name(0), size+65, 0x01))
	dump := func(f Filter) string {
		target, err := Open(Options{FS: fs, Path: "/kafka"})
		must(t, err)
		var got []string
		_, err = target.Dump(&f, func(i *Item) error {
			name := fmt.Sprintf("%s %d-%d", i.Item, i.First, i.Last)
			if i.Damage != "" {
				name += " damaged"
			}
			got = append(got, name)
			return nil
		})
		must(t, err)
		return strings.Join(got, ", ")
	}
	offset := func(n int64) *int64 { return &n }
	one := int32(1)
	for _, c := range []struct {
		filter Filter
		want   string
	}{
		{Filter{}, "batch 0-2, batch 3-5 damaged, batch 6-8, batch 9-11, batch 12-14, batch 15-17"},
		{Filter{Damaged: true}, "batch 3-5 damaged"},
		{Filter{FirstOffset: offset(8), LastOffset: offset(9), Records: true}, "batch 6-8, record 8-8, batch 9-11, record 9-9"},
		{Filter{Topic: "other"}, ""},
		{Filter{Partition: &one}, ""},
		{Filter{FirstLSN: 1}, ""},
		{Filter{Types: []string{"opened"}}, ""},
	} {
		if got := dump(c.filter); got != c.want {
			t.Errorf("%+v:\n got %s\nwant %s", c.filter, got, c.want)
		}
	}
}
