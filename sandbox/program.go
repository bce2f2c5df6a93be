package sandbox

import (
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/cairnbuild/cairn/internal/sys"
)

// self is the running program, wherever its file has gone.
const self = "/proc/self/exe"

// openProgram opens this program for a step to be started from, in a form that nobody can write to: a command that executes
// /proc/self/exe would otherwise get hold of the file on disk, which is its own user's (CVE-2019-5736).
func openProgram() (*os.File, error) {
	if f, err := readOnlyMount(); err == nil {
		return f, nil
	}
	return sealedCopy()
}

// readOnlyMount takes a read-only copy of the mount that the program's file is on. It fails when the file has been replaced.
func readOnlyMount() (*os.File, error) {
	name, err := os.Readlink(self)
	if err != nil {
		return nil, err
	}
	fd, err := sys.OpenTree(unix.AT_FDCWD, name, false)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), name)
	if err := checkSame(f, name); err != nil {
		f.Close()
		return nil, err
	}
	if err := sys.SetMountAttrs(fd, unix.MOUNT_ATTR_RDONLY, false); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func checkSame(f *os.File, name string) error {
	running, err := os.Stat(self)
	if err != nil {
		return err
	}
	opened, err := f.Stat()
	if err != nil {
		return err
	}
	if !os.SameFile(running, opened) {
		return &os.PathError{Op: "open", Path: name, Err: unix.ESTALE}
	}
	return nil
}

// sealedCopy puts the program into memory.
func sealedCopy() (*os.File, error) {
	from, err := os.Open(self)
	if err != nil {
		return nil, err
	}
	defer from.Close()
	fd, err := unix.MemfdCreate("cairn", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), "cairn")
	defer f.Close() // what is open for writing can't be executed
	if _, err := io.Copy(f, from); err != nil {
		return nil, err
	}
	const seals = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
	if _, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, seals); err != nil {
		return nil, os.NewSyscallError("fcntl F_ADD_SEALS", err)
	}
	return os.Open(sys.FD(fd).Path())
}
