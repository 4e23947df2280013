package kafka

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"chronik.dev/chronik/broker/partition"
)

// Timestamps with a meaning of their own.
const (
	latest                = -1
	earliest              = -2
	maxTimestamp          = -3 // KIP-734
	earliestLocal         = -4 // KIP-405
	latestTiered          = -5 // KIP-1005
	earliestPendingUpload = -6 // KIP-1023
)

// timestampSince is the first version in which a special timestamp may be asked for.
var timestampSince = map[int64]int16{
	latest: 1, earliest: 1, maxTimestamp: 7, earliestLocal: 8, latestTiered: 9, earliestPendingUpload: 11,
}

// listOffsets answers ListOffsets. Both isolation levels see the same end: there are no transactions yet.
func listOffsets(ca *call, req *kmsg.ListOffsetsRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.ListOffsetsResponse)
	type key struct {
		topic     string
		partition int32
	}
	seen := map[key]int{}
	for _, t := range req.Topics {
		for _, p := range t.Partitions {
			seen[key{t.Topic, p.Partition}]++
		}
	}
	for _, t := range req.Topics {
		topic := kmsg.NewListOffsetsResponseTopic()
		topic.Topic = t.Topic
		for _, p := range t.Partitions {
			o := kmsg.NewListOffsetsResponseTopicPartition()
			o.Partition = p.Partition
			switch times := seen[key{t.Topic, p.Partition}]; {
			case times > 1:
				o.ErrorCode = kerr.InvalidRequest.Code
				seen[key{t.Topic, p.Partition}] = 0
			case times == 0:
				continue // answered, once for all times that it is asked for
			default:
				offsetFor(ca, t.Topic, p, &o)
			}
			topic.Partitions = append(topic.Partitions, o)
		}
		resp.Topics = append(resp.Topics, topic)
	}
	return resp
}

// offsetFor fills in one partition's answer; the defaults of it are "no such record".
func offsetFor(ca *call, topic string, p kmsg.ListOffsetsRequestTopicPartition, o *kmsg.ListOffsetsResponseTopicPartition) {
	if since, known := timestampSince[p.Timestamp]; p.Timestamp < 0 && (!known || ca.version < since) {
		o.ErrorCode = kerr.UnsupportedVersion.Code
		return
	}
	l, err := ca.c.s.b.Log(topic, p.Partition)
	if err != nil {
		o.ErrorCode = code(err)
		return
	}
	if o.ErrorCode = checkEpoch(l, p.CurrentLeaderEpoch); o.ErrorCode != 0 {
		return
	}
	switch p.Timestamp {
	case latest:
		o.Offset, o.LeaderEpoch = l.HighWatermark(), l.LeaderEpoch()
	case earliest, earliestLocal:
		o.Offset = l.LogStart()
		o.LeaderEpoch = epochAt(l, o.Offset)
	case latestTiered, earliestPendingUpload: // there is no remote storage, and Kafka without it answers the same
	case maxTimestamp:
		ts, offset, epoch, err := l.MaxTimestamp()
		if err != nil {
			o.ErrorCode = code(err)
			return
		}
		o.Timestamp, o.Offset, o.LeaderEpoch = ts, offset, epoch
	default:
		offset, ts, epoch, err := l.OffsetForTime(p.Timestamp)
		if err != nil {
			o.ErrorCode = code(err)
			return
		}
		o.Timestamp, o.Offset, o.LeaderEpoch = ts, offset, epoch
	}
}

// epochAt is the leader epoch of an offset; at the end of the log, the epoch that the next record gets.
func epochAt(l *partition.Log, offset int64) int32 {
	if epoch := l.EpochAt(offset); epoch >= 0 {
		return epoch
	}
	return l.LeaderEpoch()
}

// offsetForLeaderEpoch answers where an epoch ended (KIP-101, KIP-279, KIP-320): -1, -1 for one that has not begun.
func offsetForLeaderEpoch(ca *call, req *kmsg.OffsetForLeaderEpochRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.OffsetForLeaderEpochResponse)
	for _, t := range req.Topics {
		topic := kmsg.NewOffsetForLeaderEpochResponseTopic()
		topic.Topic = t.Topic
		for _, p := range t.Partitions {
			o := kmsg.NewOffsetForLeaderEpochResponseTopicPartition()
			o.Partition = p.Partition
			l, err := ca.c.s.b.Log(t.Topic, p.Partition)
			if err != nil {
				o.ErrorCode = code(err)
			} else if o.ErrorCode = checkEpoch(l, p.CurrentLeaderEpoch); o.ErrorCode == 0 {
				o.LeaderEpoch, o.EndOffset = l.EpochEnd(p.LeaderEpoch)
			}
			topic.Partitions = append(topic.Partitions, o)
		}
		resp.Topics = append(resp.Topics, topic)
	}
	return resp
}

// initProducerID gives an idempotent producer its id (KIP-98). A producer that reset its sequences (KIP-360) keeps its id with the next
// epoch; without transactions nobody else can hold it.
func initProducerID(ca *call, req *kmsg.InitProducerIDRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.InitProducerIDResponse)
	resp.ProducerID, resp.ProducerEpoch = -1, -1
	if req.TransactionalID != nil {
		resp.ErrorCode = kerr.InvalidRequest.Code
		return resp
	}
	ctx, cancel := ca.within(int32(maxTimeout.Milliseconds()))
	defer cancel()
	id, err := ca.c.s.b.NextProducerID(ctx)
	if err != nil {
		resp.ErrorCode = retriableInit(code(err))
		return resp
	}
	resp.ProducerID, resp.ProducerEpoch = id, 0
	return resp
}

// retriableInit maps to the codes that producers retry when they ask for an id.
func retriableInit(code int16) int16 {
	if code == kerr.RequestTimedOut.Code {
		return code
	}
	return kerr.CoordinatorNotAvailable.Code
}
