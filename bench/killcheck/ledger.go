package main

import (
	"fmt"
	"sort"
	"sync"
)

// place is where a broker said, or showed, that a record is.
type place struct {
	topic     string
	partition int32
	offset    int64
}

// ledger remembers every value that a producer tried to send and what the broker answered. Values are unique, so a value names a record.
type ledger struct {
	mu        sync.Mutex
	attempted map[string]string // value -> producer kind
	acked     map[string]place
}

func newLedger() *ledger {
	return &ledger{attempted: map[string]string{}, acked: map[string]place{}}
}

func (l *ledger) attempt(value, kind string) {
	l.mu.Lock()
	l.attempted[value] = kind
	l.mu.Unlock()
}

func (l *ledger) ack(value string, p place) {
	l.mu.Lock()
	l.acked[value] = p
	l.mu.Unlock()
}

func (l *ledger) ackedCount() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.acked)
}

// verdict counts what a complete read of the topics shows against the ledger.
type verdict struct {
	Acked      int      `json:"acked"`
	Read       int      `json:"read"`
	Lost       int      `json:"lost"`
	Moved      int      `json:"moved"`
	Invented   int      `json:"invented"`
	Duplicated int      `json:"duplicated_idempotent"`
	PlainDup   int      `json:"duplicated_plain"`
	Reordered  int      `json:"reordered"`
	Examples   []string `json:"examples,omitempty"`
}

func (v *verdict) bad() bool {
	return v.Lost+v.Moved+v.Invented+v.Duplicated+v.Reordered > 0
}

func (v *verdict) example(format string, args ...any) {
	if len(v.Examples) < 8 {
		text := fmt.Sprintf(format, args...)
		v.Examples = append(v.Examples, text[:min(len(text), 200)])
	}
}

// check compares everything that was read with the ledger. A record acknowledged after the read began may be missing from
// it, so the caller stops the producers first.
func (l *ledger) check(read map[place]string) *verdict {
	l.mu.Lock()
	defer l.mu.Unlock()
	v := &verdict{Acked: len(l.acked), Read: len(read)}
	where := make(map[string][]place, len(read))
	for p, value := range read {
		where[value] = append(where[value], p)
	}
	for value, p := range l.acked {
		places := where[value]
		if len(places) == 0 {
			v.Lost++
			v.example("lost: %.40q acknowledged at %v", value, p)
			continue
		}
		if read[p] != value {
			v.Moved++
			v.example("moved: %.40q acknowledged at %v, found at %v", value, p, places)
		}
	}
	for value, places := range where {
		kind, sent := l.attempted[value]
		switch {
		case !sent:
			v.Invented++
			v.example("invented: %.40q at %v", value, places)
		case len(places) > 1 && kind == "plain":
			v.PlainDup++
		case len(places) > 1:
			v.Duplicated++
			v.example("duplicated: %.40q at %v", value, places)
		}
	}
	l.checkOrder(read, v)
	return v
}

// checkOrder: the values of one idempotent producer on one partition appear in the order in which it sent them.
func (l *ledger) checkOrder(read map[place]string, v *verdict) {
	type stream struct {
		producer  string
		topic     string
		partition int32
	}
	seen := map[stream][]place{}
	for p, value := range read {
		if kind := l.attempted[value]; kind != "" && kind != "plain" {
			s := stream{kind, p.topic, p.partition}
			seen[s] = append(seen[s], p)
		}
	}
	for s, places := range seen {
		sort.Slice(places, func(i, j int) bool { return places[i].offset < places[j].offset })
		last := -1
		for _, p := range places {
			n := sequenceOf(read[p])
			if n < last {
				v.Reordered++
				v.example("reordered: producer %s, %s-%d: %d after %d at offset %d", s.producer, p.topic, p.partition, n, last, p.offset)
			}
			last = n
		}
	}
}

// copyAcked returns a ledger of what is acknowledged now.
func (l *ledger) copyAcked() *ledger {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := newLedger()
	for v, p := range l.acked {
		c.acked[v] = p
	}
	return c
}

// takeAttempts adds everything that producers tried to send until now.
func (l *ledger) takeAttempts(from *ledger) {
	if l == from {
		return
	}
	from.mu.Lock()
	defer from.mu.Unlock()
	for v, kind := range from.attempted {
		l.attempted[v] = kind
	}
}
