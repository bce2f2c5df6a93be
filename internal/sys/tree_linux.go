package sys

import (
	"bytes"
	"os"

	"golang.org/x/sys/unix"
)

// The functions below act on name, one component, in dir, and on a symbolic link itself where it is one. Errors are
// *os.PathError.

func at(op, name string, f func() error) error {
	for {
		switch err := f(); err {
		case nil:
			return nil
		case unix.EINTR:
		default:
			return &os.PathError{Op: op, Path: name, Err: err}
		}
	}
}

// MkdirAt makes a directory.
func MkdirAt(dir FD, name string, mode uint32) error {
	return at("mkdir", name, func() error { return unix.Mkdirat(int(dir), name, mode) })
}

// SymlinkAt makes a symbolic link to target.
func SymlinkAt(target string, dir FD, name string) error {
	return at("symlink", name, func() error { return unix.Symlinkat(target, int(dir), name) })
}

// LinkAt gives the file oldName in oldDir, which may be a symbolic link, a further name.
func LinkAt(oldDir FD, oldName string, dir FD, name string) error {
	return at("link", name, func() error { return unix.Linkat(int(oldDir), oldName, int(dir), name, 0) })
}

// MknodAt makes a device or FIFO; mode has the type bits of stat(2).
func MknodAt(dir FD, name string, mode, major, minor uint32) error {
	dev := unix.Mkdev(major, minor)
	return at("mknod", name, func() error { return unix.Mknodat(int(dir), name, mode, int(dev)) })
}

// UnlinkAt removes a file that is no directory.
func UnlinkAt(dir FD, name string) error {
	return at("unlink", name, func() error { return unix.Unlinkat(int(dir), name, 0) })
}

// ChownAt sets the owner.
func ChownAt(dir FD, name string, uid, gid int) error {
	return at("chown", name, func() error { return unix.Fchownat(int(dir), name, uid, gid, unix.AT_SYMLINK_NOFOLLOW) })
}

// ChmodAt sets the permission bits. name must not be a symbolic link: it would be followed.
func ChmodAt(dir FD, name string, mode uint32) error {
	return at("chmod", name, func() error { return unix.Fchmodat(int(dir), name, mode, 0) })
}

// SetTimesAt sets access and modification time to sec seconds since 1970.
func SetTimesAt(dir FD, name string, sec int64) error {
	ts := []unix.Timespec{{Sec: sec}, {Sec: sec}}
	return at("set times", name, func() error { return unix.UtimesNanoAt(int(dir), name, ts, unix.AT_SYMLINK_NOFOLLOW) })
}

// SetTimes sets access and modification time of an open file to sec seconds since 1970.
func SetTimes(f FD, name string, sec int64) error {
	ts := [2]unix.Timespec{{Sec: sec}, {Sec: sec}}
	return at("set times", name, func() error { return futimens(int(f), &ts) })
}

// StatAt reads the whole status.
func StatAt(dir FD, name string) (st unix.Stat_t, err error) {
	err = at("lstat", name, func() error { return unix.Fstatat(int(dir), name, &st, unix.AT_SYMLINK_NOFOLLOW) })
	return st, err
}

// The extended attributes of what may not be opened are reached through /proc, which needs neither a right to read the file
// nor a path that fits in PATH_MAX.
func through(dir FD, name string) string { return dir.Path() + "/" + name }

// SetXattrAt sets an extended attribute.
func SetXattrAt(dir FD, name, attr string, value []byte) error {
	return at("set xattr "+attr, name, func() error { return unix.Lsetxattr(through(dir, name), attr, value, 0) })
}

// RemoveXattrAt removes an extended attribute.
func RemoveXattrAt(dir FD, name, attr string) error {
	return at("remove xattr "+attr, name, func() error { return unix.Lremovexattr(through(dir, name), attr) })
}

// XattrsAt reads all extended attributes; nil where there are none or the file system has none at all.
func XattrsAt(dir FD, name string) (map[string]string, error) {
	path := through(dir, name)
	list, err := readAll(256, func(buf []byte) (int, error) { return unix.Llistxattr(path, buf) })
	switch {
	case err == unix.ENOTSUP || err == nil && len(list) == 0:
		return nil, nil
	case err != nil:
		return nil, &os.PathError{Op: "list xattrs", Path: name, Err: err}
	}
	xattrs := make(map[string]string)
	for attr := range bytes.SplitSeq(bytes.TrimSuffix(list, []byte{0}), []byte{0}) {
		value, err := readAll(256, func(buf []byte) (int, error) { return unix.Lgetxattr(path, string(attr), buf) })
		switch err {
		case nil:
			xattrs[string(attr)] = string(value)
		case unix.ENODATA, unix.EPERM, unix.EACCES, unix.EOPNOTSUPP: // listed but not for us, as some security modules do
		default:
			return nil, &os.PathError{Op: "read xattr " + string(attr), Path: name, Err: err}
		}
	}
	return xattrs, nil
}

// readAll calls f with growing buffers until what it reads fits.
func readAll(size int, f func([]byte) (int, error)) ([]byte, error) {
	for {
		buf := make([]byte, size)
		n, err := f(buf)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.ERANGE && size < 1<<20:
			size = 1 << 20
			continue
		case err != nil:
			return nil, err
		}
		return buf[:n], nil
	}
}
