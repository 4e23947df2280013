package main

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"chronik.dev/chronik/broker/vfs"
	"chronik.dev/chronik/raftdump"
)

// newRaft is the family of tools for the metadata group's state.
func newRaft(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "raft",
		Short: "Look at the metadata group's state: entries, HardState, snapshots",
		Long: `Read raft/ of a data directory: the log of the metadata group, term, vote and commit in two copies, and snapshots.

DIR is a chronik data directory, its raft/, or a raft/ that stands alone.`,
		GroupID: groupRecover,
	}
	return family(cmd, newRaftDump(a), newRaftHardState(a), newRaftVerify(a), newRaftSnapshot(a))
}

// raftOptions are the flags that the reading verbs of `raft` share.
type raftOptions struct {
	live bool
}

func (o *raftOptions) flags(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&o.live, "live", false, "the node may be running: read up to what it promised durable")
}

func (o *raftOptions) open(path string) (*raftdump.Dir, error) {
	d, err := raftdump.Open(raftdump.Options{FS: vfs.OS, Path: path, Live: o.live})
	if err != nil {
		return nil, fmt.Errorf("cannot open %s: %w", path, err)
	}
	return d, nil
}

// raftStarted is the error for a node that started meanwhile; nil if err is none.
func raftStarted(path string, err error) error {
	if errors.Is(err, raftdump.ErrStarted) {
		return &exitError{code: exitRunning, err: fmt.Errorf("%s: %w; stop it, or use --live", path, err)}
	}
	return nil
}

type raftDumpOptions struct {
	raftOptions
	filter raftdump.Filter
	types  []string
	limit  int
}

func newRaftDump(a *app) *cobra.Command {
	o := &raftDumpOptions{}
	cmd := &cobra.Command{
		Use:   "dump DIR",
		Short: "Show the entries of Raft's log",
		Long: `Show the entries of Raft's log, one line each, in the order in which they were written: index, term, type, size, place, and what became of
it. "committed" is at or below the highest commit index that this disk knows; "uncommitted" is above it; "overwritten" gave way to a
later entry of the same or a lower index; "void" was replaced by a snapshot from the leader.

Commands of the metadata and changes of membership are decoded. Reading goes on past damage: damaged entries are shown with what is left of
them, lost ones with what their neighbours know.`,
		Example: `  chronik raft dump ./chronik-data
  chronik raft dump --from 10 --to 20 --type command -o ndjson ./chronik-data
  chronik raft dump --damaged ./chronik-data`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return o.run(a, args[0]) },
	}
	o.flags(cmd)
	f := cmd.Flags()
	f.Uint64Var(&o.filter.From, "from", 0, "only from this `INDEX` on")
	f.Uint64Var(&o.filter.To, "to", 0, "only up to this `INDEX`")
	f.Uint64Var(&o.filter.Term, "term", 0, "only of this term")
	f.StringSliceVar(&o.types, "type", nil, "only of these types: "+strings.Join(raftdump.Types, ", "))
	f.BoolVar(&o.filter.Damaged, "damaged", false, "only what is damaged or lost")
	f.IntVar(&o.limit, "limit", 0, "stop after `N` lines; 0 shows all")
	_ = cmd.RegisterFlagCompletionFunc("type", cobra.FixedCompletions(raftdump.Types, cobra.ShellCompDirectiveNoFileComp))
	a.formatFlag(cmd)
	return marked(cmd, readOnly)
}

func (o *raftDumpOptions) run(a *app, path string) error {
	for _, t := range o.types {
		if !contains(raftdump.Types, t) {
			return usagef("--type %s is none; use %s", t, strings.Join(raftdump.Types, ", "))
		}
	}
	if o.filter.To > 0 && o.filter.From > o.filter.To {
		return usagef("--from %d --to %d is an empty range", o.filter.From, o.filter.To)
	}
	o.filter.Types = o.types
	d, err := o.open(path)
	if err != nil {
		return err
	}
	p := a.newPrinter("raft-dump", raftDumpText{})
	lines := 0
	sum, err := d.Dump(&o.filter, func(e *raftdump.Entry) error {
		if o.limit > 0 && lines == o.limit {
			return errEnough
		}
		lines++
		return p.Item(e)
	})
	if err != nil && !errors.Is(err, errEnough) && raftStarted(path, err) == nil {
		return fmt.Errorf("cannot dump %s: %w", path, err)
	}
	if err := p.Close(sum); err != nil {
		return err
	}
	return raftStarted(path, err)
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

// maxCommand bounds a command in a line, in bytes; -o ndjson shows all of it.
const maxCommand = 600

// raftDumpText renders an entry as one line.
type raftDumpText struct{}

func (raftDumpText) item(w io.Writer, value any) error {
	e, ok := value.(*raftdump.Entry)
	if !ok {
		return fmt.Errorf("no entry but %T", value)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s@%d", e.File, e.Position)
	if e.LSN != 0 {
		fmt.Fprintf(&b, " lsn=%d", e.LSN)
	}
	switch {
	case e.Type == raftdump.TypeLost && e.Index == 0:
		b.WriteString(" index=unknown")
	case e.LastIndex > e.Index:
		fmt.Fprintf(&b, " index=%d-%d", e.Index, e.LastIndex)
	default:
		fmt.Fprintf(&b, " index=%d", e.Index)
	}
	if e.Term > 0 {
		fmt.Fprintf(&b, " term=%d", e.Term)
	}
	fmt.Fprintf(&b, " %s", e.Type)
	if e.Size >= 0 {
		fmt.Fprintf(&b, " bytes=%d", e.Size)
	}
	if e.Status != "" {
		fmt.Fprintf(&b, " %s", e.Status)
	}
	if e.OverwrittenBy != 0 {
		fmt.Fprintf(&b, " by-lsn=%d", e.OverwrittenBy)
	}
	if t := timeText(e.Time); t != "" {
		fmt.Fprintf(&b, " time=%s", t)
	}
	switch {
	case e.Problem != "":
		fmt.Fprintf(&b, " PROBLEM: %s", e.Problem)
	case e.Changes != "":
		fmt.Fprintf(&b, " %s %s", strconv.Quote(e.Changes), cut(string(e.ConfChange), maxCommand))
	case len(e.Command) > 0:
		fmt.Fprintf(&b, " %s", cut(string(e.Command), maxCommand))
	}
	if e.Damage != "" {
		fmt.Fprintf(&b, " DAMAGED: %s", e.Damage)
	}
	b.WriteByte('\n')
	_, err := io.WriteString(w, b.String())
	return err
}

func (raftDumpText) summary(w io.Writer, value any) error {
	s, ok := value.(*raftdump.DumpSummary)
	if !ok {
		return fmt.Errorf("no summary but %T", value)
	}
	_, err := fmt.Fprintf(w, "%s: term %d, committed to %d, snapshot at %d, last index %d; %d shown, %d uncommitted, %d overwritten, %d damaged\n",
		s.Target, s.Term, s.Commit, s.Snapshot, s.LastIndex, s.Entries, s.Uncommitted, s.Overwritten, s.Damaged)
	return err
}
