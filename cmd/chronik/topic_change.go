package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// change is what became of one topic, group or setting.
type change struct {
	Name   string `json:"name"`
	Result string `json:"result"` // created, exists, deleted, failed, ...
	Detail string `json:"detail,omitempty"`
	Error  string `json:"error,omitempty"`
	err    error
}

// changeTotals closes every command that changes things by name.
type changeTotals struct {
	Done   int `json:"done"`
	Failed int `json:"failed"`
}

// changes prints what became of each, and is an error if any failed: the first one, which decides the exit code.
func (a *app) changes(s *session, kind, doing, noun string, all []change) error {
	p := a.newPrinter(kind, prose[change, changeTotals]{
		each: func(c change, w io.Writer) error {
			if c.err != nil {
				return nil // the error says it
			}
			line := fmt.Sprintf("%s %s %s", noun, c.Name, c.Result)
			if c.Detail != "" {
				line += " (" + c.Detail + ")"
			}
			_, err := fmt.Fprintln(w, line)
			return err
		},
		end: func(changeTotals, io.Writer) error { return nil },
	})
	var sum changeTotals
	var failures []error
	for _, c := range all {
		if c.err != nil {
			sum.Failed++
			failures = append(failures, s.failed(doing+" "+noun+" "+c.Name, c.err))
			c.Result, c.Error = "failed", c.err.Error()
		} else {
			sum.Done++
		}
		if err := p.Item(c); err != nil {
			return err
		}
	}
	if err := p.Close(sum); err != nil {
		return err
	}
	return errors.Join(failures...)
}

type topicCreate struct {
	clientOptions
	partitions  int32
	replicas    int16
	configs     []string
	ifNotExists bool
	dryRun      bool
}

func newTopicCreate(a *app) *cobra.Command {
	o := &topicCreate{}
	cmd := &cobra.Command{
		Use:   "create TOPIC...",
		Short: "Create topics",
		Long: `Create topics. Without --partitions or --replication-factor the broker's num.partitions and default.replication.factor decide.
Settings have Kafka's names; 'chronik config describe topic NAME' lists them.`,
		Example: `  chronik topic create orders --partitions 3
  chronik topic create events --set retention.ms=86400000 --if-not-exists`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.run(a, cmd, args)
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	f := cmd.Flags()
	f.Int32VarP(&o.partitions, "partitions", "p", -1, "`N` partitions; -1 leaves it to the broker")
	f.Int16VarP(&o.replicas, "replication-factor", "r", -1, "`N` replicas of each partition; -1 leaves it to the broker")
	f.StringArrayVarP(&o.configs, "set", "s", nil, "`KEY=VALUE`, a setting; may be repeated")
	f.BoolVar(&o.ifNotExists, "if-not-exists", false, "a topic that exists is no error; it is left as it is")
	f.BoolVar(&o.dryRun, "dry-run", false, "let the broker check the request and create nothing")
	_ = cmd.RegisterFlagCompletionFunc("set", completeKeys) // fails only for a flag that does not exist
	o.flags(cmd)
	a.formatFlag(cmd)
	return marked(cmd, changesNet)
}

func (o *topicCreate) run(a *app, cmd *cobra.Command, names []string) error {
	if o.partitions == 0 || o.partitions < -1 {
		return usagef("--partitions %d: a topic has at least one", o.partitions)
	}
	if o.replicas == 0 || o.replicas < -1 {
		return usagef("--replication-factor %d: a partition has at least one replica", o.replicas)
	}
	pairs, err := settings(o.configs)
	if err != nil {
		return err
	}
	configs := map[string]*string{}
	for _, p := range pairs {
		configs[p.key] = &p.value
	}
	s, err := o.connect(cmd.Context())
	if err != nil {
		return err
	}
	defer s.close()
	create := s.admin.CreateTopics
	if o.dryRun {
		create = s.admin.ValidateCreateTopics
	}
	created, err := create(s.ctx, o.partitions, o.replicas, configs, names...)
	if err != nil {
		return s.failed("create "+strings.Join(names, ", "), err)
	}
	var all []change
	for _, name := range names {
		r := created[name]
		c := change{Name: name, Result: "created", err: similarKey(brokerError(r.Err, r.ErrMessage), topicConfig, pairs)}
		switch {
		case o.ifNotExists && errors.Is(r.Err, kerr.TopicAlreadyExists):
			c.Result, c.err = "exists", nil
		case r.Err == nil && r.NumPartitions > 0:
			c.Detail = counted(r.NumPartitions, "partition") + ", " + counted(int32(r.ReplicationFactor), "replica")
		}
		if o.dryRun && c.err == nil && c.Result == "created" {
			c.Result = "would be created"
		}
		all = append(all, c)
	}
	return a.changes(s, "topic-create", "create", "topic", all)
}

func newTopicAlter(a *app) *cobra.Command {
	o := &configChange{}
	cmd := &cobra.Command{
		Use:   "alter TOPIC",
		Short: "Change a topic's settings",
		Long: `Change settings of a topic: --set gives it a value of its own, --unset takes it away, so that the broker's applies again. All of
them change together or not at all. 'chronik topic add-partitions' adds partitions.`,
		Example: `  chronik topic alter orders --set retention.ms=3600000 --unset segment.bytes`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(o.set)+len(o.unset) == 0 {
				return usagef("nothing to change: give --set KEY=VALUE or --unset KEY; partitions are added with 'chronik topic add-partitions'")
			}
			return o.run(a, cmd, "topic-alter", configTarget{topicConfig, args[0]})
		},
		ValidArgsFunction: firstOnly(completeTopics(&o.clientOptions)),
	}
	f := cmd.Flags()
	f.StringArrayVarP(&o.set, "set", "s", nil, "`KEY=VALUE`, a setting; may be repeated")
	f.StringArrayVarP(&o.unset, "unset", "u", nil, "`KEY` whose own value goes; may be repeated")
	f.BoolVar(&o.dryRun, "dry-run", false, "let the broker check the request and change nothing")
	_ = cmd.RegisterFlagCompletionFunc("set", completeKeys)
	_ = cmd.RegisterFlagCompletionFunc("unset", completeKeys)
	o.flags(cmd)
	a.formatFlag(cmd)
	return marked(cmd, changesNet)
}

