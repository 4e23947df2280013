package tui

import (
	"context"
	"strings"
	"testing"
	"time"
	uni "unicode"

	tea "github.com/charmbracelet/bubbletea"
	"pgregory.net/rapid"

	"chronik.dev/chronik/broker/admin"
	"chronik.dev/chronik/broker/datadir"
	"chronik.dev/chronik/broker/recovery"
	"chronik.dev/chronik/broker/wal"
	"chronik.dev/chronik/tui/live"
)

// nasty are names that clients and files may bring.
var nasty = rapid.OneOf(
	rapid.SampledFrom([]string{"", "orders", "a.very.long.topic.name.with.many.parts.and.more.of.them.until.it.is.wider.than.any.window.that.one.has-0",
		"\x1b[2J\x1b]0;owned\a", "日本語のトピック", "e\u0301e\u0301e\u0301", "a\u202eb\u200b", "x\ny\tz", "\xff\xfe", "👩‍👩‍👧", "\u2028", "\x9b31m"}),
	rapid.String(),
)

func anyInt(t *rapid.T) int64 {
	return rapid.OneOf(rapid.Int64Range(-1, 100), rapid.Int64(), rapid.Int64Range(0, 1<<45)).Draw(t, "n")
}

func anyFloat(t *rapid.T) float64 {
	return rapid.OneOf(rapid.Float64Range(-1, 100), rapid.Float64()).Draw(t, "f")
}

func anyTraffic(t *rapid.T) admin.Traffic {
	return admin.Traffic{ProducedRecords: uint64(anyInt(t)), ProducedBytes: uint64(anyInt(t)), FetchedRecords: uint64(anyInt(t)), FetchedBytes: uint64(anyInt(t))}
}

func anyHistogram(t *rapid.T) admin.Histogram {
	n := rapid.IntRange(0, 4).Draw(t, "bounds")
	h := admin.Histogram{Sum: anyFloat(t)}
	for i := range n {
		h.Bounds = append(h.Bounds, float64(i+1)/1000)
		h.Counts = append(h.Counts, uint64(rapid.IntRange(0, 1000).Draw(t, "count")))
	}
	if n > 0 {
		h.Counts = append(h.Counts, 1)
	}
	return h
}

func anyNode(t *rapid.T) *admin.Snapshot {
	if rapid.IntRange(0, 4).Draw(t, "node") == 0 {
		return nil
	}
	s := &admin.Snapshot{
		NodeID: int32(anyInt(t)), ClusterID: nasty.Draw(t, "s"), Directory: nasty.Draw(t, "s"), Kafka: nasty.Draw(t, "s"), StartedAt: rapid.Int64Range(0, 2).Draw(t, "started"),
		RecoverySeconds: anyFloat(t), Traffic: anyTraffic(t), TailBytes: anyInt(t), TailLimit: anyInt(t), DiskFree: anyInt(t), DiskTotal: anyInt(t),
		Journal: admin.Journal{Groups: uint64(anyInt(t)), Frames: uint64(anyInt(t)), SyncLatency: anyHistogram(t), LiveBytes: anyInt(t), MaxBytes: anyInt(t), SyncedLSN: uint64(anyInt(t))},
		Raft:    admin.Raft{State: nasty.Draw(t, "s"), Commit: uint64(anyInt(t)), First: uint64(anyInt(t)), LastIndex: uint64(anyInt(t)), Applied: uint64(anyInt(t)), ConfState: nasty.Draw(t, "s")},
	}
	if rapid.Bool().Draw(t, "recovered") {
		s.Raft.Recovered = &admin.RecoveredRaft{Term: uint64(anyInt(t))}
	}
	for range rapid.IntRange(0, 3).Draw(t, "apis") {
		s.Requests = append(s.Requests, admin.Request{API: nasty.Draw(t, "s"), Count: uint64(anyInt(t)), Latency: anyHistogram(t)})
	}
	return s
}

