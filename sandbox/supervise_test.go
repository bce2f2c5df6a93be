package sandbox_test

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"gotest.tools/v3/assert"

	"github.com/cairnbuild/cairn/internal/mount"
	"github.com/cairnbuild/cairn/internal/owners"
	"github.com/cairnbuild/cairn/sandbox"
)

// insideOne is inside with one id, whatever the user has.
func insideOne(t *testing.T) bool {
	t.Helper()
	if sandbox.InNamespace() {
		return true
	}
	log, err := os.CreateTemp(t.TempDir(), "log")
	assert.NilError(t, err)
	defer log.Close()
	exit, err := sandbox.Enter(t.Context(), sandbox.EnterOptions{
		Args: []string{"", "-test.run=^" + t.Name() + "$", "-test.v"}, Stdout: log, Stderr: log, IDs: sandbox.IDsOne,
	})
	assert.NilError(t, err)
	said, err := os.ReadFile(log.Name())
	assert.NilError(t, err)
	assert.Equal(t, exit, 0, string(said))
	assert.Assert(t, strings.Contains(string(said), "--- PASS: "+t.Name()), string(said))
	return false
}

// What is recorded stands in the files' attributes and in the table, and is what the next command sees.
func TestOneIDRecords(t *testing.T) {
	if !insideOne(t) {
		return
	}
	assert.Assert(t, !full())
	root := newRoot(t)
	table := owners.NewTable()
	spec := sh(root, "set -e; cd /tmp; touch f; mkdir d; ln -s f l; mkfifo p; chown 1:2 f; chown 3:4 d; chown -h 5:6 l; chown 7:8 p; mknod -m 644 n c 1 5; ln -s x gone; chown -h 9:9 gone; rm gone; mv l d/l2")
	spec.Owners.Upper = table
	mustOutput(t, spec)
	assert.DeepEqual(t, table.Records(), map[string]owners.Owner{"tmp/d/l2": {UID: 5, GID: 6}, "tmp/p": {UID: 7, GID: 8}})
	for name, want := range map[string]owners.Owner{
		"f": {UID: 1, GID: 2}, "d": {UID: 3, GID: 4}, "n": {Device: &owners.Device{Major: 1, Minor: 5}},
	} {
		buf := make([]byte, 100)
		n, err := unix.Getxattr(filepath.Join(root, "tmp", name), owners.Xattr, buf)
		assert.NilError(t, err, name)
		o, err := owners.Decode(buf[:n])
		assert.NilError(t, err)
		assert.DeepEqual(t, o, want)
	}

	spec = sh(root, "cd /tmp; stat -c '%u:%g %F' f d d/l2 p n; chown -h 0:0 d/l2; chown 1 p")
	spec.Owners.Upper = table
	assert.Equal(t, mustOutput(t, spec), "1:2 regular empty file\n3:4 directory\n5:6 symbolic link\n7:8 fifo\n0:0 character special file")
	assert.DeepEqual(t, table.Records(), map[string]owners.Owner{"tmp/p": {UID: 1, GID: 8}})
}

// A link of a lower layer keeps its owner when it is moved, linked or touched: that copies it up, and so makes it another file.
func TestOneIDCopiesUp(t *testing.T) {
	if !insideOne(t) {
		return
	}
	lower, dir := newRoot(t), t.TempDir()
	below := owners.NewTable()
	for _, name := range []string{"moved", "linked", "touched", "chowned", "kept"} {
		assert.NilError(t, os.Symlink("x", filepath.Join(lower, "tmp", name)))
		below.Set("tmp/"+name, owners.Owner{UID: 5, GID: 6})
	}
	root := mount.Mount{Type: mount.Overlay, Lower: []string{lower}, Upper: filepath.Join(dir, "upper"), Work: filepath.Join(dir, "work")}
	for _, d := range []string{root.Upper, root.Work} {
		assert.NilError(t, os.Mkdir(d, 0o755))
	}
	spec := sh("", "set -e; cd /tmp; mv moved m; ln linked l; touch -h touched; chown -h 7 chowned; ln -s y new; stat -c '%u:%g %n' *")
	spec.Root = root
	spec.Owners = sandbox.Owners{Lower: map[string]*owners.Table{lower: below}, Upper: owners.NewTable()}
	assert.Equal(t, mustOutput(t, spec), "7:6 chowned\n5:6 kept\n5:6 l\n5:6 linked\n5:6 m\n0:0 new\n5:6 touched")
	five := owners.Owner{UID: 5, GID: 6}
	assert.DeepEqual(t, spec.Owners.Upper.Records(), map[string]owners.Owner{
		"tmp/chowned": {UID: 7, GID: 6}, "tmp/l": five, "tmp/linked": five, "tmp/m": five, "tmp/touched": five,
	})
}

