package main

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"

	"chronik.dev/chronik/cmd/chronik/recordtext"
)

type consumeOptions struct {
	clientOptions
	from, group, format, isolation string
	partitions                     []int32
	count                          int64
	idle                           time.Duration
	untilEnd                       bool
}

// untilEndIdle bounds --until-end if nobody gave a --timeout.
const untilEndIdle = 30 * time.Second

func newConsume(a *app) *cobra.Command {
	o := &consumeOptions{}
	o.timeout = 15 * time.Second
	cmd := &cobra.Command{
		Use:   "consume TOPIC",
		Short: "Print records of a topic, as they are and as they come",
		Long: `Print the records of a topic, from its beginning unless --from says otherwise, and go on as new ones come until --count, --until-end,
--timeout or Ctrl-C ends it. Nothing is committed unless --group is given: then the records of the group's partitions are read from its
committed offsets on, and each one that was printed is committed.

--from is ` + placeUsage + `.

--format is one of
  LAYOUT  text with verbs: %t topic, %p partition, %o offset, %d time in ms, %k key, %v value, %h{%k=%v } headers, \n, \t
          (franz-go's kgo.NewRecordFormatter has all of them); '%v\n' unless it is given
  json    one line of JSON per record, without the envelope of -o ndjson
  raw     the bytes of the values and nothing else`,
		Example: `  chronik consume orders --until-end
  chronik consume orders --from -10 --format '%p %o %k %v %h{%k=%v }\n'
  chronik consume orders --partition 0 --from 100 --count 5 -o json
  chronik consume orders --group billing --timeout 10s`,
		GroupID: groupAdminister,
		Args:    cobra.ExactArgs(1),
		RunE:    func(cmd *cobra.Command, args []string) error { return o.run(a, cmd, args[0]) },

		ValidArgsFunction: firstOnly(completeTopics(&o.clientOptions)),
	}
	f := cmd.Flags()
	f.StringVar(&o.from, "from", "beginning", "`PLACE` to begin at; with --group only where nothing is committed")
	f.Int32SliceVarP(&o.partitions, "partition", "p", nil, "only these partitions, `N,N`")
	f.StringVarP(&o.group, "group", "g", "", "read as a member of `GROUP`, and commit")
	f.Int64VarP(&o.count, "count", "n", 0, "end after `N` records; 0 means no bound")
	f.BoolVar(&o.untilEnd, "until-end", false, "end at what was the end when it began")
	f.DurationVar(&o.idle, "timeout", 0, "end when no record came for `DURATION`; exit code 14 if --count or --until-end was not reached (0 = never; with --until-end 30s)")
	f.StringVar(&o.format, "format", `%v\n`, "`FORMAT` of a record: a layout, json or raw")
	f.StringVar(&o.isolation, "isolation", "committed", "`LEVEL`: committed leaves out records of open and aborted transactions, uncommitted does not")
	_ = cmd.RegisterFlagCompletionFunc("group", completeGroups(&o.clientOptions)) // fails only for a flag that does not exist
	for name, values := range map[string][]cobra.Completion{
		"from": {"beginning", "end"}, "format": {"json", "raw"}, "isolation": {"committed", "uncommitted"},
	} {
		_ = cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
	}
	o.bootstrapFlag(cmd)
	a.formatFlag(cmd)
	cmd.MarkFlagsMutuallyExclusive("output", "format")
	cmd.Long += "\n\nRead-only without --group: this command changes nothing then."
	return marked(cmd, "Changes cluster with --group: it commits offsets.")
}

