//go:build unix

package vfs

import (
	"errors"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// Lock takes flock(2) on the directory itself: no lock file that could be deleted or copied along. It ends with the process.
func (osFS) Lock(dir string) (io.Closer, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	for {
		err = unix.Flock(int(d.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err != unix.EINTR {
			break
		}
	}
	if err == nil {
		return d, nil
	}
	if err == unix.EWOULDBLOCK {
		err = ErrLocked
	}
	return nil, errors.Join(&fs.PathError{Op: "lock", Path: dir, Err: err}, d.Close())
}

func free(dir string) (int64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, err
	}
	return int64(s.Bavail) * int64(s.Bsize), nil
}

// MaxDescriptors returns how many descriptors the process may have open, -1 if that is unknown.
func MaxDescriptors() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return -1
	}
	return int(min(uint64(limit.Cur), 1<<30))
}
