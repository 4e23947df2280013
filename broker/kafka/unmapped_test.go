package kafka

import (
	"errors"
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
)

// TestUnmappedErrors: an error that nobody has mapped to one of Kafka's codes is a failure that the client repeats, never success.
func TestUnmappedErrors(t *testing.T) {
	for _, err := range []error{errors.New("nobody knows me"), fmt.Errorf("deep: %w", errors.Join(errors.New("a"), errors.New("b")))} {
		got, reason := failure(err)
		if got != kerr.KafkaStorageError.Code || reason == nil || *reason != err.Error() {
			t.Errorf("failure(%v) is %d, %v", err, got, reason)
		}
		if got := code(err); got != kerr.KafkaStorageError.Code {
			t.Errorf("code(%v) is %d", err, got)
		}
		p := &produceCall{ca: &call{}, acks: 1, parts: make([]produced, 1)}
		p.pending.Store(2) // one more, so that nobody is answered
		r := &p.parts[0]
		r.p = p
		if r.fail(err); r.code != kerr.KafkaStorageError.Code || r.err == nil {
			t.Errorf("a produce that fails with %v is answered with %d", err, r.code)
		}
	}
	if got, reason := failure(nil); got != 0 || reason != nil || code(nil) != 0 {
		t.Errorf("no error is %d, %v", got, reason)
	}
}
