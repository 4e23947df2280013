package kafka

import (
	"container/list"
	"math"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// partKey names a partition in a fetch session: by id from Fetch version 13 on, by name before.
type partKey struct {
	topic string
	id    [16]byte
	index int32
}

// fetchPart is a partition that a client fetches.
type fetchPart struct {
	partKey
	offset       int64
	maxBytes     int32
	leaderEpoch  int32 // -1: not checked
	fetchedEpoch int32 // epoch of the last fetched record, -1: not checked

	// What the session last told the client.
	told          bool
	highWatermark int64
	logStart      int64
}

// session is an incremental fetch session (KIP-227): what a client fetches, so that it need only send what changed.
type session struct {
	id    int32
	byID  bool
	mu    sync.Mutex
	epoch int32 // of the next request
	parts []*fetchPart
	index map[partKey]*fetchPart
	used  time.Time     // guarded by sessions.mu
	place *list.Element // in sessions.order, guarded by sessions.mu
	size  int           // guarded by sessions.mu
}

// sessions is the bounded cache of all fetch sessions of a server.
type sessions struct {
	now   func() time.Time
	slots int
	room  int // for partitions of all sessions

	mu    sync.Mutex
	byID  map[int32]*session
	order list.List // of *session, least recently used first
	parts int       // of all sessions
}

const (
	// evictAfter is when an unused session may go for any other: Kafka's min.incremental.fetch.session.eviction.ms.
	evictAfter = 2 * time.Minute
	// maxSessionParts bounds the partitions of all sessions together, about 150 bytes each.
	maxSessionParts = 1_000_000
	nameBytes       = 128 // a partition counts once more for so many bytes of its topic's name
)

// weigh counts partitions, those with absurd names more than once.
func weigh(parts []*fetchPart) (n int) {
	for _, p := range parts {
		n += 1 + len(p.topic)/nameBytes
	}
	return n
}

func newSessions(slots int, now func() time.Time) *sessions {
	return &sessions{now: now, slots: slots, room: maxSessionParts, byID: map[int32]*session{}}
}

func (s *sessions) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.byID)
}

// create makes a session with these partitions, in their order. Without room there is none (nil): the client then sends full requests.
func (s *sessions) create(parts []*fetchPart, byID bool) *session {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.slots == 0 {
		return nil
	}
	now, size := s.now(), weigh(parts)
	for len(s.byID) >= s.slots || s.parts+size > s.room {
		oldest := s.order.Front()
		if oldest == nil {
			return nil
		}
		o := oldest.Value.(*session)
		if now.Sub(o.used) < evictAfter && size <= o.size {
			return nil // a larger session may push out a smaller one, as in Kafka; otherwise only an idle one goes
		}
		s.drop(o)
	}
	n := &session{byID: byID, epoch: 1, parts: parts, index: make(map[partKey]*fetchPart, len(parts)), used: now, size: size}
	for _, p := range parts {
		n.index[p.partKey] = p
	}
	for n.id == 0 || s.byID[n.id] != nil {
		n.id = rand.Int32N(math.MaxInt32-1) + 1
	}
	s.byID[n.id] = n
	n.place = s.order.PushBack(n)
	s.parts += n.size
	return n
}

// drop forgets a session; s.mu is held.
func (s *sessions) drop(n *session) {
	if s.byID[n.id] == n {
		delete(s.byID, n.id)
		s.order.Remove(n.place)
		s.parts -= n.size
	}
}

func (s *sessions) get(id int32) *session {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.byID[id]
}

func (s *sessions) remove(id int32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.byID[id]; n != nil {
		s.drop(n)
	}
}

// touch records a use of the session and its present size. A session that grew beyond the room of all is dropped: touch is false then.
func (s *sessions) touch(n *session, size int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byID[n.id] != n {
		return true
	}
	if size > n.size && s.parts+size-n.size > s.room {
		s.drop(n)
		return false
	}
	n.used = s.now()
	s.parts += size - n.size
	n.size = size
	s.order.MoveToBack(n.place)
	return true
}

// fetchContext is what one fetch works on.
type fetchContext struct {
	session     *session     // nil: none
	incremental bool         // answer only what changed
	parts       []*fetchPart // of the session, or of the request
	reads       []fetchPart  // their state as of this request
}

