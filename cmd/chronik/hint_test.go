package main

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
	"testing"
)

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
