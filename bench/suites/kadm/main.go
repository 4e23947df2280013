// Command kadm calls what franz-go's pkg/kadm can ask of a broker, whose own tests need none. It prints PASS or FAIL and the name of each check; what
// is right is what Apache Kafka does.
//
//	kadm HOST:PORT
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// env is what the checks share. They run in order.
type env struct {
	*kadm.Client
	kgo   *kgo.Client
	topic string
	group string
	began int64 // milliseconds
}

type check struct {
	name string
	run  func(ctx context.Context, e *env) error
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: kadm HOST:PORT")
		os.Exit(2)
	}
	suffix := fmt.Sprint(time.Now().UnixNano())
	cl, err := kgo.NewClient(kgo.SeedBrokers(os.Args[1]), kgo.RetryTimeout(10*time.Second), kgo.DefaultProduceTopic("kadm-"+suffix))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	defer cl.Close()
	e := &env{Client: kadm.NewClient(cl), kgo: cl, topic: "kadm-" + suffix, group: "kadm-group-" + suffix, began: time.Now().UnixMilli()}
	for _, checks := range [][]check{clusterChecks, topicChecks, offsetChecks, groupChecks, laterChecks, lastChecks} {
		for _, c := range checks {
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			if err := c.run(ctx, e); err != nil {
				fmt.Printf("FAIL %s: %v\n", c.name, err)
			} else {
				fmt.Println("PASS " + c.name)
			}
			cancel()
		}
	}
}

// want says what is wrong with an answer.
func want(ok bool, format string, args ...any) error {
	if ok {
		return nil
	}
	return fmt.Errorf(format, args...)
}

var clusterChecks = []check{
	{"ApiVersions", func(ctx context.Context, e *env) error {
		v, err := e.ApiVersions(ctx)
		if err != nil {
			return err
		}
		for _, b := range v.Sorted() {
			if b.Err != nil {
				return b.Err
			}
		}
		return want(len(v) == 1, "%d brokers", len(v))
	}},
	{"ApiVersions/guess", func(ctx context.Context, e *env) error {
		v, err := e.ApiVersions(ctx)
		if err != nil {
			return err
		}
		guess := v.Sorted()[0].VersionGuess()
		return want(strings.HasPrefix(guess, "v4"), "guessed version %q", guess)
	}},
	{"ListBrokers", func(ctx context.Context, e *env) error {
		b, err := e.ListBrokers(ctx)
		return errors.Join(err, want(len(b) == 1 && b[0].NodeID == 1 && b[0].Port > 0, "%v", b))
	}},
	{"BrokerMetadata", func(ctx context.Context, e *env) error {
		m, err := e.BrokerMetadata(ctx)
		return errors.Join(err, want(m.Controller == 1 && m.Cluster != "" && len(m.Topics) == 0, "%+v", m))
	}},
	{"CreateTopic", func(ctx context.Context, e *env) error {
		size := "1048576"
		r, err := e.CreateTopic(ctx, 3, 1, map[string]*string{"segment.bytes": &size}, e.topic)
		return errors.Join(err, r.Err, want(r.NumPartitions == 3 && r.ReplicationFactor == 1 && *r.Configs["segment.bytes"].Value == size, "%+v", r))
	}},
	{"CreateTopic/exists", func(ctx context.Context, e *env) error {
		_, err := e.CreateTopic(ctx, 3, 1, nil, e.topic)
		return want(errors.Is(err, kerr.TopicAlreadyExists), "%v", err)
	}},
	{"CreateTopic/replication", func(ctx context.Context, e *env) error {
		_, err := e.CreateTopic(ctx, 3, 3, nil, e.topic+"-3")
		return want(errors.Is(err, kerr.InvalidReplicationFactor), "%v", err)
	}},
	{"CreateTopic/name", func(ctx context.Context, e *env) error {
		_, err := e.CreateTopic(ctx, 3, 1, nil, "no/name")
		return want(errors.Is(err, kerr.InvalidTopicException), "%v", err)
	}},
	{"CreateTopic/config", func(ctx context.Context, e *env) error {
		bad := "x"
		_, err := e.CreateTopic(ctx, 1, 1, map[string]*string{"retention.ms": &bad}, e.topic+"-bad")
		return want(errors.Is(err, kerr.InvalidConfig), "%v", err)
	}},
	{"ValidateCreateTopics", func(ctx context.Context, e *env) error {
		r, err := e.ValidateCreateTopics(ctx, 1, 1, nil, e.topic+"-dry")
		if err = errors.Join(err, r.Error()); err != nil {
			return err
		}
		topics, err := e.ListTopics(ctx)
		return errors.Join(err, want(!topics.Has(e.topic+"-dry"), "a validated topic was made"))
	}},
}

