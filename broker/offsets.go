package broker

import (
	"chronik.dev/chronik/broker/partition"
)

// offsetsStore is __consumer_offsets as the group coordinator uses it.
type offsetsStore struct{ b *Broker }

// Append writes a batch of the coordinator's own records; done is called after the sync.
func (s offsetsStore) Append(number int32, batch []byte, done func(error)) {
	l, err := s.b.Log(OffsetsTopic, number)
	if err != nil {
		done(err)
		return
	}
	if err := s.b.waitRoom(); err != nil {
		done(err)
		return
	}
	l.Append(batch, partition.AppendInfo{LeaderEpoch: l.LeaderEpoch(), Internal: true}, func(_ partition.Appended, err error) {
		done(asError(err))
	})
}

// Read returns whole batches from an offset on, nil at the high watermark.
func (s offsetsStore) Read(number int32, offset int64, maxBytes int) ([]byte, error) {
	l, err := s.b.Log(OffsetsTopic, number)
	if err != nil {
		return nil, err
	}
	return l.Read(partition.ReadRequest{Offset: offset, UpTo: l.HighWatermark(), MaxBytes: maxBytes, AtLeastOne: true})
}

// Bounds returns the log start and the high watermark.
func (s offsetsStore) Bounds(number int32) (start, end int64, err error) {
	l, err := s.b.Log(OffsetsTopic, number)
	if err != nil {
		return 0, 0, err
	}
	return l.LogStart(), l.HighWatermark(), nil
}

// Ready returns the partition count, and whether the topic exists.
func (s offsetsStore) Ready() (partitions int32, ok bool) {
	t, there := s.b.Image().Topics[OffsetsTopic]
	if !there {
		return 0, false
	}
	return int32(len(t.Partitions)), true
}
