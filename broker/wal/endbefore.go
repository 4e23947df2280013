package wal

import (
	"errors"
	"fmt"
	"slices"
)

// errReached ends an inspection where the log is to end.
var errReached = errors.New("the log ends here")

// EndBefore describes the log of inv as it will be when it ends before an LSN: Resume with what it returns cuts there, keeps the frames before lsn
// of the group that holds it, and goes on above every LSN that inv saw. gone are the files of segments that begin behind the cut; the caller removes
// them after Resume. Nothing is changed. With an lsn behind the last one it is inv itself: its torn or undecided end is what Resume cuts.
func EndBefore(o InspectOptions, inv *Inventory, lsn LSN) (cut *Inventory, gone []string, err error) {
	if lsn == 0 {
		return nil, nil, fmt.Errorf("end journal %s before LSN 0: the first is 1", o.Dir)
	}
	in := &inspector{o: o, inv: &Inventory{Kind: o.Kind, Floor: o.MinSynced}, seen: newTracker(), ending: lsn}
	list, err := in.survey()
	if err != nil {
		return nil, nil, fmt.Errorf("inspect journal %s: %w", o.Dir, err)
	}
	in.inv.Segments = make([]SegmentInfo, 0, len(list))
	reached := false
	for i := range list {
		err := in.segment(list, i)
		if errors.Is(err, errReached) {
			reached = true
			break
		}
		if err != nil {
			return nil, nil, err
		}
	}
	if !reached {
		return inv, nil, nil
	}
	cut = in.inv
	last := &cut.Segments[len(cut.Segments)-1]
	last.Sealed, last.Full, last.rest, last.Cut = false, false, 0, nil
	for _, c := range list[len(cut.Segments):] {
		if !c.missing {
			gone = append(gone, c.name)
		}
	}
	cut.Cuts = slices.DeleteFunc(slices.Clone(cut.Cuts), func(c Cut) bool { return c.Segment >= last.ID })
	cut.Findings, cut.Spares = nil, inv.Spares
	cut.Highest, cut.maxID, cut.reserve = inv.Highest, inv.maxID, inv.reserve
	cut.Last = min(in.last, lsn-1)
	return cut, gone, nil
}

// reached ends the log before or inside an item. What is held before it is part of the log, unless it is damage that holds the LSN.
func (in *inspector) reached(it *item) error {
	first := it.head.FirstLSN
	damage := len(in.held) > 0 && !in.held[0].data()
	if damage && first > in.ending && (in.held[0].current || in.held[0].hasHead) {
		in.realEnd = in.heldFrom
	} else if err := in.release(it); err != nil {
		return err
	}
	in.held = nil
	in.end()
	end := &in.inv.end
	end.last, end.first = min(end.last, in.ending-1), in.ending
	in.info.End, in.info.LastLSN = int64(end.block)*BlockSize, min(in.info.LastLSN, end.last)
	if first < in.ending && it.data() {
		kept, _ := keep(it, first)
		kept = slices.DeleteFunc(kept, func(f Frame) bool { return f.LSN >= in.ending })
		if len(kept) > 0 {
			in.inv.Tail = tailOf(it, kept)
			in.last = kept[len(kept)-1].LSN
		}
	}
	return errReached
}
