package sandbox

import (
	"encoding/json"
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/cairnbuild/cairn/internal/sys"
	"github.com/cairnbuild/cairn/sandbox/internal/child"
	"github.com/cairnbuild/cairn/sandbox/internal/emulate"
	"github.com/cairnbuild/cairn/sandbox/internal/wire"
)

// RunIfChild must be the first thing that main, and every TestMain, does: this program is also the code of the sandbox's
// processes, told apart by argv[0]. In cairn-step it does not return. In cairn-userns it returns once this process is root
// of its namespaces. In any other process it returns at once.
func RunIfChild() {
	role := os.Args[0]
	switch role {
	case wire.ArgStep, wire.ArgIDs, wire.ArgMaps, wire.ArgUserns, wire.ArgChroot:
		sys.SetName(role)
	}
	switch role {
	case wire.ArgStep:
		child.Main()
	case wire.ArgIDs:
		emulate.Main()
	case wire.ArgMaps:
		waitForMaps()
	case wire.ArgUserns:
		become(becomeRoot)
	case wire.ArgChroot:
		become(becomeChroot)
	}
}

// become turns this process into what its name says, or reports why not and ends it.
func become(f func() *wire.Failed) {
	if failed := f(); failed != nil {
		sendReport(wire.Report{Failed: failed})
		os.Exit(70)
	}
}

// InNamespace reports whether this process is the one in which Run works: cairn-userns, or cairn-chroot where there are no
// namespaces.
func InNamespace() bool { return CurrentIsolation() != "" }

// waitForMaps blocks until the id maps are written, and starts this program once more: its first execve took place when its
// user had no id in the namespace, and so took all capabilities from it.
func waitForMaps() {
	var sign [1]byte
	if n, err := unix.Read(wire.FDIn, sign[:]); n != 1 || err != nil {
		os.Exit(70) // the parent has given up
	}
	args := append([]string{wire.ArgUserns}, os.Args[1:]...)
	err := syscall.Exec("/proc/self/exe", args, os.Environ())
	sendReport(wire.Report{Failed: wire.NewFailed(wire.StageStart, &os.PathError{Op: "execve", Path: "/proc/self/exe", Err: err})})
	os.Exit(70)
}

// becomeRoot makes the namespaces this process's own.
func becomeRoot() *wire.Failed {
	fail := wire.NewFailed
	if err := sys.SetDumpable(); err != nil { // gaining capabilities has undone it
		return fail(wire.StageStart, err)
	}
	sign, failed := awaitGo()
	if failed != nil {
		return failed
	}
	if err := sys.MakePrivate(); err != nil {
		return fail(wire.StagePrivate, err)
	}
	if sign.OwnPIDs {
		if err := mountOwnProc(); err != nil {
			return fail(wire.StageOwnProc, err)
		}
	}
	sendReport(wire.Report{Ready: true})
	if err := shiftFiles(sign.Extra); err != nil {
		return fail(wire.StageStart, err)
	}
	return nil
}

// awaitGo ties this process's life to its parent's and waits for the go sign.
func awaitGo() (sign wire.Go, failed *wire.Failed) {
	if err := sys.DieWithParent(); err != nil { // gaining capabilities has undone it
		return sign, wire.NewFailed(wire.StageStart, err)
	}
	sign, err := readGo()
	if err != nil {
		return sign, wire.NewFailed(wire.StageStart, err)
	}
	if parentGone() {
		os.Exit(70)
	}
	return sign, nil
}

// readGo reads the rest of the go sign, which fits in one write.
func readGo() (sign wire.Go, err error) {
	var buf [256]byte
	n, err := unix.Read(wire.FDIn, buf[:])
	if err != nil {
		return sign, &os.PathError{Op: "read", Path: "go sign", Err: err}
	}
	if n == 0 {
		return sign, errors.New("the parent has ended")
	}
	return sign, json.Unmarshal(buf[:n], &sign)
}

// parentGone reports whether the writer of the go pipe, which it keeps for its whole life, has ended before DieWithParent
// took effect.
func parentGone() bool {
	fds := []unix.PollFd{{Fd: wire.FDIn}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n > 0 && fds[0].Revents&unix.POLLHUP != 0
}

// mountOwnProc makes the numbers of /proc those of this pid namespace.
func mountOwnProc() error {
	proc, err := sys.FSMount("proc", unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
	if err != nil {
		return err
	}
	defer proc.Close()
	at, err := sys.Open("/proc", unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer at.Close()
	return sys.MoveMount(proc, at)
}

// shiftFiles closes our two descriptors and moves the caller's down to 3 and on, where os/exec promises them.
func shiftFiles(extra int) error {
	unix.CloseOnExec(wire.FDReport)
	for i := range extra {
		if err := unix.Dup3(wire.FDExtra+i, wire.FDIn+i, unix.O_CLOEXEC); err != nil {
			return os.NewSyscallError("dup3", err)
		}
	}
	for i := extra; i < extra+2; i++ {
		_ = unix.Close(wire.FDIn + i)
	}
	return nil
}

// sendReport writes to the parent; there is nobody else to tell when that fails.
func sendReport(r wire.Report) {
	b, err := json.Marshal(r)
	if err == nil {
		_, _ = unix.Write(wire.FDReport, b)
	}
}
