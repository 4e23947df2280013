package group

import (
	"encoding/binary"
	"fmt"
)

// RecordError is a record of __consumer_offsets that cannot be read.
type RecordError struct {
	Record string // key, offset, group metadata
	Offset int    // in the record, where reading failed
	Reason string // closed list: truncated, bad-length, unknown-version, trailing-bytes
}

func (e *RecordError) Error() string {
	return fmt.Sprintf("%s record: %s at byte %d", e.Record, e.Reason, e.Offset)
}

// reader reads big-endian fields; after the first failure everything is zero. A value of version 4 and up is flexible (KIP-482).
type reader struct {
	b        []byte
	at       int
	flexible bool
	err      *RecordError
}

func (r *reader) fail(reason string) {
	if r.err == nil {
		r.err = &RecordError{Offset: r.at, Reason: reason}
	}
}

// take returns the next n bytes.
func (r *reader) take(n int) []byte {
	switch {
	case r.err != nil:
		return nil
	case n < 0:
		r.fail("bad-length")
		return nil
	case n > len(r.b)-r.at:
		r.fail("truncated")
		return nil
	}
	r.at += n
	return r.b[r.at-n : r.at]
}

func (r *reader) int16() int16 {
	if b := r.take(2); b != nil {
		return int16(binary.BigEndian.Uint16(b))
	}
	return 0
}

func (r *reader) int32() int32 {
	if b := r.take(4); b != nil {
		return int32(binary.BigEndian.Uint32(b))
	}
	return 0
}

func (r *reader) int64() int64 {
	if b := r.take(8); b != nil {
		return int64(binary.BigEndian.Uint64(b))
	}
	return 0
}

func (r *reader) version(highest int16) int16 {
	v := r.int16()
	if v < 0 || v > highest {
		r.at = 0
		r.fail("unknown-version")
	}
	r.flexible = v >= 4
	return v
}

func (r *reader) uvarint() uint64 {
	if r.err != nil {
		return 0
	}
	v, n := binary.Uvarint(r.b[r.at:])
	if n <= 0 || v > 1<<32 {
		r.fail("bad-length")
		return 0
	}
	r.at += n
	return v
}

// string reads a string, "" for null.
func (r *reader) string() string {
	var n int
	if r.flexible {
		n = int(r.uvarint()) - 1
	} else {
		n = int(r.int16())
	}
	if n == -1 || r.err != nil {
		return ""
	}
	return string(r.take(n))
}

// bytes reads a byte array, a copy.
func (r *reader) bytes() []byte {
	n := r.count()
	if n <= 0 || r.err != nil {
		return nil
	}
	return append([]byte(nil), r.take(n)...)
}

// count reads the length of an array, -1 for null.
func (r *reader) count() int {
	if r.flexible {
		return int(r.uvarint()) - 1
	}
	return int(r.int32())
}

// tags reads tagged fields; fn may be nil.
func (r *reader) tags(fn func(tag uint64, data []byte)) {
	if !r.flexible {
		return
	}
	for n := r.uvarint(); n > 0 && r.err == nil; n-- {
		tag, size := r.uvarint(), r.uvarint()
		data := r.take(int(size))
		if fn != nil && r.err == nil {
			fn(tag, data)
		}
	}
}

// end returns the error of everything read, also of bytes left over.
func (r *reader) end(record string) error {
	if r.err == nil && r.at < len(r.b) {
		r.fail("trailing-bytes")
	}
	if r.err == nil {
		return nil
	}
	r.err.Record = record
	return r.err
}
