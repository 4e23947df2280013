package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"chronik.dev/chronik/broker"
	"chronik.dev/chronik/broker/admin"
	"chronik.dev/chronik/broker/config"
	"chronik.dev/chronik/broker/kafka"
	"chronik.dev/chronik/broker/metadata"
	"chronik.dev/chronik/broker/peer"
	"chronik.dev/chronik/broker/vfs"
)

// How long a clean stop waits for clients, and how often systemd is asked for more time during recovery.
const (
	drainTime   = 10 * time.Second
	extendEvery = 10 * time.Second
	extendBy    = "EXTEND_TIMEOUT_USEC=30000000"
)

// server is a node in one process: the broker, its listeners and its admin endpoint.
type server struct {
	cfg      *config.Config
	log      *slog.Logger
	started  time.Time
	boot     *boot
	events   *admin.Events
	admin    *admin.Server
	adminAt  string
	peer     *peer.Server // nil if there is no peer listener
	peerAt   string
	broker   *broker.Broker
	kafka    *kafka.Server
	failures chan error // of any listener
	serving  int        // listeners that will send to failures once
}

// serve runs a node until a signal or a failure.
func (a *app) serve(cfg *config.Config) (err error) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	events := admin.NewEvents(slog.NewTextHandler(a.err, nil))
	s := &server{cfg: cfg, log: slog.New(events), started: time.Now(), boot: newBoot(cfg.DataDir()), events: events, failures: make(chan error, 8)}
	if limit := limitMemory(os.ReadFile); limit > 0 {
		s.log.Info("memory limit of the container", "bytes", limit)
	}
	if err := checkLock(cfg.DataDir()); err != nil { // before a port in use can hide it
		return err
	}
	if err := s.listenAdmin(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if err := s.listenPeer(ctx); err != nil {
		return err
	}
	if err := s.open(ctx); err != nil {
		return s.unlessInterrupted(ctx, err)
	}
	s.attachPeer()
	told, err := s.listenKafka(ctx)
	if err != nil {
		return s.unlessInterrupted(ctx, err)
	}
	fmt.Fprintf(a.err, "ready: kafka %s, admin %s, peer %s, node %d, cluster %s, data %s\n",
		strings.Join(told, " "), s.adminAt, s.peerAt, s.broker.NodeID(), s.broker.ClusterID(), cfg.DataDir())
	s.notify("READY=1")
	select {
	case <-ctx.Done():
		stop() // a second signal ends the process at once
		s.log.Info("stopping", "cause", context.Cause(ctx))
		s.notify("STOPPING=1")
		return nil
	case <-s.broker.Failed():
		return fmt.Errorf("the node stopped itself: %w", s.broker.Err())
	case err := <-s.failures:
		s.serving--
		return err
	}
}

// interrupted says whether err only tells that a signal came before the node was ready.
func interrupted(ctx context.Context, err error) bool {
	return ctx.Err() != nil && errors.Is(err, context.Canceled)
}

// unlessInterrupted returns the error of a start, nil if a signal ended it.
func (s *server) unlessInterrupted(ctx context.Context, err error) error {
	if !interrupted(ctx, err) {
		return err
	}
	s.log.Info("stopping before the node was ready", "cause", context.Cause(ctx), "interrupted", err)
	return nil
}

func (s *server) notify(state string) {
	if err := notifySystemd(state); err != nil {
		s.log.Warn("supervisor not told", "error", err)
	}
}

// checkLock fails with vfs.ErrLocked if another process runs on the directory. It holds nothing afterwards: opening the node takes the
// lock for good.
func checkLock(dir string) error {
	there, err := vfs.Exists(vfs.OS, dir)
	if err != nil || !there {
		return err
	}
	lock, err := vfs.OS.Lock(dir)
	if errors.Is(err, vfs.ErrLocked) {
		return fmt.Errorf("data directory %s: %w; stop the node that uses it, or give this one another --data-dir", dir, err)
	}
	if err != nil {
		return err
	}
	return lock.Close()
}

