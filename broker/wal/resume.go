package wal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"chronik.dev/chronik/broker/planted"
	"chronik.dev/chronik/broker/statefile"
	"chronik.dev/chronik/broker/vfs"
)

// Resume opens the log that inv describes for appending. It ends the last segment at the cut (the bytes past it are saved by the caller before),
// moves what was accepted past the floor into a new segment with its LSNs, syncs, and records the cut. Order: the new segment with the moved
// frames; both manifest copies, which make it live; the footer at the cut; the end of the old file. A crash inside leaves what a second Inspect and
// Resume finish. ErrManifest, without a change, if the manifest cannot be used.
func Resume(o Options, inv *Inventory, cut CutNote) (*Log, error) {
	l, err := newLog(o)
	if err != nil {
		return nil, err
	}
	if err := resumable(inv, cut); err != nil {
		return nil, fmt.Errorf("resume journal %s: %w", o.Dir, err)
	}
	inv.giveUp()
	if err := l.resume(inv, cut); err != nil {
		if l.active != nil {
			err = errors.Join(err, l.active.file.close())
		}
		return nil, fmt.Errorf("resume journal %s: %w", o.Dir, err)
	}
	l.start()
	return l, nil
}

func resumable(inv *Inventory, cut CutNote) error {
	if inv.manifest == nil {
		return fmt.Errorf("%w: run chronik wal verify", ErrManifest)
	}
	if len(inv.Segments) == 0 {
		return errors.New("no segment is left: run chronik wal verify")
	}
	if file := inv.EndMissing(); file != "" && !cut.GiveUp {
		return fmt.Errorf("%s and what followed it is not there: %w; restore it, or run chronik repair plan", file, fs.ErrNotExist)
	}
	if inv.end.unreadable {
		return errors.New("the disk does not read the end of it: try again, or copy the disk")
	}
	if slices.ContainsFunc(inv.Findings, func(f Finding) bool { return f.Verdict == UnknownVersion }) {
		return errors.New("it is written in an unknown format version: use the release that wrote it, or a newer one")
	}
	if len(cut.Incident) > maxIncident {
		return fmt.Errorf("incident id of %d bytes; at most %d", len(cut.Incident), maxIncident)
	}
	return nil
}

func (l *Log) resume(inv *Inventory, note CutNote) error {
	var err error
	l.manifest, err = statefile.Load(l.o.FS, filepath.Join(l.o.Dir, manifestName), manifestKind, manifestVersion, l.o.DirID)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrManifest, err)
	}
	if err := l.manifest.Mend(); err != nil {
		return err
	}
	l.lastID, l.next, l.note = inv.maxID, inv.Highest+1, inv.note
	if planted.Is(planted.ReuseLSN) {
		l.next = inv.end.last + 1
	}
	if err := l.adopt(inv); err != nil {
		return err
	}
	if err := l.finishCuts(inv); err != nil {
		return err
	}
	pre, s := predecessor{resumed: true}, (*SegmentInfo)(nil)
	if n := len(inv.Segments); n > 0 {
		s = &inv.Segments[n-1]
		pre = predecessor{id: s.ID, generation: s.Generation, endBlock: inv.end.block, chain: inv.end.chain, last: inv.end.last,
			list: s.ranges, resumed: true}
	}
	l.lastLSN, l.syncedLSN, l.nextWritten = pre.last, pre.last, l.next
	if inv.Tail != nil && len(inv.Tail.Frames) > 0 {
		l.nextWritten = inv.Tail.Frames[0].LSN
	}
	least := uint32(headerBlocks(len(pre.list)))
	next, err := l.createGrowing(l.newID(), uint32(l.o.FirstSegmentSize/BlockSize)+least, pre)
	if vfs.NoRoom(err) && l.useReserve() {
		next, err = l.createGrowing(l.newID(), least, pre)
	}
	if err != nil {
		return err
	}
	l.activate(next)
	if err := l.moveTail(inv.Tail); err != nil {
		return err
	}
	var c *Cut
	if s != nil && !s.Sealed {
		c = &Cut{Segment: s.ID, Block: inv.end.block, First: inv.end.first, Resume: l.next, Time: l.o.Now().UnixMilli(),
			Lost: uint32(len(inv.end.lost)), Incident: note.Incident}
		l.cuts = append(l.cuts, *c)
	}
	if err := l.storeManifest(); err != nil {
		return err
	}
	if c != nil {
		if err := l.finishCut(s, c, c.Block, next.id, next.generation, inv.end.chain); err != nil {
			return err
		}
	}
	l.lastLSN = max(l.lastLSN, inv.end.last)
	l.nextWritten = l.next
	l.syncedLSN = l.next - 1
	l.synced.Store(uint64(l.syncedLSN))
	return nil
}

