package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"chronik.dev/chronik/walinspect"
)

type doctorOptions struct {
	walOptions
	deep bool
}

func newDoctor(a *app) *cobra.Command {
	o := &doctorOptions{}
	cmd := &cobra.Command{
		Use:   "doctor PATH",
		Short: "Say in one sentence what is wrong with a directory, and what to run now",
		Long: `Triage: verify PATH, name the problems, the gravest first, with evidence and what is lost, and give the one command that comes next.
Run it again after each step, until nothing is wrong.

Exit codes: 0 a node starts and nothing is lost, 3 corrupt, 4 torn tail only, 5 the node is running, 6 I/O error, 10 undecided,
15 unknown version.`,
		Example: `  chronik doctor ./chronik-data
  chronik doctor --deep -o json ./chronik-data`,
		GroupID: groupRecover,
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			return o.read(a, args[0], func(target *walinspect.Target, bar *progress) error { return o.run(a, target, bar) })
		},
	}
	o.flags(cmd)
	cmd.Flags().BoolVar(&o.deep, "deep", false, "decode everything, compare everything, as wal verify --deep")
	a.formatFlag(cmd)
	return marked(cmd, readOnly)
}

func (o *doctorOptions) run(a *app, target *walinspect.Target, bar *progress) error {
	d, err := target.Diagnose(levelOf(false, o.deep))
	bar.clear()
	if err != nil && !errors.Is(err, walinspect.ErrStarted) {
		return fmt.Errorf("cannot examine %s: %w", target.Path, err)
	}
	if printErr := document(a, "doctor", *d, diagnosisText); printErr != nil {
		return printErr
	}
	if err != nil {
		return started(target.Path, "", err)
	}
	return verdictError(d.Verdict)
}

func diagnosisText(d walinspect.Diagnosis, w io.Writer) error {
	fmt.Fprintf(w, "%s: %s\n", d.Target, d.Diagnosis)
	for i, p := range d.Problems {
		fmt.Fprintf(w, "\n%d. %s (%s, %s)\n   %s\n", i+1, p.Code, p.Verdict, counted(p.Findings, "finding"), p.Diagnosis)
		for _, e := range p.Evidence {
			fmt.Fprintf(w, "   evidence: %s\n", e)
		}
		if n := p.Findings - len(p.Evidence); n > 0 {
			fmt.Fprintf(w, "             and %d more: chronik wal verify lists all\n", n)
		}
		for _, l := range p.Lost {
			fmt.Fprintf(w, "   lost:     %s\n", l)
		}
	}
	if len(d.Problems) > 0 {
		fmt.Fprintln(w)
	}
	_, err := fmt.Fprintf(w, "next: %s\n", d.Next)
	return err
}
