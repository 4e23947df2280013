package peer

import (
	"net"
	"sync"
)

// connections are those that are open. gRPC itself neither bounds them nor ends the silent ones when it stops.
type connections struct {
	mu  sync.Mutex
	all map[net.Conn]bool // at most maxConnections
	end bool              // cut was called: none is taken any more
}

// add says whether c may stay.
func (o *connections) add(c net.Conn) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.end || len(o.all) >= maxConnections {
		return false
	}
	o.all[c] = true
	return true
}

func (o *connections) remove(c net.Conn) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.all, c)
}

// cut closes every connection.
func (o *connections) cut() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.end = true
	for c := range o.all {
		_ = c.Close() // its user sees it and closes again
	}
}

// limited is a listener whose connections are counted.
type limited struct {
	net.Listener
	open *connections
}

// Accept returns the next connection that may stay.
func (l *limited) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.open.add(c) {
			return &counted{Conn: c, open: l.open}, nil
		}
		_ = c.Close() // refused; there is nobody to tell
	}
}

// counted is a connection that is counted until it is closed.
type counted struct {
	net.Conn
	open *connections
}

// Close closes the connection.
func (c *counted) Close() error {
	c.open.remove(c.Conn)
	return c.Conn.Close()
}
