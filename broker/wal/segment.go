package wal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"chronik.dev/chronik/broker/planted"
	"chronik.dev/chronik/broker/vfs"
)

// segment is the one that the committer writes. Only the committer touches it once the log runs.
type segment struct {
	id         uint64
	generation uint64
	previous   uint64 // generation of the file's use before; 0: a growing file
	file       *diskFile
	blocks     uint32 // of the file, all prewritten
	pos        uint32 // next block
	growing    bool
	groups     uint32
	first      LSN
	last       LSN // of the last frame in it; first-1: none
	resumed    bool
}

// predecessor is what a segment's header says of the one before.
type predecessor struct {
	id, generation uint64
	endBlock       uint32
	chain          uint32
	last           LSN
	list           []Range
	resumed        bool
}

// head starts a group's head at the segment's next block.
func (s *segment) head(l *Log) Head {
	return Head{Log: l.o.Kind, Generation: s.generation, Segment: s.id, Start: s.pos, Synced: l.syncedLSN, FirstLSN: l.nextWritten,
		Chain: l.chain, Time: l.o.Now().UnixMilli(), Note: l.note}
}

// writeHeader begins the segment on its file. room is the blocks that must follow the header before the first extension.
func (s *segment) writeHeader(l *Log, pre predecessor) error {
	body := headerBody{dirID: l.o.DirID, predecessor: pre.generation, endBlock: pre.endBlock, resumed: pre.resumed, list: pre.list}
	h := s.head(l)
	h.Kind, h.Chain, h.Synced = HeaderGroup, pre.chain, pre.last
	h.Note = Note{notePrevious: s.previous, notePredecessor: pre.id, noteLastLSN: uint64(pre.last)}
	if !s.growing {
		h.Note[noteBlocks] = uint64(s.blocks)
	}
	s.resumed = pre.resumed
	if s.growing {
		l.enc.blocks(int(s.blocks)) // room for the zeros too
	}
	group := l.enc.plain(&h, nil, body.encode(), 0)
	n := uint32(len(group) / BlockSize)
	if s.growing { // header and zeros in one write; the header is at the start of the same memory
		buf := l.enc.blocks(int(s.blocks))
		clear(buf[n*BlockSize:])
		group = buf
	}
	if err := s.file.put(group, 0); err != nil {
		return err
	}
	l.chain = groupSum(group[:n*BlockSize])
	s.pos, s.groups, s.first, s.last = n, 0, h.FirstLSN, h.FirstLSN-1
	return nil
}

// createGrowing makes a new file of blocks zeros and begins a segment on it, durable with its name.
func (l *Log) createGrowing(id uint64, blocks uint32, pre predecessor) (*segment, error) {
	name := filepath.Join(l.o.Dir, segmentName(id))
	s := &segment{id: id, generation: l.generation(), blocks: blocks, growing: true}
	for {
		f, err := openFile(l.o.FS, name, os.O_CREATE|os.O_EXCL, l.direct)
		if err != nil {
			return nil, fmt.Errorf("create segment %s: %w", name, err)
		}
		s.file = f
		err = s.writeHeader(l, pre)
		if err == nil && !planted.Is(planted.SkipDirSync) {
			err = l.o.FS.SyncDir(l.o.Dir)
		}
		if err == nil {
			return s, nil
		}
		err = errors.Join(fmt.Errorf("create segment %s: %w", name, err), f.close())
		if undo := l.unmake(name); undo != nil { // not ErrNoSpace, whatever err is: the log must not go on
			return nil, fmt.Errorf("%v; remove it again: %w", err, undo)
		}
		if !f.direct || !errors.Is(err, vfs.ErrDirect) {
			return nil, err
		}
		l.direct = false
	}
}

// unmake removes a segment that could not be made, durably: the log goes on in the segment before it, and a header that came back after a power
// loss would contradict what is written there.
func (l *Log) unmake(name string) error {
	f, err := l.o.FS.OpenFile(name, os.O_RDWR)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Truncate(0), f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := l.o.FS.Remove(name); err != nil {
		return err
	}
	return l.o.FS.SyncDir(l.o.Dir)
}

// generation draws a generation that is not 0.
func (l *Log) generation() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		if g := l.o.Rand(); g != 0 {
			return g
		}
	}
}

