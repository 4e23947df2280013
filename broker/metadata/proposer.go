package metadata

import (
	"fmt"
	"sync/atomic"

	"google.golang.org/protobuf/proto"

	"chronik.dev/chronik/broker/metapb"
)

// Proposer numbers and encodes the commands of one process. Its methods may be called from any goroutine.
type Proposer struct {
	incarnation [16]byte
	sequence    atomic.Uint64
}

// NewProposer returns the proposer of a process; the incarnation must be new for each start (random).
func NewProposer(incarnation [16]byte) *Proposer {
	return &Proposer{incarnation: incarnation}
}

// Encode gives a command the next sequence number and the proposer's time in milliseconds, and encodes it. Body is one of *metapb.InitCluster,
// CreateTopic, DeleteTopic, CreatePartitions, AlterConfigs, RegisterBroker, AllocateProducerIds, TopicDropped. A retry proposes the same
// bytes again: the answer is then the first one's.
func (p *Proposer) Encode(nowMS int64, body proto.Message) ([]byte, error) {
	c := &metapb.Command{Format: metapb.Format, Proposer: p.incarnation[:], TimeMs: nowMS}
	switch b := body.(type) {
	case *metapb.InitCluster:
		c.Body = &metapb.Command_InitCluster{InitCluster: b}
	case *metapb.CreateTopic:
		c.Body = &metapb.Command_CreateTopic{CreateTopic: b}
	case *metapb.DeleteTopic:
		c.Body = &metapb.Command_DeleteTopic{DeleteTopic: b}
	case *metapb.CreatePartitions:
		c.Body = &metapb.Command_CreatePartitions{CreatePartitions: b}
	case *metapb.AlterConfigs:
		c.Body = &metapb.Command_AlterConfigs{AlterConfigs: b}
	case *metapb.RegisterBroker:
		c.Body = &metapb.Command_RegisterBroker{RegisterBroker: b}
	case *metapb.AllocateProducerIds:
		c.Body = &metapb.Command_AllocateProducerIds{AllocateProducerIds: b}
	case *metapb.TopicDropped:
		c.Body = &metapb.Command_TopicDropped{TopicDropped: b}
	default:
		return nil, fmt.Errorf("encode metadata command: %T is none", body)
	}
	c.Sequence = p.sequence.Add(1)
	data, err := metapb.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("encode metadata command: %w", err)
	}
	if len(data) > metapb.MaxCommand {
		return nil, fmt.Errorf("encode metadata command: %d bytes, at most %d are allowed; make several smaller requests", len(data), metapb.MaxCommand)
	}
	return data, nil
}
