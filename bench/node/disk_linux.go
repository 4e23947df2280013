package node

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Disk is a file system in a file, whose power can be cut: a real file system's own journal and write-back decide what is left.
type Disk struct {
	Mount       string // where it is, between Attach and Detach
	kind, image string
	mounted     bool
}

// imageSize is enough for the settings of node.SmallFiles and retention that never comes, bytes.
const imageSize = 8 << 30

// NewDisk makes the image and mounts it; the process must be root.
func NewDisk(kind, dir string) (*Disk, error) {
	d := &Disk{kind: kind, image: filepath.Join(dir, "disk.img"), Mount: filepath.Join(dir, "disk")}
	f, err := os.Create(d.image)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(f.Truncate(imageSize), f.Close(), os.Mkdir(d.Mount, 0o755)); err != nil {
		return nil, err
	}
	if err := command("mkfs."+kind, "-q", d.image); err != nil {
		return nil, err
	}
	return d, d.Attach()
}

// Attach mounts it.
func (d *Disk) Attach() error {
	err := command("mount", "-t", d.kind, "-o", "loop", d.image, d.Mount)
	d.mounted = err == nil
	return err
}

// Detach unmounts; a process that was just killed may still be letting go of its files.
func (d *Disk) Detach() error {
	if !d.mounted {
		return nil
	}
	for try := 0; ; try++ {
		err := command("umount", d.Mount)
		if err == nil || try == 50 {
			d.mounted = err != nil
			return err
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// Of linux/fs.h and the file systems' own headers: EXT4_IOC_SHUTDOWN and XFS_IOC_GOINGDOWN are this one number.
const (
	ioctlShutdown      = 0x8004587d // _IOR('X', 125, __u32)
	shutdownNoLogFlush = 2          // neither data nor the file system's journal in memory reaches the disk any more
)

// Cut ends the file system as a loss of power does: from here on nothing reaches the image.
func (d *Disk) Cut() error {
	f, err := os.Open(d.Mount)
	if err != nil {
		return err
	}
	flags := uint32(shutdownNoLogFlush)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), ioctlShutdown, uintptr(unsafe.Pointer(&flags)))
	if errno != 0 {
		err = fmt.Errorf("shut down %s: %w", d.Mount, errno)
	}
	return errors.Join(err, f.Close())
}

func command(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %v: %w: %s", name, args, err, out)
	}
	return nil
}
