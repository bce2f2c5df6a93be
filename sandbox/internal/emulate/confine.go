package emulate

import (
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/cairnbuild/cairn/internal/sys"
	"github.com/cairnbuild/cairn/sandbox/internal/seccomp"
)

// capabilities are what the supervisor uses: it looks into processes that don't want to be looked into, takes the root
// directory of its callers, and does to files what root in the sandbox may do.
const capabilities = uint64(1<<unix.CAP_SYS_PTRACE | 1<<unix.CAP_SYS_CHROOT | 1<<unix.CAP_CHOWN | 1<<unix.CAP_DAC_OVERRIDE |
	1<<unix.CAP_DAC_READ_SEARCH | 1<<unix.CAP_FOWNER | 1<<unix.CAP_FSETID)

// confine takes from all threads of this process what a supervisor has no use for, before it looks at the first call: what it
// reads comes from processes that may try to make it do something else. It has the capabilities above, Docker's default
// system calls less those that start or reach other processes, and can get no more by executing something.
func confine() error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := dropCapabilities(); err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return os.NewSyscallError("prctl PR_SET_NO_NEW_PRIVS", err)
	}
	for _, program := range [][]unix.SockFilter{ownFilter(), seccomp.Default(capabilities)} {
		if len(program) == 0 {
			continue // an architecture without tables
		}
		if err := sys.LoadFilterForAll(program); err != nil {
			return err
		}
	}
	return nil
}

// dropCapabilities sets the permitted and effective ones of each thread. The runtime can't do that in a program that has C in
// it, as only test binaries with the race detector do.
func dropCapabilities() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	data := [2]unix.CapUserData{
		{Effective: uint32(capabilities), Permitted: uint32(capabilities)},
		{Effective: uint32(capabilities >> 32), Permitted: uint32(capabilities >> 32)},
	}
	_, _, errno := syscall.AllThreadsSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&header)), uintptr(unsafe.Pointer(&data[0])), 0)
	if errno != 0 && errno != unix.ENOTSUP {
		return os.NewSyscallError("capset", errno)
	}
	return nil
}

// ownFilter refuses what Docker's profile allows and the supervisor must not do: starting a program or a process (threads may
// be), connecting to anything, writing to another process by its number, signals to anybody else.
func ownFilter() []unix.SockFilter {
	refused := ret(unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM))
	program := []unix.SockFilter{
		load(4), // seccomp_data.arch
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: nativeAudit, Jt: 1},
		ret(unix.SECCOMP_RET_KILL_PROCESS),
		load(0), // seccomp_data.nr
	}
	for _, number := range []uint32{
		unix.SYS_EXECVE, unix.SYS_EXECVEAT, unix.SYS_PTRACE, unix.SYS_PROCESS_VM_WRITEV, unix.SYS_PROCESS_MADVISE,
		unix.SYS_SOCKET, unix.SYS_SOCKETPAIR, unix.SYS_CONNECT, unix.SYS_BIND, unix.SYS_LISTEN, unix.SYS_SENDTO, unix.SYS_SENDMSG,
		unix.SYS_SENDMMSG, unix.SYS_KILL, unix.SYS_TKILL, unix.SYS_PIDFD_SEND_SIGNAL, unix.SYS_SETNS, unix.SYS_UNSHARE, unix.SYS_MOUNT,
		unix.SYS_MEMFD_CREATE, unix.SYS_SHMAT, unix.SYS_MSGSND, unix.SYS_CLONE3,
	} {
		answer := refused
		if number == unix.SYS_CLONE3 { // its flags can't be seen from here; who gets this answer uses clone
			answer = ret(unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS))
		}
		program = append(program, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: number, Jf: 1}, answer)
	}
	// clone is for threads; tgkill, with which the runtime interrupts its own, for this process.
	program = append(program,
		unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_CLONE, Jf: 4},
		load(16), // the lower half of the first argument
		unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, K: unix.CLONE_THREAD, Jt: 1},
		refused,
		ret(unix.SECCOMP_RET_ALLOW),
		unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_TGKILL, Jf: 4},
		load(16),
		unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: uint32(os.Getpid()), Jt: 1},
		refused,
		ret(unix.SECCOMP_RET_ALLOW))
	return append(program, ret(unix.SECCOMP_RET_ALLOW))
}
