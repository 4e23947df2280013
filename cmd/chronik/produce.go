package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"

	"chronik.dev/chronik/cmd/chronik/recordtext"
)

type produceOptions struct {
	clientOptions
	file, format, separator, null, key string
	acks, compression                  string
	partition                          int32
	headers                            []string
	ignorePartitions, keepGoing, auto  bool
	maxBatch                           int32 // bytes
}

func newProduce(a *app) *cobra.Command {
	o := &produceOptions{}
	cmd := &cobra.Command{
		Use:   "produce TOPIC [VALUE...]",
		Short: "Send records from stdin, a file or the command line",
		Long: `Send records to a topic, one per line of stdin or --file, or one per VALUE, and say what was acknowledged. The first line that cannot be
read or is not accepted ends it, unless --keep-going is given: the exit code is not 0 then, and the failure and the number of lines that
were not sent are said.

--format is one of
  line    the line is the value; with --key-separator what is before it is the key
  json    {"key":"k","value":"v","headers":[{"key":"h","value":"x"}],"partition":0,"timestamp":1767366245000}, all optional; key_hex and
          value_hex for bytes; a value that is no string is sent as JSON; the lines of 'chronik consume -o ndjson' and --format json
  LAYOUT  with verbs, as '%k %v\n' (franz-go's kgo.NewRecordReader has all of them)`,
		Example: `  chronik produce greetings hello world
  echo 'user-1:signed in' | chronik produce events --key-separator :
  chronik produce orders --file orders.ndjson --format json --acks all --compression zstd
  chronik consume orders --until-end -o ndjson | chronik produce copy --format json`,
		GroupID: groupAdminister,
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.run(a, cmd, args[0], args[1:])
		},
		ValidArgsFunction: firstOnly(completeTopics(&o.clientOptions)),
	}
	f := cmd.Flags()
	f.StringVarP(&o.file, "file", "f", "", "read `FILE` instead of stdin")
	f.StringVar(&o.format, "format", "line", "`FORMAT` of the input: line, json or a layout")
	f.StringVarP(&o.separator, "key-separator", "K", "", "`TEXT` between key and value of a line")
	f.StringVar(&o.null, "null", "", "`TEXT` that means null as key or value of a line, as for tombstones")
	f.StringVarP(&o.key, "key", "k", "", "`KEY` of every record that has none of its own")
	f.StringArrayVarP(&o.headers, "header", "H", nil, "`NAME=VALUE`, a header of every record; may be repeated")
	f.Int32VarP(&o.partition, "partition", "p", -1, "`N`, the partition of every record; else the input or the key decides")
	f.BoolVar(&o.ignorePartitions, "ignore-partitions", false, "the key decides, whatever the input says")
	f.StringVar(&o.acks, "acks", "all", "whose acknowledgement to wait for: all, 1 or 0")
	f.StringVarP(&o.compression, "compression", "z", "none", "`CODEC`: none, gzip, snappy, lz4 or zstd")
	f.BoolVar(&o.keepGoing, "keep-going", false, "go on behind lines that fail")
	f.BoolVar(&o.auto, "create", false, "let the broker create the topic if it does not exist, as auto.create.topics.enable allows")
	for name, values := range map[string][]cobra.Completion{ // fails only for a flag that does not exist
		"format": {"line", "json"}, "acks": {"all", "1", "0"}, "compression": {"none", "gzip", "snappy", "lz4", "zstd"},
	} {
		_ = cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
	}
	o.flags(cmd)
	a.formatFlag(cmd)
	return marked(cmd, changesNet)
}

func (o *produceOptions) run(a *app, cmd *cobra.Command, topic string, values []string) error {
	if err := o.check(values); err != nil {
		return err
	}
	opts, err := o.clientOpts(topic)
	if err != nil {
		return err
	}
	headers, err := parseHeaders(o.headers)
	if err != nil {
		return err
	}
	input, closeInput, err := o.input(a, values)
	if err != nil {
		return err
	}
	defer closeInput()
	ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	trouble := &outage{a: a}
	s, err := o.connect(ctx, append(opts, kgo.WithHooks(trouble))...)
	if err != nil {
		return err
	}
	defer s.close()
	trouble.begin()
	have := 0
	if !o.auto {
		o.maxBatch = s.batchLimit(topic)
		all, err := s.topics(topic)
		if err != nil {
			return fmt.Errorf("%w; --create makes it", err)
		}
		if have = len(all[topic].Partitions); int(o.partition) >= have {
			return &exitError{code: exitNotFound, err: fmt.Errorf("topic %s has no partition %d, only 0 to %d", topic, o.partition, have-1)}
		}
	}
	p := &production{o: o, session: s, headers: headers, have: int32(have), sum: produced{Topic: topic, Acks: o.acks, Partitions: []producedPartition{}}}
	p.run(ctx, stop, input)
	if err := document(a, "produce", p.result(), (*produced).text); err != nil {
		return err
	}
	return p.failure()
}

