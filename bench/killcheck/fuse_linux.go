package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// fuseFS passes everything through to a directory and fails on demand. Nothing is cached by the kernel, so that every call of the node comes here.
type fuseFS struct {
	server *fuse.Server
	direct string // what is done about O_DIRECT

	mu    sync.Mutex
	rng   *rand.Rand
	fault string
	where string // part of a path; empty: everywhere
	hits  atomic.Int64
	syncs atomic.Int64 // fsync calls seen
}

// mountFuse serves back at mount.
func mountFuse(back, mount, direct string) (*fuseFS, error) {
	f := &fuseFS{direct: direct}
	var st syscall.Stat_t
	if err := syscall.Stat(back, &st); err != nil {
		return nil, err
	}
	root := &fs.LoopbackRoot{Path: back, Dev: uint64(st.Dev)}
	//lint:ignore SA1019 WrapChild would do the same, with a wrapper around every node
	root.NewNode = func(r *fs.LoopbackRoot, _ *fs.Inode, _ string, _ *syscall.Stat_t) fs.InodeEmbedder {
		return &fuseNode{LoopbackNode: fs.LoopbackNode{RootData: r}, fs: f}
	}
	top := &fuseNode{LoopbackNode: fs.LoopbackNode{RootData: root}, fs: f}
	root.RootNode = top
	var err error
	f.server, err = fs.Mount(mount, top, &fs.Options{MountOptions: fuse.MountOptions{
		FsName: "killcheck", DirectMountStrict: true, AllowOther: false, MaxWrite: 1 << 18, DisableReadDirPlus: true,
	}})
	return f, err
}

// set begins or, with an empty fault, ends a fault; it returns how many calls the one before hit.
func (f *fuseFS) set(fault, where string, seed uint64) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault, f.where, f.rng = fault, where, rand.New(rand.NewPCG(seed, 3))
	return int(f.hits.Swap(0))
}

// now says which fault a call on a path is to have, and draws a number for it.
func (f *fuseFS) now(path string) (fault string, draw uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fault == "" || f.where != "" && !strings.Contains(path, f.where) {
		return "", 0
	}
	return f.fault, f.rng.Uint64()
}

// fails is the error that a call is answered with: writing, syncing or reading.
func (f *fuseFS) fails(path string, writes, syncs, reads bool) syscall.Errno {
	fault, draw := f.now(path)
	errno := syscall.Errno(0)
	switch {
	case fault == faultWrite && writes, fault == faultSync && syncs, fault == faultRead && reads, fault == faultReadBoot && reads && draw%20 == 0:
		errno = syscall.EIO
	case fault == faultNoSpace && writes:
		errno = syscall.ENOSPC
	case fault == faultSlow && syncs:
		f.hits.Add(1)
		time.Sleep(50*time.Millisecond + time.Duration(draw%uint64(1950*time.Millisecond)))
		return 0
	}
	if errno != 0 {
		f.hits.Add(1)
	}
	return errno
}

// fuseNode is a file or directory.
type fuseNode struct {
	fs.LoopbackNode
	fs *fuseFS
}

func (n *fuseNode) path() string { return "/" + n.Path(n.Root()) }

// backing are the flags of the file below: direct I/O is the node's business with this file system, not with the one below.
func (f *fuseFS) backing(flags uint32) (uint32, syscall.Errno) {
	if flags&unix.O_DIRECT != 0 && f.direct == refuseDirect {
		return 0, syscall.EINVAL
	}
	return flags &^ unix.O_DIRECT, 0
}

// Create implements fs.NodeCreater.
func (n *fuseNode) Create(ctx context.Context, name string, flags, mode uint32, out *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	path := filepath.Join(n.path(), name)
	if errno := n.fs.fails(path, true, false, false); errno != 0 {
		return nil, nil, 0, errno
	}
	below, errno := n.fs.backing(flags)
	if errno != 0 {
		return nil, nil, 0, errno
	}
	inode, h, _, errno := n.LoopbackNode.Create(ctx, name, below, mode, out)
	if errno != 0 {
		return nil, nil, 0, errno
	}
	return inode, n.fs.handle(h, path, flags), fuse.FOPEN_DIRECT_IO, 0
}

