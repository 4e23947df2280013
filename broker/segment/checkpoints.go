package segment

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strconv"
)

// EpochStart is one line of leader-epoch-checkpoint: the leader epoch whose first record has offset Start.
type EpochStart struct {
	Epoch int32
	Start int64
}

// EncodeEpochs encodes leader-epoch-checkpoint: version 0, count, one line an epoch.
func EncodeEpochs(epochs []EpochStart) []byte {
	b := fmt.Appendf(nil, "0\n%d\n", len(epochs))
	for _, e := range epochs {
		b = fmt.Appendf(b, "%d %d\n", e.Epoch, e.Start)
	}
	return b
}

// DecodeEpochs decodes leader-epoch-checkpoint. Epochs and offsets must rise. Errors are *Error without a file name.
func DecodeEpochs(b []byte) ([]EpochStart, error) {
	bad := func(at int, format string, args ...any) error {
		return &Error{Offset: int64(at), Reason: BadSyntax, Detail: fmt.Sprintf(format, args...)}
	}
	var fields [2]int64
	lines := lineReader{b: b}
	if err := lines.ints(fields[:1]); err != nil {
		return nil, err
	}
	if fields[0] != 0 {
		return nil, &Error{Reason: BadVersion, Detail: fmt.Sprintf("unknown format version %d, want 0", fields[0])}
	}
	if err := lines.ints(fields[:1]); err != nil {
		return nil, err
	}
	n := fields[0]
	if n < 0 || n > int64(len(b)-lines.pos)/4 { // "0 0\n"
		return nil, bad(lines.pos, "%d epochs in %d bytes", n, len(b)-lines.pos)
	}
	epochs := make([]EpochStart, 0, n)
	for range n {
		at := lines.pos
		if err := lines.ints(fields[:]); err != nil {
			return nil, err
		}
		e := EpochStart{int32(fields[0]), fields[1]}
		if int64(e.Epoch) != fields[0] || e.Epoch < 0 || e.Start < 0 {
			return nil, bad(at, "epoch %d starts at %d", fields[0], e.Start)
		}
		if n := len(epochs); n > 0 && (e.Epoch <= epochs[n-1].Epoch || e.Start <= epochs[n-1].Start) {
			return nil, bad(at, "epoch %d at %d after epoch %d at %d", e.Epoch, e.Start, epochs[n-1].Epoch, epochs[n-1].Start)
		}
		epochs = append(epochs, e)
	}
	if lines.pos != len(b) {
		return nil, bad(lines.pos, "%d bytes after the last epoch", len(b)-lines.pos)
	}
	return epochs, nil
}

// lineReader reads lines of decimal numbers that one space parts.
type lineReader struct {
	b   []byte
	pos int
}

func (r *lineReader) ints(out []int64) error {
	line, _, found := bytes.Cut(r.b[r.pos:], []byte{'\n'})
	if !found {
		return &Error{Offset: int64(len(r.b)), Reason: Truncated, Detail: "a line is missing or not ended"}
	}
	rest := line
	for i := range out {
		field := rest
		if i < len(out)-1 {
			var ok bool
			if field, rest, ok = bytes.Cut(rest, []byte{' '}); !ok {
				return &Error{Offset: int64(r.pos), Reason: BadSyntax, Detail: fmt.Sprintf("want %d numbers in a line", len(out))}
			}
		}
		v, err := strconv.ParseInt(string(field[:min(len(field), 24)]), 10, 64)
		if err != nil || strconv.FormatInt(v, 10) != string(field) {
			return &Error{Offset: int64(r.pos), Reason: BadSyntax, Detail: "not a number"}
		}
		out[i] = v
	}
	r.pos += len(line) + 1
	return nil
}

const metadataHead = "version: 0\ntopic_id: "

// EncodeMetadata encodes partition.metadata, which ties a partition directory to its topic id.
func EncodeMetadata(topicID [16]byte) []byte {
	return append([]byte(metadataHead), base64.RawURLEncoding.EncodeToString(topicID[:])...)
}

// DecodeMetadata decodes partition.metadata. Errors are *Error without a file name.
func DecodeMetadata(b []byte) (topicID [16]byte, err error) {
	if !bytes.HasPrefix(b, []byte("version: 0\n")) {
		if bytes.HasPrefix(b, []byte("version: ")) {
			return topicID, &Error{Reason: BadVersion, Detail: "unknown format version, want 0"}
		}
		return topicID, &Error{Reason: BadSyntax, Detail: "no version line"}
	}
	text, ok := bytes.CutPrefix(b, []byte(metadataHead))
	text = bytes.TrimSuffix(text, []byte{'\n'}) // as an editor may leave it
	if !ok || len(text) != base64.RawURLEncoding.EncodedLen(len(topicID)) {
		return topicID, &Error{Offset: int64(len(metadataHead)), Reason: BadSyntax, Detail: "no topic id of 22 characters"}
	}
	if at := bytes.IndexAny(text, "\r\n"); at >= 0 { // the decoder passes over them
		return topicID, &Error{Offset: int64(len(metadataHead) + at), Reason: BadSyntax, Detail: "topic id with a line end inside"}
	}
	if _, err := base64.RawURLEncoding.Strict().Decode(topicID[:], text); err != nil {
		return topicID, &Error{Offset: int64(len(metadataHead)), Reason: BadSyntax, Detail: "topic id", Err: err}
	}
	return topicID, nil
}
