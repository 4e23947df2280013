// Package partition is one partition's log: an append path without I/O, a tail in memory, and behind it Apache Kafka's segment files.
//
// The idea. Records become durable in the node's journal (package wal), which all partitions share. A batch is copied once, into a chunk
// of the partition's tail; the journal frame and every fetch read those same bytes. Only when the journal has synced a record does the
// high watermark pass it, may a client see it, and may the flusher write it to the segment files, in large chunks. Everything that
// shapes the files (rolls, truncations, log start, epochs, replaced files, the partial last block) is a journal frame of its own, so
// replay gives the same files whatever a crash left of them.
//
// The guarantee. A record that was acknowledged is in the journal or below the checkpointed size of its file, and stays there until
// retention, deletion or compaction removes it by a journalled frame. A record that was not synced is never served, written to a file,
// or named in a checkpoint's State. A duplicate of a batch in flight is answered when the original is. A failed write stops the
// partition and is never retried as a sync; a full disk is not a failure.
//
// The API. Create makes a partition, Replay reopens one at boot (package recovery drives it), Log is the open partition, Pool bounds the
// memory of all tails of a node and owns the flusher goroutine, Checkpointer runs a checkpoint over many logs: files written and synced,
// both checkpoint copies stored, journal segments freed, removed files deleted, in that order.
//
// Locks. Log.io serialises everything that touches files; Log.mu guards the state and is never held over I/O; io is taken before mu.
// Log.files keeps readers and the removal or replacement of a file apart. The journal's callbacks take mu only.
package partition
