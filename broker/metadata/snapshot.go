package metadata

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"

	"chronik.dev/chronik/broker/metapb"
)

// Snapshot returns the whole state as an encoded metapb.Snapshot, sorted and with its own hash inside: equal states have equal bytes.
func (s *State) Snapshot() ([]byte, error) {
	p := s.encode()
	h, err := hash(p)
	if err != nil {
		return nil, err
	}
	p.Hash = h
	return metapb.Marshal(p)
}

// Hash returns the hash of the state: the first eight bytes of SHA-256 over its snapshot. It costs as much as a snapshot.
func (s *State) Hash() uint64 {
	h, err := hash(s.encode())
	if err != nil {
		panic(fmt.Sprintf("metadata: %v", err)) // strings are checked when they enter the state
	}
	return h
}

// hash hashes a snapshot as if its hash were not there.
func hash(p *metapb.Snapshot) (uint64, error) {
	p.Hash = 0
	b, err := metapb.Marshal(p)
	if err != nil {
		return 0, fmt.Errorf("encode metadata snapshot: %w", err)
	}
	sum := sha256.Sum256(b)
	return binary.BigEndian.Uint64(sum[:]), nil
}

// Restore replaces the state by a snapshot. On error the state is as before: ErrUnsupported if a newer version wrote the bytes, another
// error if they are not exactly what Snapshot wrote.
func (s *State) Restore(data []byte) error {
	var p metapb.Snapshot
	if err := metapb.Unmarshal(data, &p, metapb.MaxSnapshot); err != nil {
		if errors.Is(err, metapb.ErrFormat) {
			return unsupported("metadata snapshot: %v", err)
		}
		return fmt.Errorf("restore metadata snapshot: %w", err)
	}
	fresh := New()
	if err := fresh.decode(&p); err != nil {
		return fmt.Errorf("restore metadata snapshot: %w", err)
	}
	again, err := fresh.Snapshot()
	if err != nil {
		return fmt.Errorf("restore metadata snapshot: %w", err)
	}
	if !bytes.Equal(again, data) {
		return errors.New("restore metadata snapshot: its hash or order is wrong; the bytes are damaged or were not written by chronik")
	}
	s.collision, s.dedup = fresh.collision, fresh.dedup
	s.image.Store(fresh.image.Load())
	return nil
}

// encode returns the state as a message.
func (s *State) encode() *metapb.Snapshot {
	im := s.image.Load()
	p := &metapb.Snapshot{Format: metapb.Format, Index: im.Index, ClusterId: im.ClusterID, NextProducerId: im.NextProducerID}
	byID := func(a, b [16]byte) int { return bytes.Compare(a[:], b[:]) }
	for _, id := range slices.SortedFunc(maps.Keys(im.TopicsByID), byID) {
		p.Topics = append(p.Topics, encodeTopic(im.TopicsByID[id]))
	}
	for _, id := range slices.SortedFunc(maps.Keys(im.Deleted), byID) {
		d := im.Deleted[id]
		p.Deleted = append(p.Deleted, &metapb.Deleted{Id: d.ID[:], Name: d.Name, Created: d.Created, Index: d.Index,
			Partitions: uint32(d.Partitions), Waiting: d.Waiting})
	}
	for _, id := range slices.Sorted(maps.Keys(im.Brokers)) {
		p.Brokers = append(p.Brokers, encodeBroker(im.Brokers[id]))
	}
	for _, id := range slices.Sorted(maps.Keys(im.BrokerConfigs)) {
		p.BrokerConfigs = append(p.BrokerConfigs, &metapb.BrokerConfigs{NodeId: id, Configs: encodeConfigs(im.BrokerConfigs[id])})
	}
	for _, id := range s.dedup.sorted() {
		q := s.dedup.proposers[id]
		p.Proposers = append(p.Proposers, &metapb.Proposer{Incarnation: id[:], Outcomes: q.outcomes, Floor: q.floor})
	}
	return p
}

func encodeConfigs(m map[string]string) []*metapb.Config {
	var list []*metapb.Config
	for _, key := range slices.Sorted(maps.Keys(m)) {
		list = append(list, &metapb.Config{Key: key, Value: m[key]})
	}
	return list
}

func encodeTopic(t *Topic) *metapb.Topic {
	p := &metapb.Topic{Id: t.ID[:], Name: t.Name, Index: t.Index, Internal: t.Internal, Configs: encodeConfigs(t.Configs)}
	for _, q := range t.Partitions {
		p.Partitions = append(p.Partitions, &metapb.Partition{Index: q.Index, Leader: q.Leader, LeaderEpoch: uint32(q.LeaderEpoch),
			PartitionEpoch: uint32(q.PartitionEpoch), Replicas: q.Replicas, Isr: q.ISR})
	}
	return p
}

