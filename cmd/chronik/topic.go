package main

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"sort"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// newTopic is the family of topics.
func newTopic(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "topic",
		Short:   "List, describe, create, alter and delete topics",
		Long:    "Ask a cluster, chronik's or Apache Kafka's, about its topics, and change them.",
		Example: "  chronik topic create orders --partitions 3\n  chronik topic list",
		GroupID: groupAdminister,
	}
	return family(cmd, newTopicList(a), newTopicDescribe(a), newTopicCreate(a), newTopicAlter(a), newTopicAddPartitions(a), newTopicDelete(a))
}

// topicLine is one topic of `topic list`.
type topicLine struct {
	Topic           string `json:"topic"`
	ID              string `json:"topic_id,omitempty"`
	Internal        bool   `json:"internal"`
	Partitions      int    `json:"partitions"`
	Replication     int    `json:"replication_factor"`
	Offline         int    `json:"offline"`           // partitions without a leader
	UnderReplicated int    `json:"under_replicated"`  // partitions with fewer in-sync replicas than replicas
	Records         *int64 `json:"records,omitempty"` // with --sizes: between start and end offsets
	Bytes           *int64 `json:"bytes,omitempty"`   // with --sizes: on the disks of all replicas
	Error           string `json:"error,omitempty"`
}

// topicTotals closes `topic list`.
type topicTotals struct {
	Topics          int `json:"topics"`
	Partitions      int `json:"partitions"`
	Offline         int `json:"offline"`
	UnderReplicated int `json:"under_replicated"`
}

func newTopicList(a *app) *cobra.Command {
	o := &clientOptions{}
	var internal, sizes bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List topics with their partitions, replicas and health",
		Long: `List topics with their partitions, replicas and health, and with --sizes what they hold. Topics that the brokers keep for
themselves are left out unless --internal is given.`,
		Example: "  chronik topic list --sizes\n  chronik topic list -o ndjson --internal",
		Args:    cobra.NoArgs,
		RunE: o.asking(func(s *session, _ []string) error {
			all, err := s.admin.ListTopicsWithInternal(s.ctx)
			if err != nil {
				return s.failed("list the topics", err)
			}
			if !internal {
				all.FilterInternal()
			}
			lines := make([]topicLine, 0, len(all))
			for _, d := range all.Sorted() {
				lines = append(lines, topicLineOf(d))
			}
			if sizes && len(lines) > 0 {
				if err := s.addSizes(lines, all); err != nil {
					return err
				}
			}
			return a.listTopics(lines, sizes)
		}),
	}
	cmd.Flags().BoolVar(&sizes, "sizes", false, "also records and bytes")
	cmd.Flags().BoolVar(&internal, "internal", false, "also the brokers' own topics")
	o.flags(cmd)
	a.formatFlag(cmd)
	return marked(cmd, readOnly)
}

// addSizes asks for offsets and log directories, once for all topics.
func (s *session) addSizes(lines []topicLine, all kadm.TopicDetails) error {
	found, err := s.locate(place{kind: atEnd}, false, all.Names()...)
	if err != nil {
		return err
	}
	disks := s.sizes(all.TopicsSet())
	for i := range lines {
		var records int64
		for _, b := range found[lines[i].Topic] {
			records += b.end - b.start
		}
		lines[i].Records = &records
		lines[i].Bytes = disks.total(func(p placed) bool { return p.topic == lines[i].Topic }, holders(all[lines[i].Topic].Partitions)...)
	}
	return nil
}

func (a *app) listTopics(lines []topicLine, sizes bool) error {
	rows := &tabular[topicLine, topicTotals]{
		headers: []string{"topic", "partitions", "replicas", "state"},
		row: func(t topicLine) []string {
			return []string{t.Topic, strconv.Itoa(t.Partitions), strconv.Itoa(t.Replication), t.state()}
		},
		end: topicTotals.text,
	}
	if sizes {
		rows.headers = []string{"topic", "partitions", "replicas", "records", "size", "state"}
		rows.row = func(t topicLine) []string {
			return []string{t.Topic, strconv.Itoa(t.Partitions), strconv.Itoa(t.Replication), offsetText(t.Records), sizeText(t.Bytes), t.state()}
		}
	}
	p := a.newPrinter("topic-list", rows)
	var sum topicTotals
	for _, line := range lines {
		sum.Topics++
		sum.Partitions += line.Partitions
		sum.Offline += line.Offline
		sum.UnderReplicated += line.UnderReplicated
		if err := p.Item(line); err != nil {
			return err
		}
	}
	return p.Close(sum)
}

