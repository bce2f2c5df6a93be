package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

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
		path := s.path("tmp", prefix+"-"+randomName())
		if err := os.Mkdir(path, 0o700); err != nil {
			return nil, fmt.Errorf("make temporary directory: %w", err)
		}
		lock, err := tryLockPath(path, lockMode{exclusive: true})
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
	err := removeTree(path)
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
		lock, err := tryLockPath(path, lockMode{exclusive: true})
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

// removeTree is os.RemoveAll that also gets through directories without permission bits, which overlay leaves behind and
// images contain. It removes as much as it can; the error is fs.ErrPermission when something belongs to somebody else.
func removeTree(path string) error {
	err := os.RemoveAll(path)
	if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	// Nobody else writes here, so no link can take a directory's place between the look and the chmod.
	filepath.WalkDir(path, func(p string, e fs.DirEntry, err error) error {
		if err != nil || !e.IsDir() {
			return nil
		}
		if info, err := e.Info(); err == nil && info.Mode().Perm()&0o700 != 0o700 {
			os.Chmod(p, 0o700)
		}
		return nil
	})
	return os.RemoveAll(path)
}

// writeFile puts data at name (a path below the root) by temporary file and rename: name has the old content or the new, or
// after a power cut possibly none, unless durable.
func (s *Store) writeFile(data []byte, durable bool, name ...string) error {
	dir, err := s.scratchDir()
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, "file-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone already when all went well
	_, err = f.Write(data)
	if err == nil && durable {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	path := s.path(name...)
	if err := renameInto(f.Name(), path); err != nil {
		return err
	}
	if durable {
		return syncDir(filepath.Dir(path))
	}
	return nil
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
