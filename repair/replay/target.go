package replay

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"chronik.dev/chronik/broker/metadata"
)

// target is the live cluster that is written to, as its metadata describes it.
type target struct {
	client *kgo.Client
	adm    *kadm.Client
	id     string // cluster id

	view  view // the newest; look makes another
	notes []string
}

// view is what the target said of its partitions at one moment.
type view struct {
	addresses []string // of the leaders, sorted
	leaders   map[string][]string
	ids       map[string]string // topic ids
	ends      kadm.ListedOffsets
	whole     bool // every partition has a leader
}

// connect reaches the cluster and learns its id.
func connect(ctx context.Context, address string) (*target, error) {
	if _, _, err := net.SplitHostPort(address); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.ClientID(clientID), kgo.RequestRetries(1), kgo.DialTimeout(dialTimeout),
		kgo.RetryTimeout(2*dialTimeout), kgo.MetadataMinAge(50*time.Millisecond))
	if err != nil {
		return nil, err
	}
	t := &target{client: client, adm: kadm.NewClient(client)}
	m, err := t.adm.BrokerMetadata(ctx)
	if err != nil {
		client.Close()
		return nil, fmt.Errorf("%s: %w: %w", address, ErrUnreachable, err)
	}
	t.id = m.Cluster
	return t, nil
}

// wish is a topic as the source has it.
type wish struct {
	topic      string // of the source
	target     string
	partitions int32             // at least so many are needed
	highest    int32             // number of the highest partition that has records, -1 if none has
	configs    map[string]string // what was set in the source
	appendTime bool              // the source's broker set the times
}

// prepare makes sure that every topic is there with enough partitions, and creates what is missing if it may.
func (t *target) prepare(ctx context.Context, wishes []*wish, create bool) error {
	names := make([]string, len(wishes))
	for i, w := range wishes {
		names[i] = w.target
	}
	found, err := t.adm.ListTopicsWithInternal(ctx, names...)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	for _, w := range wishes {
		d := found[w.target]
		switch {
		case errors.Is(d.Err, kerr.UnknownTopicOrPartition) && create:
			if err := t.create(ctx, w); err != nil {
				return err
			}
			continue
		case errors.Is(d.Err, kerr.UnknownTopicOrPartition):
			return fmt.Errorf("topic %s: %w in the target; create it with %d partitions, or say --create", w.target, ErrNoTopic, w.partitions)
		case d.Err != nil:
			return fmt.Errorf("topic %s of the target: %w", w.target, d.Err)
		case int32(len(d.Partitions)) <= w.highest:
			return fmt.Errorf("%w: topic %s of the target has %d partitions, the source needs %d; add partitions (chronik topic alter, kafka-topics.sh --alter), "+
				"or replay into a new topic with --topic %s=NAME --create", ErrRefused, w.target, len(d.Partitions), w.highest+1, w.topic)
		}
	}
	t.describe(ctx, wishes)
	return nil
}

// create makes a topic as the source has it; times stay those of the records.
func (t *target) create(ctx context.Context, w *wish) error {
	configs := map[string]*string{}
	for k, v := range w.configs {
		if k != timestampType {
			configs[k] = kadm.StringPtr(v)
		}
	}
	configs[timestampType] = kadm.StringPtr("CreateTime")
	r, err := t.adm.CreateTopic(ctx, w.partitions, -1, configs, w.target)
	if err = errors.Join(err, r.Err); err != nil {
		return fmt.Errorf("create topic %s in the target: %w; create it by hand", w.target, err)
	}
	t.notes = append(t.notes, fmt.Sprintf("topic %s was created in the target with %d partitions", w.target, w.partitions))
	return nil
}

const timestampType = "message.timestamp.type"

// describe notes what the target does to times.
func (t *target) describe(ctx context.Context, wishes []*wish) {
	for _, w := range wishes {
		if w.appendTime {
			t.notes = append(t.notes, fmt.Sprintf("topic %s: its times were set by the source's broker (LogAppendTime) and are sent as CreateTime", w.topic))
		}
		described, err := t.adm.DescribeTopicConfigs(ctx, w.target)
		if err != nil {
			t.notes = append(t.notes, fmt.Sprintf("topic %s of the target: its configuration cannot be read (%v): it may replace the records' times", w.target, err))
		}
		for _, rc := range described {
			for _, c := range rc.Configs {
				if c.Key == timestampType && c.MaybeValue() == "LogAppendTime" {
					t.notes = append(t.notes, fmt.Sprintf("topic %s of the target has %s=LogAppendTime: its broker replaces the records' times by its own", w.target, timestampType))
				}
			}
		}
	}
}

