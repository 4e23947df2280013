package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"chronik.dev/chronik/broker/datadir"
)

// maxIncidents bounds one answer of /admin/v1/incidents.
const maxIncidents = 1000

// endpoint is one path below /admin/v1/. Exactly one of its functions is set.
type endpoint struct {
	kind   string
	about  string
	always func(q url.Values) (any, error)           // answers also while the node recovers
	node   func(n Source, q url.Values) (any, error) // needs the node
}

// endpoints lists them.
func (s *Server) endpoints() []endpoint {
	return []endpoint{
		{kind: "overview", about: "verdict, health, every figure of the node; recovery progress while it recovers", always: func(url.Values) (any, error) {
			return s.overview(s.node()), nil
		}},
		{kind: "history", about: "ten minutes of samples, one each 2 s; since=MS leaves those after a time", always: func(q url.Values) (any, error) {
			after, err := number(q, "since")
			return s.history.since(after), err
		}},
		{kind: "topics", about: "topics; filter, sort, offset, limit", node: s.topicPage},
		{kind: "partitions", about: "partitions; topic, filter, sort, offset, limit", node: partitionPage},
		{kind: "groups", about: "consumer groups with lag; filter, sort, offset, limit; group=NAME answers one whole", node: s.groupPage},
		{kind: "raft", about: "the metadata group", node: func(n Source, _ url.Values) (any, error) { return n.Snapshot().Raft, nil }},
		{kind: "report", about: "what boot recovery found", node: func(n Source, _ url.Values) (any, error) { return n.Report(), nil }},
		{kind: "incidents", about: "the newest incidents of the ledger, the newest last", always: func(url.Values) (any, error) {
			if s.process == nil {
				return Ledger{Incidents: []datadir.Incident{}, Damaged: []datadir.BadLine{}}, nil
			}
			return s.process.Incidents(maxIncidents)
		}},
		{kind: "events", about: "what the node logged, the newest first; filter, sort, offset, limit", always: func(q url.Values) (any, error) {
			var all []Event
			if s.events != nil {
				all = s.events.Recent()
			}
			return page(all, q, func(e *Event) string { return e.Level + " " + e.Message + " " + e.Detail }, eventColumns, "-seq")
		}},
	}
}

var eventColumns = map[string]column[Event]{
	"seq":   {number: func(e *Event) float64 { return float64(e.Seq) }},
	"level": {text: func(e *Event) string { return e.Level }},
}

func number(q url.Values, key string) (int64, error) {
	text := q.Get(key)
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, badQuery("%s=%s is no number", key, text)
	}
	return n, nil
}

// statusError is an error with the HTTP status that it is answered with. Others are 500.
type statusError struct {
	status int
	text   string
}

func (e *statusError) Error() string { return e.text }

// badQuery is a mistake in the query.
func badQuery(format string, a ...any) error {
	return &statusError{http.StatusBadRequest, fmt.Sprintf(format, a...)}
}

// answer writes the versioned envelope that all JSON of chronik has: kind, version, then the data.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, e endpoint) {
	n := s.node()
	if e.node != nil && n == nil {
		plain(w, false, s.health().Reasons)
		return
	}
	var value any
	var err error
	if e.node != nil {
		value, err = e.node(n, r.URL.Query())
	} else {
		value, err = e.always(r.URL.Query())
	}
	var known *statusError
	switch {
	case errors.As(err, &known):
		http.Error(w, err.Error(), known.status)
		return
	case err != nil:
		s.log.Warn("admin request failed", "kind", e.kind, "error", err)
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	kind := e.kind
	if kind == "report" {
		kind = "recovery-report"
	}
	body, err := json.Marshal(envelope{Kind: "chronik/" + kind, Version: 1, Data: value})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(append(body, '\n')) // a client that hung up is no event
}

type envelope struct {
	Kind    string `json:"kind"`
	Version int    `json:"version"`
	Data    any    `json:"data"`
}

func (s *Server) index(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprint(w, "chronik admin endpoint\n\n/metrics\n/healthz\n/readyz\n")
	for _, e := range s.endpoints() {
		fmt.Fprintf(w, "/admin/v1/%-12s %s\n", e.kind, e.about)
	}
}
