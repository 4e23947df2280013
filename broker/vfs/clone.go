package vfs

import (
	"errors"
	"os"
)

// ErrNoClone says that a file's blocks cannot be shared here: copy the bytes.
var ErrNoClone = errors.New("the file system does not share blocks between files")

// Clone makes a new file with the content of another that shares its blocks until either is written (FICLONE on Btrfs, XFS, bcachefs, ...).
// fs.ErrExist if the name is taken; ErrNoClone, with nothing left behind, where the file system cannot. Nothing is synced.
func Clone(fsys FS, from, to string) error {
	if fsys != OS {
		return ErrNoClone
	}
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := os.OpenFile(to, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	if err := clone(source, target); err != nil {
		return errors.Join(err, target.Close(), os.Remove(to))
	}
	return target.Close()
}
