package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
)

// writeYAML writes a JSON value in YAML's block style, keeping the order of keys. The first line starts with first, all others with
// indent; no newline follows. JSON is the source because every document has one rendering, its JSON; YAML is the same for other eyes.
func writeYAML(w io.Writer, body []byte, first, indent string) error {
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	y := &yamlWriter{dec: dec}
	if _, err := y.value(first, indent); err != nil {
		return err
	}
	_, err := w.Write(bytes.TrimSuffix(y.out.Bytes(), []byte("\n")))
	return err
}

type yamlWriter struct {
	dec *json.Decoder
	out bytes.Buffer
}

// value reads one JSON value and writes it behind the prefix first, ending the line; block says that it is a collection with members.
func (y *yamlWriter) value(first, indent string) (block bool, err error) {
	token, err := y.dec.Token()
	if err != nil {
		return false, err
	}
	switch t := token.(type) {
	case json.Delim:
		if y.dec.More() {
			return true, y.collection(t, first, indent)
		}
		fmt.Fprintf(&y.out, "%s%s\n", first, map[json.Delim]string{'{': "{}", '[': "[]"}[t])
		_, err = y.dec.Token()
		return false, err
	case string:
		fmt.Fprintf(&y.out, "%s%s\n", first, yamlString(t))
	case nil:
		fmt.Fprintf(&y.out, "%snull\n", first)
	default: // json.Number, bool
		fmt.Fprintf(&y.out, "%s%v\n", first, t)
	}
	return false, nil
}

// collection writes the members of an object or array that has at least one; the opening token is read already.
func (y *yamlWriter) collection(open json.Delim, first, indent string) error {
	prefix := first
	for y.dec.More() {
		var err error
		if open == '[' {
			_, err = y.value(prefix+"- ", indent+"  ")
		} else {
			err = y.member(prefix, indent)
		}
		if err != nil {
			return err
		}
		prefix = indent
	}
	_, err := y.dec.Token()
	return err
}

// member writes one key and its value: a block goes below and deeper, all else on the same line.
func (y *yamlWriter) member(prefix, indent string) error {
	key, err := y.dec.Token()
	if err != nil {
		return err
	}
	name, ok := key.(string)
	if !ok {
		return fmt.Errorf("JSON key %v is no string", key)
	}
	start := y.out.Len()
	block, err := y.value("", indent+"  ")
	if err != nil {
		return err
	}
	value := bytes.Clone(y.out.Bytes()[start:])
	y.out.Truncate(start)
	separator := " "
	if block {
		separator = "\n" + indent + "  "
	}
	fmt.Fprintf(&y.out, "%s%s:%s%s", prefix, yamlString(name), separator, value)
	return nil
}

var (
	// yamlPlain matches strings that mean themselves without quotes.
	yamlPlain = regexp.MustCompile(`^[A-Za-z_/][A-Za-z0-9_./-]*$`)
	// yamlReserved are plain words that YAML 1.1 or 1.2 reads as something else.
	yamlReserved = regexp.MustCompile(`(?i)^(y|yes|n|no|true|false|on|off|null)$`)
)

// yamlString quotes as JSON does, which YAML's double quotes include, where a plain word could be misread.
func yamlString(s string) string {
	if yamlPlain.MatchString(s) && !yamlReserved.MatchString(s) {
		return s
	}
	body, err := marshal(s)
	if err != nil {
		return `""` // a string always marshals
	}
	return string(body)
}
