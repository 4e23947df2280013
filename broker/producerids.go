package broker

import (
	"context"
	"sync"

	"chronik.dev/chronik/broker/metapb"
)

// producerIDBlock is how many producer ids one Raft command reserves, as in Apache Kafka (KIP-730).
const producerIDBlock = 1000

// producerIDs hands out the ids of the block in hand. Ids of a block that a crash interrupted are never handed out again.
type producerIDs struct {
	mu   sync.Mutex
	next int64
	left int
}

// NextProducerID returns a producer id that no producer ever got before.
func (b *Broker) NextProducerID(ctx context.Context) (int64, error) {
	p := &b.producerIDs
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.left == 0 {
		r, err := b.propose(ctx, &metapb.AllocateProducerIds{Count: producerIDBlock})
		if err != nil {
			return 0, AsError(err)
		}
		p.next, p.left = r.FirstProducerID, producerIDBlock
	}
	id := p.next
	p.next++
	p.left--
	return id, nil
}
