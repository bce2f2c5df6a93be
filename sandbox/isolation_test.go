package sandbox_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
	"gotest.tools/v3/assert"

	"github.com/cairnbuild/cairn/internal/mount"
	"github.com/cairnbuild/cairn/sandbox"
)

func TestNamespaces(t *testing.T) {
	if !inside(t) {
		return
	}
	root := newRoot(t)
	for _, tt := range []struct {
		network sandbox.Network
		shared  []string
		own     []string
	}{
		{sandbox.NetworkHost, []string{"user", "net"}, []string{"mnt", "pid", "ipc", "uts", "cgroup"}},
		{sandbox.NetworkNone, []string{"user"}, []string{"mnt", "pid", "ipc", "uts", "cgroup", "net"}},
	} {
		spec := sh(root, "for n in user net mnt pid ipc uts cgroup; do readlink /proc/1/ns/$n; done")
		spec.Network = tt.network
		out := mustOutput(t, spec)
		for _, name := range tt.shared {
			ours, err := os.Readlink("/proc/self/ns/" + name)
			assert.NilError(t, err)
			assert.Assert(t, strings.Contains(out, ours), "%s: %s is not shared", tt.network, name)
		}
		for _, name := range tt.own {
			ours, err := os.Readlink("/proc/self/ns/" + name)
			assert.NilError(t, err)
			assert.Assert(t, !strings.Contains(out, ours), "%s: %s is shared", tt.network, name)
		}
	}
	_, err := output(t, sandbox.Spec{Root: sh(root, "").Root, Process: sandbox.Process{Args: []string{"x"}}, Network: "bridge"})
	assert.ErrorContains(t, err, `network "bridge"`)
}

// docs/semantics.md 98: loopback up, and nothing else.
func TestNetworkNone(t *testing.T) {
	if !inside(t) {
		return
	}
	spec := sh(newRoot(t), "ip -o link | cut -d: -f2 ; ip addr show lo | grep -cE 'UP|127.0.0.1/8'; "+
		"ping -c 1 -w 5 127.0.0.1 | grep -c ' 0% packet loss'; ls /sys/class/net")
	spec.Network = sandbox.NetworkNone
	out := mustOutput(t, spec)
	assert.Equal(t, strings.Join(strings.Fields(out), " "), "lo 2 1 lo")
}

func TestDescriptors(t *testing.T) {
	if !inside(t) {
		return
	}
	root := newRoot(t)
	leak, err := os.Open("/")
	assert.NilError(t, err)
	defer leak.Close()
	_, err = unix.FcntlInt(leak.Fd(), unix.F_SETFD, 0) // even one that is not close-on-exec
	assert.NilError(t, err)
	for _, network := range []sandbox.Network{sandbox.NetworkHost, sandbox.NetworkNone} {
		spec := sh(root, "ls /proc/1/fd; true")
		spec.Network = network
		assert.Equal(t, mustOutput(t, spec), "0\n1\n2")
	}
}

func TestPaths(t *testing.T) {
	if !inside(t) {
		return
	}
	root := newRoot(t)
	for _, tt := range []struct{ name, script, want string }{
		{"hidden files are empty", "cat /proc/keys /proc/kcore /proc/timer_list /proc/interrupts 2>/dev/null | wc -c", "0"},
		{"hidden directories are empty", "ls /sys/firmware /proc/scsi /proc/acpi 2>/dev/null | grep -v : | wc -w", "0"},
		{"hidden directories are read-only", "touch /sys/firmware/x 2>/dev/null || echo no", "no"},
		{"sysctl", "echo 1 2>/dev/null > /proc/sys/kernel/domainname || echo no", "no"},
		{"sysrq", "echo h 2>/dev/null > /proc/sysrq-trigger || echo no", "no"},
		{"core_pattern", "echo x 2>/dev/null > /proc/sys/kernel/core_pattern || echo no", "no"},
		{"/sys is read-only with all below", "grep ' /sys' /proc/mounts | grep -cvE ' (ro|ro,[^ ]*) '", "0"},
		{"oom_score_adj of its own can be written", "echo 500 > /proc/self/oom_score_adj && cat /proc/self/oom_score_adj", "500"},
		{"processes of others", "echo /proc/[0-9]*", "/proc/1"},
		{"devices", "cd /dev; ls | tr '\\n' ' '",
			"core fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero"},
		{"null and zero", "echo x > /dev/null; head -c 3 /dev/zero | wc -c; head -c 3 /dev/urandom | wc -c", "3\n3"},
		{"terminals are its own", "ls /dev/pts", "ptmx"},
		{"shared memory", "touch /dev/shm/x && stat -c %a /dev/shm && ls /dev/shm", "1777\nx"},
		{"writing to the standard files by name", "echo a > /dev/stdout; echo b > /dev/stderr; echo c > /dev/fd/1", "a\nb\nc"},
		// With one id there are nodes that no device is behind.
		{"device nodes", "{ mknod /tmp/null b 7 0 && cat /tmp/null | grep -c . || echo no; } 2>/dev/null | tail -n 1", "no"},
		{"mounts", "mount -t tmpfs x /tmp 2>/dev/null || echo no", "no"},
		{"unmounts", "umount /proc 2>/dev/null || umount /proc/keys 2>/dev/null || echo no", "no"},
		{"user namespaces", "unshare -r true 2>/dev/null || echo no", "no"},
		{"the way up", "cd /../../..; ls -d bin; cat /proc/1/root/etc/passwd 2>/dev/null || echo no", "bin\nno"},
		{"Docker's capabilities", "grep -E 'Cap|NoNew|Seccomp:' /proc/self/status | tr -s '\\t\\n' '  '", "CapInh: 0000000000000000 " +
			"CapPrm: 00000000a80425fb CapEff: 00000000a80425fb CapBnd: 00000000a80425fb CapAmb: 0000000000000000 " +
			"NoNewPrivs: 0 Seccomp: 2"},
		{"session", "cut -d' ' -f6,7 /proc/1/stat", "1 0"}, // a session of its own, without terminal
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, err := output(t, sh(root, tt.script))
			assert.Equal(t, strings.TrimSpace(out), tt.want, "%v", err)
		})
	}
}

