package wal

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"chronik.dev/chronik/broker/statefile"
	"chronik.dev/chronik/broker/vfs"
)

// Log is an open journal. Its methods may be called from several goroutines.
type Log struct {
	o      Options
	direct bool // set before the committer runs, cleared only by it

	// Of the committer alone, once it runs.
	active      *segment
	enc         encoder
	ranges      *tracker
	chain       uint32 // sum of the last group in the chain
	nextWritten LSN    // LSN of the next frame that is written
	lastLSN     LSN    // of the last frame written
	syncedLSN   LSN
	note        Note      // of the last group that had one
	unmarked    bool      // a group was written since the last marker
	waitsSince  time.Time // since when the oldest frames of the drain under way wait

	mu      sync.Mutex
	queue   queue
	next    LSN // next that Append gives out
	err     error
	closing bool
	live    []liveSegment // ascending; the last is active
	spares  []spare       // files ready for use, in order
	ready   *segment      // the next segment's file, named and open
	lastID  uint64
	cuts    []Cut
	reserve bool          // the reserve file exists
	room    chan struct{} // closed and replaced when live bytes go down

	synced    atomic.Uint64 // LSN
	liveBytes atomic.Int64  // of segments
	queued    atomic.Int64  // payload bytes that wait
	waiters   atomic.Int32  // callers of WaitRoom
	failed    chan struct{}
	wake      chan struct{}
	done      chan struct{} // the committer has ended

	maint    sync.Mutex // one change of files and manifest at a time
	manifest *statefile.File
	kicked   chan struct{}
	quit     chan struct{}
	keeper   sync.WaitGroup
	stats    counters
}

// liveSegment is a segment as the manifest and FreeBelow see it.
type liveSegment struct {
	id, generation, previous uint64
	file                     string
	bytes                    int64
	first, last              LSN
	full                     bool // filled to its end: can be recycled
	resumed                  bool
	end                      uint32 // block of the footer, 0: none yet
}

// spare is a file whose sectors are all of one generation.
type spare struct {
	file       string
	generation uint64
	blocks     uint32
}

func newLog(o Options) (*Log, error) {
	if err := o.defaults(); err != nil {
		return nil, err
	}
	l := &Log{o: o, direct: !o.Buffered, ranges: newTracker(), failed: make(chan struct{}), wake: make(chan struct{}, 1),
		done: make(chan struct{}), kicked: make(chan struct{}, 1), quit: make(chan struct{}), room: make(chan struct{})}
	l.enc.keep = max(o.GroupBytes+o.GroupBytes/2, int(o.FirstSegmentSize)) + 16*BlockSize
	return l, nil
}

// Create makes a new log in o.Dir, which must not hold one, and makes the directory if needed. fs.ErrExist if there is one: a directory that is
// still being founded is removed first by its owner.
func Create(o Options) (*Log, error) { return CreateAt(o, 1) }

// CreateAt is Create for a log whose first frame gets the LSN first: in place of one that was lost, above all that it can have promised.
func CreateAt(o Options, first LSN) (*Log, error) {
	l, err := newLog(o)
	if err != nil {
		return nil, err
	}
	if err := vfs.MkdirAll(o.FS, o.Dir); err != nil {
		return nil, fmt.Errorf("create journal %s: %w", o.Dir, err)
	}
	infos, err := o.FS.ReadDir(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("create journal %s: %w", o.Dir, err)
	}
	for _, info := range infos {
		if c := classify(info.Name()); c != fileOther && c != fileUnknown {
			return nil, fmt.Errorf("create journal %s: %s is there: %w", o.Dir, info.Name(), fs.ErrExist)
		}
	}
	l.next, l.nextWritten, l.lastID = first, first, 1
	l.lastLSN, l.syncedLSN = first-1, first-1
	l.synced.Store(uint64(l.syncedLSN))
	s, err := l.createGrowing(1, uint32(l.o.FirstSegmentSize/BlockSize), predecessor{})
	if err != nil {
		return nil, err
	}
	l.activate(s)
	l.manifest, err = statefile.Create(o.FS, filepath.Join(o.Dir, manifestName), manifestKind, manifestVersion, o.DirID, l.manifestBody())
	if err != nil {
		return nil, fmt.Errorf("create journal %s: %w", o.Dir, err)
	}
	l.start()
	return l, nil
}

// start begins the committer and the keeper.
func (l *Log) start() {
	go l.commit()
	if l.o.Still {
		return
	}
	l.keeper.Add(1)
	go l.keep()
	l.kick()
}

// activate makes s the segment that is written.
func (l *Log) activate(s *segment) {
	l.active = s
	l.mu.Lock()
	defer l.mu.Unlock()
	l.live = append(l.live, liveSegment{id: s.id, generation: s.generation, previous: s.previous, file: s.file.name,
		first: s.first, last: s.last, resumed: s.resumed})
	l.account()
}

