package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
)

// place says where in a partition: the words of --from and --to.
type place struct {
	kind placeKind
	n    int64 // offset, records before the end, or ms since 1970
}

type placeKind int8

const (
	atStart   placeKind = iota // the first record that is kept
	atEnd                      // behind the last one
	atOffset                   // this offset
	beforeEnd                  // so many records before the end
	atTime                     // the first record at or after a time, else the end
)

const placeUsage = "beginning, end, an offset, -N (N before the end), a time (2026-01-02T15:04:05Z, or @ms since 1970), or an age (90m)"

// parsePlace reads a place; ages count from now.
func parsePlace(flag, text string, now time.Time) (place, error) {
	switch strings.ToLower(text) {
	case "beginning", "earliest", "start":
		return place{kind: atStart}, nil
	case "end", "latest":
		return place{kind: atEnd}, nil
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		if strings.HasPrefix(text, "-") {
			return place{beforeEnd, -n}, nil
		}
		return place{atOffset, n}, nil
	}
	if ms, found := strings.CutPrefix(text, "@"); found {
		if n, err := strconv.ParseInt(ms, 10, 64); err == nil && n >= 0 {
			return place{atTime, n}, nil
		}
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return place{atTime, t.UnixMilli()}, nil
	}
	if age, err := time.ParseDuration(text); err == nil && age >= 0 {
		return place{atTime, now.Add(-age).UnixMilli()}, nil
	}
	return place{}, usagef("%s %s is no place in a partition; write %s", flag, text, placeUsage)
}

// bounds are the offsets of a partition: start is the first one that is kept, end the next one to be written, at the one that was asked for.
type bounds struct{ start, end, at int64 }

// locate finds a place in all partitions of topics, which exist. With committed, the end is the last stable offset.
func (s *session) locate(p place, committed bool, topics ...string) (map[string]map[int32]bounds, error) {
	starts, err := s.admin.ListStartOffsets(s.ctx, topics...)
	if err != nil {
		return nil, s.failed("read the start offsets", err)
	}
	list := s.admin.ListEndOffsets
	if committed {
		list = s.admin.ListCommittedOffsets
	}
	ends, err := list(s.ctx, topics...)
	if err != nil {
		return nil, s.failed("read the end offsets", err)
	}
	var timed kadm.ListedOffsets
	if p.kind == atTime {
		if timed, err = s.admin.ListOffsetsAfterMilli(s.ctx, p.n, topics...); err != nil {
			return nil, s.failed("find the offsets of a time", err)
		}
	}
	found := map[string]map[int32]bounds{}
	for topic, partitions := range ends {
		found[topic] = map[int32]bounds{}
		for number, end := range partitions {
			start, _ := starts.Lookup(topic, number)
			first, _ := timed.Lookup(topic, number)
			for _, listed := range []kadm.ListedOffset{start, end, first} {
				if listed.Err != nil {
					return nil, s.failed(fmt.Sprintf("read the offsets of %s-%d", topic, number), listed.Err)
				}
			}
			found[topic][number] = bounds{start.Offset, end.Offset, p.in(start.Offset, end.Offset, first.Offset)}
		}
	}
	return found, nil
}

// in is the offset of the place between start and end; timed is the first one at or after the place's time.
func (p place) in(start, end, timed int64) int64 {
	switch p.kind {
	case atStart:
		return start
	case atOffset:
		return p.n
	case beforeEnd:
		return max(start, end-p.n)
	case atTime:
		return min(timed, end)
	}
	return end
}

// parsePartitions reads TOPIC or TOPIC:0,2.
func parsePartitions(flag, text string) (topic string, partitions []int32, err error) {
	topic, list, some := strings.Cut(text, ":")
	if topic == "" {
		return "", nil, usagef("%s %q names no topic; write TOPIC or TOPIC:0,2", flag, text)
	}
	if !some {
		return topic, nil, nil
	}
	for _, word := range strings.Split(list, ",") {
		n, err := strconv.ParseInt(word, 10, 32)
		if err != nil || n < 0 {
			return "", nil, usagef("%s %s: %q is no partition; write TOPIC or TOPIC:0,2", flag, text, word)
		}
		partitions = append(partitions, int32(n))
	}
	return topic, partitions, nil
}
