package emulate

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// worker answers calls, one after the other, on a thread of its own: that has the sandbox's root directory as its root and
// /proc as its working directory.
type worker struct {
	s     *supervisor
	buf   notificationBuffer
	root  bool // is the sandbox's
	turn  bool // to wait for calls
	path  [prefixRoom + maxPath + 8]byte
	xattr [256]byte

	prefix [prefixRoom]byte
}

// request is one call.
type request struct {
	w   *worker
	n   *notification
	e   *entry
	pid int // of the thread that calls; good for looking only, see hold
	dir int // its directory in /proc, -1 until hold
}

// work never returns; the process ends when its sandbox has.
func (s *supervisor) work() {
	runtime.LockOSThread()
	w := &worker{s: s}
	if err := w.enter(); err != nil {
		s.die(err)
	}
	s.ready.Done()
	<-s.started
	for {
		if !w.turn {
			<-s.turns
			w.turn = true
		}
		switch errno := s.listener.receive(&w.buf); errno {
		case 0:
		case unix.EINTR:
			continue
		case unix.ENOENT: // killed meanwhile; or everybody is gone
			if !s.listener.alive() {
				select {}
			}
			continue
		default:
			s.die(os.NewSyscallError("ioctl SECCOMP_IOCTL_NOTIF_RECV", errno))
		}
		s.received.Add(1)
		a := w.handle()
		if a.done {
			s.answered.Add(1)
			continue
		}
		if !a.goOn {
			s.answered.Add(1)
		}
		answer := a.response(w.buf.id)
		s.listener.send(&answer)
	}
}

// yield lets another worker answer calls while this one is at something that takes long.
func (w *worker) yield() {
	if w.turn {
		w.turn = false
		w.s.turns <- struct{}{}
	}
}

// die ends the supervisor, and with it the step: an ownership that is lost must not go unnoticed.
func (s *supervisor) die(err error) {
	fmt.Fprintln(os.Stderr, "cairn-ids:", err)
	os.Exit(70)
}

// alive reports whether any process still has the filter.
func (l listener) alive() bool {
	fds := []unix.PollFd{{Fd: int32(l)}}
	n, err := unix.Poll(fds, 0)
	return err != nil || n == 0 || fds[0].Revents&unix.POLLHUP == 0
}

// enter gives this thread a root directory and umask of its own.
func (w *worker) enter() error {
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return os.NewSyscallError("unshare", err)
	}
	unix.Umask(0) // the caller's is applied by hand
	return nil
}

// handle finds the call's handler. Nothing of an unknown call is touched.
func (w *worker) handle() answer {
	n := &w.buf.notification
	e := w.s.calls[uint64(n.arch)<<32|uint64(uint32(n.nr))]
	if e == nil || n.pid == 0 {
		return goOn()
	}
	r := request{w: w, n: n, e: e, pid: int(n.pid), dir: -1}
	defer r.release()
	if w.s.namespaces.Load() && r.foreign() {
		return goOn()
	}
	if !w.root || w.s.roots.Load() {
		if err := r.enterRoot(); err != nil {
			return goOn()
		}
	}
	return e.do(&r)
}

// foreign reports whether the caller is in another user namespace.
func (r *request) foreign() bool {
	ns, err := os.Readlink(itoa(r.pid) + "/ns/user")
	return err == nil && ns != r.w.s.ownUserNS
}

// enterRoot makes the caller's root directory this thread's; the sandbox's, which is that of the first caller, if no other
// can have been made.
func (r *request) enterRoot() error {
	s := r.w.s
	var fd int
	if s.roots.Load() {
		own, err := r.openRoot()
		if err != nil {
			return err
		}
		defer unix.Close(own)
		fd = own
	} else {
		fd = <-s.root
		if fd < 0 {
			if own, err := r.openRoot(); err == nil {
				fd = own
			}
		}
		s.root <- fd
	}
	return r.w.chroot(fd)
}

func (r *request) openRoot() (int, error) {
	return r.openHeld("root", unix.O_PATH|unix.O_DIRECTORY)
}

// chroot keeps /proc, which is not below the new root, as the working directory.
func (w *worker) chroot(fd int) error {
	proc, err := unix.Open(".", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(proc)
	if err := unix.Fchdir(fd); err != nil {
		return err
	}
	err = unix.Chroot(".")
	w.root = err == nil
	if err := unix.Fchdir(proc); err != nil {
		w.s.die(os.NewSyscallError("fchdir", err))
	}
	return err
}
