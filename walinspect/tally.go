package walinspect

import (
	"encoding/binary"
	"math"
	"strconv"
	"strings"

	"chronik.dev/chronik/broker/batch"
)

// TopicStats is what a target holds of one topic, or of one partition.
type TopicStats struct {
	Topic      string `json:"topic"`               // "id:" and the topic id in hexadecimal where its name is not known
	Partition  *int32 `json:"partition,omitempty"` // if partitions are told apart
	Partitions int    `json:"partitions"`          // with a batch
	Batches    int64  `json:"batches"`
	Records    int64  `json:"records"` // without control records
	Bytes      int64  `json:"bytes"`   // of batches as they are stored

	FirstTime        int64   `json:"first_time,omitempty"` // ms: of the oldest record
	LastTime         int64   `json:"last_time,omitempty"`
	RecordsPerSecond float64 `json:"records_per_second,omitempty"` // between the two, or in one second if they are closer
	BytesPerSecond   float64 `json:"bytes_per_second,omitempty"`   // as they are stored
	Peak             *Peak   `json:"peak,omitempty"`

	BatchSize Sizes        `json:"batch_size"` // bytes, stored
	KeySize   Sizes        `json:"key_size"`   // of keys that are not null
	ValueSize Sizes        `json:"value_size"` // of values that are not null
	Keys      Keys         `json:"keys"`
	NullValue int64        `json:"null_values"` // tombstones, in a compacted topic
	Headers   int64        `json:"headers"`
	Codecs    []CodecStats `json:"codecs"`

	Idempotent   int64        `json:"idempotent_batches"` // with a producer id
	Transactions Transactions `json:"transactions"`
}

// Sizes are those of a number of things, in bytes.
type Sizes struct {
	Min  int64 `json:"min"`
	Mean int64 `json:"mean"`
	Max  int64 `json:"max"`
}

// Keys says how records are keyed.
type Keys struct {
	Null      int64 `json:"null"`                // records without a key
	Distinct  int64 `json:"distinct"`            // different keys
	Estimated bool  `json:"estimated,omitempty"` // Distinct has a standard error of 2.3 %
}

// CodecStats is the part of a topic that is compressed in one way.
type CodecStats struct {
	Codec   string `json:"codec"`
	Batches int64  `json:"batches"`
	Records int64  `json:"records"`
	Bytes   int64  `json:"bytes"` // of batches as they are stored
	Plain   int64  `json:"plain"` // what they would take without compression
}

// Ratio is how many times smaller compression makes the batches; 0 if there are none.
func (c *CodecStats) Ratio() float64 {
	if c.Bytes == 0 {
		return 0
	}
	return float64(c.Plain) / float64(c.Bytes)
}

// Transactions counts what belongs to transactions. A transaction has a part, and a marker, in each partition that it writes to.
type Transactions struct {
	Batches   int64 `json:"batches"`
	Records   int64 `json:"records"`
	Committed int64 `json:"committed"` // markers
	Aborted   int64 `json:"aborted"`
	Open      int64 `json:"open"`               // parts without a marker
	AtLeast   bool  `json:"at_least,omitempty"` // more producers than are remembered: there may be more open ones
}

// maxProducers bounds the transactional producers that are remembered per row.
const maxProducers = 1 << 16

// tally adds up one row.
type tally struct {
	TopicStats
	places    map[int32]struct{}
	key       sum
	value     sum
	batch     sum
	codecs    [8]CodecStats
	keys      distinct
	when      timeline
	producers map[producerPlace]*lastSeen
}

// sum adds up sizes.
type sum struct{ n, total, min, max int64 }

func (s *sum) add(size int64) {
	if s.n == 0 || size < s.min {
		s.min = size
	}
	s.n, s.total, s.max = s.n+1, s.total+size, max(s.max, size)
}

func (s *sum) sizes() Sizes {
	if s.n == 0 {
		return Sizes{}
	}
	return Sizes{Min: s.min, Mean: s.total / s.n, Max: s.max}
}

// producerPlace is one transactional producer in one partition.
type producerPlace struct {
	partition int32
	id        int64
}

// lastSeen are the offsets of its last batch and last marker, in whatever order they are read; -1: none.
type lastSeen struct{ data, marker int64 }

