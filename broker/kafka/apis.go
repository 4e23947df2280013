package kafka

import (
	"encoding/binary"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Keys of the requests that are not served like all others.
const (
	keyProduce     = 0
	keyFetch       = 1
	keyAPIVersions = 18
	maxKey         = 60 // the largest key served
)

// api is one kind of request and the versions of it that are served.
type api struct {
	key      int16
	slot     int   // its place in a table of APIs
	min, max int16 // advertised; each has a conformance test
	name     string
	note     string // for docs/compatibility.md: what is not supported
	schema   *schema
	keeps    bool                              // the request holds on to the bytes of its frame
	later    bool                              // the request is held in memory until it is answered, long after it was read
	run      func(ca *call, body []byte) error // an error says that the call was not enqueued
}

func (a *api) flexible(version int16) bool { return version >= a.schema.flexible }

// answer makes the run function of a request that is answered when its handler returns.
func answer[Q kmsg.Request](fn func(ca *call, req Q) kmsg.Response) func(*call, []byte) error {
	return func(ca *call, body []byte) error {
		req, err := parse[Q](ca, body)
		if err != nil {
			return err
		}
		if err := ca.c.enqueue(ca); err != nil {
			return err
		}
		ca.finish(fn(ca, req))
		return nil
	}
}

// async makes the run function of a request whose handler calls done, once, from any goroutine.
func async[Q kmsg.Request](fn func(ca *call, req Q, done func(kmsg.Response))) func(*call, []byte) error {
	return func(ca *call, body []byte) error {
		req, err := parse[Q](ca, body)
		if err != nil {
			return err
		}
		if err := ca.c.enqueue(ca); err != nil {
			return err
		}
		fn(ca, req, ca.finish)
		return nil
	}
}

// parse decodes a body that its schema accepted.
func parse[Q kmsg.Request](ca *call, body []byte) (Q, error) {
	req := kmsg.RequestForKey(ca.api.key).(Q)
	req.SetVersion(ca.version)
	if err := req.ReadFrom(body); err != nil {
		return req, &parseError{request: ca.api.schema.name, field: "?", reason: err.Error()}
	}
	return req, nil
}

// minHeader is the shortest request: key, version, correlation id. Kafka's header version 0 without a client id is no longer in use, but
// its reader accepts a missing client id nowhere else; ours does not either.
const minHeader = 8

// serve runs the request in a frame. keeps says that it still uses the frame's bytes. An error ends the connection.
func (c *conn) serve(frame []byte) (keeps bool, err error) {
	key := int16(binary.BigEndian.Uint16(frame))
	version := int16(binary.BigEndian.Uint16(frame[2:]))
	corr := int32(binary.BigEndian.Uint32(frame[4:]))
	a := c.s.apis[key]
	if a == nil {
		return false, c.refuseKey(key, version, corr)
	}
	ca := &call{c: c, api: a, version: version, corr: corr}
	if version < a.min || version > a.max {
		return false, c.refuseVersion(ca)
	}
	body, err := c.header(ca, frame[8:])
	if err != nil {
		return false, err
	}
	elements, err := a.schema.check(version, body)
	if err != nil {
		return false, err
	}
	if err := c.charge(ca, elements, len(frame)); err != nil {
		return false, err
	}
	ca.began, ca.timed = c.s.clock(), true
	c.stripe.apis[a.slot].requests.Add(1)
	if err := a.run(ca, body); err != nil {
		c.s.requests.adjust(-ca.held) // it has no place in the queue, so the writer will not
		return false, err
	}
	return a.keeps, nil
}

// charge counts the memory of a request beyond its frame: its elements while it is worked on, and all of it until it is answered if that comes later.
func (c *conn) charge(ca *call, elements, frame int) error {
	if cost := int64(elements) * elementCost; cost > smallFrame {
		if err := c.reserve(cost, c.held); err != nil {
			return err
		}
		c.held += cost
	}
	if ca.api.later {
		ca.size, ca.held, c.held = frame, c.held, 0
	}
	return nil
}

// header reads the rest of the request header (version 1: client id; version 2, of flexible requests: and tags) and returns the body.
func (c *conn) header(ca *call, b []byte) ([]byte, error) {
	w := walker{b: b, version: ca.version, tags: maxTags}
	id := field{name: "ClientId", kind: text, nullable: 0}
	if !w.bytes(&id) {
		return nil, &parseError{request: "RequestHeader", field: w.field, reason: w.reason}
	}
	if used := len(b) - len(w.b); used > 2 {
		if have := c.clientID.Load(); have == nil || *have != string(b[2:used]) {
			id := string(b[2:used])
			c.clientID.Store(&id)
		}
	}
	if ca.api.flexible(ca.version) {
		w.flexible = true
		if !w.skipTags() {
			return nil, &parseError{request: "RequestHeader", field: w.field, reason: w.reason}
		}
	}
	return w.b, nil
}

// refuseKey answers a request that we do not know: the correlation id under the oldest header, then the error alone. Nobody who asked
// ApiVersions first ever sees it.
func (c *conn) refuseKey(key, version int16, corr int32) error {
	c.s.complain(c, fmt.Errorf("request with unknown key %d, version %d: answered UNSUPPORTED_VERSION", key, version))
	return c.refuseBare(corr)
}

func (c *conn) refuseBare(corr int32) error {
	ca := &call{c: c, api: &api{key: keyAPIVersions, schema: &schema{flexible: never}}, corr: corr}
	if err := c.enqueue(ca); err != nil {
		return err
	}
	out := ca.appendHeader(make([]byte, 4, 16))
	ca.complete(sized(binary.BigEndian.AppendUint16(out, uint16(kerr.UnsupportedVersion.Code))))
	return nil
}

// refuseVersion answers a version that we do not serve, without reading the body: ApiVersions with a version 0 body, which every client
// reads (KIP-511); others in the form of that version if the codec knows it and it has a place for an error, bare if not.
func (c *conn) refuseVersion(ca *call) error {
	if ca.api.key == keyAPIVersions {
		ca.version = 0
		if err := c.enqueue(ca); err != nil {
			return err
		}
		resp := kmsg.NewPtrApiVersionsResponse()
		resp.ErrorCode = kerr.UnsupportedVersion.Code
		resp.ApiKeys = []kmsg.ApiVersionsResponseApiKey{{ApiKey: keyAPIVersions, MinVersion: ca.api.min, MaxVersion: ca.api.max}}
		ca.finish(resp)
		return nil
	}
	c.s.complain(c, fmt.Errorf("%s version %d is not served (%d to %d are): answered UNSUPPORTED_VERSION", ca.api.name, ca.version, ca.api.min, ca.api.max))
	req := kmsg.RequestForKey(ca.api.key)
	if ca.version < 0 || ca.version > req.MaxVersion() {
		return c.refuseBare(ca.corr)
	}
	req.SetVersion(ca.version)
	resp, seen := req.ResponseKind(), req.ResponseKind()
	setError(resp, kerr.UnsupportedVersion.Code)
	if seen.ReadFrom(resp.AppendTo(nil)) != nil || !hasError(seen) {
		return c.refuseBare(ca.corr) // that version has no place for an error at the top: nothing may look like success
	}
	if err := c.enqueue(ca); err != nil {
		return err
	}
	ca.finish(resp)
	return nil
}
