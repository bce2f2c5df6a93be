// Package files writes, locks and removes files so that other processes, a kill -9 and a power cut find either the old or
// the new, and never a part of it.
//
//   - Lock and TryLock lock a path, Same tells whether a path still names what was locked.
//   - Write and Pending replace a file in one step. Output does so for a file that the user named.
//   - RemoveAll removes a tree whatever modes its directories have. SyncDir makes the names in a directory durable.
//   - Reader ends with a context.
//
// github.com/google/renameio, which also replaces files, syncs each of them: a build writes dozens of small files that are
// cheaper to write again than to sync. It does not sync directories either. github.com/gofrs/flock does not notice that the
// locked file was replaced or removed while it waited.
package files

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// RandomName is a name of 16 lower case letters and digits that no other process chooses.
func RandomName() string { return strings.ToLower(rand.Text()[:16]) }

// Missing says whether there is nothing at path, not even a link that leads nowhere.
func Missing(path string) bool {
	_, err := os.Lstat(path)
	return errors.Is(err, fs.ErrNotExist)
}

// SyncDir makes the names in a directory durable.
func SyncDir(dir string) error {
	f, err := os.Open(filepath.Clean(dir))
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// RemoveAll is os.RemoveAll that also gets through directories without permission bits: overlayfs's work directory is one,
// and images contain them. It removes as much as it can. The error is fs.ErrPermission when something belongs to somebody
// else.
func RemoveAll(path string) error {
	err := os.RemoveAll(path)
	if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	openDirs(path)
	return os.RemoveAll(path)
}

// openDirs lets the owner into every directory below path, as far as this process may say so.
func openDirs(path string) {
	info, err := os.Lstat(path)
	if err != nil || !info.IsDir() {
		return
	}
	_ = os.Chmod(path, 0o700) // if it fails, the removal says why
	root, err := os.OpenRoot(path)
	if err != nil {
		return
	}
	defer root.Close()
	_ = filepath.WalkDir(path, func(p string, e fs.DirEntry, err error) error {
		if err != nil || !e.IsDir() || p == path {
			return nil // the rest is tried all the same
		}
		info, err := e.Info()
		if err != nil || info.Mode().Perm()&0o700 == 0o700 {
			return nil
		}
		if rel, err := filepath.Rel(path, p); err == nil {
			_ = root.Chmod(rel, 0o700) // a link that has taken the directory's place leads nowhere outside of path
		}
		return nil
	})
}

// Reader passes on what r gives until ctx ends, and then gives ctx.Err(): the cause of its end may be the failure of another
// part of the same work, which that part reports. It has no other method, so that io.CopyBuffer uses its buffer.
func Reader(ctx context.Context, r io.Reader) io.Reader { return &reader{ctx, r} }

type reader struct {
	ctx context.Context //nolint:containedctx // io.Reader has no parameter for it
	r   io.Reader
}

func (r *reader) Read(p []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, r.ctx.Err()
	}
	return r.r.Read(p)
}
