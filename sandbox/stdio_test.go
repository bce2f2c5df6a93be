package sandbox_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"gotest.tools/v3/assert"

	"github.com/cairnbuild/cairn/internal/mount"
	"github.com/cairnbuild/cairn/sandbox"
	"github.com/cairnbuild/cairn/sandbox/internal/wire"
)

// openFiles makes three files with something in them for a command's standard files.
func openFiles(t *testing.T) (files [3]*os.File) {
	t.Helper()
	for i, name := range []string{"in", "out", "err"} {
		f, err := os.OpenFile(filepath.Join(t.TempDir(), name), os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o644)
		assert.NilError(t, err)
		t.Cleanup(func() { f.Close() })
		_, err = f.WriteString("kept " + name + "\n")
		assert.NilError(t, err)
		_, err = f.Seek(0, io.SeekStart)
		assert.NilError(t, err)
		files[i] = f
	}
	return files
}

func content(t *testing.T, f *os.File) string {
	t.Helper()
	b, err := os.ReadFile(f.Name())
	assert.NilError(t, err)
	return string(b)
}

// The command's standard files are not the caller's: through /proc/self/fd it would open them anew, for what they were not given.
func TestStandardFilesAreNotTheCallers(t *testing.T) {
	if !inside(t) {
		return
	}
	files := openFiles(t)
	spec := sh(newRoot(t), `
		read line; echo "got $line"
		for fd in 0 1 2; do
			test -p /proc/self/fd/$fd || echo "$fd is no pipe"
		done
		: > /proc/self/fd/1; : > /proc/self/fd/2; echo in >> /proc/self/fd/0
		timeout 1 head -c 4 /proc/self/fd/2 2>/dev/null
		echo end >&2`)
	spec.Stdin, spec.Stdout, spec.Stderr = files[0], files[1], files[2]
	assert.NilError(t, sandbox.Run(t.Context(), spec))
	assert.Equal(t, content(t, files[0]), "kept in\n")
	assert.Equal(t, content(t, files[1]), "kept out\ngot kept in\n")
	assert.Equal(t, content(t, files[2]), "kept err\nend\n")
}

// Nothing that the command does to its standard files without a Spec's reaches the outer /dev/null.
func TestStandardNullIsReadOnly(t *testing.T) {
	if !inside(t) {
		return
	}
	out := mustOutput(t, sh(newRoot(t), "test -c /proc/self/fd/0 && echo x > /proc/self/fd/0 && touch /proc/self/fd/0 2>&1; true"))
	assert.Assert(t, strings.Contains(out, "Read-only file system"), out)
}

// Reading and writing the devices works, changing their inodes does not, which are those of the machine.
func TestDevicesAreReadOnly(t *testing.T) {
	if !inside(t) {
		return
	}
	out := mustOutput(t, sh(newRoot(t), `
		echo x > /dev/null && head -c 2 /dev/zero | wc -c && head -c 2 /dev/urandom | wc -c
		(echo x > /dev/full) 2>&1
		for d in null zero full random urandom tty; do
			for do in "chmod 666" "chown 0:0" "touch"; do # what is there already, should it work
				$do /dev/$d 2>&1 | grep -q "Read-only file system" || echo "$do $d"
			done
			grep -q " /dev/$d [a-z]* ro,nosuid,noexec" /proc/self/mounts || echo "$d is not mounted read-only"
		done`))
	assert.Equal(t, out, "2\n2\nsh: write error: No space left on device")
}

// What is written twice through one file comes in the order of writing.
func TestOneFileForTwoOutputs(t *testing.T) {
	if !inside(t) {
		return
	}
	r, w, err := os.Pipe()
	assert.NilError(t, err)
	defer r.Close()
	conn, err := w.SyscallConn()
	assert.NilError(t, err)
	var fd int
	assert.NilError(t, conn.Control(func(n uintptr) { fd, err = unix.FcntlInt(n, unix.F_DUPFD_CLOEXEC, 3) }))
	assert.NilError(t, err)
	again := os.NewFile(uintptr(fd), "2>&1")
	spec := sh(newRoot(t), "for i in 1 2 3 4 5 6 7 8 9; do echo -n o$i; echo -n e$i >&2; done")
	spec.Stdout, spec.Stderr = w, again
	assert.NilError(t, sandbox.Run(t.Context(), spec))
	w.Close()
	again.Close()
	b, err := io.ReadAll(r)
	assert.NilError(t, err)
	assert.Equal(t, string(b), "o1e1o2e2o3e3o4e4o5e5o6e6o7e7o8e8o9e9")
}

// A reader who leaves, as head does, ends what writes, and is no error of ours.
func TestReaderLeaves(t *testing.T) {
	if !inside(t) {
		return
	}
	r, w, err := os.Pipe()
	assert.NilError(t, err)
	defer w.Close()
	spec := sh(newRoot(t), "cat /dev/zero; echo $? >&2; exit 3")
	var stderr bytes.Buffer
	spec.Stdout, spec.Stderr = w, &stderr
	go func() {
		_, _ = io.ReadFull(r, make([]byte, 1<<20))
		r.Close()
	}()
	err = sandbox.Run(t.Context(), spec)
	assert.DeepEqual(t, err, &sandbox.ExitError{Code: 3})
	assert.Equal(t, stderr.String(), "141\n", "cat was not killed by SIGPIPE")
}

