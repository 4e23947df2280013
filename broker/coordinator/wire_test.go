package coordinator

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestEveryVersion sends a minimal request at every version and checks that the answer is whole: encoded and decoded again with nothing
// left, for a group that does not exist and one that does.
func TestEveryVersion(t *testing.T) {
	n := start(newMemory())
	n.load(t)
	defer n.Close()
	n.commit("there", "t", 0, 1)
	for _, name := range []string{"", "nowhere", "there"} {
		for key, versions := range map[int16][2]int16{8: {2, 10}, 9: {1, 10}, 11: {0, 9}, 12: {0, 4}, 13: {0, 5}, 14: {0, 5}, 15: {0, 6}, 16: {0, 5}, 42: {0, 2}, 47: {0, 0}} {
			for version := versions[0]; version <= versions[1]; version++ {
				resp := n.request(key, version, name)
				if resp == nil || resp.Key() != key || resp.GetVersion() != version {
					t.Errorf("key %d, version %d: %+v", key, version, resp)
					continue
				}
				raw := resp.AppendTo(nil)
				again := kmsg.ResponseForKey(key)
				again.SetVersion(version)
				if err := again.ReadFrom(raw); err != nil {
					t.Errorf("key %d, version %d: %v", key, version, err)
				}
				if back := again.AppendTo(nil); string(back) != string(raw) {
					t.Errorf("key %d, version %d: %x came back as %x", key, version, raw, back)
				}
			}
		}
	}
}

func (n *node) request(key, version int16, name string) kmsg.Response {
	switch key {
	case 8:
		req := commitRequest(name, "t", 0, 1)
		req.Version = version
		return call(n.OffsetCommit, req)
	case 9:
		return call(n.OffsetFetch, &kmsg.OffsetFetchRequest{Version: version, Group: name, Groups: []kmsg.OffsetFetchRequestGroup{{Group: name}},
			Topics: []kmsg.OffsetFetchRequestTopic{{Topic: "t", Partitions: []int32{0}}}})
	case 11:
		req := &kmsg.JoinGroupRequest{Version: version, Group: name, SessionTimeoutMillis: 5, MemberID: "nobody", ProtocolType: "x",
			Protocols: []kmsg.JoinGroupRequestProtocol{{Name: "p"}}}
		return call(func(req *kmsg.JoinGroupRequest, done func(*kmsg.JoinGroupResponse)) { n.JoinGroup(Client{}, req, done) }, req)
	case 12:
		return call(n.Heartbeat, &kmsg.HeartbeatRequest{Version: version, Group: name})
	case 13:
		return call(n.LeaveGroup, &kmsg.LeaveGroupRequest{Version: version, Group: name, Members: []kmsg.LeaveGroupRequestMember{{MemberID: "x"}}})
	case 14:
		return call(n.SyncGroup, &kmsg.SyncGroupRequest{Version: version, Group: name})
	case 15:
		return call(n.DescribeGroups, &kmsg.DescribeGroupsRequest{Version: version, Groups: []string{name, "other"}})
	case 16:
		return call(n.ListGroups, &kmsg.ListGroupsRequest{Version: version})
	case 42:
		return call(n.DeleteGroups, &kmsg.DeleteGroupsRequest{Version: version, Groups: []string{"unrelated"}})
	case 47:
		return call(n.OffsetDelete, &kmsg.OffsetDeleteRequest{Group: name, Topics: []kmsg.OffsetDeleteRequestTopic{{Topic: "t"}}})
	}
	return nil
}
