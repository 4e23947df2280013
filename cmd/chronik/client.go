package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"chronik.dev/chronik/broker/config"
)

const (
	envBootstrap     = config.EnvPrefix + "BOOTSTRAP"
	defaultBootstrap = "127.0.0.1:9092"
	dialTimeout      = 5 * time.Second        // of one connection
	coordinatorPause = 250 * time.Millisecond // between two questions to a coordinator that is not ready
)

// clientOptions are the flags of every command that asks a cluster.
type clientOptions struct {
	bootstrap string
	timeout   time.Duration
}

func (o *clientOptions) flags(cmd *cobra.Command) {
	o.bootstrapFlag(cmd)
	cmd.Flags().DurationVar(&o.timeout, "timeout", 15*time.Second, "give up after `DURATION`")
}

func (o *clientOptions) bootstrapFlag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.bootstrap, "bootstrap", "", "`HOST:PORT` of a broker, or several with commas (else "+envBootstrap+", else "+defaultBootstrap+")")
	_ = cmd.RegisterFlagCompletionFunc("bootstrap", cobra.NoFileCompletions) // fails only for a flag that does not exist
}

// address is where the cluster is: flag over environment over default.
func (o *clientOptions) address() string {
	return cmp.Or(o.bootstrap, os.Getenv(envBootstrap), defaultBootstrap)
}

// session is one command's conversation with a cluster.
type session struct {
	*kgo.Client
	admin   *kadm.Client
	ctx     context.Context // ends at the timeout
	address string
	cancel  context.CancelFunc
	parent  context.Context // of ctx; ends when the command is interrupted
	timeout time.Duration
}

func (s *session) close() {
	s.cancel()
	s.Client.Close()
}

// connect finds a broker that answers, so that every later failure is about the request and not about the address.
func (o *clientOptions) connect(ctx context.Context, opts ...kgo.Opt) (*session, error) {
	if o.timeout <= 0 {
		return nil, usagef("--timeout %v is no time to wait; write it like 15s", o.timeout)
	}
	address := o.address()
	seeds := strings.Split(address, ",")
	for i, seed := range seeds {
		seeds[i] = strings.TrimSpace(seed)
		if _, port, err := net.SplitHostPort(seeds[i]); err != nil || port == "" {
			return nil, usagef("%q is no address of a broker; write HOST:PORT, as %s", seed, defaultBootstrap)
		}
	}
	opts = append([]kgo.Opt{
		kgo.SeedBrokers(seeds...), kgo.ClientID("chronik"), kgo.DialTimeout(min(dialTimeout, o.timeout)), kgo.RetryTimeout(o.timeout),
		kgo.SoftwareNameAndVersion("chronik", softwareVersion()),
	}, opts...)
	client, err := kgo.NewClient(opts...)
	if err != nil {
		return nil, usage(err)
	}
	s := &session{Client: client, admin: kadm.NewClient(client), address: address, parent: ctx, timeout: o.timeout}
	s.ctx, s.cancel = context.WithTimeout(ctx, o.timeout)
	s.admin.SetTimeoutMillis(int32(min(o.timeout.Milliseconds(), 1<<30)))
	if err := client.Ping(s.ctx); err != nil {
		defer s.close()
		return nil, s.noAnswer(ctx, err)
	}
	return s, nil
}

// asking is the RunE of a command that only talks to a cluster: it is connected before, and closed behind it.
func (o *clientOptions) asking(do func(s *session, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		s, err := o.connect(cmd.Context())
		if err != nil {
			return err
		}
		defer s.close()
		return do(s, args)
	}
}

// softwareVersion is what brokers may be told (KIP-511): letters, digits, dots and dashes.
func softwareVersion() string {
	clean := strings.Map(func(r rune) rune {
		if r == '.' || r == '-' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return '-'
	}, buildInfo().Version)
	return cmp.Or(strings.Trim(clean, ".-"), "devel")
}

// noAnswer explains that no broker answered: nobody listens, somebody else does, or nothing came in time.
func (s *session) noAnswer(parent context.Context, err error) error {
	const next = "start a node with 'chronik serve', or name a broker with --bootstrap HOST:PORT or " + envBootstrap
	var dial *net.OpError
	switch {
	case parent.Err() != nil:
		return errInterrupted
	case errors.As(err, &dial) && dial.Op == "dial":
		return &exitError{code: exitUnreachable, err: fmt.Errorf("no broker at %s: %w; %s", s.address, dial.Err, next)}
	case errors.Is(err, context.DeadlineExceeded):
		return &exitError{code: exitTimeout, err: fmt.Errorf(
			"no answer from %s in time: something accepts connections there but does not answer; look at its log, or wait longer with --timeout", s.address)}
	}
	return &exitError{code: exitUnreachable, err: fmt.Errorf("what listens at %s does not answer as a Kafka broker: %w; %s", s.address, err, next)}
}

