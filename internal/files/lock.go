package files

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"time"

	"github.com/cairnbuild/cairn/internal/sys"
)

// lockPause is the longest pause between two tries for a lock. Waiting is done by trying, since a blocked flock(2) cannot be
// cancelled.
const lockPause = 20 * time.Millisecond

// LockMode says how to lock, and what to do about a path that is not there.
type LockMode struct {
	// Exclusive keeps out every other lock; without it only exclusive ones.
	Exclusive bool
	// Create makes an empty file of mode 0600 where there is nothing.
	Create bool
}

// Lock opens path, a file or directory, and locks it with flock(2). It waits while others have it locked otherwise. When it
// returns, path names what was locked, and it stays so until the file is closed if everybody who removes or replaces path
// holds it exclusively. Closing the file unlocks, and so does the end of the process. The error is fs.ErrNotExist when path is
// missing and not to be created, and ctx.Err() when that ends first.
func Lock(ctx context.Context, path string, mode LockMode) (*os.File, error) {
	pause := time.Millisecond
	for {
		f, err := TryLock(path, mode)
		if f != nil || err != nil {
			return f, err
		}
		select {
		case <-ctx.Done():
			return nil, &fs.PathError{Op: "lock", Path: path, Err: ctx.Err()}
		case <-time.After(pause):
		}
		pause = min(2*pause, lockPause)
	}
}

// TryLock is Lock without waiting: nil and no error when others have path locked.
func TryLock(path string, mode LockMode) (*os.File, error) {
	for {
		f, err := openToLock(path, mode.Create)
		if err != nil {
			return nil, err
		}
		ok, err := sys.TryLock(f, mode.Exclusive)
		if err != nil || !ok {
			f.Close()
			return nil, err
		}
		same, err := Same(f, path)
		if err == nil && same {
			return f, nil
		}
		f.Close()
		if err != nil && !(mode.Create && errors.Is(err, fs.ErrNotExist)) {
			return nil, err
		}
		// It was replaced between open and lock: the lock is on something that is gone.
	}
}

func openToLock(path string, create bool) (*os.File, error) {
	if !create {
		return os.Open(path)
	}
	return os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
}

// Same says whether path names the open file f. The error is fs.ErrNotExist when it names nothing.
func Same(f *os.File, path string) (bool, error) {
	held, err := f.Stat()
	if err != nil {
		return false, err
	}
	named, err := os.Lstat(path)
	if err != nil {
		return false, err
	}
	return os.SameFile(held, named), nil
}
