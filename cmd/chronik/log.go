package main

import (
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"chronik.dev/chronik/broker/datadir"
	"chronik.dev/chronik/repair"
	"chronik.dev/chronik/walinspect"
)

// newLog is the family of tools for partition logs and their indexes.
func newLog(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "log",
		Short: "Partition logs and their indexes: verify, rebuild",
		Long: `Partition logs are the files of Apache Kafka: batches in .log, and .index, .timeindex and small files that are derived from them.
A damaged index costs time, never a record.`,
		GroupID: groupRecover,
	}
	return family(cmd, newLogVerify(a), newLogReindex(a))
}

type logVerifyOptions struct {
	walOptions
	deep bool
}

func newLogVerify(a *app) *cobra.Command {
	o := &logVerifyOptions{}
	cmd := &cobra.Command{
		Use:   "verify PATH",
		Short: "Find every damage in partition logs and their indexes",
		Long: `As chronik wal verify, but of the partition logs only: PATH is a data directory, its topics/, a partition directory, a segment (.log), or
an Apache Kafka log directory or a part of one.

Exit codes: 0 clean, 3 corrupt, 5 the node is running, 6 I/O error, 10 undecided.`,
		Example: `  chronik log verify ./chronik-data
  chronik log verify --deep /var/lib/kafka/data/orders-0`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return o.run(a, args[0]) },
	}
	o.flags(cmd)
	cmd.Flags().BoolVar(&o.deep, "deep", false, "also decode every record, and compare every index with the one that the batches imply")
	a.formatFlag(cmd)
	return marked(cmd, readOnly)
}

func (o *logVerifyOptions) run(a *app, path string) error {
	bar := a.newProgress()
	defer bar.clear()
	target, err := o.open(path, bar.update)
	if err == nil && target.Kind == walinspect.DataDir {
		target, err = o.open(filepath.Join(path, datadir.TopicsDir), bar.update)
	}
	if err != nil {
		return err
	}
	switch target.Kind {
	case walinspect.JournalDir, walinspect.JournalFile, walinspect.RaftDir:
		return usagef("%s is a %s, not a partition log; use chronik wal verify", path, target.Kind)
	}
	return a.verify("log-verify", target, levelOf(false, o.deep), bar)
}

func newLogReindex(a *app) *cobra.Command {
	var only string
	cmd := &cobra.Command{
		Use:   "reindex --dir DIR",
		Short: "Make indexes, chronik.sums and small files of partition logs anew",
		Long: `Plan to make everything anew that is derived from batches and checkpoint: .index and .timeindex, byte for byte as the broker writes
them; chronik.sums where it is damaged, does not cover the log or differs from it; partition.metadata and leader-epoch-checkpoint where they
cannot be read. No record is lost by it. A segment whose batches are damaged is left alone and named.

New sums believe what no other checksum covers (base offsets and leader epochs of batches) as it is.

Exit codes: 0 planned or done, 5 the node is running, 8 stale, 9 no space.`,
		Example: `  chronik log reindex --dir ./chronik-data
  chronik log reindex --dir ./chronik-data --partition orders-0 --apply`,
		Args: cobra.NoArgs,
	}
	cmd.Flags().StringVar(&only, "partition", "", "only this `TOPIC-PARTITION`")
	return a.repairVerb(cmd, func(d *repair.Draft) error {
		if only == "" {
			return repair.Reindex(d, "", 0)
		}
		dash := strings.LastIndexByte(only, '-')
		number, err := strconv.ParseInt(only[dash+1:], 10, 32)
		if dash <= 0 || err != nil || number < 0 {
			return usagef("--partition %s is not TOPIC-PARTITION", only)
		}
		return repair.Reindex(d, only[:dash], int32(number))
	})
}
