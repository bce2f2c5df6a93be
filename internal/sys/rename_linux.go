package sys

import (
	"os"

	"golang.org/x/sys/unix"
)

// Exchange swaps two paths of one file system in one step. Not every file system can: then the error, an *os.LinkError, is
// unix.EINVAL or unix.ENOSYS.
func Exchange(a, b string) error {
	_, err := retry(func() (int, error) {
		return 0, unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE)
	})
	if err != nil {
		return &os.LinkError{Op: "exchange", Old: a, New: b, Err: err}
	}
	return nil
}
