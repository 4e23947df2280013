// Package planted names bugs that are put into the node on purpose, to see the tests and programmes find them: one per rule that they answer for.
//
// A production build has none of them: without the build tag `planted`, Is is constant and false, and the compiler drops what depends on it.
// With the tag, CHRONIK_PLANTED in the environment names the one bug that is active, so that one build serves for all of them.
//
// API: the list, and Is. bench/planted builds with the tag, runs what must catch each bug, and prints the score.
package planted

// Bug is the name of a bug.
type Bug string

// The bugs.
const (
	// Of what is made durable, and when.
	SkipSync           Bug = "skip_sync"            // the journal's files are written and never synced
	SkipDirSync        Bug = "skip_dir_sync"        // the name of a new segment is not synced
	AckBeforeSync      Bug = "ack_before_sync"      // a group is acknowledged before it is written
	IgnoreSyncError    Bug = "ignore_sync_error"    // a failed write or sync of the journal counts as done
	OneCopy            Bug = "one_copy"             // a state file has one current copy, the other is the state before
	TrustUnsynced      Bug = "trust_unsynced"       // a restart takes for durable what the killed process had written
	FreeFirst          Bug = "free_first"           // the journal is freed before the checkpoint is stored
	CheckpointUnsynced Bug = "checkpoint_unsynced"  // the checkpoint is stored before the partition files are synced
	TailBlockUnsaved   Bug = "tail_block_unsaved"   // a partition's last block is rewritten without a copy in the journal
	ReuseLSN           Bug = "reuse_lsn"            // behind a cut, LSNs are given out again
	ApplyBeforeSave    Bug = "apply_before_save"    // Raft's entries are applied before they are saved
	SendBeforeSave     Bug = "send_before_save"     // Raft's messages are sent before term, vote and entries are saved
	ForgetVote         Bug = "forget_vote"          // a vote in an unchanged term is not stored
	CompactTooFar      Bug = "compact_too_far"      // Raft's log is compacted to its newest snapshot, so that the older one starts nothing
	KeepSuffix         Bug = "keep_suffix"          // Raft's entries behind a conflict stay
	AnswerBeforeAppend Bug = "answer_before_append" // a commit of offsets is answered when it was handed to the log

	// Of what is read and judged.
	TrustLength      Bug = "trust_length"        // a frame's length is used although the CRC of its header is wrong
	StopAtBadCRC     Bug = "stop_at_bad_crc"     // the journal ends at the first damaged group
	IgnorePromise    Bug = "ignore_promise"      // what was acknowledged at the end of the journal is cut like an interrupted write
	SilentCut        Bug = "silent_cut"          // a partition goes on without what the journal lost of it
	EvidenceUnsaved  Bug = "evidence_unsaved"    // damaged bytes are cut without a copy
	ReadUnsynced     Bug = "read_unsynced"       // records are served that are not synced yet
	ForgetProducers  Bug = "forget_producers"    // a restart forgets what idempotent producers have sent
	IgnoreEpoch      Bug = "ignore_epoch"        // an append of an older leader epoch is accepted
	UnmappedSuccess  Bug = "unmapped_success"    // an error that nobody mapped is answered as success
	AnswerOutOfOrder Bug = "answer_out_of_order" // responses leave in another order than their requests came
)

// Is says whether b is the bug that is active.
func Is(b Bug) bool { return enabled && b == active }
