package main

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"chronik.dev/chronik/broker"
	"chronik.dev/chronik/broker/config"
	"chronik.dev/chronik/broker/vfs"
)

// TestInterruptedStart: a signal during recovery or registration is a wish, not a failure; a failure at the same time stays one.
func TestInterruptedStart(t *testing.T) {
	stopped, stop := context.WithCancel(t.Context())
	stop()
	o := broker.Options{DataDir: "d", Config: config.New(), FS: vfs.NewMem(1), Logger: slog.New(slog.DiscardHandler), Version: "test"}
	if _, err := broker.Open(stopped, o); !interrupted(stopped, err) {
		t.Errorf("during recovery: %v", err)
	}
	b, err := broker.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close(t.Context())
	if err := b.SetListeners(stopped, nil); !interrupted(stopped, err) {
		t.Errorf("during registration: %v", err)
	}
	if interrupted(stopped, errors.New("damage")) || interrupted(t.Context(), context.Canceled) || interrupted(stopped, nil) {
		t.Error("a failure is taken for the signal")
	}
}
