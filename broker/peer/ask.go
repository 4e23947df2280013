package peer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"chronik.dev/chronik/broker/peerpb"
)

// askTimeout bounds Ask if the caller does not: a port may accept and never say a word.
const askTimeout = 5 * time.Second

// Ask asks who listens on addr (HOST:PORT). It tries once, for 5 s at most, sooner if ctx ends. The error says what is there as far as it
// can be known: nothing, a node that is starting, something that is no chronik node or none of a version that answers.
func Ask(ctx context.Context, addr string) (id Identity, err error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	failed := func(err error) (Identity, error) { return Identity{}, fmt.Errorf("ask %s who it is: %w", addr, err) }
	conn, err := grpc.NewClient("passthrough:///"+addr,
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy(), grpc.WithDisableServiceConfig(), grpc.WithDisableRetry(),
		grpc.WithReadBufferSize(bufferSize), grpc.WithWriteBufferSize(bufferSize), grpc.WithMaxHeaderListSize(maxHeaders),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(MaxMessage), grpc.MaxCallSendMsgSize(MaxMessage)))
	if err != nil {
		return failed(err)
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	answer, err := peerpb.NewPeerClient(conn).Identify(ctx, &peerpb.IdentifyRequest{})
	if err != nil {
		s := status.Convert(err)
		return failed(fmt.Errorf("%s: %.200q", s.Code(), s.Message()))
	}
	if id, err = parse(answer); err != nil {
		return failed(fmt.Errorf("no chronik node answers like that: %w", err))
	}
	return id, nil
}
