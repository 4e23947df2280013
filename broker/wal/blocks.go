package wal

import (
	"errors"
	"io"

	"chronik.dev/chronik/broker/vfs"
)

const (
	readWindow   = 1 << 20
	headerWindow = 4 * BlockSize // of who reads a segment's header only
)

// blockReader reads a file in order with one buffer. Unreadable blocks read as zeros and are remembered.
type blockReader struct {
	f        vfs.File
	size     int64
	buf      []byte
	off      int64 // of buf in the file
	window   int64 // bytes read at a time; 0: readWindow
	failed   map[uint32]error
	progress func(int64)
}

// blocks is the number of blocks that the file has at least a byte of.
func (r *blockReader) blocks() uint32 { return uint32((r.size + BlockSize - 1) / BlockSize) }

// view returns n blocks from block b on, less what is past the end of the file. It is valid until the next call.
func (r *blockReader) view(b, n uint32) []byte {
	from := int64(b) * BlockSize
	to := min(from+int64(n)*BlockSize, r.size)
	if from >= to {
		return nil
	}
	if from < r.off || to > r.off+int64(len(r.buf)) {
		r.load(from, to)
	}
	return r.buf[from-r.off : to-r.off]
}

// load makes the buffer hold [from, to), and what follows if there is room.
func (r *blockReader) load(from, to int64) {
	window := r.window
	if window == 0 {
		window = readWindow
	}
	want := int(min(max(to-from, window), r.size-from))
	kept := 0
	if end := r.off + int64(len(r.buf)); from >= r.off && from < end {
		kept = int(end - from)
	}
	if cap(r.buf) < want {
		next := make([]byte, want)
		copy(next, r.buf[len(r.buf)-kept:])
		r.buf = next
	} else {
		copy(r.buf[:kept], r.buf[len(r.buf)-kept:])
		r.buf = r.buf[:want]
	}
	r.off = from
	r.read(r.buf[kept:], from+int64(kept))
	if r.progress != nil {
		r.progress(int64(want - kept))
	}
}

// read fills b; after an error it tries block by block.
func (r *blockReader) read(b []byte, off int64) {
	n, err := r.f.ReadAt(b, off)
	if n == len(b) && (err == nil || errors.Is(err, io.EOF)) {
		return
	}
	if errors.Is(err, io.EOF) {
		clear(b[n:]) // the file has shrunk meanwhile
		return
	}
	for len(b) > 0 {
		step := min(len(b), BlockSize-int(off%BlockSize))
		if m, err := r.f.ReadAt(b[:step], off); m < step {
			clear(b[m:step])
			if r.failed == nil {
				r.failed = map[uint32]error{}
			}
			r.failed[uint32(off/BlockSize)] = err
		}
		b, off = b[step:], off+int64(step)
	}
}

// unreadable says why a block could not be read, nil if it could.
func (r *blockReader) unreadable(block uint32) error {
	if r.failed == nil {
		return nil
	}
	return r.failed[block]
}
