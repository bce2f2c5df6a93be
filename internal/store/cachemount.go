package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/cairnbuild/cairn/internal/sys"
)

// CacheLease is a cache mount's directory in use.
type CacheLease struct {
	// Path is the directory.
	Path string
	// New says that it was made just now and has no owner, mode or content yet.
	New  bool
	lock *os.File
}

// Release lets the next user in. Once.
func (c *CacheLease) Release() { _ = c.lock.Close() }

// privateCopies bounds how many builds at once get a private cache of one id.
const privateCopies = 64

// CacheMount returns the directory of RUN --mount=type=cache for an id, a name that is safe in a path. sharing is "shared" (several
// users at once), "locked" (it waits for its turn) or "private" (a second user at the same time gets another directory).
func (s *Store) CacheMount(ctx context.Context, id, sharing string) (*CacheLease, error) {
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
		err = os.Mkdir(lease.Path, 0o755)
		lease.New = err == nil
		if err != nil && !errors.Is(err, os.ErrExist) {
			lease.Release()
			return nil, err
		}
		return lease, nil
	}
	return nil, fmt.Errorf("more than %d builds use this private cache at once", privateCopies)
}

// lockCache takes the lock of a cache directory; nil when a private one is taken.
func (s *Store) lockCache(ctx context.Context, name, sharing string) (*os.File, error) {
	if err := os.MkdirAll(s.path("mounts"), 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(s.path("mounts"), name+".lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		ok, err := sys.TryLock(f, sharing != "shared")
		if err != nil {
			_ = f.Close()
			return nil, err
		}
		if ok {
			return f, nil
		}
		if sharing == "private" {
			return nil, f.Close()
		}
		select {
		case <-ctx.Done():
			_ = f.Close()
			return nil, ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}
