package recordtext

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// MaxLine bounds one line, in bytes: more than any broker takes by default.
const MaxLine = 64 << 20

// AnyPartition in a record that was read means that its text did not say which.
const AnyPartition = -1

// ReadOptions say how text becomes records.
type ReadOptions struct {
	Format       string // line, json, or a layout with verbs
	KeySeparator string // of line: what is before its first occurrence is the key; empty = no keys
	Null         string // of line: this text as key or value means null; empty = nothing does
}

// Reader reads records from text.
type Reader struct {
	lines   *bufio.Reader
	layout  *kgo.RecordReader
	options ReadOptions
	line    int64
}

// LineError is a line, or a record of a layout, that cannot be read as one. Lines count from 1.
type LineError struct {
	Line   int64
	Reason error
}

func (e *LineError) Error() string { return fmt.Sprintf("line %d: %v", e.Line, e.Reason) }

// Unwrap returns the reason.
func (e *LineError) Unwrap() error { return e.Reason }

// NewReader reads r as the options say.
func NewReader(r io.Reader, o ReadOptions) (*Reader, error) {
	rd := &Reader{lines: bufio.NewReaderSize(r, 64<<10), options: o}
	switch {
	case o.Format == "line" || o.Format == "json":
	case strings.Contains(o.Format, "%"):
		layout, err := kgo.NewRecordReader(rd.lines, o.Format)
		if err != nil {
			return nil, fmt.Errorf("layout %q: %w", o.Format, err)
		}
		rd.layout = layout
	default:
		return nil, fmt.Errorf("%q is neither line nor json nor a layout such as '%%k %%v\\n'", o.Format)
	}
	return rd, nil
}

// GoesOn says whether reading can go on behind text that is no record.
func (r *Reader) GoesOn() bool { return r.layout == nil }

// Line is the number of the line that was read last.
func (r *Reader) Line() int64 { return r.line }

// Next reads the next record, whose partition is AnyPartition unless the text says one. It returns io.EOF at the end, *LineError for text
// that is no record, and else what reading returned. After a *LineError line and json go on with the next line; a layout cannot tell where
// the next record begins (GoesOn).
func (r *Reader) Next() (*kgo.Record, error) {
	if r.layout != nil {
		return r.nextOfLayout()
	}
	for {
		line, err := r.nextLine()
		if err != nil {
			return nil, err
		}
		record, err := r.parse(line)
		if err != nil {
			return nil, &LineError{r.line, err}
		}
		if record != nil {
			return record, nil
		}
	}
}

// parse returns nothing for a line of JSON that stands for no record.
func (r *Reader) parse(line []byte) (*kgo.Record, error) {
	if r.options.Format == "line" {
		return r.options.ParseLine(line)
	}
	if len(bytes.TrimSpace(line)) == 0 {
		return nil, nil
	}
	return parseJSON(line)
}

func (r *Reader) nextOfLayout() (*kgo.Record, error) {
	record := &kgo.Record{Partition: AnyPartition}
	err := r.layout.ReadRecordInto(record)
	if errors.Is(err, io.EOF) {
		return nil, io.EOF
	}
	r.line++
	if err != nil {
		return nil, &LineError{r.line, err}
	}
	record.Topic = ""
	return record, nil
}

// nextLine reads up to a newline, which it leaves out, or the end.
func (r *Reader) nextLine() ([]byte, error) {
	var line []byte
	for {
		part, err := r.lines.ReadSlice('\n')
		line = append(line, part...)
		if len(line) > MaxLine {
			return nil, &LineError{r.line + 1, fmt.Errorf("longer than %d bytes", MaxLine)}
		}
		switch {
		case err == nil:
			r.line++
			return line[:len(line)-1], nil
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF) && len(line) > 0:
			r.line++
			return line, nil
		default:
			return nil, err
		}
	}
}

// ParseLine reads one line of the format line.
func (o ReadOptions) ParseLine(line []byte) (*kgo.Record, error) {
	null := func(b []byte) []byte {
		if o.Null != "" && string(b) == o.Null {
			return nil
		}
		return b
	}
	record := &kgo.Record{Partition: AnyPartition}
	if o.KeySeparator == "" {
		record.Value = null(line)
		return record, nil
	}
	key, value, found := bytes.Cut(line, []byte(o.KeySeparator))
	if !found {
		return nil, fmt.Errorf("no key separator %q in it", o.KeySeparator)
	}
	record.Key, record.Value = null(key), null(value)
	return record, nil
}

