// Command chronik is a Kafka-compatible broker and the toolkit that explains what is on its disk, in one binary.
//
// The idea: `chronik serve` runs a node; every other command either asks a node or reads a directory, and says which. The commands live
// in this package, one file per family, each as options, constructor and run; what they do lives in the packages below.
//
// The guarantee: exit codes come from one table (exit.go), findings go to stdout and everything else to stderr, `-o` works on every
// command that prints data, and a command that is marked read-only opens nothing for writing.
package main

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	_ "chronik.dev/chronik/tui/background" // before bubbletea is linked: see its package comment
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run is main with its world as arguments.
func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	app := &app{in: stdin, out: stdout, err: stderr}
	root := newRoot(app)
	root.SetArgs(args)
	return app.finish(root.Execute())
}

// app is what all commands share: streams, the output format and whether a command began to run.
type app struct {
	in       io.Reader
	out, err io.Writer
	format   string // -o
	began    bool   // arguments were accepted: errors from now on are no usage errors
}

// finish prints the error, if any, and returns the exit code.
func (a *app) finish(err error) int {
	if err == nil {
		return exitClean
	}
	if !a.began {
		err = usage(err)
	}
	code := exitCode(err)
	if text := err.Error(); text != "" {
		fmt.Fprintf(a.err, "chronik: %s\n", text)
	}
	if code == exitUsage {
		fmt.Fprintln(a.err, "Run 'chronik help' for the commands, or add --help to one for its flags.")
	}
	return code
}

// newRoot builds the tree of commands.
func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "chronik",
		Short: "A durable Kafka-compatible broker and the toolkit that explains its disk",
		Long: `chronik runs a durable Kafka-compatible broker (chronik serve), asks and administers clusters, Apache Kafka's too (chronik topic, ...),
and reads what is on a node's disk (chronik wal,
chronik raft).

Every command is marked read-only or with what it changes. Exit codes: chronik help exit-codes.`,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		Args:          cobra.NoArgs,
	}
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	root.SetGlobalNormalizationFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		if name == "bootstrap-server" { // as Apache Kafka's tools call it
			name = "bootstrap"
		}
		return pflag.NormalizedName(name)
	})
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage(err) })
	root.AddGroup(
		&cobra.Group{ID: groupRun, Title: "Run:"},
		&cobra.Group{ID: groupObserve, Title: "Observe:"},
		&cobra.Group{ID: groupAdminister, Title: "Administer:"},
		&cobra.Group{ID: groupRecover, Title: "Offline recovery:"},
	)
	root.AddCommand(newServe(a), newVersion(a), newDoctor(a), newWal(a), newLog(a), newRaft(a), newRepair(a), newExitCodes(), newPackaging())
	root.AddCommand(newCluster(a), newTopic(a), newConfig(a), newGroup(a), newProduce(a), newConsume(a))
	root.AddCommand(newTop(a))
	a.noteBegin(root)
	return root
}

// noteBegin makes every command note that it began: cobra has accepted command, flags and arguments by then.
func (a *app) noteBegin(cmd *cobra.Command) {
	if run := cmd.RunE; run != nil {
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			a.began = true
			return run(cmd, args)
		}
	}
	for _, child := range cmd.Commands() {
		a.noteBegin(child)
	}
}

// Groups of `chronik help`.
const (
	groupRun        = "run"
	groupObserve    = "observe"
	groupAdminister = "administer"
	groupRecover    = "recover"
)
