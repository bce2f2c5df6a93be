package sys

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// LoadListener installs a seccomp filter on the calling thread as LoadFilter does, and returns the descriptor on which a
// supervisor answers for the calls that the filter stops at. A thread whose filters have a listener already gets EBUSY.
// Errors are *os.PathError.
func LoadListener(program []unix.SockFilter) (FD, error) {
	prog := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	load := func(flags uintptr) (FD, unix.Errno) {
		flags |= unix.SECCOMP_FILTER_FLAG_NEW_LISTENER
		fd, _, e := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&prog)))
		return FD(fd), e
	}
	// A signal that interrupts a call under way would have it made twice.
	fd, e := load(unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV)
	if e == unix.EINVAL { // before Linux 5.19
		fd, e = load(0)
	}
	if e != 0 {
		return NoFD, &os.PathError{Op: "seccomp listener", Path: "self", Err: e}
	}
	return fd, nil
}