// sealed takes note of what the ended segment holds.
func (l *Log) sealed(s *segment, footer uint32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.live {
		if v := &l.live[i]; v.id == s.id {
			v.last, v.bytes = s.last, int64(s.pos)*BlockSize
			v.full, v.end = s.pos == s.blocks, footer
		}
	}
	l.account()
}

// account updates the live bytes. mu is held.
func (l *Log) account() {
	var n int64
	for i := range l.live {
		n += l.live[i].bytes
	}
	l.liveBytes.Store(n)
}

// newID draws the id of a segment.
func (l *Log) newID() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lastID++
	return l.lastID
}

// Synced returns the highest LSN below which everything is durable, itself included.
func (l *Log) Synced() LSN { return LSN(l.synced.Load()) }

// Next returns the LSN that the next frame gets.
func (l *Log) Next() LSN {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.next
}

// LiveBytes returns the bytes of the live segments, and of what waits to be written.
func (l *Log) LiveBytes() int64 { return l.liveBytes.Load() + l.queued.Load() }

// Full says whether the log is at MaxBytes; producers should wait with WaitRoom.
func (l *Log) Full() bool { return l.o.MaxBytes > 0 && l.LiveBytes() >= l.o.MaxBytes }

// WaitRoom waits until the log is below MaxBytes, or ctx is done, or the log has failed or closed, whose error it returns.
func (l *Log) WaitRoom(ctx context.Context) error {
	l.waiters.Add(1)
	defer l.waiters.Add(-1)
	for {
		l.mu.Lock()
		room, err := l.room, l.err
		if err == nil && l.closing {
			err = ErrClosed
		}
		l.mu.Unlock()
		if err != nil || !l.Full() {
			return err
		}
		select {
		case <-room:
		case <-l.failed:
		case <-l.quit:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// madeRoom wakes who waits for room. mu is held.
func (l *Log) madeRoom() {
	close(l.room)
	l.room = make(chan struct{})
}

// Err returns why the log failed, or nil.
func (l *Log) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// Failed is closed when a write or sync has failed; nothing more is acknowledged.
func (l *Log) Failed() <-chan struct{} { return l.failed }

// poison ends the log: nothing more is acknowledged.
func (l *Log) poison(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.err = fmt.Errorf("journal %s has failed: %w; restart the node after checking the disk", l.o.Dir, err)
		l.o.Logger.Error("journal failed", "dir", l.o.Dir, "error", err)
		close(l.failed)
	}
}

// Close writes what waits, seals the segment and stores the manifest. The log cannot be used afterwards.
func (l *Log) Close() error {
	l.mu.Lock()
	if l.closing {
		l.mu.Unlock()
		<-l.done
		return ErrClosed
	}
	l.closing = true
	close(l.quit)
	l.mu.Unlock()
	<-l.done
	l.keeper.Wait()
	l.maint.Lock()
	defer l.maint.Unlock()
	err := l.Err()
	if err == nil {
		err = l.storeManifest()
	}
	l.mu.Lock()
	ready := l.ready
	l.ready = nil
	l.mu.Unlock()
	if ready != nil {
		err = errors.Join(err, ready.file.close())
	}
	return err
}

// Stats counts since the log was opened.
type Stats struct {
	Groups, Frames, Bytes, Syncs, Markers, Rolls uint64  // Bytes are those of the blocks written
	Recycled, Prewritten                         uint64  // spare files, used again and made
	Sync, Queue                                  Latency // of a write and its sync; of the oldest frames of a group, until their write begins
}

// Latency counts durations: bucket i holds those below 16 µs << i, the last all others.
type Latency struct {
	Buckets [16]uint64
	Nanos   uint64 // their sum
}

type counters struct {
	groups, frames, bytes, syncs, markers, rolls, recycled, prewritten atomic.Uint64
	sync, queue                                                        latency
}

// latency is a Latency in the making.
type latency struct {
	buckets [16]atomic.Uint64
	nanos   atomic.Uint64
}

func (c *latency) add(d time.Duration) {
	c.nanos.Add(uint64(d))
	i := 0
	for limit := 16 * time.Microsecond; i < len(c.buckets)-1 && d >= limit; limit *= 2 {
		i++
	}
	c.buckets[i].Add(1)
}

func (c *latency) read() (r Latency) {
	r.Nanos = c.nanos.Load()
	for i := range c.buckets {
		r.Buckets[i] = c.buckets[i].Load()
	}
	return r
}

// Stats returns the counters.
func (l *Log) Stats() Stats {
	c := &l.stats
	return Stats{Groups: c.groups.Load(), Frames: c.frames.Load(), Bytes: c.bytes.Load(), Syncs: c.syncs.Load(), Markers: c.markers.Load(),
		Rolls: c.rolls.Load(), Recycled: c.recycled.Load(), Prewritten: c.prewritten.Load(), Sync: c.sync.read(), Queue: c.queue.read()}
}
