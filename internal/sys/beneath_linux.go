package sys

import (
	"errors"
	"os"
	"path"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// beneath are the rules under which untrusted paths are opened: no symbolic link is followed, in no component, and nothing
// leads above the directory. Mount points may be crossed.
const beneath = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS

// OpenBeneath opens unsafePath, a clean slash separated path relative to dir ("." for dir itself), without following any
// symbolic link: one found on the way is ELOOP, even when it was put there a moment ago. flags are those of open(2);
// O_CLOEXEC and O_NOFOLLOW are added. Where the kernel has no openat2, or a filter forbids it, the components are opened
// one by one. Errors are *os.PathError.
func OpenBeneath(dir *os.File, unsafePath string, flags int) (*os.File, error) {
	flags |= unix.O_CLOEXEC | unix.O_NOFOLLOW
	how := unix.OpenHow{Flags: uint64(flags), Resolve: beneath}
	for range 128 { // EAGAIN: something was renamed meanwhile, the kernel can't tell whether the path stayed beneath
		fd, err := unix.Openat2(int(dir.Fd()), unsafePath, &how)
		runtime.KeepAlive(dir)
		switch {
		case err == nil:
			return os.NewFile(uintptr(fd), path.Join(dir.Name(), unsafePath)), nil
		case err == unix.EINTR, err == unix.EAGAIN:
			continue
		case err == unix.ENOSYS, err == unix.EPERM, err == unix.E2BIG:
			return openByComponent(dir, unsafePath, flags)
		}
		return nil, &os.PathError{Op: "open", Path: unsafePath, Err: err}
	}
	return nil, &os.PathError{Op: "open", Path: unsafePath, Err: unix.EAGAIN}
}

// openByComponent does what openat2 would, with one openat for each component.
func openByComponent(dir *os.File, unsafePath string, flags int) (*os.File, error) {
	at, owned := int(dir.Fd()), false
	defer func() {
		if owned {
			unix.Close(at)
		}
		runtime.KeepAlive(dir)
	}()
	parts := strings.Split(unsafePath, "/")
	for i, part := range parts {
		if part == ".." || part == "" {
			return nil, &os.PathError{Op: "open", Path: unsafePath, Err: unix.EXDEV}
		}
		f := flags
		if i < len(parts)-1 {
			f = unix.O_PATH | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
		}
		fd, err := retry(func() (int, error) { return unix.Openat(at, part, f, 0) })
		if err != nil {
			if err == unix.ENOTDIR && isLink(at, part) {
				err = unix.ELOOP
			}
			return nil, &os.PathError{Op: "open", Path: unsafePath, Err: err}
		}
		if owned {
			unix.Close(at)
		}
		at, owned = fd, true
	}
	owned = false
	return os.NewFile(uintptr(at), path.Join(dir.Name(), unsafePath)), nil
}

func isLink(at int, name string) bool {
	var st unix.Stat_t
	return unix.Fstatat(at, name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil && st.Mode&unix.S_IFMT == unix.S_IFLNK
}

func retry(f func() (int, error)) (int, error) {
	for {
		n, err := f()
		if err != unix.EINTR {
			return n, err
		}
	}
}

// Stat is what a snapshot needs of a file's status. Times are nanoseconds since 1970.
type Stat struct {
	Dev, Ino     uint64
	Mode         uint32 // with the type bits of stat(2)
	Nlink        uint64
	Size         int64
	MTime, CTime int64
	Major, Minor uint32 // of a device
}

func newStat(st *unix.Stat_t) Stat {
	s := Stat{
		Dev: uint64(st.Dev), Ino: st.Ino, Mode: st.Mode, Nlink: uint64(st.Nlink), Size: st.Size,
		MTime: st.Mtim.Nano(), CTime: st.Ctim.Nano(),
	}
	if t := st.Mode & unix.S_IFMT; t == unix.S_IFCHR || t == unix.S_IFBLK {
		s.Major, s.Minor = unix.Major(uint64(st.Rdev)), unix.Minor(uint64(st.Rdev))
	}
	return s
}

// LstatAt reads the status of name, one component, in dir; of a symbolic link itself. Errors are *os.PathError.
func LstatAt(dir *os.File, name string) (Stat, error) {
	var st unix.Stat_t
	_, err := retry(func() (int, error) {
		return 0, unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW)
	})
	runtime.KeepAlive(dir)
	if err != nil {
		return Stat{}, &os.PathError{Op: "lstat", Path: path.Join(dir.Name(), name), Err: err}
	}
	return newStat(&st), nil
}

// FstatOf reads the status of an open file. Errors are *os.PathError.
func FstatOf(f *os.File) (Stat, error) {
	var st unix.Stat_t
	_, err := retry(func() (int, error) { return 0, unix.Fstat(int(f.Fd()), &st) })
	runtime.KeepAlive(f)
	if err != nil {
		return Stat{}, &os.PathError{Op: "fstat", Path: f.Name(), Err: err}
	}
	return newStat(&st), nil
}

// ReadlinkAt reads the target of the symbolic link name, one component, in dir. Errors are *os.PathError.
func ReadlinkAt(dir *os.File, name string) (string, error) {
	buf := make([]byte, 256)
	for {
		n, err := retry(func() (int, error) { return unix.Readlinkat(int(dir.Fd()), name, buf) })
		runtime.KeepAlive(dir)
		if err != nil {
			return "", &os.PathError{Op: "readlink", Path: path.Join(dir.Name(), name), Err: err}
		}
		if n < len(buf) {
			return string(buf[:n]), nil
		}
		buf = make([]byte, 2*len(buf))
	}
}

// FileXattr reads one extended attribute of an open file; nil when it has none of that name or the file system has none at
// all. Errors are *os.PathError.
func FileXattr(f *os.File, name string) ([]byte, error) {
	buf := make([]byte, 64)
	for {
		n, err := retry(func() (int, error) { return unix.Fgetxattr(int(f.Fd()), name, buf) })
		runtime.KeepAlive(f)
		switch {
		case err == nil:
			return buf[:n], nil
		case errors.Is(err, unix.ENODATA), errors.Is(err, unix.ENOTSUP), errors.Is(err, syscall.ENOSYS):
			return nil, nil
		case errors.Is(err, unix.ERANGE) && len(buf) < 1<<16:
			buf = make([]byte, 1<<16)
			continue
		}
		return nil, &os.PathError{Op: "getxattr " + name, Path: f.Name(), Err: err}
	}
}
