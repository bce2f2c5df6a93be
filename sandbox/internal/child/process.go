package child

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cairnbuild/cairn/internal/sys"
	"github.com/cairnbuild/cairn/sandbox/internal/wire"
)

// network enters the network namespace that was prepared, or brings lo up in the new one.
func (c *child) network() error {
	switch c.spec.Network {
	case wire.NetworkJoined:
		return c.joinNetwork()
	case wire.NetworkLoopback:
		return loopback()
	}
	return nil
}

func (c *child) joinNetwork() error {
	fd, err := sys.Open(c.spec.NetworkPath, unix.O_RDONLY)
	if err != nil {
		return err
	}
	defer fd.Close()
	return os.NewSyscallError("setns", unix.Setns(int(fd), unix.CLONE_NEWNET))
}

func loopback() error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(s)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return os.NewSyscallError("ioctl SIOCSIFFLAGS", unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, ifr))
}

func (c *child) hostname() error {
	if c.spec.Hostname == "" {
		return nil
	}
	err := unix.Sethostname([]byte(c.spec.Hostname))
	if err == unix.EPERM { // podman's default filter, to which this root is none: the outer name stays
		return nil
	}
	return os.NewSyscallError("sethostname", err)
}

// workingDir enters the command's directory, and makes it, 0755 and root's, where an image names one that it lacks. The
// path is the image's, so links of /proc to open files are refused (CVE-2024-21626), and the kernel is asked whether the
// place is inside the root.
func (c *child) workingDir() error {
	dir := c.spec.Process.Dir
	fd, err := sys.OpenInRoot(c.root, dir, unix.O_PATH|unix.O_DIRECTORY)
	if errors.Is(err, fs.ErrNotExist) {
		if err = makeDirs(c.root, dir); err == nil {
			fd, err = sys.OpenInRoot(c.root, dir, unix.O_PATH|unix.O_DIRECTORY)
		}
	}
	if err != nil {
		return renamed(err, "chdir", dir)
	}
	defer fd.Close()
	if err := unix.Fchdir(int(fd)); err != nil {
		return &os.PathError{Op: "chdir", Path: dir, Err: err}
	}
	if _, err := unix.Getwd(); err != nil {
		return &os.PathError{Op: "getcwd", Path: dir, Err: err}
	}
	return nil
}

// makeDirs is mkdir -p below a directory that serves as root: each component is looked up inside it with what links it has.
func makeDirs(root sys.FD, unsafePath string) error {
	at := "/"
	for _, part := range strings.Split(strings.Trim(unsafePath, "/"), "/") {
		parent, err := sys.OpenInRoot(root, at, unix.O_PATH|unix.O_DIRECTORY)
		if err != nil {
			return err
		}
		err = unix.Mkdirat(int(parent), part, 0o755)
		parent.Close()
		if err != nil && err != unix.EEXIST {
			return &os.PathError{Op: "mkdir", Path: path.Join(at, part), Err: err}
		}
		at = path.Join(at, part)
	}
	return nil
}

func (c *child) limits() error {
	unix.Umask(0o022)
	// Away from the keys of the user's login session. A kernel without keys, or a full quota, has none to guard.
	_, _ = unix.KeyctlJoinSessionKeyring("cairn")
	for _, l := range c.spec.Rlimits {
		limit := unix.Rlimit{Cur: l.Soft, Max: l.Hard}
		if err := unix.Prlimit(0, l.Resource, &limit, nil); err != nil {
			return os.NewSyscallError("prlimit", err)
		}
	}
	return nil
}

// scope closes the abstract unix sockets of the outer network namespace, which no file permission guards. A kernel without
// this Landlock feature leaves them open.
func (c *child) scope() error {
	if c.spec.Network != wire.NetworkHost || !c.spec.Confine {
		return nil
	}
	err := sys.Landlock(unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET)
	for _, missing := range []error{unix.ENOSYS, unix.EOPNOTSUPP, unix.EINVAL, unix.E2BIG, unix.ENOMSG} {
		if errors.Is(err, missing) {
			return nil
		}
	}
	return err
}

func (c *child) bounding() error {
	return sys.DropBounding(c.spec.Capabilities)
}

// filter is loaded before the user changes, while that needs no no_new_privs: sudo has to work in an image.
func (c *child) filter() error {
	if len(c.spec.Filter) == 0 {
		return nil
	}
	program, err := wire.UnpackFilter(c.spec.Filter)
	if err != nil {
		return err
	}
	return sys.LoadFilter(program)
}

// user gives the pipes to the user, so that it may open /dev/stdout again, and then becomes it. As runc does, it leaves the group.
func (c *child) user() error {
	if c.spec.Supervise != nil {
		return nil // the supervisor says who it is
	}
	p := c.spec.Process
	for fd := range 3 {
		var st unix.Stat_t
		if unix.Fstat(fd, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFIFO {
			_ = unix.Fchown(fd, int(p.UID), -1) // in a chroot that may be forbidden, and what is open already works
		}
	}
	return sys.SetIDs(p.UID, p.GID, p.Groups, p.KeepGroups)
}

// capabilities leaves a root process the bounding set and anybody else nothing; the bounding set still lets sudo work. With a
// supervisor everybody is root to the kernel, and execve makes it the bounding set.
func (c *child) capabilities() error {
	if c.spec.Supervise != nil {
		return sys.DieWithParent()
	}
	var caps uint64
	if c.spec.Process.UID == 0 {
		caps = c.spec.Capabilities
	}
	if err := sys.SetCapabilities(caps); err != nil {
		return err
	}
	return sys.DieWithParent() // the change of user has undone it
}
