package kafka

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"chronik.dev/chronik/broker/planted"
)

const (
	readBuffer = 16 << 10
	smallFrame = 64 << 10 // up to here a frame does not count against queued.max.request.bytes: the read buffer bounds the sender
	firstChunk = 1 << 20  // of a larger frame no more is allocated before bytes of it arrived
)

// conn is one connection: read runs the requests, write (writer.go) answers them.
type conn struct {
	s        *Server
	nc       net.Conn
	ip       string
	listener string
	ctx      context.Context // ends with the connection
	cancel   context.CancelFunc
	br       *bufio.Reader
	held     int64               // of the server's memory for requests, by the request that is read or worked on
	renew    time.Time           // when the idle deadline of reading is set anew
	writeBy  time.Time           // the deadline of writing; the writer's
	produce  kmsg.ProduceRequest // reused by the reader from request to request
	clientID atomic.Pointer[string]
	stripe   *stripe // counters

	wake chan struct{} // to the writer, one slot: the head of the queue may be ready, or the end has come
	room chan struct{} // to the reader, one slot: the queue became shorter
	late chan struct{} // to a fetch that waits, one slot: it keeps the reader waiting, which so does not see its peer go

	mu      sync.Mutex
	queue   []*call // not yet taken by the writer, in the order of the requests
	waiting int     // bytes of finished responses until they are written, and of requests that are answered later
	ended   bool    // the reader is done: the writer answers what it must and ends
}

func newConn(s *Server, nc net.Conn, listener, ip string) *conn {
	c := &conn{
		s: s, nc: nc, ip: ip, listener: listener, br: bufio.NewReaderSize(nc, readBuffer),
		stripe: &s.stripes[s.accepted.Load()%stripeCount], wake: make(chan struct{}, 1), room: make(chan struct{}, 1), late: make(chan struct{}, 1),
	}
	c.ctx, c.cancel = context.WithCancel(s.ctx)
	return c
}

// client names the client for logs.
func (c *conn) client() string {
	if id := c.clientID.Load(); id != nil {
		return *id
	}
	return ""
}

// close ends both goroutines; calls in work are completed into nothing.
func (c *conn) close() {
	c.cancel()
	_ = c.nc.Close()
}

func (c *conn) signal() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// run is the reader's goroutine and the life of the connection.
func (c *conn) run() {
	defer c.s.forget(c)
	written := make(chan struct{})
	go func() {
		defer close(written)
		defer c.close() // a reader of a dead connection must not wait
		c.write()
	}()
	err := c.read()
	select {
	case <-c.s.stopping: // Shutdown: what is in hand is still answered
	default:
		c.close()
	}
	c.mu.Lock()
	c.ended = true
	c.mu.Unlock()
	c.signal()
	<-written
	for _, ca := range c.queue { // nobody else is left
		c.s.requests.adjust(-ca.held)
	}
	var p *parseError
	switch {
	case errors.As(err, &p), errors.Is(err, errProtocol):
		c.s.complain(c, err)
	case !errors.Is(err, io.EOF):
		c.s.log.Debug("connection ended", "peer", c.nc.RemoteAddr().String(), "client", c.client(), "error", err)
	}
}

// errProtocol is the cause when a peer sent what is no request.
var errProtocol = errors.New("protocol violation")

func (c *conn) read() error {
	limit := c.s.b.Config().SocketRequestMaxBytes()
	for {
		buf, held, err := c.frame(limit)
		if err != nil {
			return err
		}
		c.held = held
		keeps, err := c.serve(*buf)
		c.s.requests.adjust(-c.held)
		if err != nil {
			return err
		}
		if !keeps {
			putFrame(buf)
		}
	}
}

