package replay

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	clientID     = "chronik-replay"
	dialTimeout  = 5 * time.Second
	maxResponse  = 16 << 20
	produceMax   = 12 // newest version of Produce spoken; from 13 on topics go by id
	produceMin   = 3  // oldest with batches of magic 2
	ackTimeoutMs = 30_000
)

// request is one Produce request: at most one batch of each partition.
type request struct {
	items []*item
	sent  time.Time
}

// answer is what came back for a connection's oldest request, or why the connection ended.
type answer struct {
	conn *conn
	resp *kmsg.ProduceResponse
	err  error
}

// conn is a connection to one broker. Requests are written and answered in the order in which they were handed over.
type conn struct {
	addr     string
	out      chan *request
	answers  chan<- answer
	quit     context.Context
	end      context.CancelFunc
	inflight []*request // the engine's
}

// dial starts a connection; errors come as an answer. It ends with the context.
func dial(ctx context.Context, addr string, answers chan<- answer) *conn {
	c := &conn{addr: addr, out: make(chan *request, maxInFlight), answers: answers}
	c.quit, c.end = context.WithCancel(ctx)
	go func() {
		if err := c.serve(); err != nil {
			c.answer(answer{conn: c, err: fmt.Errorf("broker %s: %w", addr, err)})
		}
	}()
	return c
}

func (c *conn) answer(a answer) {
	select {
	case c.answers <- a:
	case <-c.quit.Done():
	}
}

// serve connects, agrees on a version, writes requests and starts the reader of responses.
func (c *conn) serve() error {
	d := net.Dialer{Timeout: dialTimeout}
	nc, err := d.DialContext(c.quit, "tcp", c.addr)
	if err != nil {
		return err
	}
	defer nc.Close()
	stop := context.AfterFunc(c.quit, func() { _ = nc.Close() })
	defer stop()
	if err := nc.SetDeadline(time.Now().Add(dialTimeout)); err != nil {
		return err
	}
	version, err := negotiate(nc)
	if err != nil {
		return err
	}
	if err := nc.SetDeadline(time.Time{}); err != nil {
		return err
	}
	failed := make(chan error, 1)
	go func() { failed <- c.read(nc, version) }()
	format := kmsg.NewRequestFormatter(kmsg.FormatterClientID(clientID))
	var buf []byte
	for corr := int32(0); ; corr++ {
		select {
		case r := <-c.out:
			buf = format.AppendRequest(buf[:0], r.encode(version), corr)
			if _, err := nc.Write(buf); err != nil {
				return err
			}
		case err := <-failed:
			return err
		case <-c.quit.Done():
			return nil
		}
	}
}

// negotiate asks for the versions that the broker speaks (ApiVersions version 0, which every broker answers).
func negotiate(nc net.Conn) (int16, error) {
	req := kmsg.NewPtrApiVersionsRequest()
	if _, err := nc.Write(kmsg.NewRequestFormatter(kmsg.FormatterClientID(clientID)).AppendRequest(nil, req, 0)); err != nil {
		return 0, err
	}
	body, err := readFrame(nc)
	if err != nil {
		return 0, err
	}
	resp := kmsg.NewPtrApiVersionsResponse()
	if err := resp.ReadFrom(body); err != nil {
		return 0, fmt.Errorf("ApiVersions: %w", err)
	}
	for _, k := range resp.ApiKeys {
		if k.ApiKey == int16(kmsg.Produce) && k.MaxVersion >= produceMin && k.MinVersion <= produceMax {
			return min(k.MaxVersion, produceMax), nil
		}
	}
	return 0, errors.New("it speaks no version of Produce that this tool knows")
}

// read hands over responses until the connection ends.
func (c *conn) read(nc net.Conn, version int16) error {
	for {
		body, err := readFrame(nc)
		if err != nil {
			return err
		}
		resp := kmsg.NewPtrProduceResponse()
		resp.SetVersion(version)
		if resp.IsFlexible() && len(body) > 0 {
			body = body[1:] // no broker sends tags in a response header
		}
		if err := resp.ReadFrom(body); err != nil {
			return fmt.Errorf("response to Produce: %w", err)
		}
		c.answer(answer{conn: c, resp: resp})
	}
}

// readFrame returns a response after its correlation id.
func readFrame(nc net.Conn) ([]byte, error) {
	var head [8]byte
	if _, err := io.ReadFull(nc, head[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n < 4 || n > maxResponse {
		return nil, fmt.Errorf("a response of %d bytes", n)
	}
	body := make([]byte, n-4)
	_, err := io.ReadFull(nc, body)
	return body, err
}

// encode makes the request's message.
func (r *request) encode(version int16) *kmsg.ProduceRequest {
	req := kmsg.NewPtrProduceRequest()
	req.SetVersion(version)
	req.Acks, req.TimeoutMillis = -1, ackTimeoutMs
	at := map[string]int{}
	for _, it := range r.items {
		topic := it.lane.state.Target
		i, there := at[topic]
		if !there {
			t := kmsg.NewProduceRequestTopic()
			t.Topic = topic
			i = len(req.Topics)
			at[topic] = i
			req.Topics = append(req.Topics, t)
		}
		p := kmsg.NewProduceRequestTopicPartition()
		p.Partition, p.Records = it.lane.state.Partition, it.raw
		req.Topics[i].Partitions = append(req.Topics[i].Partitions, p)
	}
	return req
}

// of returns the answer for one batch of the request.
func (a *answer) of(it *item) (base int64, err error) {
	for i := range a.resp.Topics {
		t := &a.resp.Topics[i]
		if t.Topic != it.lane.state.Target {
			continue
		}
		for j := range t.Partitions {
			p := &t.Partitions[j]
			if p.Partition != it.lane.state.Partition {
				continue
			}
			err := kerr.ErrorForCode(p.ErrorCode)
			if err != nil && p.ErrorMessage != nil && *p.ErrorMessage != "" {
				err = fmt.Errorf("%w (%s)", err, *p.ErrorMessage)
			}
			return p.BaseOffset, err
		}
	}
	return -1, errors.New("the response leaves the partition out")
}
