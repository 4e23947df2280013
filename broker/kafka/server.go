package kafka

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"chronik.dev/chronik/broker"
	"chronik.dev/chronik/broker/vfs"
)

// Options are limits of a Server that have no Kafka name; a zero value means its default. Everything else comes from the node's
// configuration: socket.request.max.bytes, queued.max.request.bytes, max.connections, max.connections.per.ip, connections.max.idle.ms,
// fetch.max.bytes, max.incremental.fetch.session.cache.slots.
type Options struct {
	Logger       *slog.Logger
	MaxInFlight  int           // requests of one connection that are not answered yet; default 256
	MaxWaiting   int           // bytes of one connection's finished responses above which no more is read; default 4 MiB
	FetchMemory  int64         // bytes of fetched records on their way, all connections together, and a quarter more in small pieces; default 128 MiB
	Descriptors  int           // of the process; a quarter of them is never given to connections; default what the system allows, -1 unknown
	FrameTimeout time.Duration // for a part of a frame (1 MiB, doubling) to arrive, plus a second for each 32 KiB; and see conn.flush; default 30 s
}

func (o *Options) defaults() {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.MaxInFlight <= 0 {
		o.MaxInFlight = 256
	}
	if o.MaxWaiting <= 0 {
		o.MaxWaiting = 4 << 20
	}
	if o.FetchMemory <= 0 {
		o.FetchMemory = 128 << 20
	}
	if o.Descriptors == 0 {
		o.Descriptors = vfs.MaxDescriptors()
	}
	if o.FrameTimeout <= 0 {
		o.FrameTimeout = 30 * time.Second
	}
}

// Stats counts what a Server did since New.
type Stats struct {
	Connections   int                // open now
	Accepted      int64              // connections ever
	Refused       int64              // connections closed at accept for max.connections or max.connections.per.ip
	Malformed     int64              // connections closed because of bytes that are no request
	Requests      map[string]int64   // by name of the API
	Latencies     map[string]Latency // of answered requests, by name of the API: from the request read to the answer written
	RequestMemory int64              // bytes of large requests in work
	FetchMemory   int64              // bytes of fetched records on their way
	Sessions      int                // fetch sessions
}

// Server serves the Kafka protocol for a node.
type Server struct {
	b        *broker.Broker
	opt      Options
	log      *slog.Logger
	apis     map[int16]*api
	requests budget // frames above smallFrame
	fetches  budget // records of fetch responses
	scarce   budget // and of those that found nothing left of it: little each
	sessions *sessions
	ctx      context.Context // ends when Shutdown gives up waiting, and when it is done
	cancel   context.CancelFunc
	stopping chan struct{} // closed by Shutdown

	mu        sync.Mutex
	listeners map[net.Listener]struct{}
	conns     map[*conn]struct{}
	perIP     map[string]int
	stopped   bool
	running   sync.WaitGroup // connections

	accepted, refused, malformed atomic.Int64
	stripes                      [stripeCount]stripe
	began                        time.Time
	complaint                    atomic.Int64 // unix second of the last logged complaint about a peer
}

// ErrServerClosed is what Serve returns after Shutdown.
var ErrServerClosed = errors.New("kafka: the server is shut down")

// New makes a server for a node. Serve starts it.
func New(b *broker.Broker, o Options) *Server {
	o.defaults()
	s := &Server{
		b: b, opt: o, log: o.Logger, apis: served(),
		listeners: map[net.Listener]struct{}{}, conns: map[*conn]struct{}{}, perIP: map[string]int{}, stopping: make(chan struct{}), began: time.Now(),
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.requests.limit = max(b.Config().QueuedMaxRequestBytes(), 0)
	s.fetches.limit, s.scarce.limit = o.FetchMemory, o.FetchMemory/4
	s.sessions = newSessions(b.Config().FetchSessionSlots(), time.Now)
	return s
}

// Serve accepts connections for the node's first listener until Shutdown, which makes it return ErrServerClosed. Any other error comes
// from the listener.
func (s *Server) Serve(l net.Listener) error { return s.ServeNamed("", l) }

// ServeNamed is Serve for the listener of that name: what it tells clients about brokers are the endpoints of the same name.
func (s *Server) ServeNamed(name string, l net.Listener) error {
	s.mu.Lock()
	if s.stopped {
		s.mu.Unlock()
		return ErrServerClosed
	}
	s.listeners[l] = struct{}{}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.listeners, l)
		s.mu.Unlock()
		_ = l.Close()
	}()
	pause := 5 * time.Millisecond
	for {
		nc, err := l.Accept()
		if err == nil {
			pause = 5 * time.Millisecond
			s.accept(nc, name)
			continue
		}
		select {
		case <-s.stopping:
			return ErrServerClosed
		default:
		}
		if errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("accept on %v: %w", l.Addr(), err)
		}
		// Out of file descriptors, or a connection that died in the queue: neither ends the listener.
		s.log.Warn("accept failed", "listener", l.Addr().String(), "error", err, "pause", pause)
		select {
		case <-time.After(pause):
		case <-s.stopping:
			return ErrServerClosed
		}
		pause = min(2*pause, time.Second)
	}
}