// look asks for the leaders and ends of the topics' partitions.
func (t *target) look(ctx context.Context, topics []string) (v view, err error) {
	ctx, cancel := context.WithTimeout(ctx, 3*dialTimeout)
	defer cancel()
	if len(topics) == 0 {
		return view{whole: true}, nil
	}
	m, err := t.adm.Metadata(ctx, topics...)
	if err != nil {
		return v, err
	}
	brokers := map[int32]string{}
	for _, b := range m.Brokers {
		brokers[b.NodeID] = net.JoinHostPort(b.Host, strconv.Itoa(int(b.Port)))
	}
	v = view{leaders: map[string][]string{}, ids: map[string]string{}, whole: true}
	addresses := map[string]bool{}
	for _, d := range m.Topics {
		if d.Err != nil {
			return v, fmt.Errorf("topic %s of the target: %w", d.Topic, d.Err)
		}
		v.ids[d.Topic] = hexID(d.ID)
		of := make([]string, len(d.Partitions))
		for _, p := range d.Partitions {
			if int(p.Partition) < len(of) && brokers[p.Leader] != "" {
				of[p.Partition] = brokers[p.Leader]
				addresses[of[p.Partition]] = true
			} else {
				v.whole = false
			}
		}
		v.leaders[d.Topic] = of
	}
	v.addresses = slices.Sorted(maps.Keys(addresses))
	if v.ends, err = t.adm.ListEndOffsets(ctx, topics...); err != nil {
		return v, err
	}
	return v, v.ends.Error()
}

// use takes a view over.
func (t *target) use(v view, lanes []*lane) {
	t.view = v
	for _, l := range lanes {
		if o, ok := v.ends.Lookup(l.state.Target, l.state.Partition); ok {
			l.horizon = o.Offset
		}
	}
}

// await looks until every partition has a leader: a topic that was just created may need a moment.
func (t *target) await(ctx context.Context, lanes []*lane) error {
	for limit := time.Now().Add(3 * dialTimeout); ; {
		v, err := t.look(ctx, targetsOf(lanes))
		if err == nil && (v.whole || time.Now().After(limit)) {
			t.use(v, lanes)
			return nil
		}
		if err != nil && time.Now().After(limit) {
			return fmt.Errorf("%w: %w", ErrUnreachable, err)
		}
		select {
		case <-time.After(retryPause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func targetsOf(lanes []*lane) []string {
	names := map[string]bool{}
	for _, l := range lanes {
		names[l.state.Target] = true
	}
	return slices.Sorted(maps.Keys(names))
}

// leader is the address of a partition's leader; empty if none is known.
func (t *target) leader(l *lane) string {
	of := t.view.leaders[l.state.Target]
	if int(l.state.Partition) >= len(of) {
		return ""
	}
	return of[l.state.Partition]
}

// wishesOf lists the topics to replay. choice maps topics of the source to names in the target; empty: all of them, under prefix and name.
func wishesOf(s *source, image *metadata.Image, choice map[string]string, prefix string) (wishes []*wish, internal []string, err error) {
	byName := map[string]*wish{}
	add := func(topic string) *wish {
		w := byName[topic]
		if w == nil {
			w = &wish{topic: topic, target: prefix + topic, highest: -1}
			byName[topic] = w
		}
		return w
	}
	for _, p := range s.parts {
		w := add(p.Topic)
		w.partitions = max(w.partitions, p.Identity.Partition+1)
		if p.End > p.LogStart {
			w.highest = max(w.highest, p.Identity.Partition)
		}
	}
	if image != nil {
		for name, m := range image.Topics {
			w := add(name)
			w.partitions, w.configs = max(w.partitions, int32(len(m.Partitions))), m.Configs
		}
	}
	for topic, as := range choice {
		w := byName[topic]
		switch {
		case isInternal(topic):
			return nil, nil, fmt.Errorf("%w: %s is internal and never replayed: brokers write it themselves", ErrRefused, topic)
		case w == nil:
			return nil, nil, fmt.Errorf("topic %s: %w in the source", topic, ErrNoTopic)
		case as != "":
			w.target = prefix + as
		}
	}
	targets := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		w := byName[name]
		_, chosen := choice[name]
		switch {
		case isInternal(name):
			internal = append(internal, name)
			continue
		case len(choice) > 0 && !chosen:
			continue
		case targets[w.target] != "":
			return nil, nil, fmt.Errorf("%w: topics %s and %s would both become %s", ErrRefused, targets[w.target], name, w.target)
		}
		targets[w.target] = name
		wishes = append(wishes, w)
	}
	return wishes, internal, nil
}

// isInternal says whether brokers write a topic themselves.
func isInternal(topic string) bool {
	return topic == "__consumer_offsets" || topic == "__transaction_state" || topic == "__share_group_state" || strings.HasPrefix(topic, "__cluster_")
}
