package metadata

import (
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"google.golang.org/protobuf/encoding/protojson"

	"chronik.dev/chronik/broker/metapb"
)

// TestTranscripts runs testdata/transcripts: commands as JSON, what they answer, and the image. `apply` gives each line the next sequence number, `repeat`
// applies the bytes of an earlier sequence again, `restart` goes through a snapshot. In JSON, $n stands for the id n.
func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata/transcripts", func(t *testing.T, path string) {
		c := &cluster{t: t, s: New(), p: NewProposer(tid(200))}
		var sent [][]byte
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			var out strings.Builder
			switch d.Cmd {
			case "apply":
				for line := range strings.Lines(d.Input) {
					sent = append(sent, c.encodeJSON(d, strings.TrimSpace(line)))
					out.WriteString(answer(c.apply(sent[len(sent)-1])))
				}
			case "repeat":
				var n int
				d.ScanArgs(t, "sequence", &n)
				out.WriteString(answer(c.apply(sent[n-1])))
			case "restart":
				snap, err := c.s.Snapshot()
				if err != nil {
					d.Fatalf(t, "%v", err)
				}
				before := c.s.Hash()
				c.s = New()
				if err := c.s.Restore(snap); err != nil || c.s.Hash() != before {
					d.Fatalf(t, "%v", err)
				}
				out.WriteString("same hash\n")
			case "image":
				out.WriteString(picture(c.s.Image()))
			}
			return out.String()
		})
	})
}

// encodeJSON encodes one command written as JSON.
func (c *cluster) encodeJSON(d *datadriven.TestData, line string) []byte {
	for n := range 10 {
		line = strings.ReplaceAll(line, fmt.Sprintf("$%d", n), base64.StdEncoding.EncodeToString(bid(byte(n))))
	}
	var command metapb.Command
	if err := protojson.Unmarshal([]byte(line), &command); err != nil {
		d.Fatalf(c.t, "%s: %v", line, err)
	}
	field := command.ProtoReflect().WhichOneof(command.ProtoReflect().Descriptor().Oneofs().ByName("body"))
	return c.encode(command.ProtoReflect().Get(field).Message().Interface())
}

func answer(r Result) string {
	s := fmt.Sprintf("%d: ok", r.Index)
	if r.Err != nil {
		s = fmt.Sprintf("%d: %s: %v", r.Index, r.Err.(*Error).Verdict, r.Err)
	}
	if r.BrokerEpoch != 0 {
		s += fmt.Sprintf(", broker epoch %d", r.BrokerEpoch)
	}
	if r.Topic != nil {
		s += fmt.Sprintf(", topic %s with %d partitions", r.Topic.Name, len(r.Topic.Partitions))
	}
	if r.Duplicate {
		s += " (again)"
	}
	return s + "\n"
}

// picture writes an image for a reader.
func picture(im *Image) string {
	var out strings.Builder
	fmt.Fprintf(&out, "cluster %q at index %d, next producer id %d\n", im.ClusterID, im.Index, im.NextProducerID)
	for _, id := range slices.Sorted(maps.Keys(im.Brokers)) {
		b := im.Brokers[id]
		fmt.Fprintf(&out, "broker %d epoch %d listeners %v damaged %d\n", id, b.Epoch, b.Listeners, len(b.Damaged))
	}
	for _, name := range slices.Sorted(maps.Keys(im.Topics)) {
		t := im.Topics[name]
		fmt.Fprintf(&out, "topic %s created at %d configs %v\n", name, t.Index, t.Configs)
		for i, p := range t.Partitions {
			fmt.Fprintf(&out, "  %d: leader %d leader epoch %d partition epoch %d replicas %v isr %v\n", i, p.Leader, p.LeaderEpoch, p.PartitionEpoch, p.Replicas, p.ISR)
		}
	}
	for _, d := range im.Deleted {
		fmt.Fprintf(&out, "deleted %s at %d waits for %v\n", d.Name, d.Index, d.Waiting)
	}
	for _, id := range slices.Sorted(maps.Keys(im.BrokerConfigs)) {
		fmt.Fprintf(&out, "configs of broker %d: %v\n", id, im.BrokerConfigs[id])
	}
	return out.String()
}
