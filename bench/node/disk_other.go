//go:build !linux

package node

import "errors"

// Disk needs a loop device and an ioctl of Linux.
type Disk struct{ Mount string }

// NewDisk is for Linux.
func NewDisk(string, string) (*Disk, error) { return nil, errors.New("a disk of its own needs Linux") }

// Attach is for Linux.
func (d *Disk) Attach() error { return nil }

// Detach is for Linux.
func (d *Disk) Detach() error { return nil }

// Cut is for Linux.
func (d *Disk) Cut() error { return nil }
