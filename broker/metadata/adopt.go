package metadata

import (
	"fmt"
	"maps"
)

// Adopt adds to a state that lost commands what the disk still knows: the cluster's id, topics, as they shall be, new ones or in place of those of the same
// id and name, and that producerIDs ids may have been handed out. The state is then that of index, which is not below the one it has. It is for
// package repair: a node changes its state by Apply alone. It fails, and changes nothing, if the
// cluster's name, a topic's id or its name is another's.
func (s *State) Adopt(index uint64, clusterID string, topics []*Topic, producerIDs int64) error {
	next := *s.image.Load()
	if index < next.Index {
		return fmt.Errorf("adopt topics at index %d: the state is that of index %d", index, next.Index)
	}
	if next.ClusterID != "" && next.ClusterID != clusterID {
		return fmt.Errorf("adopt topics of cluster %s: the state is that of cluster %s", clusterID, next.ClusterID)
	}
	next.Index, next.ClusterID = index, clusterID
	next.NextProducerID += producerIDs
	next.Topics, next.TopicsByID = maps.Clone(next.Topics), maps.Clone(next.TopicsByID)
	collision := maps.Clone(s.collision)
	for _, t := range topics {
		key := collisionKey(t.Name)
		other, taken := collision[key]
		old := next.TopicsByID[t.ID]
		switch {
		case old != nil && old.Name != t.Name || next.Deleted[t.ID] != nil:
			return fmt.Errorf("adopt topic %s: its id %x is in use", t.Name, t.ID)
		case taken && old == nil:
			return fmt.Errorf("adopt topic %s of id %x: there is a topic %s", t.Name, t.ID, other)
		case validName(t.Name) != nil || len(t.Partitions) == 0 || len(t.Partitions) > maxPartitions:
			return fmt.Errorf("adopt topic %q with %d partitions: no topic can be so", t.Name, len(t.Partitions))
		}
		next.Topics[t.Name], next.TopicsByID[t.ID], collision[key] = t, t, t.Name
	}
	s.collision = collision
	s.image.Store(&next)
	return nil
}
