package recovery

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"chronik.dev/chronik/broker/datadir"
	"chronik.dev/chronik/broker/partition"
	"chronik.dev/chronik/broker/segment"
	"chronik.dev/chronik/broker/vfs"
)

// entry is a name under topics/.
type entry struct {
	name  string
	isDir bool
	id    [16]byte // of partition.metadata
	known bool     // that file could be read
	owner *part    // the partition that lives in it
}

const deletedSuffix = "-delete"

// listTopics lists topics/ and tells which directory belongs to which partition.
func (s *scan) listTopics() ([]*entry, error) {
	infos, err := s.fs.ReadDir(s.topicsDir())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("recover %s: %w", s.dir, err)
	}
	var out []*entry
	for _, info := range infos {
		e := &entry{name: info.Name(), isDir: info.IsDir()}
		if e.isDir {
			id, err := partition.TopicID(s.fs, filepath.Join(s.topicsDir(), e.name))
			e.id, e.known = id, err == nil
		}
		out = append(out, e)
	}
	return out, nil
}

// topicOfDirectory finds a topic's name by the partition.metadata of a directory.
func (s *scan) topicOfDirectory(k key) string {
	for _, e := range s.entries {
		if topic, n, ok := partition.SplitDirName(e.name); ok && e.known && e.id == k.id && n == k.partition {
			return topic
		}
	}
	return ""
}

// assign gives every partition its directory: dropped ones lose theirs to a name that says so, so that a topic of the same name that came
// later finds the place free.
func (s *scan) assign() error {
	var err error
	if s.entries, err = s.listTopics(); err != nil {
		return err
	}
	byName := map[string]*entry{}
	for _, e := range s.entries {
		byName[e.name] = e
	}
	for _, p := range s.sorted() {
		if !p.dropped || p.name == "" {
			continue
		}
		name := partition.DirName(p.name, p.partition)
		if p.listed {
			name = p.st.Dir
		}
		gone := partition.DeletedDirName(p.name, p.partition, p.id)
		e := byName[name]
		if e == nil || byName[gone] != nil || e.known && e.id != p.id {
			continue
		}
		if !s.readOnly {
			if err := s.fs.Rename(filepath.Join(s.topicsDir(), name), filepath.Join(s.topicsDir(), gone)); err != nil {
				return fmt.Errorf("recover %s: %w", s.dir, err)
			}
		}
		delete(byName, name)
		e.name = gone
		byName[gone] = e
	}
	for _, p := range s.sorted() {
		if p.dropped || p.name == "" {
			continue
		}
		if !p.listed {
			p.dir = partition.DirName(p.name, p.partition)
		}
		if e := byName[p.dir]; e != nil && e.isDir {
			e.owner = p
		} else if s.readOnly && p.opened > 0 {
			p.dir += ".new" // the place may still hold a dropped partition; nothing is there of this one
		}
	}
	return nil
}

// tidy deals with what belongs to no partition: directories of dropped partitions are returned, to go after the next checkpoint; an
// interrupted creation goes at once; everything else moves to quarantine/.
func (s *scan) tidy() (removed []string, err error) {
	for _, e := range s.entries {
		path := filepath.Join(s.topicsDir(), e.name)
		switch {
		case e.owner != nil:
			if err := s.tidyPartition(e); err != nil {
				return nil, err
			}
		case e.name == "lost+found" || !e.isDir && strings.HasSuffix(e.name, vfs.TempSuffix):
		case e.isDir && strings.HasSuffix(e.name, deletedSuffix) && strings.Contains(e.name, "."):
			if !s.stillNeeded(e) {
				removed = append(removed, path)
			}
		case e.isDir && s.unfinished(path):
			if !s.readOnly {
				if err := vfs.RemoveAll(s.fs, path); err != nil {
					return nil, fmt.Errorf("recover %s: %w", s.dir, err)
				}
			}
		default:
			if err := s.quarantine(filepath.Join(datadir.TopicsDir, e.name), "neither the checkpoint nor the journal knows it"); err != nil {
				return nil, err
			}
		}
	}
	for _, path := range s.inv.Unknown {
		rel, err := filepath.Rel(s.dir, path)
		if err != nil {
			return nil, fmt.Errorf("recover %s: %w", s.dir, err)
		}
		if err := s.quarantine(rel, "not a file of the journal"); err != nil {
			return nil, err
		}
	}
	return removed, nil
}

// stillNeeded says whether a directory of a dropped partition belongs to one that nothing says was dropped: the frame is lost, and the
// partition stops; its records stay.
func (s *scan) stillNeeded(e *entry) bool {
	for _, p := range s.parts {
		if !p.dropped && p.name != "" && e.name == partition.DeletedDirName(p.name, p.partition, p.id) {
			return true
		}
	}
	return false
}

// unfinished says whether a directory is what an interrupted creation leaves: names of ours and not one byte of a log.
func (s *scan) unfinished(path string) bool {
	infos, err := s.fs.ReadDir(path)
	if err != nil {
		return false
	}
	for _, info := range infos {
		kind, _, ok := segment.ParseName(info.Name())
		if info.IsDir() || !ok && !strings.HasSuffix(info.Name(), vfs.TempSuffix) || kind == segment.Log && info.Size() > 0 {
			return false
		}
	}
	return true
}

// tidyPartition moves unknown files of a partition's directory to quarantine/.
func (s *scan) tidyPartition(e *entry) error {
	infos, err := s.fs.ReadDir(filepath.Join(s.topicsDir(), e.name))
	if err != nil {
		return nil // the replay said so already
	}
	for _, info := range infos {
		if _, _, ok := segment.ParseName(info.Name()); ok && !info.IsDir() || info.Name() == "lost+found" || partition.Temporary(info.Name()) {
			continue
		}
		if err := s.quarantine(filepath.Join(datadir.TopicsDir, e.name, info.Name()), "not a file of a partition log"); err != nil {
			return err
		}
	}
	return nil
}

func (s *scan) quarantine(rel, why string) error {
	m := Moved{From: rel, Why: why}
	if !s.readOnly {
		to, err := datadir.Quarantine(s.fs, s.dir, rel, why, time.UnixMilli(s.env.Now()))
		if err != nil {
			return fmt.Errorf("recover %s: %w", s.dir, err)
		}
		m.To = to
		if _, err := s.incident(datadir.Incident{Class: datadir.Quarantined, File: rel, Message: fmt.Sprintf("%s moved to %s: %s", rel, to, why), Next: "ls -l " + filepath.Join(s.dir, to)}); err != nil {
			return err
		}
	}
	s.report.Moved = append(s.report.Moved, m)
	return nil
}
