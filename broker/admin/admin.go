// Package admin is the node's window for operators: an HTTP listener, on loopback by default, with /metrics for Prometheus, /healthz and
// /readyz for supervisors, and /admin/v1/... JSON for `chronik top` and scripts.
//
// The idea: the listener is up before recovery begins, so a node that takes a minute to read its journal says how far it is instead of
// refusing connections; the node is attached to it when its verbs work. /metrics and the JSON are made of the same Snapshot, so they agree.
// What is kept here is small: a ten-minute ring of samples, two marks of counters for rates, the newest events. Lists are filtered, sorted and
// paged here, not at the client.
//
// The guarantee: every endpoint only reads. /readyz answers 200 exactly while requests are served, otherwise 503 with the reasons, one a
// line. No endpoint waits for the disk's journal.
//
// The API: New, Server.Serve, Server.Attach, Server.Shutdown; Process is what there is to tell from the start on, Source what the node has to
// offer. docs/admin.md lists the endpoints.
package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/net/netutil"

	"chronik.dev/chronik/broker/datadir"
	"chronik.dev/chronik/broker/recovery"
)

// Limits of the listener: it serves operators, not the world.
const (
	headerTimeout  = 10 * time.Second
	writeTimeout   = 60 * time.Second
	idleTimeout    = 2 * time.Minute
	maxHeaderBytes = 64 << 10
	maxConnections = 256 // further ones wait to be accepted
)

// Source is a running node as the admin endpoint sees it. Methods may be called at any time from several goroutines and return copies.
type Source interface {
	// Health says whether the node lives and serves.
	Health() Health
	// Snapshot returns the node's figures.
	Snapshot() Snapshot
	// Partitions returns every partition of this node, by topic and number.
	Partitions() []Partition
	// Groups returns every consumer group with members and offsets, by name; an error while they are loading.
	Groups() ([]Group, error)
	// Report returns what recovery found at this start.
	Report() *recovery.Report
}

// Teller is the process, with or without a node. Methods may be called at any time from several goroutines.
type Teller interface {
	// Boot says how far opening the data directory is; Percent and ETASeconds are filled in here.
	Boot() Boot
	// Incidents returns the newest incidents of the ledger, the newest last, limit at most.
	Incidents(limit int) (Ledger, error)
}

// Ledger is what the incident ledger holds.
type Ledger struct {
	Incidents []datadir.Incident `json:"incidents"`
	Damaged   []datadir.BadLine  `json:"damaged_lines"`
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
	Process Teller  // nil: nothing is known before Attach, and there is no ledger
	Events  *Events // nil: none
}

// Server is the admin endpoint.
type Server struct {
	http    *http.Server
	source  atomic.Pointer[Source]
	version string
	log     *slog.Logger
	process Teller
	events  *Events
	runtime *prometheus.Registry // Go's and the operating system's figures

	history    history
	topicMarks marks
	groupMarks marks
	attach     sync.Once
	closing    sync.Once
	quit       chan struct{}
	sampling   sync.WaitGroup
}

// New returns a server that answers "recovering" until Attach.
func New(o Options) *Server {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{
		version: o.Version, log: o.Logger, process: o.Process, events: o.Events, runtime: prometheus.NewRegistry(), quit: make(chan struct{}),
		topicMarks: marks{keep: topicMarks}, groupMarks: marks{keep: groupMarks},
	}
	s.runtime.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	registry := prometheus.NewRegistry()
	registry.MustRegister(&collector{server: s})
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(prometheus.Gatherers{registry, s.runtime}, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", s.healthz)
	mux.HandleFunc("GET /readyz", s.readyz)
	for _, e := range s.endpoints() {
		mux.HandleFunc("GET /admin/v1/"+e.kind, func(w http.ResponseWriter, r *http.Request) { s.answer(w, r, e) })
	}
	mux.HandleFunc("GET /{$}", s.index)
	mux.HandleFunc("GET /debug/pprof/", pprof.Index) // heap, goroutine and the other named profiles too
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
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

// Attach gives the endpoint its node, and begins to sample it until Shutdown.
func (s *Server) Attach(node Source) {
	s.source.Store(&node)
	s.attach.Do(func() {
		s.sampling.Add(1)
		go s.sample()
	})
}

// sample is the goroutine that fills the ring.
func (s *Server) sample() {
	defer s.sampling.Done()
	ticker := time.NewTicker(SampleEvery)
	defer ticker.Stop()
	var marked time.Time
	for {
		now := time.Now()
		n := s.node()
		snap := n.Snapshot()
		s.history.take(now, &snap)
		if now.Sub(marked) >= markEvery {
			marked = now
			s.mark(now, n)
		}
		select {
		case <-ticker.C:
		case <-s.quit:
			return
		}
	}
}

// mark remembers the counters of topics and groups.
func (s *Server) mark(now time.Time, n Source) {
	counts := map[string][4]uint64{}
	for _, t := range topicsOf(n.Partitions()) {
		counts[t.Name] = t.Traffic.counters()
	}
	s.topicMarks.take(now, counts)
	groups, err := n.Groups()
	if err != nil {
		return // still loading
	}
	counts = map[string][4]uint64{}
	for i := range groups {
		counts[groups[i].Name] = groups[i].counters()
	}
	s.groupMarks.take(now, counts)
}

// Serve answers on l until Shutdown and returns nil then. It holds at most 256 connections at once.
func (s *Server) Serve(l net.Listener) error {
	if err := s.http.Serve(netutil.LimitListener(l, maxConnections)); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("admin listener %s failed: %w", l.Addr(), err)
	}
	return nil
}

// Shutdown ends the sampling, closes the listener and waits for requests in flight until ctx ends; then it closes their connections.
func (s *Server) Shutdown(ctx context.Context) error {
	s.StopSampling()
	if err := s.http.Shutdown(ctx); err != nil {
		return errors.Join(err, s.http.Close())
	}
	return nil
}

// StopSampling ends the goroutine that Attach began: nothing is asked of the node from then on but for requests. Shutdown does it too.
func (s *Server) StopSampling() {
	s.closing.Do(func() { close(s.quit) })
	s.sampling.Wait()
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
	plain(w, h.Live, h.Reasons)
}

func (s *Server) readyz(w http.ResponseWriter, _ *http.Request) {
	h := s.health()
	plain(w, h.Live && h.Ready, h.Reasons)
}

// plain writes "ok" or 503 and the reasons, one a line.
func plain(w http.ResponseWriter, ok bool, reasons []string) {
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
