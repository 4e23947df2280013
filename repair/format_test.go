package repair

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"chronik.dev/chronik/broker/vfs"
)

// TestGoldenPlan: the page's plan is the code's, byte for byte, and is read back as the same.
func TestGoldenPlan(t *testing.T) {
	doc, err := os.ReadFile("../docs/format/repair.md")
	must(t, err)
	_, rest, _ := strings.Cut(string(doc), "```json golden\n")
	golden, _, _ := strings.Cut(rest, "```")
	left := int64(40)
	p := &Plan{
		Created: time.Date(2026, 11, 25, 13, 32, 5, 0, time.UTC), Tool: "1.0.0", Verb: "wal truncate", Args: []string{"--at=7"},
		Directory: "/var/lib/chronik", DirectoryID: "000102030405060708090a0b0c0d0e0f",
		Summary: []string{"the journal ends before LSN 7"},
		Loss: []Loss{{What: "records", Topic: "orders", TopicID: "0f0e0d0c0b0a09080706050403020100", Partition: 2, First: 10, Last: 14, Count: 5,
			Acknowledged: AckYes}},
		GroupOffsets: []GroupOffset{{Group: "billing", Topic: "orders", Partition: 2, Offset: 44, Left: &left}},
		NeedsAccept:  []string{"LSN 9 and below were promised to be durable"},
		Inputs:       []Input{{Name: "wal", Dir: true, SHA256: strings.Repeat("1", 64)}, {Name: "wal/new", Absent: true}},
		Steps: []Step{
			{Op: OpMkdir, File: "topics/new-0"},
			{Op: OpRemove, File: "wal/old", Before: &FileState{3, strings.Repeat("2", 64)}, Keep: "before/1"},
			{Op: OpWrite, File: "wal/new", After: &FileState{5, strings.Repeat("3", 64)}, Pieces: []Piece{{Offset: 0, Length: 5, Data: []byte("state")}}},
		},
	}
	p.finish()
	b, err := p.Encode()
	must(t, err)
	if string(b) != golden {
		t.Fatalf("the page differs from the code:\n%s", b)
	}
	again, err := Decode([]byte(golden))
	must(t, err)
	if c, err := again.Encode(); err != nil || !bytes.Equal(b, c) {
		t.Fatalf("read back and written again it differs: %v", err)
	}
}

// TestPlanFile: every flipped bit that changes the meaning is refused, and so are another version and names outside of the directory.
func TestPlanFile(t *testing.T) {
	m := newDir(t)
	p := newPlan(t, m, everything)
	b, err := p.Encode()
	must(t, err)
	for i := range b {
		for _, mask := range []byte{1, 0x20, 0x80} {
			bad := bytes.Clone(b)
			bad[i] ^= mask
			got, err := Decode(bad)
			if err == nil {
				if again, err := got.Encode(); err != nil || !bytes.Equal(again, b) {
					t.Fatalf("byte %d with mask %x: accepted as another plan", i, mask)
				}
			} else if !errors.Is(err, ErrPlan) && !errors.Is(err, ErrVersion) {
				t.Fatalf("byte %d: %v", i, err)
			}
		}
	}
	_, err = Decode(bytes.Replace(b, []byte(`"version": 1`), []byte(`"version": 2`), 1))
	wantIs(t, err, ErrVersion, "version 2")
	_, err = Decode(bytes.Replace(b, []byte(`"tool": "0"`), []byte(`"tool": "1"`), 1))
	wantIs(t, err, ErrPlan, "")
	for _, name := range []string{"../x", "/etc/passwd", "wal/../../x", "repairs/x", "repairs", ".", ""} {
		evil := *p
		evil.Steps = []Step{{Op: OpWrite, File: name, After: &FileState{}}}
		b, err := evil.Encode()
		must(t, err)
		_, err = Decode(b)
		wantIs(t, err, ErrPlan, "not the directory's own")
	}
	must(t, p.Save(m, "/plan.json"))
	if err := p.Save(m, "/plan.json"); err == nil {
		t.Fatal("a plan was overwritten")
	}
	loaded, err := Load(m, "/plan.json")
	must(t, err)
	must(t, apply(m, loaded))
	kept, err := Applied(m, root, p.ID)
	must(t, err)
	if kept.ID != p.ID {
		t.Fatal("the plan that was kept is another")
	}
	_, err = Applied(m, root, "nothing")
	wantIs(t, err, ErrUnknown, "repair status")
}

// TestOtherFileSystem: a file that cannot be renamed, since its directory is on another file system, is carried over, both ways.
func TestOtherFileSystem(t *testing.T) {
	m := newDir(t)
	p, old, new := hashes(t, m, everything)
	across := func() vfs.FS {
		f := vfs.NewFaulty(m)
		f.Inject(vfs.Fault{Op: vfs.OpRename, Match: "before/", Err: syscall.EXDEV})
		f.Inject(vfs.Fault{Op: vfs.OpRename, Match: "topics/t-0/", Times: 2, Err: syscall.EXDEV})
		return f
	}
	must(t, apply(across(), p))
	if treeHash(t, m) != new {
		t.Fatal("apply came to another tree")
	}
	if err := undo(across(), p); !errors.Is(err, syscall.EXDEV) { // the second fault strikes the copy's own name
		t.Fatalf("a failure was passed over: %v", err)
	}
	must(t, undo(m, p))
	if treeHash(t, m) != old {
		t.Fatal("undo did not restore the tree")
	}
}
