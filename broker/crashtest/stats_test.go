package crashtest

import (
	"fmt"
	"maps"

	"chronik.dev/chronik/broker/vfs"
	"chronik.dev/chronik/walinspect"
)

// counted is what `wal stats` says that a directory holds: records by the names of partitions.
func counted(disk *vfs.Mem) (map[string]int64, error) {
	target, err := walinspect.Open(walinspect.Options{FS: disk, Path: root})
	if err != nil {
		return nil, err
	}
	rows := map[string]int64{}
	_, err = target.Stats(walinspect.StatsOptions{Partitions: true}, func(s *walinspect.TopicStats) error {
		if s.Records > 0 {
			rows[s.Name()] = s.Records
		}
		return nil
	})
	return rows, err
}

// compareCounts holds the records that `wal stats` counted before a boot against those that the booted node serves.
func compareCounts(n *node, got map[[16]byte]*seen, rows map[string]int64) error {
	served := map[string]int64{}
	for _, l := range n.logs {
		if compacts(l.Identity().Topic) { // the cleaner of a boot may take more
			delete(rows, l.Name())
			continue
		}
		s := got[l.Identity().ID]
		for at := range s.records {
			if at >= s.start {
				served[l.Name()]++
			}
		}
		for _, b := range s.batches {
			if s.records != nil {
				break
			}
			if records := b.end() - max(b.base, s.start); records > 0 {
				served[l.Name()] += records
			}
		}
	}
	if !maps.Equal(served, rows) {
		return fmt.Errorf("wal stats counts %v, the node serves %v", rows, served)
	}
	return nil
}
