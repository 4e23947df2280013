//go:build unix

package vfs

import "golang.org/x/sys/unix"

// DiskSize returns the bytes of the file system that holds a directory of the host, used or not.
func DiskSize(dir string) (int64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, err
	}
	return int64(s.Blocks) * int64(s.Bsize), nil
}