// Whoever kills the supervisor ends the step: it must not go on and lose owners.
func TestOneIDWithoutSupervisor(t *testing.T) {
	if !insideOne(t) {
		return
	}
	spec := sh(newRoot(t), "echo started; while :; do sleep 0.05; done")
	spec.Stdout = writerFunc(func(p []byte) (int, error) {
		processes, err := filepath.Glob("/proc/[0-9]*/cmdline")
		assert.NilError(t, err)
		for _, p := range processes {
			if args, _ := os.ReadFile(p); string(args) == "cairn-ids\x00" {
				pid, err := strconv.Atoi(filepath.Base(filepath.Dir(p)))
				assert.NilError(t, err)
				assert.NilError(t, unix.Kill(pid, unix.SIGKILL))
			}
		}
		return len(p), nil
	})
	start := time.Now()
	err := sandbox.Run(t.Context(), spec)
	var setup *sandbox.SetupError
	assert.Assert(t, errors.As(err, &setup), "%v", err)
	assert.Equal(t, setup.Stage, sandbox.StageSupervise)
	assert.Assert(t, time.Since(start) < 20*time.Second)
}

// The supervisor reads what hostile processes hand it: it has no more rights than it uses.
func TestOneIDSupervisorIsConfined(t *testing.T) {
	if !insideOne(t) {
		return
	}
	// The command has got this far when the supervisor has answered, and so is confined.
	spec := sh(newRoot(t), "cd /tmp; touch f; chown 5 f; echo started; sleep 1")
	var status string
	spec.Stdout = writerFunc(func(p []byte) (int, error) {
		processes, err := filepath.Glob("/proc/[0-9]*/cmdline")
		assert.NilError(t, err)
		for _, p := range processes {
			if args, _ := os.ReadFile(p); string(args) != "cairn-ids\x00" {
				continue
			}
			threads, err := filepath.Glob(filepath.Join(filepath.Dir(p), "task/*/status"))
			assert.NilError(t, err)
			for _, thread := range threads {
				b, err := os.ReadFile(thread)
				assert.NilError(t, err)
				status += string(b)
			}
		}
		return len(p), nil
	})
	assert.NilError(t, sandbox.Run(t.Context(), spec))
	threads := strings.Count(status, "Name:")
	assert.Assert(t, threads > 0)
	assert.Equal(t, strings.Count(status, "NoNewPrivs:\t1\n"), threads, status)
	assert.Equal(t, strings.Count(status, "Seccomp_filters:\t2\n"), threads, status)
	if !cgoEnabled {
		assert.Equal(t, strings.Count(status, "CapPrm:\t00000000000c001f\n"), threads, status)
	}
}

// The supervisor may look into processes that the command may not. It makes nothing there in its place.
func TestOneIDStaysInside(t *testing.T) {
	if !insideOne(t) {
		return
	}
	root, outside := newRoot(t), t.TempDir()
	assert.NilError(t, os.Mkdir(filepath.Join(root, "outer"), 0o755))
	assert.NilError(t, os.WriteFile(filepath.Join(outside, "file"), nil, 0o644))
	there := "/outer/" + strconv.Itoa(os.Getpid()) + "/root" + outside
	spec := sh(root, "cd /tmp; ln -s "+there+" link; for d in "+there+" /tmp/link; do touch $d/a; mkdir $d/b; ln -s x $d/c; mkfifo $d/d; chown 5 $d/file; done; mknod $d/e c 1 3; true")
	spec.Mounts = []mount.Mount{{Type: mount.Bind, Source: "/proc", Target: "/outer"}}
	for _, uid := range []uint32{0, 1000} {
		spec.Process.UID = uid
		out, err := output(t, spec)
		assert.NilError(t, err, out)
		entries, err := os.ReadDir(outside)
		assert.NilError(t, err)
		assert.Equal(t, len(entries), 1, "%v %s", entries, out)
		_, err = unix.Getxattr(filepath.Join(outside, "file"), owners.Xattr, nil)
		assert.ErrorIs(t, err, unix.ENODATA)
	}
}
