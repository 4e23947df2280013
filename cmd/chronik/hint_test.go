package main

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
	"testing"

	"chronik.dev/chronik/broker/datadir"
	"chronik.dev/chronik/broker/wal"
)

func TestExitOfAForeignDirectory(t *testing.T) {
	for _, c := range []struct {
		cause error
		code  int
	}{
		{wal.ErrManifest, exitCorrupt},
		{fmt.Errorf("%w: %w", wal.ErrManifest, syscall.EIO), exitIO},
		{datadir.ErrOtherNode, exitRefused},
		{datadir.ErrForeign, exitRefused},
	} {
		if code := exitCode(fmt.Errorf("recover /d: %w", c.cause)); code != c.code {
			t.Errorf("%v: exit %d, want %d", c.cause, code, c.code)
		}
	}
}

func TestHinted(t *testing.T) {
	for _, c := range []struct {
		cause error
		want  string
		code  int
	}{
		{syscall.EMFILE, "ulimit -n", exitFailed},
		{syscall.ENOSPC, "make room on the disk of /d,", exitNoSpace},
		{syscall.EROFS, "file system of /d is read-only", exitDenied},
		{&fs.PathError{Op: "open", Path: "/d/wal", Err: syscall.EACCES}, "chown", exitDenied},
		{syscall.ENOTDIR, "move the file away", exitFailed},
	} {
		err := hinted(fmt.Errorf("open /d/wal: %w", c.cause), "/d")
		if !errors.Is(err, c.cause) || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "%!") || exitCode(err) != c.code {
			t.Errorf("%v: %v, exit %d", c.cause, err, exitCode(err))
		}
	}
	other := errors.New("other")
	if hinted(nil, "/d") != nil || hinted(other, "/d") != other {
		t.Error("what has no hint is left as it is")
	}
}
