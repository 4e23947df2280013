//go:build linux && (amd64 || arm64)

package main

import (
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// changes are the system calls by which chronik changes a disk, or makes a change durable, under the names of this architecture.
var changes = map[uint64]bool{
	unix.SYS_PWRITE64: true, unix.SYS_PWRITEV: true, unix.SYS_PWRITEV2: true, unix.SYS_FTRUNCATE: true, unix.SYS_FALLOCATE: true,
	unix.SYS_FSYNC: true, unix.SYS_FDATASYNC: true, unix.SYS_SYNC_FILE_RANGE: true, unix.SYS_SYNCFS: true, unix.SYS_COPY_FILE_RANGE: true,
	unix.SYS_MKDIRAT: true, unix.SYS_UNLINKAT: true, unix.SYS_RENAMEAT: true, unix.SYS_RENAMEAT2: true, unix.SYS_LINKAT: true, unix.SYS_FCHMODAT: true,
}

// entered is struct ptrace_syscall_info at the entry into a system call (linux/ptrace.h).
type entered struct {
	op        byte
	_         [7]byte // with the architecture
	_, _      uint64
	number    uint64
	arguments [6]uint64
}

// stopSyscall is how a stop at a system call shows (PTRACE_O_TRACESYSGOOD).
const stopSyscall = syscall.SIGTRAP | 0x80

// canTrace says whether calls can be counted here.
func canTrace(bin string) bool {
	_, _, err := killAtCall(0, bin, "version")
	return err == nil
}

// killAtCall runs a command and kills it with SIGKILL at the entry into its nth system call that changes something: that call is not made any more. It
// returns how many there were, and whether the process was killed; with n 0, or one above their number, it runs to its end, whose exit code must be 0.
func killAtCall(n int, name string, args ...string) (calls int, killed bool, err error) {
	runtime.LockOSThread() // all requests must come from the thread that started the process
	defer runtime.UnlockOSThread()
	cmd := exec.Command(name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true}
	if err := cmd.Start(); err != nil {
		return 0, false, err
	}
	pid := cmd.Process.Pid
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(pid, &status, 0, nil); err != nil {
		return 0, false, err
	}
	options := unix.PTRACE_O_EXITKILL | unix.PTRACE_O_TRACECLONE | unix.PTRACE_O_TRACESYSGOOD
	if err := errors.Join(unix.PtraceSetOptions(pid, options), unix.PtraceSyscall(pid, 0)); err != nil {
		return 0, false, errors.Join(err, cmd.Process.Kill())
	}
	for {
		thread, err := syscall.Wait4(-1, &status, unix.WALL, nil)
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			return calls, killed, err
		}
		if status.Exited() || status.Signaled() {
			if thread != pid {
				continue
			}
			if !killed && (status.Signaled() || status.ExitStatus() != 0) {
				err = fmt.Errorf("%s %v ended with status %#x", name, args, status)
			}
			return calls, killed, err
		}
		pass := 0
		switch sig := status.StopSignal(); {
		case sig == stopSyscall:
			if !killed && changesAt(thread) {
				if calls++; calls == n {
					killed = true
					if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
						return calls, killed, err
					}
				}
			}
		case sig != syscall.SIGTRAP && sig != syscall.SIGSTOP: // those of ptrace itself
			pass = int(sig)
		}
		if err := unix.PtraceSyscall(thread, pass); err != nil && err != syscall.ESRCH {
			return calls, killed, err
		}
	}
}

// changesAt says whether a stopped thread is about to make a call that changes something.
func changesAt(thread int) bool {
	var info entered
	_, _, errno := unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_GET_SYSCALL_INFO, uintptr(thread), unsafe.Sizeof(info), uintptr(unsafe.Pointer(&info)), 0, 0)
	if errno != 0 || info.op != unix.PTRACE_SYSCALL_INFO_ENTRY {
		return false
	}
	switch info.number {
	case unix.SYS_OPENAT:
		return info.arguments[2]&(unix.O_CREAT|unix.O_TRUNC) != 0
	case unix.SYS_IOCTL:
		return info.arguments[1] == unix.FICLONE
	}
	return changes[info.number]
}
