package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"unsafe"
)

// Block is the alignment in bytes that Direct asks of offset, length and memory.
const Block = 4096

// TempSuffix ends the names of files that WriteFile has not yet renamed. After a crash one may be left behind; it is no finding.
const TempSuffix = ".tmp"

// ErrTooLarge says that a file is larger than its reader's limit.
var ErrTooLarge = errors.New("file is larger than its limit")

// Aligned returns n zero bytes whose address is a multiple of Block, as Direct needs.
func Aligned(n int) []byte {
	b := make([]byte, n+Block)
	skip := 0
	if rest := int(uintptr(unsafe.Pointer(unsafe.SliceData(b))) % Block); rest != 0 {
		skip = Block - rest
	}
	return b[skip : skip+n : skip+n]
}

// aligned says whether Direct may move p at off.
func aligned(p []byte, off int64) bool {
	return off%Block == 0 && len(p)%Block == 0 && uintptr(unsafe.Pointer(unsafe.SliceData(p)))%Block == 0
}

// ReadFile returns a whole file of at most limit bytes; a larger one is refused with ErrTooLarge before anything is allocated for it.
func ReadFile(fsys FS, name string, limit int64) ([]byte, error) {
	f, err := fsys.OpenFile(name, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	if size > limit {
		return nil, fmt.Errorf("read %s: %d bytes, limit %d: %w", name, size, limit, ErrTooLarge)
	}
	b := make([]byte, size)
	n, err := f.ReadAt(b, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return b[:n], nil
}

// WriteFile replaces a file's content in one step: it writes name+TempSuffix, syncs it, renames it and syncs the directory.
// After a crash the file holds either the old content or the new.
func WriteFile(fsys FS, name string, data []byte) error {
	temp := name + TempSuffix
	f, err := fsys.OpenFile(temp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(data, 0)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := fsys.Rename(temp, name); err != nil {
		return err
	}
	return fsys.SyncDir(filepath.Dir(name))
}

// MkdirAll makes a directory and its missing parents, each synced into its own parent. So is one that is there: a process may have been killed
// between the two. Where the parent belongs to somebody else it is left alone.
func MkdirAll(fsys FS, name string) error {
	if info, err := fsys.Stat(name); err == nil {
		if !info.IsDir() {
			return fmt.Errorf("make directory %s: a file has that name", name)
		}
		err := fsys.SyncDir(filepath.Dir(name))
		if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) || errors.Is(err, syscall.EINVAL) {
			return nil
		}
		return err
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	parent := filepath.Dir(name)
	if parent != name {
		if err := MkdirAll(fsys, parent); err != nil {
			return err
		}
	}
	if err := fsys.Mkdir(name); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return fsys.SyncDir(parent)
}

// RemoveAll removes a file, or a directory with all that is in it; nothing there is no error. It does not sync.
func RemoveAll(fsys FS, name string) error {
	info, err := fsys.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.IsDir() {
		entries, err := fsys.ReadDir(name)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if err := RemoveAll(fsys, filepath.Join(name, e.Name())); err != nil {
				return err
			}
		}
	}
	return fsys.Remove(name)
}

// Exists says whether a file or directory has this name.
func Exists(fsys FS, name string) (bool, error) {
	_, err := fsys.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