func TestInsecure(t *testing.T) {
	if !inside(t) {
		return
	}
	spec := sh(newRoot(t), "mount -t tmpfs x /tmp && unshare -m true && grep -c tmpfs /proc/keys; grep -E '^Seccomp:' /proc/self/status")
	spec.Insecure = true
	out := mustOutput(t, spec)
	filter := "0"
	if !full() {
		filter = "2" // of the emulation
	}
	assert.Assert(t, strings.HasSuffix(out, "Seccomp:\t"+filter), out)
}

func TestSystemCallFilter(t *testing.T) {
	if !inside(t) {
		return
	}
	spec := sh(newRoot(t), "")
	addHelper(t, &spec)
	for _, tt := range []struct {
		number int
		want   syscall.Errno
	}{
		{unix.SYS_ADD_KEY, syscall.EPERM},
		{unix.SYS_KEXEC_LOAD, syscall.EPERM},
		{unix.SYS_CLONE3, syscall.ENOSYS},
		{unix.SYS_OPEN_TREE, syscall.EPERM},
		{5000, syscall.ENOSYS},
	} {
		spec.Process.Args = []string{"helper", "syscall", fmt.Sprint(tt.number)}
		out, err := output(t, spec)
		var exit *sandbox.ExitError
		assert.Assert(t, errors.As(err, &exit), "%v", err)
		assert.Equal(t, strings.TrimSpace(out), tt.want.Error())
	}
}

// An abstract socket of the host has no owner and no mode: Landlock closes it. Without the kernel's help this fails.
func TestAbstractSocket(t *testing.T) {
	if !inside(t) {
		return
	}
	l, err := net.Listen("unix", "@cairn-test")
	assert.NilError(t, err)
	defer l.Close()
	spec := sh(newRoot(t), "")
	addHelper(t, &spec)
	spec.Process.Args = []string{"helper", "dial", "@cairn-test"}
	out, err := output(t, spec)
	assert.Assert(t, err != nil && strings.Contains(out, "operation not permitted"), "%s%v", out, err)

	spec.Insecure = true // shows that it is Landlock which the test sees
	mustOutput(t, spec)
}

// CVE-2019-5736: the program that started the command is on the user's disk.
func TestProgramCannotBeWritten(t *testing.T) {
	if !inside(t) {
		return
	}
	spec := sh(newRoot(t), "")
	addHelper(t, &spec)
	name := filepath.Join(spec.Root.Source, "bin/helper")
	assert.NilError(t, os.Remove(name))
	// When the command is looked up, /proc/self/exe is the program outside that looks.
	assert.NilError(t, os.Symlink("/proc/self/exe", name))
	spec.Process.Args = []string{"helper", "exe-mount"}
	for _, spec.Insecure = range []bool{false, true} {
		assert.Equal(t, mustOutput(t, spec), "read-only")
	}
}

// CVE-2024-21626: no working directory outside, whatever descriptor number is guessed.
func TestWorkingDirCannotEscape(t *testing.T) {
	if !inside(t) {
		return
	}
	root := newRoot(t)
	for fd := range 16 {
		for _, dir := range []string{fmt.Sprintf("/proc/self/fd/%d", fd), fmt.Sprintf("/proc/1/fd/%d", fd), fmt.Sprintf("/link%d", fd)} {
			_ = os.Symlink(fmt.Sprintf("/proc/self/fd/%d", fd), filepath.Join(root, fmt.Sprintf("link%d", fd)))
			spec := sh(root, "ls -d ../../../home ../../../../etc/passwd 2>/dev/null; pwd")
			spec.Process.Dir = dir
			out, err := output(t, spec)
			var setup *sandbox.SetupError
			assert.Assert(t, errors.As(err, &setup), "%s: %s%v", dir, out, err)
		}
	}
}

