package recordtext

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"
)

// shownRecord makes null and empty differ to the eye.
func shownRecord(r *kgo.Record) string {
	bytes := func(b []byte) string {
		if b == nil {
			return "null"
		}
		return fmt.Sprintf("%q", b)
	}
	s := fmt.Sprintf("%s=%s p%d", bytes(r.Key), bytes(r.Value), r.Partition)
	if !r.Timestamp.IsZero() {
		s += fmt.Sprintf(" t%d", r.Timestamp.UnixMilli())
	}
	for _, h := range r.Headers {
		s += fmt.Sprintf(" %s:%s", h.Key, bytes(h.Value))
	}
	return s
}

func TestReader(t *testing.T) {
	for _, c := range []struct {
		name string
		o    ReadOptions
		in   string
		want []string // records, or what an error says
	}{
		{"values", ReadOptions{Format: "line"}, "a\n\nb", []string{`null="a" p-1`, `null="" p-1`, `null="b" p-1`}},
		{"no end of line is invented", ReadOptions{Format: "line"}, "a\r\n", []string{`null="a\r" p-1`}},
		{"nothing", ReadOptions{Format: "line"}, "", nil},
		{"keys", ReadOptions{Format: "line", KeySeparator: "::"}, "k::v::w\nbare\n::v\n", []string{`"k"="v::w" p-1`, `line 2: no key separator "::" in it`, `""="v" p-1`}},
		{"null", ReadOptions{Format: "line", KeySeparator: ":", Null: "NULL"}, "k:NULL\nNULL:v\n", []string{`"k"=null p-1`, `null="v" p-1`}},
		{"json", ReadOptions{Format: "json"}, `{"key":"k","value":"v","partition":3,"timestamp":1767366245000,"headers":[{"key":"h","value":"x"},{"key":"n"}]}`,
			[]string{`"k"="v" p3 t1767366245000 h:"x" n:null`}},
		{"json, blank lines and nothing in it", ReadOptions{Format: "json"}, "\n{}\n \n", []string{`null=null p-1`}},
		{"json, bytes", ReadOptions{Format: "json"}, `{"key_hex":"ff","value_hex":""}`, []string{`"\xff"="" p-1`}},
		{"json, values that are no strings", ReadOptions{Format: "json"}, `{"key":7,"value":{"a": [1, true]}}`, []string{`"7"="{\"a\":[1,true]}" p-1`}},
		{"json, a date", ReadOptions{Format: "json"}, `{"timestamp":"2026-01-02T15:04:05Z"}`, []string{`null=null p-1 t1767366245000`}},
		{"json, envelope", ReadOptions{Format: "json"}, `{"kind":"chronik/consume","version":1,"item":{"topic":"t","partition":1,"offset":9,"timestamp":5,"key":"k","value":null}}` + "\n" +
			`{"kind":"chronik/consume","version":1,"summary":{"records":1,"ended":"end"}}`, []string{`"k"=null p1 t5`}},
		{"json, another envelope", ReadOptions{Format: "json"}, `{"kind":"chronik/topic-list","version":1,"item":{}}`, []string{`line 1: kind "chronik/topic-list"`}},
		{"json, a later envelope", ReadOptions{Format: "json"}, `{"kind":"chronik/consume","version":2,"item":{}}`, []string{`line 1: kind "chronik/consume", version 2`}},
		{"json, mistyped", ReadOptions{Format: "json"}, `{"vaule":"v"}` + "\n" + `{"value":"w"}`, []string{`line 1: json: unknown field "vaule"`, `null="w" p-1`}},
		{"json, two in a line", ReadOptions{Format: "json"}, `{} {}`, []string{`line 1: something follows`}},
		{"json, over two lines", ReadOptions{Format: "json"}, "{\"value\":\n\"v\"}", []string{`line 1: the JSON ends too early`, `line 2: `}},
		{"json, twice given", ReadOptions{Format: "json"}, `{"key":"a","key_hex":"61"}`, []string{`line 1: key is given as text and in hexadecimal`}},
		{"json, no digits", ReadOptions{Format: "json"}, `{"value_hex":"zz"}`, []string{`line 1: value: encoding/hex`}},
		{"json, no partition", ReadOptions{Format: "json"}, `{"partition":-1}`, []string{`line 1: partition -1 is none`}},
		{"json, no time", ReadOptions{Format: "json"}, `{"timestamp":"soon"}`, []string{`line 1: timestamp "soon" is neither`}},
		{"layout", ReadOptions{Format: `%k=%v;`}, "a=1;b=2;", []string{`"a"="1" p-1`, `"b"="2" p-1`}},
		{"layout, with a partition", ReadOptions{Format: `%p %v\n`}, "2 x\n", []string{`null="x" p2`}},
		{"layout, cut", ReadOptions{Format: `%k=%v;`}, "a=1;b", []string{`"a"="1" p-1`, `line 2: unexpected EOF`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := NewReader(strings.NewReader(c.in), c.o)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for {
				record, err := r.Next()
				if errors.Is(err, io.EOF) && !errors.As(err, new(*LineError)) {
					break
				}
				if err != nil {
					got = append(got, err.Error())
					if !r.GoesOn() {
						break
					}
					continue
				}
				got = append(got, shownRecord(record))
			}
			if len(got) != len(c.want) {
				t.Fatalf("got %q, want %q", got, c.want)
			}
			for i := range got {
				if got[i] != c.want[i] && !(strings.HasPrefix(c.want[i], "line ") && strings.HasPrefix(got[i], c.want[i])) {
					t.Errorf("record %d: got %s, want %s", i, got[i], c.want[i])
				}
			}
		})
	}
}

