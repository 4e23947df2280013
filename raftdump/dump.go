package raftdump

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"chronik.dev/chronik/broker/metadata"
	"chronik.dev/chronik/broker/raftlog"
	"chronik.dev/chronik/broker/wal"
)

// Types of entries.
const (
	TypeCommand      = "command"        // of the metadata state machine
	TypeEmpty        = "empty"          // with which a leader begins its term
	TypeConfChange   = "conf-change"    // of membership, one step (raftpb.ConfChange)
	TypeConfChangeV2 = "conf-change-v2" // of membership, in any number of steps (raftpb.ConfChangeV2)
	TypeReset        = "reset"          // no entry: a snapshot from the leader replaced the log before it
	TypeLost         = "lost"           // no entry: what is known of entries of which nothing is left
)

// Types lists the types that Filter knows.
var Types = []string{TypeCommand, TypeEmpty, TypeConfChange, TypeConfChangeV2, TypeReset, TypeLost}

// Filter says what Dump shows. The zero value shows everything.
type Filter struct {
	From, To uint64   // index, both included; 0 is open
	Term     uint64   // 0: all
	Types    []string // empty: all
	Damaged  bool     // only what is damaged or lost
}

func (f *Filter) shows(e *Entry) bool {
	last := max(e.Index, e.LastIndex)
	switch {
	case f.From > 0 && last < f.From, f.To > 0 && e.Index > f.To, f.Term > 0 && e.Term != f.Term, f.Damaged && e.Damage == "":
		return false
	}
	return len(f.Types) == 0 || slices.Contains(f.Types, e.Type)
}

// Entry is one line of a dump.
type Entry struct {
	Index         uint64          `json:"index"`
	LastIndex     uint64          `json:"last_index,omitempty"` // of several lost entries
	Term          uint64          `json:"term"`                 // 0: not known
	Type          string          `json:"type"`
	Status        Status          `json:"status,omitempty"`
	Size          int64           `json:"size"` // of the data, bytes; -1 unknown
	File          string          `json:"file"`
	Position      int64           `json:"position"` // byte in File: of the group that holds the entry
	LSN           wal.LSN         `json:"lsn,omitempty"`
	Time          int64           `json:"time,omitempty"`           // ms, of the writer's clock
	OverwrittenBy wal.LSN         `json:"overwritten_by,omitempty"` // of the entry or reset that took its place
	Damage        string          `json:"damage,omitempty"`
	Command       json.RawMessage `json:"command,omitempty"`
	ConfChange    json.RawMessage `json:"conf_change,omitempty"`
	Changes       string          `json:"changes,omitempty"` // the same in raft's short form: v voter, l learner, r remove, u update; member ids decimal
	Problem       string          `json:"problem,omitempty"` // intact data that mean nothing to this program
}

// DumpSummary ends a dump.
type DumpSummary struct {
	Target        string `json:"target"`
	Term          uint64 `json:"term"`           // of HardState; 0 if no copy of it counts
	Commit        uint64 `json:"commit"`         // the highest that HardState, heads and snapshots know of
	Snapshot      uint64 `json:"snapshot_index"` // of the newest intact one; 0 if there is none
	LastIndex     uint64 `json:"last_index"`
	Entries       int    `json:"entries"` // shown
	Uncommitted   int    `json:"uncommitted"`
	Overwritten   int    `json:"overwritten"`
	Damaged       int    `json:"damaged"`
	HardStateGood bool   `json:"hardstate_good"`
}

