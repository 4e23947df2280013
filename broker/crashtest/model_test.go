package crashtest

import (
	"fmt"
	"maps"
	"slices"
	"sync"

	"chronik.dev/chronik/broker/partition"
)

// record is one batch as the model knows it. Its CRC stands for the content: it covers everything but base offset and leader epoch.
type record struct {
	base  int64
	count int32
	crc   uint32
	epoch int32
	pid   int64 // -1 none
	seq   int32 // of the last record
}

func (r record) end() int64 { return r.base + int64(r.count) }

// state is a partition as its history makes it. A state is never changed; apply makes another.
type state struct {
	exists     bool
	start, end int64
	batches    []record
	expired    int64 // producers whose last batch ends at or below this offset may be forgotten
}

// eventKind is what a partition can be asked.
type eventKind uint8

const (
	evCreate eventKind = iota
	evAppend
	evTruncate
	evDelete
	evDrop
)

var eventNames = [...]string{"create", "append", "truncate", "delete-records", "drop"}

// event is one thing a partition was asked to do.
type event struct {
	kind eventKind
	rec  record // of an append, but for the base offset
	to   int64  // offset of truncate and delete-records
	raw  []byte // of an append
	done bool   // an append's answer came; guarded by model.mu
}

func (e *event) String() string {
	switch e.kind {
	case evAppend:
		return fmt.Sprintf("append of %d records, CRC %08x, producer %d sequence %d", e.rec.count, e.rec.crc, e.rec.pid, e.rec.seq)
	case evTruncate, evDelete:
		return fmt.Sprintf("%s %d", eventNames[e.kind], e.to)
	}
	return eventNames[e.kind]
}

// apply returns the state after e. mine says that nobody else appends to the same batches, so they need not be copied.
func (s state) apply(e *event, mine bool) state {
	switch e.kind {
	case evCreate:
		return state{exists: true}
	case evDrop:
		return state{}
	case evAppend:
		r := e.rec
		r.base = s.end
		if !mine {
			s.batches = slices.Clip(s.batches)
		}
		s.batches = append(s.batches, r)
		s.end = r.end()
	case evTruncate:
		n := len(s.batches)
		for n > 0 && s.batches[n-1].end() > e.to {
			n--
		}
		s.batches = s.batches[:n:n]
		s.end = min(s.end, e.to)
		s.expired = min(s.expired, s.end)
	case evDelete:
		s.start = max(s.start, e.to)
	}
	return s
}

// history is everything one partition was asked, in order: what is acknowledged is settled, the rest is in flight. The journal keeps a
// partition's order, so after a crash the partition is settled plus the first n events in flight, for some n.
type history struct {
	id      partition.Identity
	settled state
	flight  []*event
	retains bool // retention runs: it may have moved the log start, and has not said yet where to

	// Of a compacted topic:
	content   map[uint32][]keyed // of each batch, by its CRC
	newest    map[byte]uint32    // the value asked for last, by key
	replaced  map[uint32]bool    // values that were not the last asked for their key
	truncated bool
}

// model is what a world was asked and what it promised. It may be used from several goroutines.
type model struct {
	mu        sync.Mutex
	moved     sync.Cond // on mu: something was acknowledged, or the world failed
	histories []*history
	acks      int
	failed    error
	stopped   error // in this life
}

func newModel() *model {
	m := &model{}
	m.moved.L = &m.mu
	return m
}

func (m *model) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failed == nil {
		m.failed = err
	}
	m.moved.Broadcast()
}

// ask notes an event before the partition hears of it.
func (m *model) ask(h *history, e *event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	h.flight = append(h.flight, e)
}

// ack settles e and what was asked before it.
func (m *model) ack(h *history, e *event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := slices.Index(h.flight, e)
	if n < 0 && m.failed == nil {
		m.failed = fmt.Errorf("%s: %s is acknowledged twice", name(h), e)
	}
	for _, e := range h.flight[:n+1] {
		h.settled = h.settled.apply(e, true)
		m.acks++
	}
	h.flight = slices.Delete(h.flight, 0, n+1)
	m.moved.Broadcast()
}

// refuse takes back an event that the partition refused.
func (m *model) refuse(h *history, e *event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	h.flight = slices.DeleteFunc(h.flight, func(x *event) bool { return x == e })
	m.moved.Broadcast()
}

