package sandbox_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/cairnbuild/cairn/internal/mount"
	"github.com/cairnbuild/cairn/sandbox"
)

func TestMain(m *testing.M) {
	sandbox.RunIfChild()
	os.Exit(m.Run())
}

// inside runs the calling test once more inside a user namespace and reports whether that is where it is now: the test goes
// on only there.
func inside(t *testing.T) bool {
	t.Helper()
	if sandbox.InNamespace() {
		return true
	}
	exit, err := sandbox.Enter(t.Context(), sandbox.EnterOptions{
		Args:   []string{"", "-test.run=^" + t.Name() + "$", "-test.v"},
		Stdout: os.Stdout, Stderr: os.Stderr,
		Notice: func(s string) { t.Log(s) },
	})
	assert.NilError(t, err)
	assert.Equal(t, exit, 0)
	return false
}

// newRoot makes a root file system of busybox.
func newRoot(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	for _, dir := range []string{"bin", "dev", "proc", "sys", "etc", "tmp", "root"} {
		assert.NilError(t, os.Mkdir(filepath.Join(root, dir), 0o755))
	}
	busybox, err := os.ReadFile("/bin/busybox")
	assert.NilError(t, err)
	assert.NilError(t, os.WriteFile(filepath.Join(root, "bin/busybox"), busybox, 0o755))
	list, err := exec.Command("/bin/busybox", "--list").Output()
	assert.NilError(t, err)
	for _, name := range bytes.Fields(list) {
		_ = os.Symlink("busybox", filepath.Join(root, "bin", string(name)))
	}
	return root
}

// sh gives the Spec of a shell command in root.
func sh(root, script string) sandbox.Spec {
	return sandbox.Spec{
		Root:    mount.Mount{Type: mount.Bind, Source: root},
		Process: sandbox.Process{Args: []string{"/bin/sh", "-c", script}, Env: []string{"PATH=/bin"}},
	}
}

// output runs spec and returns what it writes to both outputs.
func output(t *testing.T, spec sandbox.Spec) (string, error) {
	t.Helper()
	var b bytes.Buffer
	spec.Stdout, spec.Stderr = &b, &b
	err := sandbox.Run(t.Context(), spec)
	return b.String(), err
}

func TestExit(t *testing.T) {
	if !inside(t) {
		return
	}
	root := newRoot(t)
	for _, tt := range []struct {
		script string
		want   sandbox.ExitError
	}{
		{"exit 0", sandbox.ExitError{}},
		{"exit 3", sandbox.ExitError{Code: 3}},
		{"exit 255", sandbox.ExitError{Code: 255}},
	} {
		out, err := output(t, sh(root, "echo hello; "+tt.script))
		var exit *sandbox.ExitError
		if tt.want.Code == 0 {
			assert.NilError(t, err)
		} else {
			assert.Assert(t, errors.As(err, &exit), "%v", err)
			assert.Equal(t, *exit, tt.want)
		}
		assert.Equal(t, out, "hello\n")
	}
}

var _ = context.Background
