//go:build planted_ack_before_sync

package wal

const plantAckBeforeSync = true
