package batch

import (
	"encoding/binary"
	"errors"
	"math"
	"runtime"
	"sync"
)

// Record is one record of a batch.
type Record struct {
	Offset    int64
	Timestamp int64  // ms
	Key       []byte // nil = null
	Value     []byte // nil = null, a tombstone in a compacted topic
	Headers   []RecordHeader
}

// RecordHeader is one header of a record.
type RecordHeader struct {
	Key   string
	Value []byte // nil = null
}

// Records decodes the records of one whole batch in order. The CRC is not checked (see Check). limit bounds the decompressed bytes;
// beyond it the error's reason is TooLarge. Keys and values alias raw, or a buffer of this call's own: they may be kept as long as raw.
// An error of fn ends the walk and is returned.
func Records(raw []byte, limit int, fn func(Record) error) error {
	return Encoded(raw, limit, func(r Record, _ []byte) error { return fn(r) })
}

// Encoded is Records that also passes each record's encoded bytes, uncompressed; they live as long as its key.
func Encoded(raw []byte, limit int, fn func(r Record, body []byte) error) error {
	h, err := parseWhole(raw)
	if err != nil {
		return err
	}
	body, err := decompress(h.Codec(), raw[HeaderSize:], limit)
	if err != nil {
		return err
	}
	c := cursor{b: body}
	if h.Codec() == None {
		c.base = HeaderSize
	}
	if h.Count < 0 || int64(h.Count) > int64(len(body)/minRecord) {
		return fail(BadCount, posCount, "count is %d but the records have %d bytes", h.Count, len(body))
	}
	last := int64(-1)
	for range h.Count {
		start := c.pos
		r, delta, err := c.record(&h)
		if err != nil {
			return err
		}
		if delta <= last || delta > int64(h.LastOffsetDelta) {
			return fail(BadDelta, c.at(start), "offset delta is %d after %d, the batch's last is %d", delta, last, h.LastOffsetDelta)
		}
		last = delta
		if err := fn(r, body[start:c.pos]); err != nil {
			return err
		}
	}
	if c.pos != len(body) {
		return fail(BadTrailing, c.at(c.pos), "%d bytes after the last record", len(body)-c.pos)
	}
	return nil
}

// minRecord is the size of the smallest record: length, attributes, three deltas or lengths of one byte each, two more, header count.
const minRecord = 7

// cursor reads records from decompressed bytes.
type cursor struct {
	b    []byte
	pos  int
	base int // of b in the buffer that errors speak of
}

func (c *cursor) at(pos int) int {
	if c.base == 0 {
		return HeaderSize
	}
	return c.base + pos
}

// varlong reads a zigzag varint of at most ten bytes.
func (c *cursor) varlong() (int64, error) {
	v, n := binary.Varint(c.b[c.pos:])
	if n <= 0 {
		return 0, fail(BadRecord, c.at(c.pos), "bad varint")
	}
	c.pos += n
	return v, nil
}

// varint reads a zigzag varint of 32 bits. More bytes than five are refused, as Kafka does (ByteUtils.readVarint): no client reads them.
func (c *cursor) varint() (int64, error) {
	from := c.pos
	v, err := c.varlong()
	if err == nil && (c.pos-from > binary.MaxVarintLen32 || v != int64(int32(v))) {
		return 0, fail(BadRecord, c.at(from), "a varint of %d bytes for a number of 32 bits", c.pos-from)
	}
	return v, err
}

// field reads bytes with a varint length before them; -1 is null.
func (c *cursor) field(end int, what string) ([]byte, error) {
	n, err := c.varint()
	if err != nil {
		return nil, err
	}
	if n == -1 {
		return nil, nil
	}
	if n < 0 || n > int64(end-c.pos) {
		return nil, fail(BadRecord, c.at(c.pos), "%s of %d bytes, %d are left in the record", what, n, end-c.pos)
	}
	f := c.b[c.pos : c.pos+int(n) : c.pos+int(n)]
	c.pos += int(n)
	return f, nil
}

// record reads the record at the cursor and leaves the cursor behind it.
func (c *cursor) record(h *Header) (r Record, delta int64, err error) {
	size, err := c.varint()
	if err != nil {
		return r, 0, err
	}
	if size < minRecord-1 || size > int64(len(c.b)-c.pos) {
		return r, 0, fail(BadRecord, c.at(c.pos), "record of %d bytes, %d are left", size, len(c.b)-c.pos)
	}
	end := c.pos + int(size)
	c.pos++ // attributes, unused
	dt, err := c.varlong()
	if err != nil {
		return r, 0, err
	}
	if delta, err = c.varint(); err != nil {
		return r, 0, err
	}
	if delta < 0 || delta > math.MaxInt32 {
		return r, 0, fail(BadDelta, c.at(c.pos), "offset delta is %d", delta)
	}
	r.Offset, r.Timestamp = h.BaseOffset+delta, h.BaseTimestamp+dt
	if h.LogAppendTime() {
		r.Timestamp = h.MaxTimestamp
	}
	if r.Key, err = c.field(end, "key"); err != nil {
		return r, 0, err
	}
	if r.Value, err = c.field(end, "value"); err != nil {
		return r, 0, err
	}
	if r.Headers, err = c.headers(end); err != nil {
		return r, 0, err
	}
	if c.pos != end {
		return r, 0, fail(BadRecord, c.at(c.pos), "the record's length is wrong by %d bytes", end-c.pos)
	}
	return r, delta, nil
}