// extend adds zeros to a growing file.
func (l *Log) extend(s *segment, blocks uint32) error {
	buf := vfs.Aligned(fillChunk)
	for s.blocks < blocks {
		n := min(blocks-s.blocks, fillChunk/BlockSize)
		if err := s.file.put(buf[:n*BlockSize], s.blocks); err != nil {
			return fmt.Errorf("extend segment %s: %w", s.file.name, err)
		}
		s.blocks += n
	}
	return nil
}

// makeRoom makes sure that the active segment takes a group of blocks with frames frames, a marker, and then its footer. ErrNoSpace if it cannot and
// nothing was written that matters.
func (l *Log) makeRoom(blocks, frames int) error {
	s := l.active
	list := len(l.ranges.segment) + frames
	need := uint32(blocks + 1 + footerBlocks(list, frames))
	if s.pos+need <= s.blocks {
		return nil
	}
	small, full := uint32(l.o.FirstSegmentSize/BlockSize), uint32(l.o.SegmentSize/BlockSize)
	limit := full
	if l.spareReady() {
		limit = small
	}
	if s.growing && (s.pos+need <= limit || s.groups == 0) {
		target := max(s.pos+need, min(s.blocks+small, limit))
		err := l.extend(s, target)
		if vfs.NoRoom(err) {
			l.useReserve()
			// Less than was asked for may fit, once what was written of it is given back.
			if err = s.file.truncate(s.blocks); err == nil {
				err = l.extend(s, s.pos+need)
			}
		}
		if vfs.NoRoom(err) {
			return fmt.Errorf("%w: %w", ErrNoSpace, err)
		}
		return err
	}
	return l.roll(uint32(blocks + 1 + footerBlocks(frames, frames)))
}

// roll begins the next segment, then ends the active one: both are durable before the first group of the next.
func (l *Log) roll(room uint32) error {
	old := l.active
	pre := predecessor{id: old.id, generation: old.generation, endBlock: old.pos, chain: l.chain, last: l.lastLSN, list: l.ranges.segment}
	chain := l.chain
	next, err := l.nextSegment(room, pre)
	if err != nil {
		if vfs.NoRoom(err) {
			err = fmt.Errorf("%w: %w", ErrNoSpace, err)
		}
		l.chain = chain
		return err
	}
	nextChain := l.chain
	l.chain = chain
	if err := l.seal(old, next, nil, int(old.blocks-old.pos)); err != nil {
		return err
	}
	l.chain = nextChain
	l.activate(next)
	l.ranges.beginSegment()
	l.stats.rolls.Add(1)
	l.kick()
	return nil
}

// nextSegment takes the ready spare if it is large enough, or makes a growing file.
func (l *Log) nextSegment(room uint32, pre predecessor) (*segment, error) {
	room += uint32(headerBlocks(len(pre.list)))
	if s := l.takeSpare(room); s != nil {
		s.generation = l.generation()
		if err := s.writeHeader(l, pre); err != nil {
			return nil, fmt.Errorf("begin segment %s: %w", s.file.name, err)
		}
		return s, nil
	}
	blocks := max(uint32(l.o.FirstSegmentSize/BlockSize), room)
	s, err := l.createGrowing(l.newID(), blocks, pre)
	if vfs.NoRoom(err) && l.useReserve() {
		s, err = l.createGrowing(l.newID(), room, pre)
	}
	return s, err
}

// seal writes the footer over blocks blocks, or over as few as it needs if that is 0, and ends the file there. next and cut may be nil.
func (l *Log) seal(s, next *segment, cut *Cut, blocks int) error {
	if err := s.file.settle(); err != nil {
		return fmt.Errorf("seal segment %s: %w", s.file.name, err)
	}
	body := footerBody{endBlock: s.pos, groups: s.groups, cut: cut, list: l.ranges.segment}
	h := s.head(l)
	h.Kind, h.Note, h.FirstLSN = FooterGroup, Note{}, s.last+1
	if next != nil {
		h.Note[noteSuccessor], h.Note[noteSuccessorGeneration] = next.id, next.generation
	}
	group := l.enc.plain(&h, l.ranges.group, body.encode(), blocks)
	if err := s.file.put(group, s.pos); err != nil {
		return fmt.Errorf("seal segment %s: %w", s.file.name, err)
	}
	s.pos += h.Blocks
	if blocks == 0 {
		if err := s.file.truncate(s.pos); err != nil {
			return fmt.Errorf("seal segment %s: %w", s.file.name, err)
		}
		s.blocks = 0
	}
	l.sealed(s, h.Start)
	if err := s.file.close(); err != nil {
		return fmt.Errorf("seal segment %s: %w", s.file.name, err)
	}
	return nil
}
