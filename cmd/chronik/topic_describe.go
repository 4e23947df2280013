package main

import (
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
)

// topicInfo is what `topic describe` says of a topic.
type topicInfo struct {
	topicLine
	Records int64           `json:"records"` // between start and end offsets of all partitions
	Bytes   *int64          `json:"bytes"`   // on the disks of all replicas; null if a broker does not tell
	Parts   []partitionInfo `json:"partition_list"`
	Configs []configLine    `json:"configs"` // those of its own
}

type partitionInfo struct {
	Partition int32   `json:"partition"`
	Leader    int32   `json:"leader"` // -1 = none
	Epoch     int32   `json:"leader_epoch"`
	Replicas  []int32 `json:"replicas"`
	ISR       []int32 `json:"isr"`
	Offline   []int32 `json:"offline_replicas,omitempty"`
	Start     *int64  `json:"start_offset"` // null if its leader does not tell
	End       *int64  `json:"end_offset"`
	Bytes     *int64  `json:"bytes"` // of the leader's replica
	Error     string  `json:"error,omitempty"`
}

type describedTotals struct {
	Topics  int   `json:"topics"`
	Records int64 `json:"records"`
}

func newTopicDescribe(a *app) *cobra.Command {
	o := &clientOptions{}
	cmd := &cobra.Command{
		Use:   "describe TOPIC...",
		Short: "Show a topic's partitions, offsets, sizes and settings",
		Long: `Show partitions with leader, replicas, offsets and size on the leader's disk, and the settings that the topic has of its own.
Records are counted between start and end offset: compacted and aborted ones are included.`,
		Example: "  chronik topic describe orders\n  chronik topic describe orders payments -o json",
		Args:    cobra.MinimumNArgs(1),
		RunE: o.asking(func(s *session, args []string) error {
			all, err := s.describeTopics(args)
			if err != nil {
				return err
			}
			p := a.newPrinter("topic-describe", prose[*topicInfo, describedTotals]{
				each: (*topicInfo).text,
				end:  func(describedTotals, io.Writer) error { return nil },
			})
			sum := describedTotals{Topics: len(all)}
			for _, t := range all {
				sum.Records += t.Records
				if err := p.Item(t); err != nil {
					return err
				}
			}
			return p.Close(sum)
		}),
		ValidArgsFunction: completeTopics(o),
	}
	o.flags(cmd)
	a.formatFlag(cmd)
	return marked(cmd, readOnly)
}

// describeTopics returns topics in the order of their names as given.
func (s *session) describeTopics(names []string) ([]*topicInfo, error) {
	all, err := s.topics(names...)
	if err != nil {
		return nil, err
	}
	starts, err := s.admin.ListStartOffsets(s.ctx, names...)
	if err != nil {
		return nil, s.failed("read the start offsets", err)
	}
	ends, err := s.admin.ListEndOffsets(s.ctx, names...)
	if err != nil {
		return nil, s.failed("read the end offsets", err)
	}
	sizes := s.sizes(all.TopicsSet())
	var infos []*topicInfo
	for _, name := range names {
		info := &topicInfo{topicLine: topicLineOf(all[name])}
		for _, d := range all[name].Partitions.Sorted() {
			p := partitionOf(d, starts, ends, sizes)
			if p.Start != nil && p.End != nil {
				info.Records += *p.End - *p.Start
			}
			info.Parts = append(info.Parts, p)
		}
		info.Bytes = sizes.total(func(p placed) bool { return p.topic == name }, holders(all[name].Partitions)...)
		own, err := s.describeConfigs(configTarget{topicConfig, name})
		if err != nil {
			return nil, err
		}
		info.Configs = changed(own, "topic")
		infos = append(infos, info)
	}
	return infos, nil
}

// holders are the brokers that have replicas.
func holders(partitions kadm.PartitionDetails) []int32 {
	var ids []int32
	for _, p := range partitions {
		ids = append(ids, p.Replicas...)
	}
	return ids
}

