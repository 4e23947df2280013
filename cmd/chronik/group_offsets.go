package main

import (
	"fmt"
	"io"
	"slices"
	"sort"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
)

// offsetMove is one committed offset to be set.
type offsetMove struct {
	Group     string `json:"group"`
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	From      *int64 `json:"from"` // null = nothing committed
	To        int64  `json:"to"`
	Start     int64  `json:"start"`
	End       int64  `json:"end"`
	Done      bool   `json:"done"`
	Error     string `json:"error,omitempty"`
	metadata  string
	epoch     int32 // of the leader that wrote the record before, -1 = unknown
}

// moveTotals closes a plan.
type moveTotals struct {
	Applied    bool  `json:"applied"`
	Partitions int   `json:"partitions"`
	Again      int64 `json:"records_again"`   // that were consumed and will be once more
	Skipped    int64 `json:"records_skipped"` // that were not consumed and will not be
	Failed     int   `json:"failed"`
}

type groupReset struct {
	clientOptions
	topics        []string
	all, create   bool
	to            string
	by            int64
	apply, byGive bool
}

func newGroupReset(a *app) *cobra.Command {
	o := &groupReset{}
	cmd := &cobra.Command{
		Use:   "reset-offsets GROUP (--topic TOPIC[:P,P] | --all-topics) (--to PLACE | --by N)",
		Short: "Move a group's committed offsets; a dry run unless --apply is given",
		Long: `Move committed offsets, so that the group reads again or skips. Without --apply only the plan is shown. The group must have no members
(exit code 7): they would commit over it. An offset outside of its partition is refused.

PLACE is ` + placeUsage + `.
--by N moves each offset from where it is, back if N is negative, but not out of the partition.`,
		Example: `  chronik group reset-offsets billing --topic orders --to beginning
  chronik group reset-offsets billing --topic orders:0,2 --to 2026-01-02T15:04:05Z --apply
  chronik group reset-offsets billing --all-topics --by -100 --apply`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.byGive = cmd.Flags().Changed("by")
			return o.run(a, cmd, args[0])
		},
		ValidArgsFunction: firstOnly(completeGroups(&o.clientOptions)),
	}
	f := cmd.Flags()
	f.StringArrayVar(&o.topics, "topic", nil, "`TOPIC`, or some of its partitions as TOPIC:0,2; may be repeated")
	f.BoolVar(&o.all, "all-topics", false, "every partition with a committed offset")
	f.StringVar(&o.to, "to", "", "`PLACE` to move to")
	f.Int64Var(&o.by, "by", 0, "move by `N` records, back if negative")
	f.BoolVar(&o.apply, "apply", false, "do it")
	f.BoolVar(&o.create, "create", false, "the group need not exist yet")
	cmd.MarkFlagsOneRequired("to", "by")
	cmd.MarkFlagsMutuallyExclusive("to", "by")
	cmd.MarkFlagsOneRequired("topic", "all-topics")
	cmd.MarkFlagsMutuallyExclusive("topic", "all-topics")
	_ = cmd.RegisterFlagCompletionFunc("topic", completeTopics(&o.clientOptions)) // fails only for a flag that does not exist
	_ = cmd.RegisterFlagCompletionFunc("to", cobra.FixedCompletions([]string{"beginning", "end"}, cobra.ShellCompDirectiveNoFileComp))
	o.flags(cmd)
	a.formatFlag(cmd)
	return marked(cmd, changesNet)
}

func (o *groupReset) run(a *app, cmd *cobra.Command, group string) error {
	where := place{kind: atEnd}
	var err error
	if !o.byGive {
		if where, err = parsePlace("--to", o.to, time.Now()); err != nil {
			return err
		}
	}
	s, err := o.connect(cmd.Context())
	if err != nil {
		return err
	}
	defer s.close()
	g, err := s.describeGroup(group)
	if exitCode(err) == exitNotFound && o.create {
		g, err = &groupInfo{Group: group}, nil
	}
	if err != nil {
		return err
	}
	wanted, err := o.wanted(s, g)
	if err != nil {
		return err
	}
	moves, err := o.plan(s, g, wanted, where)
	if err != nil {
		return err
	}
	return a.move(s, "group-reset-offsets", moves, o.apply, g)
}

// wanted are the partitions to move: nil stands for all of a topic.
func (o *groupReset) wanted(s *session, g *groupInfo) (map[string][]int32, error) {
	wanted := map[string][]int32{}
	if o.all {
		for _, p := range g.Partitions {
			if p.Committed != nil {
				wanted[p.Topic] = append(wanted[p.Topic], p.Partition)
			}
		}
		if len(wanted) == 0 {
			return nil, &exitError{code: exitNotFound, err: fmt.Errorf("group %s has no committed offsets; name a topic with --topic", g.Group)}
		}
		return wanted, nil
	}
	var names []string
	for _, text := range o.topics {
		topic, partitions, err := parsePartitions("--topic", text)
		if err != nil {
			return nil, err
		}
		wanted[topic] = append(wanted[topic], partitions...)
		names = append(names, topic)
	}
	_, err := s.topics(names...)
	return wanted, err
}

