package kafka

import (
	"flag"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"chronik.dev/chronik/broker/batch"
)

var record = flag.String("record", "", "write testdata/kafka-4.3.txt from the Apache Kafka broker at this address (fresh, no configuration)")

const golden = "testdata/kafka-4.3.txt"

// TestLikeKafka compares what this server answers to a long list of odd requests with what Apache Kafka 4.3.1 answered to the same list,
// recorded in testdata/kafka-4.3.txt by
//
//	b=$(../shared/anchors/kafka start /tmp/k) && go test ./broker/kafka -run LikeKafka -args -record $b
//
// differences lists where we answer otherwise on purpose.
func TestLikeKafka(t *testing.T) {
	if *record != "" {
		nc, err := net.Dial("tcp", *record)
		if err != nil {
			t.Fatal(err)
		}
		lines := (&transcript{p: &peer{t: t, nc: nc}}).all()
		if err := os.WriteFile(golden, []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	data, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Split(strings.TrimSpace(string(data)), "\n")
	got := (&transcript{p: start(t, Options{}).dial()}).all()
	used := map[string]bool{}
	for i := range max(len(want), len(got)) {
		var w, g string
		if i < len(want) {
			w = want[i]
		}
		if i < len(got) {
			g = got[i]
		}
		name, _, _ := strings.Cut(g, ": ")
		if ours, ok := differences[name]; ok {
			used[name] = true
			if g == name+": "+ours && g != w {
				continue
			}
		}
		if g != w {
			t.Errorf("Kafka answered\n\t%s\nwe answer\n\t%s", w, g)
		}
	}
	for name := range differences {
		if !used[name] {
			t.Errorf("the difference %q did not occur", name)
		}
	}
}

// differences are our answers where they are not Kafka's.
var differences = map[string]string{
	// A duplicate gets the answer of the original, whose time was the client's; Kafka says when it was appended.
	"produce duplicate": "NONE, offset 1, start 0, append time false, leader -1",
	// A negative epoch of a real producer id is a malformed batch, not an old producer.
	"produce old epoch": "INVALID_RECORD, offset -1, start 87, append time false, leader -1",
	// Kafka still names a record that DeleteRecords removed.
	"list after deletion, max": "NONE, offset -1, timestamp -1, epoch -1",
	// Kafka maps its own exception to UNKNOWN_SERVER_ERROR.
	"alter operation 9": "INVALID_REQUEST",
	// The request is well formed; it is the key that cannot change.
	"alter read only": "INVALID_CONFIG",
}

// transcript asks and writes down.
type transcript struct {
	p     *peer
	lines []string
	t     [16]byte // id of topic t
}

func (x *transcript) note(name, format string, args ...any) {
	x.lines = append(x.lines, name+": "+fmt.Sprintf(format, args...))
}

func kerrName(code int16) string {
	if code == 0 {
		return "NONE"
	}
	if e := kerr.TypedErrorForCode(code); e != nil {
		return e.Message
	}
	return fmt.Sprint(code)
}

func (x *transcript) all() []string {
	_ = x.p.nc.SetDeadline(time.Now().Add(40 * time.Second))
	x.createTopics()
	for {
		m := call1[*kmsg.MetadataResponse](x.p, ask(12, false, "t", "other", "d"))
		x.t = m.Topics[0].TopicID
		ready := true
		for _, topic := range m.Topics {
			ready = ready && topic.ErrorCode == 0
			for _, p := range topic.Partitions {
				ready = ready && p.ErrorCode == 0
			}
		}
		if ready {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	x.metadata()
	x.produce()
	x.fetch()
	x.sessions()
	x.offsets()
	x.configs()
	x.groups()
	x.topics()
	x.versions()
	return x.lines
}

func (x *transcript) createTopics() {
	duplicate := createOne("twice", 1, 1)
	duplicate.Topics = append(duplicate.Topics, duplicate.Topics[0])
	nothing := createOne("n", 1, 1)
	nothing.Topics[0].Configs = []kmsg.CreateTopicsRequestTopicConfig{{Name: "retention.ms"}}
	both := createOne("n", 2, 1)
	both.Topics[0].ReplicaAssignment = []kmsg.CreateTopicsRequestTopicReplicaAssignment{{Partition: 0, Replicas: []int32{1}}}
	gap := createOne("n", -1, -1)
	gap.Topics[0].ReplicaAssignment = []kmsg.CreateTopicsRequestTopicReplicaAssignment{{Partition: 1, Replicas: []int32{1}}}
	none := createOne("n", -1, -1)
	none.Topics[0].ReplicaAssignment = []kmsg.CreateTopicsRequestTopicReplicaAssignment{{Partition: 0}}
	stranger := createOne("n", -1, -1)
	stranger.Topics[0].ReplicaAssignment = []kmsg.CreateTopicsRequestTopicReplicaAssignment{{Partition: 0, Replicas: []int32{77}}}
	validate := createOne("v", 2, 1)
	validate.ValidateOnly = true
	for _, c := range []struct {
		name string
		req  *kmsg.CreateTopicsRequest
	}{
		{"new", createOne("t", 2, 1)}, {"other", createOne("other", 1, 1, "message.timestamp.type", "LogAppendTime")}, {"d", createOne("d", 1, 1)},
		{"exists", createOne("t", 2, 1)}, {"validate", validate}, {"partitions 0", createOne("n", 0, 1)}, {"partitions -2", createOne("n", -2, 1)},
		{"factor 0", createOne("n", 1, 0)}, {"factor 2", createOne("n", 1, 2)}, {"empty name", createOne("", 1, 1)}, {"name .", createOne(".", 1, 1)},
		{"blank", createOne("a b", 1, 1)}, {"long", createOne(strings.Repeat("x", 250), 1, 1)}, {"twice", duplicate},
		{"unknown key", createOne("n", 1, 1, "no.such.key", "1")}, {"bad value", createOne("n", 1, 1, "retention.ms", "x")},
		{"null value", nothing}, {"counts and assignment", both}, {"gap", gap}, {"no replicas", none}, {"stranger", stranger},
		{"collides", createOne("a.b", 1, 1)}, {"collides 2", createOne("a_b", 1, 1)},
	} {
		resp := call1[*kmsg.CreateTopicsResponse](x.p, c.req)
		for _, r := range resp.Topics {
			x.note("create "+c.name, "%s, %d partitions, factor %d", kerrName(r.ErrorCode), r.NumPartitions, r.ReplicationFactor)
		}
	}
}

func (x *transcript) metadata() {
	byID := func(version int16, id [16]byte) *kmsg.MetadataRequest {
		req := at(kmsg.NewPtrMetadataRequest(), version)
		req.Topics = []kmsg.MetadataRequestTopic{{TopicID: id}}
		return req
	}
	for _, c := range []struct {
		name string
		req  *kmsg.MetadataRequest
	}{
		{"none", ask(12, false)}, {"none, version 1", ask(1, false)}, {"missing", ask(12, false, "m")}, {"illegal", ask(12, false, "a b")},
		{"illegal, create", ask(12, true, "a b")}, {"empty name", ask(12, false, "")}, {"one", ask(12, false, "t")}, {"unknown id", byID(12, [16]byte{9})},
		{"by id", byID(12, x.t)}, {"by id, version 10", byID(10, x.t)}, {"twice", ask(12, false, "t", "t")},
	} {
		resp := call1[*kmsg.MetadataResponse](x.p, c.req)
		x.note("metadata "+c.name, "%q, %d brokers", topicsOf(resp), len(resp.Brokers))
		for _, topic := range resp.Topics {
			x.note("metadata "+c.name, "%d partitions, id %v, operations %d", len(topic.Partitions), topic.TopicID == x.t, topic.AuthorizedOperations)
		}
	}
	all := call1[*kmsg.MetadataResponse](x.p, at(kmsg.NewPtrMetadataRequest(), 12))
	zero := call1[*kmsg.MetadataResponse](x.p, ask(0, false))
	x.note("metadata all", "%v, as version 0: %v", len(all.Topics) > 2, len(zero.Topics) == len(all.Topics))
}

func (x *transcript) produce() {
	good := records("a", "b")
	wrongCRC := append([]byte(nil), good...)
	wrongCRC[len(wrongCRC)-1] ^= 1
	for _, c := range []struct {
		name    string
		version int16
		topic   string
		part    int32
		acks    int16
		records []byte
	}{
		{"wrong CRC", 9, "t", 0, 1, wrongCRC}, {"empty", 9, "t", 0, 1, []byte{}}, {"magic 1", 9, "t", 0, 1, patched(good, 16, 1)},
		{"last offset delta", 9, "t", 0, 1, patched(good, 23, 0, 0, 0, 5)}, {"control", 9, "t", 0, 1, patched(good, 21, 0, 0x20)},
		{"too large", 9, "t", 0, 1, records(string(make([]byte, 1100000)))}, {"acks 2", 9, "t", 0, 2, good}, {"acks -2", 9, "t", 0, -2, good},
		{"unknown topic", 9, "absent", 0, 1, good}, {"unknown partition", 9, "t", 7, 1, good}, {"negative partition", 9, "t", -1, 1, good},
		{"zstd in version 6", 6, "t", 0, 1, built(batch.Zstd, 0, -1, -1, -1, "a")}, {"unknown id", 13, "", 0, 1, good},
		{"good", 9, "t", 0, -1, records("a", "b", "c")}, {"good", 3, "t", 0, 1, records("d")}, {"gzip", 7, "t", 0, 1, built(batch.Gzip, 0, -1, -1, -1, "e")},
		{"unknown sequence", 9, "t", 1, 1, built(batch.None, 0, 4000, 0, 5, "a")}, {"next", 9, "t", 1, 1, built(batch.None, 0, 4000, 0, 6, "a", "b")},
		{"gap", 9, "t", 1, 1, built(batch.None, 0, 4000, 0, 9, "a")}, {"duplicate", 9, "t", 1, 1, built(batch.None, 0, 4000, 0, 6, "a", "b")},
		{"old epoch", 9, "t", 1, 1, built(batch.None, 0, 4000, -1, 8, "a")}, {"new epoch, sequence 3", 9, "t", 1, 1, built(batch.None, 0, 4000, 1, 3, "a")},
		{"new epoch", 9, "t", 1, 1, built(batch.None, 0, 4000, 1, 0, "a")}, {"epoch of before", 9, "t", 1, 1, built(batch.None, 0, 4000, 0, 8, "a")},
		{"log append time", 9, "other", 0, 1, good},
	} {
		req := produceTo(c.version, c.topic, [16]byte{5}, c.part, c.acks, c.records)
		r := call1[*kmsg.ProduceResponse](x.p, req).Topics[0].Partitions[0]
		x.note("produce "+c.name, "%s, offset %d, start %d, append time %v, leader %d", kerrName(r.ErrorCode), r.BaseOffset,
			max(r.LogStartOffset, int64(r.ErrorCode)), r.LogAppendTime >= 0, r.CurrentLeader.LeaderID)
	}
}

func (x *transcript) fetch() {
	change := func(name string, version int16, f func(r *kmsg.FetchRequest)) {
		req := fetchFrom(version, "t", x.t, 0, 0)
		f(req)
		r := call1[*kmsg.FetchResponse](x.p, req)
		for _, topic := range r.Topics {
			for _, p := range topic.Partitions {
				x.note("fetch "+name, "%s, top %s, high watermark %d, stable %d, start %d, %d bytes, diverging %d/%d, aborted null %v, leader %d", kerrName(p.ErrorCode),
					kerrName(r.ErrorCode), p.HighWatermark, p.LastStableOffset, p.LogStartOffset, len(p.RecordBatches), p.DivergingEpoch.Epoch,
					p.DivergingEpoch.EndOffset, p.AbortedTransactions == nil && p.ErrorCode == 0, p.CurrentLeader.LeaderID)
			}
		}
	}
	part := func(f func(p *kmsg.FetchRequestTopicPartition)) func(r *kmsg.FetchRequest) {
		return func(r *kmsg.FetchRequest) { f(&r.Topics[0].Partitions[0]) }
	}
	offset := func(o int64) func(r *kmsg.FetchRequest) {
		return part(func(p *kmsg.FetchRequestTopicPartition) { p.FetchOffset = o })
	}
	change("start", 11, offset(0))
	change("inside", 12, offset(1))
	change("end", 13, offset(5))
	change("beyond", 18, offset(6))
	change("below", 4, offset(-1))
	change("committed", 11, func(r *kmsg.FetchRequest) { r.IsolationLevel = 1 })
	change("tiny", 11, func(r *kmsg.FetchRequest) { r.MaxBytes, r.Topics[0].Partitions[0].PartitionMaxBytes = 1, 1 })
	change("max bytes 0", 11, func(r *kmsg.FetchRequest) { r.MaxBytes, r.Topics[0].Partitions[0].PartitionMaxBytes = 0, 0 })
	change("unknown topic", 12, func(r *kmsg.FetchRequest) { r.Topics[0].Topic = "absent" })
	change("unknown id", 13, func(r *kmsg.FetchRequest) { r.Topics[0].TopicID = [16]byte{8} })
	change("unknown partition", 13, part(func(p *kmsg.FetchRequestTopicPartition) { p.Partition = 9 }))
	change("epoch ahead", 12, part(func(p *kmsg.FetchRequestTopicPartition) { p.CurrentLeaderEpoch = 50 }))
	change("fetched epoch ahead", 12, part(func(p *kmsg.FetchRequestTopicPartition) { p.LastFetchedEpoch = 50 }))
	change("fetched epoch 0", 12, part(func(p *kmsg.FetchRequestTopicPartition) { p.LastFetchedEpoch = 0 }))
}