var topicChecks = []check{
	{"ListTopics", func(ctx context.Context, e *env) error {
		t, err := e.ListTopics(ctx, e.topic)
		return errors.Join(err, t.Error(), want(len(t[e.topic].Partitions) == 3 && t[e.topic].ID != kadm.TopicID{}, "%+v", t))
	}},
	{"ListTopics/absent", func(ctx context.Context, e *env) error {
		t, err := e.ListTopics(ctx, "absent")
		return errors.Join(err, want(errors.Is(t["absent"].Err, kerr.UnknownTopicOrPartition), "%+v", t))
	}},
	{"DescribeTopicConfigs", func(ctx context.Context, e *env) error {
		r, err := e.DescribeTopicConfigs(ctx, e.topic)
		if err != nil {
			return err
		}
		for _, c := range r[0].Configs {
			if c.Key == "segment.bytes" {
				return want(c.MaybeValue() == "1048576" && c.Source.String() == "DYNAMIC_TOPIC_CONFIG", "%+v", c)
			}
		}
		return errors.New("no segment.bytes")
	}},
	{"DescribeBrokerConfigs", func(ctx context.Context, e *env) error {
		r, err := e.DescribeBrokerConfigs(ctx, 1)
		return errors.Join(err, want(len(r) == 1 && r[0].Err == nil && len(r[0].Configs) > 20, "%d resources", len(r)))
	}},
	{"AlterTopicConfigs", func(ctx context.Context, e *env) error {
		value := "100000000"
		r, err := e.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "retention.ms", Value: &value}}, e.topic)
		return errors.Join(err, r[0].Err)
	}},
	{"AlterTopicConfigs/append", func(ctx context.Context, e *env) error {
		value := "delete"
		r, err := e.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Op: kadm.AppendConfig, Name: "cleanup.policy", Value: &value}}, e.topic)
		return errors.Join(err, r[0].Err)
	}},
	{"AlterTopicConfigs/delete", func(ctx context.Context, e *env) error {
		r, err := e.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Op: kadm.DeleteConfig, Name: "retention.ms"}}, e.topic)
		return errors.Join(err, r[0].Err)
	}},
	{"ValidateAlterTopicConfigs", func(ctx context.Context, e *env) error {
		value := "soon"
		r, err := e.ValidateAlterTopicConfigs(ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "retention.ms", Value: &value}}, e.topic)
		return errors.Join(err, want(errors.Is(r[0].Err, kerr.InvalidConfig), "%v", r[0].Err))
	}},
	{"AlterBrokerConfigs", func(ctx context.Context, e *env) error {
		value := "1000000"
		r, err := e.AlterBrokerConfigs(ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "message.max.bytes", Value: &value}}, 1)
		if err = errors.Join(err, r[0].Err); err != nil {
			return err
		}
		r, err = e.AlterBrokerConfigs(ctx, []kadm.AlterConfig{{Op: kadm.DeleteConfig, Name: "message.max.bytes"}}, 1)
		return errors.Join(err, r[0].Err)
	}},
	{"CreatePartitions", func(ctx context.Context, e *env) error {
		r, err := e.CreatePartitions(ctx, 1, e.topic)
		return errors.Join(err, r.Error())
	}},
	{"UpdatePartitions/fewer", func(ctx context.Context, e *env) error {
		r, err := e.UpdatePartitions(ctx, 2, e.topic)
		return errors.Join(err, want(errors.Is(r[e.topic].Err, kerr.InvalidPartitions), "%v", r[e.topic].Err))
	}},
	{"ValidateCreatePartitions", func(ctx context.Context, e *env) error {
		r, err := e.ValidateCreatePartitions(ctx, 5, e.topic)
		return errors.Join(err, r.Error())
	}},
	{"DescribeAllLogDirs", func(ctx context.Context, e *env) error {
		d, err := e.DescribeAllLogDirs(ctx, nil)
		return errors.Join(err, want(len(d[1]) == 1, "%d directories", len(d[1])))
	}},
	{"DescribeBrokerLogDirs", func(ctx context.Context, e *env) error {
		d, err := e.DescribeBrokerLogDirs(ctx, 1, kadm.TopicsSet{e.topic: {0: {}}})
		return errors.Join(err, d.Error())
	}},
}

