package emulate

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// notification is struct seccomp_notif: one call that waits for an answer.
type notification struct {
	id    uint64
	pid   uint32 // of the thread, in this process's pid namespace; 0 when it has none here
	flags uint32
	nr    int32
	arch  uint32
	ip    uint64
	args  [6]uint64
}

// notificationBuffer leaves room for what future kernels add to the end.
type notificationBuffer struct {
	notification
	_ [176]byte
}

// response is struct seccomp_notif_resp.
type response struct {
	id    uint64
	val   int64
	errno int32 // negative
	flags uint32
}

// newFile is struct seccomp_notif_addfd.
type newFile struct {
	id         uint64
	flags      uint32
	srcfd      uint32
	newfd      uint32
	newfdFlags uint32
}

// listener is the supervisor's end of a filter. Its methods may be called by several threads at once.
type listener int

func (l listener) ioctl(request uintptr, arg unsafe.Pointer) (uintptr, unix.Errno) {
	r, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(l), request, uintptr(arg))
	return r, errno
}

// receive waits for a call. ENOENT: the caller was killed meanwhile.
func (l listener) receive(n *notificationBuffer) unix.Errno {
	*n = notificationBuffer{} // the kernel insists
	_, errno := l.ioctl(unix.SECCOMP_IOCTL_NOTIF_RECV, unsafe.Pointer(n))
	return errno
}

// send answers. A caller that is gone wants none.
func (l listener) send(r *response) {
	_, _ = l.ioctl(unix.SECCOMP_IOCTL_NOTIF_SEND, unsafe.Pointer(r))
}

// waiting reports whether the caller still waits: only then is what was read under its pid about it.
func (l listener) waiting(id uint64) bool {
	_, errno := l.ioctl(unix.SECCOMP_IOCTL_NOTIF_ID_VALID, unsafe.Pointer(&id))
	return errno == 0
}

// give opens fd in the caller too and returns its number there. With sent the call has been answered with it.
func (l listener) give(id uint64, fd int, closeOnExec bool) (number int, sent bool, errno unix.Errno) {
	f := newFile{id: id, flags: unix.SECCOMP_ADDFD_FLAG_SEND, srcfd: uint32(fd)}
	if closeOnExec {
		f.newfdFlags = unix.O_CLOEXEC
	}
	n, errno := l.ioctl(unix.SECCOMP_IOCTL_NOTIF_ADDFD, unsafe.Pointer(&f))
	if errno == unix.EINVAL { // before Linux 5.14
		f.flags = 0
		n, errno = l.ioctl(unix.SECCOMP_IOCTL_NOTIF_ADDFD, unsafe.Pointer(&f))
		return int(n), false, errno
	}
	return int(n), errno == 0, errno
}

// wakeHere has the kernel run caller and supervisor in turn on one processor (Linux 6.6); it is only faster.
func (l listener) wakeHere() {
	_, _, _ = unix.Syscall(unix.SYS_IOCTL, uintptr(l), unix.SECCOMP_IOCTL_NOTIF_SET_FLAGS, unix.SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP)
}

// answer is what becomes of a call.
type answer struct {
	val   int64
	errno unix.Errno
	// goOn lets the kernel carry the call out; done says that the answer was sent already.
	goOn, done bool
}

func goOn() answer                                 { return answer{goOn: true} }
func fail(errno unix.Errno) answer                 { return answer{errno: errno} }
func result[T ~int | ~int64 | ~uint32](v T) answer { return answer{val: int64(v)} }

// failed turns the error of a system call into an answer.
func failed(err error) answer {
	if errno, ok := err.(unix.Errno); ok {
		return fail(errno)
	}
	return fail(unix.EIO)
}

func (a answer) response(id uint64) response {
	if a.goOn {
		return response{id: id, flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE}
	}
	return response{id: id, val: a.val, errno: -int32(a.errno)}
}
