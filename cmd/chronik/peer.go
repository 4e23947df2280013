package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"

	"chronik.dev/chronik/broker/config"
	"chronik.dev/chronik/broker/peer"
)

const (
	peerKey   = "chronik.peer.listener"
	askBound  = time.Second // how long a start waits to learn who has its peer address
	peerDrain = time.Second // how long a clean stop waits for calls of peers; each takes microseconds
)

// listenPeer opens the port of other nodes, which says "starting" until the node is open. An address that somebody chose must be free. The
// default one need not be: two single nodes on one host both start, and the second has no peer listener.
func (s *server) listenPeer(ctx context.Context) error {
	s.peerAt = "off"
	address := s.cfg.PeerListener()
	if address == "" {
		return nil
	}
	_, origin, _, _ := s.cfg.Origin(peerKey)
	l, err := s.bindPeer(ctx, address, origin != config.Default)
	if l == nil {
		return err
	}
	s.peerAt = l.Addr().String()
	s.peer = peer.New()
	s.goServe(func() error { return s.peer.Serve(l) })
	return nil
}

// bindPeer returns no listener and no error if the address is not free and nobody chose it.
func (s *server) bindPeer(ctx context.Context, address string, chosen bool) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if err == nil {
		return l, nil
	}
	if errors.Is(err, syscall.EADDRINUSE) {
		err = fmt.Errorf("%w by %s", err, whoListens(ctx, address))
	}
	if chosen {
		return nil, fmt.Errorf("peer listener: %w; choose another with --peer-listen, port 0 picks one", err)
	}
	s.log.Warn("no peer listener, other nodes cannot reach this one; --peer-listen chooses an address", "cause", err)
	return nil, nil
}

// whoListens completes "address already in use by".
func whoListens(ctx context.Context, address string) string {
	ctx, cancel := context.WithTimeout(ctx, askBound)
	defer cancel()
	id, err := peer.Ask(ctx, address)
	if err != nil {
		return fmt.Sprintf("something else (%v)", err)
	}
	return "chronik " + id.String()
}

// attachPeer lets the peer listener say who this node is.
func (s *server) attachPeer() {
	if s.peer == nil {
		return
	}
	id := s.broker.Identity()
	s.peer.Attach(peer.Identity{
		NodeID: id.NodeID, ClusterID: id.ClusterID, DirectoryID: id.DirectoryID, MemberID: id.MemberID, Founded: id.Founded,
		Version: buildInfo().Version,
	})
}

// closePeer ends the peer listener.
func (s *server) closePeer() {
	if s.peer == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), peerDrain)
	defer cancel()
	if err := s.peer.Shutdown(ctx); err != nil {
		s.log.Warn("peer connections were cut", "error", err)
	}
}
