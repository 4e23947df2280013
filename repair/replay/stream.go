package replay

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"math"

	"chronik.dev/chronik/broker/batch"
)

// maxRecords is how many bytes one batch may decompress to when it has to be written anew.
const maxRecords = 256 << 20

// content is what a look at all batches of a partition tells: how much there is to send, what is not sent, and a fingerprint by which a
// resumed replay knows that it reads the same batches.
type content struct {
	Batches    int64 // to send
	Records    int64
	Bytes      int64
	Control    int64 // control batches: markers of transactions
	Aborted    int64 // records of aborted transactions
	Open       int64 // records of transactions without a marker
	Rewritten  int64 // batches that cannot be sent as they are stored
	start, end int64
	sum        hash.Hash
	open       map[int64]*txn
	aborted    map[int64][]*txn // by producer, in the order of offsets
}

// txn is one transaction of a producer in a partition: offsets in [first, last].
type txn struct {
	first, last      int64
	batches, records int64
	bytes, rewritten int64
}

func newContent(start, end int64) *content {
	return &content{start: start, end: end, sum: sha256.New(), open: map[int64]*txn{}, aborted: map[int64][]*txn{}}
}

// add counts a batch in.
func (c *content) add(h *batch.Header, raw []byte) error {
	if h.LastOffset() < c.start || h.BaseOffset >= c.end {
		return nil
	}
	var id [16]byte
	binary.BigEndian.PutUint64(id[:], uint64(h.BaseOffset))
	binary.BigEndian.PutUint32(id[8:], uint32(h.LastOffsetDelta))
	binary.BigEndian.PutUint32(id[12:], h.CRC)
	c.sum.Write(id[:]) // never fails, see hash.Hash
	if h.IsControl() {
		c.Control++
		return c.marker(h, raw)
	}
	if h.Count == 0 {
		return nil
	}
	one := txn{batches: 1, records: int64(h.Count), bytes: int64(len(raw))}
	if mustRewrite(h, c.start) {
		one.rewritten = 1
	}
	c.count(&one, 1)
	if h.IsTransactional() {
		t := c.open[h.ProducerID]
		if t == nil {
			t = &txn{first: h.BaseOffset, last: math.MaxInt64}
			c.open[h.ProducerID] = t
		}
		t.batches, t.records, t.bytes, t.rewritten = t.batches+1, t.records+one.records, t.bytes+one.bytes, t.rewritten+one.rewritten
	}
	return nil
}

func (c *content) count(t *txn, sign int64) {
	c.Batches, c.Records, c.Bytes, c.Rewritten = c.Batches+sign*t.batches, c.Records+sign*t.records, c.Bytes+sign*t.bytes, c.Rewritten+sign*t.rewritten
}

// marker ends a transaction. The key of a control record is its version and its type, 0 for an abort, each a big-endian int16 (KIP-98).
func (c *content) marker(h *batch.Header, raw []byte) error {
	t := c.open[h.ProducerID]
	if t == nil {
		return nil
	}
	return batch.Records(raw, maxRecords, func(r batch.Record) error {
		if len(r.Key) < 4 {
			return nil
		}
		delete(c.open, h.ProducerID)
		if binary.BigEndian.Uint16(r.Key[2:]) == 0 {
			t.last = h.BaseOffset
			c.aborted[h.ProducerID] = append(c.aborted[h.ProducerID], t)
			c.Aborted += t.records
			c.count(t, -1)
		}
		return nil
	})
}

// finish says that all batches were added: what is open now was never committed.
func (c *content) finish() {
	for id, t := range c.open {
		c.aborted[id] = append(c.aborted[id], t)
		c.Open += t.records
		c.count(t, -1)
	}
}

// skips says whether a batch is not sent.
func (c *content) skips(h *batch.Header) bool {
	if h.LastOffset() < c.start || h.BaseOffset >= c.end || h.IsControl() || h.Count == 0 {
		return true
	}
	if h.IsTransactional() {
		for _, t := range c.aborted[h.ProducerID] {
			if h.BaseOffset >= t.first && h.BaseOffset <= t.last {
				return true
			}
		}
	}
	return false
}

// mustRewrite says whether a broker would refuse a batch as it is stored, or the batch holds records below the log start: compaction left
// holes in it or a delete horizon in its base timestamp, or its times were set by the broker.
func mustRewrite(h *batch.Header, logStart int64) bool {
	_, horizon := h.DeleteHorizon()
	return h.Count != h.LastOffsetDelta+1 || horizon || h.LogAppendTime() || h.BaseOffset < logStart
}

// sendable returns a batch as a producer may send it, a copy, but for producer and sequence, and its number of records: with the same bytes
// of records where that is possible, else encoded anew with the same codec, times, keys, values and headers. nil: no record is left.
func sendable(h *batch.Header, raw []byte, logStart int64) ([]byte, int32, error) {
	if !mustRewrite(h, logStart) {
		out := append([]byte(nil), raw...)
		batch.SetBaseOffset(out, 0)
		batch.SetLeaderEpoch(out, -1)
		return out, h.Count, nil
	}
	b := batch.NewBuilder(h.Codec())
	err := batch.Records(raw, maxRecords, func(r batch.Record) error {
		if r.Offset >= logStart {
			b.Append(r.Timestamp, r.Key, r.Value, r.Headers)
		}
		return nil
	})
	if err != nil || b.Len() == 0 {
		return nil, 0, err
	}
	out, err := b.Bytes(0, -1, batch.NoProducerID, batch.NoProducerEpoch, batch.NoSequence)
	return out, int32(b.Len()), err
}
