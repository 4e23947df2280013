package tui

import (
	"fmt"
	"math"
	"strings"

	"chronik.dev/chronik/broker/admin"
	"chronik.dev/chronik/broker/datadir"
	"chronik.dev/chronik/broker/recovery"
)

// recoveryScreen is the journal, what the last recovery found, and the incidents.
type recoveryScreen struct {
	view
	incidents *list
}

func newIncidentList() *list {
	return &list{columns: []column{
		{title: "INCIDENT", sort: "id", text: true}, {title: "TIME", text: true, drop: 2}, {title: "CLASS", text: true}, {title: "WHERE", text: true, drop: 1},
		{title: "WHAT", text: true},
	}, down: true}
}

// Render draws the screen in w cells and h lines.
func (s recoveryScreen) Render(w, h int) []line {
	o := s.overview()
	switch {
	case o == nil:
		return nil
	case o.Boot != nil:
		return stack(h, s.progress(w), s.ledger(w, max(0, h-12)))
	}
	blocks := [][]line{s.journal(w), s.found(w)}
	used := 0
	for _, b := range blocks {
		used += len(b) + 1
	}
	if used+4 > h {
		blocks[0] = cut(blocks[0], max(3, len(blocks[0])-(used+4-h)))
		used = len(blocks[0]) + len(blocks[1]) + 2
	}
	return stack(h, append(blocks, s.ledger(w, h-used))...)
}

// progress is how far a recovery is.
func (s recoveryScreen) progress(w int) []line {
	b := s.overview().Boot
	stages := []struct{ key, text string }{
		{"raft", "open the metadata log"}, {"survey", "read the journal and judge it"}, {"replay", "replay it into the partitions"}, {"open", "open the partitions"},
	}
	out := []line{section("RECOVERY", say(dim, "  for %s", long(b.Seconds)))}
	bar := line{span{" ", plain}}
	bar = append(bar, s.theme.meter(b.Percent/100, max(4, min(60, w-24)), first)...)
	bar = append(bar, say(strong, " %3.0f %%", b.Percent))
	if b.ETASeconds >= 0 {
		bar = append(bar, say(plain, ", about %s left", long(math.Max(1, b.ETASeconds))))
	}
	out = append(out, bar, nil)
	past := true
	for _, st := range stages {
		mark, r := "[x]", dim
		if st.key == b.Stage {
			mark, r, past = "[>]", strong, false
		} else if !past {
			mark = "[ ]"
		}
		l := line{span{" ", plain}, say(r, "%s %s", mark, st.text)}
		if st.key == b.Stage && b.Total > 0 {
			l = append(l.pad(36), say(plain, "%s of %s", size(b.Done), size(b.Total)))
			if b.InStage > 0 {
				l = append(l, say(dim, ", %s/s", size(float64(b.Done)/b.InStage)))
			}
		}
		out = append(out, l)
	}
	return out
}

// journal is the write-ahead log as it is now.
func (s recoveryScreen) journal(w int) []line {
	n := s.node()
	j := n.Journal
	dot := " " + s.theme.glyphs().dot + " "
	groups, bytes := "-", "-"
	if before, last, ok := s.history.Newest(); ok {
		seconds := float64(last.Time-before.Time) / 1000
		groups, bytes = number(float64(last.Syncs-before.Syncs)/seconds), size(float64(last.Journal-before.Journal)/seconds)
	}
	perGroup := math.NaN()
	if j.Groups > 0 {
		perGroup = float64(j.Frames) / float64(j.Groups)
	}
	live := field("to replay", labelWidth)
	if j.MaxBytes > 0 {
		share := float64(j.LiveBytes) / float64(j.MaxBytes)
		live = append(append(live, s.theme.meter(share, max(6, min(24, w-56)), pressure(share))...), say(plain, "  %s, cap %s", size(j.LiveBytes), size(j.MaxBytes)))
	} else {
		live = append(live, say(plain, "%s", size(j.LiveBytes)))
	}
	now := s.overview().Time
	checkpoint := "none yet"
	if n.Checkpoint.Millis > 0 {
		checkpoint = long(float64(now-n.Checkpoint.Millis)/1000) + " ago"
	}
	return []line{
		section("JOURNAL"),
		live,
		field("durable", labelWidth, say(strong, "LSN %s", count(j.SyncedLSN)), say(dim, "%snext %s", dot, count(j.NextLSN))),
		field("writes", labelWidth, say(plain, "%s/s%s%s syncs/s%s%s frames a sync", bytes, dot, groups, dot, number(perGroup))),
		field("sync", labelWidth, say(plain, "p50 %s%sp99 %s", s.theme.short(j.SyncLatency.Quantile(0.5)), dot, s.theme.short(j.SyncLatency.Quantile(0.99))),
			say(dim, "%swaits before it p99 %s%ssince the start", dot, s.theme.short(j.QueueLatency.Quantile(0.99)), dot)),
		field("checkpoint", labelWidth, say(plain, "%s%sLSN %s%s%s since the start", checkpoint, dot, count(n.Checkpoint.LSN), dot, count(n.Checkpoint.Total))),
	}
}

