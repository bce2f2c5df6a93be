package sandbox_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/cairnbuild/cairn/internal/mount"
	"github.com/cairnbuild/cairn/sandbox"
)

func TestEnterIsRoot(t *testing.T) {
	assert.Equal(t, sandbox.InNamespace(), os.Args[0] == "cairn-userns")
	if !inside(t) {
		return
	}
	assert.Equal(t, os.Getuid(), 0)
	assert.Equal(t, os.Getgid(), 0)
	assert.Equal(t, os.Getpid(), 1, "its pid namespace is its own")
	self, err := os.Readlink("/proc/self")
	assert.NilError(t, err)
	assert.Equal(t, self, "1", "and /proc has that numbering")
	for fd := 3; fd < 5; fd++ {
		link, _ := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
		assert.Assert(t, !strings.HasPrefix(link, "pipe:"), "descriptor %d is left: %s", fd, link)
	}
	dir := t.TempDir()
	assert.NilError(t, mount.Mount{Type: mount.Tmpfs}.Attach(dir), "it may mount")
	assert.NilError(t, syscall.Unmount(dir, 0))
}

func TestEnterPassesOn(t *testing.T) {
	if sandbox.InNamespace() {
		fmt.Println("args", os.Args[2:], os.Getenv("A"))
		_, _ = io.Copy(os.Stdout, os.Stdin)
		for fd := uintptr(3); fd < 6; fd++ {
			_, _ = io.Copy(os.Stdout, os.NewFile(fd, "extra"))
		}
		os.Exit(42)
	}
	var files []*os.File
	for _, content := range []string{"stdin ", "three ", "four ", "five "} {
		name := filepath.Join(t.TempDir(), "file")
		assert.NilError(t, os.WriteFile(name, []byte(content), 0o644))
		f, err := os.Open(name)
		assert.NilError(t, err)
		defer f.Close()
		files = append(files, f)
	}
	r, w, err := os.Pipe()
	assert.NilError(t, err)
	exit, err := sandbox.Enter(t.Context(), sandbox.EnterOptions{
		Args: []string{"x", "-test.run=^TestEnterPassesOn$", "a", "b c"}, Env: []string{"A=1"},
		Stdin: files[0], Stdout: w, ExtraFiles: files[1:],
	})
	w.Close()
	assert.NilError(t, err)
	assert.Equal(t, exit, 42)
	out, err := io.ReadAll(r)
	assert.NilError(t, err)
	assert.Equal(t, string(out), "args [a b c] 1\nstdin three four five ")
}

func TestEnterIDs(t *testing.T) {
	if sandbox.InNamespace() {
		ids := sandbox.CurrentIDs()
		fmt.Println(ids.Mode, ids.Map)
		os.Exit(0)
	}
	enter := func(mode sandbox.IDMode) (string, error) {
		r, w, err := os.Pipe()
		assert.NilError(t, err)
		exit, err := sandbox.Enter(t.Context(), sandbox.EnterOptions{
			Args: []string{"x", "-test.run=^TestEnterIDs$"}, Stdout: w, Stderr: os.Stderr, IDs: mode,
		})
		w.Close()
		assert.Equal(t, exit, 0)
		out, _ := io.ReadAll(r)
		return strings.TrimSpace(string(out)), err
	}
	out, err := enter(sandbox.IDsOne)
	assert.NilError(t, err)
	assert.Equal(t, out, fmt.Sprintf("one 0 %d 1", os.Getuid()))

	auto, err := enter(sandbox.IDsAuto)
	assert.NilError(t, err)
	out, err = enter(sandbox.IDsSubuid)
	var setup *sandbox.SetupError
	switch {
	case err == nil:
		assert.Equal(t, out, auto)
		assert.Assert(t, strings.HasPrefix(out, "full 0 "), out)
	case errors.As(err, &setup): // a user without range
		assert.Equal(t, setup.Stage, sandbox.StageMaps)
		assert.ErrorContains(t, err, "no range for")
		assert.Assert(t, strings.HasPrefix(auto, "one"), auto)
	default:
		t.Fatal(err)
	}
}

