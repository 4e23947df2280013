package main

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
)

// hints are the next step for what a host refuses a node: the error says where it happened, not what to do.
var hints = []struct {
	cause error
	next  string // %s is the data directory
}{
	{syscall.EMFILE, "raise the limit of open files (ulimit -n, or LimitNOFILE= of the service) and start again; nothing acknowledged is lost"},
	{syscall.ENFILE, "the machine is out of open files: raise fs.file-max or end what holds them, and start again; nothing acknowledged is lost"},
	{syscall.ENOSPC, "make room on the disk of %s, at most as much as its wal/ holds, and start again; nothing acknowledged is lost"},
	{syscall.EDQUOT, "raise the quota of the user on the disk of %s and start again; nothing acknowledged is lost"},
	{syscall.EROFS, "the file system of %s is read-only: look for the reason (dmesg), check it, mount it for writing and start again; chronik wal verify reads it as it is"},
	{syscall.ENOTDIR, "a file is where %s needs a directory: move the file away, or choose another --data-dir"},
	{fs.ErrPermission, "let the node's user own %s and everything in it (chown -R), and start again"},
}

// hinted adds the next step to an error of serve, if it is one of the host's and has none yet.
func hinted(err error, dir string) error {
	if err == nil {
		return nil
	}
	for _, h := range hints {
		if errors.Is(err, h.cause) {
			next := h.next
			if strings.Contains(next, "%s") {
				next = fmt.Sprintf(next, dir)
			}
			return fmt.Errorf("%w; %s", err, next)
		}
	}
	return err
}
