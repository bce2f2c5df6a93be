package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/cairnbuild/cairn/internal/files"
)

// CacheLease is a cache mount's directory in use.
type CacheLease struct {
	// Path is the directory.
	Path string
	lock *os.File
}

// Release lets the next user in. Once.
func (c *CacheLease) Release() { _ = c.lock.Close() }

// privateCopies bounds how many builds at once get a private cache of one id.
const privateCopies = 64

// CacheMount returns the directory of RUN --mount=type=cache for an id, a name that is safe in a path. sharing is "shared" (several
// users at once), "locked" (it waits for its turn) or "private" (a second user at the same time gets another directory). Where there is no
// directory yet, make gives one, complete and in the store's file system, which is moved into place: no user ever sees, or can
// tamper with, a cache that is being filled. Without make a new cache is empty.
func (s *Store) CacheMount(ctx context.Context, id, sharing string, make func() (dir string, err error)) (*CacheLease, error) {
	for n := 0; n < privateCopies; n++ {
		name := id
		if n > 0 {
			name = fmt.Sprintf("%s-%d", id, n)
		}
		lock, err := s.lockCache(ctx, name, sharing)
		if err != nil {
			return nil, fmt.Errorf("lock cache mount: %w", err)
		}
		if lock == nil {
			continue
		}
		lease := &CacheLease{Path: s.path("mounts", name), lock: lock}
		if err := s.makeCache(ctx, name, make); err != nil {
			lease.Release()
			return nil, fmt.Errorf("make cache mount: %w", err)
		}
		return lease, nil
	}
	return nil, fmt.Errorf("more than %d builds use this private cache at once", privateCopies)
}

// makeCache sees to it that the directory is there. One process at a time does so for a name: a shared cache has several users.
func (s *Store) makeCache(ctx context.Context, name string, make func() (dir string, err error)) error {
	path := s.path("mounts", name)
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	lock, err := s.lockCache(ctx, name+".new", "locked")
	if err != nil {
		return err
	}
	defer lock.Close()
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if make == nil {
		return os.Mkdir(path, 0o755)
	}
	dir, err := make()
	if err != nil {
		return err
	}
	return os.Rename(dir, path)
}

// lockCache takes the lock of a cache directory; nil when a private one is taken.
func (s *Store) lockCache(ctx context.Context, name, sharing string) (*os.File, error) {
	if err := os.MkdirAll(s.path("mounts"), 0o700); err != nil {
		return nil, err
	}
	path, mode := s.path("mounts", name+".lock"), files.LockMode{Exclusive: sharing != "shared", Create: true}
	if sharing == "private" {
		return files.TryLock(path, mode)
	}
	return files.Lock(ctx, path, mode)
}
