package metadata

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"chronik.dev/chronik/broker/metapb"
)

// genBody draws a command over few ids and names, so that most of them meet something.
func genBody(t *rapid.T) proto.Message {
	small := rapid.IntRange(0, 5)
	id := func() []byte { return bid(byte(small.Draw(t, "id"))) }
	node := func() int32 { return int32(small.Draw(t, "node")) }
	configs := func() (list []*metapb.Config) {
		for range rapid.IntRange(0, 2).Draw(t, "configs") {
			list = append(list, &metapb.Config{Key: rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "key"), Value: "v"})
		}
		return list
	}
	partitions := func() (list []*metapb.Assignment) {
		replicas := rapid.SliceOfN(rapid.Int32Range(0, 3), 0, 3).Draw(t, "replicas")
		return assignment(rapid.IntRange(0, 3).Draw(t, "partitions"), replicas...)
	}
	switch rapid.IntRange(0, 9).Draw(t, "command") {
	case 0:
		return &metapb.InitCluster{ClusterId: rapid.SampledFrom([]string{"", "x", "y"}).Draw(t, "cluster")}
	case 1, 2:
		name := rapid.SampledFrom([]string{"a", "a.b", "a_b", "..", "c"}).Draw(t, "name")
		return &metapb.CreateTopic{Name: name, Id: id(), Partitions: partitions(), Configs: configs(), Internal: rapid.Bool().Draw(t, "internal")}
	case 3:
		return &metapb.DeleteTopic{Id: id()}
	case 4:
		return &metapb.CreatePartitions{Id: id(), First: uint32(small.Draw(t, "first")), Partitions: partitions()}
	case 5:
		return &metapb.AlterConfigs{Resource: &metapb.AlterConfigs_TopicId{TopicId: id()}, Sets: configs(), Deletes: []string{"a"}}
	case 6:
		return &metapb.AlterConfigs{Resource: &metapb.AlterConfigs_Broker{Broker: node() - 1}, Sets: configs()}
	case 7:
		return &metapb.RegisterBroker{NodeId: node(), Incarnation: id(), Rack: "r", Listeners: []*metapb.Endpoint{{Name: "n", Host: "h", Port: 1}},
			Damaged: []*metapb.DamagedRange{{TopicId: id(), Partition: uint32(small.Draw(t, "partition")), ProvenEnd: 7, Corrupt: rapid.Bool().Draw(t, "corrupt")}}}
	case 8:
		return &metapb.TopicDropped{NodeId: node(), Id: id()}
	}
	return &metapb.AllocateProducerIds{Count: uint32(small.Draw(t, "count"))}
}

// checkImage checks what must hold of every image.
func checkImage(t *rapid.T, im *Image) {
	if len(im.Topics) != len(im.TopicsByID) {
		t.Fatalf("%d topics by name, %d by id", len(im.Topics), len(im.TopicsByID))
	}
	for name, topic := range im.Topics {
		if topic.Name != name || im.TopicsByID[topic.ID] != topic || im.Deleted[topic.ID] != nil || len(topic.Partitions) == 0 {
			t.Fatalf("topic %s: %+v", name, topic)
		}
		for i, p := range topic.Partitions {
			if len(p.ISR) == 0 || len(p.ISR) > len(p.Replicas) || !bytes.Contains(raw(p.ISR), raw([]int32{p.Leader})) || p.Index < topic.Index {
				t.Fatalf("partition %s-%d: %+v", name, i, p)
			}
		}
	}
	for id, d := range im.Deleted {
		if d.ID != id || len(d.Waiting) == 0 {
			t.Fatalf("deleted %+v", d)
		}
	}
}

func raw(list []int32) (b []byte) {
	for _, v := range list {
		b = append(b, byte(v))
	}
	return b
}