func TestEnterMapToolFails(t *testing.T) {
	if sandbox.InNamespace() {
		os.Exit(0)
	}
	dir := t.TempDir()
	for _, tool := range []string{"newuidmap", "newgidmap"} {
		assert.NilError(t, os.WriteFile(filepath.Join(dir, tool), []byte("#!/bin/sh\necho refused >&2\nexit 1\n"), 0o755))
	}
	t.Setenv("PATH", dir)
	var notices []string
	o := sandbox.EnterOptions{
		Args: []string{"x", "-test.run=^TestEnterMapToolFails$"}, IDs: sandbox.IDsSubuid,
		Notice: func(s string) { notices = append(notices, s) },
	}
	_, err := sandbox.Enter(t.Context(), o)
	var setup *sandbox.SetupError
	if os.Getuid() == 0 { // root needs no tools
		assert.NilError(t, err)
		return
	}
	assert.Assert(t, errors.As(err, &setup), "%v", err)
	if setup.Stage == sandbox.StageMaps { // a user without range
		return
	}
	assert.ErrorContains(t, err, "exit status 1: refused")

	o.IDs = sandbox.IDsAuto
	exit, err := sandbox.Enter(t.Context(), o)
	assert.NilError(t, err)
	assert.Equal(t, exit, 0)
	assert.Equal(t, len(notices), 1)
	assert.Assert(t, strings.HasSuffix(notices[0], "owners are emulated, which makes commands some 20% slower"), notices[0])
}

func TestEnterSignals(t *testing.T) {
	if sandbox.InNamespace() {
		fmt.Println("ready")
		time.Sleep(time.Minute) // SIGTERM is Go's to handle: it ends the program
		os.Exit(0)
	}
	r, w, err := os.Pipe()
	assert.NilError(t, err)
	defer r.Close()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		_, _ = bufio.NewReader(r).ReadString('\n')
		cancel()
	}()
	start := time.Now()
	exit, err := sandbox.Enter(ctx, sandbox.EnterOptions{Args: []string{"x", "-test.run=^TestEnterSignals$"}, Stdout: w})
	w.Close()
	assert.NilError(t, err)
	assert.Assert(t, exit != 0)
	assert.Assert(t, time.Since(start) < 5*time.Second)
}

// The program inside is interrupted once, whether a key or a process does it.
func TestEnterInterruptedOnce(t *testing.T) {
	for _, tt := range []struct {
		name string
		key  bool
	}{{"key", true}, {"kill", false}} {
		t.Run(tt.name, func(t *testing.T) {
			master, slave := openPTY(t)
			var shown screen
			go func() { _, _ = io.Copy(&shown, master) }()
			cmd := exec.Command("/proc/self/exe", "interrupts")
			cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
			cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: tt.key}
			assert.NilError(t, cmd.Start())
			shown.waitFor(t, "ready")
			if tt.key {
				_, err := master.WriteString("\x03")
				assert.NilError(t, err)
			} else {
				assert.NilError(t, cmd.Process.Signal(syscall.SIGINT))
			}
			_ = cmd.Wait()
			shown.waitFor(t, "interrupted 1")
		})
	}
}

// No process outlives the one that was killed, whichever it was and however the command resists.
func TestKillLeavesNothing(t *testing.T) {
	for _, victim := range []string{"outer", "cairn-userns", "command"} {
		t.Run(victim, func(t *testing.T) {
			root := t.TempDir()
			assert.NilError(t, os.Chmod(root, 0o755))
			makeRoot(t, root)
			addHelper(t, &sandbox.Spec{Root: mount.Mount{Source: root}})
			token := fmt.Sprintf("token-%d-%s", os.Getpid(), victim)
			cmd := exec.Command("/proc/self/exe", "sleeper", root, token)
			cmd.Stderr = os.Stderr
			out, err := cmd.StdoutPipe()
			assert.NilError(t, err)
			assert.NilError(t, cmd.Start())
			line, err := bufio.NewReader(out).ReadString('\n')
			assert.Equal(t, line, "ready\n", "%v", err)

			found := processes(t, token)
			assert.Equal(t, len(found), 3, "%v", found)
			pid := map[string]int{"outer": cmd.Process.Pid, "cairn-userns": found["cairn-userns"], "command": found["helper"]}[victim]
			sleep := children(t, found["helper"])
			assert.Equal(t, len(sleep), 1)
			assert.NilError(t, syscall.Kill(pid, syscall.SIGKILL))
			_ = cmd.Wait()
			deadline := time.Now().Add(20 * time.Second)
			for time.Now().Before(deadline) && (len(processes(t, token)) > 0 || alive(sleep[0])) {
				time.Sleep(5 * time.Millisecond)
			}
			assert.Equal(t, len(processes(t, token)), 0, "%v", processes(t, token))
			assert.Assert(t, !alive(sleep[0]))
		})
	}
}

