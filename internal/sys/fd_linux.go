package sys

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// FD is a file descriptor that its holder must close. It is a number, not an *os.File, for the code that runs between fork
// and exec of a step: no finalizer closes it and the poller never sees it.
type FD int

// NoFD is the FD of nothing.
const NoFD FD = -1

// Close closes fd; NoFD is allowed.
func (fd FD) Close() {
	if fd >= 0 {
		_ = unix.Close(int(fd)) // the descriptor is gone in any case, and none of ours has data to lose
	}
}

// Path is a path under /proc that leads to the very object fd is open on.
func (fd FD) Path() string { return "/proc/self/fd/" + strconv.Itoa(int(fd)) }

// Open opens a path that we choose ourselves; flags are those of open(2), O_CLOEXEC is added. Errors are *os.PathError.
func Open(path string, flags int) (FD, error) {
	return OpenAt(unix.AT_FDCWD, path, flags, 0)
}

// OpenAt opens a path relative to dir that we choose ourselves; mode matters for O_CREAT. Errors are *os.PathError.
func OpenAt(dir FD, path string, flags int, mode uint32) (FD, error) {
	fd, err := retry(func() (int, error) { return unix.Openat(int(dir), path, flags|unix.O_CLOEXEC, mode) })
	if err != nil {
		return NoFD, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return FD(fd), nil
}

// OpenInRoot opens unsafePath as a process whose root directory is root would: symbolic links are followed and stay inside,
// `..` stops at the root, links of /proc to open files are refused. flags are those of open(2); O_CLOEXEC is added. With
// O_NOFOLLOW and O_PATH a link in the last component is opened itself. Errors are *os.PathError.
func OpenInRoot(root FD, unsafePath string, flags int) (FD, error) {
	return openat2(root, unsafePath, flags, unix.RESOLVE_IN_ROOT|unix.RESOLVE_NO_MAGICLINKS)
}

// OpenNoLinks opens unsafePath below dir without following any symbolic link, in no component: one found is ELOOP.
// Errors are *os.PathError.
func OpenNoLinks(dir FD, unsafePath string, flags int) (FD, error) {
	return openat2(dir, unsafePath, flags, beneath)
}

func openat2(dir FD, path string, flags int, resolve uint64) (FD, error) {
	how := unix.OpenHow{Flags: uint64(flags | unix.O_CLOEXEC), Resolve: resolve}
	for range 128 { // EAGAIN: a rename elsewhere kept the kernel from proving that `..` stayed inside
		fd, err := unix.Openat2(int(dir), path, &how)
		switch err {
		case nil:
			return FD(fd), nil
		case unix.EINTR, unix.EAGAIN:
			continue
		}
		return NoFD, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return NoFD, &os.PathError{Op: "open", Path: path, Err: unix.EAGAIN}
}
