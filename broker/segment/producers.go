package segment

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// ProducerEntry is one producer in a producer snapshot; the fields are those of Kafka's ProducerSnapshot message, version 1.
type ProducerEntry struct {
	ProducerID       int64
	Epoch            int16
	LastSequence     int32 // -1 if the producer has written nothing but markers
	LastOffset       int64 // of the last batch; -1 likewise
	OffsetDelta      int32 // last offset minus first offset of the last batch
	Timestamp        int64 // ms, of the last batch
	CoordinatorEpoch int32 // of the last transaction marker, -1 if none
	TxnFirstOffset   int64 // first offset of the open transaction, -1 if none
}

const (
	snapshotVersion   = 1
	snapshotHead      = 10 // version, CRC, count
	snapshotEntrySize = 46
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// EncodeSnapshot encodes the producer snapshot file <offset>.snapshot: the state of producers before that offset. Kafka writes the entries
// in the order of a hash map; any order is read.
func EncodeSnapshot(entries []ProducerEntry) []byte {
	be := binary.BigEndian
	b := make([]byte, 6, snapshotHead+len(entries)*snapshotEntrySize)
	be.PutUint16(b, snapshotVersion)
	b = be.AppendUint32(b, uint32(len(entries)))
	for _, e := range entries {
		b = be.AppendUint64(b, uint64(e.ProducerID))
		b = be.AppendUint16(b, uint16(e.Epoch))
		b = be.AppendUint32(b, uint32(e.LastSequence))
		b = be.AppendUint64(b, uint64(e.LastOffset))
		b = be.AppendUint32(b, uint32(e.OffsetDelta))
		b = be.AppendUint64(b, uint64(e.Timestamp))
		b = be.AppendUint32(b, uint32(e.CoordinatorEpoch))
		b = be.AppendUint64(b, uint64(e.TxnFirstOffset))
	}
	be.PutUint32(b[2:], crc32.Checksum(b[6:], castagnoli))
	return b
}

// SnapshotGuards are the ranges of a producer snapshot that a CRC-32C covers, and where it lies, in big-endian order: from, to, CRC.
func SnapshotGuards(data []byte) [][3]int {
	if len(data) < snapshotHead {
		return nil
	}
	return [][3]int{{6, len(data), 2}}
}

// DecodeSnapshot decodes a producer snapshot file. Errors are *Error without a file name.
func DecodeSnapshot(b []byte) ([]ProducerEntry, error) {
	be := binary.BigEndian
	if len(b) < 2 {
		return nil, &Error{Offset: int64(len(b)), Reason: Truncated, Detail: "no version"}
	}
	if v := int16(be.Uint16(b)); v != snapshotVersion {
		return nil, &Error{Reason: BadVersion, Detail: fmt.Sprintf("unknown format version %d, want %d", v, snapshotVersion)}
	}
	if len(b) < snapshotHead {
		return nil, &Error{Offset: int64(len(b)), Reason: Truncated, Detail: "the head has 10 bytes"}
	}
	if got, want := crc32.Checksum(b[6:], castagnoli), be.Uint32(b[2:]); got != want {
		return nil, &Error{Offset: 2, Reason: BadChecksum, Detail: fmt.Sprintf("CRC-32C is %08x, the file says %08x", got, want)}
	}
	n := int64(int32(be.Uint32(b[6:])))
	if n < 0 || n*snapshotEntrySize != int64(len(b)-snapshotHead) {
		return nil, &Error{Offset: 6, Reason: BadSyntax, Detail: fmt.Sprintf("%d entries in %d bytes", n, len(b)-snapshotHead)}
	}
	entries := make([]ProducerEntry, n)
	for i := range entries {
		e := b[snapshotHead+i*snapshotEntrySize:]
		entries[i] = ProducerEntry{
			ProducerID:       int64(be.Uint64(e)),
			Epoch:            int16(be.Uint16(e[8:])),
			LastSequence:     int32(be.Uint32(e[10:])),
			LastOffset:       int64(be.Uint64(e[14:])),
			OffsetDelta:      int32(be.Uint32(e[22:])),
			Timestamp:        int64(be.Uint64(e[26:])),
			CoordinatorEpoch: int32(be.Uint32(e[34:])),
			TxnFirstOffset:   int64(be.Uint64(e[38:])),
		}
	}
	return entries, nil
}

// AbortedTxn is one entry of .txnindex: an aborted transaction whose marker is in this segment.
type AbortedTxn struct {
	ProducerID       int64
	FirstOffset      int64
	LastOffset       int64 // of the abort marker
	LastStableOffset int64 // when the marker was written
}

// AbortedTxnSize is the size in bytes of an entry of .txnindex.
const AbortedTxnSize = 34

// EncodeAbortedTxns encodes entries of .txnindex, version 0.
func EncodeAbortedTxns(txns []AbortedTxn) []byte {
	b := make([]byte, 0, len(txns)*AbortedTxnSize)
	for _, t := range txns {
		b = append(b, 0, 0)
		for _, v := range [...]int64{t.ProducerID, t.FirstOffset, t.LastOffset, t.LastStableOffset} {
			b = binary.BigEndian.AppendUint64(b, uint64(v))
		}
	}
	return b
}

// DecodeAbortedTxns decodes a .txnindex file whole or up to its first fault, which is an *Error without a file name.
func DecodeAbortedTxns(b []byte) ([]AbortedTxn, error) {
	be := binary.BigEndian
	txns := make([]AbortedTxn, 0, len(b)/AbortedTxnSize)
	for pos := 0; pos < len(b); pos += AbortedTxnSize {
		e := b[pos:]
		if len(e) < AbortedTxnSize {
			return txns, &Error{Offset: int64(pos), Reason: Truncated, Detail: fmt.Sprintf("%d bytes after the last entry", len(e))}
		}
		if v := int16(be.Uint16(e)); v != 0 {
			return txns, &Error{Offset: int64(pos), Reason: BadVersion, Detail: fmt.Sprintf("unknown format version %d, want 0", v)}
		}
		t := AbortedTxn{int64(be.Uint64(e[2:])), int64(be.Uint64(e[10:])), int64(be.Uint64(e[18:])), int64(be.Uint64(e[26:]))}
		if t.FirstOffset < 0 || t.LastOffset < t.FirstOffset || (len(txns) > 0 && t.LastOffset <= txns[len(txns)-1].LastOffset) {
			return txns, &Error{Offset: int64(pos), Reason: BadOffset, Detail: fmt.Sprintf("transaction from %d to %d out of order", t.FirstOffset, t.LastOffset)}
		}
		txns = append(txns, t)
	}
	return txns, nil
}
