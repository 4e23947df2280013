package replay

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"chronik.dev/chronik/broker/vfs"
)

// copyChunk bounds the memory of a copy.
const copyChunk = 1 << 20

// copier makes new files with the content of others: sharing their blocks where the file system can, else by copying.
type copier struct {
	fs       vfs.FS
	progress func(int64)
	copied   Copied
	noClone  bool // tried, and it cannot
}

// Copied says what was copied.
type Copied struct {
	Files  int   `json:"files"`
	Bytes  int64 `json:"bytes"`
	Shared int   `json:"shared"` // files that share their blocks with the source (reflink)
}

// file copies the first limit bytes of a file, all of it if limit is negative. The new name must be free.
func (c *copier) file(from, to string, limit int64) error {
	err := c.clone(from, to, limit)
	if errors.Is(err, vfs.ErrNoClone) {
		err = c.bytes(from, to, limit)
	}
	if err != nil {
		return fmt.Errorf("copy %s: %w", from, err)
	}
	return nil
}

func (c *copier) clone(from, to string, limit int64) error {
	if c.noClone {
		return vfs.ErrNoClone
	}
	err := vfs.Clone(c.fs, from, to)
	if errors.Is(err, vfs.ErrNoClone) {
		c.noClone = true
	}
	if err != nil {
		return err
	}
	f, err := c.fs.OpenFile(to, os.O_RDWR)
	if err != nil {
		return err
	}
	defer f.Close()
	size, err := f.Size()
	if err == nil && limit >= 0 && limit < size {
		size, err = limit, f.Truncate(limit)
	}
	c.copied.Files++
	c.copied.Shared++
	c.copied.Bytes += size
	c.progress(size)
	return err
}

func (c *copier) bytes(from, to string, limit int64) (err error) {
	source, err := c.fs.OpenFile(from, os.O_RDONLY)
	if err != nil {
		return err
	}
	defer source.Close()
	size, err := source.Size()
	if err != nil {
		return err
	}
	if limit >= 0 {
		size = min(size, limit)
	}
	target, err := c.fs.OpenFile(to, os.O_RDWR|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, target.Close()) }()
	buf := make([]byte, min(size, copyChunk))
	for at := int64(0); at < size; at += copyChunk {
		b := buf[:min(copyChunk, size-at)]
		if n, err := source.ReadAt(b, at); n < len(b) {
			return errors.Join(err, io.ErrUnexpectedEOF)
		}
		if _, err := target.WriteAt(b, at); err != nil {
			return err
		}
		c.progress(int64(len(b)))
	}
	c.copied.Files++
	c.copied.Bytes += size
	return nil
}

// room fails if fewer bytes are free in dir than are needed.
func (c *copier) room(dir string, need int64) error {
	free, err := c.fs.Free(dir)
	if err != nil {
		return err
	}
	if free < need {
		return fmt.Errorf("%s: %d bytes are needed and %d are free: %w; choose another file system", dir, need, free, syscall.ENOSPC)
	}
	return nil
}
