package tui

import (
	"fmt"
	"strconv"
)

func itoa(n int32) string { return strconv.Itoa(int(n)) }

// raftScreen is the metadata group.
type raftScreen struct{ view }

// Render draws the screen in w cells and h lines.
func (s raftScreen) Render(w, h int) []line {
	n := s.node()
	if n == nil {
		return waiting(s.view)
	}
	r := n.Raft
	const wide, value = 16, 22
	member := func(id uint64) string {
		switch id {
		case 0:
			return "nobody"
		case r.Member:
			return fmt.Sprintf("%d (this node)", id)
		}
		return fmt.Sprintf("%d", id)
	}
	group := []line{
		section("METADATA GROUP"),
		field("role", wide, say(strong, "%s", r.State)),
		field("member", wide, say(plain, "%d", r.Member)),
		field("leader", wide, say(plain, "%s", member(r.Leader))),
		field("configuration", wide, say(plain, "%s", r.ConfState)),
		field("log", wide, say(plain, "%s entries, from %s to %s", count(r.LastIndex-min(r.First, r.LastIndex+1)+1), count(r.First), count(r.LastIndex))),
		field("snapshot", wide, say(plain, "at %s; %s taken since the start", count(r.Snapshot), count(r.Snapshots))),
		field("to apply", wide, say(plain, "%s committed entries", count(r.Commit-min(r.Applied, r.Commit)))),
	}
	now := line{span{" ", plain}, say(head, "STATE")}.pad(wide + 1)
	table := []line{append(now, right(dim, value, "now"), right(dim, value, "at the start"))}
	row := func(name string, now uint64, then func() uint64) {
		before := "-"
		if r.Recovered != nil {
			before = count(then())
		}
		table = append(table, field(name, wide, right(strong, value, count(now)), right(plain, value, before)))
	}
	row("term", r.Term, func() uint64 { return r.Recovered.Term })
	row("commit", r.Commit, func() uint64 { return r.Recovered.Commit })
	table = append(table, field("applied", wide, right(strong, value, count(r.Applied))))
	row("last index", r.LastIndex, func() uint64 { return r.Recovered.LastIndex })
	vote := "-"
	if r.Recovered != nil {
		vote = fmt.Sprintf("%d", r.Recovered.Vote)
	}
	table = append(table, field("vote", wide, right(plain, value, fmt.Sprintf("%d", r.Vote)), right(plain, value, vote)))
	note := "The start is what the disk held before this node campaigned."
	if r.Recovered == nil {
		note = "This process founded the group: the disk held nothing before."
	}
	return stack(h, group, append(table, line{say(dim, " %s", note)}))
}
