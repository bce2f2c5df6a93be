package child

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cairnbuild/cairn/internal/mount"
	"github.com/cairnbuild/cairn/internal/sys"
	"github.com/cairnbuild/cairn/sandbox/internal/wire"
)

// noExtras are the attributes of the file systems of the kernel's own.
const noExtras = unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC

func (c *child) openRoot() (err error) {
	if c.spec.Root.Type == mount.Overlay {
		c.stage = wire.StageOverlay
	}
	c.root, err = c.spec.Root.Open()
	return err
}

func (c *child) openSources() error {
	for _, m := range c.spec.Mounts {
		fd, err := m.Open()
		if err != nil {
			return err
		}
		c.mounts = append(c.mounts, fd)
	}
	return nil
}

// openProc must come before pivot: the kernel allows a new proc only where a whole one is in sight. Where a container around
// hides parts of it, the outer one is taken as it is, with what hides them: its numbers are those of other processes, but
// /proc/self is right. Where there is none, there is none inside either.
func (c *child) openProc() (err error) {
	c.proc, err = sys.FSMount("proc", noExtras)
	if !errors.Is(err, unix.EPERM) {
		return err
	}
	m := mount.Mount{Type: mount.Bind, Source: "/proc", NoExec: true, NoSuid: true} // what hides a file is often /dev/null
	if c.proc, err = m.Open(); err == nil && !isProc(c.proc) {
		c.proc.Close()
		c.proc = sys.NoFD
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func isProc(fd sys.FD) bool {
	var st unix.Statfs_t
	return unix.Fstatfs(int(fd), &st) == nil && st.Type == unix.PROC_SUPER_MAGIC
}

// openSys takes a sysfs of the new network namespace, or where that is not ours the outer /sys with all it contains.
func (c *child) openSys() (err error) {
	if c.spec.Network != wire.NetworkHost {
		attrs := noExtras
		if c.spec.Confine {
			attrs |= unix.MOUNT_ATTR_RDONLY
		}
		if c.sysfs, err = sys.FSMount("sysfs", attrs); err == nil {
			return nil
		}
	}
	m := mount.Mount{Type: mount.Bind, Source: "/sys", ReadOnly: c.spec.Confine, NoExec: true, NoSuid: true, NoDev: true}
	c.sysfs, err = m.Open()
	return err
}

// pivot makes the root file system the root. It is attached to /proc of the namespace that is about to vanish: a directory
// that is always there.
func (c *child) pivot() error {
	at, err := sys.Open("/proc", unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer at.Close()
	if err := sys.MoveMount(c.root, at); err != nil {
		return err
	}
	if err := sys.PivotInto(c.root); err != nil {
		return err
	}
	c.root.Close()
	c.root, err = sys.Open("/", unix.O_PATH|unix.O_DIRECTORY)
	return err
}

// standardDir opens one of the directories that every root has for the kernel's file systems. An image that made a link of
// it would have the mount land elsewhere, and /proc stay its own: that is refused.
func (c *child) standardDir(name string) (sys.FD, error) {
	fd, err := sys.OpenNoLinks(c.root, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW)
	if err != nil {
		return sys.NoFD, renamed(err, "mount", "/"+name)
	}
	return fd, nil
}

func (c *child) placeStandard(m sys.FD, name string) error {
	at, err := c.standardDir(name)
	if err != nil {
		return err
	}
	defer at.Close()
	return sys.MoveMount(m, at)
}

func (c *child) placeProc() error {
	if c.proc == sys.NoFD {
		return nil
	}
	return c.placeStandard(c.proc, "proc")
}

func (c *child) placeSys() error { return c.placeStandard(c.sysfs, "sys") }

// placeMounts attaches the Spec's own mounts; each target is resolved inside the root as it is by then.
func (c *child) placeMounts() error {
	for i, m := range c.spec.Mounts {
		if path.Clean(m.Target) != m.Target || !path.IsAbs(m.Target) || m.Target == "/" {
			return &os.PathError{Op: "mount on", Path: m.Target, Err: unix.EINVAL}
		}
		at, err := c.openTarget(m.Target, c.mounts[i])
		if err != nil {
			return renamed(err, "mount on", m.Target)
		}
		if err = notInProc(at); err == nil {
			err = sys.MoveMount(c.mounts[i], at)
		}
		at.Close()
		if err != nil {
			return renamed(err, "mount on", m.Target)
		}
		c.mounts[i].Close()
	}
	return nil
}

// notInProc refuses a target in /proc, however an image's links lead there: with it covered, what is later written to a process's own
// files there, by us or by the command, would go where the image wants (CVE-2025-52881).
func notInProc(at sys.FD) error {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(at), &st); err != nil {
		return err
	}
	if st.Type == unix.PROC_SUPER_MAGIC {
		return errors.New("nothing can be mounted in /proc")
	}
	return nil
}

// openTarget opens what a mount is to cover. /dev is not the image's but new and ours: what is missing there is made.
func (c *child) openTarget(target string, m sys.FD) (sys.FD, error) {
	at, err := sys.OpenInRoot(c.root, target, unix.O_PATH)
	inDev, isInDev := strings.CutPrefix(target, "/dev/")
	if !isInDev || !errors.Is(err, fs.ErrNotExist) {
		return at, err
	}
	dev, err := c.standardDir("dev")
	if err != nil {
		return sys.NoFD, err
	}
	defer dev.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(m), &st); err != nil {
		return sys.NoFD, err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		err = makeDirs(dev, inDev)
	} else if err = makeDirs(dev, path.Dir(inDev)); err == nil {
		err = unix.Mknodat(int(dev), inDev, unix.S_IFREG|0o644, 0)
	}
	if err != nil {
		return sys.NoFD, err
	}
	return sys.OpenInRoot(c.root, target, unix.O_PATH)
}

// renamed gives an error the name that the user knows the object by.
func renamed(err error, op, name string) error {
	var p *os.PathError
	if errors.As(err, &p) {
		err = p.Err
	}
	return &os.PathError{Op: op, Path: name, Err: err}
}

func (c *child) readonlyRoot() error {
	if !c.spec.ReadonlyRoot {
		return nil
	}
	fd, err := sys.Open("/", unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer fd.Close()
	return sys.SetMountAttrs(fd, unix.MOUNT_ATTR_RDONLY, false)
}