func anySnapshot(t *rapid.T, at time.Time) *live.Snapshot {
	if rapid.IntRange(0, 5).Draw(t, "kind") == 0 {
		return &live.Snapshot{At: at, Err: "e" + nasty.Draw(t, "s")}
	}
	o := &admin.Overview{Time: at.UnixMilli(), Version: nasty.Draw(t, "s"), State: admin.Serving, DiskFullIn: anyFloat(t), Node: anyNode(t), Topics: int(anyInt(t))}
	if o.Node == nil {
		o.State, o.Boot = admin.Recovering, &admin.Boot{Stage: rapid.SampledFrom([]string{"raft", "survey", "replay", "open", "?"}).Draw(t, "stage"), Done: anyInt(t), Total: anyInt(t), Percent: anyFloat(t), ETASeconds: anyFloat(t)}
	}
	for range rapid.IntRange(0, 4).Draw(t, "remarks") {
		o.Remarks = append(o.Remarks, admin.Remark{Level: rapid.SampledFrom([]admin.Level{admin.Bad, admin.Warn, admin.Note, admin.Fine}).Draw(t, "level"), Text: nasty.Draw(t, "s"), Next: nasty.Draw(t, "s")})
	}
	s := &live.Snapshot{At: at, Overview: o, Failed: nasty.Draw(t, "s"), Topic: nasty.Draw(t, "s")}
	for i := range rapid.IntRange(0, 5).Draw(t, "samples") {
		s.Samples = append(s.Samples, admin.Sample{Time: at.UnixMilli() - int64(10-i)*rapid.Int64Range(-500, 4000).Draw(t, "pace"), Traffic: anyTraffic(t), ProduceP99: anyFloat(t), SyncP50: anyFloat(t)})
	}
	n := rapid.IntRange(0, 40).Draw(t, "items")
	s.Topics = &admin.Page[admin.Topic]{Total: n + int(rapid.IntRange(0, 1000).Draw(t, "more")), Offset: rapid.IntRange(0, 50).Draw(t, "offset")}
	s.Partitions, s.Groups = &admin.Page[admin.Partition]{Total: n}, &admin.Page[admin.GroupRow]{Total: n}
	s.Events, s.Group, s.Ledger = &admin.Page[admin.Event]{Total: n}, &admin.Group{Name: nasty.Draw(t, "s")}, &admin.Ledger{}
	for range n {
		name := nasty.Draw(t, "s")
		s.Topics.Items = append(s.Topics.Items, admin.Topic{Name: name, Stopped: rapid.IntRange(0, 1).Draw(t, "stopped"), SizeBytes: anyInt(t), Rates: &admin.Rates{ProducedBytes: anyFloat(t)}})
		s.Partitions.Items = append(s.Partitions.Items, admin.Partition{Topic: name, Partition: int32(anyInt(t)), LogEnd: anyInt(t), Stopped: nasty.Draw(t, "s"), Command: name})
		f := anyFloat(t)
		s.Groups.Items = append(s.Groups.Items, admin.GroupRow{Name: name, Lag: anyInt(t), Consumed: &f, Arrived: &f, Drain: f, Trend: rapid.SampledFrom([]admin.Trend{admin.KeepsUp, admin.Behind, admin.CatchingUp, ""}).Draw(t, "trend")})
		s.Events.Items = append(s.Events.Items, admin.Event{Time: anyInt(t) % 1e14, Level: "WARN", Message: name, Detail: nasty.Draw(t, "s")})
		s.Group.Partitions = append(s.Group.Partitions, admin.GroupPartition{Topic: name, Committed: anyInt(t)})
		s.Group.Members = append(s.Group.Members, admin.GroupMember{Client: name, Host: nasty.Draw(t, "s"), Partitions: []string{name}})
		s.Ledger.Incidents = append(s.Ledger.Incidents, datadir.Incident{ID: name, Class: datadir.Corrupt, File: nasty.Draw(t, "s"), Message: nasty.Draw(t, "s"), Next: name})
	}
	if rapid.Bool().Draw(t, "report") {
		s.Report = &recovery.Report{Founded: rapid.Bool().Draw(t, "founded"), Findings: []recovery.JournalFinding{{Finding: wal.Finding{Verdict: wal.Torn}}},
			Partitions: []recovery.PartitionReport{{Topic: nasty.Draw(t, "s"), Status: recovery.Stopped, Reason: nasty.Draw(t, "s")}}, Moved: []recovery.Moved{{From: nasty.Draw(t, "s")}}}
	}
	return s
}

// TestAnyFrame: whatever a node says, whatever keys are pressed, in a window of any size: exactly its lines, none wider, no character that is none,
// no panic.
func TestAnyFrame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rec := &live.Recording{}
		at := time.Unix(1_800_000_000, 0)
		for range rapid.IntRange(1, 4).Draw(t, "rounds") {
			at = at.Add(time.Duration(rapid.IntRange(0, 5000).Draw(t, "pause")) * time.Millisecond)
			rec.Snapshots = append(rec.Snapshots, anySnapshot(t, at))
		}
		theme := rapid.SampledFrom([]Theme{Color, Mono, Mono.ASCII(), Color.ASCII()}).Draw(t, "theme")
		m, err := NewModel(context.Background(), Options{Source: rec, Address: nasty.Draw(t, "address"), Theme: theme})
		if err != nil {
			t.Fatal(err)
		}
		m.zone = time.UTC
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			w, h := rapid.IntRange(0, 220).Draw(t, "w"), rapid.IntRange(0, 70).Draw(t, "h")
			m.Update(tea.WindowSizeMsg{Width: w, Height: h})
			if rapid.Bool().Draw(t, "tick") {
				m.Update(m.ask()())
			} else {
				press(m, rapid.SampledFrom([]string{"1", "2", "3", "4", "5", "6", "7", "tab", "enter", "esc", "down", "up", "end", "pgdown", "/", "s", "S", "?", "space", "y", "o", "界"}).Draw(t, "key"))
			}
			if w == 0 || h == 0 {
				continue
			}
			frame := m.View()
			fits(t, frame, w, h)
			if last := frame[strings.LastIndexByte(frame, '\n')+1:]; w >= 20 && h >= 8 && !m.typing && m.flash == "" && !strings.Contains(last, "help") {
				t.Errorf("the footer is gone from %q", frame)
			}
			if !theme.color && strings.ContainsFunc(frame, func(r rune) bool { return r != '\n' && (uni.IsControl(r) || uni.Is(uni.Cf, r)) }) {
				t.Errorf("control characters in %q", frame)
			}
			if theme.color && strings.Contains(frame, "\x1b[2J") || strings.Contains(frame, "\x1b]") {
				t.Errorf("escape codes from outside in %q", frame)
			}
		}
		if m.history.Last == nil {
			return
		}
		if text := m.plainText(rapid.IntRange(1, 200).Draw(t, "width")); strings.Contains(text, "\x1b") {
			t.Errorf("escape codes in plain text: %q", text)
		}
	})
}
