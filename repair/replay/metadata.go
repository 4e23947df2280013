package replay

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"go.etcd.io/raft/v3/raftpb"

	"chronik.dev/chronik/broker/datadir"
	"chronik.dev/chronik/broker/metadata"
	"chronik.dev/chronik/broker/raftlog"
	"chronik.dev/chronik/broker/vfs"
	"chronik.dev/chronik/broker/wal"
)

// Metadata says what was rebuilt of the cluster's metadata.
type Metadata struct {
	Snapshot uint64 `json:"snapshot_index"` // that it was built on
	Index    uint64 `json:"index"`          // of the last entry applied
	Term     uint64 `json:"term"`
	Hash     string `json:"hash"` // of the state at Index, equal on every member
	Topics   int    `json:"topics"`
}

// rebuildMetadata applies the Raft log of a directory to its newest snapshot. The directory is opened as a node would: a torn end is cut.
// In a group of one everything that is durable counts, as it will when the node leads again; in a larger one what is committed.
func rebuildMetadata(fsys vfs.FS, dir string, id datadir.Identity) (_ *metadata.Image, _ *Metadata, err error) {
	store, report, err := raftlog.Open(raftlog.Options{
		FS: fsys, Dir: filepath.Join(dir, datadir.RaftDir), DirID: id.DirectoryID, Buffered: true,
		Evidence: func(f wal.Finding) error {
			_, err := datadir.EvidenceRange(fsys, dir, fmt.Sprintf("raft-%s-%d", filepath.Base(f.File), f.Offset), f.File, f.Offset, f.Length)
			return err
		},
	})
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	snap, err := store.Snapshot()
	if err != nil {
		return nil, nil, err
	}
	state := metadata.New()
	if err := state.Restore(snap.GetData()); err != nil {
		return nil, nil, fmt.Errorf("metadata snapshot at index %d: %w", snap.GetMetadata().GetIndex(), err)
	}
	m := &Metadata{Snapshot: snap.GetMetadata().GetIndex(), Index: snap.GetMetadata().GetIndex(), Term: report.Term}
	voters := snap.GetMetadata().GetConfState().GetVoters()
	last := report.Commit
	if len(voters) == 1 && voters[0] == id.MemberID {
		last = report.Last
	}
	for m.Index < last {
		entries, err := store.Entries(m.Index+1, last+1, 4<<20)
		if err != nil {
			return nil, nil, fmt.Errorf("entries of Raft from index %d: %w", m.Index+1, err)
		}
		for _, e := range entries {
			data := e.GetData()
			if e.GetType() != raftpb.EntryNormal {
				data = nil
			}
			if r := state.Apply(e.GetIndex(), data); errors.Is(r.Err, metadata.ErrUnsupported) {
				return nil, nil, r.Err
			}
			m.Index = e.GetIndex()
		}
	}
	m.Hash, m.Topics = fmt.Sprintf("%016x", state.Hash()), len(state.Image().Topics)
	return state.Image(), m, nil
}

// metadataOf rebuilds a source's metadata on a disk in memory, so that the source is only read.
func (s *source) metadataOf() (*metadata.Image, error) {
	mem := vfs.NewMem(1)
	const root = "/copy"
	if err := s.copyTree(mem, filepath.Join(s.dir, datadir.RaftDir), filepath.Join(root, datadir.RaftDir)); err != nil {
		return nil, err
	}
	image, _, err := rebuildMetadata(mem, root, s.id)
	return image, err
}

// copyTree copies a small directory into memory.
func (s *source) copyTree(to vfs.FS, from, name string) error {
	if err := vfs.MkdirAll(to, name); err != nil {
		return err
	}
	entries, err := s.fs.ReadDir(from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		source, target := filepath.Join(from, e.Name()), filepath.Join(name, e.Name())
		if e.IsDir() {
			err = s.copyTree(to, source, target)
		} else if !strings.HasSuffix(e.Name(), vfs.TempSuffix) {
			var data []byte
			if data, err = vfs.ReadFile(s.fs, source, raftlog.MaxSnapshot); err == nil {
				err = vfs.WriteFile(to, target, data)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}