func (c *cursor) headers(end int) ([]RecordHeader, error) {
	n, err := c.varint()
	if err != nil {
		return nil, err
	}
	if n < 0 || n > int64(end-c.pos)/2 { // a header has at least two bytes
		return nil, fail(BadRecord, c.at(c.pos), "%d headers in %d bytes", n, end-c.pos)
	}
	if n == 0 {
		return nil, nil
	}
	headers := make([]RecordHeader, 0, min(n, 8))
	for range n {
		key, err := c.field(end, "header key")
		if err != nil {
			return nil, err
		}
		if key == nil {
			return nil, fail(BadRecord, c.at(c.pos), "null header key")
		}
		value, err := c.field(end, "header value")
		if err != nil {
			return nil, err
		}
		headers = append(headers, RecordHeader{Key: string(key), Value: value})
	}
	return headers, nil
}

// decoding and large bound what all batches that are decoded at once for clients take together.
var (
	decoding = make(chan struct{}, runtime.GOMAXPROCS(0))
	large    sync.Mutex
)

// Bounded calls fn, which decodes one batch within the limit that it is given, so that however many clients ask for it, the process takes memory
// for few: as many batches as there are processors at up to 16 times their size, and one that needs more, for which fn is called again with
// limit. fn must not call Bounded.
func Bounded(raw []byte, limit int, fn func(limit int) error) error {
	if h, err := Parse(raw); err == nil && h.Codec() == None {
		return fn(limit)
	}
	little := min(limit, 16*len(raw)+64<<10)
	err := func() error {
		decoding <- struct{}{}
		defer func() { <-decoding }()
		return fn(little)
	}()
	var bad *Error
	if little == limit || !errors.As(err, &bad) || bad.Reason != TooLarge {
		return err
	}
	large.Lock()
	defer large.Unlock()
	return fn(limit)
}

// FirstSince returns the first record of one whole batch at or after an offset whose time is at least ts, in ms; found is false if there is none.
// The CRC is not checked. Memory is bounded as Bounded says; limit bounds the decompressed bytes.
func FirstSince(raw []byte, limit int, offset, ts int64) (r Record, found bool, err error) {
	err = Bounded(raw, limit, func(limit int) error {
		return Records(raw, limit, func(rec Record) error {
			if rec.Offset >= offset && rec.Timestamp >= ts {
				r, found = Record{Offset: rec.Offset, Timestamp: rec.Timestamp}, true
				return errFound
			}
			return nil
		})
	})
	if found {
		err = nil
	}
	return r, found, err
}

var errFound = errors.New("found")

// CheckRecords decodes every record of one whole batch that CheckStored accepted and compares it with the header: count, offsets, max
// timestamp, the shape of a control record. limit bounds the decompressed bytes.
func CheckRecords(raw []byte, limit int) error {
	h, newest, err := checkRecords(raw, limit)
	if err == nil && h.Count > 0 && newest != h.MaxTimestamp {
		return fail(BadTimestamp, posMaxTimestamp, "max timestamp is %d, the newest record's is %d", h.MaxTimestamp, newest)
	}
	return err
}

// MendTimestamp is CheckRecords for a batch that a client sent: a max timestamp that is not that of the records is set right, with the CRC, as
// Kafka does (LogValidator), and is no error. It returns the header as it then is.
func MendTimestamp(raw []byte, limit int) (Header, error) {
	h, newest, err := checkRecords(raw, limit)
	if err == nil && h.Count > 0 && newest != h.MaxTimestamp {
		binary.BigEndian.PutUint64(raw[posMaxTimestamp:], uint64(newest))
		setCRC(raw)
		return Parse(raw)
	}
	return h, err
}

// checkRecords also returns the newest record's time, in ms.
func checkRecords(raw []byte, limit int) (h Header, newest int64, err error) {
	if h, err = parseWhole(raw); err != nil {
		return h, 0, err
	}
	newest = NoTimestamp
	controls := 0
	err = Records(raw, limit, func(r Record) error {
		newest = max(newest, r.Timestamp)
		if h.IsControl() {
			controls++
			if len(r.Key) < 4 {
				return fail(BadControl, HeaderSize, "control record's key has %d bytes, want 4", len(r.Key))
			}
		}
		return nil
	})
	if err == nil && h.IsControl() && controls > 1 {
		err = fail(BadControl, HeaderSize, "%d records in a control batch, want 1", controls)
	}
	return h, newest, err
}