// adopt takes over what is on the disk: live segments, spares, cuts; it removes what a crash left behind.
func (l *Log) adopt(inv *Inventory) error {
	for _, s := range inv.Segments {
		l.live = append(l.live, liveSegment{id: s.ID, generation: s.Generation, previous: s.Previous, file: s.File, bytes: s.End,
			first: s.FirstLSN, last: s.LastLSN, full: s.Full, resumed: s.resumed, end: s.foot})
	}
	for _, c := range inv.Cuts {
		if len(l.live) > 0 && c.counts(&l.live[0]) {
			l.cuts = append(l.cuts, c)
		}
	}
	var remove []string
	for _, s := range inv.Spares {
		if s.Usable && s.Size == l.o.SegmentSize && l.o.Spares > 0 && len(l.spares) < MaxSpares {
			l.spares = append(l.spares, spare{file: s.File, generation: s.Generation, blocks: uint32(s.Size / BlockSize)})
		} else {
			remove = append(remove, s.File)
		}
	}
	if err := inv.Sync(l.o.FS); err != nil {
		return err
	}
	for i := range inv.Segments {
		// A crash between a footer and the end of its file left bytes that do not count.
		if s := &inv.Segments[i]; s.rest > 0 {
			f, err := l.o.FS.OpenFile(s.File, os.O_RDWR)
			if err != nil {
				return err
			}
			if err := errors.Join(f.Truncate(s.End), f.Sync(), f.Close()); err != nil {
				return err
			}
		}
	}
	l.reserve = inv.reserve
	return l.removeFiles(remove)
}

// Sync makes durable what Inspect read of the segments that were written after the manifest was stored: a process that was killed leaves bytes
// that only the page cache holds, and what was read of them must not be acted upon, then lost in a power failure.
func (inv *Inventory) Sync(fsys vfs.FS) error {
	if planted.Is(planted.TrustUnsynced) {
		return nil
	}
	for i := range inv.Segments {
		s := &inv.Segments[i]
		if inv.manifest.footer(s.ID) > 0 {
			continue
		}
		f, err := fsys.OpenFile(s.File, os.O_RDWR)
		if errors.Is(err, fs.ErrNotExist) {
			continue // reported as missing
		}
		if err != nil {
			return fmt.Errorf("sync journal: %w", err)
		}
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			return fmt.Errorf("sync journal: %w", err)
		}
	}
	return nil
}

// finishCuts writes the footers that a crash has kept from being written: at recorded cuts, and where the next segment had begun.
func (l *Log) finishCuts(inv *Inventory) error {
	for i := range len(inv.Segments) - 1 {
		s, next := &inv.Segments[i], &inv.Segments[i+1]
		at := s.sealAt
		if s.Cut != nil {
			at = s.Cut.Block
		}
		if s.Sealed || at == 0 {
			continue
		}
		if err := l.finishCut(s, s.Cut, at, next.ID, next.Generation, s.chain); err != nil {
			return err
		}
	}
	return nil
}

// finishCut writes a footer at a block and ends the file behind it.
func (l *Log) finishCut(info *SegmentInfo, c *Cut, at uint32, nextID, nextGeneration uint64, chain uint32) error {
	f, err := openFile(l.o.FS, info.File, 0, l.direct)
	if err != nil {
		return err
	}
	s := &segment{id: info.ID, generation: info.Generation, previous: info.Previous, file: f, pos: at, groups: uint32(info.Groups),
		first: info.FirstLSN, last: info.LastLSN}
	ranges, sum := l.ranges, l.chain
	l.ranges, l.chain = &tracker{segment: info.ranges}, chain
	err = l.seal(s, &segment{id: nextID, generation: nextGeneration}, c, 0)
	l.ranges, l.chain = ranges, sum
	if err != nil {
		return errors.Join(err, f.close())
	}
	return nil
}

// moveTail writes the accepted frames past the floor into the new segment, in runs of consecutive LSNs.
func (l *Log) moveTail(tail *Group) error {
	if tail == nil {
		return nil
	}
	frames := tail.Frames
	for len(frames) > 0 {
		n := 1
		for n < len(frames) && frames[n].LSN == frames[n-1].LSN+1 {
			n++
		}
		if err := l.writeGroup(frames[:n], tail.Head.Note, true, GroupMoved); err != nil {
			return err
		}
		frames = frames[n:]
	}
	return nil
}
