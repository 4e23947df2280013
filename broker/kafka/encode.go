package kafka

import (
	"encoding/binary"

	"chronik.dev/chronik/broker/metadata"
)

// encoder writes the responses of the hot path, Produce and Fetch, by hand. A test compares it with the codec at every version.
type encoder struct {
	b        []byte
	flexible bool
}

func (e *encoder) int16(v int16)       { e.b = binary.BigEndian.AppendUint16(e.b, uint16(v)) }
func (e *encoder) int32(v int32)       { e.b = binary.BigEndian.AppendUint32(e.b, uint32(v)) }
func (e *encoder) int64(v int64)       { e.b = binary.BigEndian.AppendUint64(e.b, uint64(v)) }
func (e *encoder) uuid(v [16]byte)     { e.b = append(e.b, v[:]...) }
func (e *encoder) uvarint(v int)       { e.b = binary.AppendUvarint(e.b, uint64(v)) }
func (e *encoder) compact(s string)    { e.uvarint(len(s) + 1); e.b = append(e.b, s...) }
func (e *encoder) leader(l leaderHint) { e.int32(l.id); e.int32(l.epoch); e.uvarint(0) }

// count writes the length of an array.
func (e *encoder) count(n int) {
	if e.flexible {
		e.uvarint(n + 1)
	} else {
		e.int32(int32(n))
	}
}

// size writes the length of the records that follow; there is no null.
func (e *encoder) size(n int) { e.count(n) }

func (e *encoder) string(s string) {
	if e.flexible {
		e.compact(s)
		return
	}
	e.int16(int16(len(s)))
	e.b = append(e.b, s...)
}

// nullableString writes null for "".
func (e *encoder) nullableString(s string) {
	switch {
	case s != "":
		const most = 1 << 14 // a reason is a sentence, and an int16 must hold its length
		e.string(s[:min(len(s), most)])
	case e.flexible:
		e.uvarint(0)
	default:
		e.int16(-1)
	}
}

func (e *encoder) noTags() {
	if e.flexible {
		e.uvarint(0)
	}
}

// leaderTag writes a CurrentLeader as the tagged field with that number.
func (e *encoder) leaderTag(tag int, l leaderHint) {
	e.uvarint(tag)
	e.uvarint(9)
	e.leader(l)
}

// nodeEndpoints ends a response with the tagged field 0: where the nodes are that hints name (KIP-951).
func (e *encoder) nodeEndpoints(c *conn, hints []leaderHint) {
	image := c.s.b.Image()
	named := map[int32]bool{}
	var nodes []*metadata.Broker
	for _, h := range hints {
		if b := image.Brokers[h.id]; b != nil && !named[h.id] {
			named[h.id] = true
			nodes = append(nodes, b)
		}
	}
	inner := encoder{flexible: true}
	inner.count(len(nodes))
	for _, b := range nodes {
		ep, _ := c.endpoint(b)
		inner.int32(b.NodeID)
		inner.compact(ep.Host)
		inner.int32(int32(ep.Port))
		inner.nullableString(b.Rack)
		inner.noTags()
	}
	e.uvarint(1)
	e.uvarint(0)
	e.uvarint(len(inner.b))
	e.b = append(e.b, inner.b...)
}

// leader looks up who leads a partition, for clients of this connection. The topic is found by name, or without one by id.
func (c *conn) leader(name string, id [16]byte, partition int32) leaderHint {
	image := c.s.b.Image()
	t := image.TopicsByID[id]
	if name != "" {
		t = image.Topics[name]
	}
	if t == nil || partition < 0 || int(partition) >= len(t.Partitions) {
		return leaderHint{-1, -1}
	}
	p := &t.Partitions[partition]
	if !c.reaches(image, p.Leader) {
		return leaderHint{-1, -1}
	}
	return leaderHint{p.Leader, p.LeaderEpoch}
}
