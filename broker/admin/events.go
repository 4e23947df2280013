package admin

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
)

// Event is something that the node logged, from level Info on.
type Event struct {
	Seq     uint64 `json:"seq"`  // counts from 1 since the start of the process
	Time    int64  `json:"time"` // ms since 1970
	Level   string `json:"level"`
	Message string `json:"message"`
	Detail  string `json:"detail,omitempty"` // attributes, key=value
}

// keptEvents bounds the events in memory.
const keptEvents = 512

// Events is a log handler that passes every record on and keeps the newest in memory, for /admin/v1/events. Use NewEvents.
type Events struct {
	next   slog.Handler
	ring   *eventRing
	prefix string // of keys, from groups
	detail string // from WithAttrs
}

type eventRing struct {
	mu   sync.Mutex
	list []Event
	last uint64
}

// NewEvents returns a handler in front of next.
func NewEvents(next slog.Handler) *Events { return &Events{next: next, ring: &eventRing{}} }

// Enabled implements slog.Handler.
func (e *Events) Enabled(ctx context.Context, l slog.Level) bool { return e.next.Enabled(ctx, l) }

// WithAttrs implements slog.Handler.
func (e *Events) WithAttrs(attrs []slog.Attr) slog.Handler {
	c := *e
	c.next = e.next.WithAttrs(attrs)
	for _, a := range attrs {
		c.detail += " " + e.render(a)
	}
	return &c
}

// WithGroup implements slog.Handler.
func (e *Events) WithGroup(name string) slog.Handler {
	c := *e
	c.next = e.next.WithGroup(name)
	c.prefix += name + "."
	return &c
}

// Handle implements slog.Handler.
func (e *Events) Handle(ctx context.Context, r slog.Record) error {
	if r.Level >= slog.LevelInfo {
		detail := e.detail
		r.Attrs(func(a slog.Attr) bool {
			detail += " " + e.render(a)
			return true
		})
		e.ring.add(Event{Time: r.Time.UnixMilli(), Level: r.Level.String(), Message: r.Message, Detail: strings.TrimSpace(detail)})
	}
	return e.next.Handle(ctx, r)
}

func (e *Events) render(a slog.Attr) string {
	const longest = 500 // bytes of a value
	value := a.Value.Resolve().String()
	if len(value) > longest {
		value = value[:longest] + "…"
	}
	if strings.ContainsAny(value, " \"=\n\t") {
		value = fmt.Sprintf("%q", value)
	}
	return e.prefix + a.Key + "=" + strings.ToValidUTF8(value, "?")
}

func (r *eventRing) add(e Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last++
	e.Seq = r.last
	if len(r.list) == keptEvents {
		r.list = append(r.list[:0], r.list[1:]...)
	}
	r.list = append(r.list, e)
}

// Recent returns the events that are kept, the newest first.
func (e *Events) Recent() []Event {
	e.ring.mu.Lock()
	defer e.ring.mu.Unlock()
	out := make([]Event, 0, len(e.ring.list))
	for i := len(e.ring.list) - 1; i >= 0; i-- {
		out = append(out, e.ring.list[i])
	}
	return out
}
