package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// forbiddenCalls are system calls that Docker's default profile, or the lack of capabilities, keeps from a container. The arguments
// are such that the kernel, were it asked, would do something or complain about them, not about permission.
func forbiddenCalls() map[string]attack {
	var buf [256]byte
	p := uintptr(unsafe.Pointer(&buf[0]))
	calls := map[string]struct{ nr, a, b, c uintptr }{
		"add_key":           {unix.SYS_ADD_KEY, 0, 0, 0},
		"request_key":       {unix.SYS_REQUEST_KEY, 0, 0, 0},
		"io_uring_setup":    {unix.SYS_IO_URING_SETUP, 4, p, 0},
		"bpf":               {unix.SYS_BPF, 0, p, 64},
		"perf_event_open":   {unix.SYS_PERF_EVENT_OPEN, p, 0, ^uintptr(0)},
		"userfaultfd":       {unix.SYS_USERFAULTFD, 0, 0, 0},
		"open_by_handle_at": {unix.SYS_OPEN_BY_HANDLE_AT, ^uintptr(99), p, 0},
		"kexec_load":        {unix.SYS_KEXEC_LOAD, 0, 0, 0},
		"init_module":       {unix.SYS_INIT_MODULE, p, 0, 0},
		"delete_module":     {unix.SYS_DELETE_MODULE, p, 0, 0},
		"swapon":            {unix.SYS_SWAPON, p, 0, 0},
		"reboot":            {unix.SYS_REBOOT, 0xfee1dead, 672274793, 0},
		"setns":             {unix.SYS_SETNS, ^uintptr(0), 0, 0},
		"pivot_root":        {unix.SYS_PIVOT_ROOT, p, p, 0},
		"fsopen":            {unix.SYS_FSOPEN, p, 0, 0},
		"open_tree":         {unix.SYS_OPEN_TREE, ^uintptr(99), p, 1},
		"move_mount":        {unix.SYS_MOVE_MOUNT, ^uintptr(0), p, ^uintptr(0)},
		"mount_setattr":     {unix.SYS_MOUNT_SETATTR, ^uintptr(99), p, 0},
		"acct":              {unix.SYS_ACCT, 0, 0, 0},
		"settimeofday":      {unix.SYS_SETTIMEOFDAY, 0, 0, 0},
		"quotactl":          {unix.SYS_QUOTACTL, 0, 0, 0},
		"vhangup":           {unix.SYS_VHANGUP, 0, 0, 0},
		"lookup_dcookie":    {unix.SYS_LOOKUP_DCOOKIE, 0, p, 0},
	}
	all := map[string]attack{}
	for name, c := range calls {
		all[name] = func(string) (string, error) {
			r, _, errno := unix.RawSyscall(c.nr, c.a, c.b, c.c)
			if errno == unix.EPERM || errno == unix.ENOSYS {
				return "", errno
			}
			return fmt.Sprintf("the kernel was asked: %d, %v", int(r), errno), nil
		}
	}
	return all
}

// keyrings asks for the session keyring's id and serial number.
func keyrings(string) (string, error) {
	for _, ring := range []int{-3, -4, -5} { // KEY_SPEC_SESSION_KEYRING, USER_KEYRING, USER_SESSION_KEYRING
		if id, err := unix.KeyctlGetKeyringID(ring, false); err == nil {
			return fmt.Sprintf("keyring %d is %d", ring, id), nil
		} else if err != unix.EPERM && err != unix.ENOSYS {
			return fmt.Sprintf("the kernel was asked for keyring %d: %v", ring, err), nil
		}
	}
	if b, err := os.ReadFile("/proc/keys"); len(b) > 0 {
		return fmt.Sprintf("/proc/keys has %d bytes", len(b)), err
	}
	return "", unix.EPERM
}

// userNamespaces would bring back every capability inside, and with them the kernel's less tested parts.
func userNamespaces(string) (string, error) {
	var why []error
	for name, flags := range map[string]uintptr{"user": unix.CLONE_NEWUSER, "mount": unix.CLONE_NEWNS, "net": unix.CLONE_NEWNET} {
		done := make(chan error)
		go func() {
			runtime.LockOSThread() // never unlocked: the thread ends with its namespace
			_, _, errno := unix.RawSyscall(unix.SYS_UNSHARE, flags, 0, 0)
			if errno == 0 {
				done <- nil
				return
			}
			done <- errno
		}()
		if err := <-done; err == nil {
			return "a new " + name + " namespace by unshare", nil
		} else {
			why = append(why, err)
		}
	}
	// A process with a flag that its C library would never pass; it would end at once.
	pid, _, errno := unix.RawSyscall(unix.SYS_CLONE, unix.CLONE_NEWUSER|uintptr(unix.SIGCHLD), 0, 0)
	if errno == 0 {
		if pid == 0 {
			unix.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
		}
		return "a new user namespace by clone", nil
	}
	args := [8]uint64{unix.CLONE_NEWUSER, 0, 0, 0, uint64(unix.SIGCHLD)}
	pid, _, errno = unix.RawSyscall(unix.SYS_CLONE3, uintptr(unsafe.Pointer(&args)), unsafe.Sizeof(args), 0)
	if errno == 0 {
		if pid == 0 {
			unix.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
		}
		return "a new user namespace by clone3", nil
	}
	if errno != unix.ENOSYS {
		return fmt.Sprintf("clone3, whose flags no filter can read: %v", errno), nil
	}
	return "", errors.Join(why...)
}

// mounts tries the old mount interface, on what is writable and on what is not.
func mounts(string) (string, error) {
	var last error
	for _, m := range []struct {
		source, target, fstype string
		flags                  uintptr
	}{
		{"none", "/tmp", "tmpfs", 0},
		{"proc", "/tmp", "proc", 0},
		{"/proc/sys", "/tmp", "", unix.MS_BIND},
		{"", "/proc/sys", "", unix.MS_REMOUNT | unix.MS_BIND},
		{"", "/sys", "", unix.MS_REMOUNT | unix.MS_BIND},
		{"", "/", "", unix.MS_REC | unix.MS_SHARED},
	} {
		if last = unix.Mount(m.source, m.target, m.fstype, m.flags, ""); last == nil {
			return fmt.Sprintf("mounted %+v", m), nil
		}
	}
	return "", last
}

// unmask takes away what covers the hidden files.
func unmask(string) (string, error) {
	var last error
	for _, name := range []string{"/proc/kcore", "/proc/keys", "/proc/sys", "/sys/firmware", "/proc", "/sys", "/dev"} {
		for _, flags := range []int{0, unix.MNT_DETACH} {
			if last = unix.Unmount(name, flags); last == nil {
				return "unmounted " + name, nil
			}
		}
	}
	return "", last
}
