package main

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kerr"
)

// newGroup is the family of consumer groups.
func newGroup(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "group",
		Short:   "List, describe, reset, delete and copy consumer groups",
		Long:    "Ask a cluster, chronik's or Apache Kafka's, about its consumer groups, their lag and their committed offsets, and change them.",
		Example: "  chronik group list --lag\n  chronik group describe billing",
		GroupID: groupAdminister,
	}
	return family(cmd, newGroupList(a), newGroupDescribe(a), newGroupReset(a), newGroupDelete(a), newGroupExport(a), newGroupImport(a))
}

// groupLine is one group of `group list`.
type groupLine struct {
	Group       string `json:"group"`
	State       string `json:"state"`
	Protocol    string `json:"protocol_type"` // "consumer" for consumers, empty for groups that only keep offsets
	Coordinator int32  `json:"coordinator"`
	Members     *int   `json:"members,omitempty"` // with --lag
	Lag         *int64 `json:"lag,omitempty"`     // records, with --lag
}

type groupTotals struct {
	Groups int `json:"groups"`
}

type groupList struct {
	clientOptions
	lag    bool
	states []string
}

func newGroupList(a *app) *cobra.Command {
	o := &groupList{}
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List groups with their state, and with --lag how far they are behind",
		Long: `List consumer groups with their state. --lag asks for the members and the lag of each, in records: the sum over partitions of what
was written since the committed offset.`,
		Example: "  chronik group list\n  chronik group list --lag --state Stable -o json",
		Args:    cobra.NoArgs,
		RunE:    o.asking(func(s *session, _ []string) error { return o.run(a, s) }),
	}
	cmd.Flags().BoolVar(&o.lag, "lag", false, "also members and lag, which takes several requests per group")
	cmd.Flags().StringSliceVar(&o.states, "state", nil, "only groups in this `STATE`: Stable, Empty, PreparingRebalance, CompletingRebalance")
	_ = cmd.RegisterFlagCompletionFunc("state", cobra.FixedCompletions( // fails only for a flag that does not exist
		[]string{"Stable", "Empty", "PreparingRebalance", "CompletingRebalance"}, cobra.ShellCompDirectiveNoFileComp))
	o.flags(cmd)
	a.formatFlag(cmd)
	return marked(cmd, readOnly)
}

func (o *groupList) run(a *app, s *session) error {
	groups, err := s.admin.ListGroups(s.ctx, o.states...)
	if err != nil {
		return s.failed("list the groups", err)
	}
	rows := &tabular[groupLine, groupTotals]{
		headers: []string{"group", "state", "type", "coordinator"},
		row: func(g groupLine) []string {
			return []string{g.Group, g.State, orDash(g.Protocol), strconv.Itoa(int(g.Coordinator))}
		},
		end: func(sum groupTotals, w io.Writer) error {
			_, err := fmt.Fprintln(w, counted(sum.Groups, "group"))
			return err
		},
	}
	if o.lag {
		rows.headers = []string{"group", "state", "members", "lag"}
		rows.row = func(g groupLine) []string {
			return []string{g.Group, g.State, strconv.Itoa(*g.Members), strconv.FormatInt(*g.Lag, 10)}
		}
	}
	p := a.newPrinter("group-list", rows)
	for _, g := range groups.Sorted() {
		line := groupLine{Group: g.Group, State: g.State, Protocol: g.ProtocolType, Coordinator: g.Coordinator}
		if o.lag {
			info, err := s.describeGroup(g.Group)
			if err != nil {
				return err
			}
			members := len(info.Members)
			line.Members, line.Lag = &members, &info.Lag
		}
		if err := p.Item(line); err != nil {
			return err
		}
	}
	return p.Close(groupTotals{len(groups)})
}

