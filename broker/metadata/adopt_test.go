package metadata

import (
	"strings"
	"testing"
)

func TestAdopt(t *testing.T) {
	topic := func(name string, id byte, epoch int32) *Topic {
		return &Topic{Name: name, ID: [16]byte{id}, Index: 3, Partitions: []Partition{{Index: 3, Leader: 1, LeaderEpoch: epoch, Replicas: []int32{1}, ISR: []int32{1}}}}
	}
	s := New()
	s.Apply(5, nil)
	if err := s.Adopt(9, "here", []*Topic{topic("a.b", 1, 4), topic("c", 2, 0)}, 1000); err != nil {
		t.Fatal(err)
	}
	if im := s.Image(); im.Index != 9 || im.ClusterID != "here" || im.NextProducerID != 1000 || im.Topics["a.b"].Partitions[0].LeaderEpoch != 4 || im.TopicsByID[[16]byte{2}] == nil {
		t.Fatalf("adopted %+v", im)
	}
	data, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	if err := New().Restore(data); err != nil {
		t.Fatalf("the state cannot be restored: %v", err)
	}
	before := s.Hash()
	for name, c := range map[string]struct {
		index uint64
		topic *Topic
	}{
		"the state is that of index 9":   {8, topic("d", 4, 0)},
		"there is a topic a.b":           {10, topic("a_b", 4, 0)},
		"its id 0100":                    {10, topic("other", 1, 0)},
		"no topic can be so":             {10, topic("no/topic", 4, 0)},
		"topic \"e\" with 0 partitions:": {10, &Topic{Name: "e", ID: [16]byte{4}}},
	} {
		if err := s.Adopt(c.index, "here", []*Topic{topic("fine", 9, 0), c.topic}, 1); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := s.Adopt(10, "there", nil, 0); err == nil || !strings.Contains(err.Error(), "cluster here") {
		t.Errorf("another cluster's: %v", err)
	}
	if s.Hash() != before {
		t.Error("a refused adoption changed the state")
	}
	if err := s.Adopt(9, "here", []*Topic{topic("a.b", 1, 7)}, 0); err != nil || s.Image().Topics["a.b"].Partitions[0].LeaderEpoch != 7 || len(s.Image().Topics) != 2 {
		t.Errorf("in place of itself: %v, %+v", err, s.Image().Topics)
	}
}
