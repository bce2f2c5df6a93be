package sandbox_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"gotest.tools/v3/assert"

	"github.com/cairnbuild/cairn/sandbox"
)

func TestExitCode(t *testing.T) {
	if !inside(t) {
		return
	}
	root := newRoot(t)
	for _, code := range []int{0, 1, 3, 126, 127, 255} {
		out, err := output(t, sh(root, fmt.Sprintf("echo hello; exit %d", code)))
		assert.Equal(t, out, "hello\n")
		var exit *sandbox.ExitError
		if code == 0 {
			assert.NilError(t, err)
			continue
		}
		assert.Assert(t, errors.As(err, &exit), "%v", err)
		assert.Equal(t, *exit, sandbox.ExitError{Code: code})
		assert.Equal(t, err.Error(), fmt.Sprintf("exit code: %d", code))
	}
}

func TestSignals(t *testing.T) {
	if !inside(t) {
		return
	}
	root := newRoot(t)
	for _, tt := range []struct {
		script string
		send   syscall.Signal
		want   *sandbox.ExitError
	}{
		{"trap 'exit 7' TERM; echo ready; while :; do sleep 0.02; done", syscall.SIGTERM, &sandbox.ExitError{Code: 7}},
		{"echo ready; sleep 100", syscall.SIGKILL, &sandbox.ExitError{Code: 137, Signal: syscall.SIGKILL}},
		// Process 1 has no default action: what it does not handle is lost, as in docker.
		{"trap 'exit 0' INT; echo ready; sleep 1; exit 5", syscall.SIGTERM, &sandbox.ExitError{Code: 5}},
	} {
		signals := make(chan os.Signal, 1)
		spec := sh(root, tt.script)
		spec.Signals = signals
		spec.Stdout = writerFunc(func(p []byte) (int, error) {
			signals <- tt.send
			return len(p), nil
		})
		err := sandbox.Run(t.Context(), spec)
		assert.DeepEqual(t, err, tt.want)
	}
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestProcess(t *testing.T) {
	if !inside(t) {
		return
	}
	root := newRoot(t)
	assert.NilError(t, os.WriteFile(filepath.Join(root, "etc/group"), []byte("root:x:0:\n"), 0o644))
	spec := sh(root, "echo $$ $A $PATH; pwd; id -u; id -g; umask; hostname")
	spec.Process.Env = []string{"PATH=/bin", "A=b c"}
	spec.Process.Dir = "/tmp"
	spec.Hostname = "inside"
	assert.Equal(t, mustOutput(t, spec), "1 b c /bin\n/tmp\n0\n0\n0022\ninside")

	t.Run("exec form is looked up in PATH", func(t *testing.T) {
		spec := sh(root, "")
		spec.Process.Args = []string{"echo", "x"}
		spec.Process.Env = []string{"PATH=/nowhere:/etc/group:/bin"}
		assert.Equal(t, mustOutput(t, spec), "x")
		spec.Process.Env = nil
		assert.Equal(t, mustOutput(t, spec), "x")
	})
	t.Run("a missing directory is made and is root's", func(t *testing.T) {
		assert.NilError(t, os.Symlink("/tmp", filepath.Join(root, "link")))
		spec := sh(root, "pwd -P; stat -c '%a %u' .")
		spec.Process.Dir = "/link/new/dir"
		assert.Equal(t, mustOutput(t, spec), "/tmp/new/dir\n755 0")
	})
	t.Run("ignored signals are not inherited", func(t *testing.T) {
		signal.Ignore(syscall.SIGHUP, syscall.SIGPIPE)
		defer signal.Reset(syscall.SIGHUP, syscall.SIGPIPE)
		spec := sh(root, "")
		spec.Process.Args = []string{"grep", "-E", "Sig(Blk|Ign)", "/proc/self/status"}
		assert.Equal(t, mustOutput(t, spec), "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000")
	})
}

func TestUser(t *testing.T) {
	if !inside(t) {
		return
	}
	root := newRoot(t)
	spec := sh(root, "grep -E '^(Uid|Gid|Groups|CapEff|CapPrm)' /proc/1/status; echo again > /dev/stdout")
	spec.Process.UID, spec.Process.GID, spec.Process.Groups = 1000, 1001, []uint32{1001, 44}
	if full() {
		assert.Equal(t, mustOutput(t, spec), "Uid:\t1000\t1000\t1000\t1000\nGid:\t1001\t1001\t1001\t1001\nGroups:\t44 1001 \n"+
			"CapPrm:\t0000000000000000\nCapEff:\t0000000000000000\nagain")
	} else {
		spec.Process.Args[2] = "id; echo again > /dev/stdout"
		assert.Equal(t, mustOutput(t, spec), "uid=1000 gid=1001 groups=1001,44\nagain")
	}

	t.Run("a setuid program gets root back", func(t *testing.T) {
		addHelper(t, &spec)
		assert.NilError(t, os.Chmod(filepath.Join(root, "bin/helper"), 0o755|os.ModeSetuid))
		spec.Process.Args = []string{"helper", "ids"}
		assert.Equal(t, mustOutput(t, spec), "1000 0")
	})
}

func TestStdin(t *testing.T) {
	if !inside(t) {
		return
	}
	root := newRoot(t)
	spec := sh(root, "cat; echo end")
	assert.Equal(t, mustOutput(t, spec), "end", "without one it is /dev/null (docs/semantics.md 87)")

	spec.Stdin = strings.NewReader("some input\n")
	assert.Equal(t, mustOutput(t, spec), "some input\nend")

	t.Run("a reader that never ends does not hold the step", func(t *testing.T) {
		r, w := io.Pipe()
		defer w.Close()
		spec := sh(root, "read line; echo got $line")
		spec.Stdin = r
		go func() { _, _ = w.Write([]byte("x\n")) }()
		assert.Equal(t, mustOutput(t, spec), "got x")
	})
}

func TestOutput(t *testing.T) {
	if !inside(t) {
		return
	}
	root := newRoot(t)
	t.Run("apart", func(t *testing.T) {
		var out, err bytes.Buffer
		spec := sh(root, "echo out; echo err >&2")
		spec.Stdout, spec.Stderr = &out, &err
		assert.NilError(t, sandbox.Run(t.Context(), spec))
		assert.Equal(t, out.String()+err.String(), "out\nerr\n")
	})
	t.Run("all of it arrives", func(t *testing.T) {
		var n int
		spec := sh(root, "dd if=/dev/zero bs=1M count=20 2>/dev/null")
		spec.Stdout = writerFunc(func(p []byte) (int, error) {
			n += len(p)
			return len(p), nil
		})
		assert.NilError(t, sandbox.Run(t.Context(), spec))
		assert.Equal(t, n, 20<<20)
	})
	t.Run("a destination that fails", func(t *testing.T) {
		full := errors.New("disk full")
		spec := sh(root, "echo a; sleep 0.1; echo b")
		spec.Stdout = writerFunc(func([]byte) (int, error) { return 0, full })
		assert.ErrorIs(t, sandbox.Run(t.Context(), spec), full)
	})
}

// docs/semantics.md 91: what a RUN leaves running dies with it, and its late writes are never seen.
func TestBackgroundProcessDies(t *testing.T) {
	if !inside(t) {
		return
	}
	root := newRoot(t)
	start := time.Now()
	out := mustOutput(t, sh(root, "(trap '' HUP TERM; setsid sh -c 'sleep 1; echo late > /tmp/late') & echo started"))
	assert.Equal(t, out, "started")
	assert.Assert(t, time.Since(start) < 900*time.Millisecond, "Run has waited for it")
	time.Sleep(1200 * time.Millisecond)
	_, err := os.Stat(filepath.Join(root, "tmp/late"))
	assert.ErrorIs(t, err, os.ErrNotExist)
}

func TestCancel(t *testing.T) {
	if !inside(t) {
		return
	}
	root := newRoot(t)
	ctx, cancel := context.WithCancel(t.Context())
	spec := sh(root, "trap '' TERM INT; echo ready; (sleep 1; echo late > /tmp/late) & sleep 100")
	spec.Stdout = writerFunc(func(p []byte) (int, error) {
		cancel()
		return len(p), nil
	})
	start := time.Now()
	err := sandbox.Run(ctx, spec)
	assert.ErrorIs(t, err, context.Canceled)
	assert.Assert(t, time.Since(start) < time.Second)
	assert.ErrorIs(t, sandbox.Run(ctx, spec), context.Canceled)
}

func TestExecErrors(t *testing.T) {
	if !inside(t) {
		return
	}
	root := newRoot(t)
	write := func(name, content string, mode os.FileMode) {
		assert.NilError(t, os.WriteFile(filepath.Join(root, "bin", name), []byte(content), mode))
	}
	write("plain", "echo x", 0o644)
	write("orphan", "#!/no/such/interpreter\n", 0o755)
	write("garbage", "\x7fELFgarbage", 0o755)
	for _, tt := range []struct {
		program string
		errno   syscall.Errno
		text    string
	}{
		{"missing", syscall.ENOENT, "exec: find missing: no such file or directory"},
		{"/bin/missing", syscall.ENOENT, "exec: execve /bin/missing: no such file or directory"},
		{"plain", syscall.EACCES, "exec: execve /bin/plain: permission denied"},
		{"orphan", syscall.ENOENT, "exec: find the interpreter of /bin/orphan: no such file or directory"},
		{"garbage", syscall.ENOEXEC, "exec: execve /bin/garbage: exec format error"},
		{"/bin", syscall.EACCES, "exec: execve /bin: permission denied"},
	} {
		spec := sh(root, "")
		spec.Process.Args = []string{tt.program}
		_, err := output(t, spec)
		var setup *sandbox.SetupError
		assert.Assert(t, errors.As(err, &setup), "%s: %v", tt.program, err)
		assert.Equal(t, setup.Stage, sandbox.StageExec)
		assert.ErrorIs(t, err, tt.errno)
		assert.Equal(t, err.Error(), tt.text)
	}
}

func TestLimits(t *testing.T) {
	if !inside(t) {
		return
	}
	root := newRoot(t)
	spec := sh(root, "ulimit -n; ulimit -Hn; ulimit -c; df -k /dev/shm | tail -1 | awk '{print $2}'")
	spec.Limits = sandbox.Limits{
		ShmSize: 1 << 20,
		Rlimits: []sandbox.Rlimit{{Name: "nofile", Soft: 64, Hard: 128}, {Name: "core"}},
	}
	assert.Equal(t, mustOutput(t, spec), "64\n128\n0\n1024")
	spec.Limits.Rlimits[0].Name = "nofiles"
	_, err := output(t, spec)
	assert.ErrorContains(t, err, `unknown resource limit "nofiles"`)
}

func TestParallel(t *testing.T) {
	if !inside(t) {
		return
	}
	root := newRoot(t)
	errs := make(chan error)
	for i := range 8 {
		go func() {
			var b bytes.Buffer
			spec := sh(root, fmt.Sprintf("sleep 0.05; echo %d", i))
			spec.Stdout = &b
			err := sandbox.Run(t.Context(), spec)
			if want := fmt.Sprintln(i); err == nil && b.String() != want {
				err = fmt.Errorf("got %q, want %q", b.String(), want)
			}
			errs <- err
		}()
	}
	for range 8 {
		assert.NilError(t, <-errs)
	}
}
