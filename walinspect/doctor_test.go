package walinspect

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"chronik.dev/chronik/broker/segment"
	"chronik.dev/chronik/broker/vfs"
	"chronik.dev/chronik/broker/wal"
	"chronik.dev/chronik/raftdump"
)

// reasons are the closed lists of reasons, read from the sources that declare them.
func reasons(t *testing.T) []string {
	t.Helper()
	var out []string
	for _, name := range []string{"../broker/wal/inventory.go", "../broker/segment/errors.go", "../broker/statefile/statefile.go"} {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		must(t, err)
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok {
				return true
			}
			if typ, ok := spec.Type.(*ast.Ident); ok && typ.Name == "Reason" {
				for _, v := range spec.Values {
					if text, err := strconv.Unquote(v.(*ast.BasicLit).Value); err == nil {
						out = append(out, text)
					}
				}
			}
			return true
		})
	}
	if len(out) < 40 {
		t.Fatalf("only %d reasons: %q", len(out), out)
	}
	for _, r := range raftdump.Rules {
		out = append(out, string(r))
	}
	return append(out, "older copy", "no usable copy", "unusable", "stopped", "uncertain", reasonFull, reasonFounding)
}

// TestCausesAreComplete gives doctor every reason with every verdict in every kind of file: what is graver than a notice has a cause of its own,
// every cause has a sentence and a command, and docs/recovery/doctor.md explains it.
func TestCausesAreComplete(t *testing.T) {
	target := &Target{Kind: DataDir, Path: "DIR", Root: "DIR"}
	number, offset := int32(0), int64(7)
	seen := map[string]bool{}
	for _, file := range []string{"identity.0", "wal/" + "00000000000000000001.wal", "wal/checkpoint", "wal/manifest.0", "wal", "raft/hardstate.0", "raft",
		"raft/00000000000000000001.wal", "topics/orders-0", "topics/orders-0/" + segment.Log.Name(0), "topics/orders-0/" + segment.TimeIndex.Name(0),
		"topics/orders-0/chronik.sums", "incidents.jsonl", "repairs/x"} {
		for _, reason := range reasons(t) {
			for _, v := range []wal.Verdict{wal.Notice, wal.Torn, wal.Undecided, wal.Corrupt, wal.IOError, wal.UnknownVersion} {
				f := Finding{Verdict: v, File: file, Record: "group", Reason: reason, Topic: "orders", Partition: &number, FirstOffset: &offset}
				if file == "wal/checkpoint" {
					f.Record = "checkpoint"
				}
				f.Next = target.next(&f, "DIR/"+file)
				i := slices.IndexFunc(causes, func(c cause) bool { return c.is(&f) })
				p := &Problem{first: f}
				target.word(p, &causes[i])
				seen[causes[i].code] = true
				if code := causes[i].code; f.Next == "" || p.Next == "" || p.Diagnosis == "" || strings.ContainsAny(p.Next, "{}") ||
					v != wal.Notice && code == "notice" || code == "damaged" && !strings.HasPrefix(file, "incidents") && !strings.HasPrefix(file, "repairs") {
					t.Errorf("%s %s in %s: problem %s, %q, next %q", v, reason, file, code, p.Diagnosis, p.Next)
				}
			}
		}
	}
	page, err := os.ReadFile("../docs/recovery/doctor.md")
	must(t, err)
	for _, c := range causes {
		if !strings.Contains(string(page), "| `"+c.code+"` |") {
			t.Errorf("docs/recovery/doctor.md does not explain %s", c.code)
		}
		if !seen[c.code] && !slices.Contains([]string{"copy", "log-short", "partition-stopped", "journal-mended"}, c.code) { // the script test leads to these
			t.Errorf("no finding leads to %s", c.code)
		}
	}
}

// TestDoctorFullDisk: a disk without room, whose reserve was given up, is named.
func TestDoctorFullDisk(t *testing.T) {
	fs := vfs.NewMem(1)
	must(t, vfs.MkdirAll(fs, "/data/wal"))
	must(t, vfs.MkdirAll(fs, "/data/topics"))
	fs.SetLimit(1000)
	target, err := Open(Options{FS: fs, Path: "/data"})
	must(t, err)
	d, err := target.Diagnose(Default)
	must(t, err)
	if !slices.ContainsFunc(d.Problems, func(p Problem) bool { return p.Code == "disk-full" }) {
		t.Fatalf("%+v", d)
	}
}
