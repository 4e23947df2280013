package recovery

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"chronik.dev/chronik/broker/partition"
	"chronik.dev/chronik/broker/vfs"
)

// seconds are the only thing in a report that two runs do not share.
var seconds = regexp.MustCompile(`replayed in [0-9.]+ s`)

// TestTranscripts runs testdata/: a node is written, damaged and booted, and says what it found.
func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		n := newNode(t)
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			n.t = t
			out, err := n.command(d)
			if err != nil {
				out += strings.ReplaceAll("error: "+err.Error(), "\n", "; ") + "\n"
			}
			return seconds.ReplaceAllString(out, "replayed")
		})
	})
}

func word(d *datadriven.TestData, i int) string { return d.CmdArgs[i].Key }

// command runs one line of a transcript.
func (n *node) command(d *datadriven.TestData) (string, error) {
	switch d.Cmd {
	case "create": // create TOPIC ID
		var id int
		if _, err := fmt.Sscan(word(d, 1), &id); err != nil {
			return "", err
		}
		n.create(word(d, 0), byte(id))
	case "produce": // produce TOPIC BATCHES PREFIX
		var count int
		if _, err := fmt.Sscan(word(d, 1), &count); err != nil {
			return "", err
		}
		n.produce(n.logs[word(d, 0)+"-0"], count, word(d, 2))
	case "flush":
		return "", n.logs[word(d, 0)+"-0"].Flush()
	case "drop":
		_, err := n.logs[word(d, 0)+"-0"].Drop(99)
		return "", err
	case "checkpoint":
		return "", n.result.Checkpointer.Run()
	case "kill": // kill -9: everything written is there
		n.fs = n.fs.CrashMode(rand.New(rand.NewPCG(1, 1)), vfs.All)
		n.now += 1000
	case "power-cut": // nothing is there that was not synced
		n.fs = n.fs.CrashMode(rand.New(rand.NewPCG(1, 1)), vfs.None)
		n.now += 1000
	case "flip", "cut", "restore", "grow", "remove", "write":
		return n.damage(d)
	case "check":
		r, err := Check(CheckOptions{FS: n.fs, Dir: root, DirID: [16]byte{1}, Config: func(string) partition.Config { return n.config }})
		return render(r), err
	case "boot":
		err := n.boot(false)
		return render(n.result.Report), err
	case "read": // read TOPIC
		l := n.logs[word(d, 0)+"-0"]
		if l == nil {
			return "not open\n", nil
		}
		return fmt.Sprintf("[%d, %d) %s\n", l.LogStart(), l.HighWatermark(), strings.Join(n.read(l), " ")), nil
	case "held": // the checkpoint's word on stopped partitions
		var b strings.Builder
		for _, st := range n.result.Checkpointer.Last().Partitions {
			fmt.Fprintf(&b, "%s LSN %d, end %d, held %v in %q\n", st.Dir, st.LSN, st.End, st.Held != 0, st.HeldFile)
		}
		return b.String(), nil
	case "files": // files DIR
		infos, err := n.fs.ReadDir(filepath.Join(root, word(d, 0)))
		var b strings.Builder
		for _, i := range infos {
			fmt.Fprintln(&b, i.Name())
		}
		return b.String(), err
	default:
		return "", fmt.Errorf("unknown command %s", d.Cmd)
	}
	return "", nil
}

// damage changes files behind the node's back.
func (n *node) damage(d *datadriven.TestData) (string, error) {
	name := filepath.Join(root, word(d, 0))
	if d.Cmd == "remove" {
		if err := vfs.RemoveAll(n.fs, name); err != nil {
			return "", err
		}
		return "", n.fs.SyncDir(filepath.Dir(name))
	}
	if d.Cmd == "write" {
		return "", vfs.WriteFile(n.fs, name, []byte("what is this?"))
	}
	if d.Cmd == "flip" { // flip DIR TEXT: a bit of the first letter of TEXT, in the first file under DIR that holds it
		infos, err := n.fs.ReadDir(name)
		if err != nil {
			return "", err
		}
		for _, i := range infos {
			file := filepath.Join(name, i.Name())
			data, err := n.fs.Bytes(file)
			if at := bytes.Index(data, []byte(word(d, 1))); err == nil && at >= 0 {
				data[at] ^= 1
				return fmt.Sprintf("%s byte %d\n", i.Name(), at), n.fs.SetBytes(file, data)
			}
		}
		return "", fmt.Errorf("no file under %s holds %s", name, word(d, 1))
	}
	data, err := n.fs.Bytes(name)
	if err != nil {
		return "", err
	}
	switch d.Cmd {
	case "cut":
		n.cut, data = data, data[:len(data)/2]
	case "restore":
		data = n.cut
	default:
		data = append(data, "garbage that nothing explains"...)
	}
	return "", n.fs.SetBytes(name, data)
}

func render(r *Report) string {
	if r == nil {
		return ""
	}
	var b strings.Builder
	if err := r.WriteText(&b); err != nil {
		return err.Error()
	}
	return b.String()
}
