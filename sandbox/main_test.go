package sandbox_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"gotest.tools/v3/assert"

	"github.com/cairnbuild/cairn/internal/mount"
	"github.com/cairnbuild/cairn/sandbox"
)

// The test binary plays three more parts: the children of the sandbox, "helper", a program inside a root that does what
// busybox can't, and "sleeper", a whole `cairn run` to be killed.
func TestMain(m *testing.M) {
	sandbox.RunIfChild()
	if len(os.Args) > 1 && os.Args[1] == "no-new-privs" {
		runtime.LockOSThread()
		err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
		if err == nil {
			err = syscall.Exec("/proc/self/exe", append(os.Args[:1:1], os.Args[2:]...), os.Environ())
		}
		panic(err)
	}
	if len(os.Args) > 1 && os.Args[1] == "nested" {
		os.Exit(nested(os.Args))
	}
	if filepath.Base(os.Args[0]) == "helper" {
		os.Exit(helper(os.Args[1], os.Args[2:]))
	}
	if len(os.Args) > 1 && os.Args[1] == "interrupts" {
		os.Exit(interrupts())
	}
	if len(os.Args) > 1 && os.Args[1] == "sleeper" {
		os.Exit(sleeper(os.Args))
	}
	os.Exit(m.Run())
}

// inside runs the calling test once more inside a user namespace and reports whether that is where it is now: the test goes
// on only there.
func inside(t *testing.T) bool {
	t.Helper()
	if sandbox.InNamespace() {
		return true
	}
	var out bytes.Buffer
	r, w, err := os.Pipe()
	assert.NilError(t, err)
	read := make(chan error)
	go func() {
		_, err := out.ReadFrom(r)
		read <- err
	}()
	exit, err := sandbox.Enter(t.Context(), sandbox.EnterOptions{
		Args:   []string{"", "-test.run=^" + t.Name() + "$", "-test.v"},
		Stdout: w, Stderr: w,
		Notice: func(s string) { t.Log(s) },
	})
	w.Close()
	assert.NilError(t, <-read)
	assert.NilError(t, err)
	assert.Equal(t, exit, 0, out.String())
	assert.Assert(t, strings.Contains(out.String(), "--- PASS: "+t.Name()), out.String())
	return false
}

// full reports whether there are ids other than root's.
func full() bool { return sandbox.CurrentIDs().Mode == sandbox.MapFull }

// newRoot makes a root file system of busybox and of this program as helper.
func newRoot(t testing.TB) string {
	t.Helper()
	root := t.TempDir()
	assert.NilError(t, os.Chmod(root, 0o755))
	makeRoot(t, root)
	return root
}

func makeRoot(t testing.TB, root string) {
	t.Helper()
	for _, dir := range []string{"bin", "dev", "proc", "sys", "etc", "tmp", "root"} {
		assert.NilError(t, os.Mkdir(filepath.Join(root, dir), 0o755))
	}
	assert.NilError(t, os.Chmod(filepath.Join(root, "tmp"), 0o1777))
	copyFile(t, "/bin/busybox", filepath.Join(root, "bin/busybox"))
	list, err := exec.Command("/bin/busybox", "--list").Output()
	assert.NilError(t, err)
	for _, name := range bytes.Fields(list) {
		_ = os.Symlink("busybox", filepath.Join(root, "bin", string(name)))
	}
}

// addHelper makes this program /bin/helper of spec's root, with the libraries that a test binary may need.
func addHelper(t testing.TB, spec *sandbox.Spec) {
	t.Helper()
	copyFile(t, "/proc/self/exe", filepath.Join(spec.Root.Source, "bin/helper"))
	for _, dir := range []string{"/lib", "/lib64"} {
		if _, err := os.Stat(dir); err == nil {
			assert.NilError(t, os.MkdirAll(spec.Root.Source+dir, 0o755))
			spec.Mounts = append(spec.Mounts, mount.Mount{Type: mount.Bind, Source: dir, Target: dir, ReadOnly: true})
		}
	}
}

func copyFile(t testing.TB, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	assert.NilError(t, err)
	assert.NilError(t, os.WriteFile(to, b, 0o755))
}

// sh gives the Spec of a shell command in root.
func sh(root, script string) sandbox.Spec {
	return sandbox.Spec{
		Root:    mount.Mount{Type: mount.Bind, Source: root},
		Process: sandbox.Process{Args: []string{"/bin/sh", "-c", script}, Env: []string{"PATH=/bin"}},
	}
}