func (o *produceOptions) check(values []string) error {
	switch {
	case o.partition < -1:
		return usagef("--partition %d is none", o.partition)
	case o.partition >= 0 && o.ignorePartitions:
		return usagef("--partition and --ignore-partitions contradict each other")
	case len(values) > 0 && o.file != "":
		return usagef("values on the command line and --file: choose one")
	case o.format != "line" && (o.separator != "" || o.null != ""):
		return usagef("--key-separator and --null belong to --format line")
	case len(values) > 0 && o.format != "line":
		return usagef("values on the command line are sent as they are: they have no --format")
	}
	return nil
}

// clientOpts turns flags into options of the client.
func (o *produceOptions) clientOpts(topic string) ([]kgo.Opt, error) {
	codecs := map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}
	codec, ok := codecs[o.compression]
	if !ok {
		return nil, usagef("--compression %s is none; use none, gzip, snappy, lz4 or zstd", o.compression)
	}
	o.maxBatch = defaultBatch
	opts := []kgo.Opt{
		kgo.DefaultProduceTopic(topic), kgo.ProducerBatchCompression(codec), kgo.RecordPartitioner(statedPartitioner{kgo.StickyKeyPartitioner(nil)}),
		kgo.UnknownTopicRetries(1), // RecordDeliveryTimeout counts from a record's own timestamp; production.watch bounds the wait
		kgo.ProducerBatchMaxBytesFn(func(string) int32 { return o.maxBatch }),
	}
	switch o.acks {
	case "all", "-1":
		o.acks = "all"
	case "1":
		opts = append(opts, kgo.RequiredAcks(kgo.LeaderAck()), kgo.DisableIdempotentWrite())
	case "0":
		opts = append(opts, kgo.RequiredAcks(kgo.NoAck()), kgo.DisableIdempotentWrite())
	default:
		return nil, usagef("--acks %s is none; use all, 1 or 0", o.acks)
	}
	if o.auto {
		opts = append(opts, kgo.AllowAutoTopicCreation())
	}
	return opts, nil
}

// Bounds of a batch, in bytes.
const (
	defaultBatch = 1000012  // below Kafka's default of max.message.bytes
	largestBatch = 90 << 20 // below Kafka's default of socket.request.max.bytes
)

// batchLimit is what the topic takes, as far as the broker tells.
func (s *session) batchLimit(topic string) int32 {
	all, err := s.describeConfigs(configTarget{topicConfig, topic})
	if err != nil {
		return defaultBatch // it may be denied, and sending still allowed
	}
	limit, err := strconv.ParseInt(deref(valueOf(all, "max.message.bytes")), 10, 32)
	if err != nil || limit < 1 {
		return defaultBatch
	}
	return int32(min(limit, largestBatch))
}

func valueOf(all []configLine, key string) *string {
	if c := find(all, key); c != nil {
		return c.Value
	}
	return nil
}

// statedPartitioner takes a record's partition if the input stated one, else the key decides, and without one a batch at a time.
type statedPartitioner struct{ rest kgo.Partitioner }

func (s statedPartitioner) ForTopic(topic string) kgo.TopicPartitioner {
	return statedTopicPartitioner{s.rest.ForTopic(topic)}
}

type statedTopicPartitioner struct{ kgo.TopicPartitioner }

func (s statedTopicPartitioner) RequiresConsistency(r *kgo.Record) bool {
	return r.Partition >= 0 || s.TopicPartitioner.RequiresConsistency(r)
}

func (s statedTopicPartitioner) Partition(r *kgo.Record, n int) int {
	if r.Partition >= 0 {
		return int(r.Partition)
	}
	return s.TopicPartitioner.Partition(r, n)
}

// OnNewBatch lets keyless records move to another partition with the next batch.
func (s statedTopicPartitioner) OnNewBatch() {
	if p, ok := s.TopicPartitioner.(kgo.TopicPartitionerOnNewBatch); ok {
		p.OnNewBatch()
	}
}

func parseHeaders(pairs []string) ([]kgo.RecordHeader, error) {
	var all []kgo.RecordHeader
	for _, pair := range pairs {
		key, value, ok := strings.Cut(pair, "=")
		if !ok || key == "" {
			return nil, usagef("--header %q: write NAME=VALUE", pair)
		}
		all = append(all, kgo.RecordHeader{Key: key, Value: []byte(value)})
	}
	return all, nil
}

// recordSource yields records until io.EOF; *recordtext.LineError is one that cannot be read.
type recordSource interface {
	Next() (*kgo.Record, error)
	Line() int64
	GoesOn() bool
}

