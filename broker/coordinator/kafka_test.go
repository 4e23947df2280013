package coordinator

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sort"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// recorded is what Apache Kafka 4.3.1 answered to the scenario below.
const recorded = "testdata/kafka-4.3.1.txt"

// TestAsKafka runs a scenario of group requests and compares every answer with Apache Kafka's. With CHRONIK_KAFKA=HOST:PORT the scenario is
// run on that broker, which must have a topic gt of three partitions and group.initial.rebalance.delay.ms as it likes, and recorded.
func TestAsKafka(t *testing.T) {
	if address := os.Getenv("CHRONIK_KAFKA"); address != "" {
		s := newScenario(func() target { return dial(t, address) })
		s.run()
		if err := os.WriteFile(recorded, []byte(strings.Join(s.log, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(recorded)
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		n := start(newMemory(), "group.initial.rebalance.delay.ms=100", "group.min.session.timeout.ms=6000")
		n.load(t)
		defer n.Close()
		n.topics = map[string][16]byte{"gt": {1}}
		s := newScenario(func() target { return n.answer })
		s.run()
		theirs := strings.Split(strings.TrimSpace(string(want)), "\n")
		for i := range max(len(theirs), len(s.log)) {
			if i >= len(theirs) || i >= len(s.log) || theirs[i] != s.log[i] {
				t.Errorf("step %d:\nchronik %v\nKafka   %v", i, s.log[i:min(i+1, len(s.log))], theirs[i:min(i+1, len(theirs))])
			}
		}
	})
}

// target answers one request.
type target func(kmsg.Request) kmsg.Response

// dial speaks to a real broker, at the version that the request says.
func dial(t *testing.T, address string) target {
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	f := kmsg.NewRequestFormatter(kmsg.FormatterClientID("client"))
	return func(r kmsg.Request) kmsg.Response {
		if _, err := c.Write(f.AppendRequest(nil, r, 1)); err != nil {
			t.Error(err)
		}
		var size [4]byte
		if _, err := io.ReadFull(c, size[:]); err != nil {
			t.Errorf("%T: %v", r, err)
			return nil
		}
		b := make([]byte, binary.BigEndian.Uint32(size[:]))
		if _, err := io.ReadFull(c, b); err != nil {
			t.Error(err)
		}
		b = b[4:] // correlation id
		if r.IsFlexible() {
			b = b[1:] // no tags
		}
		resp := r.ResponseKind()
		if err := resp.ReadFrom(b); err != nil {
			t.Error(err)
		}
		return resp
	}
}

// answer is the coordinator as a target; the response goes through its encoding.
func (n *node) answer(r kmsg.Request) kmsg.Response {
	var resp kmsg.Response
	switch q := r.(type) {
	case *kmsg.JoinGroupRequest:
		resp = call(func(q *kmsg.JoinGroupRequest, done func(*kmsg.JoinGroupResponse)) {
			n.JoinGroup(Client{"client", "/127.0.0.1"}, q, done)
		}, q)
	case *kmsg.SyncGroupRequest:
		resp = call(n.SyncGroup, q)
	case *kmsg.HeartbeatRequest:
		resp = call(n.Heartbeat, q)
	case *kmsg.LeaveGroupRequest:
		resp = call(n.LeaveGroup, q)
	case *kmsg.OffsetCommitRequest:
		resp = call(n.OffsetCommit, q)
	case *kmsg.OffsetFetchRequest:
		resp = call(n.OffsetFetch, q)
	case *kmsg.OffsetDeleteRequest:
		resp = call(n.OffsetDelete, q)
	case *kmsg.DescribeGroupsRequest:
		resp = call(n.DescribeGroups, q)
	case *kmsg.DeleteGroupsRequest:
		resp = call(n.DeleteGroups, q)
	case *kmsg.ListGroupsRequest:
		resp = call(n.ListGroups, q)
	}
	again := r.ResponseKind()
	if err := again.ReadFrom(resp.AppendTo(nil)); err != nil {
		panic(err)
	}
	return again
}

// scenario drives a target and logs its answers, with the names of groups and members made equal.
type scenario struct {
	open    func() target
	main    target
	unique  string
	members map[string]string
	log     []string
}

func newScenario(open func() target) *scenario {
	return &scenario{open: open, main: open(), unique: fmt.Sprintf("~%d", time.Now().UnixNano()), members: map[string]string{}}
}

func (s *scenario) do(label string, r kmsg.Request) kmsg.Response {
	resp := s.main(r)
	s.note(label, resp)
	return resp
}

// later sends a request that will wait, on a connection of its own, and returns how to take the answer.
func (s *scenario) later(label string, r kmsg.Request) func() kmsg.Response {
	ch := make(chan kmsg.Response, 1)
	other := s.open()
	go func() { ch <- other(r) }()
	time.Sleep(150 * time.Millisecond) // of virtual time, unless it is a real broker
	return func() kmsg.Response {
		resp := <-ch
		s.note(label, resp)
		return resp
	}
}

func (s *scenario) note(label string, resp kmsg.Response) {
	if j, ok := resp.(*kmsg.JoinGroupResponse); ok && len(j.MemberID) > 30 && s.members[j.MemberID] == "" {
		s.members[j.MemberID] = fmt.Sprintf("M%d", len(s.members)+1)
	}
	line := label + ": " + s.show(resp)
	for id, name := range s.members {
		line = strings.ReplaceAll(line, id, name)
	}
	s.log = append(s.log, strings.TrimRight(strings.ReplaceAll(line, s.unique, ""), " "))
}

func null(s *string) string {
	if s == nil {
		return "null"
	}
	return fmt.Sprintf("%q", *s)
}

// show renders a response; the order of topics and partitions is not part of the protocol.
func (s *scenario) show(resp kmsg.Response) string {
	var parts []string
	add := func(format string, args ...any) { parts = append(parts, fmt.Sprintf(format, args...)) }
	head := ""
	switch q := resp.(type) {
	case *kmsg.JoinGroupResponse:
		head = fmt.Sprintf("%d generation=%d type=%s protocol=%s leader=%s id=%s skip=%v members=%d", q.ErrorCode, q.Generation, null(q.ProtocolType),
			null(q.Protocol), q.LeaderID, q.MemberID, q.SkipAssignment, len(q.Members))
	case *kmsg.SyncGroupResponse:
		head = fmt.Sprintf("%d type=%s protocol=%s %q", q.ErrorCode, null(q.ProtocolType), null(q.Protocol), q.MemberAssignment)
	case *kmsg.HeartbeatResponse:
		head = fmt.Sprint(q.ErrorCode)
	case *kmsg.LeaveGroupResponse:
		head = fmt.Sprint(q.ErrorCode)
		for _, m := range q.Members {
			add("[%s %s %d]", m.MemberID, null(m.InstanceID), m.ErrorCode)
		}
	case *kmsg.DeleteGroupsResponse:
		for _, g := range q.Groups {
			add("%s:%d", g.Group, g.ErrorCode)
		}
	case *kmsg.ListGroupsResponse:
		head = fmt.Sprint(q.ErrorCode)
		for _, g := range q.Groups {
			if strings.Contains(g.Group, s.unique) {
				add("%s/%s/%s/%s", g.Group, g.ProtocolType, g.GroupState, g.GroupType)
			}
		}
	case *kmsg.DescribeGroupsResponse:
		for _, g := range q.Groups {
			head = fmt.Sprintf("%d %s %s type=%q protocol=%q", g.ErrorCode, null(g.ErrorMessage), g.State, g.ProtocolType, g.Protocol)
			for _, m := range g.Members {
				if s.members[m.MemberID] != "" {
					add("[%s %s %s %s %q %q]", s.members[m.MemberID], null(m.InstanceID), m.ClientID, m.ClientHost, m.ProtocolMetadata, m.MemberAssignment)
				}
			}
		}
	default:
		head, parts = offsetsShown(resp)
	}
	sort.Strings(parts)
	return head + " " + strings.Join(parts, " ")
}

func offsetsShown(resp kmsg.Response) (head string, parts []string) {
	add := func(format string, args ...any) { parts = append(parts, fmt.Sprintf(format, args...)) }
	switch q := resp.(type) {
	case *kmsg.OffsetCommitResponse:
		for _, t := range q.Topics {
			for _, p := range t.Partitions {
				add("%s-%d:%d", t.Topic, p.Partition, p.ErrorCode)
			}
		}
	case *kmsg.OffsetDeleteResponse:
		head = fmt.Sprint(q.ErrorCode)
		for _, t := range q.Topics {
			for _, p := range t.Partitions {
				add("%s-%d:%d", t.Topic, p.Partition, p.ErrorCode)
			}
		}
	case *kmsg.OffsetFetchResponse:
		head = fmt.Sprint(q.ErrorCode)
		for _, t := range q.Topics {
			for _, p := range t.Partitions {
				add("%s-%d:%d,%d,%s,%d", t.Topic, p.Partition, p.Offset, p.LeaderEpoch, null(p.Metadata), p.ErrorCode)
			}
		}
		for _, g := range q.Groups {
			head += fmt.Sprintf(" %s:%d", g.Group, g.ErrorCode)
			for _, t := range g.Topics {
				for _, p := range t.Partitions {
					add("%s-%d:%d,%d,%s,%d", t.Topic, p.Partition, p.Offset, p.LeaderEpoch, null(p.Metadata), p.ErrorCode)
				}
			}
		}
	}
	return head, slices.Clip(parts)
}
