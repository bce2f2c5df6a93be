package mount

import (
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/cairnbuild/cairn/internal/sys"
)

// Inside joins root, a directory that nobody changes meanwhile, and rel, a clean relative path below it ("." for root itself), for a
// Bind's Source. rel must lead there without any symbolic link: whoever wrote the files could otherwise have the kernel show what lies
// outside, whatever they were taken for when rel was resolved. Errors are *os.PathError; a link is ELOOP.
func Inside(root, rel string) (string, error) {
	dir, err := os.OpenFile(root, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return "", err
	}
	defer dir.Close()
	f, err := sys.OpenBeneath(dir, rel, unix.O_PATH)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if st, err := sys.FstatOf(f); err != nil || st.Mode&unix.S_IFMT == unix.S_IFLNK {
		return "", &os.PathError{Op: "open", Path: rel, Err: unix.ELOOP}
	}
	return filepath.Join(root, rel), nil
}
