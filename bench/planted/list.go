package main

import (
	"fmt"
	"path/filepath"
	"slices"

	"chronik.dev/chronik/broker/planted"
)

// planting is a bug and what must find it.
type planting struct {
	bug     planted.Bug
	catcher catcher
}

// catcher is a test of a package, or a programme.
type catcher struct {
	dir     string // of the package, or the programme's name
	test    string // regular expression
	args    []string
	program func(work string) []string // nil: a test
}

func (c catcher) String() string { return fmt.Sprintf("%s %s", c.dir, c.test) }

func (c catcher) same(d catcher) bool {
	return c.dir == d.dir && c.test == d.test && slices.Equal(c.args, d.args)
}

func test(dir, run string, args ...string) catcher { return catcher{dir: dir, test: run, args: args} }

// killed is a node that is killed under load: one bug goes through the whole of it, as a real process.
var killed = catcher{dir: "killcheck", test: "kill -9 under load", program: func(work string) []string {
	return []string{"--bin", filepath.Join(work, "chronik"), "--rounds", "8", "--check-every", "1"}
}}

// crash are power cuts of a whole node.
var crash = test("broker/crashtest", "^TestCrash$", "-crash.seeds=6")

// plantings are in the order of the list in package planted.
var plantings = []planting{
	{planted.SkipSync, test("broker/wal", "^TestCrash$")},
	{planted.SkipDirSync, test("broker/wal", "^TestCrashChain$")},
	{planted.AckBeforeSync, killed},
	{planted.AckBeforeSync, crash},
	{planted.IgnoreSyncError, test("broker/wal", "^TestPoison$")},
	{planted.OneCopy, test("broker/statefile", "^TestDamage$")},
	{planted.TrustUnsynced, test("broker/statefile", "^TestCrash$")},
	{planted.FreeFirst, test("broker/partition", "^TestCheckpointBeforeFree$")},
	{planted.CheckpointUnsynced, test("broker/partition", "^TestCheckpointBeforeFree$")},
	{planted.TailBlockUnsaved, test("broker/partition", "^TestTornBlock")},
	{planted.ReuseLSN, test("broker/wal", "^TestCrashChain$")},
	{planted.ApplyBeforeSave, test("broker/consensus", "^TestThreeMembers$")},
	{planted.SendBeforeSave, test("broker/consensus", "^TestThreeMembers$")},
	{planted.ForgetVote, test("broker/raftlog", "^TestStorageContract$")},
	{planted.CompactTooFar, test("broker/raftlog", "^TestStorageContract$")},
	{planted.KeepSuffix, test("broker/raftlog", "^TestStorageContract$")},
	{planted.AnswerBeforeAppend, test("broker/coordinator", "^TestAnswerAfterSync$")},
	{planted.TrustLength, test("broker/wal", "^TestSalvage$")},
	{planted.StopAtBadCRC, test("broker/wal", "^TestVerdicts$")},
	{planted.IgnorePromise, test("broker/wal", "^TestVerdicts$")},
	{planted.SilentCut, test("broker/recovery", "^TestTranscripts$")},
	{planted.EvidenceUnsaved, test("broker/recovery", "^TestTranscripts$")},
	{planted.ReadUnsynced, test("broker/partition", "^TestDuplicateOfBatchInFlight$")},
	{planted.ForgetProducers, crash},
	{planted.IgnoreEpoch, test("broker/partition", "^TestEpochs$")},
	{planted.UnmappedSuccess, test("broker/kafka", "^TestUnmapped")},
	{planted.AnswerOutOfOrder, test("broker/kafka", "^TestOrder$")},
}
