// Package peer is the port that nodes use among themselves, apart from the one of clients: gRPC with one question, "who are you?".
//
// The idea: a node that founds or joins a cluster must know whom it talks to before it believes anything, and so must an operator whose two
// nodes were given one address. Identify answers with the identity of the data directory; it reads nothing else and changes nothing.
//
// The guarantee: who connects costs a bounded amount. Messages have at most 64 KiB, a connection 16 calls at a time, the server 256
// connections; one that does not begin to speak gRPC is closed after 5 s, one that asks nothing for 5 minutes or does not answer a ping is
// closed too. What a peer answered is checked before it is returned. The connection is neither encrypted nor authenticated: whoever reaches
// the port may ask, and an answer proves nothing.
//
// The API: New, Serve on a listener, Attach once the node knows its identity, Shutdown; Ask is the other side.
package peer

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"
	"unicode"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"chronik.dev/chronik/broker/peerpb"
)

// Limits of the port, the same for both sides.
const (
	MaxMessage     = 64 << 10 // bytes of one message
	maxHeaders     = 8 << 10  // bytes of one header list
	maxStreams     = 16       // calls at once on one connection
	maxConnections = 256      // further ones are closed at accept
	bufferSize     = 4 << 10  // bytes, for reading and for writing, per connection

	connectTimeout = 5 * time.Second // until a connection speaks gRPC
	maxIdle        = 5 * time.Minute // without a call
	pingAfter      = 30 * time.Second
	pingTimeout    = 10 * time.Second
	minPing        = 10 * time.Second // a client that pings more often is sent away
)

// Identity is what a node says about itself; docs/format/identity.md has the meaning of its fields.
type Identity struct {
	NodeID      int32    // the operator's number, at least 0
	ClusterID   string   // 1 to 255 bytes
	DirectoryID [16]byte // random, of the data directory
	MemberID    uint64   // Raft member id, random, not 0
	Founded     bool     // the directory belongs to its cluster for good
	Version     string   // of the program; may be empty
}

// String is for messages: "node 1 of cluster X (directory Y)".
func (id Identity) String() string {
	return fmt.Sprintf("node %d of cluster %s (directory %x)", id.NodeID, id.ClusterID, id.DirectoryID)
}

// maxText bounds every text in an answer, in bytes.
const maxText = 255

// parse checks an answer.
func parse(r *peerpb.IdentifyResponse) (Identity, error) {
	id := Identity{NodeID: r.GetNodeId(), ClusterID: r.GetClusterId(), MemberID: r.GetMemberId(), Founded: r.GetFounded(), Version: r.GetVersion()}
	directory, err := hex.DecodeString(r.GetDirectoryId())
	switch {
	case err != nil || len(directory) != len(id.DirectoryID):
		return Identity{}, fmt.Errorf("directory id %.40q is not 32 hexadecimal digits", r.GetDirectoryId())
	case id.NodeID < 0:
		return Identity{}, fmt.Errorf("node id %d is negative", id.NodeID)
	case id.ClusterID == "" || !printable(id.ClusterID):
		return Identity{}, fmt.Errorf("cluster id %.40q is empty, too long or not printable", id.ClusterID)
	case id.MemberID == 0:
		return Identity{}, fmt.Errorf("member id is 0")
	case !printable(id.Version):
		return Identity{}, fmt.Errorf("version %.40q is too long or not printable", id.Version)
	}
	id.DirectoryID = [16]byte(directory)
	return id, nil
}

// printable says whether a text of a stranger may go to a terminal and a log.
func printable(text string) bool {
	for _, r := range text {
		if !unicode.IsPrint(r) {
			return false
		}
	}
	return len(text) <= maxText
}

// Server answers other nodes.
type Server struct {
	peerpb.UnimplementedPeerServer
	grpc *grpc.Server
	open connections
	id   atomic.Pointer[Identity] // nil while the node is starting
}

// New returns a server that says "starting" until Attach.
func New() *Server {
	s := &Server{}
	s.open.all = map[net.Conn]bool{}
	s.grpc = grpc.NewServer(
		grpc.MaxRecvMsgSize(MaxMessage), grpc.MaxSendMsgSize(MaxMessage), grpc.MaxHeaderListSize(maxHeaders), grpc.MaxConcurrentStreams(maxStreams),
		grpc.ReadBufferSize(bufferSize), grpc.WriteBufferSize(bufferSize), grpc.ConnectionTimeout(connectTimeout),
		grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionIdle: maxIdle, Time: pingAfter, Timeout: pingTimeout}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: minPing, PermitWithoutStream: true}),
	)
	peerpb.RegisterPeerServer(s.grpc, s)
	return s
}

// Attach says who this node is, from now on.
func (s *Server) Attach(id Identity) { s.id.Store(&id) }

// Serve answers on l until Shutdown, and closes it. The error is nil after Shutdown.
func (s *Server) Serve(l net.Listener) error {
	if err := s.grpc.Serve(&limited{Listener: l, open: &s.open}); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("peer listener %s: %w", l.Addr(), err)
	}
	return nil
}

// Shutdown takes no further calls and waits for those in work, until ctx is done; then it cuts the connections and returns ctx's error.
func (s *Server) Shutdown(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		s.grpc.GracefulStop()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		s.open.cut() // also those that have not said anything yet, for which Stop would wait
		s.grpc.Stop()
		<-done
		return context.Cause(ctx)
	}
}

// Identify implements the service.
func (s *Server) Identify(context.Context, *peerpb.IdentifyRequest) (*peerpb.IdentifyResponse, error) {
	id := s.id.Load()
	if id == nil {
		return nil, status.Error(codes.Unavailable, "a chronik node is starting there")
	}
	return &peerpb.IdentifyResponse{
		NodeId: id.NodeID, ClusterId: id.ClusterID, DirectoryId: hex.EncodeToString(id.DirectoryID[:]), MemberId: id.MemberID,
		Founded: id.Founded, Version: id.Version,
	}, nil
}
