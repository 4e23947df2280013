package raftlog

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"go.etcd.io/raft/v3/raftpb"

	"chronik.dev/chronik/broker/statefile"
	"chronik.dev/chronik/broker/vfs"
	"chronik.dev/chronik/broker/wal"
)

// Contents is everything that can be read of Raft state, whatever else of it is damaged. Nothing in it is compared with anything else: that is
// for Open, and for package raftdump.
type Contents struct {
	HardState [2]HardStateCopy
	HardError error            // both copies together: statefile.ErrMissing, *statefile.VersionError or *statefile.BadError; nil if one counts
	Winner    int              // index of the copy that counts; -1 if none does
	Snapshots []StoredSnapshot // newest first
	Unknown   []string         // paths in snapshots/ that are none of chronik's
	Temporary []string         // paths that a crash left
	Log       *wal.Inventory
}

// HardStateCopy is one of the two files.
type HardStateCopy struct {
	statefile.Copy
	Term   uint64  `json:"term"` // these four if the copy can be read
	Vote   uint64  `json:"vote"`
	Commit uint64  `json:"commit"`
	Synced wal.LSN `json:"synced_lsn"`
	Valid  bool    `json:"valid"`
}

// StoredSnapshot is one file of snapshots/ with what its head says. The fields after SnapshotFile are zero if it has a Problem.
type StoredSnapshot struct {
	SnapshotFile
	Installed bool    // received from a leader: the log begins behind it
	BaseIndex uint64  // the log keeps the entries above it
	BaseTerm  uint64  // of that index
	Synced    wal.LSN // the log was durable up to it when the file was written
	ConfState *raftpb.ConfState
	Newer     bool // the problem is a format version that this program does not know
	Unread    bool // the disk did not give the file
}

// LogGroup is one group of the log as Examine visits it, in the order of LSNs.
type LogGroup struct {
	File     string
	Offset   int64 // of the group in File, bytes
	Size     int64
	FirstLSN wal.LSN
	Time     int64     // ms, of the writer's clock; 0 if the head is lost
	Note     *HeadNote // nil if the head is lost
	Entries  []LogEntry
	Finding  *wal.Finding // nil: intact
}

// HeadNote is what the head of a group repeats of the Ready that wrote it.
type HeadNote struct {
	Term     uint64 `json:"term"`
	Vote     uint64 `json:"vote"`
	Commit   uint64 `json:"commit"`
	Sequence uint64 `json:"sequence"` // of HardState once that Ready is stored
}

// LogEntry is one entry of a group. A later entry of the same or a lower index supersedes it.
type LogEntry struct {
	LSN         wal.LSN
	Index, Term uint64
	Type        raftpb.EntryType
	Reset       bool   // no entry: the snapshot of this index and term, from the leader, replaced the log before it
	Size        int64  // of the data, bytes; -1 unknown
	Data        []byte // valid during the visit
	Damaged     bool   // the data are destroyed; only what identifies the entry is left
}

// Examine reads all of Raft state and changes nothing. It goes on past damage, which is in the result; an error is one of visit, or of a
// directory that cannot be listed. A zero DirID accepts files of any directory.
func Examine(o Options, visit func(*LogGroup) error) (*Contents, error) {
	c := &Contents{Winner: -1}
	c.readHardState(o)
	if err := c.readSnapshots(o); err != nil {
		return nil, err
	}
	var promised wal.LSN
	if c.Winner >= 0 {
		promised = c.HardState[c.Winner].Synced
	}
	for i := range c.Snapshots {
		promised = max(promised, c.Snapshots[i].Synced)
	}
	var err error
	c.Log, err = wal.Inspect(wal.InspectOptions{FS: o.FS, Dir: o.Dir, DirID: o.DirID, Kind: wal.Raft, MinSynced: promised, Deep: o.Deep},
		func(g *wal.Group) error { return visit(logGroup(g)) })
	if err != nil {
		return nil, fmt.Errorf("examine raft log %s: %w", o.Dir, err)
	}
	return c, nil
}

func (c *Contents) readHardState(o Options) {
	base := filepath.Join(o.Dir, hardBase)
	state, err := statefile.Load(o.FS, base, hardKind, hardVersion, o.DirID)
	c.HardError = err
	copies := [2]statefile.Copy{}
	for i, name := range statefile.Names(base) {
		copies[i] = statefile.Copy{Name: name, State: statefile.Missing}
	}
	var bad *statefile.BadError
	var newer *statefile.VersionError
	switch {
	case err == nil:
		copies = state.Copies()
	case errors.As(err, &bad):
		copies = bad.Copies
	case errors.As(err, &newer):
		for i := range copies {
			copies[i].State, copies[i].Reason, copies[i].Version = statefile.UnknownVersion, statefile.ReasonVersion, newer.Version
		}
	}
	for i, cp := range copies {
		h := HardStateCopy{Copy: cp}
		if body := cp.Body(); body != nil {
			if hard, synced, err := decodeHard(body); err == nil {
				h.Term, h.Vote, h.Commit, h.Synced, h.Valid = hard.GetTerm(), hard.GetVote(), hard.GetCommit(), wal.LSN(synced), true
			} else if cp.State == statefile.OK && state != nil && cp.Seq == state.Seq() {
				c.HardError = fmt.Errorf("%s: %w", cp.Name, err)
			}
		}
		c.HardState[i] = h
		if state != nil && c.Winner < 0 && h.Valid && cp.State == statefile.OK && cp.Seq == state.Seq() {
			c.Winner = i
		}
	}
}