// A destination that fails ends the command's writes, and is told beside how the command ended.
func TestDestinationFails(t *testing.T) {
	if !inside(t) {
		return
	}
	root := newRoot(t)
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	assert.NilError(t, err)
	defer full.Close()
	for _, end := range []string{"exit 0", "exit 3"} {
		spec := sh(root, "(while echo x; do :; done) 2>/dev/null; "+end)
		spec.Stdout = full
		err = sandbox.Run(t.Context(), spec)
		var output *sandbox.OutputError
		var exit *sandbox.ExitError
		assert.Assert(t, errors.As(err, &output) && errors.Is(err, unix.ENOSPC), "%v", err)
		assert.Equal(t, errors.As(err, &exit), end == "exit 3", "%v", err)
	}
}

// A destination that takes nothing does not hold a caller who has had the command killed.
func TestDestinationIsStuck(t *testing.T) {
	if !inside(t) {
		return
	}
	r, w, err := os.Pipe()
	assert.NilError(t, err)
	defer func() { // in this order: what writes still has it open
		r.Close()
		w.Close()
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	spec := sh(newRoot(t), "cat /dev/zero")
	spec.Stdout = w
	assert.ErrorIs(t, sandbox.Run(ctx, spec), context.DeadlineExceeded)
}

// Much data arrives whole, through files as through pipes, into a file that is appended to and from one that somebody else has made
// non-blocking.
func TestMuchData(t *testing.T) {
	if !inside(t) {
		return
	}
	root, dir := newRoot(t), t.TempDir()
	data := bytes.Repeat([]byte("0123456789abcde\n"), 1<<20)
	assert.NilError(t, os.WriteFile(filepath.Join(dir, "in"), data, 0o644))
	in, err := os.Open(filepath.Join(dir, "in"))
	assert.NilError(t, err)
	defer in.Close()
	out, err := os.OpenFile(filepath.Join(dir, "out"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	assert.NilError(t, err)
	defer out.Close()
	spec := sh(root, "cat")
	spec.Stdin, spec.Stdout = in, out
	assert.NilError(t, sandbox.Run(t.Context(), spec))
	assert.Assert(t, bytes.Equal(data, []byte(content(t, out))))

	fds := make([]int, 2)
	assert.NilError(t, unix.Pipe2(fds, unix.O_CLOEXEC))
	r, w := os.NewFile(uintptr(fds[0]), "pipe"), os.NewFile(uintptr(fds[1]), "pipe")
	assert.NilError(t, unix.SetNonblock(fds[1], true)) // behind os.File's back
	read := make(chan [sha256.Size]byte)
	go func() {
		time.Sleep(100 * time.Millisecond) // until the pipe is full
		b, _ := io.ReadAll(r)
		read <- sha256.Sum256(b)
	}()
	_, err = in.Seek(0, io.SeekStart)
	assert.NilError(t, err)
	spec.Stdout = w
	assert.NilError(t, sandbox.Run(t.Context(), spec))
	w.Close()
	assert.Equal(t, <-read, sha256.Sum256(data))
	r.Close()
}

// A process that a service made in the background holds the outputs open until process 1 ends, and no longer.
func TestBackgroundHoldsOutput(t *testing.T) {
	if !inside(t) {
		return
	}
	files := openFiles(t)
	spec := sh(newRoot(t), "sleep 100 & echo started")
	spec.Stdout, spec.Stderr = files[1], files[2]
	start := time.Now()
	assert.NilError(t, sandbox.Run(t.Context(), spec))
	assert.Equal(t, content(t, files[1]), "kept out\nstarted\n")
	assert.Assert(t, time.Since(start) < 50*time.Second)
}

// An outer terminal that is closed closes the inner one: a shell that sits at it ends.
func TestTerminalHangsUp(t *testing.T) {
	if !inside(t) {
		return
	}
	master, slave := openPTY(t)
	var shown screen
	spec := sandbox.Spec{
		Root:    mount.Mount{Type: mount.Bind, Source: newRoot(t)},
		Process: sandbox.Process{Args: []string{"/bin/sh", "-c", "echo ready; while read line; do :; done; exit 5"}, TTY: slave},
		Stdin:   slave, Stdout: &shown,
	}
	done := make(chan error)
	go func() { done <- sandbox.Run(t.Context(), spec) }()
	shown.waitFor(t, "ready")
	assert.NilError(t, master.Close())
	assert.DeepEqual(t, <-done, &sandbox.ExitError{Code: 5})
}

// What ps calls each process, other programs and the kernel do, too.
func TestProcessNames(t *testing.T) {
	for _, role := range []string{wire.ArgMaps, wire.ArgUserns, wire.ArgChroot, wire.ArgStep, wire.ArgIDs} {
		t.Run(role, func(t *testing.T) {
			r, w, err := os.Pipe() // each waits to be told what to do
			assert.NilError(t, err)
			cmd := exec.Command("/proc/self/exe")
			cmd.Args = []string{role}
			cmd.ExtraFiles = []*os.File{r, r, r}
			assert.NilError(t, cmd.Start())
			defer func() {
				_ = cmd.Process.Kill()
				_ = cmd.Wait()
				r.Close()
				w.Close()
			}()
			var comm []byte
			for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
				comm, err = os.ReadFile(filepath.Join("/proc", strconv.Itoa(cmd.Process.Pid), "comm"))
				assert.NilError(t, err)
				if strings.TrimSpace(string(comm)) == role {
					return
				}
			}
			t.Fatalf("%s is called %s", role, comm)
		})
	}
}
