package kafka

import (
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// sessionFetch makes a request of a session for partitions of a topic, from offset 0.
func sessionFetch(version int16, session, epoch int32, topic string, id [16]byte, partitions ...int32) *kmsg.FetchRequest {
	req := fetchFrom(version, topic, id, 0, 0)
	req.SessionID, req.SessionEpoch = session, epoch
	one := req.Topics[0].Partitions[0]
	req.Topics[0].Partitions = nil
	for _, p := range partitions {
		one.Partition = p
		req.Topics[0].Partitions = append(req.Topics[0].Partitions, one)
	}
	if len(partitions) == 0 {
		req.Topics = nil
	}
	return req
}

// heard lists the partitions of a response.
func heard(resp *kmsg.FetchResponse) string {
	var b strings.Builder
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			b.WriteByte(byte('0' + p.Partition))
			if len(p.RecordBatches) > 0 {
				b.WriteByte('*')
			}
			if p.ErrorCode != 0 {
				b.WriteByte('!')
			}
		}
	}
	return b.String()
}

// TestFetchSession (trap 10, KIP-227): a full fetch makes a session, an incremental one tells only what changed.
func TestFetchSession(t *testing.T) {
	n := start(t, Options{})
	id := n.create("t", 5)
	p, q := n.dial(), n.dial()
	q.put("t", 1, "a")
	for _, version := range []int16{7, 12, 13, 18} {
		full := call1[*kmsg.FetchResponse](p, sessionFetch(version, 0, 0, "t", id, 0, 1, 2))
		if full.SessionID == 0 || !strings.Contains(heard(full), "0") || !strings.Contains(heard(full), "1*") || !strings.Contains(heard(full), "2") {
			t.Fatalf("version %d: full: session %d, %s", version, full.SessionID, heard(full))
		}
		step := func(epoch int32, change func(r *kmsg.FetchRequest), want string, partitions ...int32) {
			t.Helper()
			req := sessionFetch(version, full.SessionID, epoch, "t", id, partitions...)
			if change != nil {
				change(req)
			}
			resp := call1[*kmsg.FetchResponse](p, req)
			if resp.ErrorCode != 0 || heard(resp) != want || want != "" && resp.SessionID != full.SessionID {
				t.Errorf("version %d, epoch %d: error %d, session %d, %q, want %q", version, epoch, resp.ErrorCode, resp.SessionID, heard(resp), want)
			}
		}
		end := call1[*kmsg.FetchResponse](q, fetchFrom(12, "t", id, 1, 0)).Topics[0].Partitions[0].HighWatermark
		step(1, func(r *kmsg.FetchRequest) { r.Topics[0].Partitions[0].FetchOffset = end }, "", 1)
		step(2, nil, "")
		q.put("t", 1, "b")
		step(3, nil, "1*")
		step(4, func(r *kmsg.FetchRequest) { r.Topics[0].Partitions[0].FetchOffset = end + 1 }, "", 1)
		step(5, nil, "34", 3, 4)
		step(6, func(r *kmsg.FetchRequest) {
			r.ForgottenTopics = []kmsg.FetchRequestForgottenTopic{{Topic: "t", TopicID: id, Partitions: []int32{1, 4}}}
		}, "")
		q.put("t", 1, "c")
		step(7, nil, "")
		step(8, func(r *kmsg.FetchRequest) { r.Topics[0].Partitions[0].FetchOffset = 99 }, "0!", 0)
		step(9, nil, "0!")
	}
}

