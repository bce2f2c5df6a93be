package sandbox

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/cairnbuild/cairn/sandbox/internal/seccomp"
	"github.com/cairnbuild/cairn/sandbox/internal/wire"
)

// defaultShmSize is Docker's.
const defaultShmSize = 64 << 20

// defaultCapabilities are Docker's: what root in a container has.
func defaultCapabilities() uint64 {
	var set uint64
	for _, c := range []uint{
		unix.CAP_CHOWN, unix.CAP_DAC_OVERRIDE, unix.CAP_FSETID, unix.CAP_FOWNER, unix.CAP_MKNOD, unix.CAP_NET_RAW,
		unix.CAP_SETGID, unix.CAP_SETUID, unix.CAP_SETFCAP, unix.CAP_SETPCAP, unix.CAP_NET_BIND_SERVICE,
		unix.CAP_SYS_CHROOT, unix.CAP_KILL, unix.CAP_AUDIT_WRITE,
	} {
		set |= 1 << c
	}
	return set
}

// capabilities are those of the step's root.
func (s *Spec) capabilities() uint64 {
	if s.Insecure {
		return allCapabilities()
	}
	return defaultCapabilities()
}

// allCapabilities are those that the kernel knows.
func allCapabilities() uint64 { return 1<<(unix.CAP_LAST_CAP+1) - 1 }

// defaultFilter is compiled once, and only by a process that runs something.
var defaultFilter = sync.OnceValue(func() []byte {
	return wire.PackFilter(seccomp.Default(defaultCapabilities()))
})

// rlimitNumber maps the names of `docker run --ulimit`.
func rlimitNumber(name string) (int, bool) {
	n, ok := map[string]int{
		"as": unix.RLIMIT_AS, "core": unix.RLIMIT_CORE, "cpu": unix.RLIMIT_CPU, "data": unix.RLIMIT_DATA,
		"fsize": unix.RLIMIT_FSIZE, "locks": unix.RLIMIT_LOCKS, "memlock": unix.RLIMIT_MEMLOCK,
		"msgqueue": unix.RLIMIT_MSGQUEUE, "nice": unix.RLIMIT_NICE, "nofile": unix.RLIMIT_NOFILE,
		"nproc": unix.RLIMIT_NPROC, "rss": unix.RLIMIT_RSS, "rtprio": unix.RLIMIT_RTPRIO, "rttime": unix.RLIMIT_RTTIME,
		"sigpending": unix.RLIMIT_SIGPENDING, "stack": unix.RLIMIT_STACK,
	}[name]
	return n, ok
}

// wire gives the form in which the child gets the Spec.
func (s *Spec) wire() (*wire.Spec, error) {
	p := s.Process
	if len(p.Args) == 0 {
		return nil, &SetupError{Stage: wire.StageSpec, Text: "no command"}
	}
	w := &wire.Spec{
		Root: s.Root, Mounts: s.Mounts, Hostname: s.Hostname, ReadonlyRoot: s.ReadonlyRoot, Confine: !s.Insecure,
		ShmSize: s.Limits.ShmSize, Capabilities: s.capabilities(),
		Process: wire.Process{
			Args: p.Args, Env: p.Env, Dir: p.Dir, UID: p.UID, GID: p.GID, Groups: p.Groups, KeepGroups: setgroupsDenied(),
		},
	}
	if w.ShmSize == 0 {
		w.ShmSize = defaultShmSize
	}
	if w.Process.Dir == "" {
		w.Process.Dir = "/"
	}
	switch s.Network {
	case NetworkHost, "":
		w.Network = wire.NetworkHost
	case NetworkNone:
		w.Network = wire.NetworkLoopback
	case NetworkPrivate:
		if s.Private == nil {
			return nil, &SetupError{Stage: wire.StageSpec, Text: "network private was not started"}
		}
		w.Network, w.NetworkPath = wire.NetworkJoined, s.Private.path
	default:
		return nil, &SetupError{Stage: wire.StageSpec, Text: fmt.Sprintf("network %q is not supported", s.Network)}
	}
	for _, l := range s.Limits.Rlimits {
		n, ok := rlimitNumber(l.Name)
		if !ok {
			return nil, &SetupError{Stage: wire.StageSpec, Text: fmt.Sprintf("unknown resource limit %q", l.Name)}
		}
		w.Rlimits = append(w.Rlimits, wire.Rlimit{Resource: n, Soft: l.Soft, Hard: l.Hard})
	}
	if !s.Insecure {
		w.Filter = defaultFilter()
	}
	if p.TTY != nil {
		w.Terminal = sizeOf(p.TTY)
	}
	if CurrentIsolation() == IsolationChroot {
		return w, withoutNamespaces(w)
	}
	return w, nil
}

// cloneflags are the namespaces of a step. The user namespace stays the caller's.
func (s *Spec) cloneflags() uintptr {
	if CurrentIsolation() == IsolationChroot {
		return 0
	}
	flags := uintptr(syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS | unix.CLONE_NEWCGROUP)
	if s.Network == NetworkNone {
		flags |= syscall.CLONE_NEWNET
	}
	return flags
}

// setgroupsDenied reports whether this user namespace was made without the right to drop groups.
func setgroupsDenied() bool {
	b, err := os.ReadFile("/proc/self/setgroups")
	return err == nil && strings.TrimSpace(string(b)) == "deny"
}
