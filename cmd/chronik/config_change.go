package main

import (
	"fmt"
	"io"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"

	"chronik.dev/chronik/broker/config"
)

type configDescribe struct {
	clientOptions
	changed, doc bool
}

type configTotals struct {
	Entity string `json:"entity"`
	Name   string `json:"name"`
	Keys   int    `json:"keys"`
}

func newConfigDescribe(a *app) *cobra.Command {
	o := &configDescribe{}
	cmd := &cobra.Command{
		Use:   "describe " + targetUsage + " [KEY...]",
		Short: "Show the settings in force and where each comes from",
		Long: `Show the settings in force: all of them, or those that are named. The source is what gives the value: topic, broker, cluster, start
(file, environment or flags that the broker was started with) or default. -o json also has the weaker values that it shadows.`,
		Example: `  chronik config describe topic orders
  chronik config describe topic orders retention.ms segment.bytes
  chronik config describe broker 1 --changed
  chronik config describe cluster`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			target, keys, err := parseTarget(args)
			if err != nil {
				return err
			}
			return o.run(a, cmd, target, keys)
		},
		ValidArgsFunction: completeTarget(&o.clientOptions),
	}
	cmd.Flags().BoolVar(&o.changed, "changed", false, "only what does not come from the defaults")
	cmd.Flags().BoolVar(&o.doc, "doc", false, "say below each key what it means")
	o.flags(cmd)
	a.formatFlag(cmd)
	return marked(cmd, readOnly)
}

func (o *configDescribe) run(a *app, cmd *cobra.Command, target configTarget, keys []string) error {
	s, err := o.connect(cmd.Context())
	if err != nil {
		return err
	}
	defer s.close()
	all, err := s.describeConfigs(target)
	if err != nil {
		return err
	}
	if len(keys) > 0 {
		if all, err = pick(all, keys, target); err != nil {
			return err
		}
	}
	rows := &tabular[configLine, configTotals]{
		headers: []string{"key", "value", "source", ""},
		row: func(c configLine) []string {
			return []string{c.Key, c.text(), c.Source, map[bool]string{true: "fixed at start"}[c.ReadOnly]}
		},
		end: func(sum configTotals, w io.Writer) error {
			if sum.Keys > 0 {
				return nil
			}
			_, err := fmt.Fprintf(w, "%s has no settings of its own\n", target)
			return err
		},
	}
	if o.doc {
		rows.headers[3] = "what"
		rows.row = func(c configLine) []string { return []string{c.Key, c.text(), c.Source, firstSentence(c.Doc)} }
	}
	p := a.newPrinter("config-describe", rows)
	sum := configTotals{Entity: target.entity(), Name: target.name}
	for _, c := range all {
		if o.changed && c.Source == "default" {
			continue
		}
		sum.Keys++
		if err := p.Item(c); err != nil {
			return err
		}
	}
	return p.Close(sum)
}

// pick returns the named keys, in the order of their names as given.
func pick(all []configLine, keys []string, target configTarget) ([]configLine, error) {
	byKey := map[string]configLine{}
	names := make([]string, 0, len(all))
	for _, c := range all {
		byKey[c.Key] = c
		names = append(names, c.Key)
	}
	var picked []configLine
	for _, key := range keys {
		c, ok := byKey[key]
		if !ok {
			next := fmt.Sprintf("'chronik config describe %s' lists all", target)
			if like := similar(key, names); like != "" {
				next = fmt.Sprintf("did you mean %s? %s", like, next)
			}
			return nil, &exitError{code: exitNotFound, err: fmt.Errorf("%s has no setting %s; %s", target, key, next)}
		}
		picked = append(picked, c)
	}
	return picked, nil
}

// firstSentence shortens documentation for a table.
func firstSentence(doc string) string {
	doc = strings.Join(strings.Fields(doc), " ")
	if end := strings.Index(doc, ". "); end >= 0 {
		doc = doc[:end+1]
	}
	return shown(doc)
}

// configChange sets and unsets keys of one target.
type configChange struct {
	clientOptions
	set, unset []string
	dryRun     bool
}

func newConfigSet(a *app) *cobra.Command {
	o := &configChange{}
	cmd := &cobra.Command{
		Use:   "set " + targetUsage + " KEY=VALUE...",
		Short: "Change settings while the cluster runs",
		Long: `Give a topic, a broker or the cluster values of its own. All of them change together or not at all; other settings stay as they are.
Settings that are fixed when a broker starts are refused.`,
		Example: `  chronik config set topic orders retention.ms=3600000 segment.bytes=16777216
  chronik config set cluster log.retention.ms=86400000 --dry-run`,
		Args: cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			target, pairs, err := parseTarget(args)
			if err != nil {
				return err
			}
			if len(pairs) == 0 {
				return usagef("nothing to set: add KEY=VALUE, as retention.ms=86400000")
			}
			o.set = pairs
			return o.run(a, cmd, "config-set", target)
		},
		ValidArgsFunction: completeTarget(&o.clientOptions),
	}
	o.more(a, cmd)
	return marked(cmd, changesNet)
}

func newConfigUnset(a *app) *cobra.Command {
	o := &configChange{}
	cmd := &cobra.Command{
		Use:   "unset " + targetUsage + " KEY...",
		Short: "Take settings away, so that the weaker value applies again",
		Long: `Take away values that a topic, a broker or the cluster has of its own: the weaker value applies again. A key that has none is no
error.`,
		Example: "  chronik config unset topic orders retention.ms\n  chronik config unset cluster log.retention.ms",
		Args:    cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			target, keys, err := parseTarget(args)
			if err != nil {
				return err
			}
			if len(keys) == 0 {
				return usagef("nothing to unset: name a KEY")
			}
			o.unset = keys
			return o.run(a, cmd, "config-unset", target)
		},
		ValidArgsFunction: completeTarget(&o.clientOptions),
	}
	o.more(a, cmd)
	return marked(cmd, changesNet)
}

