package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"chronik.dev/chronik/broker/vfs"
)

func TestYAML(t *testing.T) {
	const in = `{"a":1,"b":{"c":"plain/word-1.log","d":[],"e":{}},"f":[{"g":"yes","h":[1,2]},[3],"x: y"],"i":null,"j":true,"k k":"line\n\"two\"","l":{"m":"o"}}`
	const want = `a: 1
b:
  c: plain/word-1.log
  d: []
  e: {}
f:
  - g: "yes"
    h:
      - 1
      - 2
  - - 3
  - "x: y"
i: null
j: true
"k k": "line\n\"two\""
l:
  m: o`
	var out bytes.Buffer
	if err := writeYAML(&out, []byte(in), "", ""); err != nil {
		t.Fatal(err)
	}
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}

type textOnly struct{}

func (textOnly) item(w io.Writer, item any) error {
	_, err := fmt.Fprintln(w, "item", item)
	return err
}

func (textOnly) summary(w io.Writer, s any) error {
	_, err := fmt.Fprintln(w, "summary", s)
	return err
}

func TestPrinter(t *testing.T) {
	for _, c := range []struct {
		format string
		items  []any
		want   string
	}{
		{formatJSON, []any{"<a>", 2}, "{\"kind\":\"chronik/k\",\"version\":1,\"items\":[\n  \"<a>\",\n  2\n],\n\"summary\":{\"n\":2}}\n"},
		{formatJSON, nil, "{\"kind\":\"chronik/k\",\"version\":1,\"items\":[],\n\"summary\":{\"n\":2}}\n"},
		{formatNDJSON, []any{1}, "{\"kind\":\"chronik/k\",\"version\":1,\"item\":1}\n{\"kind\":\"chronik/k\",\"version\":1,\"summary\":{\"n\":2}}\n"},
		{formatYAML, []any{1, map[string]any{"a": 1, "b": 2}}, "kind: chronik/k\nversion: 1\nitems:\n  - 1\n  - a: 1\n    b: 2\nsummary:\n  \"n\": 2\n"},
		{formatYAML, nil, "kind: chronik/k\nversion: 1\nitems: []\nsummary:\n  \"n\": 2\n"},
		{formatTable, []any{1}, "item 1\nsummary map[n:2]\n"},
	} {
		var out bytes.Buffer
		a := &app{out: &out, format: c.format}
		p := a.newPrinter("k", textOnly{})
		for _, item := range c.items {
			if err := p.Item(item); err != nil {
				t.Fatal(err)
			}
		}
		if err := p.Close(map[string]int{"n": 2}); err != nil {
			t.Fatal(err)
		}
		if out.String() != c.want {
			t.Errorf("%s: got\n%s\nwant\n%s", c.format, out.String(), c.want)
		}
	}
}

func TestTable(t *testing.T) {
	var out bytes.Buffer
	tab := &table{w: &out, headers: []string{"file", "Size"}}
	for _, row := range [][]string{{"a_long_name", "123456789012345678"}, {"b", "7"}} {
		if err := tab.Row(row...); err != nil {
			t.Fatal(err)
		}
	}
	if err := tab.Flush(); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"file", "Size", "a_long_name", "123456789012345678"} { // neither cut nor in capitals
		if !strings.Contains(out.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, out.String())
		}
	}
	out.Reset()
	for i := range maxTableRows + 10 {
		if err := tab.Row(fmt.Sprint(i), "x"); err != nil {
			t.Fatal(err)
		}
	}
	if err := tab.Flush(); err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(out.String(), "\n"); got != maxTableRows+13 { // two rows from above and the header
		t.Errorf("a long table has %d lines", got)
	}
}

func TestExitCodes(t *testing.T) {
	for i, e := range exitTable {
		if e.code != i {
			t.Errorf("row %d of the table has code %d", i, e.code)
		}
	}
	for err, want := range map[error]int{
		errors.New("x"):                       exitFailed,
		usagef("x"):                           exitUsage,
		fmt.Errorf("open: %w", vfs.ErrLocked): exitRunning,
		&fs.PathError{Op: "open", Path: "p", Err: syscall.ENOENT}:         exitNotFound,
		&fs.PathError{Op: "open", Path: "p", Err: syscall.EACCES}:         exitDenied,
		&fs.PathError{Op: "open", Path: "p", Err: syscall.EROFS}:          exitDenied,
		&fs.PathError{Op: "write", Path: "p", Err: syscall.ENOSPC}:        exitNoSpace,
		&fs.PathError{Op: "read", Path: "p", Err: syscall.EIO}:            exitIO,
		fmt.Errorf("w: %w", &exitError{code: exitTorn, err: os.ErrExist}): exitTorn,
		&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}:               exitUnreachable,
	} {
		if got := exitCode(err); got != want {
			t.Errorf("%v: exit %d, want %d", err, got, want)
		}
	}
}

func TestCgroupLimit(t *testing.T) {
	files := map[string]string{}
	read := func(name string) ([]byte, error) {
		if text, ok := files[name]; ok {
			return []byte(text), nil
		}
		return nil, fs.ErrNotExist
	}
	check := func(want int64) {
		t.Helper()
		if got := cgroupLimit(read); got != want {
			t.Errorf("limit %d, want %d", got, want)
		}
	}
	check(0)
	files["/proc/self/cgroup"] = "0::/a/b\n"
	check(0)
	files["/sys/fs/cgroup/a/b/memory.max"] = "max\n"
	files["/sys/fs/cgroup/a/memory.max"] = "1000\n"
	check(1000)
	files["/sys/fs/cgroup/a/b/memory.max"] = "500\n"
	check(500)
	files["/proc/self/cgroup"] = "4:cpu,memory:/x\n3:pids:/a\n"
	files["/sys/fs/cgroup/memory/x/memory.limit_in_bytes"] = "9223372036854771712\n"
	check(0)
	files["/sys/fs/cgroup/memory/x/memory.limit_in_bytes"] = "700\n"
	check(700)
}

func TestNotifySystemd(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	if err := notifySystemd("READY=1"); err != nil {
		t.Error(err)
	}
	name := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	t.Setenv("NOTIFY_SOCKET", name)
	if err := notifySystemd("READY=1"); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 64)
	n, err := l.Read(got)
	if err != nil || string(got[:n]) != "READY=1" {
		t.Errorf("systemd read %q, %v", got[:n], err)
	}
	t.Setenv("NOTIFY_SOCKET", name+"-gone")
	if err := notifySystemd("READY=1"); err == nil {
		t.Error("no error without a listener")
	}
}
