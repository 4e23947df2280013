package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"chronik.dev/chronik/broker/vfs"
	"chronik.dev/chronik/broker/wal"
	"chronik.dev/chronik/walinspect"
)

type walStatsOptions struct {
	walOptions
	walinspect.StatsOptions
}

func newWalStats(a *app) *cobra.Command {
	o := &walStatsOptions{}
	cmd := &cobra.Command{
		Use:   "stats PATH",
		Short: "Count records per topic: rates, sizes, keys, codecs, transactions",
		Long: `Read every batch and say per topic how many records there are and how large, how fast they came, how many different keys they
have, how they are compressed and to what effect, and which transactions they belong to.

Of a data directory it counts what a node would serve after its next start: each record once, whether it lies in the
journal or in a partition log, without those that were deleted or cut off. Of a part of one, and of an Apache Kafka log
directory, it counts what the files hold. What is damaged is left out and counted apart; chronik wal verify names it.

Rates are those between the oldest and the newest record's time (a second at least), and in the busiest stretch of time: a second, or
more if the records are of more than a minute. Different keys are counted exactly up to 128, then estimated (~, within 2.3 %).

Exit codes: 0 everything was counted, 3, 4, 6 or 10 without something that is damaged, 5 the node is running.`,
		Example: `  chronik wal stats ./chronik-data
  chronik wal stats --topic orders --partitions ./chronik-data
  chronik wal stats -o json --live ./chronik-data
  chronik wal stats /var/lib/kafka/data`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			return o.read(a, args[0], func(target *walinspect.Target, bar *progress) error { return o.run(a, target, bar) })
		},
	}
	o.flags(cmd)
	cmd.Flags().StringVar(&o.Topic, "topic", "", "only this topic")
	cmd.Flags().BoolVar(&o.Partitions, "partitions", false, "a row per partition")
	_ = cmd.RegisterFlagCompletionFunc("topic", completeTopicsOf)
	a.formatFlag(cmd)
	return marked(cmd, readOnly)
}

func (o *walStatsOptions) run(a *app, target *walinspect.Target, bar *progress) error {
	p := a.newPrinter("wal-stats", &tabular[*walinspect.TopicStats, *walinspect.StatsSummary]{headers: statsHeaders, row: statsRow, end: statsEnd})
	sum, err := target.Stats(o.StatsOptions, func(s *walinspect.TopicStats) error {
		bar.clear()
		return p.Item(s)
	})
	bar.clear()
	switch {
	case errors.Is(err, walinspect.ErrStarted):
		return errors.Join(p.Close(sum), started(target.Path, "", err))
	case errors.Is(err, walinspect.ErrNoTopics):
		return usage(fmt.Errorf("cannot count: %w", err))
	case err != nil:
		return fmt.Errorf("cannot count %s: %w", target.Path, err)
	case o.Topic != "" && sum.Batches == 0 && sum.Verdict == wal.Notice:
		return &exitError{code: exitNotFound, err: fmt.Errorf("%s holds no batch of topic %s; without --topic all are shown", target.Path, o.Topic)}
	}
	if err := p.Close(sum); err != nil {
		return err
	}
	return verdictError(sum.Verdict)
}

// completeTopicsOf offers the topics of the directory that stands behind the flag or before it.
func completeTopicsOf(_ *cobra.Command, args []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
	var fitting []cobra.Completion
	for _, path := range args {
		for _, name := range walinspect.Topics(vfs.OS, path) {
			if strings.HasPrefix(name, toComplete) && !slices.Contains(fitting, name) {
				fitting = append(fitting, name)
			}
		}
	}
	return fitting, cobra.ShellCompDirectiveNoFileComp
}

var statsHeaders = []string{"topic", "partitions", "records", "batches", "size", "records/s", "size/s", "peak/s", "key", "value", "keys", "codecs", "transactions", "oldest", "newest"}

func statsRow(s *walinspect.TopicStats) []string {
	peak, keys, transactions := "-", "-", "-"
	if s.Peak != nil {
		peak = rateText(s.Peak.RecordsPerSecond)
	}
	if s.Keys.Distinct > 0 {
		keys = strconv.FormatInt(s.Keys.Distinct, 10)
		if s.Keys.Estimated {
			keys = "~" + keys
		}
	}
	if s.Keys.Null > 0 {
		keys = strings.TrimPrefix(fmt.Sprintf("%s, %d null", keys, s.Keys.Null), "-, ")
	}
	if t := &s.Transactions; t.Batches+t.Committed+t.Aborted > 0 {
		transactions = fmt.Sprintf("%d committed, %d aborted, %d open", t.Committed, t.Aborted, t.Open)
		if t.AtLeast {
			transactions += " or more"
		}
	}
	partitions := strconv.Itoa(s.Partitions)
	if s.Partition != nil {
		partitions = "#" + strconv.Itoa(int(*s.Partition))
	}
	return []string{
		s.Topic, partitions, strconv.FormatInt(s.Records, 10), strconv.FormatInt(s.Batches, 10), bytesText(s.Bytes), rateText(s.RecordsPerSecond),
		bytesText(int64(s.BytesPerSecond)), peak, sizesText(s.KeySize), sizesText(s.ValueSize), keys, orDash(s.CodecText()), transactions,
		orDash(timeText(s.FirstTime)), orDash(timeText(s.LastTime)),
	}
}

// rateText renders a rate per second; a dash for none.
func rateText(r float64) string {
	switch {
	case r == 0:
		return "-"
	case r < 10:
		return strconv.FormatFloat(r, 'f', 2, 64)
	}
	return strconv.FormatFloat(r, 'f', 0, 64)
}

// sizesText renders mean and largest size in bytes.
func sizesText(s walinspect.Sizes) string {
	if s.Max == 0 {
		return "-"
	}
	return fmt.Sprintf("%d (max %d)", s.Mean, s.Max)
}

func statsEnd(s *walinspect.StatsSummary, w io.Writer) error {
	fmt.Fprintf(w, "%s (%s): %s, %s: %s in %s, %s", s.Target, s.Kind, counted(s.Topics, "topic"), counted(s.Partitions, "partition"),
		counted(s.Records, "record"), countedBatches(s.Batches), bytesText(s.Size))
	if s.LastLSN > 0 {
		fmt.Fprintf(w, ", journal to LSN %d", s.LastLSN)
	}
	fmt.Fprintf(w, "; %s read in %.1f s\n", bytesText(s.Bytes), s.Seconds)
	if s.Verdict == wal.Notice {
		return nil
	}
	var left []string
	for _, v := range []wal.Verdict{wal.IOError, wal.Corrupt, wal.Undecided, wal.Torn, wal.UnknownVersion} {
		if n := s.Findings[v]; n > 0 {
			left = append(left, fmt.Sprintf("%d %s", n, v))
		}
	}
	_, err := fmt.Fprintf(w, "not counted, damaged: %s; look with: %s\n", strings.Join(left, ", "), s.Next)
	return err
}

func countedBatches(n int64) string {
	if n == 1 {
		return "1 batch"
	}
	return strconv.FormatInt(n, 10) + " batches"
}
