package cli

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/moby/sys/user"
	"github.com/opencontainers/go-digest"
	"gotest.tools/v3/assert"

	"github.com/cairnbuild/cairn/dockerfile"
	"github.com/cairnbuild/cairn/internal/container"
	"github.com/cairnbuild/cairn/internal/engine"
	"github.com/cairnbuild/cairn/internal/store"
	"github.com/cairnbuild/cairn/oci/registry"
	"github.com/cairnbuild/cairn/sandbox"
)

func TestErrorTable(t *testing.T) {
	setup := func(stage string, errno syscall.Errno) error { return &sandbox.SetupError{Stage: stage, Errno: errno} }
	step := func(err error) error { return &engine.StepError{Step: 1, Name: "RUN x", File: "Dockerfile", Err: err} }
	for _, c := range []struct {
		name   string
		err    error
		status int
		hint   string // a part of it
	}{
		{"usage", &usageError{Command: "build", Msg: "x"}, exitUsage, "cairn build --help"},
		{"usage with hint", &usageError{Msg: "x", Hint: "did you mean y?"}, exitUsage, "did you mean y?; see also cairn --help"},
		{"canceled", fmt.Errorf("x: %w", context.Canceled), exitInterrupted, ""},
		{"command failed", step(&engine.CommandError{Code: 1, Err: &sandbox.ExitError{Code: 1}}), exitFailed, ""},
		{"command not found", step(&engine.CommandError{Code: 127, Err: &sandbox.ExitError{Code: 127}}), exitFailed, "command not found"},
		{"command killed", step(&sandbox.ExitError{Code: 137, Signal: syscall.SIGKILL}), exitFailed, "out of memory"},
		{"program missing", step(setup(sandbox.StageExec, syscall.ENOENT)), exitFailed, "not in the image"},
		{"wrong architecture", setup(sandbox.StageExec, syscall.ENOEXEC), exitFailed, "another architecture"},
		{"no user namespace", setup(sandbox.StageUserns, syscall.EPERM), exitMachine, ""},
		{"too many user namespaces", setup(sandbox.StageUserns, syscall.ENOSPC), exitMachine, "max_user_namespaces"},
		{"newuidmap", setup(sandbox.StageNewuid, syscall.EPERM), exitMachine, "newuidmap"},
		{"masked proc", step(setup(sandbox.StageProc, syscall.EPERM)), exitMachine, ""},
		{"overlay", step(setup(sandbox.StageRoot, syscall.EINVAL)), exitMachine, "--root"},
		{"login", fmt.Errorf("pull x: %w", &registry.AuthError{}), exitRegistry, "docker login"},
		{"not in the registry", step(&registry.NotFoundError{}), exitRegistry, "check the name"},
		{"name resolution", &net.DNSError{Name: "nowhere"}, exitRegistry, "nowhere"},
		{"connection", &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, exitRegistry, "network"},
		{"certificate", fmt.Errorf("x: %w", x509.UnknownAuthorityError{}), exitRegistry, "SSL_CERT_FILE"},
		{"Dockerfile", fmt.Errorf("x: %w", &dockerfile.Error{Msg: "x", Hint: "did you mean RUN?"}), exitDockerfile, "did you mean RUN?"},
		{"no Dockerfile", &engine.NoDockerfileError{Dir: "."}, exitDockerfile, "--file"},
		{"missing file of COPY", step(&fs.PathError{Op: "open", Path: "x", Err: fs.ErrNotExist}), exitDockerfile, ""},
		{"disk full", step(&fs.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}), exitMachine, "disk is full"},
		{"input or output", step(&fs.PathError{Op: "read", Path: "x", Err: syscall.EIO}), exitMachine, "dmesg"},
		{"no locks", step(&fs.PathError{Op: "lock", Path: "x", Err: syscall.ENOLCK}), exitMachine, "local one"},
		{"too many links", step(&os.LinkError{Op: "link", Old: "x", New: "y", Err: syscall.EMLINK}), exitMachine, "hard links"},
		{"file too large", step(&fs.PathError{Op: "write", Path: "x", Err: syscall.EFBIG}), exitMachine, "ulimit -f"},
		{"open files of a mount", setup(sandbox.StageOverlay, syscall.EMFILE), exitMachine, "ulimit -n"},
		{"processes", step(&engine.CommandError{Code: 126, Err: setup(sandbox.StageExec, syscall.EAGAIN)}), exitMachine, "ulimit -u"},
		{"memory", &os.SyscallError{Syscall: "mmap", Err: syscall.ENOMEM}, exitMachine, "memory"},
		{"killed", fmt.Errorf("x: %w", &sandbox.LostError{Signal: syscall.SIGKILL}), exitMachine, "out of memory"},
		{"killed by a limit", step(&engine.CommandError{Code: 137, Err: &sandbox.ExitError{Code: 137, Signal: syscall.SIGKILL, OutOfMemory: true}}), exitFailed, "--memory"},
		{"child killed", step(&engine.CommandError{Code: 137, Err: &sandbox.ExitError{Code: 137}}), exitFailed, "out of memory"},
		{"standard output", &outputError{syscall.ENOSPC}, exitMachine, "elsewhere"},
		{"beginning of IDs", fmt.Errorf("x: %w", &store.AmbiguousError{ID: "ab", IDs: []digest.Digest{"sha256:ab01", "sha256:ab02"}}), exitFailed, "ab01, ab02"},
		{"Dockerfile given", &engine.NoDockerfileError{File: "x", Err: fs.ErrNotExist}, exitDockerfile, "from where you are"},
		{"Dockerfile nearby", &engine.NoDockerfileError{File: "x", Nearest: "c/x", Err: fs.ErrNotExist}, exitDockerfile, "did you mean --file c/x?"},
		{"user of run", fmt.Errorf("x: %w", user.ErrNoPasswdEntries), exitFailed, "give a number"},
		{"quota", &fs.PathError{Op: "write", Path: "x", Err: syscall.EDQUOT}, exitMachine, "quota"},
		{"insecure store", fmt.Errorf("open: %w", &store.InsecureError{}), exitMachine, "0700"},
		{"name taken", fmt.Errorf("x: %w", &container.NameError{Name: "db", Taken: "0123"}), exitFailed, "cairn rm db"},
		{"hinted", &hintedError{Err: errors.New("x"), Hint: "try y"}, exitFailed, "try y"},
		{"other", errors.New("x"), exitFailed, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := judge(c.err)
			assert.Equal(t, v.Status, c.status)
			assert.Assert(t, strings.Contains(v.Hint, c.hint), "hint %q", v.Hint)
		})
	}
}

