package layer_test

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"gotest.tools/v3/assert"

	"github.com/cairnbuild/cairn/internal/owners"
)

// namespaceVar tells the re-executed test binary in which namespace it is.
const namespaceVar = "CAIRN_LAYER_TEST_NAMESPACE"

// The kinds of user namespaces that directory forms are made in.
const (
	fullMap  = "full"
	singleID = "single"
)

// inNamespace runs fn as root of a user namespace with the ids of a subuid range (fullMap), or with one id (singleID), in the
// test binary executed once more by unshare(1). As root it becomes alice first.
func inNamespace(t *testing.T, kind string, fn func(t *testing.T, mode owners.Mode)) {
	mode := owners.Chown
	if kind == singleID {
		mode = owners.Record
	}
	if os.Getenv(namespaceVar) == kind {
		fn(t, mode)
		return
	}
	if os.Getenv(namespaceVar) != "" {
		return // this test has one part for each kind
	}
	args := []string{"-Urm"}
	if kind == fullMap {
		args = append(args, "--map-auto")
	}
	dir, err := os.MkdirTemp("", "cairn-layer-")
	assert.NilError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	assert.NilError(t, os.Chmod(dir, 0o755))
	tmp := filepath.Join(dir, "tmp")
	assert.NilError(t, os.Mkdir(tmp, 0o755))
	binary := filepath.Join(dir, "layer.test")
	copyFile(t, "/proc/self/exe", binary)
	args = append(args, binary, "-test.run", "^"+strings.ReplaceAll(t.Name(), "/", "$/^")+"$", "-test.v", "-test.timeout", "5m")
	cmd := exec.Command("unshare", args...)
	cmd.Env = append(os.Environ(), namespaceVar+"="+kind, "TMPDIR="+tmp)
	cmd.Dir = "/"
	asUser(t, cmd, tmp)
	if kind == fullMap && !hasRange(t, cmd) {
		t.Skip("this user has no subuid range")
	}
	out, err := cmd.CombinedOutput()
	assert.NilError(t, err, "%s", out)
	assert.Assert(t, strings.Contains(string(out), "--- PASS: "+t.Name()), "%s", out)
	if testing.Verbose() {
		t.Logf("%s", out)
	}
}

// asUser makes a command of root run as alice.
func asUser(t *testing.T, cmd *exec.Cmd, home string) {
	if os.Getuid() != 0 {
		return
	}
	alice, err := user.Lookup("alice")
	if err != nil {
		t.Skip("root needs a user alice to test as")
	}
	uid, err := strconv.Atoi(alice.Uid)
	assert.NilError(t, err)
	gid, err := strconv.Atoi(alice.Gid)
	assert.NilError(t, err)
	assert.NilError(t, os.Chown(home, uid, gid))
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	cmd.Env = append(cmd.Env, "HOME="+home, "USER=alice", "LOGNAME=alice")
}

func hasRange(t *testing.T, cmd *exec.Cmd) bool {
	t.Helper()
	uid := os.Getuid()
	if cmd.SysProcAttr != nil {
		uid = int(cmd.SysProcAttr.Credential.Uid)
	}
	u, err := user.LookupId(strconv.Itoa(uid))
	assert.NilError(t, err)
	ranges, err := os.ReadFile("/etc/subuid")
	assert.NilError(t, err)
	return strings.Contains("\n"+string(ranges), fmt.Sprintf("\n%s:", u.Username))
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	assert.NilError(t, err)
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	assert.NilError(t, err)
	_, err = io.Copy(out, in)
	assert.NilError(t, err)
	assert.NilError(t, out.Close())
}

// everyNamespace runs a test in both kinds.
func everyNamespace(t *testing.T, fn func(t *testing.T, mode owners.Mode)) {
	for _, kind := range []string{fullMap, singleID} {
		t.Run(kind, func(t *testing.T) { inNamespace(t, kind, fn) })
	}
}
