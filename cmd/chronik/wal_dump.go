package main

import (
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"chronik.dev/chronik/broker/wal"
	"chronik.dev/chronik/walinspect"
)

type walDumpOptions struct {
	walOptions
	topic, offset, lsn, since, until string
	partition                        int32
	types                            []string
	damaged, records                 bool
	limit                            int64
}

func newWalDump(a *app) *cobra.Command {
	o := &walDumpOptions{}
	cmd := &cobra.Command{
		Use:   "dump PATH",
		Short: "Show frames, batches and records",
		Long: `Show what the files hold, one line each: frames of the journal and of Raft's log, batches of partition logs, and with --records
every record. Filters combine; ranges are FROM-TO, FROM- or -TO, both ends included. Damaged frames and batches are shown with what is
left of them; --damaged shows only those.`,
		Example: `  chronik wal dump ./chronik-data
  chronik wal dump --topic orders --partition 0 --offset 100-199 --records ./chronik-data
  chronik wal dump -o ndjson --lsn 5000- ./chronik-data/wal
  chronik wal dump --damaged ./chronik-data
  chronik wal dump --records ./chronik-data/topics/orders-0/00000000000000000000.log`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			filter, err := o.filter(cmd.Flags().Changed("partition"))
			if err != nil {
				return usage(err)
			}
			return o.read(a, args[0], func(target *walinspect.Target, bar *progress) error { return o.run(a, target, bar, filter) })
		},
	}
	o.flags(cmd)
	f := cmd.Flags()
	f.StringVar(&o.topic, "topic", "", "only this topic")
	f.Int32Var(&o.partition, "partition", 0, "only this partition")
	f.StringVar(&o.offset, "offset", "", "only these offsets (Raft: indexes), as `RANGE`")
	f.StringVar(&o.lsn, "lsn", "", "only these log sequence numbers, as `RANGE`")
	f.StringVar(&o.since, "since", "", "only at or after this `TIME` (RFC 3339, or ms since 1970)")
	f.StringVar(&o.until, "until", "", "only before this `TIME`")
	f.StringSliceVar(&o.types, "type", nil, "only frames of these types: batch, opened, truncated, ..., raft-entry")
	f.BoolVar(&o.damaged, "damaged", false, "only what is damaged")
	f.BoolVar(&o.records, "records", false, "also every record")
	f.Int64Var(&o.limit, "limit", 0, "stop after `N` lines; 0 shows all")
	a.formatFlag(cmd)
	return marked(cmd, readOnly)
}

// errEnough ends a dump at its limit.
var errEnough = errors.New("limit reached")

func (o *walDumpOptions) run(a *app, target *walinspect.Target, bar *progress, filter *walinspect.Filter) error {
	p := a.newPrinter("wal-dump", prose[*walinspect.Item, *walinspect.DumpSummary]{each: dumpLine, end: dumpEnd})
	var lines int64
	sum, err := target.Dump(filter, func(item *walinspect.Item) error {
		if o.limit > 0 && lines == o.limit {
			return errEnough
		}
		lines++
		bar.clear()
		return p.Item(item)
	})
	if err != nil && !errors.Is(err, errEnough) {
		return fmt.Errorf("cannot dump %s: %w", target.Path, err)
	}
	bar.clear()
	return p.Close(sum)
}

func (o *walDumpOptions) filter(partition bool) (*walinspect.Filter, error) {
	f := &walinspect.Filter{Topic: o.topic, Types: o.types, Damaged: o.damaged, Records: o.records}
	if partition {
		f.Partition = &o.partition
	}
	first, last, err := parseRange("--offset", o.offset)
	if err != nil {
		return nil, err
	}
	f.FirstOffset, f.LastOffset = first, last
	if first, last, err = parseRange("--lsn", o.lsn); err != nil {
		return nil, err
	}
	if first != nil {
		f.FirstLSN = wal.LSN(max(*first, 1))
	}
	if last != nil {
		f.LastLSN = wal.LSN(max(*last, 1))
	}
	if f.Since, err = parseTime("--since", o.since); err != nil {
		return nil, err
	}
	f.Until, err = parseTime("--until", o.until)
	return f, err
}

// parseRange parses N, FROM-TO, FROM- or -TO; nil is an open end.
func parseRange(flag, text string) (first, last *int64, err error) {
	if text == "" {
		return nil, nil, nil
	}
	from, to, ranged := strings.Cut(text, "-")
	if !ranged {
		to = from
	}
	parse := func(s string) (*int64, error) {
		if s == "" {
			return nil, nil
		}
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil || n < 0 {
			return nil, fmt.Errorf("%s %s is no range; write N, FROM-TO, FROM- or -TO", flag, text)
		}
		return &n, nil
	}
	if first, err = parse(from); err != nil {
		return nil, nil, err
	}
	if last, err = parse(to); err != nil {
		return nil, nil, err
	}
	if first == nil && last == nil || first != nil && last != nil && *first > *last {
		return nil, nil, fmt.Errorf("%s %s is an empty range", flag, text)
	}
	return first, last, nil
}

