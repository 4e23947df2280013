package raftdump

// Rule is the code of a check of one part of Raft state against another. The list is closed; docs/recovery/raft.md explains each.
type Rule string

// The rules.
const (
	RuleGap            Rule = "raft-index-gap"         // entry i is followed by entry i+1; the first follows what the snapshots hold
	RuleCommit         Rule = "raft-commit"            // no index that is known to be committed is above the last entry
	RuleTerm           Rule = "raft-term-order"        // terms never fall with the index
	RuleEntry          Rule = "raft-entry"             // an entry means something to this program: a known type, decodable data
	RuleHeadOrder      Rule = "raft-head-order"        // term, commit and HardState sequence in group heads never fall
	RuleBehind         Rule = "raft-hardstate-behind"  // HardState's sequence is not behind what the heads were written under
	RuleHardTerm       Rule = "raft-hardstate-term"    // HardState's term is not below any that the log has reached
	RuleVote           Rule = "raft-vote"              // one vote per term: HardState and heads of one term name the same member, and one of the group
	RuleSnapshotLost   Rule = "raft-snapshot-missing"  // the snapshot before the newest, and the one behind which the log begins, are there
	RuleSnapshotExtra  Rule = "raft-snapshot-extra"    // no more than two snapshots
	RuleSnapshotTerm   Rule = "raft-snapshot-term"     // a snapshot has the term that the log has at its index
	RuleSnapshotState  Rule = "raft-snapshot-state"    // a snapshot's data are a metadata state of its index, with its own hash
	RuleStateHash      Rule = "raft-state-hash"        // the older snapshot and the entries up to the newer give the newer's state, byte for byte
	RuleConfState      Rule = "raft-confstate"         // likewise the membership; and membership changes can be applied
	RuleMember         Rule = "raft-member"            // this directory's member id is one of the group
	RuleJournalAhead   Rule = "raft-journal-ahead"     // no index that journal and checkpoint name is above the last entry
	RulePartitionIndex Rule = "raft-journal-partition" // a partition of checkpoint and journal has the name and the creation index that the metadata have
	RuleStart          Rule = "raft-start"             // whatever else makes a node refuse to start
)

// Rules lists all of them.
var Rules = []Rule{
	RuleGap, RuleCommit, RuleTerm, RuleEntry, RuleHeadOrder, RuleBehind, RuleHardTerm, RuleVote, RuleSnapshotLost, RuleSnapshotExtra,
	RuleSnapshotTerm, RuleSnapshotState, RuleStateHash, RuleConfState, RuleMember, RuleJournalAhead, RulePartitionIndex, RuleStart,
}
