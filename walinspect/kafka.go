package walinspect

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"chronik.dev/chronik/broker/vfs"
)

// Files at the top of an Apache Kafka log directory.
const (
	kafkaMeta            = "meta.properties"
	kafkaRecoveryPoints  = "recovery-point-offset-checkpoint"
	kafkaHighWatermarks  = "replication-offset-checkpoint"
	kafkaLogStarts       = "log-start-offset-checkpoint"
	kafkaCleanerOffsets  = "cleaner-offset-checkpoint"
	kafkaCleanShutdown   = ".kafka_cleanshutdown"
	kafkaLock            = ".lock"
	maxKafkaCheckpoint   = 64 << 20 // bytes: half a million partitions
	kafkaCheckpointLines = "0"      // the only version of the offset checkpoint files
)

// kafkaFloors says per "topic-partition" below which offset Apache Kafka promised to have synced its log. Its recovery points say so, and
// for all of a directory the marker of a clean stop.
type kafkaFloors struct {
	clean  bool
	points map[string]int64
}

// of returns the offset below which damage is corruption; everything past it is undecided. ok is false if nothing is known.
func (k *kafkaFloors) of(name string) (offset int64, all, ok bool) {
	if k == nil {
		return 0, false, false
	}
	offset, ok = k.points[name]
	return offset, k.clean, ok || k.clean
}

// readKafkaFloors reads a Kafka log directory's recovery points. The error names the line that is wrong.
func readKafkaFloors(fs vfs.FS, root string) (*kafkaFloors, error) {
	k := &kafkaFloors{points: map[string]int64{}}
	clean, err := vfs.Exists(fs, filepath.Join(root, kafkaCleanShutdown))
	if err != nil {
		return nil, err
	}
	k.clean = clean
	name := filepath.Join(root, kafkaRecoveryPoints)
	there, err := vfs.Exists(fs, name)
	if err != nil || !there {
		return k, err
	}
	text, err := vfs.ReadFile(fs, name, maxKafkaCheckpoint)
	if err != nil {
		return nil, err
	}
	return k, k.parse(string(text))
}

// parse reads Kafka's checkpoint format: version, count, then "topic partition offset" a line.
func (k *kafkaFloors) parse(text string) error {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if len(lines) < 2 || lines[0] != kafkaCheckpointLines {
		return fmt.Errorf("line 1: version %q, want %s", lines[0], kafkaCheckpointLines)
	}
	count, err := strconv.Atoi(lines[1])
	if err != nil || count != len(lines)-2 {
		return fmt.Errorf("line 2: count %q, but %d lines follow", lines[1], len(lines)-2)
	}
	for i, line := range lines[2:] {
		fields := strings.Fields(line)
		if len(fields) != 3 {
			return fmt.Errorf("line %d: %q is not TOPIC PARTITION OFFSET", i+3, line)
		}
		offset, err := strconv.ParseInt(fields[2], 10, 64)
		if err != nil || offset < 0 {
			return fmt.Errorf("line %d: offset %q", i+3, fields[2])
		}
		k.points[fields[0]+"-"+fields[1]] = offset
	}
	return nil
}
