package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"chronik.dev/chronik/broker/datadir"
	"chronik.dev/chronik/broker/vfs"
	"chronik.dev/chronik/repair"
)

// changing are the flags of every verb that changes a data directory. Such a verb makes a plan, prints it, and changes nothing without --apply.
type changing struct {
	dir        string
	apply      bool
	acceptLoss int64
	planOut    string
	accepted   bool // --accept-loss was given
	verb       string
	args       []string
}

// repairVerb makes cmd a verb that changes a data directory: plan says how, on the draft's file system. The command's own flags may be added before
// or after.
func (a *app) repairVerb(cmd *cobra.Command, plan func(*repair.Draft) error) *cobra.Command {
	c := &changing{}
	c.dirFlag(cmd)
	cmd.Flags().BoolVar(&c.apply, "apply", false, "do it; without, the plan is only printed")
	cmd.Flags().StringVar(&c.planOut, "plan-out", "", "also write the plan to a new `FILE`, for chronik repair apply")
	c.lossFlag(cmd)
	a.formatFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c.note(cmd, args)
		return c.run(a, plan)
	}
	return marked(cmd, plansDir)
}

func (c *changing) dirFlag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&c.dir, "dir", "", "the data directory; no node may be running on it")
	_ = cmd.MarkFlagRequired("dir") // fails only for a flag that does not exist
	_ = cmd.MarkFlagDirname("dir")
}

func (c *changing) lossFlag(cmd *cobra.Command) {
	cmd.Flags().Var((*lossValue)(&c.acceptLoss), "accept-loss", "agree to lose `N` records; N must be what the plan says, a number or unknown")
}

// lossValue is the N of --accept-loss.
type lossValue int64

func (v *lossValue) String() string { return repair.LossText(int64(*v)) }
func (v *lossValue) Type() string   { return "records" }

// Set takes a number of records, or "unknown".
func (v *lossValue) Set(text string) error {
	if text == repair.LossText(repair.LossUnknown) {
		*v = repair.LossUnknown
		return nil
	}
	n, err := strconv.ParseUint(text, 10, 63)
	if err != nil {
		return fmt.Errorf("%q is no number of records; give what the plan says, or unknown", text)
	}
	*v = lossValue(n)
	return nil
}

// note remembers how the verb was called, for the plan.
func (c *changing) note(cmd *cobra.Command, args []string) {
	c.accepted = cmd.Flags().Changed("accept-loss")
	c.verb = strings.TrimPrefix(cmd.CommandPath(), cmd.Root().Name()+" ")
	c.args = append([]string{}, args...)
	for _, f := range flagsGiven(cmd) {
		switch name, _, _ := strings.Cut(f, "="); name {
		case "--dir", "--apply", "--accept-loss", "--plan-out", "--output":
		default:
			c.args = append(c.args, f)
		}
	}
}

// command is the command line without --apply.
func (c *changing) command() string {
	line := "chronik " + c.verb + " --dir " + datadir.Quote(c.dir)
	for _, arg := range c.args {
		line += " " + datadir.Quote(arg)
	}
	return line
}

func (c *changing) run(a *app, verb func(*repair.Draft) error) error {
	plan, err := repair.New(repair.Options{FS: vfs.OS, Dir: c.dir, Verb: c.verb, Args: c.args, Tool: buildInfo().Version}, verb)
	if errors.Is(err, repair.ErrNothing) {
		return document(a, "repair-plan", planned{Nothing: err.Error()}, planned.text)
	}
	if err != nil {
		return err
	}
	if c.planOut != "" {
		if err := plan.Save(vfs.OS, c.planOut); err != nil {
			return err
		}
	}
	out := planned{Plan: outline(plan), file: c.planOut, dir: c.dir, again: c.command()}
	if c.apply {
		if out.Outcome, err = repair.Apply(c.applyOptions(), plan); err != nil {
			out.failed = true // the plan is printed all the same: it says what was refused
		}
	}
	return errors.Join(document(a, "repair-plan", out, planned.text), err)
}

func (c *changing) applyOptions() repair.ApplyOptions {
	o := repair.ApplyOptions{FS: vfs.OS, Dir: filepath.Clean(c.dir)}
	if c.accepted {
		o.AcceptLoss = &c.acceptLoss
	}
	return o
}

// planned is what a changing verb prints: the plan and, with --apply, what came of it.
type planned struct {
	Plan    *planOutline    `json:"plan"`
	Outcome *repair.Outcome `json:"outcome"`
	Nothing string          `json:"nothing,omitempty"` // why there is no plan

	file, dir, again string // again is the command as it was given
	failed           bool
}

// planOutline is a plan without the bytes that it carries.
type planOutline struct {
	repair.Plan
	Inputs int           `json:"inputs"`
	Steps  []stepOutline `json:"steps"`
}

type stepOutline struct {
	Op     repair.Op         `json:"op"`
	File   string            `json:"file"`
	To     string            `json:"to,omitempty"`
	Before *repair.FileState `json:"before"`
	After  *repair.FileState `json:"after"`
	Bytes  int64             `json:"bytes_written"`
}

