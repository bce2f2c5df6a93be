package store

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"

	"github.com/cairnbuild/cairn/internal/sys"
	"github.com/cairnbuild/cairn/oci"
)

// BlobWriter writes a blob whose digest is not known before its end. It is not for several goroutines.
type BlobWriter struct {
	s    *Store
	f    *os.File
	buf  *bufio.Writer
	hash hash.Hash
	size int64
}

// NewBlob starts a blob. The caller ends it with Commit or Abort.
func (s *Store) NewBlob(ctx context.Context) (*BlobWriter, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	dir, err := s.scratchDir()
	if err != nil {
		return nil, fmt.Errorf("start blob: %w", err)
	}
	f, err := os.CreateTemp(dir, "blob-")
	if err != nil {
		return nil, fmt.Errorf("start blob: %w", err)
	}
	return &BlobWriter{s: s, f: f, buf: bufio.NewWriterSize(f, 64<<10), hash: sha256.New()}, nil
}

// Write implements io.Writer.
func (w *BlobWriter) Write(p []byte) (int, error) {
	n, err := w.buf.Write(p)
	w.hash.Write(p[:n]) // a Hash never fails
	w.size += int64(n)
	return n, err
}

// Abort drops the blob. After Commit it does nothing, so that it can be deferred.
func (w *BlobWriter) Abort() {
	if w.f == nil {
		return
	}
	os.Remove(w.f.Name())
	w.f.Close()
	w.f = nil
}

// Commit puts the blob in its place and returns its descriptor. When want is not empty and the content has another digest
// nothing is stored and the error is an *oci.MismatchError. The blob stays until the Store is closed.
func (w *BlobWriter) Commit(mediaType string, want digest.Digest) (Descriptor, error) {
	defer w.Abort()
	desc := Descriptor{MediaType: mediaType, Digest: digest.NewDigest(digest.SHA256, w.hash), Size: w.size}
	if err := w.buf.Flush(); err != nil {
		return Descriptor{}, fmt.Errorf("write blob: %w", err)
	}
	if err := w.f.Chmod(writtenMode); err != nil {
		return Descriptor{}, fmt.Errorf("write blob: %w", err)
	}
	if want != "" && want.Algorithm() != digest.SHA256 {
		if err := w.rehash(&desc, want); err != nil {
			return Descriptor{}, fmt.Errorf("write blob: %w", err)
		}
	}
	if want != "" && want != desc.Digest {
		expected := Descriptor{MediaType: mediaType, Digest: want, Size: w.size}
		return Descriptor{}, &oci.MismatchError{Want: expected, Digest: desc.Digest, Size: w.size}
	}
	if err := w.place(desc); err != nil {
		return Descriptor{}, fmt.Errorf("store blob: %w", err)
	}
	return desc, nil
}

// rehash computes the digest with want's algorithm, which is rarely not SHA-256.
func (w *BlobWriter) rehash(desc *Descriptor, want digest.Digest) error {
	if err := want.Validate(); err != nil {
		return err
	}
	if _, err := w.f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	var err error
	desc.Digest, err = want.Algorithm().FromReader(w.f)
	return err
}

// place gives the blob its name, locked from before it has it. A blob of that name and size is kept: its inode carries the
// locks of those who use it. One of another size is damaged.
func (w *BlobWriter) place(desc Descriptor) error {
	if _, err := sys.TryLock(w.f, false); err != nil {
		return err
	}
	path := w.s.blobPath(desc.Digest)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	for {
		err := os.Link(w.f.Name(), path)
		if err == nil {
			break
		}
		if !errors.Is(err, fs.ErrExist) {
			return err
		}
		size, err := w.s.pin(desc.Digest)
		switch {
		case err == nil && size == desc.Size:
			return nil
		case err == nil:
			if err := os.Rename(w.f.Name(), path); err != nil {
				return err
			}
			return w.keep(desc.Digest)
		case !errors.Is(err, fs.ErrNotExist):
			return err
		}
	}
	os.Remove(w.f.Name())
	return w.keep(desc.Digest)
}

// keep hands the file, as the blob's lock, to the Store.
func (w *BlobWriter) keep(d digest.Digest) error {
	f := w.f
	w.f = nil
	w.s.mu.Lock()
	w.s.fresh.dirty = true
	w.s.mu.Unlock()
	return w.s.keepPin(d, f)
}
