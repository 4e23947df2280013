// Package admin is the node's window for operators: an HTTP listener, on loopback by default, with /metrics for Prometheus, /healthz and
// /readyz for supervisors, and /admin/v1/... JSON for `chronik top` and scripts.
//
// The idea: the listener is up before recovery begins, so a node that takes a minute to read its journal says so instead of refusing
// connections; the node is attached to it when its verbs work. The package asks the node for one Snapshot per scrape and keeps nothing.
//
// The guarantee: every endpoint only reads. /readyz answers 200 exactly while requests are served, otherwise 503 with the reasons, one a
// line. No endpoint waits for the disk's journal.
//
// The API: New, Server.Serve, Server.Attach, Server.Shutdown; Source is what the node has to offer.
package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Limits of the listener: it serves operators, not the world.
const (
	headerTimeout  = 10 * time.Second
	writeTimeout   = 60 * time.Second
	idleTimeout    = 2 * time.Minute
	maxHeaderBytes = 64 << 10
)

// Source is a running node as the admin endpoint sees it. Methods may be called at any time from several goroutines and return copies.
type Source interface {
	// Health says whether the node lives and serves.
	Health() Health
	// Snapshot returns every figure that /metrics publishes.
	Snapshot() Snapshot
	// Report returns what recovery found at this start; it is rendered as JSON.
	Report() any
	// Incidents returns the newest incidents of the ledger, the newest last, limit at most.
	Incidents(limit int) (any, error)
}

// Health is the node's own judgement. A node that is not live should be restarted by its supervisor; one that is not ready should not.
type Health struct {
	Live    bool     `json:"live"`
	Ready   bool     `json:"ready"`
	Reasons []string `json:"reasons,omitempty"` // why it is not live or not ready, each a sentence
}

// Options of New.
type Options struct {
	Version string // of the binary, for chronik_build_info
	Logger  *slog.Logger
}

// Server is the admin endpoint.
type Server struct {
	http    *http.Server
	source  atomic.Pointer[Source]
	version string
	log     *slog.Logger
}

// New returns a server that answers "recovering" until Attach.
func New(o Options) *Server {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{version: o.Version, log: o.Logger}
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		&collector{server: s},
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", s.healthz)
	mux.HandleFunc("GET /readyz", s.readyz)
	mux.HandleFunc("GET /admin/v1/report", s.report)
	mux.HandleFunc("GET /admin/v1/incidents", s.incidents)
	mux.HandleFunc("GET /admin/v1/partitions", s.partitions)
	mux.HandleFunc("GET /admin/v1/raft", s.raft)
	mux.HandleFunc("GET /{$}", index)
	s.http = &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: headerTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(o.Logger.Handler(), slog.LevelWarn),
	}
	return s
}

// Attach gives the endpoint its node.
func (s *Server) Attach(node Source) {
	s.source.Store(&node)
}

// Serve answers on l until Shutdown and returns nil then.
func (s *Server) Serve(l net.Listener) error {
	if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("admin listener %s failed: %w", l.Addr(), err)
	}
	return nil
}

// Shutdown closes the listener and waits for requests in flight until ctx ends; then it closes their connections.
func (s *Server) Shutdown(ctx context.Context) error {
	if err := s.http.Shutdown(ctx); err != nil {
		return errors.Join(err, s.http.Close())
	}
	return nil
}

// node returns the attached node, or nil while it recovers.
func (s *Server) node() Source {
	if p := s.source.Load(); p != nil {
		return *p
	}
	return nil
}

func (s *Server) health() Health {
	if n := s.node(); n != nil {
		return n.Health()
	}
	return Health{Live: true, Reasons: []string{"starting: the data directory is being opened and recovered"}}
}

func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) {
	h := s.health()
	answer(w, h.Live, h.Reasons)
}

func (s *Server) readyz(w http.ResponseWriter, _ *http.Request) {
	h := s.health()
	answer(w, h.Live && h.Ready, h.Reasons)
}

// answer writes "ok" or 503 and the reasons, one a line.
func answer(w http.ResponseWriter, ok bool, reasons []string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	if ok {
		fmt.Fprintln(w, "ok")
		return
	}
	w.WriteHeader(http.StatusServiceUnavailable)
	if len(reasons) == 0 {
		reasons = []string{"not ready"}
	}
	fmt.Fprintln(w, strings.Join(reasons, "\n"))
}

// maxIncidents bounds one answer of /admin/v1/incidents.
const maxIncidents = 1000

func (s *Server) report(w http.ResponseWriter, _ *http.Request) {
	s.withNode(w, "recovery-report", func(n Source) (any, error) { return n.Report(), nil })
}

func (s *Server) incidents(w http.ResponseWriter, _ *http.Request) {
	s.withNode(w, "incidents", func(n Source) (any, error) { return n.Incidents(maxIncidents) })
}

func (s *Server) partitions(w http.ResponseWriter, _ *http.Request) {
	s.withNode(w, "partitions", func(n Source) (any, error) { return n.Snapshot().Partitions, nil })
}

func (s *Server) raft(w http.ResponseWriter, _ *http.Request) {
	s.withNode(w, "raft", func(n Source) (any, error) { return n.Snapshot().Raft, nil })
}

// withNode answers with the versioned envelope that all JSON of chronik has: kind, version, then the items.
func (s *Server) withNode(w http.ResponseWriter, kind string, get func(Source) (any, error)) {
	n := s.node()
	if n == nil {
		answer(w, false, s.health().Reasons)
		return
	}
	value, err := get(n)
	if err != nil {
		s.log.Warn("admin request failed", "kind", kind, "error", err)
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
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

func index(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprint(w, "chronik admin endpoint\n\n/metrics\n/healthz\n/readyz\n/admin/v1/report\n/admin/v1/incidents\n/admin/v1/partitions\n/admin/v1/raft\n")
}
