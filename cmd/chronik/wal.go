package main

import (
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"chronik.dev/chronik/broker/vfs"
	"chronik.dev/chronik/broker/wal"
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

// read opens the path under a progress bar for a command that reads it.
func (o *walOptions) read(a *app, path string, do func(*walinspect.Target, *progress) error) error {
	bar := a.newProgress()
	defer bar.clear()
	target, err := o.open(path, bar.update)
	if err != nil {
		return err
	}
	return do(target, bar)
}

// levelOf is how closely flags ask to look.
func levelOf(fast, deep bool) walinspect.Level {
	switch {
	case fast:
		return walinspect.Fast
	case deep:
		return walinspect.Deep
	}
	return walinspect.Default
}

// started is the exit code of a command on whose directory a node started meanwhile; done is what became of its findings.
func started(path, done string, err error) error {
	return &exitError{code: exitRunning, err: fmt.Errorf("%s: %w; %sstop it, or use --live", path, err, done)}
}

// verdictError is the exit code for the gravest finding; nil if there is none.
func verdictError(v wal.Verdict) error {
	if code := verdictCode(v); code != exitClean {
		return &exitError{code: code}
	}
	return nil
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
