package kafka

import (
	"errors"
	"net"
	"os"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// call is one request on its way to its response.
type call struct {
	c       *conn
	api     *api
	version int16
	corr    int32
	began   time.Duration // on the server's clock, without what it waited for others
	timed   bool          // it counts among the latencies
	size    int           // bytes of the request, if it waits in memory for its answer
	held    int64         // of the server's memory for requests, until it is answered

	// Set before ready, read by the writer after.
	ready bool       // guarded by conn.mu
	out   []byte     // the whole response frame
	late  lateWriter // or what appends it, so that the committer need not

	// A deferred call is run by the writer when it is the head of the queue. It is set before enqueue and never becomes ready.
	deferred deferredCall
	// urgent calls are waited for at Shutdown: what they did is done, the client should know.
	urgent bool
}

// lateWriter appends the body of a response.
type lateWriter interface {
	appendBody(dst []byte) []byte
}

// deferredCall makes a response when its turn has come; it may wait, and must not after the connection's context or the server's stop.
type deferredCall interface {
	// respond adds the response frame to out and returns what to do when it is written.
	respond(ca *call, out *output) (written func())
}

// finish completes a call with a response of the codec. It may be called from any goroutine, once.
func (ca *call) finish(resp kmsg.Response) {
	out := make([]byte, 4, 256)
	out = ca.appendHeader(out)
	out = resp.AppendTo(out)
	ca.complete(sized(out))
}

// complete is finish with the frame made.
func (ca *call) complete(frame []byte) {
	c := ca.c
	c.mu.Lock()
	ca.out = frame
	c.waiting += len(frame)
	c.markReady(ca)
}

// completeLate is finish with a body that the writer makes.
func (ca *call) completeLate(w lateWriter) {
	c := ca.c
	c.mu.Lock()
	ca.late = w
	c.markReady(ca)
}

// markReady wakes the writer if it waits for this very call; conn.mu is held and released.
func (c *conn) markReady(ca *call) {
	ca.ready = true
	head := len(c.queue) > 0 && c.queue[0] == ca
	c.mu.Unlock()
	if head {
		c.signal()
	}
}

// appendHeader appends the response header: version 1 where the request is flexible, but always 0 for ApiVersions, whose response must
// be readable for who does not know our versions yet.
func (ca *call) appendHeader(dst []byte) []byte {
	dst = append(dst, byte(ca.corr>>24), byte(ca.corr>>16), byte(ca.corr>>8), byte(ca.corr))
	if ca.api.flexible(ca.version) && ca.api.key != keyAPIVersions {
		dst = append(dst, 0)
	}
	return dst
}

// sized writes the length of a frame into its first four bytes.
func sized(frame []byte) []byte {
	n := len(frame) - 4
	frame[0], frame[1], frame[2], frame[3] = byte(n>>24), byte(n>>16), byte(n>>8), byte(n)
	return frame
}

// copyBelow is the size up to which bytes are copied together rather than handed to writev one by one.
const copyBelow = 16 << 10

// output collects the frames of one write.
type output struct {
	bufs net.Buffers
	open []byte // small pieces; those before mark are in bufs
	mark int
}

// add appends bytes that stay unchanged until they are written.
func (o *output) add(b []byte) {
	if len(b) < copyBelow {
		o.open = append(o.open, b...)
		return
	}
	o.cut()
	o.bufs = append(o.bufs, b)
}

// hand is add for a buffer that is written on; it returns what to append to next.
func (o *output) hand(b []byte) []byte {
	o.add(b)
	if len(b) < copyBelow {
		return b[:0]
	}
	return nil
}

// cut closes the run of small pieces. A later append may move o.open; what is in bufs stays as it is.
func (o *output) cut() {
	if o.mark < len(o.open) {
		o.bufs = append(o.bufs, o.open[o.mark:len(o.open):len(o.open)])
		o.mark = len(o.open)
	}
}

func (o *output) reset() {
	if cap(o.open) > 4*copyBelow {
		o.open = nil
	}
	clear(o.bufs)
	o.bufs, o.open, o.mark = o.bufs[:0], o.open[:0], 0
}

// write is the writer's goroutine: it takes what is ready at the head of the queue, all of it, and writes it at once.
func (c *conn) write() {
	var out output
	var batch []*call
	idle := time.Duration(c.s.b.Config().ConnectionsMaxIdleMs()) * time.Millisecond
	for {
		var next *call
		var more bool
		batch, next, more = c.take(batch[:0])
		bytes := 0
		for _, ca := range batch {
			if ca.late != nil {
				start := len(out.open)
				out.open = ca.appendHeader(append(out.open, 0, 0, 0, 0))
				out.open = ca.late.appendBody(out.open)
				sized(out.open[start:])
				continue
			}
			bytes += len(ca.out)
			out.add(ca.out)
		}
		held := int64(0)
		for _, ca := range append(batch, next) {
			if ca != nil {
				bytes, held = bytes+ca.size, held+ca.held
			}
		}
		var written func()
		if next != nil {
			written = next.deferred.respond(next, &out)
		}
		out.cut()
		err := c.ctx.Err()
		if err == nil && len(out.bufs) > 0 {
			err = c.flush(&out, idle)
		}
		if err == nil {
			c.answered(batch, next)
		}
		out.reset()
		if written != nil {
			written()
		}
		c.s.requests.adjust(-held)
		if c.release(bytes); err != nil {
			return
		}
		if len(batch) > 0 || next != nil {
			continue
		}
		if !more {
			return
		}
		select {
		case <-c.wake:
		case <-c.ctx.Done():
			return
		}
	}
}

// flush writes everything. A peer that takes nothing for the idle time is given up; one that takes less than 32 KiB a second already after
// FrameTimeout if others need the memory for fetched records.
func (c *conn) flush(out *output, idle time.Duration) error {
	all := out.bufs // WriteTo eats its receiver
	step := min(c.s.opt.FrameTimeout, idle)
	stalled := time.Duration(0)
	for {
		if now := time.Now(); now.Add(step).After(c.writeBy) {
			c.writeBy = now.Add(step + step/4) // not for every write: setting it takes longer than a small one
			_ = c.nc.SetWriteDeadline(c.writeBy)
		}
		var n int64
		var err error
		if len(all) == 1 {
			var wrote int
			wrote, err = c.nc.Write(all[0])
			n, all[0] = int64(wrote), all[0][wrote:]
		} else {
			n, err = all.WriteTo(c.nc)
		}
		if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) || c.ctx.Err() != nil {
			return err
		}
		if stalled += step; n > 0 {
			stalled = 0
		}
		slow := n < int64(step/time.Second)*(32<<10) || n == 0
		if stalled >= idle || slow && (c.s.fetches.halfSpent() || c.s.scarce.halfSpent()) {
			return err
		}
	}
}

// take removes the ready head of the queue. Without one it returns a deferred head as next. more is false when nothing will come.
func (c *conn) take(batch []*call) (_ []*call, next *call, more bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for n < len(c.queue) && c.queue[n].ready {
		n++
	}
	batch = append(batch, c.queue[:n]...)
	if n == 0 && len(c.queue) > 0 && c.queue[0].deferred != nil {
		next, n = c.queue[0], 1
	}
	if n > 0 {
		rest := copy(c.queue, c.queue[n:])
		clear(c.queue[rest:])
		c.queue = c.queue[:rest]
	}
	more = !c.ended
	if c.ended {
		for _, ca := range c.queue {
			more = more || ca.urgent
		}
	}
	return batch, next, more
}

// release tells the reader that the queue became shorter and bytes were written or forgotten.
func (c *conn) release(bytes int) {
	c.mu.Lock()
	c.waiting -= bytes
	c.mu.Unlock()
	select {
	case c.room <- struct{}{}:
	default:
	}
}
