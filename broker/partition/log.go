package partition

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"chronik.dev/chronik/broker/segment"
	"chronik.dev/chronik/broker/vfs"
	"chronik.dev/chronik/broker/wal"
)

// Log is one open partition. All methods may be called from several goroutines.
type Log struct {
	env  *Env
	id   Identity
	name string // "topic-0"
	cfg  atomic.Pointer[Config]

	io    sync.Mutex   // serialises flush, roll, truncation, retention, compaction, checkpoint
	files sync.RWMutex // readers of files share it; removal and replacement of a file take it

	mu     sync.Mutex
	cond   sync.Cond // on mu: the synced position moved or the log ended
	dir    string    // path of the directory
	failed error     // why the log takes no more work; nil while open

	closing    bool // no more appends
	truncating bool // no appends for now

	// Offsets: logStart <= highWatermark <= synced <= end, flushed <= synced.
	logStart      int64
	highWatermark int64
	synced        int64 // end of what the journal has synced
	end           int64 // log end offset
	flushed       int64 // end of what the files hold; the tail begins here
	hold          int64 // the high watermark stays at or below it

	generation int64   // counts appends taken back
	owesOpened bool    // the journal refused Opened: the next append brings it
	isOpened   bool    // Opened is synced
	dropped    bool    // Dropped is synced
	createdLSN wal.LSN // first frame, where no checkpoint lists the partition yet
	enqueued   wal.LSN // last frame handed to the journal
	syncedLSN  wal.LSN // last frame whose callback came
	durableLSN wal.LSN // last frame that is durable: behind it up to syncedLSN are frames that were refused for want of space

	epoch     int32 // leader epoch
	epochs    []EpochEntry
	producers producers
	active    shape // of the segment that appends go to
	tail      []*chunk
	rolls     []roll // journalled rolls that the files have not seen yet
	pending   []*ticket
	watchers  map[chan<- struct{}]int

	producedRecords, producedBytes uint64 // of clients, acknowledged
	fetchedRecords, fetchedBytes   atomic.Uint64

	tailBlock []byte // payload of the TailBlock frame that the next append brings
	tailBase  int64
	tailLSN   wal.LSN // nothing is written to files before this frame is synced

	segs    []*segment.Segment // ascending, copied on change; the last is the one that the flusher writes; changed under files where one goes
	removed []removal          // out of segs, on disk until a checkpoint does not list them
	listed  int                // how many of removed the checkpoint under way does not list
	dirty   bool               // files were written since the last checkpoint

	// Guarded by io.
	last       State   // of the last checkpoint
	confirmed  bool    // that checkpoint is durable
	lastSynced wal.LSN // syncedLSN at that time
	cleanedTo  int64   // segments below it went through the cleaner since the start
	lastBlock  []byte  // bytes of the last of segs from its last block boundary on
	sums       sums
}

// shape is what decides when a segment is full, as the append path sees it.
type shape struct {
	base       int64
	size       int64
	firstTime  int64 // timestamp of the first batch, -1 if none
	sinceIndex int64 // bytes since the last index entry
	entries    int64 // index entries, an upper bound
	choices    Rolled
}

// removal is a segment that is no longer part of the log.
type removal struct {
	base int64
	seg  *segment.Segment // nil if it was not open
}

// roll is a journalled decision to begin a new segment.
type roll struct {
	base     int64
	choices  Rolled
	snapshot []ProducerState // producers at base
	ticket   *ticket         // knows the LSN
}

// ticket is what waits for the journal: an append (which waits for the high watermark too) or a change of the log.
type ticket struct {
	log    *Log
	lsn    wal.LSN
	chunks []*chunk // whose bytes the journal reads until the callback
	result Appended
	done   func(Appended, error)
	end    int64 // the log end after it; 0 for a change
	bytes  int   // appended by a client; 0 for what the node itself writes, and for a duplicate

	// To take it back if the journal has no space.
	generation int64  // of the log, when it was made
	shapes     bool   // it appended, or began the log
	base       int64  // log end before it
	before     shape  // active segment before it
	opened     bool   // it brought Opened
	tailBlock  []byte // the TailBlock frame it brought

	apply  func()      // the change, made under mu when synced
	settle func(error) // called after it, outside mu
}

// DirName is the name of a partition's directory.
func DirName(topic string, partition int32) string {
	return topic + "-" + strconv.FormatInt(int64(partition), 10)
}

