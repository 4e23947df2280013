package kafka

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// fill sets every field of a request at random; arrays have up to most elements.
func fill(v reflect.Value, r *rand.Rand, most int) {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			if r.IntN(4) == 0 {
				return
			}
			v.Set(reflect.New(v.Type().Elem()))
		}
		fill(v.Elem(), r, most)
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Field(i); f.CanSet() && v.Type().Field(i).Name != "Version" && v.Type().Field(i).Name != "UnknownTags" {
				fill(f, r, most)
			}
		}
	case reflect.Slice:
		n := r.IntN(most + 1)
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			fill(v.Index(i), r, most)
		}
	case reflect.Array:
		for i := range v.Len() {
			fill(v.Index(i), r, most)
		}
	case reflect.String:
		v.SetString(strings.Repeat("x", r.IntN(6)))
	case reflect.Bool:
		v.SetBool(r.IntN(2) == 0)
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(int64(int8(r.Uint32())))
	case reflect.Uint8:
		v.SetUint(uint64(uint8(r.Uint32())))
	}
}

// eachVersion calls fn for every version of every key that is parsed.
func eachVersion(fn func(a *api, version int16)) {
	table := served()
	for key := int16(0); key <= maxKey; key++ {
		if a := table[key]; a != nil {
			for v := max(a.min, a.schema.min); v <= a.max; v++ {
				fn(a, v)
			}
		}
	}
}

// TestSchemaAgreesWithCodec: what the codec writes, the schema reads to the last byte, and nothing shorter.
func TestSchemaAgreesWithCodec(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	eachVersion(func(a *api, version int16) {
		for range 20 {
			req := kmsg.RequestForKey(a.key)
			fill(reflect.ValueOf(req).Elem(), r, 3)
			req.SetVersion(version)
			body := req.AppendTo(nil)
			w := walker{b: body, version: version, flexible: a.flexible(version), elements: 1 << 20, tags: maxTags}
			if !w.fields(a.schema.fields) || len(w.b) != 0 {
				t.Fatalf("%s version %d: %s: %s, %d bytes left of % x", a.name, version, w.field, w.reason, len(w.b), body)
			}
			if req.IsFlexible() != a.flexible(version) {
				t.Fatalf("%s version %d: flexible is %v for the codec", a.name, version, req.IsFlexible())
			}
			for cut := range body {
				if _, err := a.schema.check(version, body[:cut]); err == nil {
					t.Fatalf("%s version %d: the first %d of %d bytes are accepted", a.name, version, cut, len(body))
				}
			}
		}
	})
}

// TestSchemaRanges: nothing beyond Kafka 4.3 is advertised.
func TestSchemaRanges(t *testing.T) {
	for _, a := range served() {
		low := a.min
		if a.key == keyProduce {
			low = 3 // 0 to 2 are advertised and refused, as in Kafka
		}
		high := a.schema.max
		if a.key == 22 {
			high = 5 // version 6 is unstable in 4.3
		}
		if low != a.schema.min || a.max != high {
			t.Errorf("%s: %d to %d, Kafka 4.3 has %d to %d", a.name, a.min, a.max, a.schema.min, a.schema.max)
		}
	}
}