func (o *consumeOptions) run(a *app, cmd *cobra.Command, topic string) error {
	where, format, err := o.check()
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	trouble := &outage{a: a}
	opts := []kgo.Opt{
		kgo.KeepControlRecords(), kgo.FetchIsolationLevel(kgo.ReadUncommitted()), kgo.WithHooks(trouble), kgo.FetchMaxWait(time.Second),
	}
	committed := o.isolation == "committed"
	if committed {
		opts = append(opts, kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	}
	s, err := o.connect(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	begin, err := o.begin(s, topic, where, committed)
	if err != nil {
		return err
	}
	trouble.begin()
	c := &consumption{o: o, topic: topic, next: begin, end: map[int32]int64{}, outage: trouble}
	for p, b := range begin {
		c.end[p] = b.end
	}
	p := a.newPrinter("consume", prose[recordtext.Record, *consumed]{end: func(*consumed, io.Writer) error { return nil }})
	c.print = func(r *kgo.Record) error { return p.Item(recordtext.Of(r)) }
	if a.format == formatTable {
		var text []byte
		c.print = func(r *kgo.Record) (err error) {
			if text, err = format.Append(text[:0], r); err == nil {
				_, err = p.w.Write(text)
			}
			return err
		}
	}
	c.flush = p.Flush
	failure := c.run(ctx, s.address, opts, where)
	if err := p.Close(c.sum()); err != nil {
		return err
	}
	a.hint("%s", counted(c.printed, "record"))
	return failure
}

func (o *consumeOptions) check() (place, *recordtext.Format, error) {
	where, err := parsePlace("--from", o.from, time.Now())
	if err != nil {
		return where, nil, err
	}
	format, err := recordtext.NewFormat(o.format)
	switch {
	case err != nil:
		return where, nil, usage(fmt.Errorf("--format: %w", err))
	case o.isolation != "committed" && o.isolation != "uncommitted":
		return where, nil, usagef("--isolation %s is none; use committed or uncommitted", o.isolation)
	case o.count < 0 || o.idle < 0:
		return where, nil, usagef("--count and --timeout cannot be negative")
	case o.group != "" && len(o.partitions) > 0:
		return where, nil, usagef("--group and --partition: the group decides who reads which partition")
	}
	for _, p := range o.partitions {
		if p < 0 {
			return where, nil, usagef("--partition %d is none", p)
		}
	}
	if o.untilEnd {
		o.idle = cmp.Or(o.idle, untilEndIdle)
	}
	return where, format, nil
}

// begin finds where to start and, for --until-end, where to stop, in every partition that is wanted.
func (o *consumeOptions) begin(s *session, topic string, where place, committed bool) (map[int32]bounds, error) {
	if _, err := s.topics(topic); err != nil {
		return nil, err
	}
	found, err := s.locate(where, committed, topic)
	if err != nil {
		return nil, err
	}
	all := found[topic]
	for _, p := range o.partitions {
		if _, ok := all[p]; !ok {
			return nil, &exitError{code: exitNotFound, err: fmt.Errorf("topic %s has no partition %d, only 0 to %d", topic, p, len(all)-1)}
		}
	}
	for p, b := range all {
		if len(o.partitions) > 0 && !slices.Contains(o.partitions, p) {
			delete(all, p)
		} else if o.group == "" && (b.at < b.start || b.at > b.end) {
			return nil, &exitError{code: exitNotFound, err: fmt.Errorf(
				"%s-%d has no offset %d: it holds %d to %d; choose another --from, or the --partition", topic, p, b.at, b.start, b.end)}
		}
	}
	if o.group != "" {
		return all, o.committedPlaces(s, topic, all)
	}
	return all, nil
}

// committedPlaces begins where the group committed, if it did.
func (o *consumeOptions) committedPlaces(s *session, topic string, all map[int32]bounds) error {
	g, err := s.describeGroup(o.group)
	if exitCode(err) == exitNotFound {
		return nil
	}
	if err != nil {
		return err
	}
	for _, p := range g.Partitions {
		if b, ok := all[p.Partition]; ok && p.Topic == topic && p.Committed != nil {
			b.at = *p.Committed
			all[p.Partition] = b
		}
	}
	return nil
}

// kgoOffset is a place as the client library has it, for a group's partitions without a committed offset.
func (p place) kgoOffset() kgo.Offset {
	switch p.kind {
	case atStart:
		return kgo.NewOffset().AtStart()
	case atOffset:
		return kgo.NewOffset().At(p.n)
	case beforeEnd:
		return kgo.NewOffset().AtEnd().Relative(-min(p.n, math.MaxInt32))
	case atTime:
		return kgo.NewOffset().AfterMilli(p.n)
	}
	return kgo.NewOffset().AtEnd()
}
