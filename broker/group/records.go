package group

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// The record formats of __consumer_offsets, as Apache Kafka 4.3 writes them (docs/format/consumer-offsets.md): a key begins with an int16
// that names the kind of record, a value with its version. Values of every version since 0 are read.

// KeyKind is the kind of a record, the first int16 of its key.
type KeyKind int16

// The kinds that the classic protocol uses; 3 and up belong to KIP-848 and share groups.
const (
	OffsetKey   KeyKind = 1 // also 0
	MetadataKey KeyKind = 2
)

// Key is the key of a record.
type Key struct {
	Kind      KeyKind
	Group     string
	Partition Partition // of an OffsetKey
}

// Metadata is the value of a MetadataKey. "" stands for null.
type Metadata struct {
	ProtocolType string
	Generation   int32
	Protocol     string
	Leader       string
	StateSince   int64 // -1 = unknown
	Members      []Member
}

// Member is a member in Metadata. Timeouts are in milliseconds.
type Member struct {
	ID, InstanceID, ClientID, ClientHost string
	RebalanceTimeout, SessionTimeout     int32
	Subscription, Assignment             []byte
}

// ErrUnknownKey is returned for a key of a kind that is not the classic protocol's.
var ErrUnknownKey = errors.New("not a key of the classic group protocol")

// ErrTooLong is returned for a text that no record can hold.
var ErrTooLong = errors.New("text longer than 32767 bytes")

// AppendKey appends a key. Errors: ErrTooLong.
func AppendKey(dst []byte, k Key) ([]byte, error) {
	if len(k.Group) > math.MaxInt16 || len(k.Partition.Topic) > math.MaxInt16 {
		return dst, ErrTooLong
	}
	dst = appendString(binary.BigEndian.AppendUint16(dst, uint16(k.Kind)), k.Group)
	if k.Kind == OffsetKey {
		dst = appendString(dst, k.Partition.Topic)
		dst = binary.BigEndian.AppendUint32(dst, uint32(k.Partition.Index))
	}
	return dst, nil
}

// ParseKey reads a key. Errors: ErrUnknownKey, *RecordError.
func ParseKey(b []byte) (Key, error) {
	r := reader{b: b}
	kind := KeyKind(r.int16())
	if r.err == nil && (kind < 0 || kind > MetadataKey) {
		return Key{}, fmt.Errorf("%w: kind %d", ErrUnknownKey, kind)
	}
	k := Key{Kind: max(kind, OffsetKey), Group: r.string()}
	if k.Kind == OffsetKey {
		k.Partition = Partition{Topic: r.string(), Index: r.int32()}
	}
	return k, r.end("key")
}

// AppendOffset appends the value of an OffsetKey: version 4 with the topic id, or version 1 if the offset has an expiry time of its own.
func AppendOffset(dst []byte, o Offset) []byte {
	be := binary.BigEndian
	if o.ExpireTime >= 0 {
		dst = be.AppendUint64(be.AppendUint16(dst, 1), uint64(o.Offset))
		dst = appendString(dst, o.Metadata)
		return be.AppendUint64(be.AppendUint64(dst, uint64(o.CommitTime)), uint64(o.ExpireTime))
	}
	dst = be.AppendUint64(be.AppendUint16(dst, 4), uint64(o.Offset))
	dst = be.AppendUint32(dst, uint32(o.LeaderEpoch))
	dst = append(binary.AppendUvarint(dst, uint64(len(o.Metadata))+1), o.Metadata...)
	dst = be.AppendUint64(dst, uint64(o.CommitTime))
	if o.TopicID == [16]byte{} {
		return append(dst, 0)
	}
	return append(append(dst, 1, 0, 16), o.TopicID[:]...)
}

// ParseOffset reads the value of an OffsetKey. Errors: *RecordError.
func ParseOffset(b []byte) (Offset, error) {
	r := reader{b: b}
	version := r.version(4)
	o := Offset{Offset: r.int64(), LeaderEpoch: -1, ExpireTime: -1}
	if version >= 3 {
		o.LeaderEpoch = r.int32()
	}
	o.Metadata = r.string()
	o.CommitTime = r.int64()
	if version == 1 {
		o.ExpireTime = r.int64()
	}
	r.tags(func(tag uint64, data []byte) {
		if tag == 0 && len(data) == 16 {
			copy(o.TopicID[:], data)
		}
	})
	return o, r.end("offset")
}

// AppendMetadata appends the value of a MetadataKey, version 3. Errors: ErrTooLong.
func AppendMetadata(dst []byte, v Metadata) ([]byte, error) {
	be := binary.BigEndian
	for _, s := range []string{v.ProtocolType, v.Protocol, v.Leader} {
		if len(s) > math.MaxInt16 {
			return dst, ErrTooLong
		}
	}
	dst = appendString(be.AppendUint16(dst, 3), v.ProtocolType)
	dst = be.AppendUint32(dst, uint32(v.Generation))
	dst = appendNullable(appendNullable(dst, v.Protocol), v.Leader)
	dst = be.AppendUint64(dst, uint64(v.StateSince))
	dst = be.AppendUint32(dst, uint32(len(v.Members)))
	for _, m := range v.Members {
		for _, s := range []string{m.ID, m.InstanceID, m.ClientID, m.ClientHost} {
			if len(s) > math.MaxInt16 {
				return dst, ErrTooLong
			}
		}
		dst = appendNullable(appendString(dst, m.ID), m.InstanceID)
		dst = appendString(appendString(dst, m.ClientID), m.ClientHost)
		dst = be.AppendUint32(be.AppendUint32(dst, uint32(m.RebalanceTimeout)), uint32(m.SessionTimeout))
		dst = append(be.AppendUint32(dst, uint32(len(m.Subscription))), m.Subscription...)
		dst = append(be.AppendUint32(dst, uint32(len(m.Assignment))), m.Assignment...)
	}
	return dst, nil
}

// ParseMetadata reads the value of a MetadataKey. Errors: *RecordError.
func ParseMetadata(b []byte) (Metadata, error) {
	r := reader{b: b}
	version := r.version(4)
	v := Metadata{ProtocolType: r.string(), Generation: r.int32(), Protocol: r.string(), Leader: r.string(), StateSince: -1}
	if version >= 2 {
		v.StateSince = r.int64()
	}
	for n := r.count(); n > 0 && r.err == nil; n-- { // members are appended one by one: a lying count costs nothing
		m := Member{ID: r.string(), RebalanceTimeout: -1}
		if version >= 3 {
			m.InstanceID = r.string()
		}
		m.ClientID, m.ClientHost = r.string(), r.string()
		if version >= 1 {
			m.RebalanceTimeout = r.int32()
		}
		m.SessionTimeout = r.int32()
		m.Subscription, m.Assignment = r.bytes(), r.bytes()
		r.tags(nil)
		v.Members = append(v.Members, m)
	}
	r.tags(nil)
	return v, r.end("group metadata")
}

func appendString(dst []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(dst, uint16(len(s))), s...)
}

// appendNullable writes "" as null.
func appendNullable(dst []byte, s string) []byte {
	if s == "" {
		return append(dst, 0xff, 0xff)
	}
	return appendString(dst, s)
}