// errInterrupted ends a command that was told to stop.
var errInterrupted = &exitError{code: exitFailed, err: errors.New("interrupted")}

// failed says which request failed, why, and what to do about it.
func (s *session) failed(what string, err error) error {
	err = fmt.Errorf("cannot %s: %w", what, s.explained(err))
	if next := s.next(err); next != "" {
		err = fmt.Errorf("%w; %s", err, next)
	}
	return err
}

// explained replaces what the client library says of time, connections and requests that were split by broker.
func (s *session) explained(err error) error {
	var dial *net.OpError
	var shards *kadm.ShardErrors
	if errors.As(err, &shards) && len(shards.Errs) > 0 {
		err = shards.Errs[0].Err
	}
	switch {
	case errors.As(err, &dial) && dial.Op == "dial":
		return &exitError{code: exitUnreachable, err: fmt.Errorf("the broker at %s answers, but the one that clients are sent to, %v, does not: %w",
			s.address, dial.Addr, dial.Err)}
	case errors.Is(err, context.DeadlineExceeded):
		return &exitError{code: exitTimeout, err: fmt.Errorf("no answer from %s in time", s.address)}
	}
	if code, bare := err.(*kerr.Error); bare { // a wrapped one has words of its own around it
		return &messageError{code: code, message: strings.TrimRight(code.Description, ". ")}
	}
	return err
}

// next is what to do about an error, where there is something general to say.
func (s *session) next(err error) string {
	switch {
	case errors.Is(err, kerr.UnknownTopicOrPartition), errors.Is(err, kerr.UnknownTopicID):
		return "'chronik topic list' shows what there is"
	case errors.Is(err, kerr.GroupIDNotFound):
		return "'chronik group list' shows what there is"
	case errors.Is(err, kerr.TopicAlreadyExists):
		return "'chronik topic describe' shows it; --if-not-exists accepts it"
	case errors.Is(err, kerr.InvalidReplicationFactor):
		return "'chronik cluster describe' counts the brokers"
	case errors.Is(err, kerr.NonEmptyGroup), errors.Is(err, kerr.UnknownMemberID):
		return "stop its consumers first; 'chronik group describe' names them"
	case errors.Is(err, kerr.MessageTooLarge), errors.Is(err, kerr.RecordListTooLarge):
		return "the topic's max.message.bytes bounds it; 'chronik topic alter' changes that"
	case exitCode(err) == exitUnreachable:
		return "compare advertised.listeners with 'chronik cluster describe'"
	case exitCode(err) == exitTimeout:
		return "look at the broker's log, or wait longer with --timeout"
	}
	return ""
}

// brokerError joins the code and the message of a response.
func brokerError(err error, message string) error {
	if err == nil || message == "" {
		return err
	}
	var code *kerr.Error
	if errors.As(err, &code) {
		return &messageError{code: code, message: strings.TrimRight(message, ". \n")}
	}
	return fmt.Errorf("%w (%s)", err, message)
}

// messageError is a broker's error with its own words instead of the general ones.
type messageError struct {
	code    *kerr.Error
	message string
}

func (e *messageError) Error() string { return e.code.Message + ": " + e.message }
func (e *messageError) Unwrap() error { return e.code }

// anew is a context that ends after the timeout from now: a person may have thought for longer than that.
func (s *session) anew() (context.Context, context.CancelFunc) {
	return context.WithTimeout(s.parent, s.timeout)
}

// patiently repeats a request about a group while its coordinator is being found or loaded: a cluster that never had a group makes the
// topic for it on the first question, which takes Apache Kafka seconds.
func (s *session) patiently(ask func() error) error {
	for {
		err := ask()
		if !errors.Is(err, kerr.CoordinatorNotAvailable) && !errors.Is(err, kerr.CoordinatorLoadInProgress) && !errors.Is(err, kerr.NotCoordinator) {
			return err
		}
		select {
		case <-s.ctx.Done():
			return err
		case <-time.After(coordinatorPause):
		}
	}
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
