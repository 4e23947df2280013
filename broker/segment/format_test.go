package segment

import (
	"bytes"
	"encoding/hex"
	"os"
	"regexp"
	"strings"
	"testing"
)

// golden returns a fenced block of a page in docs/format.
func golden(t *testing.T, page, kind, name string) []byte {
	t.Helper()
	text, err := os.ReadFile("../../docs/format/" + page)
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile("(?s)```" + kind + " " + name + "\n(.*?)```").FindSubmatch(text)
	if m == nil {
		t.Fatalf("%s has no %s", page, name)
	}
	if kind != "hex" {
		return m[1]
	}
	b, err := hex.DecodeString(strings.Join(strings.Fields(string(m[1])), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestFormatPages decodes every example of the format pages and encodes it again.
func TestFormatPages(t *testing.T) {
	same := func(name string, got, want []byte, err error) {
		t.Helper()
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %x becomes %x, %v", name, want, got, err)
		}
	}
	for k, name := range map[Kind]string{Index: "index", TimeIndex: "timeindex"} {
		kafkas, err := os.ReadFile("testdata/kafka/small-none-0/" + k.Name(0))
		same(name, kafkas, golden(t, "segment.md", "hex", name), err)
	}
	if e := decodeEntry(golden(t, "segment.md", "hex", "index"), 100); e != (IndexEntry{124, 4602}) {
		t.Errorf("index entry %+v", e)
	}
	if e := decodeTime(golden(t, "segment.md", "hex", "timeindex"), 100); e != (TimeEntry{1795542735854, 124}) {
		t.Errorf("time entry %+v", e)
	}
	b := golden(t, "segment.md", "hex", "snapshot")
	entries, err := DecodeSnapshot(b)
	same("snapshot", EncodeSnapshot(entries), b, err)
	if len(entries) != 1 || entries[0] != (ProducerEntry{0, 0, 70, 70, 1, 0x1a20eafdef8, -1, -1}) {
		t.Errorf("snapshot %+v", entries)
	}
	b = golden(t, "segment.md", "hex", "txnindex")
	txns, err := DecodeAbortedTxns(b)
	same("txnindex", EncodeAbortedTxns(txns), b, err)
	if len(txns) != 1 || txns[0] != (AbortedTxn{9, 0, 20, 21}) {
		t.Errorf("aborted transactions %+v", txns)
	}
	b = golden(t, "segment.md", "text", "epochs")
	epochs, err := DecodeEpochs(b)
	same("epochs", EncodeEpochs(epochs), b, err)
	if len(epochs) != 2 || epochs[1] != (EpochStart{3, 1000}) {
		t.Errorf("epochs %+v", epochs)
	}
	b = bytes.TrimSuffix(golden(t, "segment.md", "text", "metadata"), []byte{'\n'}) // the fence's
	id, err := DecodeMetadata(b)
	same("metadata", EncodeMetadata(id), b, err)
	b = golden(t, "sums.md", "hex", "sums")
	sums, end, faults := DecodeSums(b)
	same("sums", EncodeSums(sums), b, nil)
	if len(sums) != 2 || end != int64(len(b)) || len(faults) > 0 || sums[0] != (Sum{Log, 1000, 0, 147, 0x413e9cbf}) {
		t.Errorf("sums %+v, faults %v", sums, faults)
	}
}

// TestSmallFilesRefused: malformed small files and what is said of them.
func TestSmallFilesRefused(t *testing.T) {
	snapshot := EncodeSnapshot([]ProducerEntry{{ProducerID: 1}})
	flip := func(b []byte, i int) []byte { b = bytes.Clone(b); b[i] ^= 0x20; return b }
	for name, c := range map[string]struct {
		err  error
		want Reason
	}{
		"snapshot empty":         {second(DecodeSnapshot(nil)), Truncated},
		"snapshot version":       {second(DecodeSnapshot(flip(snapshot, 1))), BadVersion},
		"snapshot short":         {second(DecodeSnapshot(snapshot[:7])), Truncated},
		"snapshot crc":           {second(DecodeSnapshot(flip(snapshot, 3))), BadChecksum},
		"snapshot entry":         {second(DecodeSnapshot(flip(snapshot, 20))), BadChecksum},
		"snapshot cut":           {second(DecodeSnapshot(snapshot[:len(snapshot)-1])), BadChecksum},
		"txnindex cut":           {second(DecodeAbortedTxns(make([]byte, 35))), Truncated},
		"txnindex version":       {second(DecodeAbortedTxns(flip(make([]byte, 34), 1))), BadVersion},
		"txnindex order":         {second(DecodeAbortedTxns(EncodeAbortedTxns([]AbortedTxn{{1, 5, 9, 9}, {1, 5, 9, 9}}))), BadOffset},
		"epochs empty":           {second(DecodeEpochs(nil)), Truncated},
		"epochs version":         {second(DecodeEpochs([]byte("1\n0\n"))), BadVersion},
		"epochs count":           {second(DecodeEpochs([]byte("0\n9999999999\n0 0\n"))), BadSyntax},
		"epochs missing":         {second(DecodeEpochs([]byte("0\n2\n0 0\n    "))), Truncated},
		"epochs more":            {second(DecodeEpochs([]byte("0\n1\n0 0\n1 5\n"))), BadSyntax},
		"epochs order":           {second(DecodeEpochs([]byte("0\n2\n1 0\n1 5\n"))), BadSyntax},
		"epochs negative":        {second(DecodeEpochs([]byte("0\n1\n0 -5\n"))), BadSyntax},
		"epochs not a number":    {second(DecodeEpochs([]byte("0\n1\n0 0x5\n"))), BadSyntax},
		"epochs plus sign":       {second(DecodeEpochs([]byte("0\n1\n0 +5\n"))), BadSyntax},
		"metadata empty":         {second(DecodeMetadata(nil)), BadSyntax},
		"metadata version":       {second(DecodeMetadata([]byte("version: 1\ntopic_id: Gh2JU4-fQZ6VU2raKfeOhg"))), BadVersion},
		"metadata id":            {second(DecodeMetadata([]byte("version: 0\ntopic_id: Gh2JU4-fQZ6VU2raKfeOh"))), BadSyntax},
		"metadata not canonical": {second(DecodeMetadata([]byte("version: 0\ntopic_id: Gh2JU4-fQZ6VU2raKfeOhh"))), BadSyntax},
	} {
		e, ok := c.err.(*Error)
		if !ok || e.Reason != c.want {
			t.Errorf("%s: %v, want reason %s", name, c.err, c.want)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestNames(t *testing.T) {
	for _, name := range []string{
		"", ".log", "0.log", "00000000000000000000.logs", "+0000000000000000000.log", "-0000000000000000001.log", "99999999999999999999.log",
		"00000000000000000000.log.deleted", "leader-epoch-checkpoint.tmp", "0000000000000000000x.index",
	} {
		if k, base, ok := ParseName(name); ok {
			t.Errorf("%q is kind %d base %d", name, k, base)
		}
	}
	for k := Log; k < kindsEnd; k++ {
		base := int64(0)
		if k.PerSegment() {
			base = 1<<62 + 3
		}
		if got, b, ok := ParseName(k.Name(base)); !ok || got != k || b != base {
			t.Errorf("%s is kind %d base %d %v", k.Name(base), got, b, ok)
		}
	}
}
