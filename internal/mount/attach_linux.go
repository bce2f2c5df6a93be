package mount

import (
	"github.com/cairnbuild/cairn/internal/sys"
	"golang.org/x/sys/unix"
)

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
