package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"chronik.dev/chronik/broker/vfs"
	"chronik.dev/chronik/broker/wal"
	"chronik.dev/chronik/repair/replay"
)

type walReplayOptions struct {
	toDir, to   string
	skipDamaged bool

	topics  []string
	prefix  string
	create  bool
	rate    float64
	resume  string
	timeout time.Duration
}

func newWalReplay(a *app) *cobra.Command {
	o := &walReplayOptions{}
	cmd := &cobra.Command{
		Use:   "replay DIR (--to-dir OUT | --to HOST:PORT)",
		Short: "Build what a directory holds anew: in a new directory, or in a live cluster",
		Long: `Apply what the data directory DIR holds as a node would at its next start, without touching DIR. No node may run on it.

--to-dir OUT makes the directory OUT: the partition logs as the checkpoint promises them (sharing their blocks with DIR
where the file system can), the journal behind it applied by the broker's own recovery, the metadata rebuilt from Raft's
snapshot and log. SHA-256 over what both directories' partition logs hold must be equal, partition by partition. OUT must
not exist; it gets its identity last. It is the same node's directory once more: start one of the two, never both.

--to HOST:PORT produces the records into a live cluster, chronik or Apache Kafka: same partitions, order, times, keys and
headers, each exactly once however often this command or the cluster is killed. How far it is stands in the resume file
(FILE.0 and FILE.1, synced before anything depends on them); run the same command again to go on. Batches go as they are
stored; those that a broker would refuse (compacted, or with times set by the broker) are encoded anew. Not sent: control
batches, records of aborted and open transactions, and internal topics such as __consumer_offsets.

Damage that loses something stops the replay before anything is written, with the ranges named; --skip-damaged goes on
without them, and the exit code still tells of it.

Exit codes: 0 done, 3 corruption (something is lost, or a hash differs), 5 the node is running, 6 I/O error, 7 refused
(OUT exists, the target has too few partitions or is the cluster itself, a resume file of something else), 9 no space,
10 undecided, 11 unreachable, 12 DIR or a topic not found, 14 the target stopped to acknowledge.`,
		Example: `  chronik wal replay ./chronik-data --to-dir ./replayed
  chronik wal replay ./chronik-data --to 127.0.0.1:9092 --prefix restored. --create
  chronik wal replay ./chronik-data --to 127.0.0.1:9092 --topic orders=orders-2 --rate 20`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.to != "" {
				return o.runCluster(a, args[0])
			}
			return o.runDir(a, cmd, args[0])
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.toDir, "to-dir", "", "`directory` to make")
	f.StringVar(&o.to, "to", "", "`HOST:PORT` of a broker of the cluster to produce into")
	f.BoolVar(&o.skipDamaged, "skip-damaged", false, "go on although something is lost")
	f.StringArrayVar(&o.topics, "topic", nil, "with --to: replay this topic only; `NAME[=NEW]` gives it another name; may be repeated")
	f.StringVar(&o.prefix, "prefix", "", "with --to: put this before every topic's name")
	f.BoolVar(&o.create, "create", false, "with --to: create missing topics, with the source's partitions and configuration")
	f.Float64Var(&o.rate, "rate", 0, "with --to: at most so many `MB` (1,000,000 bytes) per second; 0 means no limit")
	f.StringVar(&o.resume, "resume", "", "with --to: resume `file` (default chronik-replay-ID.resume in the current directory)")
	f.DurationVar(&o.timeout, "timeout", 2*time.Minute, "with --to: give up after so long without an acknowledgement")
	_ = cmd.MarkFlagDirname("to-dir")
	cmd.MarkFlagsOneRequired("to-dir", "to")
	cmd.MarkFlagsMutuallyExclusive("to-dir", "to")
	a.formatFlag(cmd)
	return marked(cmd, makesNew)
}

func (o *walReplayOptions) runDir(a *app, cmd *cobra.Command, dir string) error {
	for _, name := range []string{"topic", "prefix", "create", "rate", "resume", "timeout"} {
		if cmd.Flags().Changed(name) {
			return usagef("--%s goes with --to, not with --to-dir", name)
		}
	}
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

func (o *walReplayOptions) runCluster(a *app, dir string) error {
	topics := map[string]string{}
	for _, t := range o.topics {
		name, as, renamed := strings.Cut(t, "=")
		if name == "" || renamed && as == "" {
			return usagef("--topic %s: give NAME or NAME=NEW", t)
		}
		if _, twice := topics[name]; twice {
			return usagef("--topic %s is given twice", name)
		}
		topics[name] = as
	}
	if o.rate < 0 || o.timeout <= 0 {
		return usagef("--rate and --timeout must not be negative, --timeout not zero")
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	bar := a.newProgress()
	defer bar.clear()
	report, err := replay.ToCluster(ctx, replay.ClusterOptions{
		FS: vfs.OS, Dir: dir, Address: o.to, Topics: topics, Prefix: o.prefix, Create: o.create, Resume: o.resume, Rate: o.rate * 1e6,
		Timeout: o.timeout, SkipDamaged: o.skipDamaged, Progress: bar.update,
	})
	bar.clear()
	switch {
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		return &exitError{code: exitFailed, err: fmt.Errorf("interrupted; run the same command again to go on")}
	case err != nil:
		return replayError(dir, err)
	}
	if err := document(a, "wal-replay", report, clusterReportText); err != nil {
		return err
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
	}{
		{replay.ErrRefused, exitRefused}, {replay.ErrStarted, exitRunning}, {replay.ErrUnreachable, exitUnreachable}, {replay.ErrNoTopic, exitNotFound},
		{replay.ErrStalled, exitTimeout},
	} {
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

func clusterReportText(r *replay.ClusterReport, w io.Writer) error {
	t := table{w: w, headers: []string{"TOPIC", "PARTITION", "OFFSETS", "TARGET", "RECORDS", "SIZE", "DUPLICATES", "TARGET OFFSETS"}}
	for _, p := range r.Partitions {
		at := "-"
		if p.First >= 0 {
			at = fmt.Sprintf("[%d, %d)", p.First, p.End)
		}
		err := t.Row(p.Topic, fmt.Sprint(p.Partition), fmt.Sprintf("[%d, %d)", p.From, p.To), p.Target, fmt.Sprint(p.Records), bytesText(p.Bytes), fmt.Sprint(p.Duplicates), at)
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
	for _, n := range r.Notes {
		fmt.Fprintln(w, "note:", n)
	}
	if len(r.Internal) > 0 {
		fmt.Fprintf(w, "not replayed, internal: %s\n", strings.Join(r.Internal, ", "))
	}
	if r.Control+r.Aborted+r.Open > 0 {
		fmt.Fprintf(w, "not sent: %d control batches, %d records of aborted and %d of open transactions\n", r.Control, r.Aborted, r.Open)
	}
	what := "replayed"
	switch {
	case r.Finished:
		what = "an earlier run had finished; nothing was sent again:"
	case r.Resumed:
		what = "went on and finished:"
	}
	_, err := fmt.Fprintf(w, "%s %d records in %d batches (%s) to cluster %s, %d batches answered as duplicates; this run sent %s in %.1f s; resume file %s\n",
		what, r.Records, r.Batches, bytesText(r.Bytes), r.Cluster, r.Duplicates, bytesText(r.Sent), r.Seconds, r.Resume)
	return err
}
