package overlay_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gotest.tools/v3/assert"

	"github.com/cairnbuild/cairn/internal/mount"
	"github.com/cairnbuild/cairn/overlay"
)

// inside runs the calling test once more as root of a user namespace with one id and reports whether it is there.
func inside(t *testing.T) bool {
	t.Helper()
	if os.Args[0] == "inside" {
		return true
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{"inside", "-test.run=^" + t.Name() + "$", "-test.v"}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	assert.NilError(t, err, "%s", out)
	assert.Assert(t, bytes.Contains(out, []byte("--- PASS: "+t.Name())), "%s", out)
	return false
}

func TestMount(t *testing.T) {
	for _, tt := range []struct {
		name  string
		stack overlay.Stack
		want  mount.Mount
	}{
		{"writable", overlay.Stack{Lower: []string{"/b", "/a"}, Upper: "/u", Work: "/w"},
			mount.Mount{Type: mount.Overlay, Lower: []string{"/b", "/a"}, Upper: "/u", Work: "/w"}},
		{"writable over one", overlay.Stack{Lower: []string{"/a"}, Upper: "/u", Work: "/w"},
			mount.Mount{Type: mount.Overlay, Lower: []string{"/a"}, Upper: "/u", Work: "/w"}},
		{"read-only", overlay.Stack{Lower: []string{"/b", "/a"}},
			mount.Mount{Type: mount.Overlay, Lower: []string{"/b", "/a"}, ReadOnly: true}},
		{"read-only of one is a bind", overlay.Stack{Lower: []string{"/a"}},
			mount.Mount{Type: mount.Bind, Source: "/a", ReadOnly: true}},
	} {
		assert.Assert(t, cmp.Equal(tt.stack.Mount(), tt.want), tt.name)
	}
}

func TestReadOnlyStack(t *testing.T) {
	if !inside(t) {
		return
	}
	dir := t.TempDir()
	for _, name := range []string{"a", "b", "at"} {
		assert.NilError(t, os.Mkdir(filepath.Join(dir, name), 0o755))
		assert.NilError(t, os.WriteFile(filepath.Join(dir, name, "who"), []byte(name), 0o644))
	}
	at := filepath.Join(dir, "at")
	for _, lower := range [][]string{{filepath.Join(dir, "a")}, {filepath.Join(dir, "a"), filepath.Join(dir, "b")}} {
		assert.NilError(t, overlay.Stack{Lower: lower}.Mount().Attach(at))
		b, err := os.ReadFile(filepath.Join(at, "who"))
		assert.NilError(t, err)
		assert.Equal(t, string(b), "a")
		assert.ErrorIs(t, os.WriteFile(filepath.Join(at, "new"), nil, 0o644), syscall.EROFS)
		assert.NilError(t, syscall.Unmount(at, 0))
	}
}

func TestProbe(t *testing.T) {
	if !inside(t) {
		return
	}
	dir := t.TempDir()
	got := overlay.Probe(t.Context(), dir)
	assert.NilError(t, got.Why)
	assert.Equal(t, got.Kind, overlay.Native)
	assert.NilError(t, overlay.ProbeMount(t.Context(), dir))
	left, err := os.ReadDir(dir)
	assert.NilError(t, err)
	assert.Equal(t, len(left), 0, "%v", left)

	t.Run("on an overlay", func(t *testing.T) {
		at := filepath.Join(dir, "at")
		for _, name := range []string{"lower", "upper", "work", "at"} {
			assert.NilError(t, os.Mkdir(filepath.Join(dir, name), 0o755))
		}
		stack := overlay.Stack{Lower: []string{filepath.Join(dir, "lower")}, Upper: filepath.Join(dir, "upper"), Work: filepath.Join(dir, "work")}
		assert.NilError(t, stack.Mount().Attach(at))
		got := overlay.Probe(t.Context(), at)
		assert.ErrorIs(t, overlay.ProbeMount(t.Context(), at), syscall.EINVAL)
		assert.NilError(t, syscall.Unmount(at, 0))
		assert.NilError(t, os.Chmod(filepath.Join(dir, "work/work"), 0o700))
		assert.Equal(t, got.Kind, overlay.None)
		assert.ErrorIs(t, got.Why, syscall.EINVAL)
		assert.Assert(t, strings.Contains(got.Why.Error(), "upperdir"), "%v", got.Why)
	})
	t.Run("a full or missing place", func(t *testing.T) {
		got := overlay.Probe(t.Context(), filepath.Join(dir, "none"))
		assert.Equal(t, got.Kind, overlay.None)
		assert.ErrorIs(t, got.Why, os.ErrNotExist)
	})
}

func TestProbeOutside(t *testing.T) {
	if os.Getuid() == 0 {
		return // root may mount anywhere
	}
	got := overlay.Probe(t.Context(), t.TempDir())
	assert.Equal(t, got.Kind, overlay.None)
	assert.ErrorIs(t, got.Why, os.ErrPermission)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	assert.Assert(t, errors.Is(overlay.Probe(ctx, t.TempDir()).Why, context.Canceled))
}
