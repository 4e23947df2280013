package segment

import (
	"bytes"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"chronik.dev/chronik/broker/batch"
	"chronik.dev/chronik/broker/vfs"
)

// kafkaDirs are the partition directories that Apache Kafka wrote: testdata/kafka, and those of the log directory that
// CHRONIK_KAFKA_LOGS names.
func kafkaDirs(t testing.TB) []string {
	t.Helper()
	var dirs []string
	for _, root := range []string{"testdata/kafka", os.Getenv("CHRONIK_KAFKA_LOGS")} {
		if root == "" {
			continue
		}
		found, err := filepath.Glob(filepath.Join(root, "*-*"))
		if err != nil || len(found) == 0 {
			t.Fatalf("%s: no partition directories, %v", root, err)
		}
		for _, d := range found {
			if info, err := os.Stat(d); err == nil && info.IsDir() {
				dirs = append(dirs, d)
			}
		}
	}
	return dirs
}

// eachFile calls fn for every file of Kafka's partition directories whose name says what it is.
func eachFile(t *testing.T, fn func(t *testing.T, dir string, k Kind, base int64, content []byte)) {
	n := 0
	for _, dir := range kafkaDirs(t) {
		files, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			k, base, ok := ParseName(f.Name())
			if !ok {
				if f.Name() != "quorum-state" {
					t.Errorf("%s/%s: unknown name", dir, f.Name())
				}
				continue
			}
			if k.Name(base) != f.Name() {
				t.Errorf("%s becomes %s", f.Name(), k.Name(base))
			}
			content, err := os.ReadFile(filepath.Join(dir, f.Name()))
			if err != nil {
				t.Fatal(err)
			}
			n++
			fn(t, dir, k, base, content)
		}
	}
	if n < 60 {
		t.Errorf("only %d files", n)
	}
}

// TestKafkaSmallFiles: every small file decodes, and encodes to the same bytes.
func TestKafkaSmallFiles(t *testing.T) {
	eachFile(t, func(t *testing.T, dir string, k Kind, base int64, want []byte) {
		var got []byte
		var err error
		switch k {
		case Snapshot:
			var v []ProducerEntry
			v, err = DecodeSnapshot(want)
			got = EncodeSnapshot(v)
		case TxnIndex:
			var v []AbortedTxn
			v, err = DecodeAbortedTxns(want)
			got = EncodeAbortedTxns(v)
		case EpochFile:
			var v []EpochStart
			v, err = DecodeEpochs(want)
			got = EncodeEpochs(v)
		case MetaFile:
			var id [16]byte
			id, err = DecodeMetadata(want)
			got = EncodeMetadata(id)
		default:
			return
		}
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s/%s: %q becomes %q, %v", dir, k.Name(base), want, got, err)
		}
	})
}

// TestKafkaSegments: Verify is content with what Kafka wrote, and rebuilt indexes are Kafka's, byte for byte.
func TestKafkaSegments(t *testing.T) {
	eachFile(t, func(t *testing.T, dir string, k Kind, base int64, want []byte) {
		if k != Log {
			return
		}
		sum, err := Verify(vfs.OS, dir, base, VerifyOptions{Size: -1, Deep: true, Exact: true}, func(f Finding) { t.Errorf("%s: %+v", dir, f) })
		if err != nil || sum.Bytes != int64(len(want)) {
			t.Fatalf("%s: %+v, %v", dir, sum, err)
		}
		r, err := RebuildIndexes(vfs.OS, dir, base, -1, 0, false)
		if err != nil || !r.SameIndex || !r.SameTimeIdx || r.NextOffset != sum.NextOffset {
			t.Errorf("%s/%s: rebuilt %+v, %v", dir, k.Name(base), r, err)
		}
	})
}

// TestKafkaRewritten: the same batches appended by us, in chunks and over restarts, give Kafka's files byte for byte.
func TestKafkaRewritten(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	eachFile(t, func(t *testing.T, dir string, k Kind, base int64, want []byte) {
		if k != Log {
			return
		}
		m := vfs.NewMem(1)
		s, err := Create(m, "", base, Options{})
		if err != nil {
			t.Fatal(err)
		}
		for _, chunk := range randomChunks(t, rng, want) {
			if err := s.Append(chunk); err != nil {
				t.Fatal(err)
			}
			if rng.IntN(4) == 0 {
				s = reopen(t, m, s, rng.IntN(2) == 0)
			}
		}
		if err := s.Seal(); err != nil {
			t.Fatal(err)
		}
		for _, k := range []Kind{Log, Index, TimeIndex} {
			kafkas, err := os.ReadFile(filepath.Join(dir, k.Name(base)))
			if err != nil {
				t.Fatal(err)
			}
			if ours := content(t, m, k.Name(base)); !bytes.Equal(ours, kafkas) {
				t.Errorf("%s/%s: ours %x, Kafka's %x", dir, k.Name(base), ours, kafkas)
			}
		}
	})
}

