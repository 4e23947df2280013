package main

import (
	"github.com/spf13/cobra"

	"chronik.dev/chronik/broker/wal"
	"chronik.dev/chronik/repair"
)

type walTruncateOptions struct {
	at uint64
}

func newWalTruncate(a *app) *cobra.Command {
	o := &walTruncateOptions{}
	cmd := &cobra.Command{
		Use:   "truncate --dir DIR [--at LSN]",
		Short: "End the journal earlier, and say what that loses",
		Long: `Plan to end a log earlier. Without a target the journal ends at its first torn or undecided byte.

--at LSN ends the journal before that frame. No partition log is touched: what a checkpoint counts there stays, and what is
held nowhere else on this node is lost. Nothing is ever appended behind a cut: it is recorded as a range, and the journal
goes on above every LSN that was seen.

A cut below what was promised to be durable needs --accept-loss N, N being the number of records that the plan says.

Exit codes: 0 planned or done, 5 the node is running, 7 refused without --accept-loss, 8 stale, 9 no space.`,
		Example: `  chronik wal truncate --dir ./chronik-data
  chronik wal truncate --dir ./chronik-data --at 1200
  chronik wal truncate --dir ./chronik-data --at 1200 --apply --accept-loss 40`,
		Args: cobra.NoArgs,
	}
	cmd.Flags().Uint64Var(&o.at, "at", 0, "end the journal before this `LSN`")
	return a.repairVerb(cmd, func(d *repair.Draft) error {
		if cmd.Flags().Changed("at") {
			return repair.TruncateJournal(d, wal.LSN(o.at))
		}
		return repair.TruncateTail(d)
	})
}
