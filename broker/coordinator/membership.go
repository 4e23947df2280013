package coordinator

import (
	"crypto/rand"
	"encoding/hex"

	"chronik.dev/chronik/broker/group"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// maxMemberPrefix bounds how much of a client or instance id becomes part of a member id, which must stay below 32 KiB.
const maxMemberPrefix = 16 << 10

// JoinGroup answers JoinGroup v0-9; the answer may take until the group's rebalance ends.
func (c *Coordinator) JoinGroup(from Client, req *kmsg.JoinGroupRequest, done func(*kmsg.JoinGroupResponse)) {
	reply := func(r group.JoinResult) { done(joinResponse(req, r)) }
	refuse := func(code group.Code) { reply(group.JoinResult{Code: code, Generation: -1, MemberID: req.MemberID}) }
	cfg := c.o.Config()
	session := int64(req.SessionTimeoutMillis)
	switch {
	case req.Group == "":
		refuse(group.InvalidGroupID)
		return
	case session < cfg.GroupMinSessionTimeoutMs(), session > cfg.GroupMaxSessionTimeoutMs():
		refuse(group.InvalidSessionTimeout)
		return
	}
	rebalance := int64(req.RebalanceTimeoutMillis)
	if req.Version == 0 || rebalance < 0 {
		rebalance = session
	}
	r := group.JoinRequest{MemberID: req.MemberID, InstanceID: text(req.InstanceID), ClientID: from.ID, ClientHost: from.Host,
		SessionTimeout: session, RebalanceTimeout: rebalance, ProtocolType: req.ProtocolType, Unique: unique(),
		NeedsKnownID: req.Version >= 4, SkipsAssignment: req.Version >= 9}
	if len(r.ClientID) > maxMemberPrefix {
		r.ClientID = r.ClientID[:maxMemberPrefix]
	}
	for _, p := range req.Protocols {
		r.Protocols = append(r.Protocols, group.Protocol{Name: p.Name, Metadata: append([]byte(nil), p.Metadata...)})
	}
	c.on(req.Group, func(s *shard) {
		if r.MemberID != "" && s.get(req.Group) == nil {
			refuse(group.UnknownMemberID)
			return
		}
		e := s.getOrCreate(req.Group)
		r.Token = s.token()
		s.joins[r.Token] = reply
		s.settle(e, e.Join(c.now(), r))
	}, refuse)
}

func (s *shard) token() group.Token {
	s.tokens++
	return s.tokens
}

func joinResponse(req *kmsg.JoinGroupRequest, r group.JoinResult) *kmsg.JoinGroupResponse {
	resp := req.ResponseKind().(*kmsg.JoinGroupResponse)
	resp.ErrorCode = int16(r.Code)
	resp.Generation = r.Generation
	resp.ProtocolType = orNull(r.ProtocolType)
	resp.Protocol = orNull(r.Protocol)
	if resp.Protocol == nil && req.Version < 7 {
		resp.Protocol = new(string) // null is only for v7 and up
	}
	resp.LeaderID = r.Leader
	resp.MemberID = r.MemberID
	resp.SkipAssignment = r.SkipAssignment
	for _, m := range r.Members {
		resp.Members = append(resp.Members, kmsg.JoinGroupResponseMember{MemberID: m.ID, InstanceID: orNull(m.InstanceID),
			ProtocolMetadata: m.Metadata})
	}
	return resp
}

// SyncGroup answers SyncGroup v0-5; the answer may take until the leader's assignment is synced.
func (c *Coordinator) SyncGroup(req *kmsg.SyncGroupRequest, done func(*kmsg.SyncGroupResponse)) {
	reply := func(r group.SyncResult) {
		resp := req.ResponseKind().(*kmsg.SyncGroupResponse)
		resp.ErrorCode = int16(r.Code)
		resp.ProtocolType, resp.Protocol = orNull(r.ProtocolType), orNull(r.Protocol)
		if resp.MemberAssignment = r.Assignment; resp.MemberAssignment == nil {
			resp.MemberAssignment = []byte{}
		}
		done(resp)
	}
	refuse := func(code group.Code) { reply(group.SyncResult{Code: code}) }
	if req.Group == "" {
		refuse(group.InvalidGroupID)
		return
	}
	r := group.SyncRequest{MemberID: req.MemberID, InstanceID: text(req.InstanceID), Generation: req.Generation,
		ProtocolType: text(req.ProtocolType), Protocol: text(req.Protocol), Assignments: map[string][]byte{}}
	for _, a := range req.GroupAssignment {
		r.Assignments[a.MemberID] = append([]byte(nil), a.MemberAssignment...)
	}
	// From v5 on both must be there (KIP-559), so that a mismatch cannot go unseen.
	if req.Version >= 5 && (r.ProtocolType == "" || r.Protocol == "") {
		refuse(group.InconsistentProtocol)
		return
	}
	c.on(req.Group, func(s *shard) {
		e := s.get(req.Group)
		if e == nil {
			refuse(group.UnknownMemberID)
			return
		}
		r.Token = s.token()
		s.syncs[r.Token] = reply
		s.settle(e, e.Sync(c.now(), r))
	}, loadingIsRebalance(refuse))
}

// loadingIsRebalance turns COORDINATOR_LOAD_IN_PROGRESS into REBALANCE_IN_PROGRESS for SyncGroup: its clients do not know the former, and
// rejoining is what they should do.
func loadingIsRebalance(refuse func(group.Code)) func(group.Code) {
	return func(code group.Code) {
		if code == group.LoadInProgress {
			code = group.RebalanceInProgress
		}
		refuse(code)
	}
}

// Heartbeat answers Heartbeat v0-4. While the groups load it answers success, so that members stay until they are known again.
func (c *Coordinator) Heartbeat(req *kmsg.HeartbeatRequest, done func(*kmsg.HeartbeatResponse)) {
	reply := func(code group.Code) {
		resp := req.ResponseKind().(*kmsg.HeartbeatResponse)
		resp.ErrorCode = int16(code)
		done(resp)
	}
	if req.Group == "" {
		reply(group.InvalidGroupID)
		return
	}
	c.on(req.Group, func(s *shard) {
		e := s.get(req.Group)
		if e == nil {
			reply(group.UnknownMemberID)
			return
		}
		reply(e.Heartbeat(c.now(), req.MemberID, text(req.InstanceID), req.Generation))
		if e.scheduled == 0 { // else a later deadline needs no earlier alarm
			s.schedule(e)
		}
	}, func(code group.Code) {
		if code == group.LoadInProgress {
			code = group.None
		}
		reply(code)
	})
}

// LeaveGroup answers LeaveGroup v0-5.
func (c *Coordinator) LeaveGroup(req *kmsg.LeaveGroupRequest, done func(*kmsg.LeaveGroupResponse)) {
	leaving := []group.LeaveMember{{ID: req.MemberID}}
	if req.Version >= 3 {
		leaving = leaving[:0]
		for _, m := range req.Members {
			leaving = append(leaving, group.LeaveMember{ID: m.MemberID, InstanceID: text(m.InstanceID)})
		}
	}
	refuse := func(code group.Code) {
		resp := req.ResponseKind().(*kmsg.LeaveGroupResponse)
		resp.ErrorCode = int16(code)
		done(resp)
	}
	if req.Group == "" {
		refuse(group.InvalidGroupID)
		return
	}
	c.on(req.Group, func(s *shard) {
		e := s.get(req.Group)
		if e == nil {
			if req.Version < 3 {
				refuse(group.UnknownMemberID)
				return
			}
			done(leaveResponse(req, leaving, func(int) group.Code { return group.UnknownMemberID }))
			return
		}
		if e.State() == group.Dead {
			refuse(group.NotAvailable)
			return
		}
		codes, effects := e.Leave(c.now(), leaving)
		if req.Version < 3 {
			refuse(codes[0])
		} else {
			done(leaveResponse(req, leaving, func(i int) group.Code { return codes[i] }))
		}
		s.settle(e, effects)
	}, refuse)
}

func leaveResponse(req *kmsg.LeaveGroupRequest, leaving []group.LeaveMember, code func(int) group.Code) *kmsg.LeaveGroupResponse {
	resp := req.ResponseKind().(*kmsg.LeaveGroupResponse)
	for i, m := range leaving {
		resp.Members = append(resp.Members, kmsg.LeaveGroupResponseMember{MemberID: m.ID, InstanceID: orNull(m.InstanceID),
			ErrorCode: int16(code(i))})
	}
	return resp
}

// unique returns a random UUID, for member ids.
func unique() string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	h := hex.EncodeToString(b[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// text is a nullable string with "" for null.
func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
