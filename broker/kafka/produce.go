package kafka

import (
	"encoding/binary"
	"errors"
	"strings"
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"chronik.dev/chronik/broker/batch"
	"chronik.dev/chronik/broker/partition"
)

// produceCall is a Produce in work: partitions complete from the committer, the writer encodes.
type produceCall struct {
	ca      *call
	acks    int16
	topics  []producedTopic
	parts   []produced // of all topics, in the order of the request
	pending atomic.Int32
}

type producedTopic struct {
	name  string
	id    [16]byte
	parts int // how many of produceCall.parts
}

// produced is the result of one partition. It is written once, before pending falls to 0.
type produced struct {
	p       *produceCall
	index   int32
	err     error
	code    int16
	reason  string
	records []int // indexes of the records that were refused
	a       partition.Appended
	leader  leaderHint
}

// leaderHint tells a client that asked the wrong node or with old knowledge where to go (KIP-951).
type leaderHint struct {
	id    int32 // -1: none
	epoch int32
}

// produce runs Produce on the reader of the connection: the records enter their partitions before the next request is read. An answer
// is due when every partition is durable, or refused; with acks=0 never, and then an error ends the connection, which is all the client
// can notice.
func produce(ca *call, body []byte) error {
	req := &ca.c.produce
	req.SetVersion(ca.version)
	if err := req.UnsafeReadFrom(body); err != nil { // names alias the frame, which is reused: see producedTopic
		return &parseError{request: ca.api.schema.name, field: "?", reason: err.Error()}
	}
	p := &produceCall{ca: ca, acks: req.Acks, topics: make([]producedTopic, len(req.Topics))}
	n := 0
	for i := range req.Topics {
		n += len(req.Topics[i].Partitions)
	}
	p.parts = make([]produced, n)
	p.pending.Store(int32(n) + 1)
	if req.Acks != 0 {
		ca.urgent = true
		if err := ca.c.enqueue(ca); err != nil {
			return err
		}
	}
	refused := refuseProduce(ca, req)
	next := 0
	for i := range req.Topics {
		t := &req.Topics[i]
		p.topics[i] = producedTopic{id: t.TopicID, parts: len(t.Partitions)}
		for j := range t.Partitions {
			r := &p.parts[next]
			next++
			*r = produced{p: p, index: t.Partitions[j].Partition, a: partition.Appended{Base: -1, AppendTime: -1, LogStart: -1}, leader: leaderHint{-1, -1}}
			if refused != nil {
				r.refuse(refused)
				continue
			}
			if name := r.append(t, t.Partitions[j].Records); name != "" {
				p.topics[i].name = name
			}
		}
		if p.topics[i].name == "" {
			p.topics[i].name = strings.Clone(t.Topic)
		}
	}
	p.done()
	return nil
}

// produceError is a refusal of our own, with Kafka's code.
type produceError struct {
	code   *kerr.Error
	reason string
}

// refuseProduce refuses a request as a whole.
func refuseProduce(ca *call, req *kmsg.ProduceRequest) *produceError {
	switch {
	case ca.version < ca.api.schema.min:
		return &produceError{kerr.UnsupportedVersion, "Produce versions 0 to 2 carry message formats of before Kafka 0.11"}
	case req.Acks < -1 || req.Acks > 1:
		return &produceError{kerr.InvalidRequiredAcks, "acks must be -1 (all), 0 or 1"}
	case req.TransactionID != nil:
		return &produceError{kerr.InvalidRequest, noTransactions}
	}
	return nil
}

// append hands one partition's records to its log and returns the topic's name if it exists.
func (r *produced) append(t *kmsg.ProduceRequestTopic, records []byte) (name string) {
	ca := r.p.ca
	b := ca.c.s.b
	var l *partition.Log
	var err error
	if ca.version >= 13 {
		l, err = b.LogByID(t.TopicID, r.index)
	} else {
		l, err = b.Log(t.Topic, r.index)
	}
	if err != nil {
		r.fail(err)
		return ""
	}
	name = l.Identity().Topic
	if refused := checkRecords(records, ca.version); refused != nil {
		r.refuse(refused)
		return name
	}
	b.Append(l, records, r.appended)
	return name
}

