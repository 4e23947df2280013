package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
)

// newCluster is the family of the cluster as a whole.
func newCluster(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "cluster",
		Short:   "Say whether a cluster is healthy, and what it consists of",
		Long:    "Ask a cluster, chronik's or Apache Kafka's, how it is and what it consists of. What the brokers' metadata says is the source.",
		Example: "  chronik cluster status\n  chronik cluster describe -o json",
		GroupID: groupObserve,
	}
	return family(cmd, newClusterStatus(a), newClusterDescribe(a))
}

// clusterStatus is one look at health.
type clusterStatus struct {
	Verdict         string      `json:"verdict"` // healthy, degraded or broken
	Cluster         string      `json:"cluster_id"`
	Controller      int32       `json:"controller"` // -1 = none
	Brokers         int         `json:"brokers"`
	Silent          []int32     `json:"brokers_silent"` // registered brokers that do not answer
	Topics          int         `json:"topics"`
	Partitions      int         `json:"partitions"`
	Offline         []partition `json:"offline"`          // without a leader
	UnderReplicated []partition `json:"under_replicated"` // fewer replicas in sync than there are
	Groups          int         `json:"groups"`
	Unstable        []string    `json:"groups_unstable"` // rebalancing, or dead
}

type partition struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
}

func (p partition) String() string { return fmt.Sprintf("%s-%d", p.Topic, p.Partition) }

// Verdicts of a cluster.
const (
	healthy  = "healthy"
	degraded = "degraded"
	broken   = "broken"
)

func newClusterStatus(a *app) *cobra.Command {
	o := &clientOptions{}
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Say in one sentence whether the cluster is healthy",
		Long: `Say whether the cluster is healthy: every broker answers, every partition has a leader and all its replicas in sync. Exit code 0 means
healthy; 1 means degraded (something is missing, everything is served) or broken (partitions are not served).`,
		Example: "  chronik cluster status\n  chronik cluster status -o json --bootstrap 127.0.0.1:9092",
		Args:    cobra.NoArgs,
		RunE: o.asking(func(s *session, _ []string) error {
			status, err := s.status()
			if err != nil {
				return err
			}
			if err := document(a, "cluster-status", status, (*clusterStatus).text); err != nil {
				return err
			}
			if status.Verdict != healthy {
				return &exitError{code: exitFailed, err: fmt.Errorf("the cluster is %s; 'chronik topic list' and 'chronik cluster describe' show more", status.Verdict)}
			}
			return nil
		}),
	}
	o.flags(cmd)
	a.formatFlag(cmd)
	return marked(cmd, readOnly)
}

func (s *session) status() (*clusterStatus, error) {
	meta, err := s.admin.Metadata(s.ctx)
	if err != nil {
		return nil, s.failed("read the cluster's metadata", err)
	}
	st := &clusterStatus{
		Verdict: healthy, Cluster: meta.Cluster, Controller: meta.Controller, Brokers: len(meta.Brokers), Topics: len(meta.Topics),
		Silent: []int32{}, Offline: []partition{}, UnderReplicated: []partition{}, Unstable: []string{},
	}
	for _, b := range meta.Brokers {
		if !s.answers(b.NodeID) {
			st.Silent = append(st.Silent, b.NodeID)
		}
	}
	for _, t := range meta.Topics.Sorted() {
		for _, p := range t.Partitions.Sorted() {
			st.Partitions++
			if offline(p) {
				st.Offline = append(st.Offline, partition{t.Topic, p.Partition})
			} else if len(p.ISR) < len(p.Replicas) {
				st.UnderReplicated = append(st.UnderReplicated, partition{t.Topic, p.Partition})
			}
		}
	}
	if groups, err := s.admin.ListGroups(s.ctx); err == nil || len(groups) > 0 { // a silent broker is counted above
		st.Groups = len(groups)
		for _, g := range groups.Sorted() {
			if g.State != "" && g.State != "Stable" && g.State != "Empty" {
				st.Unstable = append(st.Unstable, g.Group)
			}
		}
	}
	switch {
	case len(st.Offline) > 0 || st.Controller < 0:
		st.Verdict = broken
	case len(st.Silent)+len(st.UnderReplicated) > 0:
		st.Verdict = degraded
	}
	return st, nil
}

// answers says whether a broker takes a request on the address that clients are given.
func (s *session) answers(id int32) bool {
	_, answers := s.speaks(id)
	return answers
}

func (st *clusterStatus) text(w io.Writer) error {
	facts := []string{counted(st.Brokers, "broker"), counted(st.Topics, "topic"), counted(st.Partitions, "partition"), counted(st.Groups, "group")}
	fmt.Fprintf(w, "%s: %s\n", st.Verdict, strings.Join(facts, ", "))
	if st.Controller < 0 {
		fmt.Fprintln(w, "no controller: topics and settings cannot change")
	}
	if len(st.Silent) > 0 {
		fmt.Fprintf(w, "brokers that do not answer: %s\n", numbers(st.Silent))
	}
	for _, list := range []struct {
		what string
		all  []partition
	}{{"offline", st.Offline}, {"under-replicated", st.UnderReplicated}} {
		if len(list.all) > 0 {
			fmt.Fprintf(w, "%s: %s\n", list.what, firstFew(list.all))
		}
	}
	if len(st.Unstable) > 0 {
		fmt.Fprintf(w, "groups without a stable assignment: %s\n", strings.Join(st.Unstable, ", "))
	}
	return nil
}

