package sys

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
	"gotest.tools/v3/assert"
)

func TestOpenUnsafe(t *testing.T) {
	dir := t.TempDir()
	root := filepath.Join(dir, "root")
	assert.NilError(t, os.MkdirAll(filepath.Join(root, "sub"), 0o755))
	for name, content := range map[string]string{"secret": "outside", "root/secret": "inside", "root/sub/file": "file"} {
		assert.NilError(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644))
	}
	for name, target := range map[string]string{
		"abs": "/secret", "up": "../../../secret", "dir": "sub", "loop": "loop", "magic": "/proc/self/cwd", "fd": "/proc/self/fd/0",
	} {
		assert.NilError(t, os.Symlink(target, filepath.Join(root, name)))
	}
	fd, err := Open(root, unix.O_PATH|unix.O_DIRECTORY)
	assert.NilError(t, err)
	defer fd.Close()
	for _, tt := range []struct {
		path            string
		inRoot, noLinks error
	}{
		{"secret", nil, nil},
		{"sub/file", nil, nil},
		{"/secret", nil, unix.EXDEV},
		{"../secret", nil, unix.EXDEV},
		{"abs", nil, unix.ELOOP},
		{"up", nil, unix.ELOOP},
		{"dir/file", nil, unix.ELOOP},
		{"loop", unix.ELOOP, unix.ELOOP},
		{"magic", unix.ENOENT, unix.ELOOP},
		{"none", unix.ENOENT, unix.ENOENT},
	} {
		f, err := OpenInRoot(fd, tt.path, unix.O_RDONLY)
		assert.ErrorIs(t, err, tt.inRoot, tt.path)
		if err == nil {
			var b [16]byte
			n, err := unix.Read(int(f), b[:])
			assert.NilError(t, err)
			assert.Assert(t, string(b[:n]) != "outside", tt.path)
		}
		f.Close()
		f, err = OpenNoLinks(fd, tt.path, unix.O_RDONLY)
		assert.ErrorIs(t, err, tt.noLinks, tt.path)
		f.Close()
	}

	// Links of /proc to open files lead nowhere, even from a root that has a /proc.
	top, err := Open("/", unix.O_PATH|unix.O_DIRECTORY)
	assert.NilError(t, err)
	defer top.Close()
	_, err = OpenInRoot(top, "/proc/self/cwd/x", unix.O_PATH)
	assert.ErrorIs(t, err, unix.ELOOP)
	NoFD.Close()
}
