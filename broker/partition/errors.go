package partition

import (
	"errors"
	"fmt"
)

// Errors of the append and read paths; the broker maps each to one Kafka error code. They come wrapped: use errors.Is.
var (
	ErrOutOfOrderSequence   = errors.New("sequence number out of order")                   // OUT_OF_ORDER_SEQUENCE_NUMBER
	ErrInvalidProducerEpoch = errors.New("producer epoch is older than the newest seen")   // INVALID_PRODUCER_EPOCH
	ErrRecordTooLarge       = errors.New("batch is larger than max.message.bytes")         // MESSAGE_TOO_LARGE
	ErrInvalidRecord        = errors.New("record breaks a rule of the topic")              // INVALID_RECORD
	ErrInvalidTimestamp     = errors.New("timestamp is outside the topic's limits")        // INVALID_TIMESTAMP
	ErrCorruptMessage       = errors.New("batch is corrupt")                               // CORRUPT_MESSAGE; wraps a *batch.Error too
	ErrUnsupportedCodec     = errors.New("compression codec is not supported")             // UNSUPPORTED_COMPRESSION_TYPE
	ErrOffsetOutOfRange     = errors.New("offset is outside the log")                      // OFFSET_OUT_OF_RANGE
	ErrFencedLeaderEpoch    = errors.New("leader epoch is older than the partition's")     // NOT_LEADER_OR_FOLLOWER
	ErrInternalTopic        = errors.New("an internal topic is written by the node alone") // INVALID_TOPIC_EXCEPTION
	ErrNoSpace              = errors.New("no space on the disk, or no file descriptor")    // KAFKA_STORAGE_ERROR
	ErrStopped              = errors.New("the partition is stopped")                       // KAFKA_STORAGE_ERROR
	ErrDeleted              = errors.New("the partition is deleted")                       // UNKNOWN_TOPIC_OR_PARTITION
	ErrClosed               = errors.New("the partition is closed")                        // NOT_LEADER_OR_FOLLOWER
)

// errJournal is why a log is stopped that is as good as before: its journal failed, and the node ends. It comes with ErrStopped.
var errJournal = errors.New("the journal failed")

// RecordError says which batch, and where a rule of single records was broken which records, of an append were refused.
type RecordError struct {
	Err     error  // one of the errors above
	Message string // what and why
	Batch   int    // index of the batch in the payload, from 0
	Records []int  // indexes within the batch; empty if the batch as a whole is refused
}

func (e *RecordError) Error() string {
	return fmt.Sprintf("append refused: batch %d: %v: %s", e.Batch, e.Err, e.Message)
}

func (e *RecordError) Unwrap() error { return e.Err }
