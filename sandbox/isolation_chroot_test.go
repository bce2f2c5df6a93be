package sandbox_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"gotest.tools/v3/assert"

	"github.com/cairnbuild/cairn/internal/mount"
	"github.com/cairnbuild/cairn/sandbox"
)

// inChroot runs the calling test once more in a cairn-chroot and reports whether that is where it is now.
func inChroot(t *testing.T) bool {
	t.Helper()
	if sandbox.CurrentIsolation() == sandbox.IsolationChroot {
		return true
	}
	if os.Getuid() != 0 {
		t.Skip("only root may change its root directory")
	}
	out, err := os.CreateTemp(t.TempDir(), "")
	assert.NilError(t, err)
	exit, err := sandbox.Enter(t.Context(), sandbox.EnterOptions{
		Args:   []string{"", "-test.run=^" + t.Name() + "$", "-test.v"},
		Stdout: out, Stderr: out, Isolation: sandbox.IsolationChroot,
	})
	assert.NilError(t, err)
	text, err := os.ReadFile(out.Name())
	assert.NilError(t, err)
	assert.Equal(t, exit, 0, "%s", text)
	assert.Assert(t, bytes.Contains(text, []byte("--- PASS: "+t.Name())), "%s", text)
	return false
}

func TestChroot(t *testing.T) {
	if !inChroot(t) {
		return
	}
	spec := sh(newRoot(t), `cat /etc/marker; id -u; test -c /dev/null && echo dev; echo x >/dev/null; test ! -e /proc/self && echo noproc; pwd`)
	assert.NilError(t, os.WriteFile(filepath.Join(spec.Root.Source, "etc/marker"), []byte("inside\n"), 0o644))
	spec.Process.Dir = "/tmp"
	assert.Equal(t, mustOutput(t, spec), "inside\n0\ndev\nnoproc\n/tmp")

	spec = sh(newRoot(t), `id -u; id -g; touch /root/x 2>/dev/null || echo refused`)
	assert.NilError(t, os.Chmod(filepath.Join(spec.Root.Source, "root"), 0o700))
	spec.Process.UID, spec.Process.GID = 33, 34
	assert.Equal(t, mustOutput(t, spec), "33\n34\nrefused")

	_, err := output(t, sh(newRoot(t), "exit 7"))
	assert.Equal(t, err.(*sandbox.ExitError).Code, 7)
}

// What a command leaves running ends with it, although no pid namespace ends it.
func TestChrootLeftovers(t *testing.T) {
	if !inChroot(t) {
		return
	}
	spec := sh(newRoot(t), `(setsid sh -c 'while :; do sleep 0.05; date >/tmp/alive; done' >/dev/null 2>&1 </dev/null &) ; sleep 0.3; echo done`)
	assert.Equal(t, mustOutput(t, spec), "done")
	alive := filepath.Join(spec.Root.Source, "tmp/alive")
	assert.NilError(t, os.Remove(alive))
	time.Sleep(200 * time.Millisecond)
	_, err := os.Stat(alive)
	assert.ErrorIs(t, err, os.ErrNotExist)
}

// What needs a namespace is refused, not left out.
func TestChrootRefuses(t *testing.T) {
	if !inChroot(t) {
		return
	}
	for _, change := range []func(*sandbox.Spec){
		func(s *sandbox.Spec) { s.Network = sandbox.NetworkNone },
		func(s *sandbox.Spec) { s.ReadonlyRoot = true },
		func(s *sandbox.Spec) { s.Mounts = []mount.Mount{{Type: mount.Tmpfs, Target: "/tmp"}} },
		func(s *sandbox.Spec) { s.Root = mount.Mount{Type: mount.Overlay} },
	} {
		spec := sh(newRoot(t), "true")
		change(&spec)
		_, err := output(t, spec)
		assert.Assert(t, err != nil && strings.Contains(err.Error(), "isolation is chroot"), "%v", err)
	}
}

// A /proc of which something is hidden, as in docker's containers, can't be made anew: the hidden one is seen inside.
func TestMaskedProc(t *testing.T) {
	if sandbox.InNamespace() {
		inMaskedProc(t)
		return
	}
	if !inside(t) {
		return
	}
}

func inMaskedProc(t *testing.T) {
	if os.Getenv("MASKED") == "" {
		assert.NilError(t, unix.Mount("/dev/null", "/proc/meminfo", "", unix.MS_BIND, ""))
		t.Setenv("MASKED", "1")
		var notices []string
		out, err := os.CreateTemp(t.TempDir(), "")
		assert.NilError(t, err)
		exit, err := sandbox.Enter(t.Context(), sandbox.EnterOptions{
			Args:   []string{"", "-test.run=^" + t.Name() + "$", "-test.v"},
			Stdout: out, Stderr: out, Notice: func(s string) { notices = append(notices, s) },
		})
		assert.NilError(t, err)
		text, err := os.ReadFile(out.Name())
		assert.NilError(t, err)
		assert.Equal(t, exit, 0, "%s", text)
		assert.Assert(t, strings.Contains(strings.Join(notices, "\n"), "proc: the outer one"), "%q", notices)
		return
	}
	spec := sh(newRoot(t), `test -r /proc/self/status && echo proc; wc -c </proc/meminfo; echo 1 2>/dev/null >/proc/sys/kernel/domainname || echo readonly`)
	assert.Equal(t, mustOutput(t, spec), "proc\n0\nreadonly")
}