// TestDeterminism applies random commands, with retries, to one state straight and to another that is snapshot and restored now and then.
func TestDeterminism(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := New(), New()
		p := []*Proposer{NewProposer(tid(1)), NewProposer(tid(2))}
		var sent [][]byte
		epochs := map[string]int32{}
		for index := uint64(1); index <= uint64(rapid.IntRange(1, 60).Draw(t, "commands")); index++ {
			var data []byte
			if kind := rapid.IntRange(0, 9).Draw(t, "kind"); kind == 0 && len(sent) > 0 {
				data = rapid.SampledFrom(sent).Draw(t, "retry")
			} else if kind != 1 {
				var err error
				if data, err = rapid.SampledFrom(p).Draw(t, "proposer").Encode(int64(index), genBody(t)); err != nil {
					t.Fatal(err)
				}
				sent = append(sent, data)
			}
			before := a.Hash()
			x, y := a.Apply(index, data), b.Apply(index, data)
			if fmt.Sprint(x.Err) != fmt.Sprint(y.Err) || !reflect.DeepEqual(x, y) {
				t.Fatalf("index %d: %+v and %+v", index, x, y)
			}
			if a.Hash() != b.Hash() || a.Hash() == before {
				t.Fatalf("index %d: hashes %x, %x, before %x", index, a.Hash(), b.Hash(), before)
			}
			checkImage(t, a.Image())
			for _, topic := range a.Image().Topics {
				for i, q := range topic.Partitions {
					key := fmt.Sprint(topic.ID, topic.Index, i)
					if q.LeaderEpoch < epochs[key] {
						t.Fatalf("leader epoch of %s-%d fell to %d", topic.Name, i, q.LeaderEpoch)
					}
					epochs[key] = q.LeaderEpoch
				}
			}
			if rapid.IntRange(0, 7).Draw(t, "restart") == 0 {
				b = restarted(t, b)
			}
		}
		if b = restarted(t, b); !reflect.DeepEqual(a.Image(), b.Image()) {
			t.Fatalf("images differ:\n%+v\n%+v", a.Image(), b.Image())
		}
	})
}

// restarted returns a state restored from s's snapshot, which must be the same snapshot again.
func restarted(t *rapid.T, s *State) *State {
	snap, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	fresh := New()
	if err := fresh.Restore(snap); err != nil {
		t.Fatal(err)
	}
	again, err := fresh.Snapshot()
	if err != nil || !bytes.Equal(snap, again) || fresh.Hash() != s.Hash() {
		t.Fatalf("restored state differs: %v, hashes %x and %x", err, s.Hash(), fresh.Hash())
	}
	return fresh
}

// sample is a snapshot with something of everything in it.
func sample(t testing.TB) []byte {
	s, p := New(), NewProposer(tid(200))
	for i, body := range []proto.Message{
		&metapb.InitCluster{ClusterId: "c"},
		&metapb.RegisterBroker{NodeId: 1, Incarnation: bid(1), Rack: "r", Listeners: []*metapb.Endpoint{{Name: "n", Host: "h", Port: 9092}},
			Damaged: []*metapb.DamagedRange{{TopicId: bid(1), ProvenEnd: 4}}},
		&metapb.CreateTopic{Name: "a", Id: bid(1), Partitions: assignment(3, 1), Configs: []*metapb.Config{{Key: "k", Value: "v"}}},
		&metapb.CreateTopic{Name: "b", Id: bid(2), Partitions: assignment(1, 1)},
		&metapb.DeleteTopic{Id: bid(1)}, &metapb.DeleteTopic{Id: bid(7)},
		&metapb.AlterConfigs{Resource: &metapb.AlterConfigs_Broker{Broker: -1}, Sets: []*metapb.Config{{Key: "k", Value: "v"}}},
		&metapb.AllocateProducerIds{Count: 10},
	} {
		data, err := p.Encode(5, body)
		if err != nil {
			t.Fatal(err)
		}
		s.Apply(uint64(i+1), data)
	}
	snap, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	return snap
}

// TestRestoreRefusesEveryFlip flips every bit of a snapshot: its hash is its own proof.
func TestRestoreRefusesEveryFlip(t *testing.T) {
	snap := sample(t)
	for i := range snap {
		for bit := range 8 {
			bad := bytes.Clone(snap)
			bad[i] ^= 1 << bit
			s := New()
			if err := s.Restore(bad); err == nil {
				t.Fatalf("bit %d of byte %d: accepted", bit, i)
			} else if s.Image().Index != 0 {
				t.Fatalf("bit %d of byte %d: refused, but the state changed", bit, i)
			}
		}
	}
	for n := range snap {
		if err := New().Restore(snap[:n]); err == nil {
			t.Fatalf("cut to %d bytes: accepted", n)
		}
	}
	newer := bytes.Clone(snap)
	newer[1] = 2
	if err := New().Restore(newer); !errors.Is(err, ErrUnsupported) {
		t.Fatalf("newer format: %v", err)
	}
}

