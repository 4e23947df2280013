package main

import (
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"chronik.dev/chronik/broker/wal"
	"chronik.dev/chronik/repair"
)

type walTruncateOptions struct {
	at        uint64
	partition string
	offset    int64
	index     uint64
}

func newWalTruncate(a *app) *cobra.Command {
	o := &walTruncateOptions{}
	cmd := &cobra.Command{
		Use:   "truncate --dir DIR [--at LSN | --partition T-P --offset N | --raft-index N]",
		Short: "End the journal, a partition or Raft's log earlier, and say what that loses",
		Long: `Plan to end a log earlier. Without a target the journal ends at its first torn or undecided byte.

--at LSN ends the journal before that frame. No partition log is touched: what a checkpoint counts there stays, and what is
held nowhere else on this node is lost.

--partition T-P --offset N ends one partition before the batch that holds the offset: its log files, indexes, epochs and
producer snapshots are cut, the journal says so, and no other partition is touched. For __consumer_offsets the plan lists the
committed offsets that are lost.

--raft-index N ends the log of the metadata group before that entry. Below Raft's commit this is for a group of one only, and
not if partitions on the disk depend on what goes.

Nothing is ever appended behind a cut: it is recorded as a range, and the journal
goes on above every LSN that was seen. A cut below what was promised to be durable needs --accept-loss N, N being the number of records that the plan says.

Exit codes: 0 planned or done, 5 the node is running, 7 refused without --accept-loss, 8 stale, 9 no space.`,
		Example: `  chronik wal truncate --dir ./chronik-data
  chronik wal truncate --dir ./chronik-data --at 1200
  chronik wal truncate --dir ./chronik-data --at 1200 --apply --accept-loss 40
  chronik wal truncate --dir ./chronik-data --partition orders-0 --offset 5000`,
		Args: cobra.NoArgs,
	}
	cmd.Flags().Uint64Var(&o.at, "at", 0, "end the journal before this `LSN`")
	cmd.Flags().StringVar(&o.partition, "partition", "", "cut this partition: `TOPIC-NUMBER`")
	cmd.Flags().Int64Var(&o.offset, "offset", 0, "the first offset that goes")
	cmd.MarkFlagsRequiredTogether("partition", "offset")
	cmd.Flags().Uint64Var(&o.index, "raft-index", 0, "end Raft's log before this `index`")
	cmd.MarkFlagsMutuallyExclusive("at", "partition", "raft-index")
	return a.repairVerb(cmd, func(d *repair.Draft) error { return o.plan(cmd, d) })
}

func (o *walTruncateOptions) plan(cmd *cobra.Command, d *repair.Draft) error {
	switch {
	case cmd.Flags().Changed("at"):
		return repair.TruncateJournal(d, wal.LSN(o.at))
	case cmd.Flags().Changed("raft-index"):
		return repair.TruncateRaft(d, o.index)
	case cmd.Flags().Changed("partition"):
		i := strings.LastIndexByte(o.partition, '-')
		number, err := strconv.ParseInt(o.partition[i+1:], 10, 32)
		if i <= 0 || err != nil || number < 0 {
			return usagef("--partition %s is none; write TOPIC-NUMBER, as in orders-0", o.partition)
		}
		return repair.TruncatePartition(d, o.partition[:i], int32(number), o.offset)
	}
	return repair.TruncateTail(d)
}
