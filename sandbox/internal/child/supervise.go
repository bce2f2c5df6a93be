package child

import (
	"os"

	"golang.org/x/sys/unix"

	"github.com/cairnbuild/cairn/internal/sys"
	"github.com/cairnbuild/cairn/sandbox/internal/wire"
)

// supervise hands a listener to the supervisor that emulates owners and ids. From here on this thread must not make a call
// that the filter stops at before execve; whether the supervisor is there by then does not matter.
func (c *child) supervise() error {
	s := c.spec.Supervise
	if s == nil {
		return nil
	}
	// In how far the one is below the other tells which user a process is.
	var locks unix.Rlimit
	if err := unix.Prlimit(0, unix.RLIMIT_LOCKS, nil, &locks); err != nil {
		return os.NewSyscallError("prlimit", err)
	}
	locks.Cur = locks.Max
	if err := unix.Prlimit(0, unix.RLIMIT_LOCKS, &locks, nil); err != nil {
		return os.NewSyscallError("prlimit", err)
	}
	program, err := wire.UnpackFilter(s.Filter)
	if err != nil {
		return err
	}
	listener, err := sys.LoadListener(program)
	if err != nil {
		return err
	}
	defer listener.Close()
	return os.NewSyscallError("sendmsg", unix.Sendmsg(s.Socket, []byte{'l'}, unix.UnixRights(int(listener)), nil, 0))
}
