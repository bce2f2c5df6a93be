package sandbox

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// killLeft kills what a step in a chroot has left running: there is no pid namespace to do it. Its processes are told by
// their root directory, which nothing takes from them. It may be called twice.
func (s *step) killLeft() {
	if CurrentIsolation() != IsolationChroot {
		return
	}
	root, err := filepath.EvalSymlinks(s.spec.Root.Source)
	if err != nil {
		return
	}
	// A process may start another between the look and the kill: only a look that finds none ends it.
	for range 1000 {
		if killInside(root) == 0 {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// killInside kills every process whose root directory is root or below, and returns how many it found.
func killInside(root string) int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return 0
	}
	found := 0
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		at, err := os.Readlink("/proc/" + e.Name() + "/root")
		if err != nil || at != root && !strings.HasPrefix(at, root+"/") {
			continue // a zombie has none
		}
		found++
		_ = syscall.Kill(pid, syscall.SIGKILL)
		var status unix.WaitStatus
		_, _ = unix.Wait4(pid, &status, unix.WNOHANG, nil) // those that are our children by now; the rest have a parent
	}
	return found
}