func (c *Contents) readSnapshots(o Options) error {
	names, temps, unknown, err := listSnapshots(o)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	c.Temporary, c.Unknown = temps, unknown
	for _, f := range names {
		stored, _, err := readSnapshot(o, f)
		if err != nil {
			stored.Problem, stored.Newer = err.Error(), errors.Is(err, ErrVersion)
		}
		c.Snapshots = append(c.Snapshots, stored)
	}
	return nil
}

// SnapshotName is the name of the snapshot file of an index and term.
func SnapshotName(index, term uint64) string { return snapName(index, term) }

// ReadSnapshot reads a snapshot file of raft/snapshots, by its name, with its data.
func ReadSnapshot(o Options, name string) (StoredSnapshot, []byte, error) {
	f := SnapshotFile{Name: name}
	var ok bool
	if f.Index, f.Term, ok = parseSnapName(name); !ok {
		return StoredSnapshot{}, nil, fmt.Errorf("%s is no snapshot's name: <index>-<term>%s", name, snapSuffix)
	}
	stored, data, err := readSnapshot(o, f)
	if err != nil {
		return stored, nil, fmt.Errorf("read %s: %w", filepath.Join(o.Dir, snapDir, name), err)
	}
	return stored, data, nil
}

func readSnapshot(o Options, f SnapshotFile) (StoredSnapshot, []byte, error) {
	out := StoredSnapshot{SnapshotFile: f}
	b, err := vfs.ReadFile(o.FS, filepath.Join(o.Dir, snapDir, f.Name), MaxSnapshot)
	if err != nil {
		out.Unread = !errors.Is(err, vfs.ErrTooLarge)
		return out, nil, err
	}
	out.Size = int64(len(b))
	s, err := decodeSnap(o.DirID, b)
	if err != nil {
		return out, nil, err
	}
	m := s.snapshot.GetMetadata()
	if m.GetIndex() != f.Index || m.GetTerm() != f.Term {
		return out, nil, fmt.Errorf("holds the snapshot of index %d and term %d", m.GetIndex(), m.GetTerm())
	}
	out.Installed, out.BaseIndex, out.BaseTerm, out.Synced = s.install, s.baseIndex, s.baseTerm, wal.LSN(s.synced)
	out.ConfState = m.GetConfState()
	return out, s.snapshot.GetData(), nil
}

// logGroup rewords a group.
func logGroup(g *wal.Group) *LogGroup {
	out := &LogGroup{File: g.File, Offset: g.Offset, Size: g.Size, FirstLSN: g.Head.FirstLSN, Time: g.Head.Time, Finding: g.Finding}
	if n := g.Head.Note; n[0] != 0 { // zero: the head is lost, its frames are not
		out.Note = &HeadNote{Term: n[0], Vote: n[1], Commit: n[2], Sequence: n[3]}
	}
	for i := range g.Frames {
		f := &g.Frames[i]
		if f.Type == wal.RaftEntry {
			e := logEntry(f.LSN, f.Epoch, f.First, f.Last)
			e.Data, e.Size = f.Payload, int64(len(f.Payload))
			out.Entries = append(out.Entries, e)
		}
	}
	for i := range g.Damaged {
		id := &g.Damaged[i]
		if id.Type == wal.RaftEntry && id.LSN != 0 {
			e := logEntry(id.LSN, id.Epoch, id.First, id.Last)
			e.Size, e.Damaged = int64(id.Length), true
			out.Entries = append(out.Entries, e)
		}
	}
	sortEntries(out.Entries)
	return out
}

func logEntry(lsn wal.LSN, epoch int32, first, last int64) LogEntry {
	e := LogEntry{LSN: lsn, Index: uint64(first), Term: uint64(last), Reset: epoch == resetEntry}
	if !e.Reset {
		e.Type = raftpb.EntryType(epoch)
	}
	return e
}

// listSnapshots lists snapshots/: chronik's files, newest first; what a crash left; and what is none of ours.
func listSnapshots(o Options) (files []SnapshotFile, temps, unknown []string, err error) {
	dir := filepath.Join(o.Dir, snapDir)
	infos, err := o.FS.ReadDir(dir)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("read %s: %w", dir, err)
	}
	for _, info := range infos {
		index, term, ok := parseSnapName(info.Name())
		switch {
		case strings.HasSuffix(info.Name(), vfs.TempSuffix):
			temps = append(temps, filepath.Join(dir, info.Name()))
		case ok && !info.IsDir():
			files = append(files, SnapshotFile{Name: info.Name(), Size: info.Size(), Index: index, Term: term})
		default:
			unknown = append(unknown, filepath.Join(dir, info.Name()))
		}
	}
	sortSnapshots(files)
	return files, temps, unknown, nil
}
