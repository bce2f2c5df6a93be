package sys

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The functions of this file change the calling thread only, and so are for a goroutine that has locked its thread and is
// about to call execve: that makes the thread's credentials the process's.

// SetIDs sets the supplementary groups, the real, effective and saved group id, then the user ids. With keepGroups the
// groups are left as they are: a user namespace in which setgroups is denied. Errors are *os.PathError.
func SetIDs(uid, gid uint32, groups []uint32, keepGroups bool) error {
	if !keepGroups {
		var first unsafe.Pointer
		if len(groups) > 0 {
			first = unsafe.Pointer(&groups[0])
		}
		if _, _, e := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(groups)), uintptr(first), 0); e != 0 {
			return &os.PathError{Op: "setgroups", Path: "self", Err: e}
		}
	}
	g, u := uintptr(gid), uintptr(uid)
	if _, _, e := unix.RawSyscall(unix.SYS_SETRESGID, g, g, g); e != 0 {
		return &os.PathError{Op: "setresgid", Path: "self", Err: e}
	}
	if _, _, e := unix.RawSyscall(unix.SYS_SETRESUID, u, u, u); e != 0 {
		return &os.PathError{Op: "setresuid", Path: "self", Err: e}
	}
	return nil
}

// DropBounding removes every capability not in keep, a bit set, from the bounding set. Errors are *os.PathError.
func DropBounding(keep uint64) error {
	for c := uintptr(0); c < 64; c++ {
		if keep&(1<<c) != 0 {
			continue
		}
		_, _, e := unix.RawSyscall(unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, c, 0)
		if e == unix.EINVAL { // past the last one this kernel knows
			return nil
		}
		if e != 0 {
			return &os.PathError{Op: "prctl PR_CAPBSET_DROP", Path: "self", Err: e}
		}
	}
	return nil
}

// SetCapabilities makes caps, a bit set, the permitted and effective set; the inheritable and ambient sets become empty.
// Errors are *os.PathError.
func SetCapabilities(caps uint64) error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	data := [2]unix.CapUserData{
		{Effective: uint32(caps), Permitted: uint32(caps)},
		{Effective: uint32(caps >> 32), Permitted: uint32(caps >> 32)},
	}
	if err := unix.Capset(&header, &data[0]); err != nil {
		return &os.PathError{Op: "capset", Path: "self", Err: err}
	}
	return nil
}

// Capabilities returns the permitted set, a bit set. Errors are *os.PathError.
func Capabilities() (uint64, error) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return 0, &os.PathError{Op: "capget", Path: "self", Err: err}
	}
	return uint64(data[1].Permitted)<<32 | uint64(data[0].Permitted), nil
}

// AdoptOrphans makes this process the parent of descendants whose own parent ends. Errors are *os.PathError.
func AdoptOrphans() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return &os.PathError{Op: "prctl PR_SET_CHILD_SUBREAPER", Path: "self", Err: err}
	}
	return nil
}

// DieWithParent has the kernel send SIGKILL when the thread that started this process ends. A change of user ids and an
// execve that gains capabilities undo it. Errors are *os.PathError.
func DieWithParent() error {
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return &os.PathError{Op: "prctl PR_SET_PDEATHSIG", Path: "self", Err: err}
	}
	return nil
}

// SetName gives this process the name that ps -o comm, top and the kernel's log show, cut to 15 bytes: after an execve of
// /proc/self/exe it is "exe". It is only for people, so it tells of no failure.
func SetName(name string) {
	if unix.Gettid() != unix.Getpid() { // the name of another thread is that thread's only
		_ = os.WriteFile("/proc/self/comm", []byte(name), 0)
		return
	}
	if b, err := unix.BytePtrFromString(name); err == nil {
		_ = unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(b)), 0, 0, 0)
	}
}

// SetDumpable lets this process's owner open its files under /proc again after it gained capabilities. Errors are
// *os.PathError.
func SetDumpable() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0); err != nil {
		return &os.PathError{Op: "prctl PR_SET_DUMPABLE", Path: "self", Err: err}
	}
	return nil
}

// ResetSignals gives every signal its default action and blocks none, whatever was inherited from a shell or nohup. After
// it the Go runtime must do nothing but execve.
func ResetSignals() {
	var action [4]uint64 // struct kernel_sigaction with SIG_DFL, large enough for every architecture
	for sig := uintptr(1); sig <= 64; sig++ {
		// SIGKILL and SIGSTOP answer EINVAL: nobody can ignore them.
		_, _, _ = unix.RawSyscall6(unix.SYS_RT_SIGACTION, sig, uintptr(unsafe.Pointer(&action)), 0, 8, 0, 0)
	}
	var none uint64
	_, _, _ = unix.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&none)), 0, 8, 0, 0)
}

// CloseOnExec marks every descriptor from first on. Errors are *os.PathError.
func CloseOnExec(first FD) error {
	if err := unix.CloseRange(uint(first), ^uint(0)>>32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return &os.PathError{Op: "close_range", Path: "self", Err: err}
	}
	return nil
}

// LoadFilter installs a seccomp filter on the calling thread, which must have CAP_SYS_ADMIN in its user namespace or
// no_new_privs. Errors are *os.PathError.
func LoadFilter(program []unix.SockFilter) error {
	return loadFilter(program, 0)
}

// LoadFilterForAll installs a seccomp filter, and the calling thread's no_new_privs, on all threads of this process, under
// LoadFilter's conditions. Errors are *os.PathError.
func LoadFilterForAll(program []unix.SockFilter) error {
	return loadFilter(program, unix.SECCOMP_FILTER_FLAG_TSYNC)
}

func loadFilter(program []unix.SockFilter, flags uintptr) error {
	prog := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	thread, _, e := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&prog)))
	if e == 0 && thread != 0 { // the number of a thread that has another filter already
		e = unix.EBUSY
	}
	if e != 0 {
		return &os.PathError{Op: "seccomp", Path: "self", Err: e}
	}
	return nil
}

// Landlock restricts the calling thread with a rule set that handles nothing and only scopes: scoped are LANDLOCK_SCOPE_*
// bits. Kernels without Landlock ABI 6 (Linux 6.12) give ENOSYS, EOPNOTSUPP, EINVAL or E2BIG as *os.PathError.
func Landlock(scoped uint64) error {
	attr := unix.LandlockRulesetAttr{Scoped: scoped}
	// Only the first three fields: later ones are unknown to older kernels.
	const size = unsafe.Offsetof(attr.Scoped) + unsafe.Sizeof(attr.Scoped)
	fd, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), size, 0)
	if errno != 0 {
		return &os.PathError{Op: "landlock_create_ruleset", Path: "self", Err: errno}
	}
	defer unix.Close(int(fd))
	if _, _, errno = unix.RawSyscall(unix.SYS_LANDLOCK_RESTRICT_SELF, fd, 0, 0); errno != 0 {
		return &os.PathError{Op: "landlock_restrict_self", Path: "self", Err: errno}
	}
	return nil
}
