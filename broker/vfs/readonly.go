package vfs

import (
	"fmt"
	"io"
	"io/fs"
	"os"
)

// ReadOnly returns a view of a file system that refuses every change with fs.ErrPermission, for tools that only look. Each read tells
// count, if it is not nil, how many bytes it gave. Lock passes on: testing a lock changes nothing on the disk.
func ReadOnly(under FS, count func(n int)) FS { return &readOnly{fs: under, count: count} }

type readOnly struct {
	fs    FS
	count func(n int)
}

func refuse(op, name string) error {
	return fmt.Errorf("%s %s: %w: the tools only read", op, name, fs.ErrPermission)
}

func (r *readOnly) OpenFile(name string, flag int) (File, error) {
	if flag&(os.O_WRONLY|os.O_RDWR|os.O_CREATE|os.O_TRUNC|os.O_APPEND) != 0 {
		return nil, refuse("open for writing", name)
	}
	f, err := r.fs.OpenFile(name, flag)
	if err != nil {
		return nil, err
	}
	return &readOnlyFile{file: f, fs: r, name: name}, nil
}

func (r *readOnly) Mkdir(name string) error                    { return refuse("make directory", name) }
func (r *readOnly) Remove(name string) error                   { return refuse("remove", name) }
func (r *readOnly) Rename(from, _ string) error                { return refuse("rename", from) }
func (r *readOnly) SyncDir(name string) error                  { return refuse("sync", name) }
func (r *readOnly) SyncFS(name string) error                   { return refuse("sync", name) }
func (r *readOnly) Free(dir string) (int64, error)             { return r.fs.Free(dir) }
func (r *readOnly) ReadDir(name string) ([]fs.FileInfo, error) { return r.fs.ReadDir(name) }
func (r *readOnly) Stat(name string) (fs.FileInfo, error)      { return r.fs.Stat(name) }
func (r *readOnly) Lock(dir string) (io.Closer, error)         { return r.fs.Lock(dir) }

// readOnlyFile is a file open for reading.
type readOnlyFile struct {
	file File
	fs   *readOnly
	name string
}

func (f *readOnlyFile) ReadAt(p []byte, off int64) (int, error) {
	n, err := f.file.ReadAt(p, off)
	if f.fs.count != nil {
		f.fs.count(n)
	}
	return n, err
}

func (f *readOnlyFile) WriteAt([]byte, int64) (int, error) { return 0, refuse("write", f.name) }
func (f *readOnlyFile) Truncate(int64) error               { return refuse("truncate", f.name) }
func (f *readOnlyFile) Sync() error                        { return refuse("sync", f.name) }
func (f *readOnlyFile) Size() (int64, error)               { return f.file.Size() }
func (f *readOnlyFile) Close() error                       { return f.file.Close() }
