package vfs

import (
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

func hostFlags(flag int) (flags int, dsync bool, err error) {
	flags = flag &^ (Direct | DSync)
	if flag&Direct != 0 {
		flags |= unix.O_DIRECT
	}
	if flag&DSync != 0 {
		flags |= unix.O_DSYNC
	}
	return flags, false, nil
}

// control runs op on the descriptor, repeating it while a signal interrupts it.
func control(f *os.File, op func(fd int) error) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var opErr error
	err = conn.Control(func(fd uintptr) {
		for {
			if opErr = op(int(fd)); opErr != unix.EINTR {
				return
			}
		}
	})
	if err != nil {
		return err
	}
	return opErr
}

// clone is FICLONE of ioctl_ficlone(2).
func clone(from, to *os.File) error {
	return control(to, func(fd int) error {
		err := unix.IoctlFileClone(fd, int(from.Fd()))
		switch err {
		case unix.EOPNOTSUPP, unix.EXDEV, unix.EINVAL, unix.ENOTTY, unix.ENOSYS:
			return ErrNoClone
		}
		return err
	})
}

func fdatasync(f *os.File) error { return control(f, unix.Fdatasync) }

func syncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

func syncFS(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	defer d.Close()
	// The kernel passes syncfs on to virtiofs and not to other FUSE servers: it would succeed and sync nothing.
	var st unix.Statfs_t
	if err := control(d, func(fd int) error { return unix.Fstatfs(fd, &st) }); err != nil {
		return &fs.PathError{Op: "statfs", Path: name, Err: err}
	}
	if st.Type == unix.FUSE_SUPER_MAGIC {
		return syncTree(name)
	}
	if err := control(d, unix.Syncfs); err != nil {
		return &fs.PathError{Op: "syncfs", Path: name, Err: err}
	}
	return nil
}