type addPartitions struct {
	clientOptions
	to, by int
	dryRun bool
}

func newTopicAddPartitions(a *app) *cobra.Command {
	o := &addPartitions{}
	cmd := &cobra.Command{
		Use:   "add-partitions TOPIC (--to N | --by N)",
		Short: "Add partitions to a topic",
		Long: `Add partitions. They cannot be taken away again, and from then on a key may go to another partition than its older records,
which ends the order of that key's records across the change.`,
		Example: "  chronik topic add-partitions orders --to 6\n  chronik topic add-partitions orders --by 3",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.run(a, cmd, args[0])
		},
		ValidArgsFunction: firstOnly(completeTopics(&o.clientOptions)),
	}
	f := cmd.Flags()
	f.IntVar(&o.to, "to", 0, "`N` partitions altogether")
	f.IntVar(&o.by, "by", 0, "`N` partitions more")
	f.BoolVar(&o.dryRun, "dry-run", false, "let the broker check the request and add nothing")
	cmd.MarkFlagsOneRequired("to", "by")
	cmd.MarkFlagsMutuallyExclusive("to", "by")
	o.flags(cmd)
	a.formatFlag(cmd)
	return marked(cmd, changesNet)
}

func (o *addPartitions) run(a *app, cmd *cobra.Command, topic string) error {
	byCount := cmd.Flags().Changed("by")
	if byCount && o.by < 1 || !byCount && o.to < 1 {
		return usagef("a topic gets at least one more partition: --to and --by take numbers from 1")
	}
	s, err := o.connect(cmd.Context())
	if err != nil {
		return err
	}
	defer s.close()
	all, err := s.topics(topic)
	if err != nil {
		return err
	}
	have := len(all[topic].Partitions)
	if byCount {
		o.to = have + o.by
	}
	if o.to <= have {
		return refusedf("topic %s has %s already; --to must be more: partitions are never taken away", topic, counted(have, "partition"))
	}
	update := s.admin.UpdatePartitions
	result := fmt.Sprintf("has %d partitions", o.to)
	if o.dryRun {
		update, result = s.admin.ValidateUpdatePartitions, fmt.Sprintf("would have %d partitions", o.to)
	}
	resp, err := update(s.ctx, o.to, topic)
	if err != nil {
		return s.failed("add partitions to "+topic, err)
	}
	a.hint("keys are spread over the new number of partitions from now on; consumers see the new ones at their next refresh of metadata")
	r := resp[topic]
	return a.changes(s, "topic-add-partitions", "add partitions to", "topic",
		[]change{{Name: topic, Result: result, Detail: fmt.Sprintf("had %d", have), err: brokerError(r.Err, r.ErrMessage)}})
}