// listenAdmin starts the admin endpoint, which says "starting" until the node is attached.
func (s *server) listenAdmin() error {
	s.adminAt = "off"
	address := s.cfg.AdminListener()
	if address == "" {
		return nil
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("admin listener: %w; choose another with --admin-listen, port 0 picks one", err)
	}
	s.adminAt = l.Addr().String()
	s.admin = admin.New(admin.Options{Version: buildInfo().Version, Logger: s.log, Process: s.boot, Events: s.events})
	s.goServe(func() error { return s.admin.Serve(l) })
	return nil
}

// open recovers the data directory; meanwhile systemd is asked for patience.
func (s *server) open(ctx context.Context) error {
	done := make(chan struct{})
	quiet := make(chan struct{})
	go func() {
		defer close(quiet)
		ticker := time.NewTicker(extendEvery)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				s.notify(extendBy + "\nSTATUS=recovering")
			case <-done:
				return
			}
		}
	}()
	var err error
	s.broker, err = broker.Open(ctx, broker.Options{
		DataDir: s.cfg.DataDir(), Config: s.cfg, FS: vfs.OS, Logger: s.log, Version: buildInfo().Version, Progress: s.boot.progress,
	})
	close(done)
	<-quiet
	return err
}

// listenKafka binds the listeners, registers the broker under them and serves. It returns the bound addresses.
func (s *server) listenKafka(ctx context.Context) ([]string, error) {
	wanted := s.cfg.Listeners()
	sockets := make([]net.Listener, 0, len(wanted))
	closeAll := func(err error) ([]string, error) {
		for _, l := range sockets {
			err = errors.Join(err, l.Close())
		}
		return nil, err
	}
	bound := make([]config.Endpoint, 0, len(wanted))
	var told []string
	for _, e := range wanted {
		l, err := net.Listen("tcp", e.Address())
		if err != nil {
			return closeAll(fmt.Errorf("listener %s: %w; choose another with --listen, port 0 picks one", e, err))
		}
		sockets = append(sockets, l)
		if a, ok := l.Addr().(*net.TCPAddr); ok {
			e.Port = a.Port
		}
		bound = append(bound, e)
		told = append(told, e.Address())
	}
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	var endpoints []metadata.Endpoint
	for _, e := range s.cfg.Advertised(bound, host) {
		endpoints = append(endpoints, metadata.Endpoint{Name: e.Name, Host: e.Host, Port: uint16(e.Port)})
	}
	if err := s.broker.SetListeners(ctx, endpoints); err != nil {
		return closeAll(err)
	}
	s.kafka = kafka.New(s.broker, kafka.Options{Logger: s.log})
	for i, l := range sockets {
		s.goServe(func() error { return s.kafka.ServeNamed(bound[i].Name, l) })
	}
	if s.admin != nil {
		s.admin.Attach(newSource(s, told))
	}
	return told, nil
}

// goServe runs one accept loop; its end reaches failures.
func (s *server) goServe(serve func() error) {
	s.serving++
	go func() { s.failures <- serve() }()
}

// close ends everything in the order in which nothing acknowledged can be lost: clients, then the node, then the admin endpoint.
func (s *server) close() error {
	var errs []error
	ctx, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	if s.broker != nil {
		s.broker.Drain()
	}
	if s.kafka != nil {
		if err := s.kafka.Shutdown(ctx); err != nil {
			s.log.Warn("connections were cut", "error", err)
		}
	}
	s.closePeer()
	if s.admin != nil {
		s.admin.StopSampling()
	}
	if s.broker != nil {
		errs = append(errs, s.broker.Close(context.Background())) // a clean stop takes the time it takes
	}
	if s.admin != nil {
		if err := s.admin.Shutdown(ctx); err != nil {
			s.log.Warn("admin connections were cut", "error", err)
		}
	}
	for ; s.serving > 0; s.serving-- {
		if err := <-s.failures; err != nil && !errors.Is(err, kafka.ErrServerClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
