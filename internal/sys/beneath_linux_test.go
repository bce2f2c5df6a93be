package sys

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
	"gotest.tools/v3/assert"
)

func TestOpenBeneathLeavesByNoDoor(t *testing.T) {
	dir := t.TempDir()
	assert.NilError(t, os.MkdirAll(filepath.Join(dir, "in/d"), 0o755))
	assert.NilError(t, os.WriteFile(filepath.Join(dir, "in/d/f"), []byte("x"), 0o644))
	assert.NilError(t, os.WriteFile(filepath.Join(dir, "secret"), []byte("x"), 0o644))
	for name, target := range map[string]string{"up": "..", "abs": dir, "l": "d", "d/lf": "f", "d/out": "../../secret", "magic": "/proc/self/cwd"} {
		assert.NilError(t, os.Symlink(target, filepath.Join(dir, "in", name)))
	}
	root, err := os.Open(filepath.Join(dir, "in"))
	assert.NilError(t, err)
	defer root.Close()
	// Both ways of doing it have the same doors.
	for way, open := range map[string]func(string, int) (*os.File, error){
		"openat2": func(p string, flags int) (*os.File, error) { return OpenBeneath(root, p, flags) },
		"by component": func(p string, flags int) (*os.File, error) {
			return openByComponent(root, p, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC)
		},
	} {
		t.Run(way, func(t *testing.T) {
			for _, p := range []string{".", "d", "d/f"} {
				f, err := open(p, unix.O_RDONLY)
				assert.NilError(t, err, p)
				flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFD, 0)
				assert.NilError(t, err)
				assert.Assert(t, flags&unix.FD_CLOEXEC != 0)
				assert.NilError(t, f.Close())
			}
			for p, want := range map[string]error{
				"l/f": syscall.ELOOP, "d/lf": syscall.ELOOP, "d/out": syscall.ELOOP, "up/secret": syscall.ELOOP, "abs/secret": syscall.ELOOP,
				"magic/x": syscall.ELOOP, "../secret": syscall.EXDEV, "/etc/passwd": syscall.EXDEV, "nope": fs.ErrNotExist, "d/f/x": syscall.ENOTDIR,
			} {
				_, err := open(p, unix.O_RDONLY)
				assert.Assert(t, errors.Is(err, want), "%s: %v", p, err)
				var pe *os.PathError
				assert.Assert(t, errors.As(err, &pe))
			}
		})
	}
}

func TestStatAndReadlink(t *testing.T) {
	dir := t.TempDir()
	assert.NilError(t, os.WriteFile(filepath.Join(dir, "f"), []byte("abc"), 0o640))
	long := string(make([]byte, 0, 600))
	for len(long) < 600 {
		long += "0123456789"
	}
	assert.NilError(t, os.Symlink(long, filepath.Join(dir, "l")))
	d, err := os.Open(dir)
	assert.NilError(t, err)
	defer d.Close()
	st, err := LstatAt(d, "f")
	assert.NilError(t, err)
	assert.Equal(t, st.Size, int64(3))
	assert.Equal(t, st.Mode, uint32(unix.S_IFREG|0o640))
	assert.Equal(t, st.Nlink, uint64(1))
	f, err := os.Open(filepath.Join(dir, "f"))
	assert.NilError(t, err)
	defer f.Close()
	same, err := FstatOf(f)
	assert.NilError(t, err)
	assert.Equal(t, same, st)
	target, err := ReadlinkAt(d, "l")
	assert.NilError(t, err)
	assert.Equal(t, target, long)
	_, err = ReadlinkAt(d, "f")
	assert.ErrorIs(t, err, unix.EINVAL)
	_, err = LstatAt(d, "nope")
	assert.ErrorIs(t, err, fs.ErrNotExist)
	value, err := FileXattr(f, "user.none")
	assert.NilError(t, err)
	assert.Equal(t, len(value), 0)
}
