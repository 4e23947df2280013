package main

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"chronik.dev/chronik/broker/config"
)

// shownKey is one key of `config show`.
type shownKey struct {
	Key    string  `json:"key"`
	Value  *string `json:"value"`  // null = unset
	Origin string  `json:"origin"` // default, file, env or flag
	Where  string  `json:"where,omitempty"`
}

func newConfigShow(a *app) *cobra.Command {
	o := &serveOptions{}
	var origin, all bool
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Show the settings with which 'chronik serve' would start here",
		Long: `Show the settings with which 'chronik serve' would start, given the same flags, environment and file: the changed ones, or --all. No
node is asked and nothing is started; what a running one uses says 'chronik config describe broker ID'. --origin adds the flag, the
variable, or the line of the file that gives each value.`,
		Example: `  chronik config show --origin
  chronik config show --all --set num.partitions=6 -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := o.resolve(cmd, os.Environ())
			if err != nil {
				return err
			}
			return a.showConfig(cfg, origin, all)
		},
	}
	o.flags(cmd)
	cmd.Flags().BoolVar(&origin, "origin", false, "say where each value comes from")
	cmd.Flags().BoolVar(&all, "all", false, "also what nobody set")
	a.formatFlag(cmd)
	return marked(cmd, readOnly)
}

func (a *app) showConfig(cfg *config.Config, origin, all bool) error {
	rows := &tabular[shownKey, settingTotals]{
		headers: []string{"key", "value"},
		row:     func(k shownKey) []string { return []string{k.Key, deref(k.Value)} },
		end: func(sum settingTotals, w io.Writer) error {
			if sum.Settings > 0 {
				return nil
			}
			_, err := fmt.Fprintln(w, "nothing is set: the defaults would be in force; --all lists them")
			return err
		},
	}
	if origin {
		rows.headers = append(rows.headers, "origin", "where")
		rows.row = func(k shownKey) []string { return []string{k.Key, deref(k.Value), k.Origin, k.Where} }
	}
	p := a.newPrinter("config-show", rows)
	var sum settingTotals
	for _, k := range config.BrokerKeys() {
		value, from, where, _ := cfg.Origin(k.Name)
		if from == config.Default && !all {
			continue
		}
		line := shownKey{Key: k.Name, Origin: from.String(), Where: where}
		if from != config.Default || !k.NoDefault {
			line.Value = &value
		}
		sum.Settings++
		if err := p.Item(line); err != nil {
			return err
		}
	}
	return p.Close(sum)
}
