package store

import (
	"context"
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/cairnbuild/cairn/internal/sys"
)

// The longest pause between two tries for a lock. Waiting is done by trying, since a blocked flock cannot be cancelled.
const lockPause = 20 * time.Millisecond

// lockMode says how to lock and what to do about a name that is not there.
type lockMode struct {
	exclusive bool
	create    bool
}

// lockPath opens path and locks it, and waits while others have it locked otherwise. On return path still names what was
// locked: whoever removes or replaces a locked thing holds it exclusively, so it stays so until the file is closed. The error
// is fs.ErrNotExist when path is missing and not to be created.
func lockPath(ctx context.Context, path string, mode lockMode) (*os.File, error) {
	pause := time.Millisecond
	for {
		f, err := tryLockPath(path, mode)
		if f != nil || err != nil {
			return f, err
		}
		select {
		case <-ctx.Done():
			return nil, &fs.PathError{Op: "lock", Path: path, Err: context.Cause(ctx)}
		case <-time.After(pause):
		}
		pause = min(2*pause, lockPause)
	}
}

// tryLockPath is lockPath without waiting: nil and no error when others have it locked.
func tryLockPath(path string, mode lockMode) (*os.File, error) {
	for {
		f, err := openToLock(path, mode.create)
		if err != nil {
			return nil, err
		}
		ok, err := sys.TryLock(f, mode.exclusive)
		if err != nil || !ok {
			f.Close()
			return nil, err
		}
		same, err := samePath(f, path)
		if err == nil && same {
			return f, nil
		}
		f.Close()
		if err != nil && !(mode.create && errors.Is(err, fs.ErrNotExist)) {
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

// samePath says whether path names the open file f.
func samePath(f *os.File, path string) (bool, error) {
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

// lockIndex keeps every other process from changing oci/index.json. The lock file is never removed.
func (s *Store) lockIndex(ctx context.Context) (unlock func(), err error) {
	f, err := lockPath(ctx, s.path("locks", "index"), lockMode{exclusive: true, create: true})
	if err != nil {
		return nil, err
	}
	return func() { f.Close() }, nil
}

// LockKey makes this process and goroutine the only one that runs the step with this key, and waits while another does. It is
// not reentrant. The caller calls unlock once; a process that dies unlocks.
func (s *Store) LockKey(ctx context.Context, key digest.Digest) (unlock func(), err error) {
	if err := key.Validate(); err != nil {
		return nil, err
	}
	path := s.path("locks", "key-"+key.Encoded())
	f, err := lockPath(ctx, path, lockMode{exclusive: true, create: true})
	if err != nil {
		return nil, err
	}
	return func() {
		// Removed while held exclusively: whoever waits for the old file sees that the name is gone and makes a new one.
		os.Remove(path)
		f.Close()
	}, nil
}

// sweepKeyLocks removes the lock files that killed processes left.
func (s *Store) sweepKeyLocks() {
	entries, err := os.ReadDir(s.path("locks"))
	if err != nil {
		return
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), "key-") {
			continue
		}
		path := s.path("locks", e.Name())
		if f, err := tryLockPath(path, lockMode{exclusive: true}); f != nil && err == nil {
			os.Remove(path)
			f.Close()
		}
	}
}

// randomName is a name that no other process chooses.
func randomName() string { return strings.ToLower(rand.Text()[:16]) }

// syncDir makes the names in a directory durable.
func syncDir(dir string) error {
	f, err := os.Open(filepath.Clean(dir))
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
