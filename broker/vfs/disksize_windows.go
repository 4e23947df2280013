package vfs

import "golang.org/x/sys/windows"

// DiskSize returns the bytes of the file system that holds a directory of the host, used or not.
func DiskSize(dir string) (int64, error) {
	name, err := windows.UTF16PtrFromString(dir)
	if err != nil {
		return 0, err
	}
	var avail, total, totalFree uint64
	if err := windows.GetDiskFreeSpaceEx(name, &avail, &total, &totalFree); err != nil {
		return 0, err
	}
	return int64(total), nil
}