// frame reads the next frame. held is what it took of the server's memory for requests.
func (c *conn) frame(limit int) (buf *[]byte, held int64, err error) {
	idle := time.Duration(c.s.b.Config().ConnectionsMaxIdleMs()) * time.Millisecond
	var head []byte
	for {
		if now := time.Now(); now.After(c.renew) {
			c.renew = now.Add(idle / 4)
			_ = c.nc.SetReadDeadline(now.Add(idle))
		}
		if c.s.isStopping() {
			return nil, 0, ErrServerClosed
		}
		head, err = c.br.Peek(4)
		if err == nil {
			break
		}
		if errors.Is(err, os.ErrDeadlineExceeded) && c.inFlight() > 0 && !c.s.isStopping() {
			c.renew = time.Time{}
			continue // not idle: the peer waits for us
		}
		return nil, 0, err
	}
	n := int64(int32(binary.BigEndian.Uint32(head)))
	if n < minHeader || n > int64(limit) {
		return nil, 0, fmt.Errorf("a frame of %d bytes, allowed are %d to %d (socket.request.max.bytes): %w", n, minHeader, limit, errProtocol)
	}
	_, _ = c.br.Discard(4)
	if c.br.Buffered() >= int(n) {
		buf = getFrame(int(n))
		_, err = io.ReadFull(c.br, *buf)
		return buf, 0, err
	}
	return c.body(n)
}

// body reads a frame that is not there yet, in chunks: memory is taken as the bytes come in, not as the peer announces them, and each
// chunk has its time.
func (c *conn) body(n int64) (buf *[]byte, held int64, err error) {
	defer func() {
		if err != nil {
			c.s.requests.adjust(-held)
			err = fmt.Errorf("a frame of %d bytes broke off: %w", n, err)
		}
	}()
	have := int64(0)
	for have < n {
		to := min(n, max(firstChunk, 2*have))
		if n > smallFrame {
			if err := c.reserve(to-held, held); err != nil {
				return nil, held, err
			}
			held = to
		}
		var larger *[]byte
		if to <= maxPooled {
			larger = getFrame(int(to))
		} else {
			b := make([]byte, to)
			larger = &b
		}
		if buf != nil {
			copy(*larger, *buf)
			putFrame(buf)
		}
		buf = larger
		_ = c.nc.SetReadDeadline(time.Now().Add(c.s.opt.FrameTimeout + time.Duration((to-have)/(32<<10))*time.Second))
		c.renew = time.Time{}
		if _, err := io.ReadFull(c.br, (*buf)[have:]); err != nil {
			return nil, held, err
		}
		have = to
	}
	return buf, held, nil
}

// reserve waits for memory for a large request, not for ever: others may wait for what this one holds.
func (c *conn) reserve(n, held int64) error {
	ctx, cancel := context.WithTimeout(c.ctx, c.s.opt.FrameTimeout)
	defer cancel()
	if err := c.s.requests.take(ctx, n, held); err != nil {
		return fmt.Errorf("no memory for a large request within %v (queued.max.request.bytes): %w", c.s.opt.FrameTimeout, err)
	}
	return nil
}

func (s *Server) isStopping() bool {
	select {
	case <-s.stopping:
		return true
	default:
		return false
	}
}

func (c *conn) inFlight() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.queue)
}

// enqueue gives a call its place among the responses; while too many wait, the peer does. A fetch that keeps it waiting for FrameTimeout is
// answered with what there is: the write tells whether the peer is still there.
func (c *conn) enqueue(ca *call) error {
	var timeout *time.Timer
	for {
		c.mu.Lock()
		if len(c.queue) < c.s.opt.MaxInFlight && c.waiting <= c.s.opt.MaxWaiting {
			c.queue = append(c.queue, ca)
			c.waiting += ca.size
			if n := len(c.queue); planted.Is(planted.AnswerOutOfOrder) && n > 1 {
				c.queue[n-1], c.queue[n-2] = c.queue[n-2], c.queue[n-1]
			}
			first := len(c.queue) == 1
			c.mu.Unlock()
			if first && ca.deferred != nil {
				c.signal()
			}
			return nil
		}
		c.mu.Unlock()
		if timeout == nil {
			timeout = time.NewTimer(c.s.opt.FrameTimeout)
			defer timeout.Stop()
		}
		select {
		case <-c.room:
		case <-timeout.C:
			timeout.Reset(c.s.opt.FrameTimeout)
			select {
			case c.late <- struct{}{}:
			default:
			}
		case <-c.ctx.Done():
			return c.ctx.Err()
		}
	}
}
