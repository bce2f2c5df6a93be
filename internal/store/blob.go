package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/cairnbuild/cairn/internal/files"
	"github.com/cairnbuild/cairn/oci"
)

// A blob's mode says whether it is durable: written blobs get durableMode only after they were synced, so the mode can be
// trusted after a power cut, and nothing else need be remembered.
const (
	writtenMode = 0o644
	durableMode = 0o444
)

// DamagedError says that a piece of the store is not what it should be. The piece is as good as missing: errors.Is(err,
// fs.ErrNotExist) holds.
type DamagedError struct {
	// What names the piece: "blob sha256:..." or "layer ...".
	What string
	Err  error
}

func (e *DamagedError) Error() string { return e.What + " is damaged: " + e.Err.Error() }

// Unwrap gives the reason.
func (e *DamagedError) Unwrap() error { return e.Err }

// Is makes a damaged piece a missing one.
func (e *DamagedError) Is(target error) bool { return target == fs.ErrNotExist }

// blobPath is where a blob is or would be; d must be valid.
func (s *Store) blobPath(d digest.Digest) string {
	return s.path("oci", "blobs", d.Algorithm().String(), d.Encoded())
}

// HasBlob says whether the blob is in the store. If so it stays until the Store is closed.
func (s *Store) HasBlob(d digest.Digest) bool {
	_, err := s.pin(d)
	return err == nil
}

// pin locks a blob against the collector until the Store is closed, and returns its size. The error is fs.ErrNotExist when
// the blob is not there.
func (s *Store) pin(d digest.Digest) (int64, error) {
	if err := d.Validate(); err != nil {
		return 0, fmt.Errorf("find blob %q: %w", d, err)
	}
	path := s.blobPath(d)
	s.mu.Lock()
	f := s.pins[d]
	s.mu.Unlock()
	var err error
	if f != nil {
		if same, err := files.Same(f, path); err == nil && same {
			return fileSize(f)
		}
	}
	f, err = files.TryLock(path, files.LockMode{})
	for f == nil && err == nil {
		time.Sleep(time.Millisecond) // a collector is about to remove it
		f, err = files.TryLock(path, files.LockMode{})
	}
	if err != nil {
		return 0, fmt.Errorf("find blob %s: %w", d, err)
	}
	size, err := fileSize(f)
	if err != nil {
		f.Close()
		return 0, err
	}
	return size, s.keepPin(d, f)
}

// keepPin takes over f, which is locked shared.
func (s *Store) keepPin(d digest.Digest, f *os.File) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		f.Close()
		return errClosed
	}
	if old := s.pins[d]; old != nil {
		old.Close()
	}
	s.pins[d] = f
	return nil
}

func fileSize(f *os.File) (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// OpenBlob implements oci.BlobSource. A blob whose content turns out to be damaged is removed, and the error is a
// *DamagedError, so that the next to look for it gets it anew.
func (s *Store) OpenBlob(_ context.Context, desc Descriptor) (io.ReadCloser, error) {
	if err := oci.CheckDescriptor(desc); err != nil {
		return nil, err
	}
	f, err := os.Open(s.blobPath(desc.Digest))
	if err != nil {
		return nil, fmt.Errorf("open blob: %w", err)
	}
	size, err := fileSize(f)
	if err == nil && size != desc.Size {
		err = s.wrongSize(f, desc, size)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("open blob: %w", err)
	}
	return &blobReader{s: s, f: f, desc: desc, verified: oci.VerifyReader(f, desc)}, nil
}

// LinkBlob makes name another name of the blob's file, for a layout beside the store. It fails where there can be none, as on another
// file system, and for a blob that is not durable yet or has another size than the descriptor's: then the blob is to be copied. Durable
// blobs are read-only, and one that is changed all the same is found out by its digest.
func (s *Store) LinkBlob(desc Descriptor, name string) error {
	if err := oci.CheckDescriptor(desc); err != nil {
		return err
	}
	path := s.blobPath(desc.Digest)
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() || info.Mode().Perm() != durableMode || info.Size() != desc.Size {
		return &os.LinkError{Op: "link", Old: path, New: name, Err: errors.ErrUnsupported}
	}
	return os.Link(path, name)
}

// wrongSize finds out whether the blob or the descriptor is wrong, and removes a wrong blob.
func (s *Store) wrongSize(f *os.File, desc Descriptor, size int64) error {
	got, err := desc.Digest.Algorithm().FromReader(f)
	if err != nil {
		return err
	}
	err = &oci.MismatchError{Want: desc, Digest: got, Size: size}
	if got == desc.Digest {
		return err
	}
	return s.dropBlob(f, desc.Digest, err)
}

// dropBlob removes the damaged blob f, unless a good one has taken its place.
func (s *Store) dropBlob(f *os.File, d digest.Digest, reason error) error {
	if same, err := files.Same(f, s.blobPath(d)); err == nil && same {
		os.Remove(s.blobPath(d))
	}
	return &DamagedError{What: "blob " + d.String(), Err: reason}
}

// blobReader reads a blob and removes it when it is wrong.
type blobReader struct {
	s        *Store
	f        *os.File
	desc     Descriptor
	verified io.Reader
}

func (r *blobReader) Read(p []byte) (int, error) {
	n, err := r.verified.Read(p)
	var mismatch *oci.MismatchError
	if errors.As(err, &mismatch) {
		err = r.s.dropBlob(r.f, r.desc.Digest, err)
	}
	return n, err
}

func (r *blobReader) Close() error { return r.f.Close() }

// PutBlob implements oci.BlobSink. When the store has the blob called want, r is not read. The blob stays until the Store is
// closed, and beyond that only if an image leads to it.
func (s *Store) PutBlob(ctx context.Context, want digest.Digest, r io.Reader) (Descriptor, error) {
	if want != "" {
		size, err := s.pin(want)
		if err == nil {
			return Descriptor{Digest: want, Size: size}, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return Descriptor{}, err
		}
	}
	w, err := s.NewBlob(ctx)
	if err != nil {
		return Descriptor{}, err
	}
	defer w.Abort()
	if _, err := io.Copy(w, files.Reader(ctx, r)); err != nil {
		return Descriptor{}, fmt.Errorf("write blob: %w", err)
	}
	return w.Commit("", want)
}

// makeDurable syncs a blob if nobody has yet.
func (s *Store) makeDurable(d digest.Digest) error {
	f, err := os.Open(s.blobPath(d))
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Mode().Perm() == durableMode {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return f.Chmod(durableMode)
}

// markDurable notes that a blob was synced with the file system, which it was if it had its name before.
func (s *Store) markDurable(d digest.Digest) error {
	info, err := os.Stat(s.blobPath(d))
	if err != nil || info.Mode().Perm() == durableMode {
		return errIgnoring(err, fs.ErrNotExist)
	}
	return os.Chmod(s.blobPath(d), durableMode)
}