func TestSchemaRefuses(t *testing.T) {
	table := served()
	many := func(n int, element string) string {
		return string(binary.BigEndian.AppendUint32(nil, uint32(n))) + strings.Repeat(element, n)
	}
	cases := []struct {
		name    string
		key     int16
		version int16
		body    string
		want    string
	}{
		{"huge count", 3, 1, "\x7f\xff\xff\xff", "2147483647 elements in 0 bytes"},
		{"negative count", 3, 1, "\xff\xff\xff\xfe", "length -2"},
		{"null where none may be", 3, 0, "\xff\xff\xff\xff", "null"},
		{"negative string", 3, 1, "\x00\x00\x00\x01\xff\xfe", "length -2"},
		{"null string", 3, 1, "\x00\x00\x00\x01\xff\xff", "null"},
		{"string beyond the end", 3, 1, "\x00\x00\x00\x01\x7f\xffab", "32767 bytes wanted, 2 left"},
		{"compact count", 3, 12, "\xff\xff\xff\xff\x0f", "4294967294 elements"},
		{"endless varint", 3, 12, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "malformed length"},
		{"fixed elements beyond the end", 20, 1, "\x00\x00\x00\x02\x00\x01a", "1 bytes"},
		{"many empty names", 3, 1, many(10_000, "\x00\x00"), "10000 elements"},
		{"tags", 3, 12, "\x00\x00\x00" + "\x80\x80\x04", "65536 tagged fields"},
		{"tag beyond the end", 3, 12, "\x00\x00\x00" + "\x01\x07\x09", "9 bytes wanted"},
		{"nothing", 3, 1, "", "length is missing"},
	}
	for _, c := range cases {
		_, err := table[c.key].schema.check(c.version, []byte(c.body))
		if c.name == "fixed elements beyond the end" {
			if err == nil {
				t.Errorf("%s: accepted", c.name)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	null := []byte{0xff, 0xff, 0xff, 0xff}
	if _, err := table[3].schema.check(1, null); err != nil {
		t.Errorf("null topics, which mean all: %v", err)
	}
}

// allocated is how many bytes fn allocates.
func allocated(fn func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	fn()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// decodeLimit is what decoding n bytes may allocate: 16 times as much, and what any request may have for free.
func decodeLimit(n int) uint64 { return 16*uint64(n) + freeElements*112 + maxTags*320 + 4096 }

// decode is what the server does with a body before a handler sees it.
func decode(a *api, version int16, body []byte) error {
	if _, err := a.schema.check(version, body); err != nil {
		return err
	}
	req := kmsg.RequestForKey(a.key)
	req.SetVersion(version)
	return req.ReadFrom(body)
}

// TestDecodeMemory: of all bodies that the schema accepts, those with the most elements stay within the limit.
func TestDecodeMemory(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	worst := ""
	ratio := 0.0
	eachVersion(func(a *api, version int16) {
		for _, most := range []int{12, 60, 300} {
			req := kmsg.RequestForKey(a.key)
			v := reflect.ValueOf(req).Elem()
			fill(v, r, 0)
			widen(v, most)
			req.SetVersion(version)
			body := req.AppendTo(nil)
			var err error
			n := allocated(func() { err = decode(a, version, body) })
			if n > decodeLimit(len(body)) {
				t.Errorf("%s version %d: %d bytes made %d (%v)", a.name, version, len(body), n, err)
			}
			if got := float64(n) / float64(len(body)); len(body) > 2000 && err == nil && got > ratio {
				ratio, worst = got, fmt.Sprintf("%s version %d: %.1f times of %d bytes", a.name, version, got, len(body))
			}
		}
	})
	t.Log("worst:", worst)
}

// widen gives every array n empty elements, the inner ones none, so that elements are as small as they come.
func widen(v reflect.Value, n int) {
	for i := range v.NumField() {
		if f := v.Field(i); f.CanSet() && f.Kind() == reflect.Slice && f.Type().Elem().Kind() != reflect.Uint8 {
			f.Set(reflect.MakeSlice(f.Type(), n, n))
			if e := f.Type().Elem(); e.Kind() == reflect.Struct && n > 20 {
				for j := range 10 {
					widen(f.Index(j), 20)
				}
			}
		}
	}
}

// FuzzRequest: no body makes the decoder panic or allocate more than decodeLimit.
func FuzzRequest(f *testing.F) {
	r := rand.New(rand.NewPCG(5, 6))
	eachVersion(func(a *api, version int16) {
		req := kmsg.RequestForKey(a.key)
		fill(reflect.ValueOf(req).Elem(), r, 2)
		req.SetVersion(version)
		f.Add(a.key, version, req.AppendTo(nil))
	})
	table := served()
	f.Fuzz(func(t *testing.T, key, version int16, body []byte) {
		a := table[key]
		if a == nil || version < a.schema.min || version > a.max {
			return
		}
		if n := allocated(func() { _ = decode(a, version, body) }); n > decodeLimit(len(body)) {
			t.Fatalf("%s version %d: %d bytes made %d", a.name, version, len(body), n)
		}
	})
}