// inputJSON is a record as people and consume write it. Topic and offset are where it came from, and mean nothing here.
type inputJSON struct {
	Topic     string          `json:"topic"`
	Offset    int64           `json:"offset"`
	Partition *int32          `json:"partition"`
	Timestamp json.RawMessage `json:"timestamp"`
	Key       json.RawMessage `json:"key"`
	KeyHex    *string         `json:"key_hex"`
	Value     json.RawMessage `json:"value"`
	ValueHex  *string         `json:"value_hex"`
	Headers   []inputHeader   `json:"headers"`
}

type inputHeader struct {
	Key      string          `json:"key"`
	Value    json.RawMessage `json:"value"`
	ValueHex *string         `json:"value_hex"`
}

// envelope is a line of `consume -o ndjson`.
type envelope struct {
	Kind    string          `json:"kind"`
	Version int             `json:"version"`
	Item    json.RawMessage `json:"item"`
	Summary json.RawMessage `json:"summary"`
}

const (
	consumeKind    = "chronik/consume"
	consumeVersion = 1
)

// parseJSON reads one line, bare or in consume's envelope, whose last line is a summary and no record.
func parseJSON(line []byte) (*kgo.Record, error) {
	if bytes.HasPrefix(bytes.TrimSpace(line), []byte(`{"kind":`)) {
		var e envelope
		if err := strictly(line, &e); err != nil {
			return nil, err
		}
		if e.Kind != consumeKind || e.Version != consumeVersion {
			return nil, fmt.Errorf("kind %q, version %d, is not %s, version %d", e.Kind, e.Version, consumeKind, consumeVersion)
		}
		if e.Item == nil {
			return nil, nil
		}
		line = e.Item
	}
	var in inputJSON
	if err := strictly(line, &in); err != nil {
		return nil, err
	}
	record := &kgo.Record{Partition: AnyPartition}
	return record, in.into(record)
}

// strictly decodes one JSON value with no unknown fields and nothing behind it.
func strictly(line []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			err = errors.New("the JSON ends too early; write one record per line")
		}
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the JSON; write one record per line")
	}
	return nil
}

func (in *inputJSON) into(record *kgo.Record) (err error) {
	if in.Partition != nil {
		if *in.Partition < 0 {
			return fmt.Errorf("partition %d is none", *in.Partition)
		}
		record.Partition = *in.Partition
	}
	if record.Timestamp, err = timestamp(in.Timestamp); err != nil {
		return err
	}
	if record.Key, err = content("key", in.Key, in.KeyHex); err != nil {
		return err
	}
	if record.Value, err = content("value", in.Value, in.ValueHex); err != nil {
		return err
	}
	for _, h := range in.Headers {
		value, err := content("header "+h.Key, h.Value, h.ValueHex)
		if err != nil {
			return err
		}
		record.Headers = append(record.Headers, kgo.RecordHeader{Key: h.Key, Value: value})
	}
	return nil
}

// content is a string's text, the bytes of hexadecimal digits, nil for null, or the JSON itself for anything else.
func content(what string, raw json.RawMessage, digits *string) ([]byte, error) {
	given := len(raw) > 0 && string(raw) != "null"
	switch {
	case digits != nil && given:
		return nil, fmt.Errorf("%s is given as text and in hexadecimal", what)
	case digits != nil:
		b, err := hex.DecodeString(*digits)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", what, err)
		}
		return b, nil
	case !given:
		return nil, nil
	case raw[0] != '"':
		var compact bytes.Buffer
		err := json.Compact(&compact, raw)
		return compact.Bytes(), err
	}
	var s string
	err := json.Unmarshal(raw, &s)
	return []byte(s), err
}

// timestamp is a number in ms since 1970, or RFC 3339 in quotes; none for null.
func timestamp(raw json.RawMessage) (time.Time, error) {
	if len(raw) == 0 || string(raw) == "null" {
		return time.Time{}, nil
	}
	if ms, err := strconv.ParseInt(string(raw), 10, 64); err == nil {
		return time.UnixMilli(ms), nil
	}
	var s string
	if err := json.Unmarshal(raw, &s); err == nil {
		if t, err := time.Parse(time.RFC3339, s); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("timestamp %s is neither ms since 1970 nor like \"2026-01-02T15:04:05Z\"", raw)
}
