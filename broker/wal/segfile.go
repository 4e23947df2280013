package wal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"chronik.dev/chronik/broker/planted"
	"chronik.dev/chronik/broker/vfs"
)

const (
	segmentSuffix = ".wal"
	sparePrefix   = "spare-"
	reserveName   = "reserve"
	fillChunk     = 256 << 10
)

func segmentName(id uint64) string { return fmt.Sprintf("%020d%s", id, segmentSuffix) }
func spareName(generation uint64) string {
	return fmt.Sprintf("%s%016x%s", sparePrefix, generation, segmentSuffix)
}

// parseSegmentName returns the id in a segment file's name.
func parseSegmentName(name string) (id uint64, ok bool) {
	digits, ok := strings.CutSuffix(name, segmentSuffix)
	if !ok || len(digits) != 20 {
		return 0, false
	}
	id, err := strconv.ParseUint(digits, 10, 64)
	return id, err == nil && id > 0
}

func isSpareName(name string) bool {
	hex, ok := strings.CutPrefix(name, sparePrefix)
	if !ok {
		return false
	}
	hex, ok = strings.CutSuffix(hex, segmentSuffix)
	if !ok || len(hex) != 16 {
		return false
	}
	_, err := strconv.ParseUint(hex, 16, 64)
	return err == nil
}

// diskFile is a segment file open for writing in one of two ways: direct, where each write is durable when it returns and markers go
// through a second descriptor that does not sync, or buffered, where each group is followed by a sync.
type diskFile struct {
	name   string
	write  vfs.File
	marker vfs.File // the same as write if buffered
	direct bool
	marked bool // a marker may not be durable yet
}

// openFile opens name; direct falls back to buffered where the file system refuses it.
func openFile(fsys vfs.FS, name string, flag int, direct bool) (*diskFile, error) {
	if direct {
		durable := vfs.DSync
		if planted.Is(planted.SkipSync) {
			durable = 0
		}
		f, err := fsys.OpenFile(name, flag|os.O_RDWR|vfs.Direct|durable)
		if err == nil {
			m, err := fsys.OpenFile(name, os.O_RDWR|vfs.Direct)
			if err != nil {
				err = errors.Join(err, f.Close())
				if flag&os.O_EXCL != 0 {
					err = errors.Join(err, fsys.Remove(name))
				}
				return nil, err
			}
			return &diskFile{name: name, write: f, marker: m, direct: true}, nil
		}
		if !errors.Is(err, vfs.ErrDirect) {
			return nil, err
		}
		flag &^= os.O_EXCL // some file systems create the file before they refuse the flag
	}
	f, err := fsys.OpenFile(name, flag|os.O_RDWR)
	if err != nil {
		return nil, err
	}
	return &diskFile{name: name, write: f, marker: f}, nil
}

// put writes blocks and makes them durable.
func (d *diskFile) put(b []byte, block uint32) error {
	_, err := d.write.WriteAt(b, int64(block)*BlockSize)
	if errors.Is(err, vfs.ErrDirect) {
		return err
	}
	if err == nil && !d.direct && !planted.Is(planted.SkipSync) {
		err = d.write.Sync()
		d.marked = false
	}
	if planted.Is(planted.IgnoreSyncError) {
		return nil
	}
	return err
}

// mark writes a marker without waiting for the device.
func (d *diskFile) mark(b []byte, block uint32) error {
	d.marked = true
	_, err := d.marker.WriteAt(b, int64(block)*BlockSize)
	return err
}

// settle makes markers durable.
func (d *diskFile) settle() error {
	if !d.marked {
		return nil
	}
	d.marked = false
	return d.marker.Sync()
}

func (d *diskFile) close() error {
	err := d.write.Close()
	if d.marker != d.write {
		err = errors.Join(err, d.marker.Close())
	}
	return err
}

// truncate ends the file at a block and makes that durable.
func (d *diskFile) truncate(block uint32) error {
	if err := d.write.Truncate(int64(block) * BlockSize); err != nil {
		return err
	}
	return d.write.Sync()
}

// writeFill makes a prewritten file of blocks under a temporary name and renames it to its spare name, all durable.
func writeFill(fsys vfs.FS, dir string, kind Kind, generation uint64, blocks uint32, direct bool, stop func() bool) (name string, err error) {
	name = filepath.Join(dir, spareName(generation))
	temp := name + vfs.TempSuffix
	f, err := openFill(fsys, temp, direct)
	if err != nil {
		return "", err
	}
	err = fillFile(f, kind, generation, blocks, stop)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return "", errors.Join(err, fsys.Remove(temp))
	}
	if err = fsys.Rename(temp, name); err != nil {
		return "", err
	}
	return name, fsys.SyncDir(dir)
}

func openFill(fsys vfs.FS, name string, direct bool) (vfs.File, error) {
	if direct {
		f, err := fsys.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC|vfs.Direct)
		if !errors.Is(err, vfs.ErrDirect) {
			return f, err
		}
	}
	return fsys.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC)
}

func fillFile(f vfs.File, kind Kind, generation uint64, blocks uint32, stop func() bool) error {
	h := Head{Kind: FillGroup, Log: kind, Generation: generation, FirstLSN: 1, Note: Note{noteBlocks: uint64(blocks)}}
	var e encoder
	if _, err := f.WriteAt(e.plain(&h, nil, nil, 1), 0); err != nil {
		return err
	}
	buf := vfs.Aligned(fillChunk)
	for at := uint32(1); at < blocks; {
		if stop() {
			return ErrClosed
		}
		n := min(blocks-at, fillChunk/BlockSize)
		fill(buf[:n*BlockSize], generation, uint64(at))
		if _, err := f.WriteAt(buf[:n*BlockSize], int64(at)*BlockSize); err != nil {
			return err
		}
		at += n
	}
	return nil
}
