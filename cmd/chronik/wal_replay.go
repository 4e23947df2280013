package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"chronik.dev/chronik/broker/vfs"
	"chronik.dev/chronik/broker/wal"
	"chronik.dev/chronik/repair/replay"
)

type walReplayOptions struct {
	toDir       string
	skipDamaged bool
}

func newWalReplay(a *app) *cobra.Command {
	o := &walReplayOptions{}
	cmd := &cobra.Command{
		Use:   "replay DIR --to-dir OUT",
		Short: "Build what a directory holds anew",
		Long: `Apply what the data directory DIR holds as a node would at its next start, without touching DIR. No node may run on it.

--to-dir OUT makes the directory OUT: the partition logs as the checkpoint promises them (sharing their blocks with DIR
where the file system can), the journal behind it applied by the broker's own recovery, the metadata rebuilt from Raft's
snapshot and log. SHA-256 over what both directories' partition logs hold must be equal, partition by partition. OUT must
not exist; it gets its identity last. It is the same node's directory once more: start one of the two, never both.

Damage that loses something stops the replay before anything is written, with the ranges named; --skip-damaged goes on
without them, and the exit code still tells of it.

Exit codes: 0 done, 3 corruption (something is lost, or a hash differs), 5 the node is running, 6 I/O error, 7 refused
(OUT exists), 9 no space, 10 undecided, 12 DIR not found.`,
		Example: `  chronik wal replay ./chronik-data --to-dir ./replayed`,
		Args:    cobra.ExactArgs(1),
		RunE:    func(_ *cobra.Command, args []string) error { return o.run(a, args[0]) },
	}
	cmd.Flags().StringVar(&o.toDir, "to-dir", "", "directory to make")
	cmd.Flags().BoolVar(&o.skipDamaged, "skip-damaged", false, "go on although something is lost")
	_ = cmd.MarkFlagDirname("to-dir")
	_ = cmd.MarkFlagRequired("to-dir")
	a.formatFlag(cmd)
	return marked(cmd, makesNew)
}

func (o *walReplayOptions) run(a *app, dir string) error {
	bar := a.newProgress()
	defer bar.clear()
	report, err := replay.ToDir(replay.DirOptions{FS: vfs.OS, Dir: dir, Out: o.toDir, SkipDamaged: o.skipDamaged, Progress: bar.update})
	bar.clear()
	if err != nil {
		return replayError(dir, err)
	}
	if err := document(a, "wal-replay-dir", report, dirReportText); err != nil {
		return err
	}
	if report.Different > 0 {
		return &exitError{code: exitCorrupt, err: fmt.Errorf("%d partitions differ from what %s has on its disk; run 'chronik wal verify --deep' on both", report.Different, dir)}
	}
	return lossError(report.Lost)
}

// replayError gives an error of package replay its exit code.
func replayError(dir string, err error) error {
	err = fmt.Errorf("cannot replay %s: %w", dir, err)
	var damage *replay.DamageError
	if errors.As(err, &damage) {
		return &exitError{code: lossCode(damage.Lost), err: err}
	}
	for _, c := range []struct {
		cause error
		code  int
	}{{replay.ErrRefused, exitRefused}, {replay.ErrStarted, exitRunning}} {
		if errors.Is(err, c.cause) {
			return &exitError{code: c.code, err: err}
		}
	}
	return err
}

// lossError is the exit code of a replay that left something out.
func lossError(lost []replay.Loss) error {
	if len(lost) == 0 {
		return nil
	}
	return &exitError{code: lossCode(lost)}
}

// lossCode is the exit code for the gravest loss.
func lossCode(lost []replay.Loss) int {
	code := exitUndecided
	for _, l := range lost {
		switch verdictCode(wal.Verdict(l.Verdict)) {
		case exitIO:
			return exitIO
		case exitCorrupt:
			code = exitCorrupt
		}
	}
	return code
}

func dirReportText(r *replay.DirReport, w io.Writer) error {
	t := table{w: w, headers: []string{"TOPIC", "PARTITION", "OFFSETS", "RECORDS", "SIZE", "SHA-256", "COMPARED", "RESULT"}}
	for _, p := range r.Partitions {
		compared := "-"
		if p.Result != replay.JournalOnly {
			compared = fmt.Sprintf("[%d, %d)", p.LogStart, p.Common)
		}
		err := t.Row(p.Topic, fmt.Sprint(p.Partition), fmt.Sprintf("[%d, %d)", p.LogStart, p.End), fmt.Sprint(p.Records), bytesText(p.Bytes), p.SHA256[:16], compared, string(p.Result))
		if err != nil {
			return err
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, l := range r.Lost {
		fmt.Fprintf(w, "left out: %s\n", l)
	}
	fmt.Fprintf(w, "%s: LSN %d (checkpoint %d and %d frames behind it); %d partitions, %d records: %d equal, %d different, %d in the journal only\n",
		r.Out, r.LSN, r.Checkpoint, r.Frames, len(r.Partitions), r.Records, r.Equal, r.Different, r.JournalOnly)
	if r.Torn > 0 {
		fmt.Fprintln(w, "an interrupted write at the end of the journal was cut: nothing of it was acknowledged")
	}
	fmt.Fprintf(w, "metadata: index %d, %d topics, hash %s\n", r.Metadata.Index, r.Metadata.Topics, r.Metadata.Hash)
	_, err := fmt.Fprintf(w, "%s is node %d of cluster %s once more, with the same directory id: start it instead of %s, never beside it\n",
		r.Out, r.Identity.NodeID, r.Identity.ClusterID, r.Source)
	return err
}
