package partition

import (
	"errors"
	"fmt"
	"slices"

	"chronik.dev/chronik/broker/segment"
	"chronik.dev/chronik/broker/wal"
)

// Checkpoint writes everything synced to the files and returns the State that they then hold; the caller syncs the file system, stores
// the checkpoint and calls Checkpointed. An idle partition does no I/O and moves its LSN to idle, the journal's synced LSN as the caller
// read it before. A partition that cannot be flushed now (full disk) returns its last State: the journal keeps what it lacks.
// ok is false while the partition is too new to be listed; its first frame is then above the returned State's LSN.
func (l *Log) Checkpoint(idle wal.LSN) (st State, ok bool, err error) {
	l.io.Lock()
	defer l.io.Unlock()
	l.mu.Lock()
	switch {
	case errors.Is(l.failed, ErrStopped):
		l.mu.Unlock()
		return l.holdFrames(idle)
	case l.dropped:
		l.mu.Unlock()
		return State{LSN: idle}, false, nil // its frame is durable, and so is the new name of its directory with this checkpoint
	case errors.Is(l.failed, ErrDeleted), !l.isOpened:
		l.openAgain()
		l.mu.Unlock()
		return l.unchanged()
	}
	if !l.tailBlockReady() {
		l.mu.Unlock()
		return l.unchanged()
	}
	st = State{
		Identity: l.id, Dir: l.name, LSN: max(l.durableLSN, l.last.LSN), LogStart: l.logStart, End: l.synced, HighWatermark: l.highWatermark,
		Epoch: l.epoch, Epochs: l.epochsBelow(l.synced),
	}
	if l.enqueued == l.syncedLSN {
		st.LSN = max(idle, l.durableLSN)
	}
	if l.last.LSN > 0 && l.lastSynced == l.syncedLSN {
		st.Producers = l.last.Producers // nothing happened since
	} else {
		st.Producers = l.producers.state(l.synced)
	}
	synced := l.syncedLSN
	l.mu.Unlock()

	if err := l.flush(limit{st.End, synced}); err != nil {
		if errors.Is(l.Stopped(), ErrStopped) {
			return l.holdFrames(idle)
		}
		st, ok, _ := l.unchanged() // full disk: the State before still holds
		return st, ok, err
	}
	if !l.flushedTo(st.End, synced) {
		return l.unchanged()
	}
	l.dropBelow(st.LogStart)
	if err := l.sums.write(); err != nil {
		st, ok, _ := l.unchanged()
		return st, ok, fmt.Errorf("checkpoint %s: %w", l.name, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.segs {
		st.Segments = append(st.Segments, stateOf(s))
	}
	if l.dirty {
		l.saveTailBlock()
	}
	l.dirty = false
	l.listed = len(l.removed)
	l.last, l.lastSynced, l.confirmed = st, synced, false
	return st, true, nil
}

// openAgain journals Opened once more if the journal had refused it: a partition that nobody writes to must not hold the journal. mu is held.
func (l *Log) openAgain() {
	if !l.owesOpened || l.admits() != nil {
		return
	}
	l.owesOpened = false
	l.enqueue(l.openedFrames(nil), &ticket{opened: true, shapes: true, base: l.end, before: l.active})
	l.createdLSN = l.enqueued - 1
}

// flushedTo says whether the files hold everything up to an offset and a frame. io is held.
func (l *Log) flushedTo(end int64, lsn wal.LSN) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.flushed == end && (len(l.rolls) == 0 || l.rolls[0].base > end || l.rolls[0].ticket.lsn > lsn)
}

// saveTailBlock prepares the TailBlock frame that must be synced before the partial last block is written again. mu is held.
func (l *Log) saveTailBlock() {
	l.tailBlock = nil
	size := l.segs[len(l.segs)-1].Size()
	if size%blockSize == 0 || len(l.lastBlock) == 0 {
		return
	}
	base := l.segs[len(l.segs)-1].BaseOffset()
	t := TailBlock{Base: base, Pos: size - int64(len(l.lastBlock)), Bytes: l.lastBlock}
	l.tailBlock, l.tailBase = t.Marshal(), base
	if l.end == l.flushed || l.failed != nil {
		return // the next append brings it
	}
	if len(l.rolls) > 0 && l.rolls[0].base == l.flushed {
		l.tailBlock = nil // the next bytes go to a new file
		return
	}
	l.sendTailBlock()
}

// sendTailBlock journals the TailBlock frame by itself: bytes in flight will follow the block. mu is held.
func (l *Log) sendTailBlock() {
	t := &ticket{}
	l.tailLSN = l.enqueue([]wal.Frame{l.takeTailBlock(t)}, t)
}

// tailBlockReady says whether the files may be written: the TailBlock frame that comes first is synced. mu is held.
func (l *Log) tailBlockReady() bool {
	if l.tailBlock != nil && l.flushed < l.synced {
		l.sendTailBlock() // the journal had refused it
	}
	return l.tailLSN <= l.syncedLSN
}

// Checkpointed says that a checkpoint with the State of the last Checkpoint call is durable: files it no longer lists are deleted.
func (l *Log) Checkpointed() error {
	l.io.Lock()
	defer l.io.Unlock()
	l.confirmed = l.last.LSN > 0 && l.last.Held == 0
	l.mu.Lock()
	gone := slices.Clone(l.removed[:l.listed])
	l.removed = slices.Delete(l.removed, 0, l.listed)
	l.listed = 0
	l.mu.Unlock()
	if len(gone) == 0 {
		return nil
	}
	l.files.Lock()
	defer l.files.Unlock()
	var errs []error
	for _, s := range gone {
		if s.seg != nil {
			errs = append(errs, s.seg.Close())
		}
		errs = append(errs, removeSegment(l.env.FS, l.dir, s.base))
	}
	first := l.firstBase()
	errs = append(errs, l.sums.compact(func(k segment.Kind, base int64) bool { return !k.PerSegment() || base >= first }))
	return errors.Join(errs...)
}

// firstBase is the base offset of the first segment.
func (l *Log) firstBase() int64 { l.mu.Lock(); defer l.mu.Unlock(); return l.segs[0].BaseOffset() }

// unchanged is the answer of a partition that made no progress: its last State, or where its first frame begins. io is held.
func (l *Log) unchanged() (State, bool, error) {
	if l.last.LSN > 0 {
		return l.last, true, nil
	}
	return State{LSN: l.createdLSN - 1}, false, nil
}

// epochsBelow returns the epochs that begin below end. mu is held.
func (l *Log) epochsBelow(end int64) []EpochEntry {
	n := len(l.epochs)
	for n > 0 && l.epochs[n-1].Start >= end {
		n--
	}
	return slices.Clone(l.epochs[:n])
}

// dropBelow takes segments that lie wholly below the log start out of the log. io is held; the files stay until Checkpointed.
func (l *Log) dropBelow(logStart int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for n < len(l.segs)-1 && l.segs[n+1].BaseOffset() <= logStart {
		n++
	}
	if n > 0 {
		for _, s := range l.segs[:n] {
			l.removed = append(l.removed, removal{s.BaseOffset(), s})
		}
		l.segs = slices.Clone(l.segs[n:])
	}
}

// holdFrames copies the journal's frames of a stopped partition, which its files do not include, to evidence/, so that it holds the
// journal no longer. io is held. After a failed journal there is nothing to hold: the node ends, and the next one replays. What is copied
// reaches past idle: a partition may stop while the checkpoint runs, and have acknowledged more until then.
func (l *Log) holdFrames(idle wal.LSN) (State, bool, error) {
	l.mu.Lock()
	why, opened, synced := l.failed, l.isOpened, max(idle, l.syncedLSN)
	l.mu.Unlock()
	if errors.Is(why, errJournal) || !opened || l.last.Held != 0 || l.env.Hold == nil {
		return l.unchanged()
	}
	st := l.last
	if st.LSN == 0 { // no checkpoint lists it yet: its frames are all of it
		st = EmptyState(l.id, l.Config())
		st.LSN = l.createdLSN
	}
	file, upTo, err := l.env.Hold(l.id, st.LSN, synced)
	if err != nil {
		st, ok, _ := l.unchanged()
		return st, ok, fmt.Errorf("checkpoint %s: its frames could not be copied to evidence/: %w", l.name, err)
	}
	l.last = st
	l.last.Held, l.last.HeldFile, l.last.HeldReason = upTo, file, why.Error()
	return l.last, true, nil
}
