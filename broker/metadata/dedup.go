package metadata

import (
	"cmp"
	"slices"

	"chronik.dev/chronik/broker/metapb"
)

// Limits of the table of answers.
const (
	window       = 32  // answers kept per proposer
	maxProposers = 256 // proposers; the one that was quiet longest goes first
)

// table remembers the newest answers per proposer, so that a retried command is answered again and not applied again.
type table struct {
	proposers map[[16]byte]*proposer
}

// proposer is what is kept of one process. Outcomes are sorted by sequence.
type proposer struct {
	outcomes []*metapb.Outcome
	floor    uint64 // highest sequence whose outcome was given up
	last     uint64 // highest Raft index of its outcomes
}

// find returns the remembered outcome of a command, or whether it is too old to be remembered.
func (t *table) find(id [16]byte, sequence uint64) (known *metapb.Outcome, stale bool) {
	p := t.proposers[id]
	if p == nil {
		return nil, false
	}
	if i, ok := p.search(sequence); ok {
		return p.outcomes[i], false
	}
	return nil, sequence <= p.floor
}

func (p *proposer) search(sequence uint64) (int, bool) {
	return slices.BinarySearchFunc(p.outcomes, sequence, func(o *metapb.Outcome, s uint64) int { return cmp.Compare(o.Sequence, s) })
}

// remember adds the outcome of a command that find did not know.
func (t *table) remember(id [16]byte, o *metapb.Outcome) {
	if t.proposers == nil {
		t.proposers = map[[16]byte]*proposer{}
	}
	p := t.proposers[id]
	if p == nil {
		p = &proposer{}
		t.proposers[id] = p
	}
	i, _ := p.search(o.Sequence)
	p.outcomes = slices.Insert(p.outcomes, i, o)
	if len(p.outcomes) > window {
		p.floor = max(p.floor, p.outcomes[0].Sequence)
		p.outcomes = slices.Delete(p.outcomes, 0, 1)
	}
	p.last = newest(p.outcomes)
	if len(t.proposers) > maxProposers {
		delete(t.proposers, t.sorted()[0])
	}
}

// newest returns the highest index of outcomes.
func newest(list []*metapb.Outcome) uint64 {
	var last uint64
	for _, o := range list {
		last = max(last, o.Index)
	}
	return last
}

// sorted returns the proposers, the one that was quiet longest first. Each has its own last index: one entry, one proposer.
func (t *table) sorted() [][16]byte {
	ids := make([][16]byte, 0, len(t.proposers))
	for id := range t.proposers {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b [16]byte) int {
		return cmp.Or(cmp.Compare(t.proposers[a].last, t.proposers[b].last), slices.Compare(a[:], b[:]))
	})
	return ids
}

// outcome is a Result in the form that is remembered.
func outcome(sequence uint64, r Result) *metapb.Outcome {
	o := &metapb.Outcome{Sequence: sequence, Index: r.Index, BrokerEpoch: r.BrokerEpoch, FirstProducerId: r.FirstProducerID}
	if e, ok := r.Err.(*Error); ok {
		o.Verdict, o.Message = e.Verdict, e.Message
	}
	if r.Topic != nil {
		o.TopicId = r.Topic.ID[:]
	}
	return o
}

// repeat answers a command again from its remembered outcome.
func (s *State) repeat(now *Image, o *metapb.Outcome) Result {
	r := Result{Index: o.Index, Duplicate: true, BrokerEpoch: o.BrokerEpoch, FirstProducerID: o.FirstProducerId}
	if o.Verdict != metapb.Verdict_OK {
		r.Err = &Error{Verdict: o.Verdict, Message: o.Message}
	}
	if id, ok := id16(o.TopicId); ok {
		r.Topic = now.TopicsByID[id]
	}
	return r
}
