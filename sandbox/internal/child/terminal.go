package child

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/cairnbuild/cairn/internal/sys"
	"github.com/cairnbuild/cairn/sandbox/internal/wire"
)

// terminal opens a pseudo-terminal of the sandbox's own devpts, so that `tty` names a file that is there, makes it the
// controlling terminal, stdin, stdout, stderr and /dev/console, and sends the master to the parent.
func (c *child) terminal() error {
	size := c.spec.Terminal
	if size == nil {
		return nil
	}
	master, err := sys.OpenAt(c.pts, "ptmx", unix.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return err
	}
	defer master.Close()
	slave, err := openSlave(master, *size)
	if err != nil {
		return err
	}
	p := c.spec.Process
	if c.spec.Supervise != nil {
		p.UID = 0
	}
	if err := unix.Fchown(int(slave), int(p.UID), -1); err != nil {
		return os.NewSyscallError("chown terminal", err)
	}
	if err := c.console(master); err != nil {
		return renamed(err, "make", "/dev/console")
	}
	if err := unix.IoctlSetInt(int(slave), unix.TIOCSCTTY, 0); err != nil {
		return os.NewSyscallError("ioctl TIOCSCTTY", err)
	}
	for fd := range 3 {
		if err := unix.Dup3(int(slave), fd, 0); err != nil {
			return os.NewSyscallError("dup3", err)
		}
	}
	slave.Close()
	return os.NewSyscallError("sendmsg", unix.Sendmsg(wire.FDSocket, []byte{'t'}, unix.UnixRights(int(master)), nil, 0))
}

// openSlave opens the other end of master through it, not by a name.
func openSlave(master sys.FD, size wire.Size) (sys.FD, error) {
	if err := unix.IoctlSetPointerInt(int(master), unix.TIOCSPTLCK, 0); err != nil {
		return sys.NoFD, os.NewSyscallError("ioctl TIOCSPTLCK", err)
	}
	fd, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(master), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errno != 0 {
		return sys.NoFD, os.NewSyscallError("ioctl TIOCGPTPEER", errno)
	}
	ws := unix.Winsize{Row: size.Rows, Col: size.Columns}
	if err := unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &ws); err != nil {
		return sys.NoFD, os.NewSyscallError("ioctl TIOCSWINSZ", err)
	}
	return sys.FD(fd), nil
}

// console binds the terminal on /dev/console.
func (c *child) console(master sys.FD) error {
	n, err := unix.IoctlGetInt(int(master), unix.TIOCGPTN)
	if err != nil {
		return os.NewSyscallError("ioctl TIOCGPTN", err)
	}
	fd, err := sys.OpenTree(c.pts, strconv.Itoa(n), false)
	if err != nil {
		return err
	}
	defer fd.Close()
	dev, err := c.standardDir("dev")
	if err != nil {
		return err
	}
	defer dev.Close()
	at, err := sys.OpenAt(dev, "console", unix.O_CREAT|unix.O_EXCL|unix.O_RDONLY, 0o600)
	if err != nil {
		return err
	}
	defer at.Close()
	return sys.MoveMount(fd, at)
}
