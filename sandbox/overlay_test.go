package sandbox_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/cairnbuild/cairn/internal/mount"
	"github.com/cairnbuild/cairn/sandbox"
)

// stackIn makes an overlay over root and n more layers, the uppermost of which each have a file with their number.
func stackIn(t testing.TB, dir, root string, n int) mount.Mount {
	t.Helper()
	mkdir := func(name string) string {
		path := filepath.Join(dir, name)
		assert.NilError(t, os.MkdirAll(path, 0o755))
		return path
	}
	m := mount.Mount{Type: mount.Overlay, Upper: mkdir("upper"), Work: mkdir("work")}
	for i := n; i > 0; i-- {
		layer := mkdir(fmt.Sprintf("layer%d", i))
		assert.NilError(t, os.WriteFile(filepath.Join(layer, "number"), fmt.Appendln(nil, i), 0o644))
		m.Lower = append(m.Lower, layer)
	}
	m.Lower = append(m.Lower, root)
	return m
}

func TestOverlay(t *testing.T) {
	if !inside(t) {
		return
	}
	root := newRoot(t)
	for _, tt := range []struct {
		name   string
		dir    string
		layers int
	}{
		{"one layer", "plain", 0},
		{"three layers", "plain", 2},
		{"comma, colon, space, backslash, quote", `a,b:c d\e"f`, 2},
		{"a long path", strings.Repeat("long/", 60), 2},
		{"as many layers as the kernel takes", "plain", 499},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), tt.dir)
			spec := sh(root, "cat /number 2>/dev/null; echo new > /tmp/new; rm -r /etc; mkdir /etc; rm /bin/vi")
			spec.Root = stackIn(t, dir, root, tt.layers)
			out, err := output(t, spec)
			assert.NilError(t, err)
			if tt.layers > 0 {
				assert.Equal(t, out, fmt.Sprintln(tt.layers))
			}
			upper := spec.Root.Upper
			b, err := os.ReadFile(filepath.Join(upper, "tmp/new"))
			assert.NilError(t, err)
			assert.Equal(t, string(b), "new\n")
			var st syscall.Stat_t
			assert.NilError(t, syscall.Lstat(filepath.Join(upper, "bin/vi"), &st))
			assert.Assert(t, st.Mode&syscall.S_IFMT == syscall.S_IFCHR && st.Rdev == 0, "a whiteout")
			opaque := make([]byte, 1)
			_, err = syscall.Getxattr(filepath.Join(upper, "etc"), "user.overlay.opaque", opaque)
			assert.NilError(t, err)
			assert.Equal(t, string(opaque), "y")
			entries, err := os.ReadDir(upper)
			assert.NilError(t, err)
			assert.Equal(t, len(entries), 3, "no mount point was made in it: %v", entries)
		})
	}
	t.Run("too many", func(t *testing.T) {
		spec := sh(root, "")
		spec.Root = stackIn(t, t.TempDir(), root, 500)
		_, err := output(t, spec)
		assert.ErrorContains(t, err, "mount overlay: overlay of more than 500 layers")
	})
	t.Run("a missing layer", func(t *testing.T) {
		spec := sh(root, "")
		spec.Root = stackIn(t, t.TempDir(), root, 1)
		assert.NilError(t, os.RemoveAll(spec.Root.Lower[0]))
		_, err := output(t, spec)
		assert.ErrorIs(t, err, os.ErrNotExist)
		var setup *sandbox.SetupError
		assert.Assert(t, errors.As(err, &setup) && strings.HasPrefix(err.Error(), "mount overlay"), "%v", err)
	})
}

// A work directory is for one use: overlayfs would not take it again after a volatile mount.
func TestOverlayWorkIsUsedOnce(t *testing.T) {
	if !inside(t) {
		return
	}
	root := newRoot(t)
	spec := sh(root, "echo x > /x")
	spec.Root = stackIn(t, t.TempDir(), root, 0)
	mustOutput(t, spec)
	_, err := output(t, spec)
	assert.ErrorIs(t, err, syscall.EINVAL)
	spec.Root.Work = t.TempDir()
	if same := filepath.Join(filepath.Dir(spec.Root.Upper), "work2"); os.Mkdir(same, 0o755) == nil {
		spec.Root.Work = same
	}
	spec.Process.Args[2] = "cat /x"
	assert.Equal(t, mustOutput(t, spec), "x")
}
