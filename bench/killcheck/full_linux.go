package main

import (
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"chronik.dev/chronik/bench/node"
)

// fullDisk is a real file system that another program fills and gives back. filler is that program's file; it leaves less than leave bytes free.
type fullDisk struct {
	*node.Disk
	filled int
}

const (
	filler = "filler"
	leave  = 8 << 20
)

func newFull(d *node.Disk) failing { return &fullDisk{Disk: d} }

func (d *fullDisk) fail(_, _ string, seed uint64) error {
	var st unix.Statfs_t
	if err := unix.Statfs(d.Mount, &st); err != nil {
		return err
	}
	f, err := os.Create(filepath.Join(d.Mount, filler))
	if err != nil {
		return err
	}
	size := int64(st.Bavail)*st.Bsize - int64(seed%leave)
	for err = unix.ENOSPC; errors.Is(err, unix.ENOSPC) && size > 0; size -= 1 << 20 { // the node takes room meanwhile
		err = unix.Fallocate(int(f.Fd()), 0, 0, size)
	}
	d.filled++
	return errors.Join(err, f.Close())
}

func (d *fullDisk) heal() (int, error) {
	n := d.filled
	d.filled = 0
	return n, os.Remove(filepath.Join(d.Mount, filler))
}

func (d *fullDisk) detach() error { return d.Detach() }
