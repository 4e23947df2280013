package main

import (
	"errors"
	"fmt"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

func TestPlaces(t *testing.T) {
	now := time.UnixMilli(1_000_000_000)
	for text, want := range map[string]place{
		"beginning": {kind: atStart}, "Earliest": {kind: atStart}, "end": {kind: atEnd}, "latest": {kind: atEnd}, "0": {atOffset, 0}, "17": {atOffset, 17},
		"-3": {beforeEnd, 3}, "@5": {atTime, 5}, "1970-01-01T00:00:01Z": {atTime, 1000}, "10s": {atTime, 999_990_000},
	} {
		if got, err := parsePlace("--from", text, now); err != nil || got != want {
			t.Errorf("%s: %+v, %v; want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "soon", "@", "@-1", "-5m", "1.5", "2026-01-02"} {
		if got, err := parsePlace("--from", text, now); exitCode(err) != exitUsage {
			t.Errorf("%q is %+v, %v; want a usage error", text, got, err)
		}
	}
	const start, end, timed = 10, 20, 13
	for p, want := range map[place]int64{
		{kind: atStart}: 10, {kind: atEnd}: 20, {atOffset, 99}: 99, {beforeEnd, 3}: 17, {beforeEnd, 30}: 10, {atTime, 5}: 13,
	} {
		if got := p.in(start, end, timed); got != want {
			t.Errorf("%+v in 10 to 20: %d, want %d", p, got, want)
		}
	}
}

func TestSimilar(t *testing.T) {
	names := []string{"payments", "orders", "order-events", "a"}
	for typed, want := range map[string]string{"order": "orders", "ordrs": "orders", "paymnts": "payments", "ab": "a", "invoices": "", "retention": ""} {
		if got := similar(typed, names); got != want {
			t.Errorf("%s is like %q, want %q", typed, got, want)
		}
	}
	if d := editDistance("kitten", "sitting"); d != 3 {
		t.Errorf("kitten to sitting: %d, want 3", d)
	}
}

func TestGroupPartition(t *testing.T) {
	at := func(n int64) *int64 { return &n }
	for _, c := range []struct {
		committed, start, end *int64
		lag                   int64 // -1: none can be told
		note                  string
	}{
		{at(4), at(0), at(10), 6, ""},
		{at(10), at(10), at(10), 0, ""},
		{nil, at(0), at(10), -1, ""},
		{at(4), at(7), at(10), 6, "3 records gone before it was read"},
		{at(12), at(0), at(10), 0, "committed 2 past the end"},
		{at(4), nil, nil, -1, "the partition does not exist or has no leader"},
	} {
		g := &groupInfo{}
		g.add(&groupOffset{Committed: c.committed, Start: c.start, End: c.end})
		got := int64(-1)
		if p := g.Partitions[0]; p.Lag != nil {
			got = *p.Lag
		}
		if got != c.lag || g.Lag != max(c.lag, 0) || g.Partitions[0].Note != c.note {
			t.Errorf("%s of %s to %s: lag %d, sum %d, note %q", offsetText(c.committed), offsetText(c.start), offsetText(c.end), got, g.Lag, g.Partitions[0].Note)
		}
	}
}

func TestBrokerErrors(t *testing.T) {
	s := &session{address: "here:9092"}
	dial := &net.OpError{Op: "dial", Addr: &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 9}, Err: syscall.ECONNREFUSED}
	for _, c := range []struct {
		err  error
		code int
		text string
	}{
		{brokerError(kerr.UnknownTopicOrPartition, ""), exitNotFound, "cannot x: UNKNOWN_TOPIC_OR_PARTITION: This server does not host this topic-partition; 'chronik topic list' shows what there is"},
		{brokerError(kerr.InvalidConfig, "no such key."), exitFailed, "cannot x: INVALID_CONFIG: no such key"},
		{kerr.TopicAuthorizationFailed, exitDenied, "cannot x: TOPIC_AUTHORIZATION_FAILED: Not authorized to access topics: [Topic authorization failed.]"},
		{&kadm.ShardErrors{Errs: []kadm.ShardError{{Err: kerr.GroupIDNotFound}}}, exitNotFound,
			"cannot x: GROUP_ID_NOT_FOUND: The group id does not exist; 'chronik group list' shows what there is"},
		{fmt.Errorf("unable to dial: %w", dial), exitUnreachable, "cannot x: the broker at here:9092 answers, but the one that clients are sent to, 10.0.0.1:9, does not: connection refused; " +
			"compare advertised.listeners with 'chronik cluster describe'"},
	} {
		err := s.failed("x", c.err)
		if err.Error() != c.text || exitCode(err) != c.code {
			t.Errorf("%v: exit %d, %q; want %d, %q", c.err, exitCode(err), err, c.code, c.text)
		}
	}
	if err := firstError(nil, nil); err != nil || !errors.Is(firstError(nil, dial), dial) {
		t.Error("firstError does not return the first error")
	}
}
