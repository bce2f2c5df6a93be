package emulate

import (
	"golang.org/x/sys/unix"
)

// A caller that is killed while the supervisor is at its call sets its number free, and another process may get it. So a
// number is good for looking only: what was read under it counts if the caller still waits afterwards, since its number
// was its own until then. Whatever has an effect goes through descriptors that were opened below the caller's directory in
// /proc, which leads to this one process for ever, and the caller must still wait after they were opened.

// hold opens the caller's directory in /proc and reports whether the caller still waits.
func (r *request) hold() bool {
	if r.dir < 0 {
		fd, err := unix.Open(itoa(r.pid), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return false
		}
		r.dir = fd
	}
	return r.waiting()
}

// openHeld opens a file of the caller's directory in /proc. The result is the caller's even if it ends meanwhile.
func (r *request) openHeld(name string, flags int) (int, error) {
	if !r.hold() {
		return -1, unix.ESRCH
	}
	return unix.Openat(r.dir, name, flags|unix.O_CLOEXEC, 0)
}

// release closes what hold opened.
func (r *request) release() {
	if r.dir >= 0 {
		_ = unix.Close(r.dir) // a directory that was opened for naming it has nothing to lose
		r.dir = -1
	}
}

// waiting reports whether the caller still waits for the answer: only then was what was read under its number its own.
func (r *request) waiting() bool { return r.w.s.listener.waiting(r.n.id) }
