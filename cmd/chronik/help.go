package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// effect is what a command does to the world; every command says it in its help.
type effect string

const (
	readOnly   effect = "Read-only: this command changes nothing."
	changesDir effect = "Changes DIR: this command writes to the data directory."
	changesNet effect = "Changes cluster: this command alters what the brokers hold."
	makesNew   effect = "Changes nothing that is there: this command reads DIR and makes something new."
	plansDir   effect = "Changes DIR, but only with --apply: without it the plan is printed and nothing is changed."
)

// marked ends the command's description with its effect.
func marked(cmd *cobra.Command, e effect) *cobra.Command {
	cmd.Long = strings.TrimSpace(cmd.Long) + "\n\n" + string(e)
	return cmd
}

// family is a noun: it has verbs and does nothing itself.
func family(cmd *cobra.Command, verbs ...*cobra.Command) *cobra.Command {
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		return fmt.Errorf("unknown command %q for %q; it has: %s", args[0], cmd.CommandPath(), strings.Join(names(cmd), ", "))
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	cmd.AddCommand(verbs...)
	return cmd
}

func names(cmd *cobra.Command) []string {
	var all []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			all = append(all, c.Name())
		}
	}
	return all
}
