package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// openDescriptors looks for what was left open: each may lead out.
func openDescriptors(string) (string, error) {
	for fd := 3; fd < 4096; fd++ {
		if name, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd)); err == nil && !ours(name) {
			return fmt.Sprintf("descriptor %d is %s", fd, name), nil
		}
	}
	return "", errors.New("only standard input, output and error are open")
}

// ours says whether the Go runtime opened the descriptor.
func ours(name string) bool {
	return strings.HasPrefix(name, "anon_inode:[event") || strings.HasPrefix(name, "/sys/fs/cgroup/")
}

// writableBelow opens all files of the kernel's for writing, without writing.
func writableBelow(string) (string, error) {
	n := 0
	for _, dir := range []string{"/proc/sys", "/proc/irq", "/proc/bus", "/proc/fs", "/sys"} {
		var found string
		_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || d.Type()&fs.ModeSymlink != 0 {
				return nil
			}
			n++
			f, err := os.OpenFile(path, os.O_WRONLY|unix.O_NONBLOCK, 0)
			if err == nil {
				f.Close()
				found = path
				return fs.SkipAll
			}
			return nil
		})
		if found != "" {
			return found + " can be opened for writing", nil
		}
	}
	for _, name := range []string{"/proc/sysrq-trigger", "/proc/sys/kernel/core_pattern"} {
		if f, err := os.OpenFile(name, os.O_WRONLY, 0); err == nil {
			f.Close()
			return name + " can be opened for writing", nil
		}
	}
	if n < 100 {
		return fmt.Sprintf("only %d files below /proc and /sys: nothing was tried", n), nil
	}
	return "", fmt.Errorf("%d files are read-only", n)
}

// readHidden reads what Docker hides.
func readHidden(string) (string, error) {
	for _, name := range []string{"acpi", "asound", "interrupts", "kcore", "keys", "latency_stats", "sched_debug", "scsi", "timer_list", "timer_stats"} {
		if harm := content("/proc/" + name); harm != "" {
			return harm, nil
		}
	}
	for _, name := range []string{"/sys/firmware", "/sys/devices/virtual/powercap"} {
		if harm := content(name); harm != "" {
			return harm, nil
		}
	}
	return "", errors.New("all are empty")
}

func content(name string) string {
	if names, err := os.ReadDir(name); err == nil {
		if len(names) > 0 {
			return fmt.Sprintf("%s has %d files", name, len(names))
		}
		return ""
	}
	f, err := os.Open(name)
	if err != nil {
		return ""
	}
	defer f.Close()
	if n, _ := io.ReadFull(f, make([]byte, 4096)); n > 0 {
		return fmt.Sprintf("%s has %d bytes or more", name, n)
	}
	return ""
}

// makeDevices makes devices that the host has for certain, and opens them.
func makeDevices(string) (string, error) {
	var last error
	for i, d := range []struct{ mode, major, minor uint32 }{{unix.S_IFCHR, 1, 1}, {unix.S_IFCHR, 1, 5}, {unix.S_IFBLK, 254, 0}, {unix.S_IFBLK, 8, 0}} {
		for _, dir := range []string{"/tmp", "/dev", "/dev/shm"} {
			name := fmt.Sprintf("%s/device%d", dir, i)
			last = unix.Mknod(name, d.mode|0o666, int(unix.Mkdev(d.major, d.minor)))
			if last != nil {
				continue
			}
			f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
			_ = os.Remove(name)
			if last = err; err != nil {
				continue
			}
			// Where devices are emulated it is one by its status, and an empty file when it is read.
			n, err := f.Read(make([]byte, 16))
			f.Close()
			if n > 0 || err != io.EOF {
				return fmt.Sprintf("read the device %d:%d: %d bytes, %v", d.major, d.minor, n, err), nil
			}
			last = errors.New("an empty file")
		}
	}
	return "", last
}

// leaveChroot is the oldest trick: with CAP_SYS_CHROOT a process leaves a chroot by having a working directory above it. value is a
// file of the host.
func leaveChroot(value string) (string, error) {
	cwd, err := os.Open("/")
	if err != nil {
		return "", err
	}
	defer cwd.Close()
	_ = os.Mkdir("/tmp/jail", 0o755)
	if err := unix.Chroot("/tmp/jail"); err != nil {
		return "", err
	}
	_ = cwd.Chdir()
	for range 64 {
		_ = os.Chdir("..")
	}
	_ = unix.Chroot(".")
	harm, why := findMarker(value)
	return harm, why
}

// findMarker looks for a file of the host by its path, and through all that leads to other roots.
func findMarker(value string) (string, error) {
	names := []string{value, "/proc/1/root" + value, "/proc/self/root" + value, "/proc/1/cwd" + value, "../../../../../../../../../.." + value}
	for fd := range 64 {
		names = append(names, fmt.Sprintf("/proc/self/fd/%d/%s", fd, value), fmt.Sprintf("/proc/self/fd/%d/../../../../..%s", fd, value))
	}
	for _, name := range names {
		if _, err := os.Stat(name); err == nil {
			return name + " is there", nil
		}
	}
	return "", fs.ErrNotExist
}
