// Package live is the data layer of `chronik top`: what a node said, when, and what can be told from it.
//
// The idea: a Source answers a Want with one Snapshot, whatever goes wrong; a History adds snapshots up to what a screen shows: the newest
// answer, how old it is, ten minutes of samples with their gaps, and the difference to the answer before. A recorded session is a Source too,
// so it drives tests and demos.
//
// The guarantee: numbers are the node's own, those that /metrics publishes; a rate is a difference of two of them over the time between. Nothing
// is carried over a gap or a restart. This package does not know a terminal.
//
// The API: Source, HTTP, Recording; Snapshot; History.Add and what it answers.
package live

import (
	"context"
	"time"

	"chronik.dev/chronik/broker/admin"
	"chronik.dev/chronik/broker/recovery"
)

// Source answers what a screen wants to know, also several questions at once. It always answers; a Snapshot without an answer says why in Err.
type Source interface {
	Poll(ctx context.Context, w Want) *Snapshot
}

// Query is a part of a list: filtered, sorted and cut at the node.
type Query struct {
	Filter string
	Sort   string // a column, with - in front descending
	Offset int
	Limit  int
}

// Want says what to ask beyond the overview and the samples. A nil query is not asked.
type Want struct {
	After      int64 // samples newer than this, ms since 1970
	Topics     *Query
	Partitions *Query
	Topic      string // whose partitions; empty: of all topics
	Groups     *Query
	Group      string // one group whole
	Events     *Query
	Recovery   bool // report and incident ledger
}

// Snapshot is one round of answers.
type Snapshot struct {
	At         time.Time                    `json:"at"` // when the round ended, on this machine's clock
	Address    string                       `json:"address"`
	Err        string                       `json:"error,omitempty"`  // why there is no answer; nothing but At and Address is set then
	Failed     string                       `json:"failed,omitempty"` // why a list is missing although the node answered
	Overview   *admin.Overview              `json:"overview,omitempty"`
	Samples    []admin.Sample               `json:"samples,omitempty"`
	Topics     *admin.Page[admin.Topic]     `json:"topics,omitempty"`
	Partitions *admin.Page[admin.Partition] `json:"partitions,omitempty"`
	Topic      string                       `json:"topic,omitempty"` // whose partitions they are
	Groups     *admin.Page[admin.GroupRow]  `json:"groups,omitempty"`
	Group      *admin.Group                 `json:"group,omitempty"`
	Events     *admin.Page[admin.Event]     `json:"events,omitempty"`
	Report     *recovery.Report             `json:"report,omitempty"`
	Ledger     *admin.Ledger                `json:"ledger,omitempty"`
}

// Started is when the process behind the snapshot started, ms since 1970; 0 if it does not say.
func (s *Snapshot) Started() int64 {
	if s == nil || s.Overview == nil || s.Overview.Node == nil {
		return 0
	}
	return s.Overview.Node.StartedAt
}

// History is what a session knows. The zero value knows nothing.
type History struct {
	Last    *Snapshot // the newest answer; nil before the first
	Before  *Snapshot // the answer before, of the same process; nil if there is none
	Err     string    // why the newest round has no answer; empty if it has
	Now     time.Time // end of the newest round
	samples []admin.Sample
}

// Add takes in a round.
func (h *History) Add(s *Snapshot) {
	h.Now, h.Err = s.At, s.Err
	if s.Err != "" {
		return
	}
	h.Before = nil
	if h.Last != nil && h.Last.Started() == s.Started() && s.Started() != 0 {
		h.Before = h.Last
	}
	h.Last = s.with(h.Last)
	for _, p := range s.Samples {
		if n := len(h.samples); n == 0 || p.Time > h.samples[n-1].Time {
			h.samples = append(h.samples, p)
		}
	}
	if extra := len(h.samples) - admin.SampleCount; extra > 0 {
		h.samples = append(h.samples[:0], h.samples[extra:]...)
	}
}

// with keeps what an earlier answer said where this one was not asked: the reader goes from screen to screen and sees no holes.
func (s *Snapshot) with(earlier *Snapshot) *Snapshot {
	if earlier == nil || earlier.Started() != s.Started() {
		return s
	}
	c := *s
	keep(&c.Topics, earlier.Topics)
	if c.Partitions == nil {
		c.Partitions, c.Topic = earlier.Partitions, earlier.Topic
	}
	keep(&c.Groups, earlier.Groups)
	keep(&c.Group, earlier.Group)
	keep(&c.Events, earlier.Events)
	keep(&c.Report, earlier.Report)
	keep(&c.Ledger, earlier.Ledger)
	return &c
}

func keep[T any](p **T, earlier *T) {
	if *p == nil {
		*p = earlier
	}
}

// Age is how old the newest answer is; ok is false before the first.
func (h *History) Age() (age time.Duration, ok bool) {
	if h.Last == nil {
		return 0, false
	}
	return max(0, h.Now.Sub(h.Last.At)), true
}

// Down says whether the newest round had no answer.
func (h *History) Down() bool { return h.Err != "" }

// After is the time of the newest sample, for Want.
func (h *History) After() int64 {
	if n := len(h.samples); n > 0 {
		return h.samples[n-1].Time
	}
	return 0
}

// Newest returns the newest two samples if they are of now and of one process, else ok is false.
func (h *History) Newest() (before, last admin.Sample, ok bool) {
	n := len(h.samples)
	if n < 2 || h.Last == nil || h.Last.Overview == nil {
		return before, last, false
	}
	before, last = h.samples[n-2], h.samples[n-1]
	return before, last, continuous(&before, &last) && h.Last.Overview.Time-last.Time < 3*admin.SampleEvery.Milliseconds()
}

// continuous says that no sample is missing between two, and no restart.
func continuous(a, b *admin.Sample) bool {
	gap := b.Time - a.Time
	return gap > 0 && gap < 5*admin.SampleEvery.Milliseconds()/2 && b.Traffic.ProducedBytes >= a.Traffic.ProducedBytes &&
		b.Traffic.FetchedBytes >= a.Traffic.FetchedBytes && b.Requests >= a.Requests && b.Journal >= a.Journal
}