// SplitDirName parses "topic-partition"; ok is false for what DirName does not give.
func SplitDirName(name string) (topic string, number int32, ok bool) {
	i := strings.LastIndexByte(name, '-')
	if i <= 0 {
		return "", 0, false
	}
	n, err := strconv.ParseInt(name[i+1:], 10, 32)
	if err != nil || n < 0 || DirName(name[:i], int32(n)) != name {
		return "", 0, false
	}
	return name[:i], int32(n), true
}

// DeletedDirName is the name that the directory gets when the partition is dropped.
func DeletedDirName(topic string, partition int32, id [16]byte) string {
	return DirName(topic, partition) + "." + hex.EncodeToString(id[:]) + "-delete"
}

// Create makes a new partition: it journals Opened and the shape of the first segment, after it made directory and files, unsynced (the
// next checkpoint syncs them, replay makes them again after a crash). Appends may follow at once: they become durable after Opened.
func Create(env *Env, id Identity, cfg Config) (*Log, error) {
	st := EmptyState(id, cfg)
	path := filepath.Join(env.Dir, st.Dir)
	if there, err := vfs.Exists(env.FS, path); err != nil || there {
		return nil, fmt.Errorf("create partition %s: directory exists (%v); restart the node, its boot moves unknown directories to quarantine/", st.Dir, err)
	}
	l := newLog(env, st, cfg)
	if err := l.makeFiles(); err != nil {
		return nil, fmt.Errorf("create partition %s: %w", st.Dir, err)
	}
	env.Pool.add(l) // before the first frame: a checkpoint must know of the partition when the frame is synced
	l.mu.Lock()
	l.enqueue(l.openedFrames(nil), &ticket{opened: true, shapes: true, before: l.active})
	l.createdLSN = l.enqueued - 1
	l.mu.Unlock()
	return l, nil
}

// openedFrames appends the frames that begin a partition.
func (l *Log) openedFrames(frames []wal.Frame) []wal.Frame {
	return append(frames, l.frame(wal.Opened, int64(l.id.RaftIndex), 0, []byte(l.id.Topic)), l.frame(wal.Rolled, 0, 0, shapeOf(l.segs[0]).Marshal()))
}

// newLog makes a log at a State, without files.
func newLog(env *Env, st State, cfg Config) *Log {
	l := &Log{
		env: env, id: st.Identity, name: DirName(st.Topic, st.Partition), dir: filepath.Join(env.Dir, st.Dir),
		logStart: st.LogStart, highWatermark: st.End, synced: st.End, end: st.End, flushed: st.End, hold: math.MaxInt64,
		enqueued: st.LSN, syncedLSN: st.LSN, durableLSN: st.LSN, epoch: st.Epoch, epochs: slices.Clone(st.Epochs),
		producers: newProducers(st.Producers), active: shape{firstTime: -1, choices: st.active().Shape}, watchers: map[chan<- struct{}]int{},
	}
	l.cond.L = &l.mu
	l.cfg.Store(&cfg)
	return l
}

func (c *Config) choices() Rolled {
	return Rolled{IndexInterval: max(c.IndexIntervalBytes, 1), IndexBytes: c.SegmentIndexBytes} // 0 is an entry for each batch, and so is 1
}

// frame makes a frame of this partition.
func (l *Log) frame(t wal.Type, first, last int64, payload []byte) wal.Frame {
	return wal.Frame{Type: t, ID: l.id.ID, Partition: l.id.Partition, Epoch: l.epoch, First: first, Last: last, Payload: payload}
}

// enqueue hands frames to the journal; mu is held, so a partition's frames are in LSN order.
func (l *Log) enqueue(frames []wal.Frame, t *ticket) wal.LSN {
	t.log, t.generation = l, l.generation
	// The committer may call back before Append returns; synced waits for mu, so the LSN is set by then.
	l.enqueued = l.env.Journal.Append(frames, t.synced)
	t.lsn = l.enqueued
	return t.lsn
}

// Identity returns what names the partition.
func (l *Log) Identity() Identity { return l.id }

// Name returns "topic-partition".
func (l *Log) Name() string { return l.name }

// Config returns the configuration in force.
func (l *Log) Config() Config { return *l.cfg.Load() }

// SetConfig changes the configuration; the next append, roll, retention and compaction see it.
func (l *Log) SetConfig(c Config) { l.cfg.Store(&c) }

// LogStart returns the first offset that a client may read.
func (l *Log) LogStart() int64 { l.mu.Lock(); defer l.mu.Unlock(); return l.logStart }

