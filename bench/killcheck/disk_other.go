//go:build !linux

package main

import "errors"

// disk needs a loop device and an ioctl of Linux.
type disk struct{ mount string }

func newDisk(string, string) (*disk, error) { return nil, errors.New("--disk needs Linux") }
func (d *disk) attach() error               { return nil }
func (d *disk) detach() error               { return nil }
func (d *disk) cut() error                  { return nil }