// found is what recovery found at this start.
func (s recoveryScreen) found(w int) []line {
	r := s.history.Last.Report
	if r == nil {
		return nil
	}
	if r.Founded {
		return []line{section("LAST RECOVERY"), {say(plain, " The directory was new: nothing to recover.")}}
	}
	dot := " " + s.theme.glyphs().dot + " "
	out := []line{
		section("LAST RECOVERY", say(dim, "  %s", s.stamp(r.Started))),
		field("read", labelWidth, say(plain, "%s of journal in %s%s%s frames replayed", size(r.Journal.Bytes), s.theme.short(r.Seconds), dot, count(r.Frames))),
	}
	verdicts := map[string]int{}
	for i := range r.Findings {
		verdicts[string(r.Findings[i].Verdict)]++
	}
	text := "none: the journal is whole"
	if len(verdicts) > 0 {
		var parts []string
		for _, v := range []string{"io-error", "corrupt", "undecided", "torn", "notice"} {
			if verdicts[v] > 0 {
				parts = append(parts, fmt.Sprintf("%d %s", verdicts[v], v))
			}
		}
		text = strings.Join(parts, ", ")
	}
	out = append(out, field("findings", labelWidth, say(plain, "%s", text)))
	for i := range r.Partitions {
		p := &r.Partitions[i]
		if p.Status == recovery.OK || p.Status == recovery.Dropped {
			continue
		}
		look := warn
		if p.Status == recovery.Stopped {
			look = bad
		}
		out = append(out, field(string(p.Status), labelWidth, say(look, "%s", p.Name()), say(plain, " %s", p.Reason)).clip(w, s.theme.glyphs().more))
	}
	for _, m := range r.Moved {
		out = append(out, field("quarantined", labelWidth, say(warn, "%s", m.From), say(plain, " %s", m.Why)).clip(w, s.theme.glyphs().more))
	}
	return out
}

// chosenIncidents are those that the filter leaves, in the chosen order.
func (s recoveryScreen) chosenIncidents() []datadir.Incident {
	if s.history.Last == nil || s.history.Last.Ledger == nil {
		return nil
	}
	all := s.history.Last.Ledger.Incidents
	var out []datadir.Incident
	for i := range all {
		in := all[i]
		if s.incidents.down {
			in = all[len(all)-1-i] // the ledger has the newest last
		}
		if strings.Contains(strings.ToLower(fmt.Sprint(in.ID, in.Class, place(&in), in.Message)), strings.ToLower(s.incidents.filter)) {
			out = append(out, in)
		}
	}
	return out
}

func place(i *datadir.Incident) string {
	if i.File != "" {
		return fmt.Sprintf("%s byte %d", i.File, i.Offset)
	}
	if i.TopicID != "" {
		return fmt.Sprintf("%s-%d", i.Topic, i.Partition)
	}
	return i.Topic
}