// parseTime parses RFC 3339 or milliseconds since 1970.
func parseTime(flag, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if ms, err := strconv.ParseInt(text, 10, 64); err == nil {
		return time.UnixMilli(ms), nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return t, fmt.Errorf("%s %s is no time; write it like 2026-01-02T15:04:05Z or as milliseconds since 1970", flag, text)
	}
	return t, nil
}

// timeText renders a time in ms; nothing for none.
func timeText(ms int64) string {
	if ms <= 0 || ms == math.MaxInt64 {
		return ""
	}
	return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z")
}

// maxShown bounds a key or value in a line, in bytes; -o ndjson shows all of it.
const maxShown = 120

// dumpLine renders an item as one line, records indented below their batch.
func dumpLine(i *walinspect.Item, w io.Writer) error {
	var b strings.Builder
	switch {
	case i.Item == "record" && i.Record != nil:
		recordLine(&b, i)
	default:
		itemLine(&b, i)
	}
	if i.Damage != "" {
		fmt.Fprintf(&b, " DAMAGED: %s", i.Damage)
	}
	b.WriteByte('\n')
	_, err := io.WriteString(w, b.String())
	return err
}

func itemLine(b *strings.Builder, i *walinspect.Item) {
	fmt.Fprintf(b, "%s@%d", i.File, i.Position)
	if i.LSN != 0 {
		fmt.Fprintf(b, " lsn=%d", i.LSN)
	}
	if i.Type != "" {
		fmt.Fprintf(b, " %s", i.Type)
	}
	if i.Partition != nil {
		name := i.Topic
		if name == "" {
			name = "id:" + i.TopicID
		}
		fmt.Fprintf(b, " %s-%d", name, *i.Partition)
	}
	switch {
	case i.Type == wal.RaftEntry.String():
		fmt.Fprintf(b, " index=%d term=%d", i.First, i.Last)
	case i.Type == wal.Batch.String() || i.Item == "batch" || i.Last > i.First:
		fmt.Fprintf(b, " offsets=%d-%d", i.First, i.Last)
	default:
		fmt.Fprintf(b, " at=%d", i.First)
	}
	if i.Epoch != nil {
		fmt.Fprintf(b, " epoch=%d", *i.Epoch)
	}
	fmt.Fprintf(b, " bytes=%d", i.Length)
	if i.Time > 0 {
		fmt.Fprintf(b, " time=%s", timeText(i.Time))
	}
	if h := i.Batch; h != nil {
		fmt.Fprintf(b, " records=%d codec=%s crc=%s", h.Records, h.Codec, h.CRC)
		if h.ProducerID >= 0 {
			fmt.Fprintf(b, " producer=%d/%d sequence=%d", h.ProducerID, h.ProducerEpoch, h.BaseSequence)
		}
		if h.Control {
			b.WriteString(" control")
		}
		if h.Transactional {
			b.WriteString(" transactional")
		}
	}
	if len(i.Command) > 0 {
		fmt.Fprintf(b, " %s", shown(string(i.Command)))
	}
}

func recordLine(b *strings.Builder, i *walinspect.Item) {
	fmt.Fprintf(b, "  offset=%d time=%s key=%s value=%s", i.First, timeText(i.Time),
		field(i.Record.Key, i.Record.KeyHex), field(i.Record.Value, i.Record.ValueHex))
	for _, h := range i.Record.Headers {
		fmt.Fprintf(b, " %s:%s", strconv.Quote(h.Key), field(h.Value, h.ValueHex))
	}
}

func field(text *string, digits string) string {
	switch {
	case text != nil:
		return strconv.Quote(shown(*text))
	case digits != "":
		return "0x" + shown(digits)
	}
	return "null"
}

// shown cuts long text, at a character's boundary.
func shown(s string) string { return cut(s, maxShown) }

// cut is shown for another bound.
func cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "..."
}

func dumpEnd(s *walinspect.DumpSummary, w io.Writer) error {
	shown := ""
	if s.Frames > 0 {
		shown += counted(s.Frames, "frame") + ", "
	}
	if s.Batches > 0 {
		shown += countedBatches(s.Batches) + ", "
	}
	if s.Records > 0 {
		shown += counted(s.Records, "record") + ", "
	}
	_, err := fmt.Fprintf(w, "%s (%s): %s%d damaged\n", s.Target, s.Kind, shown, s.Damaged)
	return err
}
