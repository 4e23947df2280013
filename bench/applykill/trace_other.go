//go:build !linux || !(amd64 || arm64)

package main

import "errors"

// canTrace says whether calls can be counted here.
func canTrace(string) bool { return false }

// killAtCall is for Linux.
func killAtCall(int, string, ...string) (calls int, killed bool, err error) {
	return 0, false, errors.ErrUnsupported
}
