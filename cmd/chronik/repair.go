package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"chronik.dev/chronik/broker/datadir"
	"chronik.dev/chronik/broker/vfs"
	"chronik.dev/chronik/repair"
)

// newRepair is the family of the one route to any change of a data directory.
func newRepair(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "repair",
		Short: "Plan, apply and take back changes to a data directory",
		Long: `Every command that changes a data directory makes a plan: which files it read and will change (with their SHA-256), the steps,
and what is lost. A plan changes nothing. Applying it refuses if one byte of the inputs has changed, keeps what it overwrites in
DIR/repairs/, and can be taken back byte for byte as long as no node has run since. Killed at any moment, it is finished by the
same command; until then no node starts on the directory.`,
		GroupID: groupRecover,
	}
	return family(cmd, newRepairPlan(a), newRepairApply(a), newRepairStatus(a), newRepairUndo(a))
}

func newRepairPlan(a *app) *cobra.Command {
	return a.repairVerb(&cobra.Command{
		Use:   "plan --dir DIR",
		Short: "Propose what makes a damaged directory clean and its partitions serve again",
		Long: `Look at the directory and plan what this machine alone can mend: a manifest of which no copy can be read is made anew, a torn or
undecided end is cut, partitions that lost acknowledged records go on at the loss, and frames that were held for them are read
back. What that gives up is said, in records per partition; such a plan needs --accept-loss.

Exit codes: 0 planned or done, or nothing to do, 5 the node is running, 7 refused without --accept-loss, 8 stale, 9 no space.`,
		Example: `  chronik repair plan --dir ./chronik-data --plan-out plan.json
  chronik repair apply --dir ./chronik-data plan.json`,
		Args: cobra.NoArgs,
	}, repair.Mend)
}

func newRepairApply(a *app) *cobra.Command {
	c := &changing{}
	cmd := &cobra.Command{
		Use:   "apply --dir DIR PLAN",
		Short: "Do what a plan says, or finish a repair that was interrupted",
		Long: `PLAN is a plan file (--plan-out), or the id of a repair that was begun on the directory.

Exit codes: 0 done, 5 the node is running, 7 the plan needs --accept-loss, 8 the directory changed since the plan was made, 9 no space.`,
		Example: `  chronik repair apply --dir ./chronik-data plan.json
  chronik repair apply --dir ./chronik-data --accept-loss 120 plan.json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c.note(cmd, args)
			plan, err := loadPlan(c.dir, args[0])
			if err != nil {
				return err
			}
			out, err := repair.Apply(c.applyOptions(), plan)
			if err != nil {
				return err
			}
			return document(a, "repair-outcome", *out, outcomeText)
		},
	}
	c.dirFlag(cmd)
	c.lossFlag(cmd)
	a.formatFlag(cmd)
	return marked(cmd, changesDir)
}

// loadPlan reads a plan from a file, or by its id from the directory.
func loadPlan(dir, name string) (*repair.Plan, error) {
	if repair.ValidID(name) {
		return repair.Applied(vfs.OS, filepath.Clean(dir), name)
	}
	return repair.Load(vfs.OS, name)
}

func newRepairUndo(a *app) *cobra.Command {
	c := &changing{}
	cmd := &cobra.Command{
		Use:   "undo --dir DIR ID",
		Short: "Take a repair back, byte for byte",
		Long: `ID is that of the plan (chronik repair status lists them). A repair that was interrupted is taken back as well. One that was
finished is only taken back while nothing else has changed what it read or wrote: not after a node has run.

Exit codes: 0 done, 5 the node is running, 8 the directory changed since, 12 no such repair.`,
		Example: `  chronik repair undo --dir ./chronik-data 20261125T133205Z-3f9a01bc`,
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			out, err := repair.Undo(vfs.OS, filepath.Clean(c.dir), args[0], time.Now)
			if err != nil {
				return err
			}
			return document(a, "repair-outcome", *out, outcomeText)
		},
	}
	c.dirFlag(cmd)
	a.formatFlag(cmd)
	cmd.ValidArgsFunction = c.completeIDs
	return marked(cmd, changesDir)
}

// completeIDs offers the repairs of the directory.
func (c *changing) completeIDs(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	repairs, err := repair.List(vfs.OS, filepath.Clean(c.dir))
	if err != nil || len(args) > 0 || c.dir == "" {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var out []string
	for i := range repairs {
		out = append(out, fmt.Sprintf("%s\t%s, %s", repairs[i].ID, repairs[i].Verb, repairs[i].State))
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

func newRepairStatus(a *app) *cobra.Command {
	c := &changing{}
	cmd := &cobra.Command{
		Use:   "status --dir DIR",
		Short: "List the repairs of a data directory and how far they are",
		Long: `The states: "preparing" has changed nothing yet; "applying" and "undoing" were interrupted and must be finished before a node starts;
"applied" and "undone" are done.

Exit codes: 0 nothing is half done, 7 a repair is half done (the output names the command that finishes it).`,
		Example: `  chronik repair status --dir ./chronik-data`,
		Args:    cobra.NoArgs,
		RunE:    func(*cobra.Command, []string) error { return repairStatus(a, filepath.Clean(c.dir)) },
	}
	c.dirFlag(cmd)
	a.formatFlag(cmd)
	return marked(cmd, readOnly)
}

// repairItem is one repair as it is listed.
type repairItem struct {
	datadir.Repair
	Next string `json:"next,omitempty"`
}

func repairStatus(a *app, dir string) error {
	if _, err := vfs.OS.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot open %s: %w", dir, err)
	}
	repairs, err := repair.List(vfs.OS, dir)
	if err != nil {
		return err
	}
	text := &repairsText{}
	p := a.newPrinter("repair-status", text)
	half := 0
	for i := range repairs {
		if repairs[i].State.Half() {
			half++
		}
		if err := p.Item(repairItem{repairs[i], repairs[i].Next(dir)}); err != nil {
			return err
		}
	}
	if err := p.Close(map[string]int{"repairs": len(repairs), "half_done": half}); err != nil {
		return err
	}
	if half > 0 {
		return &exitError{code: exitRefused}
	}
	return nil
}

type repairsText struct{ t *table }

func (r *repairsText) item(w io.Writer, item any) error {
	i, ok := item.(repairItem)
	if !ok {
		return fmt.Errorf("no repair but %T", item)
	}
	if r.t == nil {
		r.t = &table{w: w, headers: []string{"REPAIR", "STATE", "VERB", "CHANGED", "NEXT"}}
	}
	return r.t.Row(i.ID, string(i.State), i.Verb, i.Changed.Format(time.RFC3339), strings.Join([]string{i.Next, i.Problem}, " "))
}

func (r *repairsText) summary(w io.Writer, _ any) error {
	if r.t == nil {
		_, err := fmt.Fprintln(w, "no repairs")
		return err
	}
	return r.t.Flush()
}

// flagsGiven lists the flags that were given, as --name=value.
func flagsGiven(cmd *cobra.Command) []string {
	var out []string
	cmd.Flags().Visit(func(f *pflag.Flag) { out = append(out, "--"+f.Name+"="+f.Value.String()) })
	return out
}