func topicLineOf(d kadm.TopicDetail) topicLine {
	line := topicLine{Topic: d.Topic, ID: idText(d.ID), Internal: d.IsInternal, Partitions: len(d.Partitions), Replication: d.Partitions.NumReplicas()}
	if d.Err != nil {
		line.Error = d.Err.Error()
	}
	for _, p := range d.Partitions {
		if offline(p) {
			line.Offline++
		}
		if len(p.ISR) < len(p.Replicas) {
			line.UnderReplicated++
		}
	}
	return line
}

// offline says whether a partition serves nobody.
func offline(p kadm.PartitionDetail) bool {
	return p.Leader < 0 || errors.Is(p.Err, kerr.LeaderNotAvailable)
}

// idText renders a topic's id as Kafka's tools do; older brokers have none.
func idText(id kadm.TopicID) string {
	if id == (kadm.TopicID{}) {
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(id[:])
}

// state is health in words.
func (t topicLine) state() string {
	var bad []string
	if t.Error != "" {
		bad = append(bad, t.Error)
	}
	if t.Offline > 0 {
		bad = append(bad, counted(t.Offline, "partition")+" offline")
	}
	if t.UnderReplicated > 0 {
		bad = append(bad, counted(t.UnderReplicated, "partition")+" under-replicated")
	}
	if t.Internal {
		bad = append(bad, "internal")
	}
	if len(bad) == 0 {
		return "ok"
	}
	return strings.Join(bad, ", ")
}

func (s topicTotals) text(w io.Writer) error {
	if s.Topics == 0 {
		_, err := fmt.Fprintln(w, "no topics; 'chronik topic create NAME' makes one")
		return err
	}
	line := counted(s.Topics, "topic") + ", " + counted(s.Partitions, "partition")
	if s.Offline > 0 {
		line += fmt.Sprintf(", %d offline", s.Offline)
	}
	if s.UnderReplicated > 0 {
		line += fmt.Sprintf(", %d under-replicated", s.UnderReplicated)
	}
	_, err := fmt.Fprintln(w, line)
	return err
}

// topics returns these topics, all of which must exist; the error of one that does not names the most similar one.
func (s *session) topics(names ...string) (kadm.TopicDetails, error) {
	all, err := s.admin.ListTopicsWithInternal(s.ctx, names...)
	if err != nil {
		return nil, s.failed("look up "+strings.Join(names, ", "), err)
	}
	for _, name := range names {
		if d, ok := all[name]; !ok || errors.Is(d.Err, kerr.UnknownTopicOrPartition) {
			return nil, s.noTopic(name)
		} else if d.Err != nil {
			return nil, s.failed("look up topic "+name, d.Err)
		}
	}
	return all, nil
}

func (s *session) noTopic(name string) error {
	next := "'chronik topic list' shows what there is"
	if all, err := s.admin.ListTopicsWithInternal(s.ctx); err == nil {
		delete(all, name) // the client remembers what it was asked for
		if like := similar(name, all.Names()); like != "" {
			next = fmt.Sprintf("did you mean %s? 'chronik topic list' shows all", like)
		}
	}
	return &exitError{code: exitNotFound, err: fmt.Errorf("no topic %s at %s; %s", name, s.address, next)}
}

// similar returns the name that differs least from what was typed, if it differs little.
func similar(typed string, names []string) string {
	best, distance := "", len(typed)/3+2
	sort.Strings(names)
	for _, name := range names {
		if d := editDistance(typed, name); d < distance {
			best, distance = name, d
		}
	}
	return best
}

// editDistance counts the characters to insert, delete or replace (Levenshtein).
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		corner := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := corner
			if a[i] != b[j] {
				cost++
			}
			corner = row[j+1]
			row[j+1] = min(cost, row[j]+1, corner+1)
		}
	}
	return row[len(b)]
}
