//go:build !linux

package vfs

import (
	"os"
	"runtime"
)

func hostFlags(flag int) (flags int, dsync bool, err error) {
	if flag&Direct != 0 {
		return 0, false, ErrDirect
	}
	return flag &^ DSync, flag&DSync != 0, nil
}

func clone(_, _ *os.File) error { return ErrNoClone }

// fdatasync uses what the platform has: F_FULLFSYNC on macOS, FlushFileBuffers on Windows.
func fdatasync(f *os.File) error { return f.Sync() }

// syncDir does nothing on Windows, where NTFS keeps directory changes in its own journal and a directory cannot be flushed.
func syncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	defer d.Close()
	if runtime.GOOS == "windows" {
		return nil
	}
	return d.Sync()
}

// syncFS syncs what is below name: there is no syncfs(2) here.
func syncFS(name string) error { return syncTree(name) }