func TestHostileMountPoints(t *testing.T) {
	if !inside(t) {
		return
	}
	for _, name := range []string{"proc", "sys", "dev"} {
		root := newRoot(t)
		assert.NilError(t, os.Remove(filepath.Join(root, name)))
		assert.NilError(t, os.Symlink("etc", filepath.Join(root, name)))
		_, err := output(t, sh(root, "true"))
		var setup *sandbox.SetupError
		assert.Assert(t, errors.As(err, &setup), "%s: %v", name, err)
		assert.Equal(t, err.Error(), "mount /"+name+": not a directory")
	}
}

func TestMountTargetStaysInside(t *testing.T) {
	if !inside(t) {
		return
	}
	root := newRoot(t)
	outside := filepath.Join(t.TempDir(), "victim")
	assert.NilError(t, os.WriteFile(outside, []byte("victim"), 0o644))
	source := filepath.Join(t.TempDir(), "source")
	assert.NilError(t, os.WriteFile(source, []byte("content"), 0o644))
	assert.NilError(t, os.MkdirAll(filepath.Join(root, filepath.Dir(outside)), 0o755))
	assert.NilError(t, os.WriteFile(filepath.Join(root, outside), []byte("inner"), 0o644))
	for name, link := range map[string]string{
		"absolute": outside, "up": "../../../../../../../.." + outside, "cwd": "/proc/self/cwd", "fd": "/proc/self/fd/3",
		"attr": "proc/self/attr/exec",
	} {
		assert.NilError(t, os.Symlink(link, filepath.Join(root, name)))
	}
	for target, ok := range map[string]bool{"/absolute": true, "/up": true, "/cwd": false, "/cwd/x": false, "/fd": false, "/": false, "/a/../b": false, "rel": false, "": false, "/none": false,
		"/proc": false, "/proc/self/attr/exec": false, "/attr": false, "/proc/sys/kernel/hostname": false} {
		spec := sh(root, "cat "+outside)
		spec.Mounts = []mount.Mount{{Type: mount.Bind, Source: source, Target: target}}
		out, err := output(t, spec)
		if ok {
			assert.NilError(t, err)
			assert.Equal(t, out, "content")
		} else {
			var setup *sandbox.SetupError
			assert.Assert(t, errors.As(err, &setup), "%s: %v", target, err)
			assert.Equal(t, setup.Stage, sandbox.StageMounts, "%v", err)
		}
		b, err := os.ReadFile(outside)
		assert.NilError(t, err)
		assert.Equal(t, string(b), "victim")
	}
}

func TestMounts(t *testing.T) {
	if !inside(t) {
		return
	}
	root := newRoot(t)
	source := t.TempDir()
	assert.NilError(t, os.WriteFile(filepath.Join(source, "file"), []byte("content\n"), 0o644))
	assert.NilError(t, os.Mkdir(filepath.Join(root, "mnt"), 0o755))
	t.Run("bind", func(t *testing.T) {
		spec := sh(root, "cat /mnt/file; touch /mnt/new 2>/dev/null || echo ro")
		spec.Mounts = []mount.Mount{{Type: mount.Bind, Source: source, Target: "/mnt"}}
		assert.Equal(t, mustOutput(t, spec), "content")
		spec.Mounts[0].ReadOnly = true
		assert.Equal(t, mustOutput(t, spec), "content\nro")
	})
	t.Run("tmpfs", func(t *testing.T) {
		spec := sh(root, "stat -c %a /mnt; df -k /mnt | tail -1 | awk '{print $2}'; touch /mnt/x; ls /mnt")
		spec.Mounts = []mount.Mount{{Type: mount.Tmpfs, Size: 1 << 20, Mode: 0o750, Target: "/mnt"}}
		assert.Equal(t, mustOutput(t, spec), "750\n1024\nx")
		_, err := os.Stat(filepath.Join(root, "mnt/x"))
		assert.ErrorIs(t, err, os.ErrNotExist)
	})
	t.Run("in /dev mount points are made", func(t *testing.T) {
		spec := sh(root, "cat /dev/pipes/file /dev/some/where/else")
		spec.Mounts = []mount.Mount{
			{Type: mount.Bind, Source: source, Target: "/dev/pipes"},
			{Type: mount.Bind, Source: filepath.Join(source, "file"), Target: "/dev/some/where/else"},
		}
		assert.Equal(t, mustOutput(t, spec), "content\ncontent")
	})
	t.Run("read-only root", func(t *testing.T) {
		spec := sh(root, "touch /x 2>/dev/null || echo ro; touch /mnt/x && echo rw; touch /tmp/x 2>/dev/null || echo ro")
		spec.ReadonlyRoot = true
		spec.Mounts = []mount.Mount{{Type: mount.Bind, Source: source, Target: "/mnt"}}
		assert.Equal(t, mustOutput(t, spec), "ro\nrw\nro")
	})
	t.Run("a missing source", func(t *testing.T) {
		spec := sh(root, "")
		spec.Mounts = []mount.Mount{{Type: mount.Bind, Source: "/no/such/file", Target: "/mnt"}}
		_, err := output(t, spec)
		assert.ErrorIs(t, err, os.ErrNotExist)
		assert.ErrorContains(t, err, "open mounts: clone mount /no/such/file: no such file or directory")
	})
}
