package walinspect

import (
	"sync/atomic"

	"chronik.dev/chronik/broker/vfs"
)

// readOnly is a file system that refuses every change and counts what is read.
type readOnly struct {
	vfs.FS
	progress func(done, total int64)
	done     atomic.Int64
	total    atomic.Int64
}

func newReadOnly(under vfs.FS, progress func(done, total int64)) *readOnly {
	r := &readOnly{progress: progress}
	r.FS = vfs.ReadOnly(under, r.count)
	return r
}

// count notes bytes that were read and tells who looks.
func (r *readOnly) count(n int) {
	done := r.done.Add(int64(n))
	if r.progress != nil {
		r.progress(done, max(r.total.Load(), done))
	}
}