var offsetChecks = []check{
	{"produce", func(ctx context.Context, e *env) error {
		var all []*kgo.Record
		for i := range 100 {
			all = append(all, &kgo.Record{Key: fmt.Append(nil, i), Value: fmt.Append(nil, "value ", i)})
		}
		return e.kgo.ProduceSync(ctx, all...).FirstErr()
	}},
	{"ListStartOffsets", func(ctx context.Context, e *env) error {
		o, err := e.ListStartOffsets(ctx, e.topic)
		return errors.Join(err, o.Error(), want(sum(o) == 0, "%d", sum(o)))
	}},
	{"ListEndOffsets", func(ctx context.Context, e *env) error {
		o, err := e.ListEndOffsets(ctx, e.topic)
		return errors.Join(err, o.Error(), want(sum(o) == 100, "%d", sum(o)))
	}},
	{"ListCommittedOffsets", func(ctx context.Context, e *env) error {
		o, err := e.ListCommittedOffsets(ctx, e.topic)
		return errors.Join(err, o.Error(), want(sum(o) == 100, "%d", sum(o)))
	}},
	{"ListMaxTimestampOffsets", func(ctx context.Context, e *env) error {
		o, err := e.ListMaxTimestampOffsets(ctx, e.topic)
		return errors.Join(err, o.Error())
	}},
	{"ListOffsetsAfterMilli", func(ctx context.Context, e *env) error {
		o, err := e.ListOffsetsAfterMilli(ctx, e.began-1000, e.topic)
		return errors.Join(err, o.Error(), want(sum(o) == 0, "%d", sum(o)))
	}},
	{"ListOffsetsAfterMilli/future", func(ctx context.Context, e *env) error {
		o, err := e.ListOffsetsAfterMilli(ctx, time.Now().Add(time.Hour).UnixMilli(), e.topic)
		return errors.Join(err, o.Error(), want(sum(o) == 100, "%d", sum(o)))
	}},
	{"ListLocalLogStartOffsets", func(ctx context.Context, e *env) error {
		o, err := e.ListLocalLogStartOffsets(ctx, e.topic)
		return errors.Join(err, o.Error(), want(sum(o) == 0, "%d", sum(o)))
	}},
	{"ListLatestRemoteOffsets", func(ctx context.Context, e *env) error {
		o, err := e.ListLatestRemoteOffsets(ctx, e.topic)
		return errors.Join(err, o.Error())
	}},
	{"OffsetForLeaderEpoch", func(ctx context.Context, e *env) error {
		var r kadm.OffsetForLeaderEpochRequest
		r.Add(e.topic, 0, 0)
		o, err := e.OffsetForLeaderEpoch(ctx, r)
		return errors.Join(err, o[e.topic][0].Err, want(o[e.topic][0].LeaderEpoch == 0, "%+v", o))
	}},
	{"DeleteRecords", func(ctx context.Context, e *env) error {
		o, err := e.ListEndOffsets(ctx, e.topic)
		if err != nil {
			return err
		}
		to := kadm.Offsets{}
		to.AddOffset(e.topic, 1, o[e.topic][1].Offset, -1)
		r, err := e.DeleteRecords(ctx, to)
		return errors.Join(err, r.Error(), want(r[e.topic][1].LowWatermark == o[e.topic][1].Offset, "%+v", r))
	}},
	{"DeleteRecords/range", func(ctx context.Context, e *env) error {
		to := kadm.Offsets{}
		to.AddOffset(e.topic, 0, 1<<40, -1)
		r, err := e.DeleteRecords(ctx, to)
		return errors.Join(err, want(errors.Is(r[e.topic][0].Err, kerr.OffsetOutOfRange), "%+v", r))
	}},
}

// sum adds up the offsets of all partitions.
func sum(o kadm.ListedOffsets) (n int64) {
	o.Each(func(l kadm.ListedOffset) { n += l.Offset })
	return n
}
