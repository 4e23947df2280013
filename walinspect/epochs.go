package walinspect

import (
	"fmt"
	"path/filepath"
	"sort"

	"chronik.dev/chronik/broker/batch"
	"chronik.dev/chronik/broker/segment"
	"chronik.dev/chronik/broker/vfs"
)

// epochCheck compares the leader epoch of every batch, which no CRC covers, with the list of epochs.
type epochCheck struct {
	starts  []segment.EpochStart // which leader epoch begins where; empty: not known
	ranges  []epochRange         // what the batches of each said
	written bool                 // starts come from leader-epoch-checkpoint, so it may be the file that is wrong
}

// epochRange is what the batches of one entry of the list said.
type epochRange struct {
	agree   int64
	differ  []segment.Finding // at most maxDiffer
	said    int32             // the epoch of the first batch that differs
	several bool              // they differ among themselves
}

// maxDiffer bounds what is held back of one epoch until it is clear which side is wrong.
const maxDiffer = 1000

// learnEpochs reads which leader epoch wrote which offsets: from the checkpoint, else from the directory's own file.
func (v *verifier) learnEpochs(p *place) {
	if p.state != nil {
		for _, e := range p.state.Epochs {
			p.epochs.starts = append(p.epochs.starts, segment.EpochStart{Epoch: e.Epoch, Start: e.Start})
		}
	} else if text, err := vfs.ReadFile(v.t.fs, filepath.Join(p.dir, segment.EpochFileName), maxSmallFile); err == nil {
		if starts, err := segment.DecodeEpochs(text); err == nil { // else smallFiles reports it
			p.epochs.starts, p.epochs.written = starts, true
		}
	}
	p.epochs.ranges = make([]epochRange, len(p.epochs.starts))
}

// checkEpoch compares one good batch.
func (v *verifier) checkEpoch(p *place, base, pos int64, h *batch.Header) {
	starts := p.epochs.starts
	i := sort.Search(len(starts), func(i int) bool { return starts[i].Start > h.BaseOffset }) - 1
	if i < 0 {
		return
	}
	r := &p.epochs.ranges[i]
	if starts[i].Epoch == h.LeaderEpoch {
		r.agree++
		return
	}
	if len(r.differ) == 0 {
		r.said = h.LeaderEpoch
	}
	r.several = r.several || r.said != h.LeaderEpoch
	if len(r.differ) == maxDiffer {
		return
	}
	r.differ = append(r.differ, segment.Finding{
		File: segment.Log.Name(base), Offset: pos, Length: int64(h.Size()), Record: "batch", Reason: segment.BadOffset,
		Detail: fmt.Sprintf("leader epoch %d, but epoch %d wrote offset %d (the CRC does not cover this field)", h.LeaderEpoch, starts[i].Epoch, h.BaseOffset),
		First:  h.BaseOffset, Last: h.LastOffset(),
	})
}

// endEpochs reports what differs. Where several batches agree with each other and none with the file, the file is wrong.
func (v *verifier) endEpochs(p *place) {
	for i, r := range p.epochs.ranges {
		if p.epochs.written && r.agree == 0 && !r.several && len(r.differ) > 1 {
			v.partitionFinding(p, segment.Finding{File: segment.EpochFileName, Record: "file", Reason: segment.BadOffset, First: 0, Last: -1,
				Detail: fmt.Sprintf("it says epoch %d from offset %d on, but %d batches there say epoch %d", p.epochs.starts[i].Epoch, p.epochs.starts[i].Start, len(r.differ), r.said)})
			continue
		}
		for _, f := range r.differ {
			v.partitionFinding(p, f)
		}
	}
}
