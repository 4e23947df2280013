package kafka

import (
	"encoding/binary"
	"fmt"
	"math"
)

// kind is the type of a field on the wire. Values up to 16 are fixed sizes in bytes.
type kind uint8

const (
	fixed1    kind = 1
	fixed2    kind = 2
	fixed4    kind = 4
	fixed8    kind = 8
	fixed16   kind = 16
	text      kind = 32
	blob      kind = 33
	structure kind = 34
)

// never is a version that no request has.
const never = math.MaxInt16

// field is one field of a request as Apache Kafka's message definitions have it.
type field struct {
	name     string
	min, max int16 // versions that have the field
	nullable int16 // first version in which it may be null, or never
	tagged   int16 // first version in which it is a tagged field, or never
	array    bool
	kind     kind
	fields   []field // of a structure
}

// schema is the body of a request.
type schema struct {
	name     string
	min, max int16 // versions that Kafka 4.3 has
	flexible int16 // first version with compact lengths and tagged fields
	fields   []field
}

// Limits of a request's body beyond its length. An element is a string, blob or structure inside an array: kmsg spends up to about
// eighty bytes on one, so their number is bounded by the bytes that came, and the decoder by 16 times the frame.
const (
	freeElements    = 256     // allowed in any request
	bytesPerElement = 5       // and one more for so many bytes of the body
	maxElements     = 1 << 18 // allowed at all: no client needs more, and each costs up to elementCost until its request is answered
	elementCost     = 256
	maxTags         = 64 // tagged fields of one request; none of ours is sent by clients except in Fetch
)

// parseError says why a request is malformed.
type parseError struct {
	request string
	field   string
	reason  string
}

func (e *parseError) Error() string {
	return fmt.Sprintf("%s: field %s: %s", e.request, e.field, e.reason)
}

// walker checks the structure of a request's body without allocating.
type walker struct {
	b        []byte
	version  int16
	flexible bool
	elements int
	tags     int
	field    string // where it failed
	reason   string
}

// check reads the whole body by the schema and refuses what does not fit: lengths beyond the end, nulls where none may be, counts
// beyond the limits. Bytes behind the last field are tolerated, as Kafka does. It returns how many elements there are.
func (s *schema) check(version int16, body []byte) (elements int, err error) {
	allowed := min(freeElements+len(body)/bytesPerElement, maxElements)
	w := walker{b: body, version: version, flexible: version >= s.flexible, elements: allowed, tags: maxTags}
	if !w.fields(s.fields) {
		return 0, &parseError{request: s.name, field: w.field, reason: w.reason}
	}
	return allowed - w.elements, nil
}

func (w *walker) fail(f *field, format string, a ...any) bool {
	w.field = "(tags)"
	if f != nil {
		w.field = f.name
	}
	w.reason = fmt.Sprintf(format, a...)
	return false
}

func (w *walker) fields(fields []field) bool {
	for i := range fields {
		f := &fields[i]
		if w.version < f.min || w.version > f.max || w.version >= f.tagged {
			continue
		}
		if f.array {
			if !w.array(f) {
				return false
			}
		} else if !w.value(f) {
			return false
		}
	}
	return !w.flexible || w.skipTags()
}

func (w *walker) value(f *field) bool {
	switch f.kind {
	case text, blob:
		return w.bytes(f)
	case structure:
		return w.fields(f.fields)
	}
	return w.skip(f, int64(f.kind))
}

func (w *walker) skip(f *field, n int64) bool {
	if n > int64(len(w.b)) {
		return w.fail(f, "%d bytes wanted, %d left", n, len(w.b))
	}
	w.b = w.b[n:]
	return true
}

func (w *walker) bytes(f *field) bool {
	n, ok := w.length(f, f.kind == text)
	if !ok {
		return false
	}
	if n < 0 {
		if w.version < f.nullable {
			return w.fail(f, "null")
		}
		return true
	}
	return w.skip(f, n)
}

// length reads a length or count, -1 for null.
func (w *walker) length(f *field, short bool) (int64, bool) {
	var n int64
	switch {
	case w.flexible:
		u, ok := w.uvarint(f)
		if !ok {
			return 0, false
		}
		return int64(u) - 1, true
	case short:
		if len(w.b) < 2 {
			return 0, w.fail(f, "length is missing")
		}
		n = int64(int16(binary.BigEndian.Uint16(w.b)))
		w.b = w.b[2:]
	default:
		if len(w.b) < 4 {
			return 0, w.fail(f, "length is missing")
		}
		n = int64(int32(binary.BigEndian.Uint32(w.b)))
		w.b = w.b[4:]
	}
	if n < -1 {
		return 0, w.fail(f, "length %d", n)
	}
	return n, true
}

func (w *walker) uvarint(f *field) (uint32, bool) {
	u, n := binary.Uvarint(w.b)
	if n <= 0 || n > 5 || u > math.MaxUint32 {
		return 0, w.fail(f, "malformed length")
	}
	w.b = w.b[n:]
	return uint32(u), true
}

func (w *walker) array(f *field) bool {
	n, ok := w.length(f, false)
	switch {
	case !ok:
		return false
	case n < 0 && w.version < f.nullable:
		return w.fail(f, "null")
	case n < 0:
		return true
	case f.kind <= fixed16:
		return w.skip(f, n*int64(f.kind))
	case n > int64(len(w.b)):
		return w.fail(f, "%d elements in %d bytes", n, len(w.b))
	case n > int64(w.elements):
		return w.fail(f, "%d elements, %d more are allowed in a request of this size", n, w.elements)
	}
	w.elements -= int(n)
	for range n {
		if !w.value(f) {
			return false
		}
	}
	return true
}

func (w *walker) skipTags() bool {
	n, ok := w.uvarint(nil)
	if !ok {
		return false
	}
	if n > uint32(w.tags) {
		return w.fail(nil, "%d tagged fields, %d more are allowed", n, w.tags)
	}
	w.tags -= int(n)
	for range n {
		if _, ok := w.uvarint(nil); !ok {
			return false
		}
		size, ok := w.uvarint(nil)
		if !ok || !w.skip(nil, int64(size)) {
			return false
		}
	}
	return true
}
