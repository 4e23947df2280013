// Package metapb is the vocabulary of cluster metadata: the protobuf messages of the commands that go through Raft and of the snapshot of
// the state they build. It has no behaviour beyond encoding and decoding within limits.
//
// Decoding believes nothing: the format version is read before anything else is judged, and Unmarshal refuses bytes whose decoded form
// would take more than 16 times their length, before it allocates. Encoding is deterministic: equal messages have equal bytes.
//
// The generated file is checked in. After a change of metadata.proto: `go generate ./broker/metapb` (needs protoc 3.21 or later).
package metapb

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

//go:generate go build -o /tmp/chronik-protoc-gen-go google.golang.org/protobuf/cmd/protoc-gen-go
//go:generate protoc --plugin=protoc-gen-go=/tmp/chronik-protoc-gen-go --go_out=. --go_opt=paths=source_relative metadata.proto

// Format is the version of the vocabulary that this program writes and the highest that it reads.
const Format = 1

// Limits of decoding.
const (
	MaxCommand  = 1 << 20 // bytes of one command
	MaxSnapshot = 1 << 30 // bytes of one snapshot
	// bareCost and stringCost are ceilings of the memory that an embedded message without fields or a repeated string takes beside its own
	// bytes, with its place in a list that grows.
	bareCost   = 72
	stringCost = 40
	maxDepth   = 8
)

// Errors of decoding.
var (
	// ErrFormat says that the bytes were written by a newer version; they are not damaged.
	ErrFormat = errors.New("unknown format version")
	// ErrMalformed says that the bytes are no message of this vocabulary.
	ErrMalformed = errors.New("malformed")
)

// ReadFormat returns the format version that an encoded Command or Snapshot starts with.
func ReadFormat(b []byte) (uint64, error) {
	num, typ, n := protowire.ConsumeTag(b)
	if n < 0 || num != 1 || typ != protowire.VarintType {
		return 0, fmt.Errorf("%w: does not start with a format version", ErrMalformed)
	}
	v, m := protowire.ConsumeVarint(b[n:])
	if m < 0 {
		return 0, fmt.Errorf("%w: format version is cut off", ErrMalformed)
	}
	return v, nil
}

// Unmarshal decodes a Command or Snapshot of at most limit bytes. It fails with ErrFormat before anything else is judged, with ErrMalformed
// for everything that Marshal does not write, and never allocates more than 16 times len(b) plus 4 KiB.
func Unmarshal(b []byte, m proto.Message, limit int) error {
	v, err := ReadFormat(b)
	if err != nil {
		return err
	}
	if v == 0 || v > Format {
		return fmt.Errorf("%w %d: this program knows %d; run the version that wrote it", ErrFormat, v, Format)
	}
	if len(b) > limit {
		return fmt.Errorf("%w: %d bytes, at most %d are allowed", ErrMalformed, len(b), limit)
	}
	cost, err := embedded(b, m.ProtoReflect().Descriptor(), 0)
	if err != nil {
		return err
	}
	if cost+2*len(b) > 16*len(b)+4096 {
		return fmt.Errorf("%w: %d bytes would take %d in memory", ErrMalformed, len(b), cost)
	}
	if err := proto.Unmarshal(b, m); err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return nil
}

// embedded returns what the messages and strings inside an encoded message would take in memory beside their bytes, without decoding it.
func embedded(b []byte, d protoreflect.MessageDescriptor, depth int) (int, error) {
	if depth > maxDepth {
		return 0, fmt.Errorf("%w: nested deeper than %d", ErrMalformed, maxDepth)
	}
	total := 0
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return 0, fmt.Errorf("%w: %w", ErrMalformed, protowire.ParseError(n))
		}
		size := protowire.ConsumeFieldValue(num, typ, b[n:])
		if size < 0 {
			return 0, fmt.Errorf("%w: %w", ErrMalformed, protowire.ParseError(size))
		}
		f := d.Fields().ByNumber(num)
		if f == nil {
			return 0, fmt.Errorf("%w: unknown field %d in %s", ErrMalformed, num, d.Name())
		}
		switch {
		case typ == protowire.BytesType && f.IsList() && f.Kind() == protoreflect.StringKind:
			total += stringCost
		case typ == protowire.BytesType && f.Kind() == protoreflect.MessageKind:
			body, _ := protowire.ConsumeBytes(b[n:])
			inner, err := embedded(body, f.Message(), depth+1)
			if err != nil {
				return 0, err
			}
			total += messageCost(f.Message()) + inner
		}
		b = b[n+size:]
	}
	return total, nil
}

// messageCost is what an embedded message takes in memory beside its own bytes: 96 for an Assignment, which is 8 bytes long with one replica.
func messageCost(d protoreflect.MessageDescriptor) int {
	cost := bareCost
	for i := range d.Fields().Len() {
		switch f := d.Fields().Get(i); {
		case f.IsList(), f.Kind() == protoreflect.BytesKind:
			cost += 24
		case f.Kind() == protoreflect.StringKind:
			cost += 16
		default:
			cost += 8
		}
	}
	return cost
}

// Marshal encodes a message; equal messages have equal bytes.
func Marshal(m proto.Message) ([]byte, error) {
	return proto.MarshalOptions{Deterministic: true}.Marshal(m)
}
