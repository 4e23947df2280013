package walinspect

import (
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"chronik.dev/chronik/broker/datadir"
	"chronik.dev/chronik/broker/partition"
	"chronik.dev/chronik/broker/segment"
	"chronik.dev/chronik/broker/statefile"
	"chronik.dev/chronik/broker/vfs"
)

// maxSmallFile bounds the small files of a partition directory, in bytes.
const maxSmallFile = 64 << 20

// learnNames reads the topic ids of the partition directories, so that frames can be shown under their topics' names.
func (t *Target) learnNames() error {
	dir := filepath.Join(t.Root, datadir.TopicsDir)
	entries, err := t.fs.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		topic, _, ok := partitionName(e.Name())
		if !ok || !e.IsDir() {
			continue
		}
		text, err := vfs.ReadFile(t.fs, filepath.Join(dir, e.Name(), segment.MetaFileName), maxSmallFile)
		if err != nil {
			continue // a finding of Verify
		}
		if id, err := segment.DecodeMetadata(text); err == nil {
			t.names[id] = topic
		}
	}
	return nil
}

// Topics lists the topics that have a partition directory in a data directory, its topics/, or an Apache Kafka log directory. What cannot be
// listed has none.
func Topics(fsys vfs.FS, path string) []string {
	var names []string
	for _, dir := range []string{path, filepath.Join(path, datadir.TopicsDir)} {
		entries, err := fsys.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, e := range entries {
			if topic, _, ok := partitionName(e.Name()); ok && e.IsDir() && !slices.Contains(names, topic) {
				names = append(names, topic)
			}
		}
	}
	return names
}

// partitionName splits the name of a partition directory: TOPIC-NUMBER, and what Kafka and chronik append to one that is being deleted.
func partitionName(name string) (topic string, number int32, ok bool) {
	if strings.HasSuffix(name, "-delete") {
		if dot := strings.LastIndexByte(name, '.'); dot > 0 {
			name = name[:dot]
		}
	}
	dash := strings.LastIndexByte(name, '-')
	if dash <= 0 {
		return "", 0, false
	}
	n, err := strconv.ParseInt(name[dash+1:], 10, 32)
	if err != nil || n < 0 {
		return "", 0, false
	}
	return name[:dash], int32(n), true
}

// checkpoint reads the node's checkpoint; nil if there is none that can be used, which Verify reports from recovery's check.
func (t *Target) checkpoint() *partition.Checkpoint {
	if t.Root == "" || t.Kafka {
		return nil
	}
	base := filepath.Join(t.Root, datadir.WalDir, datadir.CheckpointBase)
	f, err := statefile.Load(t.fs, base, partition.CheckpointKind, partition.CheckpointVersion, t.dirID)
	if err != nil {
		return nil
	}
	c, err := partition.UnmarshalCheckpoint(f.Body())
	if err != nil {
		return nil
	}
	return c
}

// sortedPartitions lists the partition directories below dir.
func (t *Target) sortedPartitions(dir string) ([]string, error) {
	entries, err := t.fs.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var dirs []string
	for _, e := range entries {
		if _, _, ok := partitionName(e.Name()); ok && e.IsDir() {
			dirs = append(dirs, filepath.Join(dir, e.Name()))
		}
	}
	return dirs, nil
}

// segments lists the base offsets of a partition directory's .log files, rising.
func (t *Target) segments(dir string) ([]int64, error) {
	entries, err := t.fs.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var bases []int64
	for _, e := range entries {
		if kind, base, ok := segment.ParseName(e.Name()); ok && kind == segment.Log && !e.IsDir() {
			bases = append(bases, base)
		}
	}
	return bases, nil // ReadDir sorts, and the names are digits of one width
}
