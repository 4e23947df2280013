package partition

import (
	"fmt"
	"math"
	"slices"

	"chronik.dev/chronik/broker/batch"
	"chronik.dev/chronik/broker/planted"
)

// window is how many batches of a producer are remembered (KIP-98: at most five are in flight).
const window = 5

// ProducerInfo describes one active idempotent producer (DescribeProducers).
type ProducerInfo struct {
	ID           int64
	Epoch        int16
	LastSequence int32
	LastTime     int64 // wall clock of the last append, ms
}

// producers is what a log remembers of its idempotent producers.
//
// Invariant: of each producer, the entries are in offset order, and beside the newest five there are always the newest five that end
// below the synced end, so that a State taken at the synced end is exact although newer batches are in flight. Entries of older epochs
// stay in the list until they fall out; only those of the newest epoch count.
type producers struct {
	byID map[int64][]BatchEntry
}

// sequence is where a producer stands.
type sequence struct {
	known bool
	epoch int16
	last  int32
}

func newProducers(states []ProducerState) producers {
	p := producers{byID: make(map[int64][]BatchEntry, len(states))}
	for _, s := range states {
		if len(s.Batches) > 0 && !planted.Is(planted.ForgetProducers) {
			p.byID[s.ID] = slices.Clone(s.Batches)
		}
	}
	return p
}

// now returns where the producer stands.
func (p *producers) now(id int64) sequence {
	entries := p.byID[id]
	if len(entries) == 0 {
		return sequence{}
	}
	e := entries[len(entries)-1]
	return sequence{known: true, epoch: e.Epoch, last: e.LastSequence}
}

// duplicate finds the remembered batch that h repeats.
func (p *producers) duplicate(h *batch.Header) (BatchEntry, bool) {
	entries := p.byID[h.ProducerID]
	for i := len(entries) - 1; i >= 0 && i >= len(entries)-window; i-- {
		e := entries[i]
		if e.Epoch != h.ProducerEpoch {
			break
		}
		if e.FirstSequence == h.BaseSequence && e.LastSequence == h.LastSequence() {
			return e, true
		}
	}
	return BatchEntry{}, false
}

// check applies Kafka's rules (ProducerAppendInfo): an older epoch is fenced, a new epoch starts at 0, a known producer goes on where it
// was, an unknown one (expired, or its records deleted) may start anywhere.
func (s sequence) check(h *batch.Header) error {
	switch {
	case !s.known:
		return nil
	case h.ProducerEpoch < s.epoch:
		return fmt.Errorf("producer %d has epoch %d, the newest is %d: %w", h.ProducerID, h.ProducerEpoch, s.epoch, ErrInvalidProducerEpoch)
	case h.ProducerEpoch > s.epoch:
		if h.BaseSequence != 0 {
			return fmt.Errorf("producer %d begins epoch %d with sequence %d: %w", h.ProducerID, h.ProducerEpoch, h.BaseSequence, ErrOutOfOrderSequence)
		}
	case h.BaseSequence != (s.last+1)&math.MaxInt32:
		return fmt.Errorf("producer %d epoch %d sent sequence %d after %d: %w", h.ProducerID, h.ProducerEpoch, h.BaseSequence, s.last, ErrOutOfOrderSequence)
	}
	return nil
}

// add remembers a batch appended at base; synced is the synced end, below which five entries stay.
func (p *producers) add(h *batch.Header, base, now, synced int64) {
	if h.ProducerID < 0 {
		return
	}
	e := BatchEntry{
		Epoch: h.ProducerEpoch, FirstSequence: h.BaseSequence, LastSequence: h.LastSequence(),
		FirstOffset: base, LastOffset: base + int64(h.LastOffsetDelta), Time: now,
	}
	entries := append(p.byID[h.ProducerID], e)
	below := len(entries)
	for below > 0 && entries[below-1].LastOffset >= synced {
		below--
	}
	if drop := min(below, len(entries)) - window; drop > 0 {
		entries = slices.Delete(entries, 0, drop)
	}
	p.byID[h.ProducerID] = entries
}

// expire forgets producers whose last batch is older than limit milliseconds and synced.
func (p *producers) expire(now, limit, synced int64) {
	for id, entries := range p.byID {
		e := entries[len(entries)-1]
		if now-e.Time >= limit && e.LastOffset < synced {
			delete(p.byID, id)
		}
	}
}

// truncate forgets batches at or above end.
func (p *producers) truncate(end int64) {
	for id, entries := range p.byID {
		for len(entries) > 0 && entries[len(entries)-1].LastOffset >= end {
			entries = entries[:len(entries)-1]
		}
		if len(entries) == 0 {
			delete(p.byID, id)
		} else {
			p.byID[id] = entries
		}
	}
}

// state returns what a log that ends at end remembers: of each producer the last five batches below it, in the order of ids.
func (p *producers) state(end int64) []ProducerState {
	out := make([]ProducerState, 0, len(p.byID))
	for id, entries := range p.byID {
		n := len(entries)
		for n > 0 && entries[n-1].LastOffset >= end {
			n--
		}
		if n > 0 {
			out = append(out, ProducerState{ID: id, Batches: slices.Clone(entries[max(0, n-window):n])})
		}
	}
	slices.SortFunc(out, func(a, b ProducerState) int {
		switch {
		case a.ID < b.ID:
			return -1
		case a.ID > b.ID:
			return 1
		}
		return 0
	})
	return out
}