// HighWatermark returns the offset below which records are committed and visible.
func (l *Log) HighWatermark() int64 { l.mu.Lock(); defer l.mu.Unlock(); return l.highWatermark }

// LogEnd returns the offset that the next record gets; records between the high watermark and it are not visible.
func (l *Log) LogEnd() int64 { l.mu.Lock(); defer l.mu.Unlock(); return l.end }

// LeaderEpoch returns the newest leader epoch, -1 if none was begun.
func (l *Log) LeaderEpoch() int32 { l.mu.Lock(); defer l.mu.Unlock(); return l.epoch }

// Size returns the bytes of the log: files and tail.
func (l *Log) Size() int64 { l.mu.Lock(); defer l.mu.Unlock(); return l.sizeLocked() }

func (l *Log) sizeLocked() int64 {
	var n int64
	for _, s := range l.segs {
		n += s.Size()
	}
	for _, c := range l.tail {
		for _, b := range c.batches[c.flushed:] {
			n += int64(b.to - b.from)
		}
	}
	return n
}

// Stopped returns why the log takes no more work, nil while it is open.
func (l *Log) Stopped() error { l.mu.Lock(); defer l.mu.Unlock(); return l.failed }

// Producers lists the idempotent producers that are remembered.
func (l *Log) Producers() []ProducerInfo {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]ProducerInfo, 0, len(l.producers.byID))
	for id, entries := range l.producers.byID {
		e := entries[len(entries)-1]
		out = append(out, ProducerInfo{ID: id, Epoch: e.Epoch, LastSequence: e.LastSequence, LastTime: e.Time})
	}
	slices.SortFunc(out, func(a, b ProducerInfo) int { return int(min(max(a.ID-b.ID, -1), 1)) })
	return out
}

// HoldHighWatermark keeps the high watermark at or below limit: what the in-sync replicas have. A single copy never holds it.
func (l *Log) HoldHighWatermark(limit int64) {
	l.mu.Lock()
	l.hold = limit
	ready := l.advance(nil)
	l.mu.Unlock()
	ready.run()
}

// Watch sends on ch, without blocking, whenever the high watermark moves or the log stops, is deleted, truncated or closed.
func (l *Log) Watch(ch chan<- struct{}) (cancel func()) {
	l.mu.Lock()
	l.watchers[ch]++
	l.mu.Unlock()
	return func() {
		l.mu.Lock()
		if l.watchers[ch]--; l.watchers[ch] == 0 {
			delete(l.watchers, ch)
		}
		l.mu.Unlock()
	}
}

// wake tells every watcher; mu is held.
func (l *Log) wake() {
	for ch := range l.watchers {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
	l.cond.Broadcast()
}

// Stop takes the partition out of service for a reason: appends, reads and changes fail with ErrStopped. What was synced stays on disk.
func (l *Log) Stop(reason error) {
	if l.finish(fmt.Errorf("%s: %w: %w", l.name, ErrStopped, reason)) && l.env.Incident != nil {
		l.env.Incident(Incident{
			Class: "partition-stopped", Partition: l.name, Message: fmt.Sprintf("partition %s stopped: %v", l.name, reason),
			Next: "chronik wal verify --live " + l.dataDir(),
		})
	}
}

// dataDir is the data directory, for messages.
func (l *Log) dataDir() string { return filepath.Dir(l.env.Dir) }

// finish ends the log once; it reports whether this call did.
func (l *Log) finish(why error) bool {
	l.mu.Lock()
	if l.failed != nil {
		l.mu.Unlock()
		return false
	}
	l.failed = why
	var ready completions
	for _, t := range l.pending {
		if t.done != nil {
			ready = append(ready, completion{t.done, Appended{Base: -1, Last: -1, AppendTime: -1}, why})
		}
	}
	l.pending = nil
	if !errors.Is(why, ErrClosed) { // nobody reads or writes it any more: what is synced is in the journal, and others need the memory
		for _, c := range l.tail {
			c.release()
		}
		l.tail = nil
	}
	l.wake()
	l.mu.Unlock()
	ready.run()
	return true
}

// admits returns nil while the log takes appends and changes; mu is held.
func (l *Log) admits() error {
	switch {
	case l.failed != nil:
		return l.failed
	case l.closing:
		return fmt.Errorf("%s: %w", l.name, ErrClosed)
	case l.truncating:
		return fmt.Errorf("%s is being truncated: %w", l.name, ErrFencedLeaderEpoch)
	}
	return nil
}
