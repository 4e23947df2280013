// Package vfs is the disk as chronik sees it: one small interface behind which stand the operating system (OS), a disk in memory that
// can lose power (Mem) and a disk that fails on demand (Faulty). Everything durable goes through it, so every crash can be rehearsed.
//
// What is durable, on each of them: file content and size after File.Sync or SyncFS, or after WriteAt on a DSync file; names after SyncDir or
// SyncFS. Mem loses everything else piece by piece (see Mem.CrashClone), which is harsher than any file system in use.
package vfs

import (
	"errors"
	"io"
	"io/fs"
	"strings"
	"syscall"
)

// Open flags of chronik's own, or'ed with those of package os.
const (
	// Direct bypasses the page cache (O_DIRECT): offset, length and memory must be multiples of 4096 bytes.
	Direct = 1 << 28
	// DSync makes every WriteAt durable before it returns (O_DSYNC).
	DSync = 1 << 29
)

// Errors that callers tell apart. Others are those of package io/fs and syscall, wrapped with the file's name.
var (
	// ErrDirect says that the file system does not support Direct; open again without it.
	ErrDirect = errors.New("direct I/O is not supported here")
	// ErrLocked says that another process holds the directory's lock.
	ErrLocked = errors.New("locked by another process")
)

// NoRoom says that the host refused something for want of disk space, quota or file descriptors: nothing is damaged, and what was refused
// can be tried again when there is room. A sync that failed is never that, whatever its error: what it should have made durable may be gone.
func NoRoom(err error) bool {
	var path *fs.PathError
	if errors.As(err, &path) && strings.Contains(path.Op, "sync") {
		return false
	}
	for _, full := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EMFILE, syscall.ENFILE} {
		if errors.Is(err, full) {
			return true
		}
	}
	return false
}

// FS is a file system. Names are paths as the host writes them.
type FS interface {
	// OpenFile opens a file with os.O_* flags and Direct or DSync.
	OpenFile(name string, flag int) (File, error)
	// Mkdir makes one directory; fs.ErrExist if it is there.
	Mkdir(name string) error
	// Remove removes a file or an empty directory.
	Remove(name string) error
	// Rename replaces newname atomically; durable after SyncDir of both directories.
	Rename(oldname, newname string) error
	// ReadDir lists a directory in the order of names.
	ReadDir(name string) ([]fs.FileInfo, error)
	// Stat describes a file.
	Stat(name string) (fs.FileInfo, error)
	// SyncDir makes a directory's entries durable.
	SyncDir(name string) error
	// SyncFS makes everything on the file system that holds name durable (syncfs(2)).
	SyncFS(name string) error
	// Lock takes the exclusive lock on a directory's own descriptor; ErrLocked if another process has it.
	Lock(dir string) (io.Closer, error)
	// Free returns the bytes that an unprivileged writer can still use.
	Free(dir string) (int64, error)
}

// File is an open file. Methods may be called from several goroutines.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// Truncate sets the size in bytes.
	Truncate(size int64) error
	// Sync makes content and size durable (fdatasync(2)).
	Sync() error
	// Size returns the size in bytes.
	Size() (int64, error)
}
