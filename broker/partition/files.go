package partition

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"chronik.dev/chronik/broker/segment"
	"chronik.dev/chronik/broker/vfs"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// maxSmallFile bounds what is read of a small file.
const maxSmallFile = 256 << 20

func logName(base int64) string { return segment.Log.Name(base) }

// makeFiles makes the directory and the first segment of a new partition, unsynced.
func (l *Log) makeFiles() (err error) {
	if err := l.env.FS.Mkdir(l.dir); err != nil {
		return err
	}
	defer func() {
		if err != nil { // nothing knows of the directory, and the next attempt makes it anew
			err = errors.Join(err, vfs.RemoveAll(l.env.FS, l.dir))
		}
	}()
	if err := writeMetadata(l.env.FS, l.dir, l.id.ID); err != nil {
		return err
	}
	first, err := segment.Create(l.env.FS, l.dir, 0, l.active.choices.options())
	if err != nil {
		return err
	}
	l.sums = newSums(l.env.FS, l.dir)
	l.sums.add(segment.MetaFile, 0, 0, segment.EncodeMetadata(l.id.ID))
	l.segs, l.dirty = []*segment.Segment{first}, true
	return nil
}

// writeSmall replaces a small file in one step. It is not synced: the next checkpoint does that, and nothing depends on it before.
func writeSmall(fsys vfs.FS, path string, data []byte) error {
	f, err := fsys.OpenFile(path+vfs.TempSuffix, os.O_RDWR|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(data, 0)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return fsys.Rename(path+vfs.TempSuffix, path)
}

// writeMetadata writes partition.metadata unless it is there with the same content.
func writeMetadata(fsys vfs.FS, dir string, id [16]byte) error {
	path := filepath.Join(dir, segment.MetaFileName)
	if have, err := vfs.ReadFile(fsys, path, maxSmallFile); err == nil {
		if got, err := segment.DecodeMetadata(have); err == nil && got == id {
			return nil
		}
	}
	return writeSmall(fsys, path, segment.EncodeMetadata(id))
}

// TopicID reads which topic a partition directory belongs to.
func TopicID(fsys vfs.FS, dir string) ([16]byte, error) {
	b, err := vfs.ReadFile(fsys, filepath.Join(dir, segment.MetaFileName), maxSmallFile)
	if err != nil {
		return [16]byte{}, err
	}
	return segment.DecodeMetadata(b)
}

// writeEpochs writes leader-epoch-checkpoint for a log that ends at end. io is held.
func (l *Log) writeEpochs(end int64) error {
	l.mu.Lock()
	epochs := l.epochsBelow(end)
	l.mu.Unlock()
	data := encodeEpochs(epochs)
	if err := writeSmall(l.env.FS, l.path(segment.EpochFileName), data); err != nil {
		return err // and no sum promises it
	}
	l.sums.add(segment.EpochFile, 0, 0, data)
	return nil
}

func encodeEpochs(epochs []EpochEntry) []byte {
	out := make([]segment.EpochStart, len(epochs))
	for i, e := range epochs {
		out[i] = segment.EpochStart{Epoch: e.Epoch, Start: e.Start}
	}
	return segment.EncodeEpochs(out)
}

// writeSnapshot writes Kafka's producer snapshot: the producers before an offset.
func writeSnapshot(fsys vfs.FS, dir string, at int64, states []ProducerState) error {
	entries := make([]segment.ProducerEntry, len(states))
	for i, s := range states {
		last := s.Batches[len(s.Batches)-1]
		entries[i] = segment.ProducerEntry{
			ProducerID: s.ID, Epoch: last.Epoch, LastSequence: last.LastSequence, LastOffset: last.LastOffset,
			OffsetDelta: int32(last.LastOffset - last.FirstOffset), Timestamp: last.Time, CoordinatorEpoch: -1, TxnFirstOffset: -1,
		}
	}
	return writeSmall(fsys, filepath.Join(dir, segment.Snapshot.Name(at)), segment.EncodeSnapshot(entries))
}

// readSnapshot reads a producer snapshot; it knows only the last batch of each producer.
func readSnapshot(fsys vfs.FS, dir string, at int64) ([]ProducerState, error) {
	b, err := vfs.ReadFile(fsys, filepath.Join(dir, segment.Snapshot.Name(at)), maxSmallFile)
	if err != nil {
		return nil, err
	}
	entries, err := segment.DecodeSnapshot(b)
	if err != nil {
		return nil, err
	}
	states := make([]ProducerState, 0, len(entries))
	for _, e := range entries {
		if e.LastOffset < 0 || e.LastSequence < 0 {
			continue
		}
		first := (e.LastSequence - e.OffsetDelta) & 0x7fffffff
		states = append(states, ProducerState{ID: e.ProducerID, Batches: []BatchEntry{{
			Epoch: e.Epoch, FirstSequence: first, LastSequence: e.LastSequence,
			FirstOffset: e.LastOffset - int64(e.OffsetDelta), LastOffset: e.LastOffset, Time: e.Timestamp,
		}}})
	}
	return states, nil
}

// removeSegment removes the files named by a base offset. A file that is not there is no error.
func removeSegment(fsys vfs.FS, dir string, base int64) error {
	var errs []error
	for _, k := range []segment.Kind{segment.Log, segment.Index, segment.TimeIndex, segment.Snapshot, segment.TxnIndex} {
		if err := fsys.Remove(filepath.Join(dir, k.Name(base))); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// fileCRC is the CRC-32C of a whole file.
func fileCRC(fsys vfs.FS, path string) (sum uint32, err error) {
	f, err := fsys.OpenFile(path, os.O_RDONLY)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	buf := make([]byte, windowSize)
	for pos := int64(0); ; {
		n, err := f.ReadAt(buf, pos)
		sum = crc32.Update(sum, castagnoli, buf[:n])
		pos += int64(n)
		if errors.Is(err, io.EOF) {
			return sum, nil
		}
		if err != nil {
			return 0, fmt.Errorf("%s: byte %d: %w", path, pos, err)
		}
	}
}

// oldest is the age of the oldest batches in memory that are synced, and false if there are none.
func (l *Log) oldest() (int64, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.tail) == 0 || l.failed != nil || l.tail[0].batches[l.tail[0].flushed].base >= l.synced {
		return 0, false
	}
	return l.tail[0].age, true
}

// cleanedSuffix ends the name of a file that the cleaner is writing.
const cleanedSuffix = ".cleaned"

// Temporary says whether a name in a partition directory is one that chronik or Apache Kafka gives a file for a moment.
func Temporary(name string) bool {
	for _, suffix := range []string{vfs.TempSuffix, cleanedSuffix, ".swap", ".deleted"} {
		if strings.HasSuffix(name, suffix) {
			return true
		}
	}
	return false
}