// reported runs report with files and returns what it printed.
func reported(t *testing.T, ctx context.Context, machine bool, err error) (int, string) {
	t.Helper()
	f, ferr := os.CreateTemp(t.TempDir(), "")
	assert.NilError(t, ferr)
	defer f.Close()
	sh := &shell{stderr: f, machine: machine}
	status := sh.report(ctx, err)
	_, ferr = f.Seek(0, io.SeekStart)
	assert.NilError(t, ferr)
	text, ferr := io.ReadAll(f)
	assert.NilError(t, ferr)
	return status, string(text)
}

func TestReport(t *testing.T) {
	ctx := context.Background()
	status, text := reported(t, ctx, false, nil)
	assert.Equal(t, status, 0)
	assert.Equal(t, text, "")

	status, text = reported(t, ctx, false, exit(42))
	assert.Equal(t, status, 42)
	assert.Equal(t, text, "")

	status, text = reported(t, ctx, false, &statusError{Status: 125, Err: errors.New("no such image: x")})
	assert.Equal(t, status, 125)
	assert.Equal(t, text, "error: no such image: x\n")

	status, text = reported(t, ctx, false, &usageError{Command: "build", Msg: "no"})
	assert.Equal(t, status, 2)
	assert.Equal(t, text, "error: no\nhint: see cairn build --help\n")

	interrupted, cancel := context.WithCancelCause(ctx)
	cancel(&interruptedError{Signal: syscall.SIGINT})
	status, text = reported(t, interrupted, false, errors.New("whatever broke"))
	assert.Equal(t, status, 130)
	assert.Equal(t, text, "error: interrupted\n")

	_, text = reported(t, ctx, true, &hintedError{Err: errors.New("a \"b\""), Hint: "c"})
	assert.Equal(t, text, `{"event":"error","error":"a \"b\"","hint":"c","status":1}`+"\n")
	_, text = reported(t, ctx, true, &engine.CommandError{Args: []string{"x"}, Code: 7, Err: &sandbox.ExitError{Code: 7}})
	assert.Assert(t, strings.Contains(text, `"status":1,"exitCode":7}`), text)
}