// randomChunks splits a log into chunks of whole batches.
func randomChunks(t testing.TB, rng *rand.Rand, log []byte) (chunks [][]byte) {
	t.Helper()
	var chunk []byte
	if err := batch.Each(log, func(_ batch.Header, raw []byte) error {
		chunk = append(chunk, raw...)
		if rng.IntN(3) == 0 {
			chunks = append(chunks, chunk)
			chunk = nil
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if len(chunk) > 0 {
		chunks = append(chunks, chunk)
	}
	return chunks
}

// reopen closes a segment, sealed or not, and opens it again.
func reopen(t testing.TB, fs vfs.FS, s *Segment, seal bool) *Segment {
	t.Helper()
	if seal {
		if err := s.Seal(); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	n, err := Open(fs, s.dir, s.base, s.Size(), s.o)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func content(t testing.TB, m *vfs.Mem, name string) []byte {
	t.Helper()
	b, err := m.Bytes(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestDumpLog asks Apache Kafka's own tool about a directory that we wrote. CHRONIK_ANCHORS names the directory of ../shared/anchors.
func TestDumpLog(t *testing.T) {
	anchors := os.Getenv("CHRONIK_ANCHORS")
	if anchors == "" {
		t.Skip("CHRONIK_ANCHORS is not set")
	}
	dir := t.TempDir()
	codecs := []batch.Codec{batch.None, batch.Gzip, batch.Snappy, batch.LZ4, batch.Zstd}
	s, err := Create(vfs.OS, dir, 100, Options{})
	if err != nil {
		t.Fatal(err)
	}
	next, batches := int64(100), 0
	for i := range 60 {
		raw := makeBatch(t, codecs[i%len(codecs)], next, 1+i%7, 1_700_000_000_000+int64(i*13%40), 500)
		if err := s.Append(raw); err != nil {
			t.Fatal(err)
		}
		next += int64(1 + i%7)
		batches++
		if i == 30 {
			s = reopen(t, vfs.OS, s, true)
		}
	}
	if err := s.Seal(); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) string {
		out, err := exec.Command(filepath.Join(anchors, "kafka"), append([]string{"tool", "dump-log"}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("dump-log %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	path := func(k Kind, base int64) string { return filepath.Join(dir, k.Name(base)) }
	out := run("--deep-iteration", "--files", path(Log, 100))
	if n := strings.Count(out, "isvalid: true"); n != batches || strings.Contains(out, "isvalid: false") || strings.Contains(strings.ToLower(out), "exception") {
		t.Errorf("%d valid batches of %d\n%s", n, batches, out)
	}
	if n := strings.Count(out, "| offset: "); int64(n) != next-100 {
		t.Errorf("%d records of %d", n, next-100)
	}
	out = run("--index-sanity-check", "--files", path(Index, 100)+","+path(TimeIndex, 100))
	if strings.Count(out, "passed sanity check") != 2 {
		t.Errorf("index sanity check:\n%s", out)
	}
	out = run("--files", path(Index, 100)+","+path(TimeIndex, 100))
	if strings.Contains(out, "ismatch") || strings.Contains(out, "Index offset") || strings.Contains(out, "out of order") {
		t.Errorf("index entries:\n%s", out)
	}
	entry := ProducerEntry{ProducerID: 7, Epoch: 2, LastSequence: 9, LastOffset: next - 1, OffsetDelta: 3, Timestamp: 5, CoordinatorEpoch: -1, TxnFirstOffset: -1}
	if err := vfs.WriteFile(vfs.OS, path(Snapshot, next), EncodeSnapshot([]ProducerEntry{entry})); err != nil {
		t.Fatal(err)
	}
	if out = run("--files", path(Snapshot, next)); !strings.Contains(out, "producerId: 7 producerEpoch: 2") {
		t.Errorf("producer snapshot:\n%s", out)
	}
}