func (o *configChange) more(a *app, cmd *cobra.Command) {
	cmd.Flags().BoolVar(&o.dryRun, "dry-run", false, "let the broker check the request and change nothing")
	o.flags(cmd)
	a.formatFlag(cmd)
}

// run changes the target, all keys in one request, and then shows each key's value in force.
func (o *configChange) run(a *app, cmd *cobra.Command, kind string, target configTarget) error {
	pairs, err := settings(o.set)
	if err != nil {
		return err
	}
	var ops []kadm.AlterConfig
	for _, p := range pairs {
		ops = append(ops, kadm.AlterConfig{Op: kadm.SetConfig, Name: p.key, Value: &p.value})
	}
	for _, key := range o.unset {
		ops = append(ops, kadm.AlterConfig{Op: kadm.DeleteConfig, Name: key})
		pairs = append(pairs, setting{key: key})
	}
	s, err := o.connect(cmd.Context())
	if err != nil {
		return err
	}
	defer s.close()
	before, err := s.describeConfigs(target)
	if err != nil {
		return err
	}
	if err := s.alter(target, ops, o.dryRun); err != nil {
		return s.failed("change the settings of "+target.String(), similarKey(err, target.kind, pairs))
	}
	p := a.newPrinter(kind, prose[changedSetting, settingTotals]{
		each: changedSetting.text,
		end:  func(settingTotals, io.Writer) error { return nil },
	})
	for _, pair := range pairs {
		c := changedSetting{Key: pair.key, Value: &pair.value, Before: find(before, pair.key), DryRun: o.dryRun, target: target}
		c.Entity, c.Name = target.entity(), target.name
		if slices.Contains(o.unset, pair.key) {
			c.Value = nil
		}
		if err := p.Item(c); err != nil {
			return err
		}
	}
	return p.Close(settingTotals{len(pairs)})
}

// changedSetting is one key that was set or unset.
type changedSetting struct {
	Entity string      `json:"entity"`
	Name   string      `json:"name"`
	Key    string      `json:"key"`
	Value  *string     `json:"value"`  // null = unset
	Before *configLine `json:"before"` // null = the target did not list it
	DryRun bool        `json:"dry_run"`
	target configTarget
}

func (c changedSetting) text(w io.Writer) error {
	line := fmt.Sprintf("%s: %s unset", c.target, c.Key)
	if c.Value != nil {
		line = fmt.Sprintf("%s: %s=%s", c.target, c.Key, *c.Value)
	}
	if c.Before != nil {
		line += fmt.Sprintf(" (was %s, from %s)", c.Before.text(), c.Before.Source)
	}
	if c.DryRun {
		line = "valid, not done: " + line
	}
	_, err := fmt.Fprintln(w, line)
	return err
}

// find returns the line of a key without its documentation, nil if there is none.
func find(all []configLine, key string) *configLine {
	for _, c := range all {
		if c.Key == key {
			c.Doc, c.Shadows = "", nil
			return &c
		}
	}
	return nil
}

func (s *session) alter(target configTarget, ops []kadm.AlterConfig, dryRun bool) error {
	var resp kadm.AlterConfigsResponses
	var err error
	switch {
	case target.kind == topicConfig && dryRun:
		resp, err = s.admin.ValidateAlterTopicConfigs(s.ctx, ops, target.name)
	case target.kind == topicConfig:
		resp, err = s.admin.AlterTopicConfigs(s.ctx, ops, target.name)
	default:
		var brokers []int32
		if target.name != "" {
			id, perr := strconv.ParseInt(target.name, 10, 32)
			if perr != nil {
				return usage(perr)
			}
			brokers = append(brokers, int32(id))
		}
		if dryRun {
			resp, err = s.admin.ValidateAlterBrokerConfigs(s.ctx, ops, brokers...)
		} else {
			resp, err = s.admin.AlterBrokerConfigs(s.ctx, ops, brokers...)
		}
	}
	if err != nil {
		return err
	}
	for _, r := range resp {
		if r.Err != nil {
			return brokerError(r.Err, r.ErrMessage)
		}
	}
	return nil
}

// completeTarget offers kinds, then names, then keys.
func completeTarget(o *clientOptions) completion {
	return func(cmd *cobra.Command, args []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
		switch {
		case len(args) == 0:
			return []cobra.Completion{"topic", "broker", "cluster"}, cobra.ShellCompDirectiveNoFileComp
		case len(args) == 1 && args[0] == "topic":
			return completeTopics(o)(cmd, nil, toComplete)
		case len(args) == 1 && args[0] == "broker":
			return complete(o, brokerNames)(cmd, nil, toComplete)
		}
		keys := config.BrokerKeys()
		if args[0] == "topic" {
			keys = config.TopicKeys()
		}
		return keysLike(keys, toComplete), cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	}
}

func brokerNames(s *session) ([]string, error) {
	brokers, err := s.admin.ListBrokers(s.ctx)
	var names []string
	for _, id := range brokers.NodeIDs() {
		names = append(names, strconv.Itoa(int(id)))
	}
	sort.Strings(names)
	return names, err
}
