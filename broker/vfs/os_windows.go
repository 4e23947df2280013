package vfs

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"

	"golang.org/x/sys/windows"
)

type mutex windows.Handle

func (m mutex) Close() error { return windows.CloseHandle(windows.Handle(m)) }

// Lock holds a named kernel object that stands for the directory: nothing is written and it ends with the process.
func (osFS) Lock(dir string) (io.Closer, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(strings.ToLower(abs)))
	name, err := windows.UTF16PtrFromString(fmt.Sprintf(`Global\chronik-%x`, sum[:16]))
	if err != nil {
		return nil, err
	}
	h, err := windows.CreateMutex(nil, false, name)
	if errors.Is(err, windows.ERROR_ALREADY_EXISTS) {
		return nil, errors.Join(&fs.PathError{Op: "lock", Path: dir, Err: ErrLocked}, windows.CloseHandle(h))
	}
	if err != nil {
		return nil, &fs.PathError{Op: "lock", Path: dir, Err: err}
	}
	return mutex(h), nil
}

func free(dir string) (int64, error) {
	name, err := windows.UTF16PtrFromString(dir)
	if err != nil {
		return 0, err
	}
	var avail, total, totalFree uint64
	if err := windows.GetDiskFreeSpaceEx(name, &avail, &total, &totalFree); err != nil {
		return 0, err
	}
	return int64(avail), nil
}

// MaxDescriptors returns how many descriptors the process may have open, -1 if that is unknown.
func MaxDescriptors() int { return -1 }
