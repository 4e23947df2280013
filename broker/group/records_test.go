package group

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
	"pgregory.net/rapid"

	"chronik.dev/chronik/broker/allocation"
)

// golden reads the hex of docs/format/consumer-offsets.md, which Apache Kafka 4.3.1 wrote.
func golden(t testing.TB) map[string][]byte {
	page, err := os.ReadFile("../../docs/format/consumer-offsets.md")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]byte{}
	for _, m := range regexp.MustCompile("(?s)```hex ([a-z-]+)\n(.*?)```").FindAllStringSubmatch(string(page), -1) {
		if all[m[1]], err = hex.DecodeString(strings.Join(strings.Fields(m[2]), "")); err != nil {
			t.Fatalf("%s: %v", m[1], err)
		}
	}
	return all
}

func TestGoldenRecords(t *testing.T) {
	g := golden(t)
	key, err := ParseKey(g["offset-key"])
	if want := (Key{Kind: OffsetKey, Group: "g1", Partition: Partition{"gt", 1}}); err != nil || key != want {
		t.Errorf("offset key: %+v, %v", key, err)
	}
	again, _ := AppendKey(nil, key)
	same(t, "offset-key", again, g["offset-key"])

	if key, err = ParseKey(g["metadata-key"]); err != nil || key != (Key{Kind: MetadataKey, Group: "g1"}) {
		t.Errorf("metadata key: %+v, %v", key, err)
	}
	again, _ = AppendKey(nil, key)
	same(t, "metadata-key", again, g["metadata-key"])

	o, err := ParseOffset(g["offset-value"])
	if err != nil || o.Offset != 30 || o.LeaderEpoch != 0 || o.ExpireTime != -1 || o.TopicID[0] != 0x18 {
		t.Errorf("offset: %+v, %v", o, err)
	}
	same(t, "offset-value", AppendOffset(nil, o), g["offset-value"])

	for _, name := range []string{"metadata-value", "metadata-value-empty"} {
		m, err := ParseMetadata(g[name])
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		again, err := AppendMetadata(nil, m)
		if err != nil {
			t.Fatal(err)
		}
		same(t, name, again, g[name])
		if name == "metadata-value" && (m.Generation != 1 || m.Protocol != "range" || len(m.Members) != 1 || m.Members[0].ID != m.Leader ||
			m.Members[0].SessionTimeout != 45000 || m.Members[0].RebalanceTimeout != 300000 || m.Members[0].ClientHost != "/127.0.0.1") {
			t.Errorf("metadata: %+v", m)
		}
	}
	names, ok := subscription(g["metadata-value"][len(g["metadata-value"])-30-4-24:])
	if !ok || !reflect.DeepEqual(names, []string{"gt"}) {
		t.Errorf("subscription: %v, %v", names, ok)
	}
}

func same(t *testing.T, name string, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Errorf("%s: wrote\n%x, Kafka wrote\n%x", name, got, want)
	}
}

// TestAgainstKmsg reads what kmsg writes, at every version, and the other way round.
func TestAgainstKmsg(t *testing.T) {
	str := rapid.StringN(0, 8, 40)
	rapid.Check(t, func(t *rapid.T) {
		k := kmsg.OffsetCommitValue{Version: rapid.Int16Range(0, 4).Draw(t, "version"), Offset: rapid.Int64().Draw(t, "offset"),
			LeaderEpoch: rapid.Int32().Draw(t, "epoch"), Metadata: str.Draw(t, "metadata"), CommitTimestamp: rapid.Int64().Draw(t, "at"),
			ExpireTimestamp: rapid.Int64().Draw(t, "expire"), TopicID: [16]byte{byte(rapid.IntRange(0, 1).Draw(t, "id"))}}
		o, err := ParseOffset(k.AppendTo(nil))
		want := Offset{Offset: k.Offset, LeaderEpoch: -1, Metadata: k.Metadata, CommitTime: k.CommitTimestamp, ExpireTime: -1}
		if k.Version >= 3 {
			want.LeaderEpoch = k.LeaderEpoch
		}
		if k.Version == 1 {
			want.ExpireTime = k.ExpireTimestamp
		}
		if k.Version >= 4 {
			want.TopicID = k.TopicID
		}
		if err != nil || o != want {
			t.Fatalf("read %+v, %v; kmsg wrote %+v", o, err, k)
		}

		m := kmsg.GroupMetadataValue{Version: rapid.Int16Range(0, 4).Draw(t, "version"), ProtocolType: str.Draw(t, "type"),
			Generation: rapid.Int32().Draw(t, "generation"), Protocol: orNil(str.Draw(t, "protocol")), CurrentStateTimestamp: 7}
		for range rapid.IntRange(0, 3).Draw(t, "members") {
			m.Members = append(m.Members, kmsg.GroupMetadataValueMember{MemberID: str.Draw(t, "id"), ClientID: str.Draw(t, "client"),
				InstanceID: orNil(str.Draw(t, "instance")), RebalanceTimeoutMillis: 5, SessionTimeoutMillis: 6,
				Subscription: rapid.SliceOf(rapid.Byte()).Draw(t, "subscription"), Assignment: []byte("a")})
		}
		v, err := ParseMetadata(m.AppendTo(nil))
		if err != nil || len(v.Members) != len(m.Members) || v.Generation != m.Generation || v.ProtocolType != m.ProtocolType {
			t.Fatalf("read %+v, %v; kmsg wrote %+v", v, err, m)
		}
		raw, _ := AppendMetadata(nil, v)
		var back kmsg.GroupMetadataValue
		if err := back.ReadFrom(raw); err != nil {
			t.Fatal(err)
		}
		for i := range v.Members {
			if v.Members[i].ID != m.Members[i].MemberID || back.Members[i].MemberID != m.Members[i].MemberID ||
				!bytes.Equal(back.Members[i].Subscription, m.Members[i].Subscription) {
				t.Fatalf("member %d: %+v", i, v.Members[i])
			}
		}
	})
}