// plan finds the new offset of every wanted partition.
func (o *groupReset) plan(s *session, g *groupInfo, wanted map[string][]int32, where place) ([]*offsetMove, error) {
	topics := make([]string, 0, len(wanted))
	for topic := range wanted {
		topics = append(topics, topic)
	}
	found, err := s.locate(where, false, topics...)
	if err != nil {
		return nil, err
	}
	committed := map[partition]*int64{}
	for _, p := range g.Partitions {
		committed[partition{p.Topic, p.Partition}] = p.Committed
	}
	var moves []*offsetMove
	for topic, partitions := range wanted {
		for _, p := range partitions {
			if _, ok := found[topic][p]; !ok {
				return nil, &exitError{code: exitNotFound, err: fmt.Errorf("%s has no partition %d; 'chronik topic describe %s' lists them", topic, p, topic)}
			}
		}
		for number, b := range found[topic] {
			if len(partitions) > 0 && !slices.Contains(partitions, number) {
				continue
			}
			m := &offsetMove{
				Group: g.Group, Topic: topic, Partition: number, From: committed[partition{topic, number}], To: b.at, Start: b.start, End: b.end, epoch: -1,
			}
			if o.byGive {
				if m.From == nil {
					continue // there is nothing to move
				}
				m.To = min(max(*m.From+o.by, b.start), b.end)
			}
			moves = append(moves, m)
		}
	}
	return moves, nil
}

// move shows a plan, of one or several groups, and carries it out with apply. Nothing is changed if any offset of it is impossible.
func (a *app) move(s *session, kind string, moves []*offsetMove, apply bool, groups ...*groupInfo) error {
	sort.Slice(moves, func(i, j int) bool {
		x, y := moves[i], moves[j]
		if x.Group != y.Group {
			return x.Group < y.Group
		}
		return x.Topic < y.Topic || x.Topic == y.Topic && x.Partition < y.Partition
	})
	var refusal error
	for _, m := range moves {
		if m.Error == "" && (m.To < m.Start || m.To > m.End) {
			m.Error = fmt.Sprintf("offset %d is outside of %d to %d", m.To, m.Start, m.End)
		}
		if m.Error != "" && refusal == nil {
			refusal = refusedf("refused: %s-%d: %s; nothing was changed", m.Topic, m.Partition, m.Error)
		}
	}
	for _, g := range groups {
		if err := g.idle("repeat this"); err != nil && refusal == nil {
			refusal = err
		}
	}
	var failure error
	if apply && refusal == nil {
		failure = s.commit(moves)
	}
	if err := a.showMoves(kind, moves, apply && refusal == nil); err != nil {
		return err
	}
	if refusal == nil && failure == nil && !apply {
		fmt.Fprintln(a.err, "This was a dry run: nothing was changed. Repeat it with --apply to do it.")
	}
	if refusal != nil {
		return refusal
	}
	return failure
}

// commit sets the offsets, group by group.
func (s *session) commit(moves []*offsetMove) error {
	byGroup := map[string][]*offsetMove{}
	for _, m := range moves {
		byGroup[m.Group] = append(byGroup[m.Group], m)
	}
	var failure error
	for group, own := range byGroup {
		offsets := kadm.Offsets{}
		for _, m := range own {
			offsets.Add(kadm.Offset{Topic: m.Topic, Partition: m.Partition, At: m.To, LeaderEpoch: m.epoch, Metadata: m.metadata})
		}
		done, err := s.admin.CommitOffsets(s.ctx, group, offsets)
		for _, m := range own {
			r, answered := done.Lookup(m.Topic, m.Partition)
			switch {
			case err != nil:
				m.Error = err.Error()
			case !answered:
				m.Error = "no answer"
			case r.Err != nil:
				m.Error = r.Err.Error()
				err = r.Err
			default:
				m.Done = true
			}
		}
		if err != nil {
			failure = s.failed("set the offsets of group "+group, err)
		}
	}
	return failure
}

func (a *app) showMoves(kind string, moves []*offsetMove, applied bool) error {
	p := a.newPrinter(kind, &tabular[*offsetMove, moveTotals]{
		headers: []string{"group", "topic", "partition", "from", "to", "change", ""},
		row:     (*offsetMove).cells,
		end:     moveTotals.text,
	})
	sum := moveTotals{Applied: applied, Partitions: len(moves)}
	for _, m := range moves {
		if m.Error != "" {
			sum.Failed++
		} else if m.From != nil && *m.From < m.To {
			sum.Skipped += m.To - max(*m.From, m.Start)
		} else if m.From != nil {
			sum.Again += *m.From - m.To
		}
		if err := p.Item(m); err != nil {
			return err
		}
	}
	return p.Close(sum)
}

func (m *offsetMove) cells() []string {
	from, change := "-", "new"
	if m.From != nil {
		from, change = strconv.FormatInt(*m.From, 10), fmt.Sprintf("%+d", m.To-*m.From)
	}
	return []string{m.Group, m.Topic, strconv.Itoa(int(m.Partition)), from, strconv.FormatInt(m.To, 10), change, m.Error}
}

func (t moveTotals) text(w io.Writer) error {
	verb := "would be moved"
	if t.Applied {
		verb = "moved"
	}
	_, err := fmt.Fprintf(w, "%s %s: %s to be read again, %s skipped\n",
		counted(t.Partitions-t.Failed, "offset"), verb, counted(t.Again, "record"), counted(t.Skipped, "record"))
	return err
}
