package kafka

import (
	"math/rand/v2"
	"net"
	"reflect"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// FuzzServe: no frame makes the server panic, whatever the request asks for. One node lives through all of it.
func FuzzServe(f *testing.F) {
	n := start(f, Options{}, "offsets.topic.num.partitions=1")
	id := n.create("t", 1)
	if err := n.b.EnsureOffsetsTopic(f.Context()); err != nil {
		f.Fatal(err)
	}
	r := rand.New(rand.NewPCG(7, 8))
	eachVersion(func(a *api, version int16) {
		for _, req := range []kmsg.Request{meaningful(a.key, version, id), kmsg.RequestForKey(a.key)} {
			if len(req.AppendTo(nil)) == 0 {
				fill(reflect.ValueOf(req).Elem(), r, 2)
			}
			req.SetVersion(version)
			f.Add(frame(a.key, version, 1, req.IsFlexible(), req.AppendTo(nil))[4:])
		}
	})
	f.Fuzz(func(t *testing.T, frame []byte) {
		if len(frame) < minHeader {
			return
		}
		ours, theirs := net.Pipe()
		defer theirs.Close()
		c := newConn(n.s, ours, "", "")
		defer c.close()
		if _, err := c.serve(append([]byte(nil), frame...)); err != nil {
			return
		}
		c.mu.Lock()
		queue := c.queue
		c.mu.Unlock()
		for _, ca := range queue {
			if ca.deferred != nil {
				c.cancel() // or it would wait as long as it says
				ca.deferred.respond(ca, &output{})()
			}
		}
	})
}