type topicDelete struct {
	clientOptions
	yes, ifExists bool
}

func newTopicDelete(a *app) *cobra.Command {
	o := &topicDelete{}
	cmd := &cobra.Command{
		Use:   "delete TOPIC...",
		Short: "Delete topics with all their records",
		Long: `Delete topics with all their records. What would go is said first, and on a terminal the name has to be typed; without a terminal
--yes is needed. Nothing is deleted if one of the topics does not exist, unless --if-exists is given.`,
		Example:           "  chronik topic delete orders\n  chronik topic delete orders payments --yes",
		Args:              cobra.MinimumNArgs(1),
		RunE:              o.asking(func(s *session, args []string) error { return o.run(a, s, args) }),
		ValidArgsFunction: completeTopics(&o.clientOptions),
	}
	f := cmd.Flags()
	f.BoolVar(&o.yes, "yes", false, "do not ask")
	f.BoolVar(&o.ifExists, "if-exists", false, "a topic that does not exist is no error")
	o.flags(cmd)
	a.formatFlag(cmd)
	return marked(cmd, changesNet)
}

func (o *topicDelete) run(a *app, s *session, names []string) error {
	found, err := s.admin.ListTopicsWithInternal(s.ctx, names...)
	if err != nil {
		return s.failed("look up "+strings.Join(names, ", "), err)
	}
	var all []change
	var present []string
	for _, name := range names {
		if d := found[name]; errors.Is(d.Err, kerr.UnknownTopicOrPartition) {
			if !o.ifExists {
				return s.noTopic(name)
			}
			all = append(all, change{Name: name, Result: "does not exist"})
			continue
		}
		present = append(present, name)
	}
	if len(present) == 0 {
		return a.changes(s, "topic-delete", "delete", "topic", all)
	}
	infos, err := s.describeTopics(present)
	if err != nil {
		return err
	}
	if !o.yes {
		s.cancel() // a person may think longer than the timeout
	}
	for _, t := range infos {
		if err := a.confirm(o.yes, t.consequence(), t.Topic); err != nil {
			return err
		}
	}
	deleted, err := o.delete(s, present)
	if err != nil {
		return s.failed("delete "+strings.Join(present, ", "), err)
	}
	for i, name := range present {
		r := deleted[name]
		all = append(all, change{Name: name, Result: "deleted", Detail: counted(infos[i].Records, "record"), err: brokerError(r.Err, r.ErrMessage)})
	}
	return a.changes(s, "topic-delete", "delete", "topic", all)
}

func (o *topicDelete) delete(s *session, names []string) (kadm.DeleteTopicResponses, error) {
	ctx, cancel := s.anew()
	defer cancel()
	return s.admin.DeleteTopics(ctx, names...)
}

// consequence says what deleting the topic destroys.
func (t *topicInfo) consequence() string {
	text := fmt.Sprintf("deleting topic %s destroys its %s in %s", t.Topic, counted(t.Records, "record"), counted(t.Partitions, "partition"))
	if t.Bytes != nil {
		text += " (" + bytesText(*t.Bytes) + ")"
	}
	if t.Internal {
		text += ", which the brokers need for themselves"
	}
	return text
}
