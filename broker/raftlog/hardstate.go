package raftlog

import (
	"encoding/binary"
	"fmt"

	"go.etcd.io/raft/v3/raftpb"
)

// HardState is the body of a state file: term, vote, commit and the LSN up to which the log was durable, little-endian.
const (
	hardSize    = 32
	hardVersion = 1
)

var hardKind = [4]byte{'H', 'A', 'R', 'D'}

// encodeHard encodes a HardState.
func encodeHard(h *raftpb.HardState, synced uint64) []byte {
	b := make([]byte, 0, hardSize)
	for _, v := range [...]uint64{h.GetTerm(), h.GetVote(), h.GetCommit(), synced} {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	return b
}

// decodeHard is the inverse of encodeHard.
func decodeHard(b []byte) (h *raftpb.HardState, synced uint64, err error) {
	if len(b) != hardSize {
		return nil, 0, fmt.Errorf("HardState of %d bytes, %d are expected", len(b), hardSize)
	}
	le := binary.LittleEndian
	h = &raftpb.HardState{Term: new(le.Uint64(b)), Vote: new(le.Uint64(b[8:])), Commit: new(le.Uint64(b[16:]))}
	return h, le.Uint64(b[24:]), nil
}
