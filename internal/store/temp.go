package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/cairnbuild/cairn/internal/files"
	"github.com/cairnbuild/cairn/internal/sys"
)

// Temp is a directory under tmp that is garbage as soon as its owner is gone.
type Temp struct {
	path string
	lock *os.File
	s    *Store
	once sync.Once
	err  error
}

// TempDir makes a temporary directory in the store's file system, with mode 0700. The prefix is for people who look. The
// caller closes it.
func (s *Store) TempDir(prefix string) (*Temp, error) {
	for {
		path := s.path("tmp", prefix+"-"+files.RandomName())
		if err := os.Mkdir(path, 0o700); err != nil {
			return nil, fmt.Errorf("make temporary directory: %w", err)
		}
		lock, err := files.TryLock(path, files.LockMode{Exclusive: true})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			os.Remove(path)
			return nil, fmt.Errorf("lock temporary directory: %w", err)
		}
		if lock != nil {
			return &Temp{path: path, lock: lock, s: s}, nil
		}
		// A sweeper saw it before it was locked and takes it away.
	}
}

// Path is the directory's absolute path.
func (t *Temp) Path() string { return t.path }

// Close removes the directory with all that is in it. What this process may not remove is left for one that may, which is no
// error (see Store.NeedsNamespaceToClean). It may be called twice.
func (t *Temp) Close() error {
	t.once.Do(func() { t.err = t.s.discard(t.path, t.lock) })
	return t.err
}

// discard removes a directory under tmp that the caller has locked with lock, and unlocks it.
func (s *Store) discard(path string, lock *os.File) error {
	defer lock.Close()
	err := files.RemoveAll(path)
	if errors.Is(err, fs.ErrPermission) {
		s.foreign.Store(true)
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove temporary directory: %w", err)
	}
	return nil
}

// scratchDir is the directory for the Store's own temporary files, made when first asked for.
func (s *Store) scratchDir() (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return "", errClosed
	}
	if s.scratch == nil {
		t, err := s.TempDir("files")
		if err != nil {
			return "", err
		}
		s.scratch = t
	}
	return s.scratch.path, nil
}

// sweep removes the temporary directories that nobody has locked, and returns how many.
func (s *Store) sweep(ctx context.Context) (int, error) {
	entries, err := os.ReadDir(s.path("tmp"))
	if err != nil {
		return 0, fmt.Errorf("list temporary directories: %w", err)
	}
	removed := 0
	for _, e := range entries {
		if ctx.Err() != nil {
			return removed, context.Cause(ctx)
		}
		path := s.path("tmp", e.Name())
		if !e.IsDir() {
			os.Remove(path) // never ours
			continue
		}
		lock, err := files.TryLock(path, files.LockMode{Exclusive: true})
		switch {
		case errors.Is(err, fs.ErrPermission):
			s.foreign.Store(true)
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return removed, fmt.Errorf("lock temporary directory: %w", err)
		case lock != nil:
			if s.discard(path, lock) == nil {
				removed++
			}
		}
	}
	return removed, nil
}

// writeFile puts data at name (a path below the root) by temporary file and rename: name has the old content or the new, or
// after a power cut possibly none, unless durable. A missing directory is made.
func (s *Store) writeFile(data []byte, durable bool, name ...string) error {
	dir, err := s.scratchDir()
	if err != nil {
		return err
	}
	path, o := s.path(name...), files.Options{TempDir: dir, Durable: durable}
	err = files.Write(path, data, o)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return files.Write(path, data, o)
}

// renameInto renames from to path and makes path's directory if it is missing.
func renameInto(from, path string) error {
	err := os.Rename(from, path)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return os.Rename(from, path)
}

// syncAll makes everything in the store's file system durable.
func (s *Store) syncAll() error {
	f, err := os.Open(s.root)
	if err != nil {
		return err
	}
	return errors.Join(sys.SyncFS(f), f.Close())
}