func alive(pid int) bool { return syscall.Kill(pid, 0) != syscall.ESRCH }

// processes lists those with token in their command line, by the name they run under.
func processes(t *testing.T, token string) map[string]int {
	t.Helper()
	found := make(map[string]int)
	names, err := filepath.Glob("/proc/[0-9]*/cmdline")
	assert.NilError(t, err)
	for _, name := range names {
		b, err := os.ReadFile(name)
		args := strings.Split(string(b), "\x00")
		if err == nil && strings.Contains(string(b), token) {
			pid, err := strconv.Atoi(strings.Split(name, "/")[2])
			assert.NilError(t, err)
			found[args[0]] = pid
		}
	}
	return found
}

func children(t *testing.T, pid int) []int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	assert.NilError(t, err)
	var pids []int
	for _, f := range strings.Fields(string(b)) {
		n, err := strconv.Atoi(f)
		assert.NilError(t, err)
		pids = append(pids, n)
	}
	return pids
}

// A sandbox inside a sandbox works where the outer one leaves what it needs, and says why not elsewhere.
func TestNested(t *testing.T) {
	if !inside(t) {
		return
	}
	root := newRoot(t)
	spec := sh(root, "")
	addHelper(t, &spec)
	spec.Process.Args = []string{"helper", "nested", "/inner"}
	inner := filepath.Join(root, "inner")
	assert.NilError(t, os.Mkdir(inner, 0o755))
	makeRoot(t, inner)

	assert.Equal(t, mustOutput(t, spec), "hello from inside") // in a chroot: the inner one is root and may make no namespace
	spec.Process.UID, spec.Process.GID = 1, 1
	if full() {
		out, err := output(t, spec)
		assert.Assert(t, err != nil && strings.Contains(out, "create user namespace: "), "%s%v", out, err)
		assert.Assert(t, strings.Contains(out, "operation not permitted"), out)
	}
	spec.Process.UID, spec.Process.GID = 0, 0

	spec.Insecure = true
	assert.Equal(t, mustOutput(t, spec), "hello from inside")
}

// The limit belongs to the user namespace that the test is in.
func TestNoUserNamespaces(t *testing.T) {
	if !inside(t) {
		return
	}
	assert.NilError(t, os.WriteFile("/proc/sys/user/max_user_namespaces", []byte("0"), 0))
	_, err := sandbox.Enter(t.Context(), sandbox.EnterOptions{Isolation: sandbox.IsolationNamespaces})
	var setup *sandbox.SetupError
	assert.Assert(t, errors.As(err, &setup), "%v", err)
	assert.Equal(t, setup.Stage, sandbox.StageUserns)
	assert.ErrorIs(t, err, syscall.ENOSPC)
}

// Where no program can gain privileges, newuidmap can't either: the user's own id is left.
func TestNoNewPrivs(t *testing.T) {
	root := t.TempDir()
	assert.NilError(t, os.Chmod(root, 0o755))
	makeRoot(t, root)
	out, err := exec.Command("/proc/self/exe", "no-new-privs", "nested", root).CombinedOutput()
	assert.NilError(t, err, "%s", out)
	assert.Equal(t, string(out), "hello from inside\n")
}

// A program that was replaced or removed while it runs still starts steps.
func TestProgramRemoved(t *testing.T) {
	dir := t.TempDir()
	assert.NilError(t, os.Chmod(dir, 0o755))
	root := filepath.Join(dir, "root")
	assert.NilError(t, os.Mkdir(root, 0o755))
	makeRoot(t, root)
	program := filepath.Join(dir, "program")
	copyFile(t, "/proc/self/exe", program)
	out, err := exec.Command(program, "nested", root, "unlink").CombinedOutput()
	assert.NilError(t, err, "%s", out)
	assert.Equal(t, string(out), "hello from inside\n")
}
