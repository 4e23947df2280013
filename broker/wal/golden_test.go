package wal

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"chronik.dev/chronik/broker/vfs"
)

var update = flag.Bool("update", false, "write the golden hex into the format page")

const formatPage = "../../docs/format/wal.md"

// goldenDir writes the log that the format page shows: two frames with a synced marker, closed.
func goldenDir(t testing.TB) (*vfs.Mem, Options) {
	t.Helper()
	m := vfs.NewMem(1)
	o := testOptions(m, "/wal", 42)
	l, err := Create(o)
	must(t, err)
	frames := []Frame{
		{Type: Opened, ID: [16]byte{0xab, 0xcd}, Partition: 2, First: 7, Payload: []byte("orders")},
		{Type: Batch, ID: [16]byte{0xab, 0xcd}, Partition: 2, Epoch: 3, First: 0, Last: 1, Payload: []byte("a record batch")},
	}
	_, err = l.AppendSync(frames, Note{1, 2, 3, 4}, true)
	must(t, err)
	must(t, l.Close())
	return m, o
}

// TestGolden compares the hex of the format page with what the code writes, decodes it and encodes it again.
func TestGolden(t *testing.T) {
	m, o := goldenDir(t)
	segment := readFile(t, m, "/wal/00000000000000000001.wal")
	man, _, err := loadManifest(&InspectOptions{FS: m, Dir: "/wal", DirID: o.DirID, Kind: Journal})
	must(t, err)
	man.cuts = append(man.cuts, Cut{Segment: 1, Block: 3, First: 3, Resume: 5, Time: 1767323045000, Lost: 2, Incident: "i-1"})
	man.spares = append(man.spares, 0x1122334455667788)
	page, err := os.ReadFile(formatPage)
	must(t, err)
	for name, want := range map[string][]byte{"segment": segment, "manifest": man.encode()} {
		fence := "```hex " + name + "\n"
		start := bytes.Index(page, []byte(fence))
		if start < 0 {
			t.Fatalf("the page has no fence %q", fence)
		}
		start += len(fence)
		end := start + bytes.Index(page[start:], []byte("```"))
		if *update {
			page = append(page[:start:start], append([]byte(hexDump(want)), page[end:]...)...)
			must(t, os.WriteFile(formatPage, page, 0o644))
			continue
		}
		got, err := parseDump(string(page[start:end]))
		must(t, err)
		if !bytes.Equal(got, want) {
			t.Fatalf("%s: the page's hex is not what is written now: a format change needs a new version", name)
		}
	}
	again, err := decodeManifest(man.encode())
	must(t, err)
	if !bytes.Equal(again.encode(), man.encode()) {
		t.Fatal("manifest encodes differently")
	}
	reencode(t, segment)
}

// reencode reads a segment and makes each of its groups again from what was read.
func reencode(t testing.TB, segment []byte) {
	t.Helper()
	m := vfs.NewMem(1)
	must(t, m.Mkdir("/x"))
	writeAt(t, m, "/x/s", 0, segment)
	f, err := m.OpenFile("/x/s", os.O_RDONLY)
	must(t, err)
	h, err := decodeHead(segment)
	must(t, err)
	r := &blockReader{f: f, size: int64(len(segment))}
	sc := &scanner{r: r, u: use{generation: h.Generation, growing: true}, log: Journal, info: &SegmentInfo{ID: 1}, limit: r.blocks()}
	var got []byte
	sc.emit = func(it *item) error {
		if !it.intact {
			return fmt.Errorf("block %d is not intact: %s", it.start, it.reason)
		}
		h := it.head
		e := encoder{}
		switch h.Kind {
		case DataGroup:
			got = append(got, e.data(&h, it.frames, it.ranges)...)
		case MarkerGroup:
			got = append(got, e.marker(&h)...)
		default:
			got = append(got, e.plain(&h, it.ranges, it.body(), int(h.Blocks))...)
		}
		if h != it.head {
			return fmt.Errorf("head %+v became %+v", it.head, h)
		}
		return nil
	}
	must(t, sc.run(0))
	if !bytes.Equal(got, segment) {
		t.Fatal("the segment encodes differently")
	}
}

// hexDump is 32 bytes a line behind their offset; * stands for lines of zeros.
func hexDump(b []byte) string {
	var out strings.Builder
	star := false
	for at := 0; at < len(b); at += 32 {
		line := b[at:min(at+32, len(b))]
		if allZero(line) && at+32 < len(b) {
			if !star {
				out.WriteString("*\n")
			}
			star = true
			continue
		}
		star = false
		fmt.Fprintf(&out, "%06x %s\n", at, hex.EncodeToString(line))
	}
	return out.String()
}

func parseDump(s string) ([]byte, error) {
	var b []byte
	for sc := bufio.NewScanner(strings.NewReader(s)); sc.Scan(); {
		fields := strings.Fields(sc.Text())
		if len(fields) != 2 {
			continue
		}
		at, err := strconv.ParseInt(fields[0], 16, 32)
		if err != nil {
			return nil, err
		}
		line, err := hex.DecodeString(fields[1])
		if err != nil {
			return nil, err
		}
		b = append(b, make([]byte, int(at)-len(b))...)
		b = append(b, line...)
	}
	return b, nil
}
