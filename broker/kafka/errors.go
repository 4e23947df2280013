package kafka

import (
	"context"
	"reflect"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"chronik.dev/chronik/broker"
)

// code is the Kafka error code of an error of the node, 0 for nil. What nobody mapped is retriable, never success.
func code(err error) int16 {
	if err == nil {
		return 0
	}
	return broker.AsError(err).Code
}

// failure is code and the sentence for people, nil for nil.
func failure(err error) (int16, *string) {
	if err == nil {
		return 0, nil
	}
	e := broker.AsError(err)
	return e.Code, &e.Message
}

// refusal is a code with the reason why this server answers it.
func refusal(e *kerr.Error, why string) (int16, *string) { return e.Code, &why }

// errorField is the error code at the top of a response; invalid if it has none.
func errorField(resp kmsg.Response) reflect.Value {
	if f := reflect.ValueOf(resp).Elem().FieldByName("ErrorCode"); f.IsValid() && f.Kind() == reflect.Int16 {
		return f
	}
	return reflect.Value{}
}

func setError(resp kmsg.Response, code int16) {
	if f := errorField(resp); f.IsValid() {
		f.SetInt(int64(code))
	}
}

func hasError(resp kmsg.Response) bool {
	f := errorField(resp)
	return f.IsValid() && f.Int() != 0
}

// Bounds of the time that a request may give a change of the metadata. The reader of the connection waits for it.
const (
	minTimeout = 100 * time.Millisecond
	maxTimeout = time.Minute
)

// within is a context for a change that the client waits timeoutMillis for.
func (ca *call) within(timeoutMillis int32) (context.Context, context.CancelFunc) {
	d := min(max(time.Duration(timeoutMillis)*time.Millisecond, minTimeout), maxTimeout)
	return context.WithTimeout(ca.c.ctx, d)
}

// noOperations says that authorized operations were not asked for.
const noOperations = -1 << 31

// What everyone may do without an authorizer, as bits by Kafka's numbers of operations (KIP-430); the sets are Kafka 4.3's.
const (
	topicOperations   = 1<<3 | 1<<4 | 1<<5 | 1<<6 | 1<<7 | 1<<8 | 1<<10 | 1<<11
	groupOperations   = 1<<3 | 1<<6 | 1<<8 | 1<<10 | 1<<11
	clusterOperations = 1<<5 | 1<<7 | 1<<8 | 1<<9 | 1<<10 | 1<<11 | 1<<12
)

// operations answers a request's question for authorized operations.
func operations(asked bool, all int32) int32 {
	if asked {
		return all
	}
	return noOperations
}
