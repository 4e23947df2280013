package consensus

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"chronik.dev/chronik/broker/metadata"
	"chronik.dev/chronik/broker/planted"
	"chronik.dev/chronik/broker/vfs"
)

// loop is what only the goroutine touches.
type loop struct {
	raw     *raft.RawNode
	applied uint64
	conf    *raftpb.ConfState
	alone   bool   // a group of one, this node
	target  uint64 // applied index at which the start is complete
	ready   bool   // caughtUp is closed

	queued   []*proposal          // not yet taken by raft
	proposed []*proposal          // taken by raft, index not yet known, in order
	waiting  map[uint64]*proposal // by index
	replies  []reply              // of entries applied in this Ready; sent when the status shows them

	due        bool   // every start adds a segment to the log: many are a reason for a snapshot too
	taken      uint64 // index of the newest snapshot
	takenBytes uint64 // bytes of entries applied since
	snapshots  uint64
	again      time.Time // no snapshot before that: there was no room for one
}

// proposal is a command on its way.
type proposal struct {
	ctx    context.Context
	data   []byte
	term   uint64
	answer chan answer // holds one; the sender never waits
}

type answer struct {
	result metadata.Result
	err    error
}

type reply struct {
	to *proposal
	answer
}

// serve runs until stop or failure.
func (n *Node) serve() {
	defer n.abandon()
	ticker := time.NewTicker(n.o.Tick)
	defer ticker.Stop()
	if n.alone {
		if err := n.raw.Campaign(); err != nil {
			n.fail(fmt.Errorf("campaign: %w", err))
			return
		}
		n.target, _ = n.storage.LastIndex()
		n.target++ // the entry that begins this term
	}
	for {
		for n.offer(); n.raw.HasReady(); n.offer() {
			if err := n.handle(n.raw.Ready()); err != nil {
				n.fail(err)
				return
			}
		}
		n.publish()
		select {
		case <-n.stop:
			return
		case <-ticker.C:
			n.raw.Tick()
		case p := <-n.proposals:
			n.queued = append(n.queued, p)
			n.drain()
		case m := <-n.messages:
			if err := n.raw.Step(m); err != nil && !errors.Is(err, raft.ErrStepPeerNotFound) {
				n.logger.Warn("raft message refused", "type", m.GetType(), "from", m.GetFrom(), "error", err)
			}
		case c := <-n.hashes:
			c <- [2]uint64{n.applied, n.o.StateMachine.Hash()}
		}
	}
}

// drain takes the proposals that are already there, so that they share one sync.
func (n *Node) drain() {
	for len(n.queued) < 1024 {
		select {
		case p := <-n.proposals:
			n.queued = append(n.queued, p)
		default:
			return
		}
	}
}

// offer gives queued proposals to raft. Without a leader, or while raft is full, they stay queued; under another leader they are refused.
func (n *Node) offer() {
	if len(n.queued) == 0 {
		return
	}
	st := n.raw.BasicStatus()
	for len(n.queued) > 0 {
		p := n.queued[0]
		switch {
		case p.ctx.Err() != nil:
			p.answer <- answer{err: p.ctx.Err()}
		case st.Lead != 0 && st.Lead != n.o.MemberID:
			p.answer <- answer{err: &NotLeaderError{Leader: st.Lead}}
		default:
			err := n.raw.Propose(p.data)
			if errors.Is(err, raft.ErrProposalDropped) { // offered again after the next event, unless its caller has given up
				n.queued = slices.DeleteFunc(n.queued, func(p *proposal) bool { return p.ctx.Err() != nil })
				return
			}
			if err != nil {
				p.answer <- answer{err: fmt.Errorf("propose: %w", err)}
				break
			}
			n.proposed = append(n.proposed, p)
		}
		n.queued = n.queued[1:]
	}
}

// handle carries out one Ready: durable first, then messages, apply, Advance.
func (n *Node) handle(rd raft.Ready) error {
	if rd.SoftState != nil {
		n.logger.Info("metadata group", "member", n.o.MemberID, "state", rd.RaftState.String(), "leader", rd.Lead)
		if rd.RaftState != raft.StateLeader {
			n.lost(rd.Lead)
		}
	}
	n.number(rd.Entries)
	if planted.Is(planted.SendBeforeSave) {
		n.send(rd.Messages)
	}
	if !planted.Is(planted.ApplyBeforeSave) {
		if err := n.save(rd); err != nil {
			return err
		}
	}
	if !planted.Is(planted.SendBeforeSave) && !planted.Is(planted.ApplyBeforeSave) {
		n.send(rd.Messages)
	}
	if !raft.IsEmptySnap(rd.Snapshot) {
		if err := n.install(rd.Snapshot); err != nil {
			return err
		}
	}
	for _, e := range rd.CommittedEntries {
		if err := n.apply(e); err != nil {
			return err
		}
	}
	if planted.Is(planted.ApplyBeforeSave) {
		if err := n.save(rd); err != nil {
			return err
		}
		n.send(rd.Messages)
	}
	n.raw.Advance(rd)
	if err := n.maybeSnapshot(); err != nil {
		return err
	}
	n.publish()
	for _, r := range n.replies {
		r.to.answer <- r.answer
	}
	n.replies = n.replies[:0]
	return nil
}

func (n *Node) send(messages []*raftpb.Message) {
	if n.o.Transport != nil && len(messages) > 0 {
		n.o.Transport.Send(messages)
	}
}