// Dump shows the log's entries in the order in which they were written, and then what is known of entries of which nothing is left. It goes on
// past damage. An error of emit ends it. ErrStarted if a node started meanwhile.
func (d *Dir) Dump(filter *Filter, emit func(*Entry) error) (*DumpSummary, error) {
	s, err := d.read(false, false)
	if err != nil {
		return nil, err
	}
	sum := &DumpSummary{Target: d.Path, Commit: s.commit, LastIndex: s.last}
	if s.Winner >= 0 {
		sum.Term, sum.HardStateGood = s.HardState[s.Winner].Term, true
	}
	if s.newest != nil {
		sum.Snapshot = s.newest.Index
	}
	show := func(e *Entry) error {
		if !filter.shows(e) {
			return nil
		}
		sum.count(e)
		return emit(e)
	}
	marks := map[wal.LSN]*stored{}
	for i := range s.entries {
		marks[s.entries[i].LSN] = &s.entries[i]
	}
	again, err := raftlog.Examine(d.options(), func(g *raftlog.LogGroup) error {
		for i := range g.Entries {
			if m := marks[g.Entries[i].LSN]; m != nil { // an entry that a live node wrote meanwhile has no mark
				if err := show(d.entry(m, g.Entries[i].Data)); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return sum, err
	}
	for i := range again.Log.Findings {
		for _, e := range d.lost(&again.Log.Findings[i]) {
			if err := show(e); err != nil {
				return sum, err
			}
		}
	}
	return sum, d.started()
}

func (s *DumpSummary) count(e *Entry) {
	s.Entries++
	switch e.Status {
	case Uncommitted:
		s.Uncommitted++
	case Overwritten, Void:
		s.Overwritten++
	}
	if e.Damage != "" {
		s.Damaged++
	}
}

// entry renders a stored entry.
func (d *Dir) entry(s *stored, data []byte) *Entry {
	e := &Entry{Index: s.Index, Term: s.Term, Type: kind(&s.LogEntry), Status: s.status, Size: s.Size, File: d.rel(s.file), Position: s.offset,
		LSN: s.LSN, Time: s.time, OverwrittenBy: s.by, Damage: s.damage}
	if s.Damaged {
		return e
	}
	var err error
	switch e.Type {
	case TypeCommand:
		e.Command, err = metadata.CommandJSON(data)
	case TypeConfChange, TypeConfChangeV2:
		var change raftpb.ConfChangeI
		if change, err = decodeChange(s.Type, data); err == nil {
			e.Changes = changesText(change)
			e.ConfChange, err = changeJSON(change)
		}
	case TypeEmpty, TypeReset:
	default:
		err = errors.New("this program knows no such type of entry")
	}
	if err != nil {
		e.Problem = err.Error()
	}
	return e
}

// lost lists what a finding says of entries that no group holds.
func (d *Dir) lost(f *wal.Finding) []*Entry {
	var out []*Entry
	line := func(first, last, term uint64) {
		out = append(out, &Entry{Index: first, LastIndex: last, Term: term, Type: TypeLost, Size: -1, File: d.rel(f.File), Position: f.Offset,
			LSN: f.FirstLSN, Damage: string(f.Verdict) + ": " + string(f.Reason)})
	}
	for i := range f.Lost {
		if id := &f.Lost[i]; id.LSN == 0 && id.Type == wal.RaftEntry { // a range: Last is an index too
			line(uint64(id.First), uint64(id.Last), 0)
		}
	}
	if f.Incomplete && len(out) == 0 {
		line(0, 0, 0)
	}
	return out
}

// decodeChange decodes the data of a membership change.
func decodeChange(t raftpb.EntryType, data []byte) (raftpb.ConfChangeI, error) {
	if t == raftpb.EntryConfChange {
		c := &raftpb.ConfChange{}
		return c, wrapChange(proto.Unmarshal(data, c))
	}
	c := &raftpb.ConfChangeV2{}
	return c, wrapChange(proto.Unmarshal(data, c))
}

func wrapChange(err error) error {
	if err != nil {
		return errors.New("the data are no membership change") // protobuf's own text varies from build to build
	}
	return nil
}

// changesText is raft's short form of a membership change; a change without steps leaves a joint configuration.
func changesText(c raftpb.ConfChangeI) string {
	v2 := c.AsV2()
	if v2.LeaveJoint() {
		return "leave joint"
	}
	return raftpb.ConfChangesToString(v2.GetChanges())
}

func changeJSON(c raftpb.ConfChangeI) (json.RawMessage, error) {
	m, ok := c.(proto.Message)
	if !ok {
		return nil, fmt.Errorf("render membership change: %T is no message", c)
	}
	return messageJSON(m)
}

// messageJSON renders a message as one line, with the names of its fields; protojson varies its white space on purpose.
func messageJSON(m proto.Message) (json.RawMessage, error) {
	b, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("render as JSON: %w", err)
	}
	var line bytes.Buffer
	if err := json.Compact(&line, b); err != nil {
		return nil, fmt.Errorf("render as JSON: %w", err)
	}
	return line.Bytes(), nil
}
