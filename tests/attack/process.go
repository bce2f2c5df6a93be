package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// otherProcesses looks for processes that are not ours. Ours are process 1, and this one.
func otherProcesses(string) (string, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return "", err
	}
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil && pid != 1 && pid != os.Getpid() && pid != os.Getppid() {
			cmd, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
			return fmt.Sprintf("process %d %q is in sight", pid, cmd), nil
		}
	}
	if err := unix.Kill(-1, 0); err == nil && os.Getpid() == 1 {
		return "kill -1 reaches somebody", nil
	}
	return "", errors.New("none is in sight")
}

// reachProcess tries everything on a process outside, by its number there.
func reachProcess(value string) (string, error) {
	pid, err := strconv.Atoi(value)
	if err != nil {
		return err.Error(), nil
	}
	var why []error
	buf := make([]byte, 8)
	for name, do := range map[string]func() error{
		"kill":   func() error { return unix.Kill(pid, 0) },
		"ptrace": func() error { return unix.PtraceAttach(pid) },
		"pidfd":  func() error { _, err := unix.PidfdOpen(pid, 0); return err },
		"prlimit": func() error {
			return unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &unix.Rlimit{})
		},
		"sched": func() error { return unix.SchedGetaffinity(pid, &unix.CPUSet{}) },
		"vm": func() error {
			_, err := unix.ProcessVMReadv(pid, []unix.Iovec{{Base: &buf[0], Len: 8}}, []unix.RemoteIovec{{Base: 0x400000, Len: 8}}, 0)
			return err
		},
		"proc": func() error { _, err := os.Stat(fmt.Sprintf("/proc/%d/mem", pid)); return err },
	} {
		if err := do(); err == nil || !errors.Is(err, unix.ESRCH) && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.ENOSYS) {
			return fmt.Sprintf("%s on process %d: %v", name, pid, err), nil
		} else {
			why = append(why, err)
		}
	}
	return "", errors.Join(why...)
}

// dialAbstract talks to a program outside that listens on a name without owner and mode.
func dialAbstract(value string) (string, error) {
	c, err := net.Dial("unix", "@"+value)
	if err != nil {
		return "", err
	}
	c.Close()
	return "connected to @" + value, nil
}

// dialAddress talks to a service of the host's, at value.
func dialAddress(value string) (string, error) {
	c, err := net.DialTimeout("tcp", value, 5*time.Second)
	if err != nil {
		return "", err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	if n, err := c.Read(make([]byte, 1)); n != 1 { // a proxy accepts what it cannot pass on
		return "", err
	}
	return "connected to " + value, nil
}

// typeIntoTerminal types a command into the terminal that standard input is, as if the user had.
func typeIntoTerminal(value string) (string, error) {
	for fd := range 3 {
		_, _, _ = unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TIOCSCTTY, 1)
		for _, c := range []byte(value) {
			if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TIOCSTI, uintptr(unsafe.Pointer(&c))); errno != 0 {
				break
			}
		}
	}
	return "", errors.New("who reads the terminal knows whether it came")
}

// becomeRoot is the counterpart to the others: in an image setuid programs work, so that sudo does.
func becomeRoot(string) (string, error) {
	if os.Getuid() != 0 && os.Geteuid() == 0 {
		return fmt.Sprintf("user %d is root", os.Getuid()), nil
	}
	return "", fmt.Errorf("user %d is user %d", os.Getuid(), os.Geteuid())
}
