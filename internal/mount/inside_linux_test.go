package mount

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
	"gotest.tools/v3/assert"
)

// CVE-2024-1753: a source that a symbolic link leads out of what it is taken from.
func TestInside(t *testing.T) {
	root := filepath.Join(t.TempDir(), "root")
	assert.NilError(t, os.MkdirAll(filepath.Join(root, "dir/below"), 0o755))
	assert.NilError(t, os.WriteFile(filepath.Join(root, "dir/file"), nil, 0o644))
	for name, to := range map[string]string{"abs": "/", "up": "../..", "dir/up": "../../..", "in": "dir", "file": "dir/file"} {
		assert.NilError(t, os.Symlink(to, filepath.Join(root, name)))
	}
	for _, good := range []string{".", "dir", "dir/below", "dir/file"} {
		got, err := Inside(root, good)
		assert.NilError(t, err)
		assert.Equal(t, got, filepath.Join(root, good))
	}
	for bad, want := range map[string]error{
		"abs": unix.ELOOP, "abs/etc": unix.ELOOP, "up": unix.ELOOP, "dir/up": unix.ELOOP, "dir/up/etc": unix.ELOOP, "in": unix.ELOOP,
		"in/file": unix.ELOOP, "file": unix.ELOOP, "..": unix.EXDEV, "dir/../..": unix.EXDEV, "/etc": unix.EXDEV, "none": unix.ENOENT,
	} {
		_, err := Inside(root, bad)
		assert.ErrorIs(t, err, want, "%s", bad)
	}
}