// add counts a batch in whose CRC was right; records below offset from are left out. An error says that its records cannot be decoded.
func (t *tally) add(partition int32, h *batch.Header, raw []byte, from int64) error {
	t.places[partition] = struct{}{}
	t.Batches++
	t.Bytes += int64(len(raw))
	t.batch.add(int64(len(raw)))
	if h.HasProducer() && !h.IsControl() {
		t.Idempotent++
	}
	if h.IsControl() {
		return t.marker(partition, h, raw)
	}
	c := &t.codecs[h.Codec()]
	c.Batches++
	c.Bytes += int64(len(raw))
	c.Plain += batch.HeaderSize
	records := t.Records
	err := batch.Encoded(raw, maxRecords, func(r batch.Record, encoded []byte) error {
		c.Plain += int64(len(encoded))
		if r.Offset >= from {
			t.record(&r, int64(len(encoded)))
		}
		return nil
	})
	c.Records += t.Records - records
	if h.IsTransactional() {
		t.Transactions.Batches++
		t.Transactions.Records += t.Records - records
		if p := t.producer(partition, h.ProducerID); p != nil {
			p.data = max(p.data, h.LastOffset())
		}
	}
	return err
}

func (t *tally) record(r *batch.Record, size int64) {
	t.Records++
	if r.Timestamp >= 0 {
		if t.FirstTime == 0 || r.Timestamp < t.FirstTime {
			t.FirstTime = r.Timestamp
		}
		t.LastTime = max(t.LastTime, r.Timestamp)
		t.when.add(r.Timestamp, size)
	}
	if r.Key == nil {
		t.Keys.Null++
	} else {
		t.key.add(int64(len(r.Key)))
		t.keys.add(r.Key)
	}
	if r.Value == nil {
		t.NullValue++
	} else {
		t.value.add(int64(len(r.Value)))
	}
	t.Headers += int64(len(r.Headers))
}

// marker counts the end of a transaction. The key of a control record is its version and its type, 0 for an abort and 1 for a commit, each a
// big-endian int16 (KIP-98); other types end no transaction.
func (t *tally) marker(partition int32, h *batch.Header, raw []byte) error {
	return batch.Records(raw, maxRecords, func(r batch.Record) error {
		if len(r.Key) < 4 || !h.IsTransactional() {
			return nil
		}
		switch binary.BigEndian.Uint16(r.Key[2:]) {
		case 0:
			t.Transactions.Aborted++
		case 1:
			t.Transactions.Committed++
		default:
			return nil
		}
		if p := t.producer(partition, h.ProducerID); p != nil {
			p.marker = max(p.marker, r.Offset)
		}
		return nil
	})
}

func (t *tally) producer(partition int32, id int64) *lastSeen {
	at := producerPlace{partition, id}
	p := t.producers[at]
	if p == nil && len(t.producers) < maxProducers {
		p = &lastSeen{-1, -1}
		t.producers[at] = p
	}
	t.Transactions.AtLeast = t.Transactions.AtLeast || p == nil
	return p
}

// finish derives what is not a sum.
func (t *tally) finish() *TopicStats {
	s := &t.TopicStats
	s.Partitions = len(t.places)
	s.BatchSize, s.KeySize, s.ValueSize = t.batch.sizes(), t.key.sizes(), t.value.sizes()
	s.Keys.Distinct, s.Keys.Estimated = t.keys.count()
	s.Peak = t.when.peak()
	if s.Records > 0 {
		ms := max(s.LastTime-s.FirstTime, 1000)
		s.RecordsPerSecond, s.BytesPerSecond = perSecond(s.Records, ms), perSecond(s.Bytes, ms)
	}
	s.Codecs = []CodecStats{}
	for i := range t.codecs {
		if c := t.codecs[i]; c.Batches > 0 {
			c.Codec = batch.Codec(i).String()
			s.Codecs = append(s.Codecs, c)
		}
	}
	for _, p := range t.producers {
		if p.data > p.marker {
			s.Transactions.Open++
		}
	}
	return s
}

func perSecond(n, ms int64) float64 { return math.Round(float64(n)*1e6/float64(ms)) / 1000 }

// Name is the row's name, for people and for sorting.
func (s *TopicStats) Name() string {
	if s.Partition == nil {
		return s.Topic
	}
	return s.Topic + "-" + strconv.Itoa(int(*s.Partition))
}

// CodecText names the codecs and what they save, for people: "zstd 3.1x, none".
func (s *TopicStats) CodecText() string {
	parts := make([]string, len(s.Codecs))
	for i := range s.Codecs {
		c := &s.Codecs[i]
		parts[i] = c.Codec
		if c.Codec != batch.None.String() {
			parts[i] += " " + strconv.FormatFloat(c.Ratio(), 'f', 1, 64) + "x"
		}
	}
	return strings.Join(parts, ", ")
}
