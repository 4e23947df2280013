package main

import (
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"chronik.dev/chronik/broker/vfs"
	"chronik.dev/chronik/walinspect"
)

// newWal is the family of read-only tools for what is on the disk.
func newWal(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "wal",
		Short: "Look at what is on the disk: list, verify, dump, count, replay; end a log earlier",
		Long: `Read the files of a node, or of an Apache Kafka broker, and say what they are. Only truncate changes anything, and only with --apply.

PATH is a chronik data directory, its wal/, raft/ or topics/, a partition directory, one journal segment (.wal), one
partition segment (.log), or an Apache Kafka log directory (found out by its files, or said with --format kafka).`,
		GroupID: groupRecover,
	}
	return family(cmd, newWalScan(a), newWalVerify(a), newWalDump(a), newWalStats(a), newWalReplay(a), newWalTruncate(a))
}

// walOptions are the flags that the verbs of `wal` share.
type walOptions struct {
	format string
	live   bool
}

func (o *walOptions) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.format, "format", "auto", "whose files: auto, chronik or kafka")
	cmd.Flags().BoolVar(&o.live, "live", false, "the node may be running: read up to what it promised durable")
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]string{"auto", "chronik", "kafka"}, cobra.ShellCompDirectiveNoFileComp))
}

// open recognises the path; progress is told what is read.
func (o *walOptions) open(path string, progress func(done, total int64)) (*walinspect.Target, error) {
	formats := map[string]walinspect.Format{"auto": walinspect.Auto, "chronik": walinspect.Chronik, "kafka": walinspect.Kafka}
	format, ok := formats[o.format]
	if !ok {
		return nil, usagef("--format %s is none; use auto, chronik or kafka", o.format)
	}
	t, err := walinspect.Open(walinspect.Options{FS: vfs.OS, Path: filepath.Clean(path), Format: format, Live: o.live, Progress: progress})
	if err != nil {
		return nil, fmt.Errorf("cannot open %s: %w", path, err)
	}
	return t, nil
}
