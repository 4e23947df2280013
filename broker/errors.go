package broker

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"

	"chronik.dev/chronik/broker/partition"
	"chronik.dev/chronik/broker/planted"
)

// Error is what every verb fails with: a Kafka error code and a sentence for people.
type Error struct {
	Code    int16 // of kafka.apache.org's protocol guide, as package kerr has them; never 0
	Message string
	cause   error // what it was mapped from, if anything
}

func (e *Error) Error() string {
	return fmt.Sprintf("%v: %s", kerr.ErrorForCode(e.Code), e.Message)
}

// Unwrap returns what the error was mapped from, for who knows more about it than its code: a *partition.RecordError, a *batch.Error.
func (e *Error) Unwrap() error { return e.cause }

// fail makes an Error.
func fail(code *kerr.Error, format string, args ...any) *Error {
	return &Error{Code: code.Code, Message: fmt.Sprintf(format, args...)}
}

// codes maps what lower packages say to Kafka's codes; the first match counts. Retriable conditions map to retriable codes.
var codes = []struct {
	err  error
	code *kerr.Error
}{
	{partition.ErrOutOfOrderSequence, kerr.OutOfOrderSequenceNumber},
	{partition.ErrInvalidProducerEpoch, kerr.InvalidProducerEpoch},
	{partition.ErrRecordTooLarge, kerr.MessageTooLarge},
	{partition.ErrInvalidRecord, kerr.InvalidRecord},
	{partition.ErrInvalidTimestamp, kerr.InvalidTimestamp},
	{partition.ErrCorruptMessage, kerr.CorruptMessage},
	{partition.ErrUnsupportedCodec, kerr.UnsupportedCompressionType},
	{partition.ErrOffsetOutOfRange, kerr.OffsetOutOfRange},
	{partition.ErrFencedLeaderEpoch, kerr.NotLeaderForPartition},
	{partition.ErrInternalTopic, kerr.InvalidTopicException},
	{partition.ErrNoSpace, kerr.KafkaStorageError},
	{partition.ErrStopped, kerr.KafkaStorageError},
	{partition.ErrDeleted, kerr.UnknownTopicOrPartition},
	{partition.ErrClosed, kerr.NotLeaderForPartition},
	{context.DeadlineExceeded, kerr.RequestTimedOut},
	{context.Canceled, kerr.RequestTimedOut},
}

// AsError maps any error of this node to an *Error; what nobody mapped is a storage error, which clients retry.
func AsError(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	for _, c := range codes {
		if errors.Is(err, c.err) {
			return &Error{Code: c.code.Code, Message: err.Error(), cause: err}
		}
	}
	if planted.Is(planted.UnmappedSuccess) {
		return &Error{}
	}
	return &Error{Code: kerr.KafkaStorageError.Code, Message: err.Error(), cause: err}
}
