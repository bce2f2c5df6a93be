package sys

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// OpenUnnamed makes a file in dir's file system that has no name, for reading and writing; see O_TMPFILE in open(2). The error
// is errors.ErrUnsupported where LinkOpen could not give it one. Other errors are *os.PathError.
func OpenUnnamed(dir string, perm fs.FileMode) (*os.File, error) {
	fd, err := retry(func() (int, error) {
		return unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, uint32(perm.Perm()))
	})
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	f := os.NewFile(uintptr(fd), filepath.Join(dir, "(unnamed)"))
	if _, err := os.Lstat(FD(fd).Path()); err != nil {
		return nil, errors.Join(errors.ErrUnsupported, f.Close())
	}
	return f, nil
}

// LinkOpen gives an open file a name, or one more. Errors are *os.LinkError; fs.ErrExist when the name is taken.
func LinkOpen(f *os.File, path string) error {
	err := withFD(f, "link", func(fd int) error {
		return unix.Linkat(unix.AT_FDCWD, FD(fd).Path(), unix.AT_FDCWD, path, unix.AT_SYMLINK_FOLLOW)
	})
	if err != nil {
		return &os.LinkError{Op: "link", Old: f.Name(), New: path, Err: errors.Unwrap(err)}
	}
	return nil
}