// Open implements fs.NodeOpener.
func (n *fuseNode) Open(ctx context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	below, errno := n.fs.backing(flags)
	if errno != 0 {
		return nil, 0, errno
	}
	h, _, errno := n.LoopbackNode.Open(ctx, below)
	if errno != 0 {
		return nil, 0, errno
	}
	return n.fs.handle(h, n.path(), flags), fuse.FOPEN_DIRECT_IO, 0
}

// Mkdir implements fs.NodeMkdirer.
func (n *fuseNode) Mkdir(ctx context.Context, name string, mode uint32, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	if errno := n.fs.fails(filepath.Join(n.path(), name)+"/", true, false, false); errno != 0 {
		return nil, errno
	}
	return n.LoopbackNode.Mkdir(ctx, name, mode, out)
}

// fuseFile is an open file.
type fuseFile struct {
	*fs.LoopbackFile
	fs            *fuseFS
	path          string
	direct, dsync bool
}

func (f *fuseFS) handle(h fs.FileHandle, path string, flags uint32) fs.FileHandle {
	return &fuseFile{LoopbackFile: h.(*fs.LoopbackFile), fs: f, path: path, direct: flags&unix.O_DIRECT != 0, dsync: flags&unix.O_DSYNC != 0}
}

// Read implements fs.FileReader.
func (f *fuseFile) Read(ctx context.Context, buf []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	if errno := f.fs.fails(f.path, false, false, true); errno != 0 {
		return nil, errno
	}
	return f.LoopbackFile.Read(ctx, buf, off)
}

// Write implements fs.FileWriter. A file open with O_DSYNC syncs with each write.
func (f *fuseFile) Write(ctx context.Context, data []byte, off int64) (uint32, syscall.Errno) {
	if f.direct && f.fs.direct == refuseAtWrite {
		return 0, syscall.EINVAL
	}
	if errno := f.fs.fails(f.path, true, f.dsync, false); errno != 0 {
		if len(data) > 4096 && f.dsync { // what a failing device does: a part of it is there
			_, _ = f.LoopbackFile.Write(ctx, data[:len(data)/2], off)
		}
		return 0, errno
	}
	if fault, draw := f.fs.now(f.path); fault == faultShort && len(data) > 1 && draw%4 == 0 {
		f.fs.hits.Add(1)
		return f.LoopbackFile.Write(ctx, data[:1+int(draw>>8)%(len(data)-1)], off)
	}
	return f.LoopbackFile.Write(ctx, data, off)
}

// Fsync implements fs.FileFsyncer.
func (f *fuseFile) Fsync(ctx context.Context, flags uint32) syscall.Errno {
	f.fs.syncs.Add(1)
	if errno := f.fs.fails(f.path, false, true, false); errno != 0 {
		return errno
	}
	return f.LoopbackFile.Fsync(ctx, flags)
}

// Allocate implements fs.FileAllocater.
func (f *fuseFile) Allocate(ctx context.Context, off, size uint64, mode uint32) syscall.Errno {
	if errno := f.fs.fails(f.path, true, false, false); errno != 0 {
		return errno
	}
	return f.LoopbackFile.Allocate(ctx, off, size, mode)
}

// newFuse makes a directory and serves it through FUSE, below dir.
func newFuse(dir, direct string) (failing, string, error) {
	back, mount := filepath.Join(dir, "back"), filepath.Join(dir, "disk")
	if err := errors.Join(os.Mkdir(back, 0o755), os.Mkdir(mount, 0o755)); err != nil {
		return nil, "", err
	}
	f, err := mountFuse(back, mount, direct)
	return f, mount, err
}

// fail implements failing.
func (f *fuseFS) fail(fault, where string, seed uint64) error {
	f.set(fault, where, seed)
	return nil
}

// heal implements failing.
func (f *fuseFS) heal() (int, error) { return f.set("", "", 0), nil }

// detach implements failing; a process that just ended may still be letting go of its files.
func (f *fuseFS) detach() error {
	for try := 0; ; try++ {
		if err := f.server.Unmount(); err == nil || try == 50 {
			return err
		}
		time.Sleep(100 * time.Millisecond)
	}
}
