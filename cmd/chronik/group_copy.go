package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sort"

	"github.com/spf13/cobra"
)

// keptOffset is one committed offset in an export.
type keptOffset struct {
	Group     string `json:"group"`
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
	Epoch     int32  `json:"leader_epoch"` // -1 = unknown
	Metadata  string `json:"metadata,omitempty"`
}

type keptTotals struct {
	Groups  int `json:"groups"`
	Offsets int `json:"offsets"`
}

const exportKind = "group-export"

func newGroupExport(a *app) *cobra.Command {
	o := &clientOptions{}
	cmd := &cobra.Command{
		Use:   "export [GROUP...]",
		Short: "Write committed offsets to stdout, to be kept or imported elsewhere",
		Long: `Write the committed offsets of groups, of all of them without a name, one JSON line each (-o ndjson, the default here). 'chronik group
import' reads that, and -o json.`,
		Example: "  chronik group export > offsets.ndjson\n  chronik group export billing audit -o json",
		RunE: func(cmd *cobra.Command, args []string) error {
			if !cmd.Flags().Changed("output") {
				a.format = formatNDJSON
			}
			s, err := o.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer s.close()
			if len(args) == 0 {
				all, err := s.admin.ListGroups(s.ctx)
				if err != nil {
					return s.failed("list the groups", err)
				}
				args = all.Groups()
			}
			return a.export(s, args)
		},
		ValidArgsFunction: completeGroups(o),
	}
	o.flags(cmd)
	a.formatFlag(cmd)
	return marked(cmd, readOnly)
}

func (a *app) export(s *session, groups []string) error {
	sort.Strings(groups)
	p := a.newPrinter(exportKind, &tabular[keptOffset, keptTotals]{
		headers: []string{"group", "topic", "partition", "offset"},
		row: func(k keptOffset) []string {
			return []string{k.Group, k.Topic, fmt.Sprint(k.Partition), fmt.Sprint(k.Offset)}
		},
		end: func(sum keptTotals, w io.Writer) error {
			_, err := fmt.Fprintf(w, "%s, %s\n", counted(sum.Groups, "group"), counted(sum.Offsets, "offset"))
			return err
		},
	})
	sum := keptTotals{Groups: len(groups)}
	for _, name := range groups {
		g, err := s.describeGroup(name)
		if err != nil {
			return err
		}
		for _, c := range g.Partitions {
			if c.Committed == nil {
				continue
			}
			sum.Offsets++
			if err := p.Item(keptOffset{name, c.Topic, c.Partition, *c.Committed, c.epoch, c.Metadata}); err != nil {
				return err
			}
		}
	}
	return p.Close(sum)
}

func newGroupImport(a *app) *cobra.Command {
	o := &struct {
		clientOptions
		apply bool
	}{}
	cmd := &cobra.Command{
		Use:   "import FILE",
		Short: "Set committed offsets from an export; a dry run unless --apply is given",
		Long: `Set committed offsets as an export says; - reads stdin. Without --apply only the plan is shown. Groups that do not exist are created;
those with members are refused (exit code 7), and so is everything if one offset is outside of its partition.`,
		Example: "  chronik group import offsets.ndjson\n  chronik group import offsets.ndjson --apply\n  chronik group export | chronik group import - --bootstrap 127.0.0.1:9092",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			kept, err := a.readExport(args[0])
			if err != nil {
				return err
			}
			s, err := o.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer s.close()
			moves, groups, err := s.planImport(kept)
			if err != nil {
				return err
			}
			return a.move(s, "group-import", moves, o.apply, groups...)
		},
	}
	cmd.Flags().BoolVar(&o.apply, "apply", false, "do it")
	o.flags(cmd)
	a.formatFlag(cmd)
	return marked(cmd, changesNet)
}

// planImport compares an export with what the groups have committed and what the partitions hold.
func (s *session) planImport(kept []keptOffset) ([]*offsetMove, []*groupInfo, error) {
	groups := map[string]*groupInfo{}
	committed := map[string]map[partition]*int64{}
	topics := map[string]bool{}
	for _, k := range kept {
		topics[k.Topic] = true
		if groups[k.Group] != nil {
			continue
		}
		g, err := s.describeGroup(k.Group)
		if exitCode(err) == exitNotFound {
			g, err = &groupInfo{Group: k.Group}, nil
		}
		if err != nil {
			return nil, nil, err
		}
		groups[k.Group], committed[k.Group] = g, map[partition]*int64{}
		for _, p := range g.Partitions {
			committed[k.Group][partition{p.Topic, p.Partition}] = p.Committed
		}
	}
	names := make([]string, 0, len(topics))
	for t := range topics {
		names = append(names, t)
	}
	if _, err := s.topics(names...); err != nil {
		return nil, nil, err
	}
	found, err := s.locate(place{kind: atEnd}, false, names...)
	if err != nil {
		return nil, nil, err
	}
	var moves []*offsetMove
	for _, k := range kept {
		m := &offsetMove{
			Group: k.Group, Topic: k.Topic, Partition: k.Partition, From: committed[k.Group][partition{k.Topic, k.Partition}], To: k.Offset,
			metadata: k.Metadata, epoch: -1, // epochs are the cluster's in which they were written
		}
		b, ok := found[k.Topic][k.Partition]
		if m.Start, m.End = b.start, b.end; !ok {
			m.Error = "the partition does not exist"
		}
		moves = append(moves, m)
	}
	all := make([]*groupInfo, 0, len(groups))
	for _, g := range groups {
		all = append(all, g)
	}
	return moves, all, nil
}

// maxExport bounds an export that is read, in bytes: about two million offsets.
const maxExport = 256 << 20

// readExport reads what export wrote, as ndjson or json; "-" is stdin.
func (a *app) readExport(name string) ([]keptOffset, error) {
	in := a.in
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, fmt.Errorf("cannot read the export: %w", err)
		}
		defer func() { _ = f.Close() }() // it was only read
		in = f
	}
	var kept []keptOffset
	dec := json.NewDecoder(bufio.NewReader(io.LimitReader(in, maxExport)))
	for n := 1; ; n++ {
		var doc struct {
			Kind    string       `json:"kind"`
			Version int          `json:"version"`
			Item    *keptOffset  `json:"item"`
			Items   []keptOffset `json:"items"`
		}
		err := dec.Decode(&doc)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%s, document %d: %w; it must be what 'chronik group export' wrote", name, n, err)
		}
		if doc.Kind != "chronik/"+exportKind {
			return nil, fmt.Errorf("%s, document %d: kind is %q, not chronik/%s; it must be what 'chronik group export' wrote", name, n, doc.Kind, exportKind)
		}
		if doc.Version != documentVersion {
			return nil, &exitError{code: exitVersion, err: fmt.Errorf("%s: version %d; this chronik reads version %d", name, doc.Version, documentVersion)}
		}
		kept = append(kept, doc.Items...)
		if doc.Item != nil {
			kept = append(kept, *doc.Item)
		}
	}
	if len(kept) == 0 {
		return nil, &exitError{code: exitNotFound, err: fmt.Errorf("%s holds no offsets", name)}
	}
	return kept, nil
}
