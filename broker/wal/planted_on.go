//go:build planted_ack_before_sync

package wal

import "time"

const (
	plantAckBeforeSync = true
	plantedDelay       = 5 * time.Millisecond // of a slow disk, so that a kill finds something acknowledged and not written
)