// TestFetchSessionErrors: unknown sessions, wrong epochs, closed sessions, and topics named the other way.
func TestFetchSessionErrors(t *testing.T) {
	n := start(t, Options{})
	id := n.create("t", 2)
	p := n.dial()
	check := func(what string, req *kmsg.FetchRequest, want int16) *kmsg.FetchResponse {
		t.Helper()
		resp := call1[*kmsg.FetchResponse](p, req)
		if resp.ErrorCode != want {
			t.Errorf("%s: error %d, want %d", what, resp.ErrorCode, want)
		}
		return resp
	}
	check("unknown session", sessionFetch(12, 12345, 1, "t", id, 0), kerr.FetchSessionIDNotFound.Code)
	s := check("full", sessionFetch(12, 0, 0, "t", id, 0), 0).SessionID
	check("epoch 2 before 1", sessionFetch(12, s, 2, "t", id), kerr.InvalidFetchSessionEpoch.Code)
	check("epoch 1", sessionFetch(12, s, 1, "t", id), 0)
	check("epoch 1 again", sessionFetch(12, s, 1, "t", id), kerr.InvalidFetchSessionEpoch.Code)
	check("by id", sessionFetch(13, s, 2, "t", id), kerr.FetchSessionTopicIDError.Code)
	next := check("full again", sessionFetch(12, s, 0, "t", id, 0), 0).SessionID
	check("replaced session", sessionFetch(12, s, 2, "t", id), kerr.FetchSessionIDNotFound.Code)
	if last := check("close", sessionFetch(12, next, -1, "t", id, 0), 0); last.SessionID != 0 || heard(last) != "0" {
		t.Errorf("closing fetch: session %d, %q", last.SessionID, heard(last))
	}
	check("closed session", sessionFetch(12, next, 1, "t", id), kerr.FetchSessionIDNotFound.Code)
	if n.s.Stats().Sessions != 0 {
		t.Errorf("%d sessions are left", n.s.Stats().Sessions)
	}
	s = check("full", sessionFetch(12, 0, 0, "t", id, 0), 0).SessionID
	empty := sessionFetch(12, s, 1, "t", id)
	empty.ForgottenTopics = []kmsg.FetchRequestForgottenTopic{{Topic: "t", Partitions: []int32{0}}}
	if r := check("emptied", empty, 0); r.SessionID != 0 {
		t.Errorf("an empty session goes on as %d", r.SessionID)
	}
}

// TestSessionFairness: a limited response begins with the partitions that had nothing last time.
func TestSessionFairness(t *testing.T) {
	n := start(t, Options{})
	id := n.create("t", 4)
	p := n.dial()
	for i := range int32(4) {
		for range 3 {
			p.put("t", i, strings.Repeat("x", 5000))
		}
	}
	req := sessionFetch(12, 0, 0, "t", id, 0, 1, 2, 3)
	seen := map[int32]int{}
	for epoch := range int32(8) {
		req.MaxBytes = 100
		resp := call1[*kmsg.FetchResponse](p, req)
		req = sessionFetch(12, resp.SessionID, epoch+1, "t", id)
		for _, topic := range resp.Topics {
			for _, part := range topic.Partitions {
				if len(part.RecordBatches) > 0 {
					seen[part.Partition]++
				}
			}
		}
	}
	for i := range int32(4) {
		if seen[i] != 2 {
			t.Errorf("partition %d was served %d times of 8", i, seen[i])
		}
	}
}

// TestSessionCache: the number of sessions and of their partitions is bounded; an idle one goes first.
func TestSessionCache(t *testing.T) {
	now := time.Unix(0, 0)
	s := newSessions(2, func() time.Time { return now })
	parts := func(count int) []*fetchPart {
		all := make([]*fetchPart, count)
		for i := range all {
			all[i] = &fetchPart{partKey: partKey{index: int32(i)}}
		}
		return all
	}
	a, b := s.create(parts(3), false), s.create(parts(3), false)
	if a == nil || b == nil || s.create(parts(3), false) != nil {
		t.Fatal("two slots must hold two sessions and no third of the same size")
	}
	if c := s.create(parts(4), false); c == nil || s.get(a.id) != nil || s.get(b.id) == nil {
		t.Error("a larger session pushes out the one used longest ago")
	}
	now = now.Add(evictAfter)
	s.touch(b, 3)
	if d := s.create(parts(1), false); d == nil || s.get(b.id) == nil || s.count() != 2 {
		t.Error("an idle session makes room for any, the one in use stays")
	}
	if newSessions(0, time.Now).create(parts(1), false) != nil {
		t.Error("a session without slots")
	}
	now = now.Add(evictAfter)
	if s.create(parts(maxSessionParts+1), false) != nil || s.parts > maxSessionParts {
		t.Errorf("%d partitions in sessions", s.parts)
	}
}