// input opens what the records come from.
func (o *produceOptions) input(a *app, values []string) (recordSource, func(), error) {
	if len(values) > 0 {
		return &arguments{values: values, o: o}, func() {}, nil
	}
	in, closeInput := a.in, func() {}
	if o.file != "" && o.file != "-" {
		f, err := os.Open(o.file)
		if err != nil {
			return nil, nil, fmt.Errorf("cannot read the records: %w", err)
		}
		in, closeInput = f, func() { _ = f.Close() } // it was only read
	} else if terminal(a.in) {
		a.hint("one record per line; Ctrl-D ends")
	}
	r, err := recordtext.NewReader(in, recordtext.ReadOptions{Format: o.format, KeySeparator: o.separator, Null: o.null})
	if err != nil {
		closeInput()
		return nil, nil, usage(fmt.Errorf("--format: %w", err))
	}
	return r, closeInput, nil
}

// arguments are records from the command line, one per value.
type arguments struct {
	values []string
	at     int
	o      *produceOptions
}

func (s *arguments) Line() int64  { return int64(s.at) }
func (s *arguments) GoesOn() bool { return true }

func (s *arguments) Next() (*kgo.Record, error) {
	if s.at == len(s.values) {
		return nil, io.EOF
	}
	text := s.values[s.at]
	s.at++
	record, err := recordtext.ReadOptions{KeySeparator: s.o.separator, Null: s.o.null}.ParseLine([]byte(text))
	if err != nil {
		return nil, &recordtext.LineError{Line: int64(s.at), Reason: err}
	}
	return record, nil
}

// produced is what became of the records.
type produced struct {
	Topic        string              `json:"topic"`
	Acks         string              `json:"acks"`
	Read         int64               `json:"read"`          // records of the input
	Acknowledged int64               `json:"acknowledged"`  // with --acks 0: handed to the network
	Failed       int64               `json:"failed"`        // refused, or not readable as records
	Unknown      int64               `json:"unknown"`       // sent, but no answer came: they may be stored
	NotSent      int64               `json:"not_sent"`      // behind the failure that ended it
	NotSentMore  bool                `json:"not_sent_more"` // the input went on for longer than was waited for
	FirstFailure *producedFailure    `json:"first_failure,omitempty"`
	Partitions   []producedPartition `json:"partitions"`
}

type producedFailure struct {
	Line  int64  `json:"line,omitempty"`
	Error string `json:"error"`
	err   error
}

type producedPartition struct {
	Partition int32 `json:"partition"`
	Records   int64 `json:"records"`
	First     int64 `json:"first_offset"` // -1 with --acks 0
	Last      int64 `json:"last_offset"`
}

func (p *produced) text(w io.Writer) error {
	verb := "acknowledged"
	if p.Acks == "0" {
		verb = "sent, not acknowledged"
	}
	line := fmt.Sprintf("%s: %s %s", p.Topic, counted(p.Acknowledged, "record"), verb)
	for i, part := range p.Partitions {
		if i == 8 {
			line += fmt.Sprintf(", and %d partitions more", len(p.Partitions)-i)
			break
		}
		line += fmt.Sprintf(", partition %d", part.Partition)
		if part.First >= 0 {
			line += fmt.Sprintf(" at %d-%d", part.First, part.Last)
		}
	}
	for _, rest := range []struct {
		n    int64
		what string
	}{{p.Failed, "failed"}, {p.Unknown, "without an answer"}, {p.NotSent, "not sent"}} {
		if rest.n > 0 {
			line += fmt.Sprintf("; %d %s", rest.n, rest.what)
		}
	}
	_, err := fmt.Fprintln(w, line)
	return err
}

// failure says what went wrong first.
func (p *production) failure() error {
	sum := p.result()
	if sum.Failed+sum.Unknown+sum.NotSent == 0 && sum.FirstFailure == nil {
		return nil
	}
	missing := sum.Failed + sum.Unknown + sum.NotSent
	consequence := fmt.Sprintf("%s not acknowledged", counted(missing, "record"))
	if sum.NotSent > 0 {
		consequence += fmt.Sprintf(", of them %d not sent", sum.NotSent)
		if sum.NotSentMore {
			consequence += " and more behind them"
		}
	}
	f := sum.FirstFailure
	var line *recordtext.LineError
	switch {
	case f == nil:
		return &exitError{code: exitTimeout, err: fmt.Errorf("no answer from %s in time; %s", p.session.address, consequence)}
	case errors.As(f.err, &line):
		return fmt.Errorf("cannot read %w; %s", f.err, consequence)
	case errors.Is(f.err, context.Canceled):
		return &exitError{code: exitFailed, err: fmt.Errorf("interrupted; %s", consequence)}
	case f.Line == math.MaxInt64:
		return fmt.Errorf("cannot read the input: %w; %s", f.err, consequence)
	}
	what := "send the records"
	if f.Line > 0 {
		what = fmt.Sprintf("send line %d", f.Line)
	}
	return p.session.failed(fmt.Sprintf("%s (%s)", what, consequence), f.err)
}
