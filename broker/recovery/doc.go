// Package recovery brings a node's partitions back from checkpoint, partition files and journal, and says what it found.
//
// The idea. The whole journal is read before any file changes. Then it is read again and replayed in the order of LSNs: bytes of a partition
// file past its checkpointed size are compared with the journal; equal ones stay, the first difference is saved in evidence/ and cut, and
// what follows is written from the journal. Records that a damaged stretch of the journal lost are taken from the partition file where it
// holds them as valid batches without a gap; where it does not, that partition alone stops, with the command to run.
//
// The guarantee. Boot may be killed anywhere and run again: it comes to the same state. It cuts nothing below the durable floor, deletes
// nothing it does not know, and saves every byte before it cuts it. A founded directory without a journal or without a valid checkpoint
// is refused, never started anew.
//
// The API. Boot is for the node and needs the directory's lock; Check comes to the same verdicts without writing, for the tools. Both
// answer with a Report.
package recovery
