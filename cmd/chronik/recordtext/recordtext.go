// Package recordtext turns records into text and text into records, for `chronik consume` and `chronik produce`.
//
// The idea: one record, one piece of text, in one of a few forms. What consume writes as JSON, produce reads back: key, value, headers,
// partition and timestamp survive, bytes that are no UTF-8 text as hexadecimal digits. The names of the JSON fields are those of
// `chronik wal dump`.
//
// The guarantee: a piece of text is either read as a whole or refused with its line's number; nothing is guessed. A JSON field that is not
// known is refused, since a mistyped "value" would otherwise send null. Lines are bounded (MaxLine).
//
// The API: NewReader and Reader.Next for text to records, NewFormat and Format.Append for records to text, Of for one record as a value
// that marshals to JSON.
package recordtext

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Record is a record in JSON. A key or value that is not UTF-8 text is in the field that ends in _hex; null is neither.
type Record struct {
	Topic     string   `json:"topic"`
	Partition int32    `json:"partition"`
	Offset    int64    `json:"offset"`
	Timestamp int64    `json:"timestamp"` // ms since 1970
	Key       *string  `json:"key"`
	KeyHex    string   `json:"key_hex,omitempty"`
	Value     *string  `json:"value"`
	ValueHex  string   `json:"value_hex,omitempty"`
	Headers   []Header `json:"headers,omitempty"`
}

// Header is one header of a record.
type Header struct {
	Key      string  `json:"key"`
	Value    *string `json:"value"`
	ValueHex string  `json:"value_hex,omitempty"`
}

// Of is r in JSON's form.
func Of(r *kgo.Record) Record {
	j := Record{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, Timestamp: r.Timestamp.UnixMilli()}
	j.Key, j.KeyHex = text(r.Key)
	j.Value, j.ValueHex = text(r.Value)
	for _, h := range r.Headers {
		header := Header{Key: h.Key}
		header.Value, header.ValueHex = text(h.Value)
		j.Headers = append(j.Headers, header)
	}
	return j
}

// text renders bytes as a string if they are one, else in hexadecimal digits.
func text(b []byte) (s *string, digits string) {
	switch {
	case b == nil:
		return nil, ""
	case utf8.Valid(b):
		t := string(b)
		return &t, ""
	}
	return nil, hex.EncodeToString(b)
}

// Format turns records into text.
type Format struct {
	append func(b []byte, r *kgo.Record) ([]byte, error)
}

// NewFormat is one of
//
//	json    one line of JSON per record
//	raw     the bytes of the value, and nothing else
//	LAYOUT  text with verbs: %t topic, %p partition, %o offset, %d timestamp, %k key, %v value, %h{%k=%v } headers, \n \t
//
// A layout is franz-go's (kgo.NewRecordFormatter has all verbs) and has at least one verb.
func NewFormat(name string) (*Format, error) {
	switch {
	case name == "json":
		return &Format{appendJSON}, nil
	case name == "raw":
		return &Format{func(b []byte, r *kgo.Record) ([]byte, error) { return append(b, r.Value...), nil }}, nil
	case !strings.Contains(name, "%"):
		return nil, fmt.Errorf("%q is neither json nor raw nor a layout such as '%%o %%k %%v\\n'", name)
	}
	layout, err := kgo.NewRecordFormatter(name)
	if err != nil {
		return nil, fmt.Errorf("layout %q: %w", name, err)
	}
	return &Format{func(b []byte, r *kgo.Record) ([]byte, error) { return layout.AppendRecord(b, r), nil }}, nil
}

// Append appends the text of r to b.
func (f *Format) Append(b []byte, r *kgo.Record) ([]byte, error) { return f.append(b, r) }

func appendJSON(b []byte, r *kgo.Record) ([]byte, error) {
	var out strings.Builder
	enc := json.NewEncoder(&out) // ends with a newline
	enc.SetEscapeHTML(false)
	if err := enc.Encode(Of(r)); err != nil {
		return b, err
	}
	return append(b, out.String()...), nil
}