// output runs spec and returns what it writes to both outputs.
func output(t testing.TB, spec sandbox.Spec) (string, error) {
	t.Helper()
	var b bytes.Buffer
	spec.Stdout, spec.Stderr = &b, &b
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	err := sandbox.Run(ctx, spec)
	return b.String(), err
}

// mustOutput is output of a command that succeeds, without the space around.
func mustOutput(t testing.TB, spec sandbox.Spec) string {
	t.Helper()
	out, err := output(t, spec)
	assert.NilError(t, err, out)
	return strings.TrimSpace(out)
}

// helper is a program inside a sandbox.
func helper(what string, args []string) int {
	var err error
	switch what {
	case "survive": // a command that takes back what would kill it with its parent
		if err = unix.Prctl(unix.PR_SET_PDEATHSIG, 0, 0, 0, 0); err == nil {
			fmt.Println("ready")
			time.Sleep(time.Hour)
		}
	case "ids":
		fmt.Println(os.Getuid(), os.Geteuid())
	case "dial":
		_, err = net.Dial("unix", args[0])
	case "syscall": // a number, three times 0
		var n uintptr
		fmt.Sscan(args[0], &n)
		if _, _, e := unix.Syscall(n, 0, 0, 0); e != 0 {
			err = e
		}
	case "exe-mount": // an attempt to write would fail in any case as long as the program runs
		var st unix.Statfs_t
		if err = unix.Statfs("/proc/self/exe", &st); err == nil && st.Flags&unix.ST_RDONLY != 0 {
			fmt.Println("read-only")
		}
	case "abort":
		unix.Umask(0)
		_ = unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})
		var p *int
		fmt.Println(*p)
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

// nested is a whole run of one command in a root, with its own file removed before if it is told so.
func nested(args []string) int {
	if !sandbox.InNamespace() {
		exit, err := sandbox.Enter(context.Background(), sandbox.EnterOptions{Args: args, Stdout: os.Stdout, Stderr: os.Stderr})
		if err != nil {
			fmt.Println(err)
			return 1
		}
		return exit
	}
	if len(args) > 3 && args[3] == "unlink" {
		name, err := os.Executable()
		if err == nil {
			err = os.Remove(name)
		}
		if err != nil {
			fmt.Println(err)
			return 1
		}
	}
	spec := sh(args[2], "echo hello from inside")
	spec.Stdout, spec.Stderr = os.Stdout, os.Stderr
	if err := sandbox.Run(context.Background(), spec); err != nil {
		fmt.Println(err)
		return 1
	}
	return 0
}

// interrupts says how often the program inside is interrupted.
func interrupts() int {
	if !sandbox.InNamespace() {
		exit, err := sandbox.Enter(context.Background(), sandbox.EnterOptions{Args: os.Args, Stdin: os.Stdin, Stdout: os.Stdout})
		fmt.Println(exit, err)
		return exit
	}
	c := make(chan os.Signal, 10)
	signal.Notify(c, syscall.SIGINT)
	fmt.Println("ready")
	<-c
	n := 1
	for end := time.After(300 * time.Millisecond); ; {
		select {
		case <-c:
			n++
		case <-end:
			fmt.Println("interrupted", n)
			return n
		}
	}
}

// sleeper runs a command that never ends, in the root that it is given, and which resists.
func sleeper(args []string) int {
	if !sandbox.InNamespace() {
		exit, err := sandbox.Enter(context.Background(), sandbox.EnterOptions{Args: args, Stdout: os.Stdout, Stderr: os.Stderr})
		fmt.Println(exit, err)
		return exit
	}
	err := sandbox.Run(context.Background(), sandbox.Spec{
		Root: mount.Mount{Type: mount.Bind, Source: args[2]},
		Mounts: []mount.Mount{
			{Type: mount.Bind, Source: "/lib", Target: "/lib", ReadOnly: true},
			{Type: mount.Bind, Source: "/lib64", Target: "/lib64", ReadOnly: true},
		},
		Process: sandbox.Process{
			Args: []string{"/bin/sh", "-c", "setsid sleep 3600 & exec helper survive " + args[3]}, Env: []string{"PATH=/bin"},
		},
		Stdout: os.Stdout, Stderr: os.Stderr,
	})
	fmt.Println(err)
	return 1
}
