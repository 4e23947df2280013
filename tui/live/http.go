package live

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"chronik.dev/chronik/broker/admin"
	"chronik.dev/chronik/broker/recovery"
)

const (
	nodeTimeout = time.Second // of one round with a node
	maxAnswer   = 64 << 20    // bytes of one answer
)

// HTTP asks a node's admin endpoint.
type HTTP struct {
	address string
	client  *http.Client
}

// NewHTTP returns a source that asks the admin endpoint at HOST:PORT.
func NewHTTP(address string) *HTTP {
	transport := &http.Transport{DialContext: (&net.Dialer{Timeout: nodeTimeout}).DialContext, MaxIdleConnsPerHost: 8, IdleConnTimeout: time.Minute}
	return &HTTP{address: address, client: &http.Client{Transport: transport}}
}

// errNotYet is an endpoint that has no answer while the node recovers.
var errNotYet = errors.New("not while the node starts")

// Poll asks everything at once and waits a second at most. What a recovering node cannot say yet is left out.
func (h *HTTP) Poll(ctx context.Context, w Want) *Snapshot {
	ctx, cancel := context.WithTimeout(ctx, nodeTimeout)
	defer cancel()
	s := &Snapshot{Address: h.address}
	var overview admin.Overview
	var samples []admin.Sample
	r := &round{h: h, ctx: ctx}
	r.ask("overview", nil, &overview, func() { s.Overview = &overview })
	r.ask("history", url.Values{"since": {strconv.FormatInt(w.After, 10)}}, &samples, func() { s.Samples = samples })
	if w.Topics != nil {
		list(r, "topics", w.Topics, nil, &s.Topics)
	}
	if w.Partitions != nil {
		list(r, "partitions", w.Partitions, url.Values{"topic": {w.Topic}}, &s.Partitions)
		s.Topic = w.Topic
	}
	if w.Groups != nil {
		list(r, "groups", w.Groups, nil, &s.Groups)
	}
	if w.Group != "" {
		var g admin.Group
		r.ask("groups", url.Values{"group": {w.Group}}, &g, func() { s.Group = &g })
	}
	if w.Events != nil {
		list(r, "events", w.Events, nil, &s.Events)
	}
	if w.Recovery {
		var report recovery.Report
		var ledger admin.Ledger
		r.ask("report", nil, &report, func() { s.Report = &report })
		r.ask("incidents", nil, &ledger, func() { s.Ledger = &ledger })
	}
	err := r.wait()
	s.At = time.Now()
	if s.Overview == nil {
		return &Snapshot{At: s.At, Address: s.Address, Err: explain(err)}
	}
	if err != nil {
		s.Failed = err.Error()
	}
	return s
}

// list asks for a page.
func list[T any](r *round, kind string, q *Query, more url.Values, to **admin.Page[T]) {
	values := url.Values{"filter": {q.Filter}, "sort": {q.Sort}, "offset": {strconv.Itoa(q.Offset)}, "limit": {strconv.Itoa(q.Limit)}}
	for k, v := range more {
		values[k] = v
	}
	page := &admin.Page[T]{}
	r.ask(kind, values, page, func() { *to = page })
}

// round is the parallel requests of one Poll.
type round struct {
	h       *HTTP
	ctx     context.Context
	waiting sync.WaitGroup
	mu      sync.Mutex
	err     error // the first that matters
}

// ask gets one endpoint's data into value and then calls got, under the round's lock.
func (r *round) ask(kind string, q url.Values, value any, got func()) {
	r.waiting.Add(1)
	go func() {
		defer r.waiting.Done()
		err := r.h.get(r.ctx, kind, q, value)
		r.mu.Lock()
		defer r.mu.Unlock()
		switch {
		case err == nil:
			got()
		case !errors.Is(err, errNotYet) && r.err == nil:
			r.err = err
		}
	}()
}

func (r *round) wait() error {
	r.waiting.Wait()
	return r.err
}

func (h *HTTP) get(ctx context.Context, kind string, q url.Values, value any) (err error) {
	address := (&url.URL{Scheme: "http", Host: h.address, Path: "/admin/v1/" + kind, RawQuery: q.Encode()}).String()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	resp, err := h.client.Do(req)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	switch {
	case err != nil:
		return err
	case resp.StatusCode == http.StatusServiceUnavailable:
		return errNotYet
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("%s: %s: %s", kind, resp.Status, strings.TrimSpace(string(body[:min(len(body), 200)])))
	}
	var e struct {
		Kind string
		Data json.RawMessage
	}
	if err := json.Unmarshal(body, &e); err != nil || !strings.HasPrefix(e.Kind, "chronik/") {
		return fmt.Errorf("%s is no admin endpoint of chronik", h.address)
	}
	return json.Unmarshal(e.Data, value)
}

// explain makes a short cause of a network error.
func explain(err error) string {
	var op *net.OpError
	switch {
	case err == nil:
		return "no answer"
	case errors.Is(err, context.DeadlineExceeded):
		return "no answer within a second"
	case errors.As(err, &op) && op.Op == "dial":
		text := op.Err.Error()
		return strings.TrimPrefix(text, "connect: ")
	}
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err.Error()
	}
	return err.Error()
}