// firstFew names up to ten.
func firstFew[T fmt.Stringer](all []T) string {
	var text []string
	for i, x := range all {
		if i == 10 {
			text = append(text, fmt.Sprintf("and %d more", len(all)-i))
			break
		}
		text = append(text, x.String())
	}
	return strings.Join(text, ", ")
}

// brokerLine is one broker of `cluster describe`.
type brokerLine struct {
	ID         int32  `json:"broker"`
	Host       string `json:"host"`
	Port       int32  `json:"port"`
	Rack       string `json:"rack,omitempty"`
	Controller bool   `json:"controller"`
	Answers    bool   `json:"answers"`
	Leads      int    `json:"leads"`    // partitions
	Replicas   int    `json:"replicas"` // of partitions
	Bytes      *int64 `json:"bytes"`    // of partition logs; null if it does not tell
	Speaks     string `json:"speaks,omitempty"`
}

type clusterTotals struct {
	Cluster    string `json:"cluster_id"`
	Controller int32  `json:"controller"`
	Brokers    int    `json:"brokers"`
}

func newClusterDescribe(a *app) *cobra.Command {
	o := &clientOptions{}
	cmd := &cobra.Command{
		Use:     "describe",
		Short:   "Show the brokers: addresses, what they lead and hold, what they speak",
		Long:    "Show each broker: the address that clients are given, whether it answers there, partitions that it leads and holds, their size on its\ndisk, and the release of Kafka whose requests it serves.",
		Example: "  chronik cluster describe\n  chronik cluster describe -o yaml",
		Args:    cobra.NoArgs,
		RunE: o.asking(func(s *session, _ []string) error {
			meta, err := s.admin.Metadata(s.ctx)
			if err != nil {
				return s.failed("read the cluster's metadata", err)
			}
			return a.describeCluster(s, meta)
		}),
	}
	o.flags(cmd)
	a.formatFlag(cmd)
	return marked(cmd, readOnly)
}

func (a *app) describeCluster(s *session, meta kadm.Metadata) error {
	p := a.newPrinter("cluster-describe", &tabular[brokerLine, clusterTotals]{
		headers: []string{"broker", "address", "rack", "answers", "leads", "replicas", "size", "speaks"},
		row:     brokerLine.cells,
		end: func(sum clusterTotals, w io.Writer) error {
			_, err := fmt.Fprintf(w, "cluster %s, %s, controller %s\n", orDash(sum.Cluster), counted(sum.Brokers, "broker"), leaderText(sum.Controller))
			return err
		},
	})
	sizes := s.sizes(nil)
	for _, b := range meta.Brokers {
		line := brokerLine{ID: b.NodeID, Host: b.Host, Port: b.Port, Rack: deref(b.Rack), Controller: b.NodeID == meta.Controller}
		line.Speaks, line.Answers = s.speaks(b.NodeID)
		meta.Topics.EachPartition(func(d kadm.PartitionDetail) {
			if d.Leader == b.NodeID {
				line.Leads++
			}
			for _, r := range d.Replicas {
				if r == b.NodeID {
					line.Replicas++
				}
			}
		})
		line.Bytes = sizes.total(func(p placed) bool { return p.broker == b.NodeID }, b.NodeID)
		if err := p.Item(line); err != nil {
			return err
		}
	}
	return p.Close(clusterTotals{meta.Cluster, meta.Controller, len(meta.Brokers)})
}

// speaks asks a broker for its versions and names the release of Kafka that has them.
func (s *session) speaks(id int32) (release string, answers bool) {
	ctx, cancel := context.WithTimeout(s.ctx, dialTimeout)
	defer cancel()
	req := kmsg.NewPtrApiVersionsRequest()
	req.ClientSoftwareName, req.ClientSoftwareVersion = "chronik", softwareVersion()
	resp, err := s.Broker(int(id)).Request(ctx, req)
	if err != nil {
		return "", false
	}
	versions, ok := resp.(*kmsg.ApiVersionsResponse)
	if !ok {
		return "", true
	}
	return releaseOf(kversion.FromApiVersionsResponse(versions)), true
}

// releaseOf returns the newest release of Kafka of which a broker serves everything newest, in the requests that it serves at all.
func releaseOf(has *kversion.Versions) string {
	for _, name := range kversion.VersionStrings() { // the newest first
		newest := true
		kversion.FromString(name).EachMaxKeyVersion(func(key, version int16) {
			if served, ok := has.LookupMaxKeyVersion(key); ok && served < version {
				newest = false
			}
		})
		if newest {
			return name
		}
	}
	return ""
}

func (b brokerLine) cells() []string {
	return []string{
		strconv.Itoa(int(b.ID)), fmt.Sprintf("%s:%d", b.Host, b.Port), orDash(b.Rack), map[bool]string{true: "yes", false: "no"}[b.Answers],
		strconv.Itoa(b.Leads), strconv.Itoa(b.Replicas), sizeText(b.Bytes), orDash(b.Speaks),
	}
}