func orNil(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func TestBadRecords(t *testing.T) {
	g := golden(t)
	for name, parse := range map[string]func([]byte) error{
		"offset-key":     func(b []byte) error { _, err := ParseKey(b); return err },
		"metadata-key":   func(b []byte) error { _, err := ParseKey(b); return err },
		"offset-value":   func(b []byte) error { _, err := ParseOffset(b); return err },
		"metadata-value": func(b []byte) error { _, err := ParseMetadata(b); return err },
	} {
		for n := range g[name] {
			var bad *RecordError
			if err := parse(g[name][:n]); !errors.As(err, &bad) {
				t.Errorf("%s cut at %d: %v", name, n, err)
			}
		}
		if err := parse(append(bytes.Clone(g[name]), 0)); err == nil || !strings.Contains(err.Error(), "trailing-bytes") {
			t.Errorf("%s with a byte more: %v", name, err)
		}
	}
	if _, err := ParseKey([]byte{0, 3, 0, 0}); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("key of kind 3: %v", err)
	}
	if _, err := ParseOffset([]byte{0, 5}); err == nil || !strings.Contains(err.Error(), "unknown-version") {
		t.Errorf("value of version 5: %v", err)
	}
	if _, err := AppendKey(nil, Key{Kind: MetadataKey, Group: strings.Repeat("x", 40000)}); !errors.Is(err, ErrTooLong) {
		t.Errorf("a long name: %v", err)
	}
}

func FuzzRecords(f *testing.F) {
	for _, b := range golden(f) {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		allocation.Bounded(t, len(b), 64<<10, func() { _, _ = ParseKey(b) })
		allocation.Bounded(t, len(b), 64<<10, func() { _, _ = ParseOffset(b) })
		allocation.Bounded(t, len(b), 64<<10, func() { _, _ = ParseMetadata(b) })
		allocation.Bounded(t, len(b), 64<<10, func() { subscription(b) })
		if k, err := ParseKey(b); err == nil {
			if again, err := AppendKey(nil, k); err != nil || binaryKind(b) > 0 && !bytes.Equal(again, b) && !nullString(b) {
				t.Fatalf("key %x came back as %x, %v", b, again, err)
			}
		}
		if o, err := ParseOffset(b); err == nil {
			if back, err := ParseOffset(AppendOffset(nil, o)); err != nil || back.Offset != o.Offset || back.CommitTime != o.CommitTime {
				t.Fatalf("offset %+v came back as %+v, %v", o, back, err)
			}
		}
		if m, err := ParseMetadata(b); err == nil {
			raw, err := AppendMetadata(nil, m)
			if errors.Is(err, ErrTooLong) {
				return
			}
			if back, err := ParseMetadata(raw); err != nil || len(back.Members) != len(m.Members) {
				t.Fatalf("metadata %+v came back as %+v, %v", m, back, err)
			}
		}
	})
}

func binaryKind(b []byte) int { return int(b[0])<<8 | int(b[1]) }

// nullString says that a key holds a null string, which comes back as an empty one.
func nullString(b []byte) bool { return bytes.Contains(b, []byte{0xff, 0xff}) }
