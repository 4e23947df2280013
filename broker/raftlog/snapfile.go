package raftlog

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// A snapshot file: head of 96 bytes, ConfState as protobuf, data, CRC-32C of everything before it. All numbers are little-endian.
const (
	snapMagic   = "CHSS"
	snapVersion = 1
	snapHead    = 96
	snapSuffix  = ".snap"
	// MaxSnapshot is the limit in bytes of a snapshot file.
	MaxSnapshot = 1 << 30
	flagInstall = 1 // came from a leader; the log's reset frame belongs to it
)

// Offsets of the head's fields; docs/format/raftlog.md.
const (
	snapOffVersion   = 4
	snapOffFlags     = 6
	snapOffID        = 8
	snapOffIndex     = 24
	snapOffTerm      = 32
	snapOffBaseIndex = 40
	snapOffBaseTerm  = 48
	snapOffSynced    = 56
	snapOffConf      = 64
	snapOffData      = 72
	snapOffReserved  = 80
	snapOffCRC       = 92
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// snapFile is one snapshot with what the log needs to know about it.
type snapFile struct {
	install             bool   // received from a leader: the log begins behind it
	baseIndex, baseTerm uint64 // the log keeps the entries above it
	synced              uint64 // LSN up to which the log was durable when the snapshot was written
	snapshot            *raftpb.Snapshot
}

// snapName is the file name of a snapshot: index and term in decimal. Names are compared as numbers, never as text.
func snapName(index, term uint64) string {
	return fmt.Sprintf("%020d-%020d%s", index, term, snapSuffix)
}

// parseSnapName is the inverse of snapName.
func parseSnapName(name string) (index, term uint64, ok bool) {
	stem, ok := strings.CutSuffix(name, snapSuffix)
	a, b, sep := strings.Cut(stem, "-")
	index, err1 := strconv.ParseUint(a, 10, 64)
	term, err2 := strconv.ParseUint(b, 10, 64)
	return index, term, ok && sep && err1 == nil && err2 == nil
}

// encodeSnap encodes a snapshot file.
func encodeSnap(id [16]byte, s snapFile) ([]byte, error) {
	m := s.snapshot.GetMetadata()
	conf, err := proto.MarshalOptions{Deterministic: true}.Marshal(raftpb.EnsureConfState(m.GetConfState()))
	if err != nil {
		return nil, err
	}
	size := snapHead + len(conf) + len(s.snapshot.GetData()) + 4
	if size > MaxSnapshot {
		return nil, fmt.Errorf("snapshot of %d bytes, at most %d are allowed", size, MaxSnapshot)
	}
	le := binary.LittleEndian
	b := make([]byte, snapHead, size)
	copy(b, snapMagic)
	le.PutUint16(b[snapOffVersion:], snapVersion)
	if s.install {
		le.PutUint16(b[snapOffFlags:], flagInstall)
	}
	copy(b[snapOffID:], id[:])
	le.PutUint64(b[snapOffIndex:], m.GetIndex())
	le.PutUint64(b[snapOffTerm:], m.GetTerm())
	le.PutUint64(b[snapOffBaseIndex:], s.baseIndex)
	le.PutUint64(b[snapOffBaseTerm:], s.baseTerm)
	le.PutUint64(b[snapOffSynced:], s.synced)
	le.PutUint64(b[snapOffConf:], uint64(len(conf)))
	le.PutUint64(b[snapOffData:], uint64(len(s.snapshot.GetData())))
	le.PutUint32(b[snapOffCRC:], crc32.Checksum(b[:snapOffCRC], castagnoli))
	b = append(append(b, conf...), s.snapshot.GetData()...)
	return le.AppendUint32(b, crc32.Checksum(b, castagnoli)), nil
}

// SnapGuards are the ranges of a snapshot file that a CRC-32C covers, and where it lies, in little-endian order: from, to, CRC.
func SnapGuards(data []byte) [][3]int {
	if len(data) < snapHead+4 {
		return nil
	}
	return [][3]int{{0, snapOffCRC, snapOffCRC}, {0, len(data) - 4, len(data) - 4}}
}

// ErrVersion says that another release wrote a file.
var ErrVersion = errors.New("unknown format version")

// decodeSnap decodes a snapshot file. The data are a part of b, not a copy. A zero id accepts any directory's.
func decodeSnap(id [16]byte, b []byte) (snapFile, error) {
	le := binary.LittleEndian
	switch {
	case len(b) < snapOffFlags || string(b[:4]) != snapMagic:
		return snapFile{}, errors.New("not a snapshot file")
	case le.Uint16(b[snapOffVersion:]) != snapVersion:
		return snapFile{}, fmt.Errorf("%w %d, this program knows %d", ErrVersion, le.Uint16(b[snapOffVersion:]), snapVersion)
	case len(b) < snapHead+4:
		return snapFile{}, errors.New("cut off inside the head")
	case le.Uint32(b[snapOffCRC:]) != crc32.Checksum(b[:snapOffCRC], castagnoli):
		return snapFile{}, errors.New("head CRC differs")
	case id != [16]byte{} && [16]byte(b[snapOffID:snapOffIndex]) != id:
		return snapFile{}, errors.New("belongs to another data directory")
	}
	conf, data := le.Uint64(b[snapOffConf:]), le.Uint64(b[snapOffData:])
	rest := uint64(len(b) - snapHead - 4)
	if conf > rest || data != rest-conf {
		return snapFile{}, fmt.Errorf("%d bytes, the head says %d", len(b), uint64(snapHead+4)+conf+data)
	}
	end := len(b) - 4
	if le.Uint32(b[end:]) != crc32.Checksum(b[:end], castagnoli) {
		return snapFile{}, errors.New("CRC differs")
	}
	state := &raftpb.ConfState{}
	if err := proto.Unmarshal(b[snapHead:snapHead+conf], state); err != nil {
		return snapFile{}, fmt.Errorf("ConfState: %w", err)
	}
	return snapFile{
		install:   le.Uint16(b[snapOffFlags:])&flagInstall != 0,
		baseIndex: le.Uint64(b[snapOffBaseIndex:]), baseTerm: le.Uint64(b[snapOffBaseTerm:]), synced: le.Uint64(b[snapOffSynced:]),
		snapshot: &raftpb.Snapshot{Data: b[snapHead+conf : end], Metadata: &raftpb.SnapshotMetadata{
			ConfState: state, Index: new(le.Uint64(b[snapOffIndex:])), Term: new(le.Uint64(b[snapOffTerm:])),
		}},
	}, nil
}

// loadSnapshots reads snapshots/: the two newest intact ones, newest last and the older without its data; every file with its problem, newest
// first; and left-over temporary files. A file that a newer version wrote is an error: it may be the newest state.
func loadSnapshots(o Options) (kept []snapFile, files []SnapshotFile, temps []string, err error) {
	files, temps, _, err = listSnapshots(o)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil, nil
	}
	if err != nil {
		return nil, nil, nil, err
	}
	for i := range files {
		f := &files[i]
		stored, data, err := readSnapshot(o, *f)
		if errors.Is(err, ErrVersion) {
			return nil, nil, nil, fmt.Errorf("read %s: %w; use the release that wrote it, or a newer one", filepath.Join(o.Dir, snapDir, f.Name), err)
		}
		if stored.Unread && !errors.Is(err, fs.ErrNotExist) { // an older one would do, and the newest may be there the next time
			return nil, nil, nil, unreadable(err)
		}
		if err != nil {
			f.Problem = err.Error()
			continue
		}
		if len(kept) == 2 {
			continue
		}
		s := snapFile{install: stored.Installed, baseIndex: stored.BaseIndex, baseTerm: stored.BaseTerm, synced: uint64(stored.Synced),
			snapshot: &raftpb.Snapshot{Metadata: &raftpb.SnapshotMetadata{ConfState: stored.ConfState, Index: new(f.Index), Term: new(f.Term)}}}
		if len(kept) == 0 {
			s.snapshot.Data = data
		}
		kept = slices.Insert(kept, 0, s)
	}
	return kept, files, temps, nil
}

// sortSnapshots sorts newest first: by numbers, never by text.
func sortSnapshots(files []SnapshotFile) {
	slices.SortFunc(files, func(a, b SnapshotFile) int {
		return cmp.Or(cmp.Compare(b.Index, a.Index), cmp.Compare(b.Term, a.Term))
	})
}

func sortEntries(entries []LogEntry) {
	slices.SortStableFunc(entries, func(a, b LogEntry) int { return cmp.Compare(a.LSN, b.LSN) })
}
