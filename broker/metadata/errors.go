package metadata

import (
	"errors"
	"fmt"

	"chronik.dev/chronik/broker/metapb"
)

// Error says why a command was refused. errors.Is compares it with the sentinels below by its verdict.
type Error struct {
	Verdict metapb.Verdict
	Message string
}

// Error returns the message.
func (e *Error) Error() string { return e.Message }

// Is reports whether target is an Error of the same verdict.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Verdict == e.Verdict
}

// The verdicts that callers tell apart.
var (
	ErrTopicExists       = &Error{metapb.Verdict_TOPIC_EXISTS, "topic exists"}
	ErrUnknownTopic      = &Error{metapb.Verdict_UNKNOWN_TOPIC, "unknown topic"}
	ErrInvalidTopicName  = &Error{metapb.Verdict_INVALID_TOPIC_NAME, "invalid topic name"}
	ErrInvalidPartitions = &Error{metapb.Verdict_INVALID_PARTITIONS, "invalid partitions"}
	ErrInvalidAssignment = &Error{metapb.Verdict_INVALID_ASSIGNMENT, "invalid replica assignment"}
	ErrInvalidConfig     = &Error{metapb.Verdict_INVALID_CONFIG, "invalid configuration"}
	ErrInvalidCommand    = &Error{metapb.Verdict_INVALID_COMMAND, "invalid command"}
	ErrConflict          = &Error{metapb.Verdict_CONFLICT, "the metadata changed meanwhile"}
	ErrStaleCommand      = &Error{metapb.Verdict_STALE_COMMAND, "the answer to this command is no longer kept"}
	ErrLimitExceeded     = &Error{metapb.Verdict_LIMIT_EXCEEDED, "limit exceeded"}
	// ErrUnsupported says that a newer version wrote the command or snapshot. The node must stop: skipping it would diverge.
	ErrUnsupported = errors.New("written by a newer version")
)

// unsupported wraps ErrUnsupported.
func unsupported(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrUnsupported, fmt.Sprintf(format, args...))
}
