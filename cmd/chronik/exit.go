package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"chronik.dev/chronik/broker/datadir"
	"chronik.dev/chronik/broker/raftlog"
	"chronik.dev/chronik/broker/recovery"
	"chronik.dev/chronik/broker/statefile"
	"chronik.dev/chronik/broker/vfs"
	"chronik.dev/chronik/broker/wal"
	"chronik.dev/chronik/repair"
)

// Exit codes of the whole binary. Where several apply to what a command found, the gravest decides: I/O error over corruption over
// undecided over torn.
const (
	exitClean       = 0
	exitFailed      = 1
	exitUsage       = 2
	exitCorrupt     = 3
	exitTorn        = 4
	exitRunning     = 5
	exitIO          = 6
	exitRefused     = 7
	exitStale       = 8
	exitNoSpace     = 9
	exitUndecided   = 10
	exitUnreachable = 11
	exitNotFound    = 12
	exitDenied      = 13
	exitTimeout     = 14
	exitVersion     = 15
)

// exitTable explains the codes to people.
var exitTable = []struct {
	code    int
	meaning string
}{
	{exitClean, "clean or done"},
	{exitFailed, "failed; the message says why"},
	{exitUsage, "usage: unknown command, flag or argument"},
	{exitCorrupt, "corruption found"},
	{exitTorn, "a torn tail only: an interrupted write that was never acknowledged; the node cuts it at its next start"},
	{exitRunning, "the node is running and holds the directory's lock (read-only commands take --live)"},
	{exitIO, "I/O error: the device or file system failed to read or write"},
	{exitRefused, "refused by a safety rule"},
	{exitStale, "the plan is stale: its inputs changed"},
	{exitNoSpace, "no space left"},
	{exitUndecided, "an undecided range only: an interrupted write, or damage to a group that may have been acknowledged"},
	{exitUnreachable, "unreachable: nobody listens at the address"},
	{exitNotFound, "not found"},
	{exitDenied, "denied by permissions"},
	{exitTimeout, "timed out"},
	{exitVersion, "unknown format version: written by a newer chronik"},
}

// exitError is an error that knows its exit code. An empty message prints nothing: the command said everything already.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// usage marks err as the user's mistake.
func usage(err error) error { return &exitError{code: exitUsage, err: err} }

// usagef is usage(fmt.Errorf(...)).
func usagef(format string, args ...any) error { return usage(fmt.Errorf(format, args...)) }

// exitCode decides the exit code of an error, once for all commands.
func exitCode(err error) int {
	var known *exitError
	if errors.As(err, &known) {
		return known.code
	}
	var newer *statefile.VersionError
	var raft *raftlog.DamageError
	var copies *statefile.BadError
	switch {
	case errors.As(err, &newer):
		return exitVersion
	case errors.As(err, &raft), errors.As(err, &copies) && copies.Unwrap() == nil:
		return exitCorrupt
	}
	for _, c := range []struct {
		cause error
		code  int
	}{
		{recovery.ErrFormat, exitVersion},
		{repair.ErrVersion, exitVersion},
		{repair.ErrStale, exitStale},
		{repair.ErrRefused, exitRefused},
		{datadir.ErrHalfRepaired, exitRefused},
		{repair.ErrNoSpace, exitNoSpace},
		{repair.ErrUnknown, exitNotFound},
		{raftlog.ErrVersion, exitVersion},
		{recovery.ErrUnreadable, exitIO},
		{recovery.ErrNoJournal, exitCorrupt},
		{raftlog.ErrMissing, exitCorrupt},
		{recovery.ErrNoCheckpoint, exitCorrupt},
		{datadir.ErrNoIdentity, exitCorrupt},
		{wal.ErrNoSpace, exitNoSpace},
		{vfs.ErrLocked, exitRunning},
		{syscall.ENOSPC, exitNoSpace},
		{syscall.EIO, exitIO},
		{syscall.ECONNREFUSED, exitUnreachable},
		{fs.ErrNotExist, exitNotFound},
		{fs.ErrPermission, exitDenied},
		{syscall.EROFS, exitDenied},
		{wal.ErrManifest, exitCorrupt}, // behind what the disk itself may have answered
		{datadir.ErrOtherNode, exitRefused},
		{datadir.ErrOtherCluster, exitRefused},
		{datadir.ErrForeign, exitRefused},
		{kerr.UnknownTopicOrPartition, exitNotFound},
		{kerr.UnknownTopicID, exitNotFound},
		{kerr.GroupIDNotFound, exitNotFound},
		{kerr.TopicAuthorizationFailed, exitDenied},
		{kerr.GroupAuthorizationFailed, exitDenied},
		{kerr.ClusterAuthorizationFailed, exitDenied},
		{kerr.NonEmptyGroup, exitRefused},
		{kerr.PolicyViolation, exitRefused},
		{kerr.RequestTimedOut, exitTimeout},
		{kgo.ErrRecordTimeout, exitTimeout},
		{context.DeadlineExceeded, exitTimeout},
		{os.ErrDeadlineExceeded, exitTimeout},
	} {
		if errors.Is(err, c.cause) {
			return c.code
		}
	}
	return exitFailed
}

// newExitCodes is a help topic: chronik help exit-codes.
func newExitCodes() *cobra.Command {
	var text strings.Builder
	text.WriteString("Exit codes of every command:\n\n")
	for _, e := range exitTable {
		fmt.Fprintf(&text, "  %2d  %s\n", e.code, e.meaning)
	}
	text.WriteString("\nThe gravest finding decides: 6 over 3 over 10 over 4.\n")
	return &cobra.Command{Use: "exit-codes", Short: "What the exit codes mean", Long: text.String()}
}
