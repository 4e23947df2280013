package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// outage tells a person that a broker went away: the client library keeps trying in silence.
type outage struct {
	a    *app
	mu   sync.Mutex
	told bool              // from now on: the first connection has an error of its own
	down map[string]string // what is said of an address
}

// begin lets a person be told.
func (o *outage) begin() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.told = true
}

// OnBrokerConnect is told of every attempt.
func (o *outage) OnBrokerConnect(b kgo.BrokerMetadata, _ time.Duration, _ net.Conn, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	address := fmt.Sprintf("%s:%d", b.Host, b.Port)
	if err == nil {
		if o.down[address] != "" {
			fmt.Fprintf(o.a.err, "%s answers again\n", address)
		}
		delete(o.down, address)
		return
	}
	if o.down == nil {
		o.down = map[string]string{}
	}
	var dial *net.OpError
	if errors.As(err, &dial) {
		err = dial.Err
	}
	if o.told && o.down[address] == "" && !errors.Is(err, context.Canceled) {
		o.down[address] = fmt.Sprintf("%s does not answer (%v)", address, err)
		fmt.Fprintf(o.a.err, "%s; trying again\n", o.down[address])
	}
}

// current is what is wrong now, empty for nothing.
func (o *outage) current() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, text := range o.down {
		return text
	}
	return ""
}
