package sandbox

import (
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// stream is a file of the caller's that a step's pipe or terminal is connected with. It differs from the file in two ways: a
// reader that is gone is an error of Write, where for standard output the Go runtime would end the process, and with it the
// step and what is to be done after it; and it waits where somebody who shares the file has made it non-blocking.
type stream struct{ conn syscall.RawConn }

func newStream(f *os.File) (stream, error) {
	conn, err := f.SyscallConn()
	return stream{conn}, err
}

func (s stream) Read(p []byte) (int, error) {
	n, err := s.do("read", unix.POLLIN, func(fd int) (int, error) { return unix.Read(fd, p) })
	if err == nil && n == 0 && len(p) > 0 {
		err = io.EOF
	}
	return n, err
}

func (s stream) Write(p []byte) (written int, err error) {
	for written < len(p) && err == nil {
		var n int
		n, err = s.do("write", unix.POLLOUT, func(fd int) (int, error) { return unix.Write(fd, p[written:]) })
		written += n
	}
	return written, err
}

// do makes one call, again when a signal interrupted it and when the file was not ready.
func (s stream) do(op string, events int16, call func(fd int) (int, error)) (n int, err error) {
	ctl := s.conn.Control(func(fd uintptr) {
		for {
			n, err = call(int(fd))
			switch err {
			case unix.EINTR:
			case unix.EAGAIN:
				fds := []unix.PollFd{{Fd: int32(fd), Events: events}}
				if _, err = unix.Poll(fds, -1); err != nil && err != unix.EINTR {
					return
				}
			default:
				return
			}
		}
	})
	if ctl != nil {
		return 0, ctl
	}
	return max(n, 0), os.NewSyscallError(op, err)
}
