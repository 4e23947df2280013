package metadata

import (
	"bytes"
	"encoding/hex"
	"os"
	"regexp"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"chronik.dev/chronik/broker/metapb"
)

// TestGolden keeps the encoding of docs/format/metadata.md readable for ever.
func TestGolden(t *testing.T) {
	page, err := os.ReadFile("../../docs/format/metadata.md")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile("(?s)fixture: command.*?\n\n```\n(.*?)```").FindSubmatch(page)
	if m == nil {
		t.Fatal("docs/format/metadata.md has no fixture")
	}
	var digits strings.Builder
	for line := range strings.Lines(string(m[1])) {
		_, line, _ = strings.Cut(line, " ")
		digits.WriteString(strings.Join(strings.Fields(line), ""))
	}
	want, err := hex.DecodeString(digits.String())
	if err != nil {
		t.Fatal(err)
	}
	p := NewProposer(tid(1))
	if _, err := p.Encode(1000, &metapb.AllocateProducerIds{Count: 1}); err != nil {
		t.Fatal(err)
	}
	got, err := p.Encode(1000, &metapb.CreateTopic{Name: "t", Id: bid(2), Partitions: assignment(1, 1)})
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("encoded %v:\n%s\nthe page has\n%s", err, hex.Dump(got), hex.Dump(want))
	}
	var c metapb.Command
	if err := metapb.Unmarshal(want, &c, metapb.MaxCommand); err != nil || c.Sequence != 2 || c.GetCreateTopic().GetName() != "t" {
		t.Fatalf("decoded %v, %v", &c, err)
	}
	if again, err := metapb.Marshal(proto.CloneOf(&c)); err != nil || !bytes.Equal(again, want) {
		t.Fatalf("encoded again: %x, %v", again, err)
	}
}
