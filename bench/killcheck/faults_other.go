//go:build !linux

package main

import (
	"errors"

	"chronik.dev/chronik/bench/node"
)

func newFuse(string, string) (failing, string, error) {
	return nil, "", errors.New("--disk fuse needs Linux")
}
func newFull(*node.Disk) failing { return nil }
