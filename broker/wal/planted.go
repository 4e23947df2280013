//go:build !planted_ack_before_sync

package wal

// plantAckBeforeSync is a bug that bench/killcheck must catch when it is built in: it acknowledges a group before it is written.
const (
	plantAckBeforeSync = false
	plantedDelay       = 0
)
