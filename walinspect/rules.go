package walinspect

import (
	"path/filepath"
	"slices"
	"strings"

	"chronik.dev/chronik/broker/datadir"
	"chronik.dev/chronik/broker/segment"
	"chronik.dev/chronik/broker/statefile"
	"chronik.dev/chronik/broker/wal"
	"chronik.dev/chronik/raftdump"
)

// Rule is what must hold between files of a data directory, beyond the checks that each file carries itself. Findings that break one carry its code.
// docs/recovery/rules.md is the same table.
type Rule struct {
	Code  string
	Holds string // one sentence
	is    func(f *Finding) bool
}

// Rules returns all of them: these, and Raft's.
func Rules() []Rule {
	out := slices.Clone(rules)
	for _, r := range raftdump.Rules {
		out = append(out, Rule{Code: string(r)})
	}
	return out
}

func hasReason(f *Finding, reasons ...segment.Reason) bool {
	return slices.Contains(reasons, segment.Reason(f.Reason))
}

func fileKind(f *Finding) segment.Kind {
	kind, _, ok := segment.ParseName(filepath.Base(f.File))
	if !ok || !inDir(f, datadir.TopicsDir) {
		return noKind
	}
	return kind
}

// noKind is the kind of a file that is none of a partition's.
const noKind = segment.Kind(255)

// inJournal says whether a finding has one of these reasons in wal/.
func inJournal(reasons ...wal.Reason) func(f *Finding) bool {
	return func(f *Finding) bool {
		return inDir(f, datadir.WalDir) && slices.Contains(reasons, wal.Reason(f.Reason))
	}
}

// otherID begins the evidence of a partition.metadata with another topic id.
const otherID = "the topic id is another one than the checkpoint's"

// rules are tried in order; the first that fits is the one that is broken.
var rules = []Rule{
	{"dir-identity", "every file with a header names the directory id of identity.0 and identity.1", func(f *Finding) bool {
		return otherDirectory(f) || f.Reason == string(statefile.ReasonDirectory)
	}},
	{"copies-equal", "both copies of small state carry the same sequence number", func(f *Finding) bool {
		return f.Reason == olderCopy || f.Reason == string(statefile.ReasonContradicted)
	}},
	{"checkpoint-journal", "the checkpoint includes every LSN that the journal gave back", func(f *Finding) bool {
		return f.Record == "checkpoint" && strings.Contains(f.Evidence, "the journal gave back")
	}},
	{"checkpoint-there", "a founded directory has a journal and a checkpoint", func(f *Finding) bool {
		return f.Record == "checkpoint" || f.Record == "journal and checkpoint"
	}},
	{"journal-spares", "every spare that the journal's manifest lists is there", func(f *Finding) bool {
		return f.Record == "spare" && f.Reason == string(wal.ReasonFile)
	}},
	{"journal-segments", "every segment that manifest, footer or header of a neighbour names is there, in the use and the length that they name",
		inJournal(wal.ReasonFile, wal.ReasonRolledBack, wal.ReasonShort, wal.ReasonMisplaced)},
	{"journal-chain", "every group continues the one before it, across segments", inJournal(wal.ReasonChain)},
	{"journal-floor", "every LSN that manifest, checkpoint, footer or a later head calls durable is in the journal", inJournal(wal.ReasonMissing)},
	{"journal-manifest", "the manifest can be read: it says which segments there are", inJournal(wal.ReasonManifest)},
	{"journal-partition", "what is damaged in the journal is in the partition log, up to the partition's end", func(f *Finding) bool {
		return f.Record == "partition"
	}},
	{"checkpoint-files", "every segment that the checkpoint lists is there, at least as long as it says", func(f *Finding) bool {
		return f.Record == "partition directory" || fileKind(f) == segment.Log && (f.Reason == string(segment.MissingFile) || f.Record == "file" && f.Reason == string(segment.Truncated))
	}},
	{"partition-id", "partition.metadata has the topic id of the checkpoint", func(f *Finding) bool { return strings.HasPrefix(f.Evidence, otherID) }},
	{"partition-companions", "a partition has partition.metadata, and a producer snapshot for each segment but the first", func(f *Finding) bool {
		return hasReason(f, segment.MissingFile) && (fileKind(f) == segment.MetaFile || fileKind(f) == segment.Snapshot)
	}},
	{"segments-order", "a segment begins where the one before it ends, or behind", func(f *Finding) bool {
		return strings.HasPrefix(f.Record, "segment") && hasReason(f, segment.BadOffset)
	}},
	{"epochs-batches", "leader epochs of batches are those that the checkpoint has for their offsets", func(f *Finding) bool {
		return hasReason(f, segment.BadOffset) && (fileKind(f) == segment.EpochFile || strings.Contains(f.Evidence, "leader epoch "))
	}},
	{"index-batches", "the offset index is the one that the batches imply", func(f *Finding) bool { return fileKind(f) == segment.Index }},
	{"timeindex-batches", "the time index is the one that the batches imply", func(f *Finding) bool { return fileKind(f) == segment.TimeIndex }},
	{"sums-files", "every byte that chronik.sums covers is as it was summed", func(f *Finding) bool { return hasReason(f, segment.BadSum) }},
	{"sums-cover", "chronik.sums covers every byte below the checkpointed size", func(f *Finding) bool { return hasReason(f, segment.NoSum) }},
	{"topics-known", "everything below topics/ is of a partition that checkpoint or journal knows", func(f *Finding) bool {
		return inDir(f, datadir.TopicsDir) && f.Reason == string(wal.ReasonUnknownFile)
	}},
}

// ruleOf is the code of the rule that a finding breaks; empty: what a file says of itself is wrong.
func ruleOf(f *Finding) string {
	if slices.Contains(raftdump.Rules, raftdump.Rule(f.Reason)) {
		return f.Reason
	}
	for i := range rules {
		if rules[i].is(f) {
			return rules[i].Code
		}
	}
	return ""
}
