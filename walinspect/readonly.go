package walinspect

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync/atomic"

	"chronik.dev/chronik/broker/vfs"
)

// readOnly is a file system that refuses every change and counts what is read.
type readOnly struct {
	fs       vfs.FS
	progress func(done, total int64)
	done     atomic.Int64
	total    atomic.Int64
}

func refuse(op, name string) error {
	return fmt.Errorf("%s %s: %w: the tools only read", op, name, fs.ErrPermission)
}

func (r *readOnly) OpenFile(name string, flag int) (vfs.File, error) {
	if flag&(os.O_WRONLY|os.O_RDWR|os.O_CREATE|os.O_TRUNC|os.O_APPEND) != 0 {
		return nil, refuse("open for writing", name)
	}
	f, err := r.fs.OpenFile(name, flag)
	if err != nil {
		return nil, err
	}
	return &countedFile{file: f, fs: r, name: name}, nil
}

func (r *readOnly) Mkdir(name string) error        { return refuse("make directory", name) }
func (r *readOnly) Remove(name string) error       { return refuse("remove", name) }
func (r *readOnly) Rename(from, to string) error   { return refuse("rename", from) }
func (r *readOnly) SyncDir(name string) error      { return refuse("sync", name) }
func (r *readOnly) SyncFS(name string) error       { return refuse("sync", name) }
func (r *readOnly) Free(dir string) (int64, error) { return r.fs.Free(dir) }

func (r *readOnly) ReadDir(name string) ([]fs.FileInfo, error) { return r.fs.ReadDir(name) }
func (r *readOnly) Stat(name string) (fs.FileInfo, error)      { return r.fs.Stat(name) }

// Lock passes on: testing the lock changes nothing on the disk.
func (r *readOnly) Lock(dir string) (io.Closer, error) { return r.fs.Lock(dir) }

// count notes bytes that were read and tells who looks.
func (r *readOnly) count(n int) {
	done := r.done.Add(int64(n))
	if r.progress != nil {
		r.progress(done, max(r.total.Load(), done))
	}
}

// countedFile is a file open for reading.
type countedFile struct {
	file vfs.File
	fs   *readOnly
	name string
}

func (f *countedFile) ReadAt(p []byte, off int64) (int, error) {
	n, err := f.file.ReadAt(p, off)
	f.fs.count(n)
	return n, err
}

func (f *countedFile) WriteAt([]byte, int64) (int, error) { return 0, refuse("write", f.name) }
func (f *countedFile) Truncate(int64) error               { return refuse("truncate", f.name) }
func (f *countedFile) Sync() error                        { return refuse("sync", f.name) }
func (f *countedFile) Size() (int64, error)               { return f.file.Size() }
func (f *countedFile) Close() error                       { return f.file.Close() }