func encodeBroker(b *Broker) *metapb.Broker {
	p := &metapb.Broker{NodeId: b.NodeID, Incarnation: b.Incarnation[:], Epoch: b.Epoch, Rack: b.Rack, RegisteredMs: b.RegisteredMS}
	for _, l := range b.Listeners {
		p.Listeners = append(p.Listeners, &metapb.Endpoint{Name: l.Name, Host: l.Host, Port: uint32(l.Port)})
	}
	for _, d := range b.Damaged {
		p.Damaged = append(p.Damaged, &metapb.DamagedRange{TopicId: d.TopicID[:], Partition: uint32(d.Partition), ProvenEnd: d.ProvenEnd, Corrupt: d.Corrupt})
	}
	return p
}

// decode fills an empty state. It checks what would break the state machine; that everything else is exact, Restore proves by encoding again.
func (s *State) decode(p *metapb.Snapshot) error {
	im := s.image.Load()
	im.Index, im.ClusterID, im.NextProducerID = p.Index, p.ClusterId, p.NextProducerId
	for _, t := range p.Topics {
		d, err := decodeTopic(t)
		if err != nil {
			return err
		}
		im.Topics[d.Name], im.TopicsByID[d.ID] = d, d
		s.collision[collisionKey(d.Name)] = d.Name
	}
	if len(im.Topics) != len(im.TopicsByID) || len(im.Topics) != len(s.collision) {
		return errors.New("two topics with one name")
	}
	for _, d := range p.Deleted {
		id, ok := id16(d.Id)
		if !ok || len(d.Waiting) == 0 || im.TopicsByID[id] != nil {
			return fmt.Errorf("deleted topic %q is not one", d.Name)
		}
		im.Deleted[id] = &Deleted{Name: d.Name, ID: id, Created: d.Created, Index: d.Index, Partitions: int32(d.Partitions), Waiting: d.Waiting}
	}
	for _, b := range p.Brokers {
		id, ok := id16(b.Incarnation)
		if !ok {
			return fmt.Errorf("broker %d has an incarnation of %d bytes", b.NodeId, len(b.Incarnation))
		}
		d := &Broker{NodeID: b.NodeId, Incarnation: id, Epoch: b.Epoch, Rack: b.Rack, RegisteredMS: b.RegisteredMs}
		for _, l := range b.Listeners {
			d.Listeners = append(d.Listeners, Endpoint{Name: l.Name, Host: l.Host, Port: uint16(l.Port)})
		}
		for _, r := range b.Damaged {
			topic, _ := id16(r.TopicId)
			d.Damaged = append(d.Damaged, DamagedRange{TopicID: topic, Partition: int32(r.Partition), ProvenEnd: r.ProvenEnd, Corrupt: r.Corrupt})
		}
		im.Brokers[b.NodeId] = d
	}
	for _, c := range p.BrokerConfigs {
		im.BrokerConfigs[c.NodeId] = decodeConfigs(c.Configs)
	}
	return s.decodeProposers(p.Proposers)
}

func decodeConfigs(list []*metapb.Config) map[string]string {
	m := make(map[string]string, len(list))
	for _, c := range list {
		m[c.Key] = c.Value
	}
	return m
}

func decodeTopic(t *metapb.Topic) (*Topic, error) {
	id, ok := id16(t.Id)
	if !ok || len(t.Partitions) == 0 {
		return nil, fmt.Errorf("topic %q has no id or no partition", t.Name)
	}
	d := &Topic{Name: t.Name, ID: id, Index: t.Index, Internal: t.Internal, Configs: decodeConfigs(t.Configs), Partitions: make([]Partition, len(t.Partitions))}
	for i, q := range t.Partitions {
		if len(q.Replicas) == 0 {
			return nil, fmt.Errorf("partition %s-%d has no replica", t.Name, i)
		}
		d.Partitions[i] = Partition{Index: q.Index, Leader: q.Leader, LeaderEpoch: int32(q.LeaderEpoch), PartitionEpoch: int32(q.PartitionEpoch),
			Replicas: q.Replicas, ISR: q.Isr}
	}
	return d, nil
}

// decodeProposers fills the table of answers.
func (s *State) decodeProposers(list []*metapb.Proposer) error {
	s.dedup.proposers = make(map[[16]byte]*proposer, len(list))
	for _, q := range list {
		id, ok := id16(q.Incarnation)
		if !ok || len(q.Outcomes) == 0 || len(q.Outcomes) > window {
			return fmt.Errorf("proposer %x has %d answers, 1 to %d are allowed", q.Incarnation, len(q.Outcomes), window)
		}
		p := &proposer{outcomes: q.Outcomes, floor: q.Floor, last: newest(q.Outcomes)}
		if !slices.IsSortedFunc(q.Outcomes, func(a, b *metapb.Outcome) int { return cmp.Compare(a.Sequence, b.Sequence) }) {
			return fmt.Errorf("the answers of proposer %x are not in order", q.Incarnation)
		}
		s.dedup.proposers[id] = p
	}
	if len(s.dedup.proposers) > maxProposers {
		return fmt.Errorf("%d proposers, at most %d are allowed", len(s.dedup.proposers), maxProposers)
	}
	return nil
}