func partitionOf(d kadm.PartitionDetail, starts, ends kadm.ListedOffsets, sizes diskSizes) partitionInfo {
	p := partitionInfo{
		Partition: d.Partition, Leader: d.Leader, Epoch: d.LeaderEpoch, Replicas: d.Replicas, ISR: d.ISR, Offline: d.OfflineReplicas,
		Start: listed(starts, d), End: listed(ends, d),
	}
	if size, ok := sizes.bytes[placed{d.Leader, d.Topic, d.Partition}]; ok {
		p.Bytes = &size
	}
	if d.Err != nil {
		p.Error = d.Err.Error()
	} else if l, ok := ends.Lookup(d.Topic, d.Partition); ok && l.Err != nil {
		p.Error = l.Err.Error()
	}
	return p
}

func listed(offsets kadm.ListedOffsets, d kadm.PartitionDetail) *int64 {
	l, ok := offsets.Lookup(d.Topic, d.Partition)
	if !ok || l.Err != nil {
		return nil
	}
	return &l.Offset
}

// placed is a replica's place.
type placed struct {
	broker    int32
	topic     string
	partition int32
}

// diskSizes are bytes of log segments, of the brokers that told.
type diskSizes struct {
	bytes map[placed]int64
	told  map[int32]bool
}

// sizes asks for the sizes of replicas, of all topics with nil. Older or stricter brokers do not tell: then they are missing, and the rest
// of an answer is still worth having.
func (s *session) sizes(set kadm.TopicsSet) diskSizes {
	sizes := diskSizes{bytes: map[placed]int64{}, told: map[int32]bool{}}
	dirs, err := s.admin.DescribeAllLogDirs(s.ctx, set)
	if err != nil && len(dirs) == 0 {
		return sizes
	}
	dirs.Each(func(d kadm.DescribedLogDir) {
		sizes.told[d.Broker] = sizes.told[d.Broker] || d.Err == nil
		d.Topics.Each(func(p kadm.DescribedLogDirPartition) { sizes.bytes[placed{p.Broker, p.Topic, p.Partition}] += p.Size })
	})
	return sizes
}

// total adds up what these brokers told of the replicas that match; nil if one of them did not tell.
func (d diskSizes) total(match func(placed) bool, brokers ...int32) *int64 {
	var sum int64
	for _, b := range brokers {
		if !d.told[b] {
			return nil
		}
	}
	for place, size := range d.bytes {
		if match(place) {
			sum += size
		}
	}
	return &sum
}

func (t *topicInfo) text(w io.Writer) error {
	fmt.Fprintf(w, "topic %s: %s, %s, %s", t.Topic, counted(t.Partitions, "partition"), counted(t.Replication, "replica"), counted(t.Records, "record"))
	if t.Bytes != nil {
		fmt.Fprintf(w, ", %s on disk", bytesText(*t.Bytes))
	}
	if state := t.state(); state != "ok" {
		fmt.Fprintf(w, ", %s", state)
	}
	fmt.Fprintln(w)
	if t.ID != "" {
		fmt.Fprintf(w, "id %s\n", t.ID)
	}
	for _, c := range t.Configs {
		fmt.Fprintf(w, "%s=%s\n", c.Key, c.text())
	}
	rows := &table{w: w, headers: []string{"partition", "leader", "epoch", "replicas", "in sync", "start", "end", "size"}}
	for _, p := range t.Parts {
		err := rows.Row(strconv.Itoa(int(p.Partition)), leaderText(p.Leader), strconv.Itoa(int(p.Epoch)), numbers(p.Replicas), numbers(p.ISR),
			offsetText(p.Start), offsetText(p.End), sizeText(p.Bytes))
		if err != nil {
			return err
		}
	}
	if err := rows.Flush(); err != nil {
		return err
	}
	for _, p := range t.Parts {
		if p.Error != "" {
			fmt.Fprintf(w, "partition %d: %s\n", p.Partition, p.Error)
		}
	}
	return nil
}

func leaderText(id int32) string {
	if id < 0 {
		return "none"
	}
	return strconv.Itoa(int(id))
}

func offsetText(n *int64) string {
	if n == nil {
		return "?"
	}
	return strconv.FormatInt(*n, 10)
}

func sizeText(n *int64) string {
	if n == nil {
		return "?"
	}
	return bytesText(*n)
}