// ledger lists incidents in w cells and h lines.
func (s recoveryScreen) ledger(w, h int) []line {
	l := s.history.Last.Ledger
	if l == nil || h < 2 {
		return nil
	}
	title := section("INCIDENTS", say(dim, "  %s", count(len(l.Incidents))))
	if len(l.Damaged) > 0 {
		title = append(title, say(warn, "  %d lines of the ledger are damaged", len(l.Damaged)))
	}
	if len(l.Incidents) == 0 {
		return []line{title, {say(plain, " None was ever recorded.")}}
	}
	if s.incidents == nil { // within another screen
		s.incidents = newIncidentList()
	}
	var cells [][]span
	for _, i := range s.chosenIncidents() {
		class := say(plain, "%s", i.Class)
		switch i.Class {
		case datadir.Corrupt, datadir.Stopped, datadir.IOError:
			class = say(bad, "%s !!", i.Class)
		case datadir.Undecided, datadir.JournalFull, datadir.ClockJump:
			class = say(warn, "%s !", i.Class)
		}
		cells = append(cells, []span{
			say(plain, "%s", i.ID), say(dim, "%s", s.stamp(i.Time.UnixMilli())), class, say(plain, "%s", place(&i)), say(dim, "%s", i.Message),
		})
	}
	s.incidents.clamp(len(cells))
	return append([]line{title}, s.incidents.rows(s.theme, cells, 0, w, h-1)...)
}

// incident is one incident, whole.
func (s recoveryScreen) incident(i *datadir.Incident, w, h int) []line {
	out := []line{section("INCIDENT "+i.ID, say(dim, "  %s  %s", i.Class, i.Time.In(s.zone).Format("2006-01-02 15:04:05")))}
	row := func(label, text string) {
		for at, part := range wrap(text, w-labelWidth-2) {
			if at > 0 {
				label = ""
			}
			out = append(out, field(label, labelWidth, say(plain, "%s", part)))
		}
	}
	row("what", i.Message)
	row("where", place(i))
	if i.Length > 0 {
		row("length", count(i.Length)+" bytes")
	}
	if i.LastLSN > 0 {
		row("LSN", fmt.Sprintf("%d to %d", i.FirstLSN, i.LastLSN))
	}
	row("reason", i.Reason)
	row("evidence", i.Evidence)
	row("next", i.Next)
	return cut(out, h)
}

// eventsScreen is what the node logged.
type eventsScreen struct {
	view
	events *list
	open   *admin.Event // shown whole
}

func newEventList() *list {
	return &list{columns: []column{
		{title: "TIME", sort: "seq", text: true}, {title: "LEVEL", sort: "level", text: true, drop: 1}, {title: "EVENT", text: true}, {title: "DETAIL", text: true},
	}, down: true}
}

// Render draws the screen in w cells and h lines.
func (s eventsScreen) Render(w, h int) []line {
	if e := s.open; e != nil {
		sig, r := sign(levelOf(e.Level))
		title := line{span{" ", plain}, span{sig + " ", r}, say(strong, "%s", e.Message)}
		if levelOf(e.Level) == admin.Fine { // most of them: no news
			title = append(title[:1], title[2:]...)
		}
		out := []line{section("EVENT", say(dim, "  %s", s.stamp(e.Time))), title}
		for _, text := range wrap(e.Detail, w-4) {
			out = append(out, line{say(plain, "   %s", text)})
		}
		return cut(out, h)
	}
	page := s.history.Last.Events
	if page == nil {
		return waiting(s.view)
	}
	var cells [][]span
	for i := range page.Items {
		e := &page.Items[i]
		level := say(dim, "%s", strings.ToLower(e.Level))
		if l := levelOf(e.Level); l != admin.Fine {
			sig, r := sign(l)
			level = say(r, "%s %s", sig, strings.ToLower(e.Level))
		}
		cells = append(cells, []span{say(dim, "%s", s.stamp(e.Time)), level, say(plain, "%s", e.Message), say(dim, "%s", e.Detail)})
	}
	s.events.clamp(page.Total)
	return append([]line{caption("EVENTS", page.Total, page.All, s.events.filter)}, s.events.rows(s.theme, cells, page.Offset, w, h-1)...)
}