func outline(p *repair.Plan) *planOutline {
	o := &planOutline{Plan: *p, Inputs: len(p.Inputs), Steps: []stepOutline{}}
	for i := range p.Steps {
		s := &p.Steps[i]
		step := stepOutline{Op: s.Op, File: s.File, To: s.To, Before: s.Before, After: s.After}
		for j := range s.Pieces {
			step.Bytes += s.Pieces[j].Length
		}
		o.Steps = append(o.Steps, step)
	}
	return o
}

func (p planned) text(w io.Writer) error {
	if p.Plan == nil {
		_, err := fmt.Fprintln(w, p.Nothing)
		return err
	}
	if err := p.Plan.text(w); err != nil {
		return err
	}
	var err error
	switch {
	case p.Outcome != nil:
		err = outcomeText(*p.Outcome, w)
	case p.failed:
	case p.file != "":
		_, err = fmt.Fprintf(w, "Nothing was changed. To do it: chronik repair apply --dir %s%s %s\n", p.dir, p.Plan.acceptFlag(), p.file)
	default:
		_, err = fmt.Fprintf(w, "Nothing was changed. To do it: %s --apply%s\n", p.again, p.Plan.acceptFlag())
	}
	return err
}

// acceptFlag is the flag that the plan needs, with a space before it.
func (p *planOutline) acceptFlag() string {
	if len(p.NeedsAccept) == 0 {
		return ""
	}
	return " --accept-loss " + repair.LossText(p.LossTotal)
}

func (p *planOutline) text(w io.Writer) error {
	fmt.Fprintf(w, "Plan %s: %s %s\n", p.ID, p.Verb, strings.Join(p.Args, " "))
	for _, line := range p.Summary {
		fmt.Fprintf(w, "  %s\n", line)
	}
	fmt.Fprintf(w, "Steps (%d inputs are checked again before the first):\n", p.Inputs)
	for _, s := range p.Steps {
		fmt.Fprintf(w, "  %s\n", s)
	}
	if len(p.Loss)+len(p.GroupOffsets) == 0 {
		fmt.Fprintln(w, "Loss: nothing")
	} else if p.LossTotal == repair.LossUnknown {
		fmt.Fprintln(w, "Loss: how much in all cannot be said")
	} else {
		fmt.Fprintf(w, "Loss: %d in all\n", p.LossTotal)
	}
	for i := range p.Loss {
		l := &p.Loss[i]
		if l.Count == repair.LossUnknown {
			fmt.Fprintf(w, "  %s: %s from %d on, if there were any; how many cannot be said, acknowledged: %s", l.Name(), l.What, l.First, l.Acknowledged)
		} else {
			fmt.Fprintf(w, "  %s: %d %s, %d to %d, acknowledged: %s", l.Name(), l.Count, l.What, l.First, l.Last, l.Acknowledged)
		}
		if l.Note != "" {
			fmt.Fprintf(w, " (%s)", l.Note)
		}
		fmt.Fprintln(w)
	}
	for _, g := range p.GroupOffsets {
		left := "no older one is known"
		if g.Left != nil {
			left = fmt.Sprintf("%d counts again", *g.Left)
		}
		fmt.Fprintf(w, "  group %s: committed offset %d of %s-%d; %s\n", g.Group, g.Offset, g.Topic, g.Partition, left)
	}
	if len(p.After) == 0 {
		fmt.Fprintln(w, "Afterwards: a start of the node finds nothing wrong")
	}
	for _, line := range p.After {
		fmt.Fprintf(w, "Afterwards still: %s\n", line)
	}
	for _, why := range p.NeedsAccept {
		fmt.Fprintf(w, "Needs --accept-loss %s: %s\n", repair.LossText(p.LossTotal), why)
	}
	return nil
}

func (s stepOutline) String() string {
	switch {
	case s.Op == repair.OpRename:
		return fmt.Sprintf("rename %s to %s", s.File, s.To)
	case s.Op == repair.OpWrite && s.Before == nil:
		return fmt.Sprintf("make %s with %d bytes", s.File, s.After.Size)
	case s.Op == repair.OpWrite && s.Bytes == 0:
		return fmt.Sprintf("cut %s from %d to %d bytes", s.File, s.Before.Size, s.After.Size)
	case s.Op == repair.OpWrite:
		return fmt.Sprintf("write %d bytes of %s, %d bytes before and %d after", s.Bytes, s.File, s.Before.Size, s.After.Size)
	case s.Op == repair.OpRemove:
		return fmt.Sprintf("move %s, %d bytes, to repairs/", s.File, s.Before.Size)
	}
	return fmt.Sprintf("%s %s", s.Op, s.File)
}

func outcomeText(o repair.Outcome, w io.Writer) error {
	already := ""
	if o.Already {
		already = " already; nothing was done"
	}
	_, err := fmt.Fprintf(w, "%s: %s %s%s. Plan, overwritten bytes and inverse are in %s\n", o.State, o.Verb, o.ID, already, o.Kept)
	return err
}

// MarshalJSON lets the outline's own fields hide those of the plan.
func (p *planOutline) MarshalJSON() ([]byte, error) {
	type plan repair.Plan
	return json.Marshal(struct {
		plan
		Inputs int           `json:"inputs"`
		Steps  []stepOutline `json:"steps"`
	}{plan(p.Plan), p.Inputs, p.Steps})
}