// inFlight counts the appends that wait. mu is held.
func (m *model) inFlight() int {
	n := 0
	for _, h := range m.histories {
		for _, e := range h.flight {
			if e.kind == evAppend {
				n++
			}
		}
	}
	return n
}

// stop says that a partition has stopped: what it was asked and has not answered stays in flight for this life.
func (m *model) stop(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stopped = err
	m.moved.Broadcast()
}

// wait blocks until at most n appends are in flight. The error says why that cannot come any more.
func (m *model) wait(n int) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for m.failed == nil && m.inFlight() > n {
		if m.stopped != nil {
			return m.stopped
		}
		m.moved.Wait()
	}
	return m.failed
}

// settle makes what a boot found the truth.
func (m *model) settle(got map[[16]byte]*seen) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, h := range m.histories {
		_, s, err := h.explain(got[h.id.ID])
		if err != nil {
			return err
		}
		h.settled, h.flight = s, nil
	}
	return nil
}

// moment is a copy of the model at one moment: settled must be there, flight may.
type moment []history

// now copies the model and, while nobody can be asked or acknowledged anything, calls clone.
func (m *model) now(clone func()) moment {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make(moment, len(m.histories))
	for i, h := range m.histories {
		out[i] = history{id: h.id, settled: h.settled, flight: slices.Clone(h.flight), retains: h.retains, content: maps.Clone(h.content),
			replaced: maps.Clone(h.replaced), truncated: h.truncated}
		out[i].settled.batches = slices.Clip(h.settled.batches)
	}
	clone()
	return out
}

func name(h *history) string {
	return fmt.Sprintf("%s (id %x)", partition.DirName(h.id.Topic, h.id.Partition), h.id.ID[:4])
}

// seen is what a partition holds, as read back.
type seen struct {
	start, end int64
	epoch      int32
	batches    []record // from the one that holds start on
	producers  map[int64]int32
	records    map[int64]keyed // of a compacted topic, by offset
}

// frameDiffers is differs for all but the records and producers.
func (s state) frameDiffers(got *seen) string {
	switch {
	case got == nil && !s.exists:
		return ""
	case got == nil:
		return "the partition is gone"
	case !s.exists:
		return "the partition should not be there"
	case got.start != s.start || got.end != s.end:
		return fmt.Sprintf("offsets [%d, %d), want [%d, %d)", got.start, got.end, s.start, s.end)
	case len(s.batches) > 0 && got.epoch < s.batches[len(s.batches)-1].epoch:
		return fmt.Sprintf("leader epoch %d, the last batch has %d", got.epoch, s.batches[len(s.batches)-1].epoch)
	}
	return ""
}

// differs says how what was seen differs from a state; empty if it does not.
func (s state) differs(got *seen) string {
	if d := s.frameDiffers(got); d != "" || got == nil {
		return d
	}
	first := 0
	for first < len(s.batches) && s.batches[first].end() <= s.start {
		first++
	}
	want := s.batches[first:]
	for i, r := range want {
		if i >= len(got.batches) {
			return fmt.Sprintf("offset %d is lost", r.base)
		}
		if got.batches[i] != r {
			return fmt.Sprintf("batch %+v, want %+v", got.batches[i], r)
		}
	}
	if len(got.batches) > len(want) {
		return fmt.Sprintf("batch %+v was never acknowledged there", got.batches[len(want)])
	}
	last := map[int64]record{}
	for _, r := range want {
		if r.pid >= 0 {
			last[r.pid] = r
		}
	}
	for pid, r := range last {
		if known, ok := got.producers[pid]; ok && known != r.seq || !ok && r.end() > s.expired {
			return fmt.Sprintf("producer %d is at sequence %d (known %v), want %d", pid, known, ok, r.seq)
		}
	}
	return ""
}

// explain finds how many events in flight survived; an error says that no number explains what was seen.
func (h *history) explain(got *seen) (int, state, error) {
	s := h.settled
	var why []string
	for n := 0; ; n++ {
		if h.retains && got != nil && got.start > s.start && got.start <= s.end {
			s.start = got.start
		}
		d := h.differs(s, got)
		if d == "" {
			return n, s, nil
		}
		if n > 0 {
			d = fmt.Sprintf("with %s: %s", h.flight[n-1], d)
		}
		why = append(why, d)
		if n == len(h.flight) {
			return 0, s, fmt.Errorf("%s: no order of events explains it: %q", name(h), why)
		}
		s = s.apply(h.flight[n], false)
	}
}