// checkRecords refuses what no partition may see from a client: nothing at all, transactional batches, zstd from clients that say they
// do not know it. Everything else of a batch is the partition's to check.
func checkRecords(records []byte, version int16) *produceError {
	if len(records) == 0 {
		return &produceError{kerr.InvalidRecord, "a produce request must have a record batch for every partition that it names"}
	}
	const (
		attributesAt  = 21
		codecMask     = 7
		zstd          = 4
		transactional = 1 << 4
	)
	for b := records; len(b) >= batch.HeaderSize; {
		attributes := binary.BigEndian.Uint16(b[attributesAt:])
		if attributes&transactional != 0 {
			return &produceError{kerr.InvalidRequest, noTransactions}
		}
		if attributes&codecMask == zstd && version < 7 {
			return &produceError{kerr.UnsupportedCompressionType, "zstd needs Produce version 7 (KIP-110)"}
		}
		if magic := b[16]; magic != 2 {
			return &produceError{kerr.InvalidRecord, "message formats before version 2 are not supported"}
		}
		size := 12 + int64(int32(binary.BigEndian.Uint32(b[8:])))
		if size < batch.HeaderSize || size > int64(len(b)) {
			break // malformed: the partition says how
		}
		b = b[size:]
	}
	return nil
}

// appended is the callback of a log, from the committer or from within Append.
func (r *produced) appended(a partition.Appended, err error) {
	if err != nil {
		r.fail(err)
		return
	}
	r.a = a
	r.p.done()
}

func (r *produced) refuse(e *produceError) {
	r.code, r.reason = e.code.Code, e.reason
	r.err = e.code
	r.p.done()
}

func (r *produced) fail(err error) {
	code, reason := failure(err)
	r.err, r.code, r.reason = err, code, *reason
	var records *partition.RecordError
	if errors.As(err, &records) {
		r.records = records.Records
	}
	// A batch whose CRC is right but whose header is wrong was made so: sending it again, as clients do after CORRUPT_MESSAGE, is useless.
	var bad *batch.Error
	if errors.As(err, &bad) && (bad.Reason == batch.BadCount || bad.Reason == batch.BadDelta) {
		r.code = kerr.InvalidRecord.Code
	}
	r.p.done()
}

// done counts a completed partition; the last one completes the call.
func (p *produceCall) done() {
	if p.pending.Add(-1) > 0 {
		return
	}
	if p.acks != 0 {
		p.ca.completeLate(p)
		return
	}
	for i := range p.parts {
		if r := &p.parts[i]; r.err != nil {
			p.ca.c.s.log.Info("produce with acks=0 failed, closing the connection so that the client notices",
				"peer", p.ca.c.nc.RemoteAddr().String(), "client", p.ca.c.client(), "code", kerr.ErrorForCode(r.code), "error", r.reason)
			p.ca.c.close()
			return
		}
	}
}

// appendBody encodes the response, on the writer. The hot path has no use for a tree of structures that is encoded once and dropped.
func (p *produceCall) appendBody(dst []byte) []byte {
	version := p.ca.version
	e := encoder{b: dst, flexible: p.ca.api.flexible(version)}
	next := 0
	var hints []leaderHint
	e.count(len(p.topics))
	for i := range p.topics {
		t := &p.topics[i]
		if version >= 13 {
			e.uuid(t.id)
		} else {
			e.string(t.name)
		}
		e.count(t.parts)
		for range t.parts {
			r := &p.parts[next]
			next++
			if version >= 10 {
				hints = append(hints, r.hint(t)...)
			}
			r.encode(&e, version)
		}
		e.noTags()
	}
	if version >= 1 {
		e.int32(0) // throttle
	}
	if len(hints) > 0 {
		e.nodeEndpoints(p.ca.c, hints)
	} else {
		e.noTags()
	}
	return e.b
}

// hint looks up the leader when the client has to go elsewhere.
func (r *produced) hint(t *producedTopic) []leaderHint {
	if r.code != kerr.NotLeaderForPartition.Code && r.code != kerr.FencedLeaderEpoch.Code {
		return nil
	}
	r.leader = r.p.ca.c.leader(t.name, t.id, r.index)
	if r.leader.id < 0 {
		return nil
	}
	return []leaderHint{r.leader}
}

func (r *produced) encode(e *encoder, version int16) {
	e.int32(r.index)
	e.int16(r.code)
	if r.code != 0 {
		e.int64(-1)
	} else {
		e.int64(r.a.Base)
	}
	if version >= 2 {
		e.int64(r.a.AppendTime)
	}
	if version >= 5 {
		e.int64(r.a.LogStart)
	}
	if version >= 8 {
		e.count(len(r.records))
		for _, n := range r.records {
			e.int32(int32(n))
			e.nullableString("")
			e.noTags()
		}
		e.nullableString(r.reason)
	}
	if e.flexible && r.leader.id >= 0 {
		e.uvarint(1) // one tagged field: 0, the current leader
		e.leaderTag(0, r.leader)
		return
	}
	e.noTags()
}