func (n *Node) save(rd raft.Ready) error {
	if err := n.storage.Save(rd); err != nil {
		return fmt.Errorf("save Raft state: %w", err)
	}
	return nil
}

// number learns the indexes of this leader's proposals: raft hands them out in the order in which it took them.
func (n *Node) number(entries []*raftpb.Entry) {
	for _, e := range entries {
		if len(n.proposed) == 0 {
			return
		}
		if p := n.proposed[0]; e.GetType() == raftpb.EntryNormal && bytes.Equal(e.GetData(), p.data) {
			p.term = e.GetTerm()
			n.waiting[e.GetIndex()] = p
			n.proposed = n.proposed[1:]
		}
	}
}

// lost answers everything that was proposed under a leadership that has ended.
func (n *Node) lost(leader uint64) {
	for _, p := range n.proposed {
		p.answer <- answer{err: &NotLeaderError{Leader: leader, Pending: true}}
	}
	for _, p := range n.waiting {
		p.answer <- answer{err: &NotLeaderError{Leader: leader, Pending: true}}
	}
	n.proposed = nil
	clear(n.waiting)
}

// abandon answers everything that is still open when the goroutine ends.
func (n *Node) abandon() {
	err := n.reason()
	for _, p := range append(n.queued, n.proposed...) {
		p.answer <- answer{err: err}
	}
	for _, p := range n.waiting {
		p.answer <- answer{err: err}
	}
	for _, r := range n.replies {
		r.to.answer <- r.answer
	}
}

// apply applies one committed entry and answers its proposer.
func (n *Node) apply(e *raftpb.Entry) error {
	index := e.GetIndex()
	if index <= n.applied {
		return fmt.Errorf("apply: entry %d after %d", index, n.applied)
	}
	data := e.GetData()
	if e.GetType() != raftpb.EntryNormal {
		if err := n.reconfigure(e); err != nil {
			return err
		}
		data = nil
	}
	res := n.o.StateMachine.Apply(index, data)
	if errors.Is(res.Err, metadata.ErrUnsupported) {
		return fmt.Errorf("apply: %w; run the version that wrote it", res.Err)
	}
	n.applied = index
	n.takenBytes += uint64(len(e.GetData()))
	if p := n.waiting[index]; p != nil {
		delete(n.waiting, index)
		if p.term == e.GetTerm() {
			n.replies = append(n.replies, reply{p, answer{result: res}})
		} else {
			n.replies = append(n.replies, reply{p, answer{err: &NotLeaderError{Pending: true}}})
		}
	}
	return nil
}

// reconfigure applies a change of membership.
func (n *Node) reconfigure(e *raftpb.Entry) error {
	var change raftpb.ConfChangeI
	var err error
	if e.GetType() == raftpb.EntryConfChange {
		c := &raftpb.ConfChange{}
		change, err = c, proto.Unmarshal(e.GetData(), c)
	} else {
		c := &raftpb.ConfChangeV2{}
		change, err = c, proto.Unmarshal(e.GetData(), c)
	}
	if err != nil {
		return fmt.Errorf("apply: membership change at index %d: %w", e.GetIndex(), err)
	}
	n.conf = n.raw.ApplyConfChange(change)
	return nil
}

// install replaces the state by a snapshot that the leader sent and Save has made durable.
func (n *Node) install(snap *raftpb.Snapshot) error {
	m := snap.GetMetadata()
	if err := n.o.StateMachine.Restore(snap.GetData()); err != nil {
		return fmt.Errorf("install snapshot at index %d: %w", m.GetIndex(), err)
	}
	n.applied, n.taken, n.takenBytes = m.GetIndex(), m.GetIndex(), 0
	n.conf = proto.CloneOf(m.GetConfState())
	return nil
}

// snapshotRetry is how long a snapshot waits for which there was no room.
const snapshotRetry = 10 * time.Second

// maybeSnapshot takes a snapshot when enough was applied since the last one; an idle group takes none. Without room the log just grows on.
func (n *Node) maybeSnapshot() error {
	enough := n.due || n.applied-n.taken >= n.o.SnapshotEntries || n.takenBytes >= n.o.SnapshotBytes
	if !enough || n.applied == n.taken || time.Now().Before(n.again) {
		return nil
	}
	data, err := n.o.StateMachine.Snapshot()
	if err != nil {
		return fmt.Errorf("take snapshot at index %d: %w", n.applied, err)
	}
	if err := n.storage.CreateSnapshot(n.applied, n.conf, data); vfs.NoRoom(err) {
		n.again = time.Now().Add(snapshotRetry)
		n.logger.Warn("no room for a snapshot of the metadata; the log before it stays", "index", n.applied, "error", err)
		return nil
	} else if err != nil {
		return fmt.Errorf("take snapshot at index %d: %w", n.applied, err)
	}
	n.taken, n.takenBytes, n.due = n.applied, 0, false
	n.snapshots++
	return nil
}

// publish makes the status visible and ends Start.
func (n *Node) publish() {
	st := n.raw.BasicStatus()
	s := &Status{
		MemberID: n.o.MemberID, Term: st.GetTerm(), Vote: st.GetVote(), Commit: st.GetCommit(), Applied: n.applied, Leader: st.Lead,
		SnapshotIndex: n.taken, ConfState: proto.CloneOf(n.conf), Snapshots: n.snapshots,
	}
	s.FirstIndex, _ = n.storage.FirstIndex()
	s.LastIndex, _ = n.storage.LastIndex()
	n.status.Store(s)
	if !n.ready && n.applied >= n.target {
		n.ready = true
		close(n.caughtUp)
	}
}
