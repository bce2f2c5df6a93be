package store

import (
	"context"
	"os"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/cairnbuild/cairn/internal/files"
)

// lockIndex keeps every other process from changing oci/index.json. The lock file is never removed.
func (s *Store) lockIndex(ctx context.Context) (unlock func(), err error) {
	f, err := files.Lock(ctx, s.path("locks", "index"), files.LockMode{Exclusive: true, Create: true})
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
	f, err := files.Lock(ctx, path, files.LockMode{Exclusive: true, Create: true})
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
		if f, err := files.TryLock(path, files.LockMode{Exclusive: true}); f != nil && err == nil {
			os.Remove(path)
			f.Close()
		}
	}
}
