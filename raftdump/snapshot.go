package raftdump

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"

	"chronik.dev/chronik/broker/datadir"
	"chronik.dev/chronik/broker/metadata"
	"chronik.dev/chronik/broker/raftlog"
	"chronik.dev/chronik/broker/wal"
)

// Snapshot is one file of raft/snapshots.
type Snapshot struct {
	File      string          `json:"file"`
	Size      int64           `json:"size"`
	Index     uint64          `json:"index"`
	Term      uint64          `json:"term"`
	Installed bool            `json:"installed"` // received from the leader
	BaseIndex uint64          `json:"base_index"`
	Synced    wal.LSN         `json:"synced_lsn"` // of the log when it was written
	Voters    []uint64        `json:"voters"`
	Learners  []uint64        `json:"learners,omitempty"`
	Hash      string          `json:"state_hash"` // hexadecimal; members with the same index have the same
	Topics    int             `json:"topics"`
	Brokers   int             `json:"brokers"`
	Starts    bool            `json:"starts"`            // the next start begins with it
	Problem   string          `json:"problem,omitempty"` // empty: intact
	State     json.RawMessage `json:"state,omitempty"`   // of Snapshot alone: all of it
}

// ErrNoSnapshot says that there is no snapshot to show.
var ErrNoSnapshot = errors.New("no such snapshot")

// Snapshots lists every file of raft/snapshots, newest first, intact or not.
func (d *Dir) Snapshots() ([]Snapshot, error) {
	s, err := d.read(false, false)
	if err != nil {
		return nil, err
	}
	out := []Snapshot{}
	for i := range s.Contents.Snapshots {
		f := &s.Contents.Snapshots[i]
		snap, _ := d.snapshot(f)
		snap.Starts = f == s.newest
		out = append(out, *snap)
	}
	return out, d.started()
}

// Snapshot returns the snapshot at an index with its whole state; index 0 is the newest intact one. ErrNoSnapshot if there is none; an error that
// says what is wrong if it is damaged.
func (d *Dir) Snapshot(index uint64) (*Snapshot, error) {
	s, err := d.read(false, false)
	if err != nil {
		return nil, err
	}
	for i := range s.Contents.Snapshots {
		f := &s.Contents.Snapshots[i]
		if index != 0 && f.Index != index || index == 0 && f != s.newest {
			continue
		}
		snap, data := d.snapshot(f)
		snap.Starts = f == s.newest
		if snap.Problem != "" {
			return nil, &DamagedError{File: snap.File, Problem: snap.Problem}
		}
		if snap.State, err = metadata.SnapshotJSON(data); err != nil {
			return nil, &DamagedError{File: snap.File, Problem: err.Error()}
		}
		return snap, d.started()
	}
	if index == 0 {
		return nil, fmt.Errorf("%s: %w: no intact one", d.snapshotsDir(), ErrNoSnapshot)
	}
	return nil, fmt.Errorf("%s: %w at index %d", d.snapshotsDir(), ErrNoSnapshot, index)
}

// DamagedError says that a snapshot cannot be shown because it is damaged.
type DamagedError struct {
	File    string
	Problem string
}

func (e *DamagedError) Error() string { return fmt.Sprintf("%s is damaged: %s", e.File, e.Problem) }

func (d *Dir) snapshotsDir() string { return filepath.Join(d.Path, datadir.SnapshotsDir) }

// snapshot describes a file and returns its data.
func (d *Dir) snapshot(f *raftlog.StoredSnapshot) (*Snapshot, []byte) {
	out := &Snapshot{File: d.rel(filepath.Join(d.snapshotsDir(), f.Name)), Size: f.Size, Index: f.Index, Term: f.Term, Problem: f.Problem}
	if f.Problem != "" {
		return out, nil
	}
	out.Installed, out.BaseIndex, out.Synced = f.Installed, f.BaseIndex, f.Synced
	out.Voters, out.Learners = f.ConfState.GetVoters(), f.ConfState.GetLearners()
	m, data, err := d.restore(f)
	if err != nil {
		out.Problem = err.Error()
		return out, nil
	}
	image := m.Image()
	out.Hash, out.Topics, out.Brokers = hashText(m.Hash()), len(image.Topics), len(image.Brokers)
	return out, data
}

// restore gives the state that a snapshot holds.
func (d *Dir) restore(f *raftlog.StoredSnapshot) (*metadata.State, []byte, error) {
	_, data, err := raftlog.ReadSnapshot(d.options(), f.Name)
	if err != nil {
		return nil, nil, err
	}
	m := metadata.New()
	if err := m.Restore(data); err != nil {
		return nil, nil, err
	}
	return m, data, nil
}

func hashText(h uint64) string { return fmt.Sprintf("%016x", h) }
