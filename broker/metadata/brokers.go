package metadata

import (
	"maps"
	"math"
	"slices"

	"chronik.dev/chronik/broker/metapb"
)

// registerBroker records a process that runs as a node. A new incarnation leads only in new leader epochs, so one (epoch, offset) never
// has two contents; the same incarnation may register again to change its listeners, and keeps its epoch.
func (e *edit) registerBroker(c *metapb.RegisterBroker) Result {
	b, err := e.broker(c)
	if err != nil {
		return Result{Err: err}
	}
	old := e.Brokers[b.NodeID]
	again := old != nil && old.Incarnation == b.Incarnation
	if again {
		b.Epoch = old.Epoch
	} else if err := e.newIncarnation(b); err != nil {
		return Result{Err: err}
	}
	e.Brokers = maps.Clone(e.Brokers)
	e.Brokers[b.NodeID] = b
	return Result{BrokerEpoch: b.Epoch}
}

// broker checks a registration.
func (e *edit) broker(c *metapb.RegisterBroker) (*Broker, *Error) {
	invalid := func(format string, args ...any) (*Broker, *Error) {
		return nil, refuse(metapb.Verdict_INVALID_COMMAND, "registration of broker %d: "+format, append([]any{c.NodeId}, args...)...)
	}
	b := &Broker{NodeID: c.NodeId, Epoch: int64(e.index), Rack: c.Rack, RegisteredMS: e.timeMS}
	var ok bool
	if b.Incarnation, ok = id16(c.Incarnation); !ok {
		return invalid("incarnation of %d bytes: 16 are needed", len(c.Incarnation))
	}
	if c.NodeId < 0 {
		return invalid("node ids start at 0")
	}
	if len(c.Rack) > maxNameText || len(c.Listeners) > maxListeners || len(c.Damaged) > maxDamaged {
		return invalid("%d listeners, %d damaged ranges, rack of %d bytes: too much", len(c.Listeners), len(c.Damaged), len(c.Rack))
	}
	for i, l := range c.Listeners {
		if len(l.Name) > maxNameText || len(l.Host) > maxNameText || l.Port > math.MaxUint16 {
			return invalid("name, host or port of listener %d is out of range", i)
		}
		b.Listeners = append(b.Listeners, Endpoint{Name: l.Name, Host: l.Host, Port: uint16(l.Port)})
	}
	for _, d := range c.Damaged {
		id, ok := id16(d.TopicId)
		if !ok || d.Partition > maxPartitions {
			return invalid("damaged range without topic id and partition")
		}
		b.Damaged = append(b.Damaged, DamagedRange{TopicID: id, Partition: int32(d.Partition), ProvenEnd: d.ProvenEnd, Corrupt: d.Corrupt})
	}
	return b, nil
}

// newIncarnation raises the leader epoch of every partition that the node leads and takes the node out of the in-sync set of each partition
// of which it reports damage, unless it is the last one in it: a single copy serves on.
func (e *edit) newIncarnation(b *Broker) *Error {
	type place struct {
		id        [16]byte
		partition int32
	}
	damaged := map[place]bool{}
	for _, d := range b.Damaged {
		damaged[place{d.TopicID, d.Partition}] = true
	}
	var changed []*Topic
	for _, t := range e.TopicsByID {
		var parts []Partition
		for i, p := range t.Partitions {
			leaves := damaged[place{t.ID, int32(i)}] && len(p.ISR) > 1 && slices.Contains(p.ISR, b.NodeID)
			if p.Leader != b.NodeID && !leaves {
				continue
			}
			if p.LeaderEpoch == math.MaxInt32 || p.PartitionEpoch == math.MaxInt32 {
				return refuse(metapb.Verdict_LIMIT_EXCEEDED, "a partition that broker %d leads has used up its epochs", b.NodeID)
			}
			if parts == nil {
				parts = slices.Clone(t.Partitions)
			}
			parts[i] = p.restarted(b.NodeID, leaves)
		}
		if parts != nil {
			altered := *t
			altered.Partitions = parts
			changed = append(changed, &altered)
		}
	}
	if len(changed) == 0 {
		return nil
	}
	e.Topics, e.TopicsByID = maps.Clone(e.Topics), maps.Clone(e.TopicsByID)
	for _, t := range changed {
		e.Topics[t.Name], e.TopicsByID[t.ID] = t, t
	}
	return nil
}

// restarted returns the partition after a replica came back as a new incarnation.
func (p Partition) restarted(node int32, leaves bool) Partition {
	p.PartitionEpoch++
	if leaves {
		p.ISR = slices.DeleteFunc(slices.Clone(p.ISR), func(n int32) bool { return n == node })
	}
	if p.Leader == node {
		p.LeaderEpoch++
		if leaves {
			p.Leader = p.preferred()
		}
	}
	return p
}

// preferred is the first replica in assignment order that is in sync.
func (p Partition) preferred() int32 {
	for _, n := range p.Replicas {
		if slices.Contains(p.ISR, n) {
			return n
		}
	}
	return -1
}
