package kafka

import (
	"net"

	"github.com/twmb/franz-go/pkg/kmsg"

	"chronik.dev/chronik/broker/coordinator"
)

// The group APIs are the coordinator's; here they only find their way to it and back. Its callbacks come from its own goroutines.

// group makes the run function of a request that the coordinator answers with a response of its own type.
func group[Q kmsg.Request, R kmsg.Response](fn func(g *coordinator.Coordinator, req Q, done func(R))) func(*call, []byte) error {
	return async(func(ca *call, req Q, done func(kmsg.Response)) {
		fn(ca.c.s.b.Groups(), req, func(resp R) { done(resp) })
	})
}

func joinGroup(ca *call, req *kmsg.JoinGroupRequest, done func(kmsg.Response)) {
	client := coordinator.Client{ID: ca.c.client(), Host: "/" + hostOf(ca.c.nc.RemoteAddr())}
	ca.c.s.b.Groups().JoinGroup(client, req, func(resp *kmsg.JoinGroupResponse) { done(resp) })
}

// hostOf is the address without its port.
func hostOf(a net.Addr) string {
	if tcp, ok := a.(*net.TCPAddr); ok {
		return tcp.IP.String()
	}
	return a.String()
}

func describeGroups(ca *call, req *kmsg.DescribeGroupsRequest, done func(kmsg.Response)) {
	ca.c.s.b.Groups().DescribeGroups(req, func(resp *kmsg.DescribeGroupsResponse) {
		for i := range resp.Groups {
			resp.Groups[i].AuthorizedOperations = operations(req.IncludeAuthorizedOperations && resp.Groups[i].ErrorCode == 0, groupOperations)
		}
		done(resp)
	})
}
