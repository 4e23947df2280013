package metadata

import (
	"bytes"
	"encoding/json"
	"fmt"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"chronik.dev/chronik/broker/metapb"
)

// CommandJSON renders an encoded command (the data of a Raft entry) as one line of JSON. Ids are base64, 64-bit numbers are strings, as
// protobuf's JSON mapping has it. Empty data, which are Raft's own entries, are `{}`.
func CommandJSON(data []byte) ([]byte, error) {
	if len(data) == 0 {
		return []byte("{}"), nil
	}
	return render(data, &metapb.Command{}, metapb.MaxCommand)
}

// SnapshotJSON renders an encoded snapshot as one line of JSON.
func SnapshotJSON(data []byte) ([]byte, error) {
	return render(data, &metapb.Snapshot{}, metapb.MaxSnapshot)
}

func render(data []byte, m proto.Message, limit int) ([]byte, error) {
	if err := metapb.Unmarshal(data, m, limit); err != nil {
		return nil, fmt.Errorf("render metadata as JSON: %w", err)
	}
	b, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("render metadata as JSON: %w", err)
	}
	var line bytes.Buffer // protojson varies its white space on purpose
	if err := json.Compact(&line, b); err != nil {
		return nil, fmt.Errorf("render metadata as JSON: %w", err)
	}
	return line.Bytes(), nil
}
