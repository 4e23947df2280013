package raftdump

import (
	"encoding/binary"
	"fmt"
	"path/filepath"
	"strconv"

	"github.com/cockroachdb/datadriven"
	"go.etcd.io/raft/v3/raftpb"

	"chronik.dev/chronik/broker/datadir"
	"chronik.dev/chronik/broker/metadata"
	"chronik.dev/chronik/broker/partition"
	"chronik.dev/chronik/broker/statefile"
	"chronik.dev/chronik/broker/vfs"
	"chronik.dev/chronik/broker/wal"
)

// forge runs a command that writes what no node would write, with all checks right.
func (l *lab) forge(d *datadriven.TestData) (string, bool) {
	switch d.Cmd {
	case "forge-snapshot": // of the state at index=, but state=empty, state=junk or members=ID
		index := argument(d, "index", l.last)
		l.applyTo(index)
		data, err := l.meta.Snapshot()
		must(l.t, err)
		conf := l.conf
		switch word(d, "state") {
		case "empty":
			m := metadata.New()
			m.Apply(index, nil)
			data, err = m.Snapshot()
			must(l.t, err)
		case "early":
			m := metadata.New()
			m.Apply(index-1, nil)
			data, err = m.Snapshot()
			must(l.t, err)
		case "junk":
			data = []byte("junk")
		case "later":
			data = []byte{8, 99}
		}
		if m := word(d, "members"); m != "" {
			id, err := strconv.ParseUint(m, 16, 64)
			must(l.t, err)
			conf = &raftpb.ConfState{Voters: []uint64{id}}
		}
		must(l.t, l.log.CreateSnapshot(index, conf, data))
	case "forge-entry": // an empty one at index= of term=, committed, into the log of a stopped member
		in := wal.InspectOptions{FS: l.fs, Dir: l.options().Dir, DirID: l.id.DirectoryID, Kind: wal.Raft}
		inv, err := wal.Inspect(in, func(*wal.Group) error { return nil })
		must(l.t, err)
		log, err := wal.Resume(wal.Options{FS: l.fs, Dir: in.Dir, DirID: in.DirID, Kind: wal.Raft, SegmentSize: 64 << 10, Spares: -1, Buffered: true, Now: l.now, Rand: l.rng.Uint64}, inv, wal.CutNote{})
		must(l.t, err)
		index, term := argument(d, "index", 0), argument(d, "term", 0)
		f := wal.Frame{Type: wal.RaftEntry, First: int64(index), Last: int64(term)}
		_, err = log.AppendSync([]wal.Frame{f}, wal.Note{term, l.id.MemberID, index, 2}, true)
		must(l.t, err)
		must(l.t, log.Close())
	case "checkpoint", "journal":
		id := [16]byte{}
		binary.BigEndian.PutUint64(id[:], argument(d, "id", 1))
		p := partition.Identity{Topic: word(d, "topic"), ID: id, Partition: int32(argument(d, "partition", 0)), RaftIndex: argument(d, "index", 0)}
		dir := filepath.Join(root, datadir.WalDir)
		must(l.t, vfs.RemoveAll(l.fs, dir))
		if d.Cmd == "checkpoint" {
			must(l.t, vfs.MkdirAll(l.fs, dir))
			c := partition.Checkpoint{Partitions: []partition.State{{Identity: p, Dir: fmt.Sprintf("%s-%d", p.Topic, p.Partition)}}}
			_, err := statefile.Create(l.fs, filepath.Join(dir, datadir.CheckpointBase), partition.CheckpointKind, partition.CheckpointVersion, l.id.DirectoryID, c.Marshal())
			must(l.t, err)
			break
		}
		log, err := wal.Create(wal.Options{FS: l.fs, Dir: dir, DirID: l.id.DirectoryID, Kind: wal.Journal, SegmentSize: 64 << 10, Spares: -1, Buffered: true, Now: l.now, Rand: l.rng.Uint64})
		must(l.t, err)
		f := wal.Frame{Type: wal.Opened, ID: id, Partition: p.Partition, First: int64(p.RaftIndex), Payload: []byte(p.Topic)}
		if d.HasArg("dropped") {
			f.Type, f.Payload = wal.Dropped, nil
		}
		_, err = log.AppendSync([]wal.Frame{f}, wal.Note{}, true)
		must(l.t, err)
		must(l.t, log.Close())
	default:
		return "", false
	}
	return "", true
}
