package raftdump

import (
	"bytes"
	"slices"

	"go.etcd.io/raft/v3/raftpb"

	"chronik.dev/chronik/broker/raftlog"
	"chronik.dev/chronik/broker/wal"
)

// Status is what became of an entry.
type Status string

// The statuses.
const (
	Committed   Status = "committed"   // at or below the highest commit index that this disk knows
	Uncommitted Status = "uncommitted" // above it: this disk does not know whether a majority had it
	Overwritten Status = "overwritten" // a later entry of the same or a lower index took its place
	Void        Status = "void"        // a snapshot from the leader replaced the log before it
)

// stored is one entry on the disk.
type stored struct {
	raftlog.LogEntry
	file   string
	offset int64 // of the group
	length int64 // of the group
	time   int64
	status Status
	by     wal.LSN // what overwrote it
	damage string
}

// intact says whether the entry is part of the log and can be read.
func (e *stored) intact() bool {
	return !e.Reset && !e.Damaged && (e.status == Committed || e.status == Uncommitted)
}

// head is what one group repeats.
type head struct {
	raftlog.HeadNote
	file   string
	offset int64
	length int64
	lsn    wal.LSN
}

// state is everything that one look at raft/ gave.
type state struct {
	*raftlog.Contents
	entries []stored // in the order of LSNs
	heads   []head   // likewise
	newest  *raftlog.StoredSnapshot
	older   *raftlog.StoredSnapshot // the intact one before it
	commit  uint64                  // the highest index that HardState, heads or snapshots know to be committed
	last    uint64                  // index of the last entry, or of the newest snapshot
}

// read reads raft/. With keep, the entries' data are kept: as much memory as the node itself needs for its log. With deep, files that hold
// nothing live are read too.
func (d *Dir) read(keep, deep bool) (*state, error) {
	s := &state{}
	o := d.options()
	o.Deep = deep
	c, err := raftlog.Examine(o, func(g *raftlog.LogGroup) error {
		s.take(g, keep)
		return nil
	})
	if err != nil {
		return nil, err
	}
	s.Contents = c
	for i := range c.Snapshots {
		switch f := &c.Snapshots[i]; {
		case f.Problem != "":
		case s.newest == nil:
			s.newest = f
		case s.older == nil:
			s.older = f
		}
	}
	if c.Winner >= 0 {
		s.commit = c.HardState[c.Winner].Commit
	}
	for i := range s.heads {
		s.commit = max(s.commit, s.heads[i].Commit)
	}
	if s.newest != nil {
		s.commit = max(s.commit, s.newest.Index)
		s.last = s.newest.Index
	}
	s.mark()
	return s, nil
}

// take takes the entries of a group.
func (s *state) take(g *raftlog.LogGroup, keep bool) {
	if g.Note != nil {
		s.heads = append(s.heads, head{*g.Note, g.File, g.Offset, g.Size, g.FirstLSN})
	}
	for _, e := range g.Entries {
		x := stored{LogEntry: e, file: g.File, offset: g.Offset, length: g.Size, time: g.Time}
		x.Data = nil
		if keep && !e.Damaged {
			x.Data = bytes.Clone(e.Data)
		}
		if e.Damaged {
			x.damage = "payload destroyed"
			if g.Finding != nil {
				x.damage = string(g.Finding.Verdict) + ": " + string(g.Finding.Reason)
			}
		}
		s.entries = append(s.entries, x)
	}
}

// mark says of every entry what became of it, as raftlog does when it reads the log: the last one of an index wins.
func (s *state) mark() {
	var live []int // indexes into entries, of ascending Raft index
	for i := range s.entries {
		e := &s.entries[i]
		if e.Reset {
			e.status = Committed
			for _, j := range live {
				s.entries[j].status, s.entries[j].by = Void, e.LSN
			}
			live = live[:0]
			continue
		}
		for len(live) > 0 && s.entries[live[len(live)-1]].Index >= e.Index {
			old := &s.entries[live[len(live)-1]]
			old.status, old.by = Overwritten, e.LSN
			live = live[:len(live)-1]
		}
		live = append(live, i)
	}
	if s.newest != nil && s.newest.Installed && !slices.ContainsFunc(s.entries, func(e stored) bool { return e.Reset && e.Index == s.newest.Index }) {
		for _, j := range live { // the crash was between snapshot and reset: the next start writes it
			s.entries[j].status = Void
		}
		live = nil
	}
	for _, j := range live {
		e := &s.entries[j]
		e.status = Uncommitted
		if e.Index <= s.commit {
			e.status = Committed
		}
		s.last = max(s.last, e.Index)
	}
}

// several says whether the group is known to have other members.
func (s *state) several() bool { return s.newest != nil && len(members(s.newest.ConfState)) > 1 }

// log returns the entries that are part of the log, intact or damaged, by index.
func (s *state) log() []*stored {
	var out []*stored
	for i := range s.entries {
		if e := &s.entries[i]; !e.Reset && (e.status == Committed || e.status == Uncommitted) {
			out = append(out, e)
		}
	}
	return out
}

// between returns the intact entries (from, to], and false if one is missing.
func (s *state) between(from, to uint64) ([]*stored, bool) {
	var out []*stored
	for _, e := range s.log() {
		if e.Index > from && e.Index <= to {
			if !e.intact() || e.Index != from+1+uint64(len(out)) {
				return nil, false
			}
			out = append(out, e)
		}
	}
	return out, uint64(len(out)) == to-from
}

// kind names an entry's type.
func kind(e *raftlog.LogEntry) string {
	switch {
	case e.Reset:
		return TypeReset
	case e.Type == raftpb.EntryConfChange:
		return TypeConfChange
	case e.Type == raftpb.EntryConfChangeV2:
		return TypeConfChangeV2
	case e.Type == raftpb.EntryNormal && e.Size == 0:
		return TypeEmpty
	case e.Type == raftpb.EntryNormal:
		return TypeCommand
	}
	return "type" + e.Type.String()
}
