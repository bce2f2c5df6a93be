package store

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"gotest.tools/v3/assert"
)

// What a killed RUN leaves belongs to ids that only root in the user's namespace may remove.
func TestGarbageOfOthersIsLeftForTheNamespace(t *testing.T) {
	if os.Geteuid() == 0 {
		garbageOfRoot(t)
		return
	}
	garbageOfSubIDs(t)
}

// garbageOfSubIDs has the user's namespace made by unshare.
func garbageOfSubIDs(t *testing.T) {
	t.Helper()
	inside := []string{"unshare", "--user", "--map-root-user", "--map-auto", "bash", "-c"}
	if out, err := exec.CommandContext(t.Context(), inside[0], append(inside[1:], "true")...).CombinedOutput(); err != nil {
		t.Logf("no user ids beside our own here, so no garbage of theirs: %s", out)
		return
	}
	root := filepath.Join(t.TempDir(), "store")
	s := openStore(t, root)
	dead := filepath.Join(root, "tmp", "dead")
	script := "mkdir -p " + dead + "/upper/x/y && chmod 700 " + dead + "/upper/x && chown -R 7:7 " + dead + "/upper/x"
	out, err := exec.CommandContext(t.Context(), inside[0], append(inside[1:], script)...).CombinedOutput()
	assert.NilError(t, err, string(out))

	outer := openStore(t, root)
	assert.Assert(t, outer.NeedsNamespaceToClean())
	assert.DeepEqual(t, tmpNames(t, root), []string{"dead"})
	testImage(t, outer, "x")
	assert.NilError(t, outer.Close())

	self, err := os.Executable()
	assert.NilError(t, err)
	script = "exec -a " + workerName + " " + self + " garbage " + root
	out, err = exec.CommandContext(t.Context(), inside[0], append(inside[1:], script)...).CombinedOutput()
	assert.NilError(t, err, string(out))
	assert.Equal(t, strings.TrimSpace(string(out)), "false")
	assert.DeepEqual(t, tmpNames(t, root), []string{})
	assert.Assert(t, !openStore(t, root).NeedsNamespaceToClean())
	assert.Assert(t, !s.NeedsNamespaceToClean())
}

// garbageOfRoot has another user find root's files.
func garbageOfRoot(t *testing.T) {
	t.Helper()
	const uid = 12345
	dir, err := os.MkdirTemp("", "store-test-")
	assert.NilError(t, err)
	defer os.RemoveAll(dir)
	assert.NilError(t, os.Chmod(dir, 0o755))
	self, err := os.Executable()
	assert.NilError(t, err)
	program := filepath.Join(dir, "program") // where another user can reach it
	copyFile(t, self, program)
	root := filepath.Join(dir, "store")
	assert.NilError(t, os.Mkdir(root, 0o700))
	assert.NilError(t, os.Chown(root, uid, uid))

	garbage := func() string {
		cmd := worker(t, "garbage", root)
		cmd.Path, cmd.Dir = program, dir
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		out, err := cmd.Output()
		assert.NilError(t, err)
		return strings.TrimSpace(string(out))
	}
	assert.Equal(t, garbage(), "false")
	dead := filepath.Join(root, "tmp", "dead")
	assert.NilError(t, os.MkdirAll(filepath.Join(dead, "upper", "x", "y"), 0o700))
	assert.NilError(t, os.Chown(dead, uid, uid))
	assert.Equal(t, garbage(), "true")
	assert.DeepEqual(t, tmpNames(t, root), []string{"dead"})
	assert.NilError(t, os.RemoveAll(filepath.Join(dead, "upper")))
	assert.Equal(t, garbage(), "false")
	assert.DeepEqual(t, tmpNames(t, root), []string{})
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	r, err := os.Open(from)
	assert.NilError(t, err)
	defer r.Close()
	w, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE, 0o755)
	assert.NilError(t, err)
	_, err = io.Copy(w, r)
	assert.NilError(t, err)
	assert.NilError(t, w.Close())
}
