package vfs

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"syscall"
	"time"
)

// OS is the host's file system. Files are made with mode 0644 and directories with 0755, less the umask.
// On Linux Direct and DSync are O_DIRECT and O_DSYNC; elsewhere DSync syncs after each write and Direct answers ErrDirect.
var OS FS = osFS{}

type osFS struct{}

type osFile struct {
	f      *os.File
	direct bool
	dsync  bool // no O_DSYNC here: sync after each write
}

func (osFS) OpenFile(name string, flag int) (File, error) {
	flags, dsync, err := hostFlags(flag)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	f, err := os.OpenFile(name, flags, 0o644)
	if err != nil {
		if flag&Direct != 0 && errors.Is(err, syscall.EINVAL) {
			err = &fs.PathError{Op: "open", Path: name, Err: ErrDirect}
		}
		return nil, err
	}
	return &osFile{f: f, direct: flag&Direct != 0, dsync: dsync}, nil
}

func (osFS) Mkdir(name string) error              { return os.Mkdir(name, 0o755) }
func (osFS) Remove(name string) error             { return os.Remove(name) }
func (osFS) Rename(oldname, newname string) error { return os.Rename(oldname, newname) }
func (osFS) Stat(name string) (fs.FileInfo, error) {
	return os.Stat(name)
}

func (osFS) ReadDir(name string) ([]fs.FileInfo, error) {
	entries, err := os.ReadDir(name)
	if err != nil {
		return nil, err
	}
	infos := make([]fs.FileInfo, 0, len(entries))
	for _, e := range entries {
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed since the directory was read
		}
		if err != nil {
			return nil, err
		}
		infos = append(infos, info)
	}
	return infos, nil
}

func (osFS) SyncDir(name string) error { return syncDir(name) }
func (osFS) SyncFS(name string) error  { return syncFS(name) }

// Free implements FS.
func (osFS) Free(dir string) (int64, error) {
	n, err := free(dir)
	if err != nil {
		return 0, &fs.PathError{Op: "statfs", Path: dir, Err: err}
	}
	return n, nil
}

func (f *osFile) ReadAt(p []byte, off int64) (int, error) {
	n, err := f.f.ReadAt(p, off)
	if err != nil && errors.Is(err, syscall.EIO) {
		return reread(f.f.Name(), func() (int, error) { return f.f.ReadAt(p, off) })
	}
	return n, err
}

// rereadAfter are the pauses before a read that failed with EIO is tried again: a bus reset or a busy array passes.
var rereadAfter = []time.Duration{5 * time.Millisecond, 50 * time.Millisecond, 200 * time.Millisecond}

// reread tries a read that failed again, and says so. The last answer counts.
func reread(name string, read func() (int, error)) (n int, err error) {
	for _, pause := range rereadAfter {
		slog.Warn("the disk answered a read with an I/O error; it is tried again", "file", name, "pause", pause)
		time.Sleep(pause)
		if n, err = read(); err == nil || !errors.Is(err, syscall.EIO) {
			break
		}
	}
	return n, err
}

func (f *osFile) WriteAt(p []byte, off int64) (int, error) {
	n, err := f.f.WriteAt(p, off)
	if err != nil && f.direct && n == 0 && errors.Is(err, syscall.EINVAL) && aligned(p, off) {
		// Some file systems accept the flag and refuse the write.
		return 0, &fs.PathError{Op: "write", Path: f.f.Name(), Err: ErrDirect}
	}
	if err == nil && f.dsync {
		err = f.Sync()
	}
	return n, err
}

func (f *osFile) Close() error              { return f.f.Close() }
func (f *osFile) Truncate(size int64) error { return f.f.Truncate(size) }

func (f *osFile) Sync() error {
	if err := fdatasync(f.f); err != nil {
		return &fs.PathError{Op: "fdatasync", Path: f.f.Name(), Err: err}
	}
	return nil
}

func (f *osFile) Size() (int64, error) {
	info, err := f.f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}
