package mount

import (
	"os"

	"github.com/cairnbuild/cairn/internal/sys"
	"golang.org/x/sys/unix"
)

// Detach takes off what is mounted on at, at once; what is open in it stays until it is closed. Errors are *os.PathError.
func Detach(at string) error {
	if err := unix.Unmount(at, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
		return &os.PathError{Op: "umount", Path: at, Err: err}
	}
	return nil
}

// Attach mounts m on the directory or file at, in the caller's mount namespace. Target is not looked at. The mount ends with the
// namespace. Errors are *os.PathError.
func (m Mount) Attach(at string) error {
	fd, err := m.Open()
	if err != nil {
		return err
	}
	defer fd.Close()
	target, err := sys.Open(at, unix.O_PATH|unix.O_NOFOLLOW)
	if err != nil {
		return err
	}
	defer target.Close()
	return sys.MoveMount(fd, target)
}