func (s *Server) accept(nc net.Conn, listener string) {
	ip := ""
	if a, ok := nc.RemoteAddr().(*net.TCPAddr); ok {
		ip = a.IP.String()
	}
	cfg := s.b.Config()
	s.mu.Lock()
	if s.stopped || s.outOfDescriptors(nc) || len(s.conns) >= cfg.MaxConnections() || s.perIP[ip] >= cfg.MaxConnectionsPerIP() {
		s.mu.Unlock()
		s.refused.Add(1)
		_ = nc.Close()
		return
	}
	c := newConn(s, nc, listener, ip)
	s.conns[c] = struct{}{}
	s.perIP[ip]++
	s.running.Add(1)
	s.mu.Unlock()
	s.accepted.Add(1)
	go c.run()
}

// outOfDescriptors says whether so many descriptors are in use that the rest must be left to the node's files. The system gives out the lowest free
// number, so the connection's own tells.
func (s *Server) outOfDescriptors(nc net.Conn) bool {
	sc, ok := nc.(syscall.Conn)
	if !ok || s.opt.Descriptors <= 0 {
		return false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return false
	}
	number := 0
	if err := raw.Control(func(fd uintptr) { number = int(fd) }); err != nil || number < s.opt.Descriptors/4*3 {
		return false
	}
	now := time.Now().Unix()
	if last := s.complaint.Load(); last != now && s.complaint.CompareAndSwap(last, now) {
		s.log.Warn("connection refused: the rest of the open files is kept for the log; raise the limit (ulimit -n, LimitNOFILE=) or lower max.connections",
			"peer", nc.RemoteAddr().String(), "limit", s.opt.Descriptors)
	}
	return true
}

// forget is the last act of a connection.
func (s *Server) forget(c *conn) {
	s.mu.Lock()
	delete(s.conns, c)
	if s.perIP[c.ip]--; s.perIP[c.ip] <= 0 {
		delete(s.perIP, c.ip)
	}
	s.mu.Unlock()
	s.running.Done()
}

// Shutdown stops accepting and reading, answers what was already appended or is ready, and closes all connections. When ctx ends first,
// the rest is closed unanswered and ctx's error returned. The node itself goes on.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	if !s.stopped {
		s.stopped = true
		close(s.stopping)
	}
	for l := range s.listeners {
		_ = l.Close()
	}
	for c := range s.conns {
		_ = c.nc.SetReadDeadline(time.Unix(1, 0))
		c.signal()
	}
	s.mu.Unlock()
	done := make(chan struct{})
	go func() {
		s.running.Wait()
		close(done)
	}()
	defer s.cancel()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	for c := range s.conns {
		c.close()
	}
	s.mu.Unlock()
	s.cancel()
	<-done
	return ctx.Err()
}

// Stats returns the counts so far.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	open := len(s.conns)
	s.mu.Unlock()
	st := Stats{
		Connections: open, Accepted: s.accepted.Load(), Refused: s.refused.Load(), Malformed: s.malformed.Load(),
		RequestMemory: s.requests.inUse(), FetchMemory: s.fetches.inUse() + s.scarce.inUse(), Sessions: s.sessions.count(),
	}
	st.Requests, st.Latencies = s.counts()
	return st
}

// complain logs what a peer did wrong, once a second at most: peers are many and may be hostile.
func (s *Server) complain(c *conn, err error) {
	s.malformed.Add(1)
	now := time.Now().Unix()
	if last := s.complaint.Load(); last != now && s.complaint.CompareAndSwap(last, now) {
		s.log.Warn("connection closed", "peer", c.nc.RemoteAddr().String(), "client", c.client(), "error", err, "malformed", s.malformed.Load())
	}
}
