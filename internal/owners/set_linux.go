package owners

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// SetOwner gives a file that this program made itself, a regular file or a directory, its owner in the image. Errors are
// *os.PathError.
func (m Mode) SetOwner(path string, uid, gid int) error {
	if m == Chown {
		return os.Lchown(path, uid, gid)
	}
	o := Owner{UID: uid, GID: gid}
	var err error
	if o.IsZero() {
		err = unix.Lremovexattr(path, Xattr)
	} else {
		err = unix.Lsetxattr(path, Xattr, o.Encode(), 0)
	}
	if err == nil || o.IsZero() && errors.Is(err, unix.ENODATA) {
		return nil
	}
	return &os.PathError{Op: "record owner", Path: path, Err: err}
}