// allocated measures the bytes that fn allocates.
func allocated(fn func()) uint64 {
	var a, b runtime.MemStats
	runtime.ReadMemStats(&a)
	fn()
	runtime.ReadMemStats(&b)
	return b.TotalAlloc - a.TotalAlloc
}

// TestDecodingIsBounded feeds what decodes into much more memory than it is long.
func TestDecodingIsBounded(t *testing.T) {
	repeat := func(head, unit string, n int) []byte { return append([]byte(head), bytes.Repeat([]byte(unit), n)...) }
	nest := func(tag byte, inner []byte) []byte {
		return append([]byte{8, 1, tag, byte(len(inner)&0x7f | 0x80), byte(len(inner)>>7&0x7f | 0x80), byte(len(inner) >> 14)}, inner...)
	}
	for name, data := range map[string][]byte{
		"empty topics":     repeat("\x08\x01", "\x32\x00", 100_000),
		"empty proposers":  repeat("\x08\x01", "\x52\x00", 100_000),
		"empty partitions": nest(0x5a, repeat("", "\x22\x00", 50_000)),
		"empty deletes":    nest(0x72, repeat("", "\x22\x00", 50_000)),
		"unknown fields":   repeat("\x08\x01", "\xf8\x07\x00", 100_000),
	} {
		for _, m := range []proto.Message{&metapb.Command{}, &metapb.Snapshot{}} {
			var err error
			if n := allocated(func() { err = metapb.Unmarshal(data, m, metapb.MaxSnapshot) }); err == nil || n > 64<<10 {
				t.Errorf("%s as %T: %v after %d bytes of memory", name, m, err, n)
			}
		}
	}
}

// TestManyPartitions: the command that creates thousands of partitions decodes, within the bound.
func TestManyPartitions(t *testing.T) {
	data, err := NewProposer(tid(200)).Encode(5, &metapb.CreateTopic{Name: "a", Id: bid(1), Partitions: assignment(5000, 1)})
	if err != nil {
		t.Fatal(err)
	}
	if n := allocated(func() { err = metapb.Unmarshal(data, &metapb.Command{}, metapb.MaxSnapshot) }); err != nil || n > uint64(16*len(data)+4096) {
		t.Errorf("%v; %d bytes of memory for %d", err, n, len(data))
	}
}

func FuzzApply(f *testing.F) {
	p := NewProposer(tid(200))
	for _, body := range []proto.Message{
		&metapb.RegisterBroker{NodeId: 1, Incarnation: bid(1), Listeners: []*metapb.Endpoint{{Name: "n", Host: "h", Port: 9092}}},
		&metapb.CreateTopic{Name: "a", Id: bid(1), Partitions: assignment(3, 1), Configs: []*metapb.Config{{Key: "k", Value: "v"}}},
		&metapb.DeleteTopic{Id: bid(1)}, &metapb.TopicDropped{NodeId: 1, Id: bid(1)},
	} {
		data, err := p.Encode(5, body)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s := New()
		if n := allocated(func() { s.Apply(1, data) }); n > uint64(16*len(data)+64<<10) {
			t.Fatalf("%d bytes of memory for %d bytes", n, len(data))
		}
		s.Apply(2, data)
		if _, err := s.Snapshot(); err != nil {
			t.Fatal(err)
		}
		if _, err := CommandJSON(data); err == nil && len(data) > 0 && s.Image().Index != 2 {
			t.Fatal("a readable command was not applied")
		}
	})
}

func FuzzRestore(f *testing.F) {
	f.Add(sample(f))
	f.Fuzz(func(t *testing.T, data []byte) {
		s := New()
		if err := s.Restore(data); err != nil {
			return
		}
		again, err := s.Snapshot()
		if err != nil || !bytes.Equal(again, data) {
			t.Fatalf("restored another state: %v", err)
		}
		s.Apply(s.Image().Index+1, nil)
	})
}
