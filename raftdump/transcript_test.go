package raftdump

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"go.etcd.io/raft/v3/raftpb"

	"chronik.dev/chronik/broker/vfs"
)

// TestTranscripts runs every file of testdata/transcripts: a history, damage to it, and what the verbs say.
//
//	found [others=(ID...)] [without-me]     a new group; ids are hexadecimal
//	forge-snapshot, checkpoint, journal     see forge
//	save [index=] term= [vote=] [commit=]   one Ready, one entry per line; commit=0 is none behind what is there
//	snapshot index=                         of the applied state
//	restart, stop
//	keep as= files=PART, back as=           copies of files, put back later
//	flip file=PART at=N or find=TEXT, remove file=PART, copy file=PART to=NAME, truncate file=PART size=N
//	dump [from=] [to=] [term=] [type=] [damaged], hardstate, snapshots, state, verify [deep]
func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata/transcripts", func(t *testing.T, path string) {
		l := newLab(t)
		defer l.stop()
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			l.t = t
			if out, ok := l.write(d); ok {
				return out
			}
			if out, ok := l.damage(d); ok {
				return out
			}
			if out, ok := l.forge(d); ok {
				return out
			}
			return l.look(d)
		})
	})
}

func argument(d *datadriven.TestData, name string, def uint64) uint64 {
	for _, a := range d.CmdArgs {
		if a.Key == name {
			n, err := strconv.ParseUint(a.Vals[0], 10, 64)
			if err != nil {
				d.Fatalf(nil, "%s: %v", name, err)
			}
			return n
		}
	}
	return def
}

func word(d *datadriven.TestData, name string) string {
	for _, a := range d.CmdArgs {
		if a.Key == name && len(a.Vals) > 0 {
			return a.Vals[0]
		}
	}
	return ""
}

// write runs a command that makes history.
func (l *lab) write(d *datadriven.TestData) (string, bool) {
	switch d.Cmd {
	case "reference":
		ref := reference(l.t)
		ref.saved = l.saved
		*l = *ref
	case "found":
		var others []uint64
		for _, a := range d.CmdArgs {
			for _, v := range a.Vals {
				id, err := strconv.ParseUint(v, 16, 64)
				must(l.t, err)
				others = append(others, id)
			}
		}
		l.found(d.HasArg("without-me"), others...)
	case "save":
		var lines []string
		for _, line := range strings.Split(d.Input, "\n") {
			if line != "" {
				lines = append(lines, line)
			}
		}
		index := argument(d, "index", l.last+1)
		e := make([]*raftpb.Entry, 0, len(lines))
		for _, line := range lines {
			e = append(e, l.entry(line))
		}
		vote := l.id.MemberID
		if v := word(d, "vote"); v != "" {
			var err error
			vote, err = strconv.ParseUint(v, 16, 64)
			must(l.t, err)
		}
		if err := l.save(index, argument(d, "term", l.hard.GetTerm()), vote, argument(d, "commit", 0), e...); err != nil {
			return err.Error() + "\n", true
		}
	case "snapshot":
		l.snapshot(argument(d, "index", l.last))
	case "restart":
		l.restart()
	case "stop":
		l.stop()
	default:
		return "", false
	}
	return "", true
}

// one returns the one file whose name contains part.
func (l *lab) one(part string) string {
	l.t.Helper()
	var found []string
	for _, name := range l.fs.Files() {
		if strings.Contains(name, part) {
			found = append(found, name)
		}
	}
	if len(found) != 1 {
		l.t.Fatalf("%s matches %v", part, found)
	}
	return found[0]
}

// damage runs a command that changes files.
func (l *lab) damage(d *datadriven.TestData) (string, bool) {
	switch d.Cmd {
	case "keep":
		l.keep(word(d, "as"), word(d, "files"))
	case "back":
		l.putBack(word(d, "as"))
	case "flip":
		name := l.one(word(d, "file"))
		at := int(argument(d, "at", 0))
		if text := word(d, "find"); text != "" {
			b, err := l.fs.Bytes(name)
			must(l.t, err)
			at = bytes.Index(b, []byte(text))
		}
		must(l.t, l.fs.Flip(name, int64(at), 0x10))
	case "zero":
		name := l.one(word(d, "file"))
		b, err := l.fs.Bytes(name)
		must(l.t, err)
		at := argument(d, "at", 0)
		clear(b[at : at+argument(d, "size", 512)])
		must(l.t, l.fs.SetBytes(name, b))
	case "remove":
		must(l.t, l.fs.Remove(l.one(word(d, "file"))))
	case "copy":
		b, err := l.fs.Bytes(l.one(word(d, "file")))
		must(l.t, err)
		must(l.t, vfs.WriteFile(l.fs, l.path(word(d, "to")), b))
	case "truncate":
		name := l.one(word(d, "file"))
		b, err := l.fs.Bytes(name)
		must(l.t, err)
		must(l.t, l.fs.SetBytes(name, b[:argument(d, "size", 0)]))
	default:
		return "", false
	}
	return "", true
}

// look runs a verb.
func (l *lab) look(d *datadriven.TestData) string {
	var b strings.Builder
	line := func(v any) {
		text, err := json.Marshal(v)
		must(l.t, err)
		fmt.Fprintf(&b, "%s\n", text)
	}
	dir := l.dir()
	switch d.Cmd {
	case "dump":
		f := Filter{From: argument(d, "from", 0), To: argument(d, "to", 0), Term: argument(d, "term", 0), Damaged: d.HasArg("damaged")}
		if t := word(d, "type"); t != "" {
			f.Types = []string{t}
		}
		sum, err := dir.Dump(&f, func(e *Entry) error { line(e); return nil })
		must(l.t, err)
		line(sum)
	case "hardstate":
		h, err := dir.HardState()
		must(l.t, err)
		for _, c := range h.Copies {
			line(c)
		}
		for _, r := range h.Heads {
			line(r)
		}
		line(h.Counts)
		b.WriteString(strings.Join(h.Why, "\n") + "\n")
	case "snapshots":
		list, err := dir.Snapshots()
		must(l.t, err)
		for _, s := range list {
			line(s)
		}
	case "state":
		s, err := dir.Snapshot(argument(d, "index", 0))
		if err != nil {
			return err.Error() + "\n"
		}
		line(s)
	case "verify":
		sum, found, err := dir.Verify(d.HasArg("deep"))
		must(l.t, err)
		for i := range found {
			b.WriteString(text(&found[i]) + "\n")
		}
		fmt.Fprintf(&b, "term %d, commit %d, snapshot %d, last %d, %d entries, applied %d, state %s\n", sum.Term, sum.Commit, sum.Snapshot, sum.Last, sum.Entries, sum.Applied, sum.Hash)
	default:
		d.Fatalf(l.t.(*testing.T), "no command %s", d.Cmd)
	}
	return b.String()
}
