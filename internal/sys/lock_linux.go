package sys

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// TryLock takes a flock(2) on f without waiting and reports whether it got it. A lock that f already holds is converted,
// which is not atomic. The lock belongs to f's open file description: it ends when f, and every copy of it, is closed.
func TryLock(f *os.File, exclusive bool) (bool, error) {
	how := unix.LOCK_SH | unix.LOCK_NB
	if exclusive {
		how = unix.LOCK_EX | unix.LOCK_NB
	}
	err := withFD(f, "flock", func(fd int) error { return unix.Flock(fd, how) })
	if errors.Is(err, unix.EWOULDBLOCK) {
		return false, nil
	}
	return err == nil, err
}

// SyncFS writes everything that is dirty on f's file system to its disk, and waits for it; see syncfs(2). An error says
// that some of it was lost since the file system was last synced through f's open file description.
func SyncFS(f *os.File) error {
	return withFD(f, "syncfs", unix.Syncfs)
}

// withFD calls fn with f's descriptor, which stays open meanwhile, again while it is interrupted.
func withFD(f *os.File, op string, fn func(fd int) error) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return &os.PathError{Op: op, Path: f.Name(), Err: err}
	}
	var failed error
	err = conn.Control(func(fd uintptr) {
		for {
			failed = fn(int(fd))
			if failed != unix.EINTR {
				return
			}
		}
	})
	if err == nil {
		err = failed
	}
	if err != nil {
		return &os.PathError{Op: op, Path: f.Name(), Err: err}
	}
	return nil
}