func TestSeveralErrorsAreSeveralLines(t *testing.T) {
	err := errors.Join(&hintedError{Err: errors.New("a"), Hint: "x"}, errors.New("b"))
	for _, e := range []error{err, &statusError{Status: 1, Err: err}} {
		_, text := reported(t, context.Background(), false, e)
		assert.Equal(t, text, "error: a\nhint: x\nerror: b\n")
	}
}

func TestFailedStepIsShown(t *testing.T) {
	err := &engine.StepError{
		Step: 5, Name: "[2/2] RUN false", File: "Dockerfile", Range: dockerfile.Range{Start: 2, End: 2},
		Excerpt: "--------------------\n   1 |     FROM x\n   2 | >>> RUN false\n--------------------\n",
		Tail:    []byte("one\ntwo\x1b[2J\n"),
		Err:     &engine.CommandError{Args: []string{"/bin/sh", "-c", "false"}, Code: 1, Err: &sandbox.ExitError{Code: 1}},
	}
	status, text := reported(t, context.Background(), false, err)
	assert.Equal(t, status, 1)
	assert.Equal(t, text, `------
 > [2/2] RUN false:
one
two
------
--------------------
   1 |     FROM x
   2 | >>> RUN false
--------------------
error: Dockerfile:2: process did not complete successfully: exit code: 1
`)

	// Of an ONBUILD trigger the lines show only the FROM: then the error names the step, in short.
	trigger := *err
	trigger.Trigger, trigger.Name = true, "[2/2] ONBUILD RUN "+strings.Repeat("false ", 100)
	assert.Assert(t, strings.HasPrefix(trigger.Error(), "Dockerfile:2: [2/2] ONBUILD RUN false"), trigger.Error())
	assert.Assert(t, len(trigger.Error()) < 200, trigger.Error())
}

// Of a script that fails, the last of what it said stands in the last 24 lines, whatever its length, and the error is one short
// line that ends in the status.
func TestErrorOfALongScriptIsShort(t *testing.T) {
	script := strings.Repeat("echo a line that is as long as lines in scripts are\n", 60) + "exit 7"
	source := "FROM busybox\nRUN <<EOF\n" + script + "\nEOF\n"
	lines := dockerfile.Range{Start: 2, End: 64}
	err := &engine.StepError{
		Step: 2, Name: "[2/2] RUN <<EOF (echo a line...)", File: "Dockerfile", Range: lines,
		Excerpt: dockerfile.Excerpt([]byte(source), []dockerfile.Range{lines}),
		Tail:    []byte(strings.Repeat("output\n", 100) + strings.Repeat("x", 10000) + "\nthe reason\n"),
		Err:     &engine.CommandError{Args: []string{"/bin/sh", "-c", script}, Code: 7, Err: &sandbox.ExitError{Code: 7}},
	}
	_, text := reported(t, context.Background(), false, err)
	shown := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	assert.Equal(t, shown[len(shown)-1], "error: Dockerfile:2: process did not complete successfully: exit code: 7")
	screen := strings.Join(shown[len(shown)-24:], "\n")
	assert.Assert(t, strings.Contains(screen, "\nthe reason\n") && strings.Contains(screen, "RUN <<EOF"), screen)
	assert.Assert(t, len(text) < 4000, "%d bytes", len(text))
}