func TestLongLine(t *testing.T) {
	r, err := NewReader(io.LimitReader(endless{}, MaxLine+10), ReadOptions{Format: "line"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Next(); err == nil || !strings.Contains(err.Error(), "longer than") {
		t.Errorf("a line above the limit: %v", err)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return copy(p, strings.Repeat("x", len(p))), nil }

func TestFormat(t *testing.T) {
	r := &kgo.Record{Topic: "t", Partition: 2, Offset: 7, Timestamp: time.UnixMilli(1767366245000), Key: []byte("<k>"), Value: []byte{0xff, 'v'},
		Headers: []kgo.RecordHeader{{Key: "h", Value: []byte("x")}}}
	for name, want := range map[string]string{
		"json":                                `{"topic":"t","partition":2,"offset":7,"timestamp":1767366245000,"key":"<k>","value":null,"value_hex":"ff76","headers":[{"key":"h","value":"x"}]}` + "\n",
		"raw":                                 "\xffv",
		`%t %p %o %d %k %v{hex} %h{%k=%v }\n`: "t 2 7 1767366245000 <k> ff76 h=x \n",
	} {
		f, err := NewFormat(name)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := f.Append([]byte("> "), r); err != nil || string(got) != "> "+want {
			t.Errorf("%s: %q, %v; want %q", name, got, err, want)
		}
	}
	for _, name := range []string{"", "xml", "%q"} {
		if _, err := NewFormat(name); err == nil {
			t.Errorf("format %q was accepted", name)
		}
		if _, err := NewReader(strings.NewReader(""), ReadOptions{Format: name}); err == nil {
			t.Errorf("input format %q was accepted", name)
		}
	}
}

// TestThereAndBack: what consume writes, produce sends, byte for byte, with and without the envelope.
func TestThereAndBack(t *testing.T) {
	content := rapid.OneOf(rapid.Just[[]byte](nil), rapid.SliceOf(rapid.Byte()), rapid.Map(rapid.String(), func(s string) []byte { return []byte(s) }))
	rapid.Check(t, func(t *rapid.T) {
		record := &kgo.Record{Topic: "t", Partition: rapid.Int32Min(0).Draw(t, "partition"), Timestamp: time.UnixMilli(rapid.Int64Range(0, 1<<45).Draw(t, "time")),
			Key: content.Draw(t, "key"), Value: content.Draw(t, "value")}
		for range rapid.IntRange(0, 2).Draw(t, "headers") {
			record.Headers = append(record.Headers, kgo.RecordHeader{Key: rapid.String().Draw(t, "name"), Value: content.Draw(t, "header")})
		}
		body, err := json.Marshal(Of(record))
		if err != nil {
			t.Fatal(err)
		}
		line := string(body)
		if rapid.Bool().Draw(t, "envelope") {
			line = fmt.Sprintf(`{"kind":"chronik/consume","version":1,"item":%s}`, body)
		}
		r, err := NewReader(strings.NewReader(line+"\n"), ReadOptions{Format: "json"})
		if err != nil {
			t.Fatal(err)
		}
		back, err := r.Next()
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		back.Topic = record.Topic
		if got, want := shownRecord(back), shownRecord(record); got != want {
			t.Fatalf("%s came back as %s, was %s", line, got, want)
		}
	})
}
