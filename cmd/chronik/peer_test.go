package main

import (
	"bytes"
	"log/slog"
	"net"
	"strings"
	"testing"

	"chronik.dev/chronik/broker/config"
	"chronik.dev/chronik/broker/peer"
)

// TestPeerAddressInUse: a chosen address must be free and the error says who has it; the default one is given up with the same words.
func TestPeerAddressInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	other := peer.New()
	other.Attach(peer.Identity{NodeID: 7, ClusterID: "the-other-cluster", MemberID: 1})
	done := make(chan error, 1)
	go func() { done <- other.Serve(l) }()
	defer func() {
		if err := other.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	const who = "address already in use by chronik node 7 of cluster the-other-cluster"
	var log bytes.Buffer
	s := &server{cfg: config.New(), log: slog.New(slog.NewTextHandler(&log, nil))}
	if got, err := s.bindPeer(t.Context(), l.Addr().String(), true); got != nil || err == nil || !strings.Contains(err.Error(), who) {
		t.Errorf("chosen: %v, %v", got, err)
	}
	if log.Len() != 0 {
		t.Errorf("chosen: logged %s", log.String())
	}
	if got, err := s.bindPeer(t.Context(), l.Addr().String(), false); got != nil || err != nil || !strings.Contains(log.String(), who) {
		t.Errorf("default: %v, %v, logged %s", got, err, log.String())
	}
	if err := s.cfg.Set(peerKey, l.Addr().String(), config.Env, "test"); err != nil {
		t.Fatal(err)
	}
	if err := s.listenPeer(t.Context()); err == nil || s.peer != nil {
		t.Errorf("set in the environment: %v", err)
	}
	if err := s.cfg.Set(peerKey, "", config.Flag, "test"); err != nil {
		t.Fatal(err)
	}
	if err := s.listenPeer(t.Context()); err != nil || s.peer != nil || s.peerAt != "off" {
		t.Errorf("turned off: %v, %s", err, s.peerAt)
	}
}
