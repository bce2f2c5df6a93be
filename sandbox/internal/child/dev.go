package child

import (
	"errors"
	"io/fs"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/cairnbuild/cairn/internal/mount"
	"github.com/cairnbuild/cairn/internal/sys"
)

// devNode is a device of the outer /dev that the sandbox gets.
type devNode struct {
	name  string
	major uint32
	minor uint32
	fd    sys.FD // mount of it
}

func devNodes() []devNode {
	return []devNode{
		{name: "null", major: 1, minor: 3}, {name: "zero", major: 1, minor: 5}, {name: "full", major: 1, minor: 7},
		{name: "random", major: 1, minor: 8}, {name: "urandom", major: 1, minor: 9}, {name: "tty", major: 5, minor: 0},
	}
}

type devLink struct{ name, target string }

func devLinks() []devLink {
	return []devLink{
		{"fd", "/proc/self/fd"}, {"stdin", "/proc/self/fd/0"}, {"stdout", "/proc/self/fd/1"},
		{"stderr", "/proc/self/fd/2"}, {"core", "/proc/kcore"}, {"ptmx", "pts/ptmx"},
	}
}

// nodeAttrs keep the outer inodes as they are: chmod, chown, utimes and setxattr of a device on a read-only mount are EROFS, also
// through a descriptor of it, while reading and writing the device is not the file system's business.
const nodeAttrs = unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NOEXEC

// openDev takes copies of the outer device nodes: a user namespace can't make any. Each must be the device it says.
func (c *child) openDev() error {
	c.dev = devNodes()
	for i := range c.dev {
		n := &c.dev[i]
		fd, err := sys.OpenTree(unix.AT_FDCWD, "/dev/"+n.name, false)
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Fstat(int(fd), &st); err != nil {
			return &os.PathError{Op: "stat", Path: "/dev/" + n.name, Err: err}
		}
		rdev := uint64(st.Rdev)
		if st.Mode&unix.S_IFMT != unix.S_IFCHR || unix.Major(rdev) != n.major || unix.Minor(rdev) != n.minor {
			return &os.PathError{Op: "open", Path: "/dev/" + n.name, Err: errors.New("not the device of that name")}
		}
		if err := sys.SetMountAttrs(fd, nodeAttrs, false); err != nil {
			return err
		}
		n.fd = fd
	}
	c.null = c.dev[0].fd
	return nil
}

// placeDev makes /dev: a small tmpfs with the device nodes, the usual links, and file systems for terminals, shared memory
// and message queues.
func (c *child) placeDev() error {
	m := mount.Mount{Type: mount.Tmpfs, Mode: 0o755, Size: 64 << 10, NoSuid: true, NoExec: true}
	dev, err := m.Open()
	if err != nil {
		return err
	}
	if err := c.placeStandard(dev, "dev"); err != nil {
		return err
	}
	for _, n := range c.dev {
		if err := c.placeNode(dev, n); err != nil {
			return renamed(err, "make", "/dev/"+n.name)
		}
	}
	for _, l := range devLinks() {
		if err := unix.Symlinkat(l.target, int(dev), l.name); err != nil {
			return &os.PathError{Op: "symlink", Path: "/dev/" + l.name, Err: err}
		}
	}
	if err := replaceNull(dev); err != nil {
		return err
	}
	return c.placeDevMounts(dev)
}

// replaceNull opens /dev/null of the new /dev in place of the outer one that this process was started with: a descriptor leads
// to the mount that it was opened on. A /dev without it keeps it.
func replaceNull(dev sys.FD) error {
	for fd := range 3 {
		if !isNull(fd) {
			continue
		}
		null, err := sys.OpenAt(dev, "null", unix.O_RDWR|unix.O_NOFOLLOW, 0)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil && isNull(int(null)) {
			err = os.NewSyscallError("dup3", unix.Dup3(int(null), fd, 0))
		}
		null.Close()
		if err != nil {
			return renamed(err, "open", "/dev/null")
		}
	}
	return nil
}

func isNull(fd int) bool {
	var st unix.Stat_t
	return unix.Fstat(fd, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFCHR && uint64(st.Rdev) == unix.Mkdev(1, 3)
}

func (c *child) placeNode(dev sys.FD, n devNode) error {
	at, err := sys.OpenAt(dev, n.name, unix.O_CREAT|unix.O_EXCL|unix.O_RDONLY, 0o666)
	if err != nil {
		return err
	}
	defer at.Close()
	return sys.MoveMount(n.fd, at)
}

func (c *child) placeDevMounts(dev sys.FD) error {
	shm := mount.Mount{Type: mount.Tmpfs, Size: c.spec.ShmSize, NoSuid: true, NoDev: true, NoExec: true}
	for _, d := range []struct {
		name string
		open func() (sys.FD, error)
		keep *sys.FD
	}{
		{"pts", openPts, &c.pts},
		{"shm", shm.Open, nil},
		{"mqueue", func() (sys.FD, error) { return sys.FSMount("mqueue", noExtras) }, nil},
	} {
		fd, err := d.open()
		if d.name == "mqueue" && err != nil { // a kernel without message queues
			continue
		}
		if err != nil {
			return renamed(err, "mount", "/dev/"+d.name)
		}
		if err := unix.Mkdirat(int(dev), d.name, 0o755); err != nil {
			return &os.PathError{Op: "mkdir", Path: "/dev/" + d.name, Err: err}
		}
		at, err := sys.OpenNoLinks(dev, d.name, unix.O_PATH|unix.O_DIRECTORY)
		if err == nil {
			err = sys.MoveMount(fd, at)
			at.Close()
		}
		if err != nil {
			return renamed(err, "mount", "/dev/"+d.name)
		}
		if d.keep == nil {
			fd.Close()
		} else {
			*d.keep = fd
		}
	}
	return nil
}

// ttyGroup owns terminals, so that `mesg` and `wall` work, on every distribution.
const ttyGroup = 5

// openPts leaves the group out where the id map has none.
func openPts() (sys.FD, error) {
	options := []sys.Parameter{
		{Key: "newinstance"}, {Key: "ptmxmode", Value: "0666"}, {Key: "mode", Value: "0620"},
		{Key: "gid", Value: strconv.Itoa(ttyGroup)},
	}
	const attrs = unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NOEXEC
	fd, err := sys.FSMount("devpts", attrs, options...)
	if errors.Is(err, unix.EINVAL) {
		return sys.FSMount("devpts", attrs, options[:len(options)-1]...)
	}
	return fd, err
}
