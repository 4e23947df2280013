package main

import (
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"chronik.dev/chronik/broker/statefile"
	"chronik.dev/chronik/raftdump"
	"chronik.dev/chronik/repair"
)

type raftHardStateOptions struct {
	raftOptions
}

func newRaftHardState(a *app) *cobra.Command {
	o := &raftHardStateOptions{}
	cmd := &cobra.Command{
		Use:   "hardstate DIR",
		Short: "Show term, vote and commit: both copies, what repeats them, which counts and why",
		Long: `Show HardState, what a member must not forget: its term, its vote and the commit index. It is kept in two files; the heads of the log's
groups repeat it. Which of them a start would use is said, and why.`,
		Example: `  chronik raft hardstate ./chronik-data
  chronik raft hardstate -o json ./chronik-data`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return o.run(a, args[0]) },
	}
	o.flags(cmd)
	a.formatFlag(cmd)
	cmd.AddCommand(newHardStateRepair(a))
	return marked(cmd, readOnly)
}

func newHardStateRepair(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "repair --dir DIR",
		Short: "Give a group of one a start again when its Raft state is damaged, and say what is lost",
		Long: `Plan new Raft state for a node that is alone in its metadata group and does not start because of what 'chronik raft verify' found. HardState
gets a term above every term seen, no vote, and as commit index what log, snapshots and journal prove; the term never falls.

If only HardState is bad, nothing else is changed and nothing is lost. If the log or the snapshots are bad too, a new snapshot of everything that
they still give takes their place. Entries that are lost are named; that needs --accept-loss N. Topics that the journal knows are kept, without
their configuration.

In a group of several this is refused: a member that forgot its vote could elect a second leader. It rejoins as a learner instead.

Exit codes: 0 planned, done, or nothing to do; 5 the node is running; 7 refused; 8 stale; 9 no space.`,
		Example: `  chronik raft hardstate repair --dir ./chronik-data
  chronik raft hardstate repair --dir ./chronik-data --apply`,
		Args: cobra.NoArgs,
	}
	return a.repairVerb(cmd, repair.HardState)
}

func (o *raftHardStateOptions) run(a *app, path string) error {
	d, err := o.open(path)
	if err != nil {
		return err
	}
	h, err := d.HardState()
	started := raftStarted(path, err)
	if err != nil && started == nil {
		return fmt.Errorf("cannot read the HardState of %s: %w", path, err)
	}
	if err := document(a, "raft-hardstate", h, hardStateText); err != nil {
		return err
	}
	if started == nil && h.Counts == nil {
		return &exitError{code: exitCorrupt}
	}
	return started
}

func hardStateText(h *raftdump.HardState, w io.Writer) error {
	copies := &table{w: w, headers: []string{"COPY", "STATE", "SEQUENCE", "TERM", "VOTE", "COMMIT", "SYNCED LSN", ""}}
	for _, c := range h.Copies {
		row := []string{c.File, string(c.State), "", "", "", "", "", ""}
		if c.State == statefile.OK {
			row = []string{c.File, string(c.State), num(c.Sequence), num(c.Term), fmt.Sprintf("%x", c.Vote), num(c.Commit), num(uint64(c.Synced)), ""}
		} else if c.Reason != "" {
			row[1] += ": " + c.Reason
		}
		if c.Counts {
			row[7] = "counts"
		}
		if err := copies.Row(row...); err != nil {
			return err
		}
	}
	if err := copies.Flush(); err != nil {
		return err
	}
	heads := &table{w: w, headers: []string{"GROUP HEADS FROM", "LSN", "GROUPS", "SEQUENCE", "TERM", "VOTE", "COMMIT"}}
	for _, r := range h.Heads {
		if err := heads.Row(fmt.Sprintf("%s@%d", r.File, r.Position), span(uint64(r.FirstLSN), uint64(r.LastLSN)), strconv.Itoa(r.Groups), num(r.Sequence), num(r.Term),
			fmt.Sprintf("%x", r.Vote), span(r.FirstCommit, r.LastCommit)); err != nil {
			return err
		}
	}
	fmt.Fprintln(w)
	if err := heads.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(w, "\ngroup:    voters %x", h.Voters)
	if len(h.Learners) > 0 {
		fmt.Fprintf(w, ", learners %x", h.Learners)
	}
	if h.Member != 0 {
		fmt.Fprintf(w, "; this is member %x", h.Member)
	}
	fmt.Fprintf(w, "\nlog:      snapshot at index %d, last index %d, highest term %d\n", h.Snapshot, h.Last, h.LastTerm)
	for _, why := range h.Why {
		fmt.Fprintf(w, "why:      %s\n", why)
	}
	if h.Counts == nil {
		fmt.Fprintln(w, "counts:   nothing; the node does not start")
	} else {
		fmt.Fprintf(w, "counts:   term %d, vote %x, commit %d\n", h.Counts.Term, h.Counts.Vote, h.Counts.Commit)
	}
	if h.Next != "" {
		fmt.Fprintf(w, "next:     %s\n", h.Next)
	}
	return nil
}

func num(n uint64) string { return strconv.FormatUint(n, 10) }

// span renders a range of numbers.
func span(first, last uint64) string {
	if first == last {
		return num(first)
	}
	return num(first) + "-" + num(last)
}