func newGroupDescribe(a *app) *cobra.Command {
	o := &clientOptions{}
	cmd := &cobra.Command{
		Use:   "describe GROUP...",
		Short: "Show a group's members, committed offsets and lag",
		Long: `Show per partition the committed offset, the end, the lag in records and the member that reads it. A dash means that nothing was
committed there, so that no lag can be told.`,
		Example: "  chronik group describe billing\n  chronik group describe billing audit -o json",
		Args:    cobra.MinimumNArgs(1),
		RunE: o.asking(func(s *session, args []string) error {
			p := a.newPrinter("group-describe", prose[*groupInfo, groupTotals]{
				each: (*groupInfo).text,
				end:  func(groupTotals, io.Writer) error { return nil },
			})
			for _, name := range args {
				info, err := s.describeGroup(name)
				if err != nil {
					return err
				}
				if err := p.Item(info); err != nil {
					return err
				}
			}
			return p.Close(groupTotals{len(args)})
		}),
		ValidArgsFunction: completeGroups(o),
	}
	o.flags(cmd)
	a.formatFlag(cmd)
	return marked(cmd, readOnly)
}

func (s *session) noGroup(name string) error {
	next := "'chronik group list' shows what there is"
	if all, err := s.admin.ListGroups(s.ctx); err == nil {
		if like := similar(name, all.Groups()); like != "" {
			next = fmt.Sprintf("did you mean %s? 'chronik group list' shows all", like)
		}
	}
	return &exitError{code: exitNotFound, err: fmt.Errorf("no group %s at %s; %s", name, s.address, next)}
}

func newGroupDelete(a *app) *cobra.Command {
	o := &struct {
		clientOptions
		yes bool
	}{}
	cmd := &cobra.Command{
		Use:   "delete GROUP...",
		Short: "Delete groups with their committed offsets",
		Long: `Delete groups with their committed offsets; 'chronik group export' keeps them first. Groups with members are refused (exit code 7).
What would go is said, and on a terminal the name has to be typed; without a terminal --yes is needed.`,
		Example: "  chronik group delete billing\n  chronik group delete billing audit --yes",
		Args:    cobra.MinimumNArgs(1),
		RunE: o.asking(func(s *session, args []string) error {
			var infos []*groupInfo
			for _, name := range args {
				info, err := s.describeGroup(name)
				if err != nil {
					return err
				}
				if err := info.idle("delete it"); err != nil {
					return err
				}
				infos = append(infos, info)
			}
			for _, g := range infos {
				if err := a.confirm(o.yes, fmt.Sprintf("deleting group %s forgets its %s", g.Group, counted(g.committed(), "committed offset")), g.Group); err != nil {
					return err
				}
			}
			ctx, cancel := s.anew()
			defer cancel()
			deleted, err := s.admin.DeleteGroups(ctx, args...)
			if err != nil {
				return s.failed("delete "+strings.Join(args, ", "), err)
			}
			var all []change
			for i, name := range args {
				r := deleted[name]
				all = append(all, change{
					Name: name, Result: "deleted", Detail: counted(infos[i].committed(), "committed offset"), err: brokerError(r.Err, r.ErrMessage),
				})
			}
			return a.changes(s, "group-delete", "delete", "group", all)
		}),
		ValidArgsFunction: completeGroups(&o.clientOptions),
	}
	cmd.Flags().BoolVar(&o.yes, "yes", false, "do not ask")
	o.flags(cmd)
	a.formatFlag(cmd)
	return marked(cmd, changesNet)
}

// idle refuses to change the offsets of a group that has members: they would commit over them.
func (g *groupInfo) idle(doing string) error {
	if len(g.Members) == 0 {
		return nil
	}
	names := make([]string, 0, len(g.Members))
	for _, m := range g.Members {
		names = append(names, fmt.Sprintf("%s at %s", m.Client, m.Host))
	}
	return refusedf("refused: group %s has %s (%s); stop them first, then %s",
		g.Group, counted(len(g.Members), "member"), strings.Join(names, ", "), doing)
}

// absent says whether an answer means that there is no such group.
func absent(state string, err error) bool {
	return errors.Is(err, kerr.GroupIDNotFound) || err == nil && state == "Dead"
}