// open finds or makes the session of a fetch. code is the error that answers the whole request.
func (s *sessions) open(req *kmsg.FetchRequest) (fc fetchContext, code int16) {
	full := req.Version < 7 || req.SessionEpoch == 0 || req.SessionEpoch == -1
	if !full {
		return s.resume(req)
	}
	if req.Version >= 7 && req.SessionID != 0 {
		s.remove(req.SessionID)
	}
	fc.parts = requestParts(req, nil)
	if req.Version >= 7 && req.SessionEpoch == 0 {
		fc.session = s.create(append([]*fetchPart(nil), fc.parts...), req.Version >= 13)
	}
	fc.snapshot()
	return fc, 0
}

func (s *sessions) resume(req *kmsg.FetchRequest) (fc fetchContext, code int16) {
	n := s.get(req.SessionID)
	if n == nil {
		return fc, kerr.FetchSessionIDNotFound.Code
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.epoch != req.SessionEpoch:
		return fc, kerr.InvalidFetchSessionEpoch.Code
	case n.byID != (req.Version >= 13):
		return fc, kerr.FetchSessionTopicIDError.Code
	}
	n.forget(req.ForgottenTopics)
	n.parts = requestParts(req, n)
	if len(n.parts) == 0 {
		s.remove(n.id)
		return fc, 0
	}
	if n.epoch++; n.epoch <= 0 {
		n.epoch = 1
	}
	if !s.touch(n, weigh(n.parts)) {
		return fc, kerr.FetchSessionIDNotFound.Code // the client begins again, without a session if it must
	}
	fc.session, fc.incremental = n, true
	fc.parts = append([]*fetchPart(nil), n.parts...)
	fc.snapshot()
	return fc, 0
}

func (fc *fetchContext) snapshot() {
	fc.reads = make([]fetchPart, len(fc.parts))
	for i, p := range fc.parts {
		fc.reads[i] = *p
	}
}

func (n *session) forget(topics []kmsg.FetchRequestForgottenTopic) {
	removed := false
	for i := range topics {
		t := &topics[i]
		for _, p := range t.Partitions {
			key := partKey{t.Topic, t.TopicID, p}
			if n.index[key] != nil {
				delete(n.index, key)
				removed = true
			}
		}
	}
	if !removed {
		return
	}
	kept := n.parts[:0]
	for _, p := range n.parts {
		if n.index[p.partKey] == p {
			kept = append(kept, p)
		}
	}
	clear(n.parts[len(kept):])
	n.parts = kept
}

// requestParts lists the partitions of a request; with a session, those of the session with the request's changes.
func requestParts(req *kmsg.FetchRequest, n *session) []*fetchPart {
	var parts []*fetchPart
	if n != nil {
		parts = n.parts
	}
	seen := map[partKey]*fetchPart{}
	if n != nil {
		seen = n.index
	}
	for i := range req.Topics {
		t := &req.Topics[i]
		for j := range t.Partitions {
			r := &t.Partitions[j]
			key := partKey{t.Topic, t.TopicID, r.Partition}
			p := seen[key]
			if p == nil {
				p = &fetchPart{partKey: key}
				seen[key] = p
				parts = append(parts, p)
			}
			p.offset, p.maxBytes, p.leaderEpoch, p.fetchedEpoch = r.FetchOffset, r.PartitionMaxBytes, r.CurrentLeaderEpoch, r.LastFetchedEpoch
		}
	}
	return parts
}

// tell decides what an incremental response has to say, records it, and moves partitions that had records to the end, so that the next
// limited response begins with the others. results are in the order of fc.parts.
func (fc *fetchContext) tell(results []fetched) (send []int) {
	n := fc.session
	if n == nil {
		return allOf(results)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	had := map[*fetchPart]bool{}
	for i := range results {
		r, p := &results[i], fc.parts[i]
		changed := !p.told || r.code != 0 || r.bytes > 0 || r.diverges || p.highWatermark != r.highWatermark || p.logStart != r.logStart
		if changed || !fc.incremental {
			send = append(send, i)
		}
		// An error is said again until it is gone, and what is true after it too.
		p.told, p.highWatermark, p.logStart = r.code == 0, r.highWatermark, r.logStart
		if r.bytes > 0 {
			had[p] = true
		}
	}
	if len(had) > 0 && len(had) < len(n.parts) {
		rotated := make([]*fetchPart, 0, len(n.parts))
		var last []*fetchPart
		for _, p := range n.parts {
			if had[p] {
				last = append(last, p)
			} else {
				rotated = append(rotated, p)
			}
		}
		n.parts = append(rotated, last...)
	}
	return send
}

func allOf(results []fetched) []int {
	all := make([]int, len(results))
	for i := range all {
		all[i] = i
	}
	return all
}
